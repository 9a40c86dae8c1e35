//! `graph.if`: one of two regions, by a condition at run time.

use crate::{
    op::OpDefinition,
    ops::r#yield::{check_region, control, result_types},
};
use winze_mlir::melior::ir::OperationRef;

pub const DEFINITION: OpDefinition = control("graph.if", Some(verify));

fn verify(op: OperationRef) -> Result<(), String> {
    let results = result_types(op);
    check_region(op, 0, "then", &[], &results)?;
    check_region(op, 1, "else", &[], &results)
}
