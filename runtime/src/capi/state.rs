//! `wz_session_*state*` and `wz_states_*`: tensors that stay in a session, and further ones that take turns with them.

use super::{
    element_code, element_of, reference, release,
    session::{CSession, CTensor, with_state},
    slice, write,
};
use crate::{session::States, tensor::TensorView};
use std::ptr;

/// `wz_states`.
pub struct CStates(States);

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_state_length(session: *const CSession, function: u32, index: u32, length: *mut i64) -> i32 {
    unsafe {
        with_state(session, |state| {
            let rows = state.session.state_length(function, index)?;
            write(length, "length", rows.map_or(-1, |rows| rows as i64))
        })
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_set_state(session: *mut CSession, function: u32, index: u32, tensor: *const CTensor) -> i32 {
    unsafe {
        with_state(session, |state| {
            let tensor = reference(tensor, "tensor")?;
            let (element, rank) = (element_of(tensor.element)?, tensor.rank as usize);
            let dims = slice(tensor.dims, rank, "dims")?;
            let strides = if tensor.strides.is_null() { None } else { Some(slice(tensor.strides, rank, "strides")?) };
            let data = slice(tensor.data.cast::<u8>(), tensor.bytes, "data")?;
            Ok(state.session.set_state(function, index, &TensorView { element, dims, strides, data })?)
        })
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_read_state(session: *mut CSession, function: u32, index: u32, tensor: *mut CTensor) -> i32 {
    unsafe {
        with_state(session, |state| {
            let copy = state.copied.insert(state.session.read_state(function, index)?);
            let value = CTensor {
                element: element_code(copy.element()),
                rank: copy.dims().len() as u32,
                dims: copy.dims().as_ptr(),
                strides: ptr::null(),
                data: copy.bytes().as_ptr().cast(),
                bytes: copy.bytes().len(),
            };
            write(tensor, "tensor", value)
        })
    }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_reset_states(session: *mut CSession, function: u32) -> i32 {
    unsafe { with_state(session, |state| Ok(state.session.reset_states(function)?)) }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_truncate_states(session: *mut CSession, function: u32, length: u64) -> i32 {
    unsafe { with_state(session, |state| Ok(state.session.truncate_states(function, length)?)) }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_states_create(session: *const CSession, function: u32, states: *mut *mut CStates) -> i32 {
    unsafe {
        with_state(session, |state| {
            write(states, "states", ptr::null_mut())?;
            let created = state.session.new_states(function)?;
            write(states, "states", Box::into_raw(Box::new(CStates(created))))
        })
    }
}

/// # Safety
/// `states` is null or was returned by `wz_states_create` and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_states_free(states: *mut CStates) {
    // SAFETY: see above.
    unsafe { release(states) }
}

/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wz_session_swap_states(session: *mut CSession, states: *mut CStates) -> i32 {
    unsafe {
        with_state(session, |state| {
            reference(states.cast_const(), "states")?;
            // Not null, and the header asks for one thread at a time.
            Ok(state.session.swap_states(&mut (*states).0)?)
        })
    }
}
