//! `graph.dynamic_slice` and `graph.dynamic_update_slice`: a box of a tensor at a position known at run time, and a tensor with such a box replaced.

use crate::{
    dialect::{DynamicSlice, DynamicUpdateSlice},
    eval::EvalContext,
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
    types::{TensorType, check_axes},
};
use winze_mlir::{
    melior::ir::{OperationRef, operation::OperationLike},
    op_hooks::OpHooks,
};

pub const SLICE: OpDefinition = OpDefinition {
    name: "graph.dynamic_slice",
    role: Role::DataMovement,
    hooks: OpHooks { verify: Some(verify_slice), infer: None, canonicalize: None },
    eval: eval_slice,
    lower: lower_slice,
    scalar: None,
};

pub const UPDATE: OpDefinition = OpDefinition {
    name: "graph.dynamic_update_slice",
    role: Role::DataMovement,
    hooks: OpHooks { verify: Some(verify_update), infer: None, canonicalize: None },
    eval: eval_update,
    lower: lower_update,
    scalar: None,
};

/// The box is inside the input, with a start for each axis that it does not span.
fn verify(input: &TensorType, part: &TensorType, axes: &[i64], starts: usize) -> Result<(), String> {
    if input.element != part.element || input.rank() != part.rank() {
        let (from, to) = (input.element, part.element);
        return Err(format!("an input of {from} and rank {}, a box of {to} and rank {}; both are equal", input.rank(), part.rank()));
    }
    let axes = check_axes(axes, input.rank())?;
    if axes.len() != starts {
        return Err(format!("{starts} starts for {} axes; give one per axis", axes.len()));
    }
    for (axis, (whole, size)) in input.dims.iter().zip(&part.dims).enumerate() {
        if !axes.contains(&axis) && whole != size {
            return Err(format!("axis {axis} has no start, so the box has its extent {whole}, not {size}"));
        }
        if (whole - size).as_static().is_some_and(|rest| rest < 0) {
            return Err(format!("a box of {size} elements does not fit axis {axis} of extent {whole}"));
        }
    }
    Ok(())
}

fn verify_slice(op: OperationRef) -> Result<(), String> {
    let slice = DynamicSlice(op);
    let result = op.result(0).map_err(|e| e.to_string())?;
    verify(&TensorType::of(slice.input())?, &TensorType::of(result.into())?, &slice.axes(), op.operand_count() - 1)
}

fn verify_update(op: OperationRef) -> Result<(), String> {
    let update = DynamicUpdateSlice(op);
    verify(&TensorType::of(update.input())?, &TensorType::of(update.update())?, &update.axes(), op.operand_count() - 2)
}

/// First index of the box along every axis.
fn firsts(input: &[usize], part: &[usize], axes: &[i64], starts: &[Tensor]) -> Result<Vec<usize>, String> {
    let mut firsts = vec![0; input.len()];
    for (axis, start) in axes.iter().zip(starts) {
        let axis = *axis as usize;
        let last = input[axis].checked_sub(part[axis]);
        let last = last.ok_or_else(|| format!("a box of {} elements does not fit axis {axis} of extent {}", part[axis], input[axis]))?;
        firsts[axis] = start.get(0).i64().clamp(0, last as i64) as usize;
    }
    Ok(firsts)
}

fn eval_slice(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let firsts = firsts(&inputs[0].shape, &shape, &DynamicSlice(op).axes(), &inputs[1..])?;
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let source: Vec<usize> = index.iter().zip(&firsts).map(|(i, first)| i + first).collect();
        inputs[0].at(&source)
    })])
}

fn eval_update(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let (input, update) = (&inputs[0], &inputs[1]);
    let firsts = firsts(&shape, &update.shape, &DynamicUpdateSlice(op).axes(), &inputs[2..])?;
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let inside = |axis: usize| index[axis].checked_sub(firsts[axis]).filter(|i| *i < update.shape[axis]);
        match (0..shape.len()).map(inside).collect::<Option<Vec<usize>>>() {
            Some(source) => update.at(&source),
            None => input.at(index),
        }
    })])
}

/// Clamped starts with their axes.
fn lower_starts<'c>(
    cx: &LowerContext<'c>,
    op: Op<'c>,
    first: usize,
    axes: &[i64],
    input: &TensorType,
    part: &TensorType,
) -> Result<Vec<(usize, Val<'c>)>, String> {
    let mut starts = vec![];
    for (i, axis) in axes.iter().enumerate() {
        let (tensor, _) = cx.operand(op, first + i)?;
        let axis = *axis as usize;
        let last = cx.extent(&(&input.dims[axis] - &part.dims[axis]))?;
        let b = &cx.builder;
        let start = b.value("arith.index_cast", &[b.extract(tensor, &[])], b.index_type(), &[]);
        starts.push((axis, b.same("arith.maxsi", &[b.same("arith.minsi", &[start, last]), b.index(0)])));
    }
    Ok(starts)
}

fn lower_slice<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((tensor, input), result) = (cx.operand(op, 0)?, cx.result_type(op, 0)?);
    let starts = lower_starts(cx, op, 1, &DynamicSlice(op).axes(), &input, &result)?;
    let destination = cx.destination(op, 0)?;
    let value = cx.map(&[], destination, input.element, |b, _| {
        let mut source: Vec<Val> = (0..input.rank()).map(|axis| b.loop_index(axis)).collect();
        for (axis, start) in &starts {
            source[*axis] = b.same("arith.addi", &[source[*axis], *start]);
        }
        b.load(input.element, b.extract(tensor, &source))
    });
    Ok(vec![value])
}

/// Each element is chosen by its index, so the result may stand in the place of the input.
fn lower_update<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((tensor, input), (update, part)) = (cx.operand(op, 0)?, cx.operand(op, 1)?);
    let starts = lower_starts(cx, op, 2, &DynamicUpdateSlice(op).axes(), &input, &part)?;
    let sizes = starts.iter().map(|(axis, _)| cx.extent(&part.dims[*axis])).collect::<Result<Vec<_>, _>>()?;
    let destination = cx.destination(op, 0)?;
    let old = Part { tensor, element: input.element, map: cx.identity(input.rank()) };
    let scalar = input.element.to_scalar_type(cx.context());
    let value = cx.map(&[old], destination, input.element, |b, x| {
        let mut source: Vec<Val> = (0..input.rank()).map(|axis| b.loop_index(axis)).collect();
        let mut inside = b.constant_int(b.integer(1), 1);
        for ((axis, start), size) in starts.iter().zip(&sizes) {
            source[*axis] = b.same("arith.subi", &[source[*axis], *start]);
            let fits = b.same("arith.andi", &[b.cmpi("sge", source[*axis], b.index(0)), b.cmpi("slt", source[*axis], *size)]);
            inside = b.same("arith.andi", &[inside, fits]);
        }
        b.if_else(inside, scalar, |b| b.load(input.element, b.extract(update, &source)), |_| x[0])
    });
    Ok(vec![value])
}
