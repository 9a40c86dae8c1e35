//! Visiting operations.

use melior::ir::{BlockLike, BlockRef, OperationRef, RegionLike, operation::OperationLike};

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
