//! The image section of a CPU variant -> executable memory. Maps the segments itself (from the file where pages allow, else copied),
//! applies relative relocations, then sets final protections; nothing is ever writable and executable. An image that is linked into this program
//! is used where it stands.

use super::elf::{self, Elf, Segment};
use crate::{
    artifact::{
        manifest::{Code, Device},
        reader::Reader,
    },
    error::{Error, Result},
};
use std::{ffi::c_void, fs::File, os::fd::AsRawFd, ptr::NonNull};

/// A kernel's arguments, ABI version 1 (ARCHITECTURE.md, section 6).
#[repr(C)]
#[derive(Debug)]
pub struct WzArgs {
    pub buffers: *const *mut c_void,
    pub dims: *const i64,
    pub scalars: *const u64,
    pub workspace: *mut c_void,
    pub workspace_size: u64,
    pub cancel: *const u32,
}

/// Computes the tiles `begin..end`; non-zero is an error code.
pub type Entry = unsafe extern "C" fn(args: *const WzArgs, begin: u32, end: u32) -> i32;

/// A mapped native image and the entries of its variant's kernels.
#[derive(Debug)]
pub struct Image {
    /// `None` for linked code.
    region: Option<Region>,
    /// One per kernel of the variant.
    entries: Vec<Entry>,
}

/// Address space that is unmapped when dropped.
#[derive(Debug)]
struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory is not written after loading.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `reserve` and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

fn failed(what: &str) -> Error {
    Error::Device(format!("cannot {what} native code: {}", std::io::Error::last_os_error()))
}

impl Region {
    fn reserve(bytes: usize) -> Result<Self> {
        // SAFETY: a fresh anonymous mapping.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, bytes }),
            _ => Err(failed("reserve memory for")),
        }
    }

    /// Maps whole pages over `at..at + bytes`: from the file when given, else zeros.
    fn map(&self, at: usize, bytes: usize, protection: i32, file: Option<(&File, u64)>) -> Result<()> {
        debug_assert!(at + bytes <= self.bytes);
        let (flags, fd, offset) = match file {
            Some((file, offset)) => (libc::MAP_PRIVATE | libc::MAP_FIXED, file.as_raw_fd(), offset as libc::off_t),
            None => (libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_ANONYMOUS, -1, 0),
        };
        // SAFETY: the range is inside our own reservation.
        let mapped = unsafe { libc::mmap(self.start.as_ptr().add(at).cast(), bytes, protection, flags, fd, offset) };
        if mapped == libc::MAP_FAILED { Err(failed("map")) } else { Ok(()) }
    }

    fn protect(&self, at: usize, bytes: usize, protection: i32) -> Result<()> {
        debug_assert!(at + bytes <= self.bytes);
        // SAFETY: the range is inside our own reservation.
        let result = unsafe { libc::mprotect(self.start.as_ptr().add(at).cast(), bytes, protection) };
        if result != 0 { Err(failed("protect")) } else { Ok(()) }
    }
}

fn page_size() -> usize {
    // SAFETY: no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

impl Image {
    /// Maps the image of a CPU variant whose features the caller has checked.
    pub fn load(reader: &Reader, variant: u32) -> Result<Self> {
        let variant = &reader.manifest().variants[variant as usize];
        let Device::Cpu { image, .. } = variant.device else {
            return Err(Error::Device(format!("variant {} has no native code", variant.target)));
        };
        let bytes = reader.section(image);
        let elf = elf::parse(bytes).map_err(|e| Error::Artifact(e.to_string()))?;
        if elf.machine.name() != std::env::consts::ARCH {
            return Err(Error::Device(format!("code for {} does not run on {}", elf.machine.name(), std::env::consts::ARCH)));
        }
        let (region, base) = if reader.is_linked() {
            elf.check_in_place().map_err(|e| Error::Artifact(e.to_string()))?;
            (None, bytes.as_ptr())
        } else {
            let region = map_image(bytes, &elf, reader.section_in_file(image))?;
            let base = region.start.as_ptr().cast_const();
            (Some(region), base)
        };
        for segment in elf.segments.iter().filter(|segment| !segment.writable && !segment.executable) {
            touch(base, segment);
        }
        let mut entries = Vec::with_capacity(variant.kernels.len());
        for kernel in &variant.kernels {
            match kernel.code {
                // SAFETY: an address inside the code, as the manifest promises a kernel of ABI 1.
                Code::Native { entry } if elf.is_code(entry) => {
                    entries.push(unsafe { std::mem::transmute::<*const u8, Entry>(base.add(entry as usize)) });
                }
                _ => return Err(Error::Artifact(format!("kernel {} has no entry in the image", kernel.name))),
            }
        }
        Ok(Self { region, entries })
    }

    /// Entry of a kernel of the variant.
    pub fn entry(&self, kernel: u32) -> Entry {
        self.entries[kernel as usize]
    }

    /// Bytes of address space.
    pub fn mapped_bytes(&self) -> usize {
        self.region.as_ref().map_or(0, |region| region.bytes)
    }
}

/// Reads from each page of the constants, so that it is present. A vector load whose mask happens to be empty never makes a page present,
/// and takes hundreds of cycles as long as it is not.
fn touch(base: *const u8, segment: &Segment) {
    for page in (0..segment.file_bytes as usize).step_by(page_size()) {
        // SAFETY: inside a readable segment of the image.
        unsafe { base.add(segment.address as usize + page).read_volatile() };
    }
}

fn map_image(bytes: &[u8], elf: &Elf, file: Option<(&File, u64)>) -> Result<Region> {
    let page = page_size();
    let region = Region::reserve((elf.size as usize).next_multiple_of(page))?;
    let spans = spans(elf, page)?;
    for (segment, (start, end)) in elf.segments.iter().zip(&spans) {
        load_segment(
            &region,
            bytes,
            segment,
            *start,
            *end,
            file.filter(|(_, at)| (at + segment.offset) % page as u64 == segment.address % page as u64),
        )?;
    }
    for relocation in &elf.relocations {
        // SAFETY: parse() checked that the word is inside a writable segment, which is mapped writable.
        unsafe {
            let base = region.start.as_ptr();
            base.add(relocation.address as usize).cast::<u64>().write_unaligned(base as u64 + relocation.addend);
        }
    }
    for (segment, (start, end)) in elf.segments.iter().zip(&spans) {
        let protection = match (segment.writable, segment.executable) {
            (true, _) => libc::PROT_READ | libc::PROT_WRITE,
            (_, true) => libc::PROT_READ | libc::PROT_EXEC,
            _ => libc::PROT_READ,
        };
        region.protect(*start, end - start, protection)?;
    }
    if let Some(relro) = &elf.relro {
        let (start, end) = (relro.start as usize / page * page, relro.end as usize / page * page);
        if start < end
            && elf
                .segments
                .iter()
                .any(|s| s.writable && s.address <= relro.start && relro.end <= (s.address + s.memory_bytes).next_multiple_of(page as u64))
        {
            region.protect(start, end - start, libc::PROT_READ)?;
        }
    }
    Ok(region)
}

/// Page ranges of the segments; on machines with larger pages than the linker assumed they may collide.
fn spans(elf: &Elf, page: usize) -> Result<Vec<(usize, usize)>> {
    let mut spans: Vec<(usize, usize)> = Vec::with_capacity(elf.segments.len());
    for segment in &elf.segments {
        let start = segment.address as usize / page * page;
        let end = (segment.address as usize + segment.memory_bytes as usize).next_multiple_of(page);
        if spans.last().is_some_and(|last| start < last.1) {
            return Err(Error::Device(format!(
                "the native code assumes pages smaller than {page} bytes; compile it on or for this machine"
            )));
        }
        spans.push((start, end));
    }
    Ok(spans)
}

/// Fills the pages of a segment and leaves them writable (or, if mapped from the file and read-only, readable).
fn load_segment(region: &Region, bytes: &[u8], segment: &Segment, start: usize, end: usize, file: Option<(&File, u64)>) -> Result<()> {
    let (at, length) = (segment.address as usize, segment.file_bytes as usize);
    let filled = (at + length).next_multiple_of(page_size()).min(end);
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    match file {
        Some((file, section)) if length > 0 => {
            let offset = section + segment.offset - (at - start) as u64;
            region.map(start, filled - start, if segment.writable { writable } else { libc::PROT_READ }, Some((file, offset)))?;
            if end > filled {
                region.map(filled, end - filled, writable, None)?;
            }
            if segment.writable {
                // SAFETY: the rest of the last file page is mapped writable; it holds what follows in the file instead of zeros.
                unsafe { region.start.as_ptr().add(at + length).write_bytes(0, filled - (at + length)) };
            }
        }
        _ => {
            region.map(start, end - start, writable, None)?;
            let source = &bytes[segment.offset as usize..segment.offset as usize + length];
            // SAFETY: the destination was just mapped writable and is at least as long.
            unsafe { region.start.as_ptr().add(at).copy_from_nonoverlapping(source.as_ptr(), length) };
        }
    }
    Ok(())
}
