//! `graph.fail`: stops the run with a message.

use crate::{dialect::Fail, eval::EvalContext, op::OpDefinition, ops::r#yield::control, tensor::Tensor};
use winze_mlir::melior::ir::OperationRef;

pub const DEFINITION: OpDefinition = OpDefinition { eval, ..control("graph.fail", None) };

fn eval(_: &EvalContext, op: OperationRef, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
    Err(Fail(op).message())
}
