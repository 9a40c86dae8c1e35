//! RankRows: the position that each element has in its row, in ascending order. As a library for `winze run --extern`, and as a function for hosts in Rust.

use std::ffi::c_void;
use winze_runtime::{
    capi::{CCall, serve},
    session::ExternCall,
};

/// The kernel. Input 0 is f32[rows, width], output 1 i64[rows, width].
pub fn rank(call: &mut ExternCall<'_>) -> Result<(), String> {
    let width = call.dims[1] as usize;
    let x = call.slice::<f32>(0).ok_or("input 0 is not f32")?.to_vec();
    let y = call.slice_mut::<i64>(1).ok_or("output 1 is not i64")?;
    for (x, y) in x.chunks_exact(width.max(1)).zip(y.chunks_exact_mut(width.max(1))) {
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|a, b| x[*a].total_cmp(&x[*b]));
        order.into_iter().enumerate().for_each(|(position, i)| y[i] = position as i64);
    }
    Ok(())
}

/// The kernel as a library has it: under the name that kernels.toml gives it.
///
/// # Safety
/// Called by Winze, as `wz_kernel` in winze.h says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rank_rows(_user: *mut c_void, call: *const CCall) -> i32 {
    unsafe { serve(call, rank) }
}

/// Compared with what the artifact says.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the name is NAME_signature")]
pub static rank_rows_signature: [u8; 41] = *b"(f32[rows, width]) -> (i64[rows, width])\0";
