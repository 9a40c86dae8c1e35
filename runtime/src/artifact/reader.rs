//! A `.wz` file (mapped) or bytes -> a verified manifest and borrowed sections. Everything but the constants is checked on opening: offsets,
//! overlaps, checksums, every index of the manifest. Constants are checked then or when they are first asked for, never after.
//! A file that is truncated by others while it is mapped raises SIGBUS, as with any mapping.

use super::{
    container::{Section, SectionKind, check_section, damaged, decode_manifest, parse_sections},
    manifest::{Constant, Manifest},
    verify::verify,
};
use crate::{
    error::{Error, Result},
    memory::AlignedBytes,
};
use memmap2::Mmap;
use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Artifacts that are linked into a program start at multiples of this, as the images in them do in the file.
pub const LINKED_ALIGNMENT: usize = 4096;

/// When the checksums of constants are compared. All else is always checked on opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckConstants {
    /// Each when it is first used, so that opening reads none of them. Damage of what no run uses goes unnoticed.
    #[default]
    BeforeUse,
    /// All of them, which reads the whole file, and what stands between them.
    OnOpening,
    /// For trusted storage: damage there gives wrong results.
    Never,
}

/// How [`Reader`] opens an artifact.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    pub check_constants: CheckConstants,
}

impl OpenOptions {
    /// Checks the whole file on opening.
    pub fn whole() -> Self {
        Self { check_constants: CheckConstants::OnOpening }
    }
}

/// An open, verified artifact.
#[derive(Debug)]
pub struct Reader {
    data: Data,
    sections: Vec<Section>,
    manifest: Manifest,
    constants: Section,
    /// Constants that need no check any more.
    checked: Vec<AtomicBool>,
}

#[derive(Debug)]
enum Data {
    Mapped {
        map: Mmap,
        file: File,
    },
    Owned {
        bytes: AlignedBytes,
        length: usize,
    },
    /// Linked into the program, in memory that may be executed.
    Linked(&'static [u8]),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped { map, .. } => map,
            Self::Owned { bytes, length } => &bytes.as_slice()[..*length],
            Self::Linked(bytes) => bytes,
        }
    }
}

impl Reader {
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let failed = |source| Error::Io { action: "open", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::Artifact(format!("{} is not a file", path.display())));
        }
        // SAFETY: a private read-only mapping; the module's head says what a concurrent truncation does.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Self::new(Data::Mapped { map, file }, options)
    }

    /// Copies the bytes to aligned memory.
    pub fn from_bytes(bytes: &[u8], options: &OpenOptions) -> Result<Self> {
        let owned = AlignedBytes::copied_from(bytes, "artifact", "the artifact")?;
        Self::new(Data::Owned { bytes: owned, length: bytes.len() }, options)
    }

    /// Uses an artifact where the linker has put it, on pages of its own.
    ///
    /// # Safety
    /// The bytes never change and may be executed.
    pub unsafe fn from_linked(bytes: &'static [u8], options: &OpenOptions) -> Result<Self> {
        if !bytes.as_ptr().addr().is_multiple_of(LINKED_ALIGNMENT) {
            return Err(Error::Artifact(format!("the linked artifact is not aligned to {LINKED_ALIGNMENT} bytes")));
        }
        Self::new(Data::Linked(bytes), options)
    }

    fn new(data: Data, options: &OpenOptions) -> Result<Self> {
        let file = data.bytes();
        let sections = parse_sections(file)?;
        for section in &sections {
            if section.kind != SectionKind::Constants || options.check_constants == CheckConstants::OnOpening {
                check_section(file, section)?;
            }
        }
        let only = |kind| sections.iter().find(|s| s.kind == kind).cloned().expect("parse_sections found exactly one");
        let constants = only(SectionKind::Constants);
        let manifest = decode_manifest(&file[only(SectionKind::Manifest).range()])?;
        verify(&manifest, &sections, file)?;
        let needs_none = options.check_constants != CheckConstants::BeforeUse;
        let checked = manifest.constants.iter().map(|_| AtomicBool::new(needs_none)).collect();
        Ok(Self { data, sections, manifest, constants, checked })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Length of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.data.bytes().len() as u64
    }

    /// Bytes of a section, by its number in the table.
    ///
    /// # Panics
    /// If there is no such section; numbers in a verified manifest are valid.
    pub fn section(&self, index: u32) -> &[u8] {
        &self.data.bytes()[self.sections[index as usize].range()]
    }

    /// The file and the offset of a section in it, when the artifact was opened from a file.
    pub fn section_in_file(&self, index: u32) -> Option<(&File, u64)> {
        match &self.data {
            Data::Mapped { file, .. } => Some((file, self.sections[index as usize].offset)),
            Data::Owned { .. } | Data::Linked(_) => None,
        }
    }

    /// Whether native code can be used where it stands.
    pub fn is_linked(&self) -> bool {
        matches!(self.data, Data::Linked(_))
    }

    /// Bytes of `manifest().constants[index]`, 64-byte aligned; an error if they are damaged.
    ///
    /// # Panics
    /// If there is no such constant; numbers in a verified manifest are valid.
    pub fn constant(&self, index: u32) -> Result<&[u8]> {
        let bytes = self.unchecked(index);
        let checked = &self.checked[index as usize];
        // Relaxed: the bytes never change, so whoever sees the flag sees the bytes that were checked.
        if !checked.load(Ordering::Relaxed) {
            if crc32fast::hash(bytes) != self.manifest.constants[index as usize].crc32 {
                return Err(damaged(format_args!("the checksum of constant {index} is wrong")));
            }
            checked.store(true, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    fn unchecked(&self, index: u32) -> &[u8] {
        let Constant { offset, bytes, .. } = &self.manifest.constants[index as usize];
        let start = (self.constants.offset + offset) as usize;
        &self.data.bytes()[start..start + *bytes as usize]
    }

    /// Compares every constant with the BLAKE3 hash in the manifest (slower than the checksums).
    pub fn check_hashes(&self) -> Result<()> {
        for (index, constant) in self.manifest.constants.iter().enumerate() {
            if *blake3::hash(self.unchecked(index as u32)).as_bytes() != constant.hash {
                return Err(Error::Artifact(format!("the hash of constant {index} is wrong; compile or copy the file again")));
            }
        }
        Ok(())
    }
}
