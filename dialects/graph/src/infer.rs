//! What result-type inference and verification of ops share: reading attributes and types with messages that name them.

use crate::types::TensorType;
use winze_mlir::{
    attributes::AttributeValue,
    melior::ir::{OperationRef, operation::OperationLike},
    op_hooks::InferContext,
};

/// Attribute `name` of the op to be made.
pub fn attribute<'c, T: AttributeValue<'c>>(cx: &InferContext<'c, '_>, name: &str) -> Result<T, String> {
    cx.attribute(name).and_then(T::from_attribute).ok_or_else(|| format!("needs the attribute '{name}'"))
}

/// Type of operand `index` of the op to be made.
pub fn operand_type(cx: &InferContext, index: usize) -> Result<TensorType, String> {
    TensorType::of(*cx.operands.get(index).ok_or_else(|| format!("needs operand {index}"))?)
}

/// Types of operand 0 and result 0 of an op with explicit types.
pub fn unary_types(op: OperationRef) -> Result<(TensorType, TensorType), String> {
    let operand = op.operand(0).map_err(|e| e.to_string())?;
    let result = op.result(0).map_err(|e| e.to_string())?;
    Ok((TensorType::of(operand)?, TensorType::of(result.into())?))
}

/// A list with one entry per axis.
pub fn per_axis(name: &str, list: Vec<i64>, rank: usize) -> Result<Vec<i64>, String> {
    if list.len() == rank {
        return Ok(list);
    }
    Err(format!("'{name}' has {} entries for {rank} axes; give one per axis", list.len()))
}

/// A list of numbers of at least `minimum`.
pub fn at_least(name: &str, list: &[i64], minimum: i64) -> Result<(), String> {
    match list.iter().find(|value| **value < minimum) {
        Some(value) => Err(format!("'{name}' holds {value}; entries are at least {minimum}")),
        None => Ok(()),
    }
}
