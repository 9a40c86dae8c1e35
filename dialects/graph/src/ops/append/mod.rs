//! `graph.append`: rows written into a state that stays in place from one run to the next.

use crate::{
    dialect::Append,
    eval::EvalContext,
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
    types::{TensorType, dims_of_attribute},
};
use winze_mlir::{melior::ir::OperationRef, op_hooks::OpHooks};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.append",
    role: Role::DataMovement,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn verify(op: OperationRef) -> Result<(), String> {
    let append = Append(op);
    let (state, rows) = (TensorType::of(append.state())?, TensorType::of(append.rows())?);
    let starts = dims_of_attribute(append.starts())?;
    if state.element != rows.element || state.rank() != rows.rank() || starts.len() != state.rank() {
        let (from, to, count) = (rows.rank(), state.rank(), starts.len());
        return Err(format!("rows of {} and rank {from} with {count} starts for a state of {} and rank {to}", rows.element, state.element));
    }
    for (axis, ((start, count), extent)) in starts.iter().zip(&rows.dims).zip(&state.dims).enumerate() {
        let negative = start.as_static().is_some_and(|start| start < 0);
        if negative || (&(extent - count) - start).as_static().is_some_and(|rest| rest < 0) {
            return Err(format!("{count} rows from {start} on leave axis {axis} of extent {extent}"));
        }
    }
    Ok(())
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let starts = dims_of_attribute(Append(op).starts())?;
    let starts = starts.iter().map(|start| start.eval(cx.symbols).and_then(|v| usize::try_from(v).ok())).collect::<Option<Vec<_>>>();
    let starts = starts.ok_or("rows start before the front of the state")?;
    let (state, rows) = (&inputs[0], &inputs[1]);
    if starts.iter().zip(&rows.shape).zip(&shape).any(|((start, count), extent)| start + count > *extent) {
        return Err(format!("rows {:?} at {starts:?} leave a state {shape:?}", rows.shape));
    }
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let inside = |axis: usize| index[axis].checked_sub(starts[axis]).filter(|i| *i < rows.shape[axis]);
        match (0..shape.len()).map(inside).collect::<Option<Vec<usize>>>() {
            Some(row) => rows.at(&row),
            None => state.at(index),
        }
    })])
}

/// Writes the box of the destination, which holds the state already.
fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((rows, part), starts) = (cx.operand(op, 1)?, dims_of_attribute(Append(op).starts())?);
    let destination = cx.destination(op, 0)?;
    let strides = vec![1; part.rank()];
    let target = cx.slice(destination, None, &starts, &part.dims, &strides)?;
    let written = cx.copy(rows, target, part.element);
    Ok(vec![cx.slice(written, Some(destination), &starts, &part.dims, &strides)?])
}
