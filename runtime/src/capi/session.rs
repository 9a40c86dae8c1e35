//! `wz_session_*`: sessions, their inputs and outputs, host kernels.

use super::{CProgram, CResult, LAST_ERROR, argument, c_text, element_code, element_of, guard, reference, release, slice, text, write};
use crate::{
    artifact::manifest::ElementType,
    backend::HostRegion,
    device::DeviceChoice,
    session::{CancelHandle, ExternCall, ExternKernel, Session, SessionOptions},
    tensor::{Tensor, TensorView},
};
use std::{
    ffi::{CString, c_char, c_void},
    ptr,
    sync::{Arc, Mutex, TryLockError},
};

/// `wz_session`. The parts that `wz_session_cancel` and other readers use are outside the lock.
pub struct CSession {
    state: Mutex<State>,
    cancel: CancelHandle,
    device: CString,
}

pub(super) struct State {
    pub session: Session,
    inputs: Vec<Option<CInput>>,
    /// Outputs that became inputs, by input.
    carried: Vec<Option<Tensor>>,
    /// Function of the last successful run.
    ran: Option<u32>,
    /// The state that was read last.
    pub copied: Option<Tensor>,
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

/// `wz_buffer`.
#[repr(C)]
pub struct CBuffer {
    pub element: i32,
    pub writable: i32,
    pub data: *mut c_void,
    pub bytes: usize,
}

/// `wz_call`.
#[repr(C)]
pub struct CCall {
    pub buffers: *const CBuffer,
    pub dims: *const i64,
    pub scalars: *const u64,
    pub buffer_count: u32,
    pub dim_count: u32,
    pub scalar_count: u32,
}

/// `wz_kernel`.
pub type CKernel = unsafe extern "C" fn(user: *mut c_void, call: *const CCall) -> i32;

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
        let state = Mutex::new(State { session: created, inputs: Vec::new(), carried: Vec::new(), ran: None, copied: None });
        write(session, "session", Box::into_raw(Box::new(CSession { state, cancel, device })))
    })
}

/// # Safety
/// `session` is null or was returned by `wz_session_create` and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_free(session: *mut CSession) {
    // SAFETY: see above.
    unsafe { release(session) }
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
pub(super) unsafe fn with_state(session: *const CSession, body: impl FnOnce(&mut State) -> CResult) -> i32 {
    guard(|| {
        // SAFETY: see above.
        let session = unsafe { reference(session, "session")? };
        match session.state.try_lock() {
            Ok(mut state) => body(&mut state),
            Err(TryLockError::Poisoned(poisoned)) => body(&mut poisoned.into_inner()),
            // Another thread, or a kernel of the run in progress.
            Err(TryLockError::WouldBlock) => argument("the session is in use; make one per thread"),
        }
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
            state.session.register_extern(text(name, "name")?, extern_kernel(kernel, user));
            Ok(())
        })
    }
}

/// A C kernel as the session calls it.
///
/// # Safety
/// `kernel` is what the header says, with this user pointer, for as long as the result lives.
pub(crate) unsafe fn extern_kernel(kernel: CKernel, user: *mut c_void) -> ExternKernel {
    let registered = Registered(kernel, user);
    Arc::new(move |call: &mut ExternCall<'_>| {
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
        // SAFETY: the caller vouches for the kernel; the arguments outlive the call.
        match unsafe { (registered.0)(registered.1, &arguments) } {
            0 => Ok(()),
            code => Err(format!("it returned {code}")),
        }
    })
}

/// Runs a kernel in Rust that is called through the C interface, as a function of a library is. Non-zero if it fails; its error goes to stderr.
///
/// # Safety
/// `call` is what a `wz_kernel` is called with.
pub unsafe fn serve(call: *const CCall, kernel: impl FnOnce(&mut ExternCall<'_>) -> Result<(), String>) -> i32 {
    let run = || {
        // SAFETY: the caller vouches for the call and what it points to.
        let (buffers, dims, scalars) = unsafe {
            let call = reference(call, "call")?;
            (
                slice(call.buffers, call.buffer_count as usize, "buffers")?,
                slice(call.dims, call.dim_count as usize, "dims")?,
                slice(call.scalars, call.scalar_count as usize, "scalars")?,
            )
        };
        let storage = buffers.iter().map(|buffer| element_of(buffer.element)).collect::<CResult<Vec<_>>>()?;
        let region = |buffer: &CBuffer| HostRegion { data: buffer.data.cast(), bytes: buffer.bytes, writable: buffer.writable != 0 };
        let regions: Vec<HostRegion> = buffers.iter().map(region).collect();
        let inputs = regions.iter().filter(|region| !region.writable).count();
        kernel(&mut ExternCall { buffers: &regions, storage: &storage, inputs, dims, scalars }).or_else(argument)
    };
    let code = guard(run);
    if code != 0 {
        eprintln!("{}", LAST_ERROR.with_borrow(|last| last.to_string_lossy().trim_start_matches("argument: ").to_owned()));
    }
    code
}

fn c_buffer(element: ElementType, region: HostRegion) -> CBuffer {
    CBuffer { element: element_code(element), writable: i32::from(region.writable), data: region.data.cast(), bytes: region.bytes }
}
