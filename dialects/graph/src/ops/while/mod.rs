//! `graph.while`: repeats a region while a condition on the carried values holds.

use crate::{
    op::OpDefinition,
    ops::r#yield::{check_region, control, result_types},
    types::{ElementType, TensorType},
};
use winze_mlir::melior::ir::{OperationRef, Type, ValueLike, operation::OperationLike};

pub const DEFINITION: OpDefinition = control("graph.while", Some(verify));

fn verify(op: OperationRef) -> Result<(), String> {
    let carried: Vec<Type> = op.operands().map(|operand| operand.r#type()).collect();
    let results = result_types(op);
    if carried != results {
        return Err("carried values and results differ in type; a loop keeps the types of its initial values".into());
    }
    let condition = TensorType::new(ElementType::Bool, vec![]).to_type(winze_mlir::context::context_of(op));
    check_region(op, 0, "before", &carried, &[condition])?;
    check_region(op, 1, "body", &carried, &carried)
}
