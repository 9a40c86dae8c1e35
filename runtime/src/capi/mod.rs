//! The C interface (include/winze.h): opaque handles, status codes, a last error per thread. No panic leaves it.

mod library;
mod program;
mod session;
mod state;

pub use library::KernelLibrary;
pub use program::*;
pub use session::*;
pub use state::*;

use crate::{artifact::manifest::ElementType, error::Error};
use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
};

const ABI_VERSION: u32 = 1;
const ARGUMENT: i32 = 100;
const INTERNAL: i32 = 101;

enum Failure {
    Runtime(Error),
    Argument(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Runtime(error)
    }
}

type CResult<T = ()> = Result<T, Failure>;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

fn argument<T>(what: impl Into<String>) -> CResult<T> {
    Err(Failure::Argument(what.into()))
}

/// Text up to its first NUL.
fn c_text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

fn guard(body: impl FnOnce() -> CResult) -> i32 {
    let (code, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(Failure::Runtime(error))) => (error.code(), error.to_string()),
        Ok(Err(Failure::Argument(what))) => (ARGUMENT, format!("argument: {what}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            (INTERNAL, format!("internal: {}; please report this", text.unwrap_or("unknown panic")))
        }
    };
    LAST_ERROR.with_borrow_mut(|last| *last = c_text(&message));
    code
}

/// # Safety
/// `pointer` is null or valid for the lifetime that the caller picks.
unsafe fn reference<'a, T>(pointer: *const T, what: &str) -> CResult<&'a T> {
    // SAFETY: see above.
    unsafe { pointer.as_ref() }.map_or_else(|| argument(format!("{what} is null")), Ok)
}

/// # Safety
/// `pointer` is null or points to memory for a `T`.
unsafe fn write<T>(pointer: *mut T, what: &str, value: T) -> CResult {
    if pointer.is_null() {
        return argument(format!("{what} is null"));
    }
    // SAFETY: see above.
    unsafe { pointer.write(value) };
    Ok(())
}

/// Destroys what a handle stands for; nothing for null.
///
/// # Safety
/// `handle` is null or came from `Box::into_raw`, and is not used again.
unsafe fn release<T>(handle: *mut T) {
    if !handle.is_null() {
        guard(|| {
            // SAFETY: see above.
            drop(unsafe { Box::from_raw(handle) });
            Ok(())
        });
    }
}

/// # Safety
/// `pointer` is null or a NUL-terminated string.
unsafe fn text<'a>(pointer: *const c_char, what: &str) -> CResult<&'a str> {
    if pointer.is_null() {
        return argument(format!("{what} is null"));
    }
    // SAFETY: see above.
    unsafe { CStr::from_ptr(pointer) }.to_str().or_else(|_| argument(format!("{what} is not UTF-8")))
}

/// # Safety
/// `pointer` points to `count` values, or is null.
unsafe fn slice<'a, T>(pointer: *const T, count: usize, what: &str) -> CResult<&'a [T]> {
    match (count, pointer.is_null()) {
        (0, _) => Ok(&[]),
        (_, true) => argument(format!("{what} is null")),
        // SAFETY: see above.
        _ => Ok(unsafe { std::slice::from_raw_parts(pointer, count) }),
    }
}

fn element_code(element: ElementType) -> i32 {
    ElementType::ALL.iter().position(|e| *e == element).map_or(-1, |code| code as i32)
}

fn element_of(code: i32) -> CResult<ElementType> {
    let element = usize::try_from(code).ok().and_then(|code| ElementType::ALL.get(code).copied());
    element.map_or_else(|| argument(format!("element type {code} does not exist")), Ok)
}

#[unsafe(no_mangle)]
pub extern "C" fn wz_version() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    part(env!("CARGO_PKG_VERSION_MAJOR")) << 16 | part(env!("CARGO_PKG_VERSION_MINOR")) << 8 | part(env!("CARGO_PKG_VERSION_PATCH"))
}

#[unsafe(no_mangle)]
pub extern "C" fn wz_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn wz_abi_version() -> u32 {
    ABI_VERSION
}

#[unsafe(no_mangle)]
pub extern "C" fn wz_last_error() -> *const c_char {
    LAST_ERROR.with_borrow(|last| last.as_ptr())
}
