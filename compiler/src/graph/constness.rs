//! Which values of a graph `fold-constants` makes constants of any size.

use super::fold_constants::MAX_REDUCED;
use melior::ir::{OperationRef, Value, operation::OperationLike, operation::OperationResult};
use winze_graph::{
    op::{self, Role},
    types::TensorType,
};

/// Length of a chain of ops that is surely not worth following.
const MAX_DEPTH: usize = 32;

/// Whether a value is a constant, or elementwise ops, views and small reductions of constants.
pub fn is_constant(value: Value) -> bool {
    constant_within(value, MAX_DEPTH)
}

fn constant_within(value: Value, depth: usize) -> bool {
    let Ok(result) = OperationResult::try_from(value) else { return false };
    let producer: OperationRef = result.owner();
    let Some(definition) = op::find_for(producer) else { return false };
    let constant = matches!(definition.name, "graph.constant" | "graph.weight");
    let follows = match definition.role {
        Role::View => true,
        Role::Reduction => producer.operands().all(|operand| elements(operand).is_some_and(|count| count <= MAX_REDUCED)),
        _ => definition.scalar.is_some(),
    };
    let fixed = TensorType::of(value).is_ok_and(|r#type| r#type.static_shape().is_some());
    fixed && (constant || (follows && depth > 0 && producer.operands().all(|operand| constant_within(operand, depth - 1))))
}

/// Number of elements of a tensor of fixed extents.
fn elements(value: Value) -> Option<i64> {
    Some(TensorType::of(value).ok()?.static_shape()?.iter().product())
}
