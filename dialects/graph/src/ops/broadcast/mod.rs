//! `graph.broadcast`: repeats a tensor along new or unit axes.

use crate::{
    dialect::Broadcast,
    dim::Dim,
    eval::EvalContext,
    infer::unary_types,
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role, op_name},
    tensor::Tensor,
    types::check_axes,
};
use winze_mlir::{
    melior::ir::{
        AffineExpr, OperationRef, ValueLike,
        operation::{OperationLike, OperationResult},
    },
    op_hooks::OpHooks,
    rewrite::PatternSet,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.broadcast",
    role: Role::View,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: Some(canonicalize) },
    eval,
    lower,
    scalar: None,
};

fn verify(op: OperationRef) -> Result<(), String> {
    let (input, result) = unary_types(op)?;
    let axes = Broadcast(op).axes();
    if axes.len() != input.rank() {
        return Err(format!("'axes' has {} entries for {} axes of the input; give one per axis", axes.len(), input.rank()));
    }
    let axes = check_axes(&axes, result.rank())?;
    if !axes.is_sorted() {
        return Err(format!("'axes' {axes:?} are not increasing; transpose first"));
    }
    if input.element != result.element {
        return Err(format!("changes the element type from {} to {}; use graph.convert", input.element, result.element));
    }
    for (i, axis) in axes.into_iter().enumerate() {
        let (from, to) = (&input.dims[i], &result.dims[axis]);
        if from != to && *from != Dim::from(1) {
            return Err(format!("axis {i} of extent {from} becomes axis {axis} of extent {to}; extents are equal, or 1 in the input"));
        }
    }
    Ok(())
}

fn canonicalize(patterns: &mut PatternSet) {
    patterns.add("graph.broadcast", 1, |op, rewriter| {
        let (broadcast, input) = (Broadcast(op), op.operand(0).map_err(|e| e.to_string())?);
        let result_type = broadcast.result().r#type();
        if input.r#type() == result_type {
            rewriter.replace_op_with_values(op, &[input]);
            return Ok(true);
        }
        let Ok(producer) = OperationResult::try_from(input) else { return Ok(false) };
        let producer = producer.owner();
        if op_name(producer) != "graph.broadcast" {
            return Ok(false);
        }
        let (inner, outer) = (Broadcast(producer).axes(), broadcast.axes());
        let axes = inner.iter().map(|axis| outer[*axis as usize]).collect();
        let context = winze_mlir::context::context_of(op);
        let source = producer.operand(0).map_err(|e| e.to_string())?;
        let joined = rewriter.insert(Broadcast::create(context, op.location(), source, axes, &[result_type]));
        rewriter.replace_op_with_operation(op, joined);
        Ok(true)
    });
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let axes = check_axes(&Broadcast(op).axes(), shape.len())?;
    let input = &inputs[0];
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let source: Vec<usize> = axes.iter().zip(&input.shape).map(|(axis, extent)| if *extent == 1 { 0 } else { index[*axis] }).collect();
        input.at(&source)
    })])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let result = cx.result_type(op, 0)?;
    let axes = check_axes(&Broadcast(op).axes(), result.rank())?;
    let destination = cx.destination(op, 0)?;
    let map = axes
        .iter()
        .zip(&input.dims)
        .map(|(axis, extent)| if *extent == result.dims[*axis] { cx.loop_dim(*axis) } else { AffineExpr::constant(cx.context(), 0) })
        .collect();
    Ok(vec![cx.map(&[Part { tensor, element: input.element, map }], destination, result.element, |_, x| x[0])])
}
