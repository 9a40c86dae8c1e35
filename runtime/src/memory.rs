//! Zeroed, 64-byte aligned byte buffers that grow on request and report failure instead of aborting.

use crate::{
    backend::{Blocks, StateBuffer},
    error::{Error, Result},
};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    ptr::NonNull,
};

/// Alignment that kernels may assume of arena, workspace, constants and owned outputs.
pub const ALIGNMENT: usize = 64;

/// Owned bytes at a 64-byte aligned address; all initialised (zero at first). Large ones cost no memory until they are touched.
#[derive(Debug)]
pub struct AlignedBytes {
    data: NonNull<u8>,
    capacity: usize,
    /// What the allocator returned: at most `ALIGNMENT` before `data`. Asking it for more than its natural alignment would make it write
    /// the zeros instead of taking fresh pages.
    base: *mut u8,
}

// SAFETY: plain owned bytes.
unsafe impl Send for AlignedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    pub const fn empty() -> Self {
        // SAFETY: 64 is not null; a zero-capacity buffer is never read, and its address is aligned.
        let data = unsafe { NonNull::new_unchecked(std::ptr::without_provenance_mut(ALIGNMENT)) };
        Self { data, capacity: 0, base: std::ptr::null_mut() }
    }

    pub fn zeroed(bytes: u64, stage: &'static str, what: &'static str) -> Result<Self> {
        let mut buffer = Self::empty();
        buffer.grow(bytes, stage, what)?;
        Ok(buffer)
    }

    pub fn copied_from(bytes: &[u8], stage: &'static str, what: &'static str) -> Result<Self> {
        let mut buffer = Self::zeroed(bytes.len() as u64, stage, what)?;
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        Ok(buffer)
    }

    /// Makes room for `bytes`; contents are lost when it has to move (`true`).
    pub fn grow(&mut self, bytes: u64, stage: &'static str, what: &'static str) -> Result<bool> {
        if bytes <= self.capacity as u64 {
            return Ok(false);
        }
        let failed = || Error::OutOfMemory { stage, what, bytes };
        let capacity = usize::try_from(bytes).ok().and_then(|n| n.checked_next_multiple_of(ALIGNMENT)).ok_or_else(failed)?;
        let layout = Self::layout(capacity).ok_or_else(failed)?;
        *self = Self::empty(); // the old one goes first: both at once would raise the peak
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(base).ok_or_else(failed)?;
        // SAFETY: the layout has ALIGNMENT spare bytes for the shift.
        *self = Self { data: unsafe { start.add(start.align_offset(ALIGNMENT)) }, capacity, base };
        Ok(true)
    }

    fn layout(capacity: usize) -> Option<Layout> {
        Layout::from_size_align(capacity.checked_add(ALIGNMENT)?, 8).ok()
    }

    /// Usable bytes: what was asked for, rounded up to 64.
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

/// What the CPU keeps states in.
impl StateBuffer for AlignedBytes {
    fn bytes(&self) -> u64 {
        self.capacity as u64
    }

    fn read(&self, blocks: Blocks, into: &mut [u8]) -> Result<()> {
        blocks.pieces().for_each(|(inside, packed)| into[packed].copy_from_slice(&self.as_slice()[inside]));
        Ok(())
    }

    fn write(&mut self, blocks: Blocks, from: &[u8]) -> Result<()> {
        blocks.pieces().for_each(|(inside, packed)| self.as_mut_slice()[inside].copy_from_slice(&from[packed]));
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        self.as_mut_slice().fill(0);
        Ok(())
    }
}

/// Bytes that this process can still use without swapping, as far as the system tells (Linux): what is free, at most the limit of its control group.
pub fn available() -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(file).ok();
    let free = |line: &str| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
    let free = read("/proc/meminfo")?.lines().find_map(free)?.saturating_mul(1024);
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    Some(limits.into_iter().filter_map(|file| read(file)?.trim().parse::<u64>().ok()).fold(free, u64::min))
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if let (false, Some(layout)) = (self.base.is_null(), Self::layout(self.capacity)) {
            // SAFETY: `grow` allocated `base` with this layout.
            unsafe { dealloc(self.base, layout) }
        }
    }
}
