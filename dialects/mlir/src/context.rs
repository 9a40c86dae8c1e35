//! The context behind a piece of IR.

use melior::{Context, ContextRef, ir::OperationRef};
use mlir_sys::MlirContext;
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

/// Address of a context -> address of its leaked `ContextRef`, for the life of the process: the handle is the pointer alone, so a reused address
/// may reuse it.
static HANDLES: LazyLock<Mutex<HashMap<usize, usize>>> = LazyLock::new(Default::default);

/// The context of an operation. (melior's `ContextRef::to_ref` returns a reference to the `ContextRef` itself, which usually is a temporary.)
pub fn context_of<'c>(op: OperationRef<'c, '_>) -> &'c Context {
    // SAFETY: the operation's context outlives it, and 'c is the context's lifetime.
    unsafe { from_raw(mlir_sys::mlirOperationGetContext(op.to_raw())) }
}

/// A context by its raw handle.
///
/// # Safety
/// The context must live for `'c`.
pub unsafe fn from_raw<'c>(raw: MlirContext) -> &'c Context {
    let mut handles = HANDLES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // SAFETY: the caller vouches for the context.
    let leak = || Box::into_raw(Box::new(unsafe { ContextRef::from_raw(raw) })) as usize;
    let handle = *handles.entry(raw.ptr as usize).or_insert_with(leak) as *const ContextRef<'c>;
    // SAFETY: the handle is leaked, so the reference into it does not dangle.
    unsafe { (*handle).to_ref() }
}
