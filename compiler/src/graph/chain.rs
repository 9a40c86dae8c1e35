//! What makes and what uses a value.

use melior::ir::{
    OperationRef, Value, ValueLike,
    operation::{OperationLike, OperationResult},
};
use winze_mlir::walk;

/// The op whose result a value is.
pub fn producer<'c, 'a>(value: Value<'c, 'a>) -> Option<OperationRef<'c, 'a>> {
    // SAFETY: the op lives as long as its result.
    OperationResult::try_from(value).ok().map(|result| unsafe { OperationRef::from_raw(result.owner().to_raw()) })
}

/// What uses the only result, if it is used once, and in the same block.
pub fn only_user<'c: 'a, 'a>(op: OperationRef<'c, 'a>) -> Option<OperationRef<'c, 'a>> {
    let mut users = walk::users(result(op));
    let user = users.next()?;
    (users.next().is_none() && user.block() == op.block()).then_some(user)
}

/// The only result of an op that has one.
pub fn result<'c, 'a>(op: OperationRef<'c, 'a>) -> Value<'c, 'a> {
    // SAFETY: the result lives as long as the op.
    unsafe { Value::from_raw(op.result(0).expect("callers pass ops with a result").to_raw()) }
}
