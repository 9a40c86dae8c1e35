//! `graph.kernel`: ops that become one kernel.

use crate::{
    dialect::Kernel,
    op::OpDefinition,
    ops::r#yield::{check_region, control, result_types},
};
use winze_mlir::melior::ir::{OperationRef, Type, ValueLike, operation::OperationLike};

pub const DEFINITION: OpDefinition = control("graph.kernel", Some(verify));

fn verify(op: OperationRef) -> Result<(), String> {
    let inputs: Vec<Type> = op.operands().map(|operand| operand.r#type()).collect();
    if let Some(packed) = Kernel(op).packed()
        && packed.len() != inputs.len()
    {
        return Err(format!("'packed' has {} entries for {} inputs; give one per input, empty for none", packed.len(), inputs.len()));
    }
    check_region(op, 0, "body", &inputs, &result_types(op))
}
