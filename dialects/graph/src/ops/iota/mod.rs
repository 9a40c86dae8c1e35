//! `graph.iota`: 0, 1, 2, ... along an axis.

use crate::{
    dialect::Iota,
    eval::EvalContext,
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role},
    ops::convert::convert_scalar,
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType, check_axis},
};
use winze_mlir::{melior::ir::OperationRef, op_hooks::OpHooks};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.iota",
    role: Role::DataMovement,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn verify(op: OperationRef) -> Result<(), String> {
    let result = TensorType::of(op.result(0).map_err(|e| e.to_string())?.into())?;
    check_axis(Iota(op).axis(), result.rank()).map(|_| ())
}

fn eval(cx: &EvalContext, op: OperationRef, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (r#type, shape) = cx.result_type(op, 0)?;
    let axis = check_axis(Iota(op).axis(), shape.len())?;
    Ok(vec![Tensor::from_index_fn(r#type.element, &shape, |index| Scalar::Signed(index[axis] as i64))])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let r#type = cx.result_type(op, 0)?;
    let axis = check_axis(Iota(op).axis(), r#type.rank())?;
    let destination = cx.destination(op, 0)?;
    let value = cx.map(&[], destination, r#type.element, |b, _| {
        let index = b.value("arith.index_cast", &[b.loop_index(axis)], b.integer(64), &[]);
        b.narrow(r#type.element, convert_scalar(b, ElementType::I64, r#type.element, false, index))
    });
    Ok(vec![value])
}
