//! `graph.concat`: joins tensors along an axis.

use crate::{
    dialect::Concat,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
    types::{TensorType, check_axis},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type, operation::OperationLike},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.concat",
    role: Role::DataMovement,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let first = operand_type(cx, 0).map_err(|_| "needs at least one operand")?;
    let axis = check_axis(attribute(cx, "axis")?, first.rank())?;
    let mut joined = first.clone();
    for i in 1..cx.operands.len() {
        let next = operand_type(cx, i)?;
        let fits = next.element == first.element
            && next.rank() == first.rank()
            && (0..first.rank()).all(|k| k == axis || next.dims[k] == first.dims[k]);
        if !fits {
            return Err(format!(
                "operand {i} is {} {:?}, operand 0 is {} {:?}; all but axis {axis} must be equal",
                next.element, next.dims, first.element, first.dims
            ));
        }
        joined.dims[axis] = &joined.dims[axis] + &next.dims[axis];
    }
    Ok(vec![joined.to_type(cx.context)])
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let axis = check_axis(Concat(op).axis(), shape.len())?;
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let mut index = index.to_vec();
        let mut inputs = inputs.iter();
        let mut input = inputs.next().expect("at least one operand");
        while index[axis] >= input.shape[axis] {
            index[axis] -= input.shape[axis];
            input = inputs.next().expect("the result is as long as all operands");
        }
        input.at(&index)
    })])
}

/// Every operand is copied into its own slice of the destination, so nothing is stored twice. MLIR refuses a slice at the end of its tensor,
/// so operands known to be empty are left out.
fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let result = cx.result_type(op, 0)?;
    let axis = check_axis(Concat(op).axis(), result.rank())?;
    let mut value = cx.destination(op, 0)?;
    let (strides, mut offsets) = (vec![1; result.rank()], vec![Dim::from(0); result.rank()]);
    for i in 0..op.operand_count() {
        let (tensor, input): (_, TensorType) = cx.operand(op, i)?;
        if input.dims.iter().any(|dim| dim.as_static() == Some(0)) {
            continue;
        }
        let slice = cx.slice(value, None, &offsets, &input.dims, &strides)?;
        let filled = cx.copy(tensor, slice, input.element);
        value = cx.slice(filled, Some(value), &offsets, &input.dims, &strides)?;
        offsets[axis] = &offsets[axis] + &input.dims[axis];
    }
    if result.dims.iter().all(|dim| dim.as_static() != Some(0)) {
        cx.mark_pieces(value, &[axis])?;
    }
    Ok(vec![value])
}
