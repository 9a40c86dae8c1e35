//! The one door to MLIR's C and C++ API: melior, plus what it lacks.
//!
//! | module | what it adds |
//! |---|---|
//! | [`pass`] | passes written in Rust, with options, in MLIR's own registry |
//! | [`pass_manager`] | textual pipelines whose failures keep every diagnostic; hooks around passes, crash reproducers, timing |
//! | [`op_hooks`] | verifiers, result-type inference and canonicalization of ODS ops, written in Rust |
//! | [`rewrite`] | greedy patterns without melior's leak |
//! | [`conversion`] | dialect conversion |
//! | [`diagnostics`] | diagnostics as values, with location and notes |
//! | [`transform`] | applying transform-dialect sequences |
//! | [`attributes`] | attribute values to and from Rust types, for generated op wrappers |
//! | [`loops`] | unrolling |
//! | [`locations`] | which model nodes an op comes from |
//! | [`walk`] | visiting operations |
//! | [`tools`] | `mlir-opt` and language-server drivers with our dialects and passes |
//!
//! Every callback from C++ catches panics: none crosses a C++ frame.

pub mod attributes;
pub mod context;
pub mod conversion;
pub mod diagnostics;
pub mod locations;
pub mod loops;
pub mod op_hooks;
pub mod pass;
pub mod pass_manager;
pub mod rewrite;
pub mod tools;
pub mod transform;
pub mod walk;

pub use melior;
pub use mlir_sys;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs a callback; a panic becomes its message instead of unwinding into C++.
pub(crate) fn catch<R>(callback: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(callback)).map_err(|payload| format!("internal error: panic: {}", panic_message(&*payload)))
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}

/// Borrows the text of a C-API string.
///
/// # Safety
/// `raw` must point at live UTF-8 text for `'a`.
pub(crate) unsafe fn str_from_raw<'a>(raw: mlir_sys::MlirStringRef) -> &'a str {
    if raw.length == 0 {
        return "";
    }
    // SAFETY: the caller vouches for pointer and length; MLIR identifiers and option texts are UTF-8.
    unsafe { std::str::from_utf8(std::slice::from_raw_parts(raw.data.cast(), raw.length)).unwrap_or("") }
}

/// A C-API string that borrows `text`.
pub(crate) fn str_to_raw(text: &str) -> mlir_sys::MlirStringRef {
    mlir_sys::MlirStringRef { data: text.as_ptr().cast(), length: text.len() }
}
