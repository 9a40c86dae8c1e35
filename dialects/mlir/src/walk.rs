//! Visiting operations.

use melior::ir::{
    BlockLike, BlockRef, Operation, OperationRef, RegionLike, Type, TypeLike, Value, ValueLike, block::BlockArgument,
    operation::OperationLike,
};
use std::convert::Infallible;

/// Operations of a block, in order. The next one is looked up before the current one is handed out, so the current one may be erased.
pub fn operations<'c: 'a, 'a>(block: BlockRef<'c, 'a>) -> impl Iterator<Item = OperationRef<'c, 'a>> {
    // SAFETY: `first_operation` borrows the local handle, but the operation lives as long as the block does.
    let mut next = block.first_operation().map(|op| unsafe { OperationRef::from_raw(op.to_raw()) });
    std::iter::from_fn(move || {
        let current: OperationRef<'c, 'a> = next?;
        // SAFETY: as above.
        next = current.next_in_block().map(|op| unsafe { OperationRef::from_raw(op.to_raw()) });
        Some(current)
    })
}

/// Blocks of all regions of an operation, in order.
pub fn blocks<'c: 'a, 'a>(op: OperationRef<'c, 'a>) -> Vec<BlockRef<'c, 'a>> {
    let mut blocks = vec![];
    for region in op.regions() {
        let mut next = region.first_block();
        while let Some(block) = next {
            // SAFETY: the block lives as long as `op`.
            blocks.push(unsafe { BlockRef::from_raw(block.to_raw()) });
            next = block.next_in_region();
        }
    }
    blocks
}

/// Calls `visit` for every operation nested in `op`, outer before inner, without `op` itself. The first error stops the walk.
pub fn walk<'c: 'a, 'a, E>(op: OperationRef<'c, 'a>, visit: &mut impl FnMut(OperationRef<'c, 'a>) -> Result<(), E>) -> Result<(), E> {
    for block in blocks(op) {
        for inner in operations(block) {
            visit(inner)?;
            walk(inner, visit)?;
        }
    }
    Ok(())
}

/// Operations nested in `op` that are `wanted`, outer before inner: a list, so that they may be changed while it is gone through.
pub fn find<'c: 'a, 'a>(op: OperationRef<'c, 'a>, wanted: impl Fn(OperationRef<'c, 'a>) -> bool) -> Vec<OperationRef<'c, 'a>> {
    let mut found = vec![];
    let Ok(()) = walk::<Infallible>(op, &mut |op| {
        if wanted(op) {
            found.push(op);
        }
        Ok(())
    });
    found
}

/// Operations called `name` nested in `op`, as [`find`] lists them.
pub fn named<'c: 'a, 'a>(op: OperationRef<'c, 'a>, name: &str) -> Vec<OperationRef<'c, 'a>> {
    find(op, |op| op.name().as_string_ref().as_str() == Ok(name))
}

/// Uses of `value`: the operation and the number of its operand.
pub fn uses<'c: 'a, 'a>(value: Value<'c, 'a>) -> impl Iterator<Item = (OperationRef<'c, 'a>, usize)> {
    // SAFETY: a null use ends the list; owners are live while the value is.
    let mut next = unsafe { mlir_sys::mlirValueGetFirstUse(value.to_raw()) };
    std::iter::from_fn(move || unsafe {
        if next.ptr.is_null() {
            return None;
        }
        let owner = OperationRef::from_raw(mlir_sys::mlirOpOperandGetOwner(next));
        let number = mlir_sys::mlirOpOperandGetOperandNumber(next) as usize;
        next = mlir_sys::mlirOpOperandGetNextUse(next);
        Some((owner, number))
    })
}

/// Operations that use `value`, once per use.
pub fn users<'c: 'a, 'a>(value: Value<'c, 'a>) -> impl Iterator<Item = OperationRef<'c, 'a>> {
    uses(value).map(|(owner, _)| owner)
}

/// `value` as a block argument, if it is one. melior's conversion of anything else prints its operation into the error, which takes long.
pub fn block_argument<'c, 'a>(value: Value<'c, 'a>) -> Option<BlockArgument<'c, 'a>> {
    value.is_block_argument().then(|| BlockArgument::try_from(value).ok()).flatten()
}

/// Makes every use of `old` a use of `new`.
pub fn replace_all_uses(old: Value, new: Value) {
    // SAFETY: both values are live.
    unsafe { mlir_sys::mlirValueReplaceAllUsesOfWith(old.to_raw(), new.to_raw()) }
}

/// Unlinks and destroys an operation without uses.
pub fn erase(op: OperationRef) {
    // SAFETY: the caller hands over an operation that nothing uses; destroying unlinks it first.
    unsafe {
        mlir_sys::mlirOperationRemoveFromParent(op.to_raw());
        mlir_sys::mlirOperationDestroy(op.to_raw());
    }
}

/// Moves an operation to the end of a block.
pub fn move_to_end<'c>(op: OperationRef<'c, '_>, block: BlockRef<'c, '_>) {
    // SAFETY: the operation leaves its block and is owned by the other one at once.
    unsafe {
        mlir_sys::mlirOperationRemoveFromParent(op.to_raw());
        mlir_sys::mlirBlockAppendOwnedOperation(block.to_raw(), op.to_raw());
    }
}

/// Operand `index` of `op` becomes `value`.
pub fn set_operand(op: OperationRef, index: usize, value: Value) {
    // SAFETY: both are live; MLIR checks the index in its own assertions, callers pass a valid one.
    unsafe { mlir_sys::mlirOperationSetOperand(op.to_raw(), index as isize, value.to_raw()) }
}

/// Changes the type of a value in place; the verifier decides later whether its users agree.
pub fn set_type(value: Value, r#type: Type) {
    // SAFETY: both are live.
    unsafe { mlir_sys::mlirValueSetType(value.to_raw(), r#type.to_raw()) }
}

/// A detached copy of an operation with its regions; operands stay the same values.
pub fn copy<'c>(op: OperationRef<'c, '_>) -> Operation<'c> {
    // SAFETY: the clone is owned by the caller and lives in the same context.
    unsafe { Operation::from_raw(mlir_sys::mlirOperationClone(op.to_raw())) }
}
