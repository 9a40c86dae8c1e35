//! Where the contents of a constant come from.

use super::Expression;
use bytes::Bytes;
use memmap2::Mmap;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A read-only mapped file; slices of `data` keep the mapping alive.
#[derive(Clone, Debug)]
pub struct MappedFile {
    pub path: Arc<PathBuf>,
    pub data: Bytes,
}

impl MappedFile {
    /// Maps a file. An empty file gives empty data.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Looked at first, as opening a pipe waits for its writer.
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let path = Arc::new(path.to_path_buf());
        if metadata.len() == 0 {
            return Ok(Self { path, data: Bytes::new() });
        }
        // SAFETY: the mapping is private and read-only; as with every mapped file, nobody may cut it off while it is in use.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path, data: Bytes::from_owner(map) })
    }

    /// A constant that is `data`, a slice of this file.
    pub fn constant(&self, data: Bytes) -> Source {
        let offset = data.as_ptr().addr().wrapping_sub(self.data.as_ptr().addr());
        debug_assert!(data.is_empty() || offset + data.len() <= self.data.len());
        Source::Mapped { path: Arc::clone(&self.path), offset: if data.is_empty() { 0 } else { offset as u64 }, data }
    }
}

/// Contents of a constant.
#[derive(Debug)]
pub enum Source {
    /// A range of a mapped file: of the model itself, or of a file of external data beside it.
    Mapped { path: Arc<PathBuf>, offset: u64, data: Bytes },
    /// A few bytes that stand in memory.
    Inline(Vec<u8>),
    /// Computed from other constants when needed.
    Expression(Expression),
}

impl Source {
    /// Whether both are the same bytes of one file.
    pub(super) fn is_same_range(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mapped { path, offset, data }, Self::Mapped { path: other_path, offset: other_offset, data: other_data }) => {
                path == other_path && offset == other_offset && data.len() == other_data.len()
            }
            _ => false,
        }
    }

    /// Size in bytes, unless it has to be computed.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Mapped { data, .. } => Some(data.len()),
            Self::Inline(data) => Some(data.len()),
            Self::Expression(_) => None,
        }
    }
}
