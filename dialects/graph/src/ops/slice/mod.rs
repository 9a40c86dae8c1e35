//! `graph.slice`, `graph.symbolic_slice` and `graph.reverse`: a strided box of a tensor, and its elements in reverse order.

use crate::{
    dialect::{Reverse, Slice, SymbolicSlice},
    dim::Dim,
    eval::EvalContext,
    infer::{at_least, attribute, operand_type, per_axis, unary_types},
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
    types::{TensorType, check_axes, dims_of_attribute},
};
use winze_mlir::{
    melior::ir::{AffineExpr, OperationRef, Type, ValueLike, operation::OperationLike},
    op_hooks::{InferContext, OpHooks},
    rewrite::PatternSet,
};

pub const SLICE: OpDefinition = OpDefinition {
    name: "graph.slice",
    role: Role::View,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: Some(canonicalize_slice) },
    eval: eval_slice,
    lower: lower_slice,
    scalar: None,
};

pub const SYMBOLIC: OpDefinition = OpDefinition {
    name: "graph.symbolic_slice",
    role: Role::View,
    hooks: OpHooks { verify: Some(verify_symbolic), infer: None, canonicalize: None },
    eval: eval_symbolic,
    lower: lower_symbolic,
    scalar: None,
};

pub const REVERSE: OpDefinition = OpDefinition {
    name: "graph.reverse",
    role: Role::View,
    hooks: OpHooks { verify: Some(verify_reverse), infer: None, canonicalize: Some(canonicalize_reverse) },
    eval: eval_reverse,
    lower: lower_reverse,
    scalar: None,
};

/// First element and number of elements along one axis.
fn bounds(extent: &Dim, start: i64, limit: i64, stride: i64) -> Result<(Dim, Dim), String> {
    let from_end = |value: i64| if value < 0 { extent + &Dim::from(value) } else { Dim::from(value) };
    let (first, last) = match extent.as_static() {
        Some(size) => {
            let clamp = |value: i64| if value < 0 { (size + value).max(0) } else { value.min(size) };
            (Dim::from(clamp(start)), Dim::from(clamp(limit)))
        }
        None => (from_end(start), if limit == i64::MAX { extent.clone() } else { from_end(limit) }),
    };
    let count = (&last - &first).ceil_div(&Dim::from(stride));
    match count.as_static() {
        Some(count) => Ok((first, Dim::from(count.max(0)))),
        None => Ok((first, count)),
    }
}

/// Start and extent per axis.
fn all_bounds(input: &TensorType, starts: Vec<i64>, limits: Vec<i64>, strides: Vec<i64>) -> Result<Vec<(Dim, Dim)>, String> {
    let rank = input.rank();
    let (starts, limits, strides) =
        (per_axis("starts", starts, rank)?, per_axis("limits", limits, rank)?, per_axis("strides", strides, rank)?);
    at_least("strides", &strides, 1)?;
    (0..rank).map(|i| bounds(&input.dims[i], starts[i], limits[i], strides[i])).collect()
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let input = operand_type(cx, 0)?;
    let bounds = all_bounds(&input, attribute(cx, "starts")?, attribute(cx, "limits")?, attribute(cx, "strides")?)?;
    Ok(vec![TensorType::new(input.element, bounds.into_iter().map(|(_, count)| count).collect()).to_type(cx.context)])
}

fn canonicalize_slice(patterns: &mut PatternSet) {
    patterns.add("graph.slice", 1, |op, rewriter| {
        let (slice, input) = (Slice(op), op.operand(0).map_err(|e| e.to_string())?);
        // Equal extents with stride 1 leave no other start than 0.
        let everything = input.r#type() == slice.result().r#type() && slice.strides().iter().all(|stride| *stride == 1);
        let everything = everything && slice.starts().iter().all(|start| *start == 0);
        if everything {
            rewriter.replace_op_with_values(op, &[input]);
        }
        Ok(everything)
    });
}

fn eval_slice(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let slice = Slice(op);
    let bounds = all_bounds(&TensorType::of(slice.input())?, slice.starts(), slice.limits(), slice.strides())?;
    let kept: Vec<usize> = (0..bounds.len()).collect();
    eval_box(cx, op, &inputs[0], bounds.into_iter().map(|(first, _)| first).collect(), &slice.strides(), &kept)
}

/// `kept`: the axis of the input that each axis of the result is.
fn eval_box(
    cx: &EvalContext,
    op: OperationRef,
    input: &Tensor,
    firsts: Vec<Dim>,
    strides: &[i64],
    kept: &[usize],
) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let firsts = firsts.iter().map(|first| first.eval(cx.symbols).and_then(|v| usize::try_from(v).ok())).collect::<Option<Vec<_>>>();
    let firsts = firsts.ok_or_else(|| format!("slice starts before the front of shape {:?}", input.shape))?;
    for axis in 0..firsts.len() {
        let count = kept.iter().position(|kept| *kept == axis).map_or(1, |at| shape[at]);
        if count > 0 && firsts[axis] + (count - 1) * strides[axis] as usize >= input.shape[axis] {
            return Err(format!("slice exceeds axis {axis} of extent {}; the model promises a larger extent", input.shape[axis]));
        }
    }
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let mut source = firsts.clone();
        kept.iter().zip(index).for_each(|(axis, i)| source[*axis] += i * strides[*axis] as usize);
        input.at(&source)
    })])
}

fn lower_slice<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (slice, (_, input)) = (Slice(op), cx.operand(op, 0)?);
    let bounds = all_bounds(&input, slice.starts(), slice.limits(), slice.strides())?;
    let source = cx.operand(op, 0)?;
    lower_box(cx, op, source, bounds.into_iter().map(|(first, _)| first).collect(), &slice.strides())
}

fn lower_box<'c>(
    cx: &mut LowerContext<'c>,
    op: Op<'c>,
    (tensor, input): (Val<'c>, TensorType),
    offsets: Vec<Dim>,
    strides: &[i64],
) -> Result<Vec<Val<'c>>, String> {
    let result = cx.result_type(op, 0)?;
    let dense = strides.iter().all(|stride| *stride == 1);
    // Read by another op of the kernel: a part of the operand, where it is. MLIR refuses slices at the end of a tensor, which empty ones may be.
    if dense && !cx.is_result(op, 0) && result.dims.iter().all(|dim| dim.as_static() != Some(0)) {
        return Ok(vec![cx.slice(tensor, None, &offsets, &result.dims, strides)?]);
    }
    let destination = cx.destination(op, 0)?;
    if result.count().as_static() == Some(0) {
        // tensor.extract_slice refuses every offset in an empty operand; nothing is read.
        let map = (0..input.rank()).map(|i| cx.loop_dim(i)).collect();
        return Ok(vec![cx.map(&[Part { tensor: destination, element: input.element, map }], destination, input.element, |_, x| x[0])]);
    }
    // What an axis without a stride reads has the extent of the result, and offsets stand in a slice of the operand: so loops and operands agree, and
    // tiles of the generic start at their own offsets only.
    let sizes: Vec<Dim> =
        (0..input.rank()).map(|i| if strides[i] == 1 { result.dims[i].clone() } else { &input.dims[i] - &offsets[i] }).collect();
    // An empty slice may start beyond the end, which tensor.extract_slice refuses.
    let offsets: Vec<Dim> =
        offsets.into_iter().zip(&sizes).map(|(offset, size)| if *size == Dim::from(0) { Dim::from(0) } else { offset }).collect();
    let whole = sizes == input.dims && offsets.iter().all(|offset| *offset == Dim::from(0));
    let tensor = if whole { tensor } else { cx.slice(tensor, None, &offsets, &sizes, &vec![1; input.rank()])? };
    let map = strides.iter().enumerate().map(|(i, stride)| cx.loop_dim(i) * AffineExpr::constant(cx.context(), *stride)).collect();
    Ok(vec![cx.map(&[Part { tensor, element: input.element, map }], destination, input.element, |_, x| x[0])])
}

/// Axes of the input that the result has.
fn kept_axes(slice: SymbolicSlice, rank: usize) -> Result<Vec<usize>, String> {
    let dropped = check_axes(&slice.dropped().unwrap_or_default(), rank)?;
    Ok((0..rank).filter(|axis| !dropped.contains(axis)).collect())
}

fn verify_symbolic(op: OperationRef) -> Result<(), String> {
    let (input, result) = unary_types(op)?;
    let slice = SymbolicSlice(op);
    let (starts, strides) = (dims_of_attribute(slice.starts())?, per_axis("strides", slice.strides(), input.rank())?);
    at_least("strides", &strides, 1)?;
    let kept = kept_axes(slice, input.rank())?;
    if starts.len() != input.rank() || result.rank() != kept.len() || result.element != input.element {
        let (count, rank) = (starts.len(), input.rank());
        return Err(format!(
            "{count} starts for an input of rank {rank}; the result has its axes but the dropped ones, and its element type"
        ));
    }
    for (axis, (start, stride)) in starts.iter().zip(&strides).enumerate() {
        let one = Dim::from(1);
        let (extent, count) = (&input.dims[axis], kept.iter().position(|kept| *kept == axis).map_or(&one, |at| &result.dims[at]));
        let last = &(&(count - &Dim::from(1)) * &Dim::from(*stride)) + start;
        let beyond = count.as_static() != Some(0) && (extent - &last).as_static().is_some_and(|rest| rest < 1);
        if beyond || start.as_static().is_some_and(|start| start < 0) || count.as_static().is_some_and(|count| count < 0) {
            return Err(format!("{count} elements from {start} on leave axis {axis} of extent {extent}"));
        }
    }
    Ok(())
}

fn eval_symbolic(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let slice = SymbolicSlice(op);
    let kept = kept_axes(slice, inputs[0].shape.len())?;
    eval_box(cx, op, &inputs[0], dims_of_attribute(slice.starts())?, &slice.strides(), &kept)
}

fn lower_symbolic<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (slice, (tensor, input)) = (SymbolicSlice(op), cx.operand(op, 0)?);
    let (starts, strides, kept) = (dims_of_attribute(slice.starts())?, slice.strides(), kept_axes(slice, input.rank())?);
    if kept.len() == input.rank() {
        return lower_box(cx, op, (tensor, input), starts, &strides);
    }
    let dropped: Vec<usize> = (0..input.rank()).filter(|axis| !kept.contains(axis)).collect();
    let mut first = vec![Dim::from(0); input.rank()];
    let mut sizes = input.dims.clone();
    for axis in &dropped {
        (first[*axis], sizes[*axis]) = (starts[*axis].clone(), Dim::from(1));
    }
    let part = cx.slice_without(tensor, None, &first, &sizes, &vec![1; input.rank()], &dropped)?;
    let left = |dims: &[Dim]| kept.iter().map(|axis| dims[*axis].clone()).collect::<Vec<_>>();
    let strides: Vec<i64> = kept.iter().map(|axis| strides[*axis]).collect();
    let source = (part, TensorType::new(input.element, left(&input.dims)));
    lower_box(cx, op, source, left(&starts), &strides)
}

fn verify_reverse(op: OperationRef) -> Result<(), String> {
    check_axes(&Reverse(op).axes(), unary_types(op)?.0.rank()).map(|_| ())
}

fn canonicalize_reverse(patterns: &mut PatternSet) {
    patterns.add("graph.reverse", 1, |op, rewriter| {
        let input = op.operand(0).map_err(|e| e.to_string())?;
        let nothing = Reverse(op).axes().is_empty();
        if nothing {
            rewriter.replace_op_with_values(op, &[input]);
        }
        Ok(nothing)
    });
}

fn eval_reverse(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let axes = check_axes(&Reverse(op).axes(), shape.len())?;
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let source: Vec<usize> = (0..shape.len()).map(|i| if axes.contains(&i) { shape[i] - 1 - index[i] } else { index[i] }).collect();
        inputs[0].at(&source)
    })])
}

fn lower_reverse<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let axes = check_axes(&Reverse(op).axes(), input.rank())?;
    let destination = cx.destination(op, 0)?;
    let lasts = axes.iter().map(|axis| cx.extent(&(&input.dims[*axis] - &Dim::from(1)))).collect::<Result<Vec<_>, _>>()?;
    let value = cx.map(&[], destination, input.element, |b, _| {
        let index: Vec<Val> = (0..input.rank())
            .map(|i| match axes.iter().position(|axis| *axis == i) {
                Some(position) => b.same("arith.subi", &[lasts[position], b.loop_index(i)]),
                None => b.loop_index(i),
            })
            .collect();
        b.load(input.element, b.extract(tensor, &index))
    });
    Ok(vec![value])
}
