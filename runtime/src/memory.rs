//! Zeroed, 64-byte aligned byte buffers that grow on request and report failure instead of aborting.

use crate::error::{Error, Result};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    ptr::NonNull,
};

/// Alignment that kernels may assume of arena, workspace, constants and owned outputs.
pub const ALIGNMENT: usize = 64;

/// Owned bytes at a 64-byte aligned address; all initialised (zero at first).
#[derive(Debug)]
pub struct AlignedBytes {
    data: NonNull<u8>,
    capacity: usize,
}

// SAFETY: plain owned bytes.
unsafe impl Send for AlignedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    pub const fn empty() -> Self {
        // SAFETY: 64 is not null; a zero-capacity buffer is never read, and its address is aligned.
        Self { data: unsafe { NonNull::new_unchecked(std::ptr::without_provenance_mut(ALIGNMENT)) }, capacity: 0 }
    }

    pub fn zeroed(bytes: u64, stage: &'static str, what: &'static str) -> Result<Self> {
        let mut buffer = Self::empty();
        buffer.grow(bytes, stage, what)?;
        Ok(buffer)
    }

    pub fn copied_from(bytes: &[u8], stage: &'static str, what: &'static str) -> Result<Self> {
        let mut buffer = Self::zeroed(bytes.len() as u64, stage, what)?;
        buffer.as_mut_slice().copy_from_slice(bytes);
        Ok(buffer)
    }

    /// Makes room for `bytes`; contents are lost when it has to move (`true`).
    pub fn grow(&mut self, bytes: u64, stage: &'static str, what: &'static str) -> Result<bool> {
        if bytes <= self.capacity as u64 {
            return Ok(false);
        }
        let failed = || Error::OutOfMemory { stage, what, bytes };
        let capacity = usize::try_from(bytes).ok().and_then(|n| n.checked_next_multiple_of(ALIGNMENT)).ok_or_else(failed)?;
        let layout = Layout::from_size_align(capacity, ALIGNMENT).map_err(|_| failed())?;
        *self = Self::empty(); // the old one goes first: both at once would raise the peak
        // SAFETY: the size is not zero.
        self.data = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(failed)?;
        self.capacity = capacity;
        Ok(true)
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.data.as_ptr()
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data.as_ptr()
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `capacity` bytes are allocated and initialised.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.capacity) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.capacity) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: allocated in `grow` with this layout, which was valid there.
            unsafe { dealloc(self.data.as_ptr(), Layout::from_size_align_unchecked(self.capacity, ALIGNMENT)) }
        }
    }
}
