//! `graph.weight`: a constant of the constant store.

use crate::{
    dialect::Weight,
    eval::EvalContext,
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
};
use winze_mlir::{melior::ir::OperationRef, op_hooks::OpHooks};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.weight",
    role: Role::Constant,
    hooks: OpHooks { verify: None, infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn eval(cx: &EvalContext, op: OperationRef, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let id = Weight(op).id();
    let tensor = (cx.weights)(&id)?;
    let (r#type, shape) = cx.result_type(op, 0)?;
    if tensor.element() != r#type.element || tensor.shape != shape {
        return Err(format!(
            "weight '{id}' is {} of shape {:?}, the graph says {} of shape {shape:?}",
            tensor.element(),
            tensor.shape,
            r#type.element
        ));
    }
    Ok(vec![tensor])
}

fn lower<'c>(_: &mut LowerContext<'c>, _: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    Err("kernels hold no weights; make the weight an input of the kernel".into())
}
