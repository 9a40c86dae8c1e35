//! The C interface (include/winze.h): opaque handles, status codes, a last error per thread. No panic leaves it.

use crate::{
    artifact::manifest::{ElementType, Function, Port},
    backend::HostRegion,
    device::DeviceChoice,
    error::Error,
    program::Program,
    session::{CancelHandle, Session, SessionOptions, port_text},
    tensor::{Tensor, TensorView},
};
use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

const ABI_VERSION: u32 = 1;
const ARGUMENT: i32 = 100;
const INTERNAL: i32 = 101;

/// `wz_program`.
pub struct CProgram {
    program: Program,
    functions: Vec<CFunction>,
    targets: Vec<CString>,
}

struct CFunction {
    name: CString,
    inputs: Vec<CPort>,
    outputs: Vec<CPort>,
    symbols: Vec<CString>,
}

struct CPort {
    name: CString,
    text: CString,
    element: i32,
    dims: Vec<i64>,
}

/// `wz_session`. The parts that `wz_session_cancel` and other readers use are outside the lock.
pub struct CSession {
    state: Mutex<State>,
    cancel: CancelHandle,
    device: CString,
}

struct State {
    session: Session,
    inputs: Vec<Option<CInput>>,
    /// Outputs that became inputs, by input.
    carried: Vec<Option<Tensor>>,
    /// Function of the last successful run.
    ran: Option<u32>,
}

struct CInput {
    element: ElementType,
    dims: Vec<i64>,
    strides: Option<Vec<i64>>,
    data: *const u8,
    bytes: usize,
}

impl State {
    /// The slot of an input, made if it is the first.
    fn input(&mut self, index: u32) -> CResult<&mut Option<CInput>> {
        let most = self.session.program().manifest().functions.iter().map(|f| f.inputs.len()).max().unwrap_or(0);
        self.inputs.resize_with(most, || None);
        self.carried.resize_with(most, || None);
        match self.inputs.get_mut(index as usize) {
            Some(slot) => Ok(slot),
            None => argument(format!("input {index} does not exist, there are {most}")),
        }
    }
}

// SAFETY: the data pointer is followed only during a run, for which the header asks the caller to keep it valid.
unsafe impl Send for State {}

/// `wz_tensor`.
#[repr(C)]
pub struct CTensor {
    pub element: i32,
    pub rank: u32,
    pub dims: *const i64,
    pub strides: *const i64,
    pub data: *const c_void,
    pub bytes: usize,
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

/// `wz_buffer`.
#[repr(C)]
pub struct CBuffer {
    element: i32,
    writable: i32,
    data: *mut c_void,
    bytes: usize,
}

/// `wz_call`.
#[repr(C)]
pub struct CCall {
    buffers: *const CBuffer,
    dims: *const i64,
    scalars: *const u64,
    buffer_count: u32,
    dim_count: u32,
    scalar_count: u32,
}

/// `wz_kernel`.
pub type CKernel = unsafe extern "C" fn(user: *mut c_void, call: *const CCall) -> i32;

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
        symbols: function.symbols.iter().map(|symbol| c_text(&symbol.name)).collect(),
    });
    let (functions, targets) = (functions.collect(), manifest.variants.iter().map(|v| c_text(&v.target)).collect());
    Box::into_raw(Box::new(CProgram { program, functions, targets }))
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
/// `program` is null or was returned by an open function and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_program_free(program: *mut CProgram) {
    if !program.is_null() {
        // SAFETY: see above.
        guard(|| {
            drop(unsafe { Box::from_raw(program) });
            Ok(())
        });
    }
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
pub unsafe extern "C" fn wz_program_symbol(program: *const CProgram, index: u32, which: u32, symbol: *mut CSymbol) -> i32 {
    guard(|| unsafe {
        let name = function(program, index).and_then(|f| f.symbols.get(which as usize));
        let (Some(name), Some(program)) = (name, program.as_ref()) else { return argument("no such function or symbol") };
        let range = &program.program.manifest().functions[index as usize].symbols[which as usize];
        write(symbol, "symbol", CSymbol { name: name.as_ptr(), min: range.min, max: range.max.unwrap_or(-1) })
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_create(
    program: *const CProgram,
    device: *const c_char,
    threads: u32,
    session: *mut *mut CSession,
) -> i32 {
    guard(|| unsafe {
        write(session, "session", ptr::null_mut())?;
        let device: DeviceChoice = text(device, "device")?.parse()?;
        let options = SessionOptions { threads: (threads > 0).then_some(threads as usize), ..Default::default() };
        let created = Session::new(&reference(program, "program")?.program, &device, options)?;
        let (cancel, device) = (created.cancel_handle(), c_text(&created.describe()));
        let state = Mutex::new(State { session: created, inputs: Vec::new(), carried: Vec::new(), ran: None });
        write(session, "session", Box::into_raw(Box::new(CSession { state, cancel, device })))
    })
}

/// # Safety
/// `session` is null or was returned by `wz_session_create` and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_free(session: *mut CSession) {
    if !session.is_null() {
        // SAFETY: see above.
        guard(|| {
            drop(unsafe { Box::from_raw(session) });
            Ok(())
        });
    }
}

/// # Safety
/// `session` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_device(session: *const CSession) -> *const c_char {
    unsafe { session.as_ref() }.map_or(ptr::null(), |session| session.device.as_ptr())
}

/// Runs `body` on the state of a session.
///
/// # Safety
/// `session` is null or valid.
unsafe fn with_state(session: *const CSession, body: impl FnOnce(&mut State) -> CResult) -> i32 {
    guard(|| {
        // SAFETY: see above.
        let session = unsafe { reference(session, "session")? };
        body(&mut session.state.lock().unwrap_or_else(PoisonError::into_inner))
    })
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_prepare(session: *mut CSession, index: u32, symbols: *const i64, count: u32) -> i32 {
    unsafe {
        with_state(session, |state| {
            state.session.prepare(index, slice(symbols, count as usize, "symbols")?)?;
            state.ran = None;
            Ok(())
        })
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_set_input(session: *mut CSession, index: u32, tensor: *const CTensor) -> i32 {
    unsafe {
        with_state(session, |state| {
            let tensor = reference(tensor, "tensor")?;
            let (element, rank) = (element_of(tensor.element)?, tensor.rank as usize);
            let dims = slice(tensor.dims, rank, "dims")?;
            let strides = if tensor.strides.is_null() { None } else { Some(slice(tensor.strides, rank, "strides")?) };
            slice(tensor.data.cast::<u8>(), tensor.bytes, "data")?;
            let slot = state.input(index)?;
            // Reuse the vectors, so that setting inputs again allocates nothing.
            let mut input = slot.take().unwrap_or(CInput { element, dims: Vec::new(), strides: None, data: ptr::null(), bytes: 0 });
            input.dims.clear();
            input.dims.extend_from_slice(dims);
            input.strides = strides.map(<[i64]>::to_vec);
            (input.element, input.data, input.bytes) = (element, tensor.data.cast(), tensor.bytes);
            *slot = Some(input);
            Ok(())
        })
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_run(session: *mut CSession, index: u32) -> i32 {
    unsafe {
        with_state(session, |state| {
            state.ran = None;
            let program = state.session.program().clone();
            let Some(function) = program.manifest().functions.get(index as usize) else {
                return argument(format!("function {index} does not exist"));
            };
            let mut views = Vec::with_capacity(function.inputs.len());
            for (number, port) in function.inputs.iter().enumerate() {
                let Some(Some(input)) = state.inputs.get(number) else {
                    return argument(format!("input {number} (\"{}\") is not set", port.name));
                };
                let data = slice(input.data, input.bytes, "data")?;
                let aliased = |output: TensorView<'_>| {
                    let (output, data) = (output.data.as_ptr_range(), data.as_ptr_range());
                    output.start < data.end && data.start < output.end
                };
                if state.session.outputs(index).iter().any(aliased) {
                    return argument(format!("input {number} (\"{}\") is the memory of an output; use wz_session_carry", port.name));
                }
                views.push(TensorView { element: input.element, dims: &input.dims, strides: input.strides.as_deref(), data });
            }
            state.session.run_function(index, &views)?;
            state.ran = Some(index);
            Ok(())
        })
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_output(session: *const CSession, index: u32, tensor: *mut CTensor) -> i32 {
    unsafe {
        with_state(session, |state| {
            let Some(function) = state.ran else { return argument("there is no output before a successful run") };
            let outputs = state.session.outputs(function);
            let Some(view) = outputs.get(index as usize) else {
                return argument(format!("output {index} does not exist, there are {}", outputs.len()));
            };
            let value = CTensor {
                element: element_code(view.element),
                rank: view.dims.len() as u32,
                dims: view.dims.as_ptr(),
                strides: ptr::null(),
                data: view.data.as_ptr().cast(),
                bytes: view.data.len(),
            };
            write(tensor, "tensor", value)
        })
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_carry(session: *mut CSession, output: u32, input: u32) -> i32 {
    unsafe {
        with_state(session, |state| {
            let Some(function) = state.ran else { return argument("there is no output before a successful run") };
            state.input(input)?;
            let Some(element) = state.session.outputs(function).get(output as usize).map(|view| view.element) else {
                return argument(format!("output {output} does not exist"));
            };
            let slot = &mut state.carried[input as usize];
            let mut tensor = match slot.take() {
                Some(tensor) if tensor.element() == element => tensor,
                _ => Tensor::zeros(element, &[0])?,
            };
            state.session.swap_output(function, output as usize, &mut tensor)?;
            let view = tensor.view();
            let carried = CInput { element, dims: view.dims.to_vec(), strides: None, data: view.data.as_ptr(), bytes: view.data.len() };
            state.inputs[input as usize] = Some(carried);
            state.carried[input as usize] = Some(tensor);
            Ok(())
        })
    }
}

/// # Safety
/// `session` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_cancel(session: *const CSession) {
    if let Some(session) = unsafe { session.as_ref() } {
        session.cancel.cancel();
    }
}

/// A C function and its user pointer, which the caller vouches for.
struct Registered(CKernel, *mut c_void);

// SAFETY: called only on the thread that runs the session, one call at a time.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_register(
    session: *mut CSession,
    name: *const c_char,
    kernel: Option<CKernel>,
    user: *mut c_void,
) -> i32 {
    unsafe {
        with_state(session, |state| {
            let Some(kernel) = kernel else { return argument("kernel is null") };
            let registered = Registered(kernel, user);
            let call = move |call: &mut crate::session::ExternCall<'_>| {
                let registered = &registered;
                let buffers = (0..call.buffers()).filter_map(|i| call.raw(i));
                let buffers: Vec<_> = buffers.map(|(element, region)| c_buffer(element, region)).collect();
                let arguments = CCall {
                    buffers: buffers.as_ptr(),
                    dims: call.dims.as_ptr(),
                    scalars: call.scalars.as_ptr(),
                    buffer_count: buffers.len() as u32,
                    dim_count: call.dims.len() as u32,
                    scalar_count: call.scalars.len() as u32,
                };
                match (registered.0)(registered.1, &arguments) {
                    0 => Ok(()),
                    code => Err(format!("it returned {code}")),
                }
            };
            state.session.register_extern(text(name, "name")?, Arc::new(call));
            Ok(())
        })
    }
}

fn c_buffer(element: ElementType, region: HostRegion) -> CBuffer {
    CBuffer { element: element_code(element), writable: i32::from(region.writable), data: region.data.cast(), bytes: region.bytes }
}
