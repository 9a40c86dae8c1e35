//! `mlir-opt` and language-server drivers with our dialects and passes.

use crate::str_to_raw;
use melior::dialect::DialectRegistry;
use mlir_sys::{MlirDialectRegistry, MlirStringRef};
use std::ffi::{CString, c_char};

unsafe extern "C" {
    fn winzeOptMain(argc: i32, argv: *mut *mut c_char, name: MlirStringRef, registry: MlirDialectRegistry) -> i32;
    fn winzeLspMain(argc: i32, argv: *mut *mut c_char, registry: MlirDialectRegistry) -> i32;
}

/// Everything `mlir-opt` does, on the dialects in `registry` and all registered passes. Returns the exit code.
pub fn opt_main(name: &str, arguments: &[String], registry: &DialectRegistry) -> i32 {
    with_argv(name, arguments, |argc, argv| {
        // SAFETY: argv is a null-terminated array of C strings that lives during the call.
        unsafe { winzeOptMain(argc, argv, str_to_raw(name), registry.to_raw()) }
    })
}

/// The MLIR language server on the dialects in `registry`. Returns the exit code.
pub fn lsp_main(name: &str, arguments: &[String], registry: &DialectRegistry) -> i32 {
    // SAFETY: as in `opt_main`.
    with_argv(name, arguments, |argc, argv| unsafe { winzeLspMain(argc, argv, registry.to_raw()) })
}

fn with_argv<R>(name: &str, arguments: &[String], call: impl FnOnce(i32, *mut *mut c_char) -> R) -> R {
    // Operating systems hand over arguments without inner NULs; one from elsewhere ends there, as it would in C.
    let c_string = |text: &str| CString::new(text.split('\0').next().unwrap_or("")).expect("cut at the first NUL");
    let mut strings: Vec<CString> = vec![c_string(name)];
    strings.extend(arguments.iter().map(|argument| c_string(argument)));
    let mut pointers: Vec<*mut c_char> = strings.iter().map(|string| string.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    call(strings.len() as i32, pointers.as_mut_ptr())
}
