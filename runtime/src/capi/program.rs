//! `wz_program_*`: artifacts and what they contain.

use super::{CResult, argument, c_text, element_code, guard, release, slice, text, write};
use crate::{
    artifact::manifest::{Function, Port},
    program::Program,
    session::port_text,
};
use std::{
    ffi::{CString, c_char, c_void},
    ptr,
};

/// `wz_program`.
pub struct CProgram {
    pub(super) program: Program,
    functions: Vec<CFunction>,
    targets: Vec<CString>,
}

struct CFunction {
    name: CString,
    inputs: Vec<CPort>,
    outputs: Vec<CPort>,
    states: Vec<CPort>,
    symbols: Vec<CString>,
}

struct CPort {
    name: CString,
    text: CString,
    element: i32,
    dims: Vec<i64>,
}

/// `wz_port`.
#[repr(C)]
pub struct CPortInfo {
    name: *const c_char,
    element: i32,
    rank: u32,
    dims: *const i64,
    text: *const c_char,
}

/// `wz_symbol`.
#[repr(C)]
pub struct CSymbol {
    name: *const c_char,
    min: i64,
    max: i64,
}

fn c_port(function: &Function, port: &Port) -> CPort {
    CPort {
        name: c_text(&port.name),
        text: c_text(&port_text(function, port)),
        element: element_code(port.element),
        dims: port.dims.iter().map(|dim| dim.as_constant().unwrap_or(-1)).collect(),
    }
}

fn c_program(program: Program) -> *mut CProgram {
    let manifest = program.manifest();
    let functions = manifest.functions.iter().map(|function| CFunction {
        name: c_text(&function.name),
        inputs: function.inputs.iter().map(|port| c_port(function, port)).collect(),
        outputs: function.outputs.iter().map(|port| c_port(function, port)).collect(),
        states: function.states.iter().map(|state| c_port(function, &state.input)).collect(),
        symbols: function.symbols.iter().map(|symbol| c_text(&symbol.name)).collect(),
    });
    let (functions, targets) = (functions.collect(), manifest.variants.iter().map(|v| c_text(&v.target)).collect());
    Box::into_raw(Box::new(CProgram { program, functions, targets }))
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_open(path: *const c_char, program: *mut *mut CProgram) -> i32 {
    guard(|| unsafe {
        write(program, "program", ptr::null_mut())?;
        let opened = Program::open(text(path, "path")?)?;
        write(program, "program", c_program(opened))
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_open_memory(data: *const c_void, bytes: usize, program: *mut *mut CProgram) -> i32 {
    guard(|| unsafe {
        write(program, "program", ptr::null_mut())?;
        let opened = Program::from_bytes(slice(data.cast::<u8>(), bytes, "data")?)?;
        write(program, "program", c_program(opened))
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_open_linked(data: *const c_void, bytes: usize, program: *mut *mut CProgram) -> i32 {
    guard(|| unsafe {
        write(program, "program", ptr::null_mut())?;
        // The header wants data that lives as long as the process.
        let opened = Program::from_linked(slice::<u8>(data.cast(), bytes, "data")?)?;
        write(program, "program", c_program(opened))
    })
}

/// # Safety
/// `program` is null or was returned by an open function and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_free(program: *mut CProgram) {
    // SAFETY: see above.
    unsafe { release(program) }
}

/// # Safety
/// `program` is null or valid, `'a` no longer than it lives.
unsafe fn function<'a>(program: *const CProgram, index: u32) -> Option<&'a CFunction> {
    // SAFETY: see above.
    unsafe { program.as_ref() }.and_then(|program| program.functions.get(index as usize))
}

/// # Safety
/// `program` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_function_count(program: *const CProgram) -> u32 {
    unsafe { program.as_ref() }.map_or(0, |program| program.functions.len() as u32)
}

/// # Safety
/// `program` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_function_name(program: *const CProgram, index: u32) -> *const c_char {
    unsafe { function(program, index) }.map_or(ptr::null(), |function| function.name.as_ptr())
}

/// # Safety
/// `program` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_variant_count(program: *const CProgram) -> u32 {
    unsafe { program.as_ref() }.map_or(0, |program| program.targets.len() as u32)
}

/// # Safety
/// `program` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_variant_target(program: *const CProgram, index: u32) -> *const c_char {
    unsafe { program.as_ref() }.and_then(|program| program.targets.get(index as usize)).map_or(ptr::null(), |target| target.as_ptr())
}

/// # Safety
/// `program` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_input_count(program: *const CProgram, index: u32) -> u32 {
    unsafe { function(program, index) }.map_or(0, |function| function.inputs.len() as u32)
}

/// # Safety
/// `program` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_output_count(program: *const CProgram, index: u32) -> u32 {
    unsafe { function(program, index) }.map_or(0, |function| function.outputs.len() as u32)
}

/// # Safety
/// `program` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_symbol_count(program: *const CProgram, index: u32) -> u32 {
    unsafe { function(program, index) }.map_or(0, |function| function.symbols.len() as u32)
}

fn port_info(port: Option<&CPort>) -> CResult<CPortInfo> {
    let Some(port) = port else { return argument("no such function, input or output") };
    let (name, text) = (port.name.as_ptr(), port.text.as_ptr());
    Ok(CPortInfo { name, element: port.element, rank: port.dims.len() as u32, dims: port.dims.as_ptr(), text })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_input(program: *const CProgram, index: u32, input: u32, port: *mut CPortInfo) -> i32 {
    guard(|| unsafe { write(port, "port", port_info(function(program, index).and_then(|f| f.inputs.get(input as usize)))?) })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_output(program: *const CProgram, index: u32, output: u32, port: *mut CPortInfo) -> i32 {
    guard(|| unsafe { write(port, "port", port_info(function(program, index).and_then(|f| f.outputs.get(output as usize)))?) })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_state_count(program: *const CProgram, index: u32) -> u32 {
    unsafe { function(program, index) }.map_or(0, |f| f.states.len() as u32)
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_state(program: *const CProgram, index: u32, state: u32, port: *mut CPortInfo) -> i32 {
    guard(|| unsafe { write(port, "port", port_info(function(program, index).and_then(|f| f.states.get(state as usize)))?) })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_symbol(program: *const CProgram, index: u32, which: u32, symbol: *mut CSymbol) -> i32 {
    guard(|| unsafe {
        let name = function(program, index).and_then(|f| f.symbols.get(which as usize));
        let (Some(name), Some(program)) = (name, program.as_ref()) else { return argument("no such function or symbol") };
        let range = &program.program.manifest().functions[index as usize].symbols[which as usize];
        write(symbol, "symbol", CSymbol { name: name.as_ptr(), min: range.min, max: range.max.unwrap_or(-1) })
    })
}
