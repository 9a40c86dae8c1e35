//! The `.wz` container, version 1: manifest, constants, images <-> one file.
//!
//! ```text
//! 0     header, 64 bytes: magic, header version, header bytes, file length, table offset, section count, CRC32 of header and table, zeros
//! ...   sections, ascending, aligned, gaps zero
//! end   section table, 32 bytes each: kind, zero, offset, length, alignment, CRC32 of the section
//! ```
//! All numbers are little-endian. The same input gives the same bytes. Checksums catch damage, not malice: loading native code runs it.

use super::manifest::{MANIFEST_VERSION, Manifest};
use crate::error::{Error, Result};
use std::ops::Range;

pub const MAGIC: [u8; 8] = *b"\x89winze\r\n";
pub const HEADER_VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const ENTRY_BYTES: usize = 32;
/// Offset of the checksum in the header.
const CHECKSUM_AT: usize = 36;
/// Images are mapped, so they start on a page; constants too, so that devices can import them.
pub const PAGE: u64 = 4096;
/// More sections than this are damage.
const MAX_SECTIONS: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    Manifest,
    Constants,
    /// ELF shared object of one CPU variant.
    CpuImage,
    /// SPIR-V modules of one Vulkan variant.
    Spirv,
}

impl SectionKind {
    const ALL: [(Self, u32); 4] = [(Self::Manifest, 1), (Self::Constants, 2), (Self::CpuImage, 3), (Self::Spirv, 4)];

    fn code(self) -> u32 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, code)| *code)
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == code).map(|(kind, _)| *kind)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Constants => "constants",
            Self::CpuImage => "cpu image",
            Self::Spirv => "spirv",
        }
    }
}

/// A row of the section table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub kind: SectionKind,
    pub offset: u64,
    pub length: u64,
    pub alignment: u32,
    pub crc32: u32,
}

impl Section {
    pub fn range(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.length) as usize
    }

    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[0..4].copy_from_slice(&self.kind.code().to_le_bytes());
        entry[8..16].copy_from_slice(&self.offset.to_le_bytes());
        entry[16..24].copy_from_slice(&self.length.to_le_bytes());
        entry[24..28].copy_from_slice(&self.alignment.to_le_bytes());
        entry[28..32].copy_from_slice(&self.crc32.to_le_bytes());
        entry
    }
}

/// Header and table for a file whose table starts at `table_offset` and ends it.
pub(super) fn encode_header(sections: &[Section], table_offset: u64) -> ([u8; HEADER_BYTES], Vec<u8>) {
    let table: Vec<u8> = sections.iter().flat_map(Section::encode).collect();
    let mut header = [0; HEADER_BYTES];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&HEADER_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
    header[16..24].copy_from_slice(&(table_offset + table.len() as u64).to_le_bytes());
    header[24..32].copy_from_slice(&table_offset.to_le_bytes());
    header[32..36].copy_from_slice(&(sections.len() as u32).to_le_bytes());
    let checksum = header_checksum(&header, &table);
    header[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    (header, table)
}

fn header_checksum(header: &[u8], table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..CHECKSUM_AT]);
    hasher.update(&[0; 4]);
    hasher.update(&header[CHECKSUM_AT + 4..HEADER_BYTES]);
    hasher.update(table);
    hasher.finalize()
}

pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Artifact(format!("{what}; the file is damaged or incomplete, compile or copy it again"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

/// Parses header and table of a whole file and checks every offset, length, alignment and overlap. Checksums of the sections are left to
/// [`check_section`].
pub fn parse_sections(file: &[u8]) -> Result<Vec<Section>> {
    if file.len() < 8 || file[..8] != MAGIC {
        return Err(Error::Artifact("not a Winze artifact (wrong magic bytes); expected a .wz file made by `winze compile`".into()));
    }
    if file.len() < HEADER_BYTES {
        return Err(damaged(format_args!("{} bytes are too few for the header", file.len())));
    }
    let version = u32_at(file, 8);
    if version != HEADER_VERSION {
        return Err(Error::Artifact(format!(
            "container version {version} is unknown, this runtime reads version {HEADER_VERSION}; update winze or recompile the model"
        )));
    }
    let (file_length, table_offset, count) = (u64_at(file, 16), u64_at(file, 24), u32_at(file, 32));
    if file_length != file.len() as u64 {
        return Err(damaged(format_args!("the file has {} bytes, its header says {file_length}", file.len())));
    }
    if u32_at(file, 12) as usize != HEADER_BYTES || count > MAX_SECTIONS || file[CHECKSUM_AT + 4..HEADER_BYTES].iter().any(|b| *b != 0) {
        return Err(damaged("the header is malformed"));
    }
    let table_end = table_offset.checked_add(u64::from(count) * ENTRY_BYTES as u64);
    if table_offset < HEADER_BYTES as u64 || table_end != Some(file_length) {
        return Err(damaged("the section table does not end the file"));
    }
    let table = &file[table_offset as usize..];
    if header_checksum(&file[..HEADER_BYTES], table) != u32_at(file, CHECKSUM_AT) {
        return Err(damaged("the checksum of header and section table is wrong"));
    }
    let mut sections = Vec::with_capacity(count as usize);
    let mut free = HEADER_BYTES as u64;
    for (index, entry) in table.chunks_exact(ENTRY_BYTES).enumerate() {
        let kind = SectionKind::from_code(u32_at(entry, 0)).ok_or_else(|| {
            Error::Artifact(format!("section {index} has the unknown kind {}; update winze or recompile the model", u32_at(entry, 0)))
        })?;
        let section =
            Section { kind, offset: u64_at(entry, 8), length: u64_at(entry, 16), alignment: u32_at(entry, 24), crc32: u32_at(entry, 28) };
        let end = section.offset.checked_add(section.length);
        if section.offset < free || end.is_none_or(|end| end > table_offset) {
            return Err(damaged(format_args!("section {index} ({}) overlaps another or leaves the file", kind.name())));
        }
        if !section.alignment.is_power_of_two() || !section.offset.is_multiple_of(u64::from(section.alignment)) || u32_at(entry, 4) != 0 {
            return Err(damaged(format_args!("section {index} ({}) is misaligned", kind.name())));
        }
        free = section.offset + section.length;
        sections.push(section);
    }
    for (kind, at_least) in [(SectionKind::Manifest, 1), (SectionKind::Constants, PAGE as u32)] {
        let mut of_kind = sections.iter().filter(|s| s.kind == kind);
        if of_kind.next().is_none_or(|s| s.alignment < at_least) || of_kind.next().is_some() {
            return Err(damaged(format_args!("expected exactly one aligned {} section", kind.name())));
        }
    }
    Ok(sections)
}

/// Checks the checksum of one section.
pub fn check_section(file: &[u8], section: &Section) -> Result<()> {
    if crc32fast::hash(&file[section.range()]) != section.crc32 {
        return Err(damaged(format_args!("the checksum of the {} section is wrong", section.kind.name())));
    }
    Ok(())
}

pub fn encode_manifest(manifest: &Manifest) -> Result<Vec<u8>> {
    postcard::to_allocvec(manifest).map_err(|e| Error::Artifact(format!("cannot encode the manifest: {e}")))
}

/// Decodes a manifest section; its indices are still unchecked.
pub fn decode_manifest(bytes: &[u8]) -> Result<Manifest> {
    // The version stands first in every layout, so that an unknown one is named before the rest fails to decode.
    let (version, _) = postcard::take_from_bytes::<u32>(bytes).map_err(|e| damaged(format_args!("cannot decode the manifest: {e}")))?;
    if version != MANIFEST_VERSION {
        return Err(Error::Artifact(format!(
            "manifest version {version} is unknown, this runtime reads version {MANIFEST_VERSION}; update winze or recompile the model"
        )));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((manifest, [])) => Ok(manifest),
        Ok((_, rest)) => Err(damaged(format_args!("the manifest has {} bytes too many", rest.len()))),
        Err(e) => Err(damaged(format_args!("cannot decode the manifest: {e}"))),
    }
}
