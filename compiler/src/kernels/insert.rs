//! Putting graph ops in the place of others.

use melior::ir::{BlockLike, Operation, OperationRef, Value, ValueLike, operation::OperationLike};
use winze_mlir::walk;

/// Inserts an op before `before`.
pub fn place<'c, 'a>(before: OperationRef<'c, 'a>, op: Operation<'c>) -> OperationRef<'c, 'a> {
    let op = before.block().expect("ops of a function stand in blocks").insert_operation_before(before, op);
    // SAFETY: the op lives as long as the block.
    unsafe { OperationRef::from_raw(op.to_raw()) }
}

/// Inserts an op before `before` and returns its result.
pub fn insert<'c, 'a>(before: OperationRef<'c, 'a>, op: Operation<'c>) -> Value<'c, 'a> {
    let op = place(before, op);
    // SAFETY: the result lives as long as the block.
    unsafe { Value::from_raw(op.result(0).expect("the op has a result").to_raw()) }
}

/// Puts `new` in the place of `old`; `pass` is named if their types differ.
pub fn replace<'c>(pass: &str, old: OperationRef<'c, '_>, new: Operation<'c>) -> Result<(), String> {
    let new = insert(old, new);
    let result: Value = old.result(0).map_err(|e| e.to_string())?.into();
    if result.r#type() != new.r#type() {
        return Err(format!("{pass}: internal error: {} became {} at {}", result.r#type(), new.r#type(), old.location()));
    }
    walk::replace_all_uses(result, new);
    walk::erase(old);
    Ok(())
}
