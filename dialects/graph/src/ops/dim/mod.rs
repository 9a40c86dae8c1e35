//! `graph.dim`: extent of an axis as a value.

use crate::{
    dialect::Dim as DimOp,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType, check_axis},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type, operation::OperationLike},
    op_hooks::{InferContext, OpHooks},
    walk,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.dim",
    role: Role::Constant,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// Whether only extents of what an op makes are asked for, which its types tell.
pub fn only_measured(op: OperationRef) -> bool {
    let mut users = op.results().flat_map(|result| walk::users(result.into())).peekable();
    users.peek().is_some() && users.all(|user| DimOp::cast(user).is_some())
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    check_axis(attribute(cx, "axis")?, operand_type(cx, 0)?.rank())?;
    Ok(vec![TensorType::new(ElementType::I64, vec![]).to_type(cx.context)])
}

fn eval(_: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let axis = check_axis(DimOp(op).axis(), inputs[0].rank())?;
    Ok(vec![Tensor::scalar(ElementType::I64, Scalar::Signed(inputs[0].shape[axis] as i64))])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let input = TensorType::of(DimOp(op).input())?;
    let extent = cx.extent(&input.dims[check_axis(DimOp(op).axis(), input.rank())?])?;
    let value = cx.builder.value("arith.index_cast", &[extent], cx.builder.integer(64), &[]);
    let destination = cx.destination(op, 0)?;
    Ok(vec![cx.fill(value, destination)])
}
