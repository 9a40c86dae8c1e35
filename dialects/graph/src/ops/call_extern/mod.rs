//! `graph.call_extern`: a kernel of the user. Shapes follow from its signature; what it computes only the host knows.

pub mod signature;

use crate::{
    dialect::CallExtern,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    op::OpDefinition,
    ops::r#yield::control,
    tensor::Tensor,
    types::TensorType,
};
use signature::Signature;
use winze_mlir::{
    melior::ir::{OperationRef, Type},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition =
    OpDefinition { hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None }, eval, ..control("graph.call_extern", None) };

/// Values of the names in the signature of a call, in order.
pub fn dims(op: CallExtern) -> Result<Vec<Dim>, String> {
    let inputs = op.inputs().into_iter().map(TensorType::of).collect::<Result<Vec<_>, _>>()?;
    Signature::parse(&op.signature())?.bind(&inputs)
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let signature = Signature::parse(&attribute::<String>(cx, "signature")?)?;
    let scalars: Vec<i64> = attribute(cx, "scalars")?;
    if scalars.len() != signature.scalars.len() {
        return Err(format!("'scalars' has {} values for {} of the signature {signature}", scalars.len(), signature.scalars.len()));
    }
    if attribute::<String>(cx, "name")?.is_empty() {
        return Err("'name' is empty; the host finds the kernel by it".into());
    }
    let inputs = (0..cx.operands.len()).map(|i| operand_type(cx, i)).collect::<Result<Vec<_>, _>>()?;
    let dims = signature.bind(&inputs)?;
    let wanted = signature.inputs(&dims);
    if let Some(i) = (0..inputs.len()).find(|i| inputs[*i].dims != wanted[*i].dims) {
        let list = |r#type: &TensorType| r#type.dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!("input {i} is [{}], by the signature {signature} it is [{}]", list(&inputs[i]), list(&wanted[i])));
    }
    Ok(signature.outputs(&dims).iter().map(|output| output.to_type(cx.context)).collect())
}

fn eval(_: &EvalContext, op: OperationRef, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
    Err(format!("graph.call_extern: only a run has the kernel \"{}\"", CallExtern(op).name()))
}
