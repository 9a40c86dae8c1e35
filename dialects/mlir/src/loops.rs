//! Loop transformations of MLIR that have no C API.

use melior::ir::OperationRef;
use mlir_sys::MlirOperation;

unsafe extern "C" {
    fn winzeUnrollLoop(r#loop: MlirOperation, factor: u64) -> bool;
}

/// Puts `factor` copies of the body of an `scf.for` into each of its turns, in order, and the turns that are left over behind the loop. A loop of one turn
/// becomes its body, so `op` may be gone afterwards. False where MLIR cannot, with nothing changed.
pub fn unroll(op: OperationRef, factor: u64) -> bool {
    // SAFETY: the operation is live; the shim checks what it is.
    unsafe { winzeUnrollLoop(op.to_raw(), factor) }
}
