//! ELF64 shared object (x86-64, aarch64) -> segments, relative relocations, exported addresses. Pure parsing, any machine.
//!
//! Accepts what `ld.lld -shared` makes of kernels and nothing more: refuses imports, needed libraries, constructors, thread-local storage,
//! text relocations, relocations other than R_*_RELATIVE, segments that are both writable and executable or share a page.

use std::ops::Range;

/// Page size assumed while checking that segments do not share pages.
const PAGE: u64 = 4096;
/// Larger images are damage.
const MAX_IMAGE: u64 = 1 << 32;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_TLS: u32 = 7;
const PT_GNU_RELRO: u32 = 0x6474_e552;

const DT_NEEDED: u64 = 1;
const DT_PLTRELSZ: u64 = 2;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_INIT: u64 = 12;
const DT_FINI: u64 = 13;
const DT_REL: u64 = 17;
const DT_TEXTREL: u64 = 22;
const DT_INIT_ARRAY: u64 = 25;
const DT_FINI_ARRAY: u64 = 26;
const DT_PREINIT_ARRAY: u64 = 32;
const DT_RELR: u64 = 36;

const SHT_DYNSYM: u32 = 11;

/// Why an image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cpu image: {0}")]
pub struct ElfError(String);

type Result<T> = std::result::Result<T, ElfError>;

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(ElfError(why.into()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// As the first part of a target triple.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    fn relative(self) -> u64 {
        match self {
            Self::X86_64 => 8,
            Self::Aarch64 => 1027,
        }
    }
}

/// A part of the image to map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Relative to the image base.
    pub address: u64,
    pub memory_bytes: u64,
    /// In the ELF file.
    pub offset: u64,
    pub file_bytes: u64,
    pub writable: bool,
    pub executable: bool,
}

/// The 8-byte word at `address` becomes image base + `addend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    pub address: u64,
    pub addend: u64,
}

/// A checked image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    pub machine: Machine,
    /// Ascending, on disjoint pages.
    pub segments: Vec<Segment>,
    pub relocations: Vec<Relocation>,
    /// Addresses that become read-only after relocation.
    pub relro: Option<Range<u64>>,
    /// Bytes of address space from the base on.
    pub size: u64,
}

impl Elf {
    /// Whether `address` is inside executable code.
    pub fn is_code(&self, address: u64) -> bool {
        self.segments.iter().any(|s| s.executable && (s.address..s.address + s.file_bytes).contains(&address))
    }

    /// Whether the file is its own image in memory: every segment stands at its address, and nothing has to be written. Segments of data that
    /// changes hold only what a dynamic linker would want, as kernels have no variables.
    pub fn check_in_place(&self) -> Result<()> {
        let in_place = |s: &Segment| s.offset == s.address && (s.writable || s.memory_bytes == s.file_bytes);
        if self.relocations.is_empty() && self.segments.iter().all(in_place) {
            return Ok(());
        }
        Err(ElfError("the native code cannot be used in place; compile the model to a file instead".into()))
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(&self, at: u64, length: u64) -> Result<&'a [u8]> {
        let range = at.checked_add(length).and_then(|end| Some(usize::try_from(at).ok()?..usize::try_from(end).ok()?));
        match range.and_then(|range| self.0.get(range)) {
            Some(bytes) => Ok(bytes),
            None => refuse(format!("bytes {at}..+{length} are outside its {} bytes", self.0.len())),
        }
    }

    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        Ok(self.slice(at, N as u64)?.try_into().expect("slice returned N bytes"))
    }

    fn u16(&self, at: u64) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

fn machine(file: &Bytes<'_>) -> Result<Machine> {
    if file.slice(0, 7)? != b"\x7fELF\x02\x01\x01" || file.u16(16)? != 3 {
        return refuse("not a little-endian 64-bit ELF shared object");
    }
    match file.u16(18)? {
        62 => Ok(Machine::X86_64),
        183 => Ok(Machine::Aarch64),
        other => refuse(format!("machine {other} is neither x86-64 nor aarch64")),
    }
}

/// Parses and checks an image.
pub fn parse(bytes: &[u8]) -> Result<Elf> {
    let file = Bytes(bytes);
    let machine = machine(&file)?;
    let (headers, entry_bytes, count) = (file.u64(32)?, file.u16(54)?, file.u16(56)?);
    if entry_bytes != 56 || count > 64 {
        return refuse("malformed program headers");
    }
    let mut segments: Vec<Segment> = Vec::new();
    let (mut dynamic, mut relro) = (None, None);
    let table = Bytes(file.slice(headers, u64::from(count) * 56)?);
    for at in (0..u64::from(count)).map(|i| i * 56) {
        let (kind, flags) = (table.u32(at)?, table.u32(at + 4)?);
        let (offset, address) = (table.u64(at + 8)?, table.u64(at + 16)?);
        let (file_bytes, memory_bytes) = (table.u64(at + 32)?, table.u64(at + 40)?);
        match kind {
            PT_LOAD if memory_bytes > 0 => {
                file.slice(offset, file_bytes)?;
                let segment = Segment { address, memory_bytes, offset, file_bytes, writable: flags & 2 != 0, executable: flags & 1 != 0 };
                check_segment(&segment, segments.last())?;
                segments.push(segment);
            }
            PT_DYNAMIC => dynamic = Some(file.slice(offset, file_bytes)?),
            PT_GNU_RELRO => relro = Some((address, memory_bytes)),
            PT_INTERP => return refuse("it is an executable, not a shared object"),
            PT_TLS if memory_bytes > 0 => return refuse("it uses thread-local storage"),
            _ => {}
        }
    }
    let Some(last) = segments.last() else { return refuse("it has no segments to load") };
    let size = (last.address + last.memory_bytes).next_multiple_of(PAGE);
    let relro = match relro {
        Some((start, length)) => match start.checked_add(length) {
            Some(end) if end <= size => Some(start..end),
            _ => return refuse("its RELRO range is outside the image"),
        },
        None => None,
    };
    let relocations = match dynamic {
        Some(dynamic) => relocations(&file, &Bytes(dynamic), &segments, machine, size)?,
        None => Vec::new(),
    };
    Ok(Elf { machine, segments, relocations, relro, size })
}

fn check_segment(segment: &Segment, previous: Option<&Segment>) -> Result<()> {
    let name = format!("segment at {:#x}", segment.address);
    if segment.file_bytes > segment.memory_bytes || segment.address.checked_add(segment.memory_bytes).is_none_or(|end| end > MAX_IMAGE) {
        return refuse(format!("{name} has impossible sizes"));
    }
    if segment.address % PAGE != segment.offset % PAGE {
        return refuse(format!("{name} is not page-congruent with its file offset {:#x}", segment.offset));
    }
    if segment.writable && segment.executable {
        return refuse(format!("{name} is writable and executable"));
    }
    if !segment.writable && segment.file_bytes != segment.memory_bytes {
        return refuse(format!("{name} is read-only but partly uninitialised"));
    }
    if let Some(previous) = previous
        && segment.address / PAGE * PAGE < (previous.address + previous.memory_bytes).next_multiple_of(PAGE)
    {
        return refuse(format!("{name} shares a page with the one before"));
    }
    Ok(())
}

fn relocations(file: &Bytes<'_>, dynamic: &Bytes<'_>, segments: &[Segment], machine: Machine, size: u64) -> Result<Vec<Relocation>> {
    let (mut table, mut table_bytes, mut entry_bytes) = (0, 0, 24);
    for at in (0..dynamic.0.len() as u64 / 16).map(|i| i * 16) {
        let (tag, value) = (dynamic.u64(at)?, dynamic.u64(at + 8)?);
        match tag {
            0 => break,
            DT_RELA => table = value,
            DT_RELASZ => table_bytes = value,
            DT_RELAENT => entry_bytes = value,
            DT_NEEDED => return refuse("it needs another library; link kernels without libraries"),
            DT_INIT | DT_FINI | DT_INIT_ARRAY | DT_FINI_ARRAY | DT_PREINIT_ARRAY => return refuse("it has constructors or destructors"),
            DT_TEXTREL => return refuse("it has relocations in its code; compile kernels position-independent"),
            DT_REL | DT_RELR => return refuse("it has relocations in REL or RELR form; only RELA is supported"),
            DT_PLTRELSZ if value > 0 => return refuse("it imports functions; link memcpy and memset into it"),
            _ => {}
        }
    }
    if table_bytes == 0 {
        return Ok(Vec::new());
    }
    if entry_bytes != 24 || table_bytes % 24 != 0 {
        return refuse("malformed relocation table");
    }
    let holder = segments.iter().find(|s| (s.address..s.address + s.file_bytes).contains(&table));
    let Some(holder) = holder else { return refuse("its relocation table is outside its segments") };
    let entries = Bytes(file.slice(holder.offset + (table - holder.address), table_bytes)?);
    let mut relocations = Vec::with_capacity(table_bytes as usize / 24);
    for at in (0..table_bytes / 24).map(|i| i * 24) {
        let (address, info, addend) = (entries.u64(at)?, entries.u64(at + 8)?, entries.u64(at + 16)?);
        if info == 0 {
            continue; // R_*_NONE
        }
        if info != machine.relative() {
            return refuse(format!(
                "relocation type {} of symbol {} is not relative: it imports something",
                info & 0xffff_ffff,
                info >> 32
            ));
        }
        let inside = segments
            .iter()
            .any(|s| s.writable && address >= s.address && address.checked_add(8).is_some_and(|end| end <= s.address + s.memory_bytes));
        if !inside || addend > size {
            return refuse(format!("the relocation at {address:#x} is outside writable memory or points outside the image"));
        }
        relocations.push(Relocation { address, addend });
    }
    Ok(relocations)
}

/// Names and addresses of the defined dynamic symbols, in table order. Needs section headers, so it is for compilers and tests, not for loading.
pub fn exports(bytes: &[u8]) -> Result<Vec<(String, u64)>> {
    let file = Bytes(bytes);
    machine(&file)?;
    let (headers, count) = (file.u64(40)?, u64::from(file.u16(60)?));
    let table = Bytes(file.slice(headers, count * 64)?);
    let mut found = Vec::new();
    for at in (0..count).map(|i| i * 64) {
        if table.u32(at + 4)? != SHT_DYNSYM {
            continue;
        }
        let link = u64::from(table.u32(at + 40)?) * 64;
        let symbols = Bytes(file.slice(table.u64(at + 24)?, table.u64(at + 32)?)?);
        let names = file.slice(table.u64(link + 24)?, table.u64(link + 32)?)?;
        for symbol in (0..symbols.0.len() as u64 / 24).map(|i| i * 24) {
            let (name, section, address) = (symbols.u32(symbol)?, symbols.u16(symbol + 6)?, symbols.u64(symbol + 8)?);
            let name = names.get(name as usize..).and_then(|rest| rest.split(|b| *b == 0).next()).unwrap_or_default();
            if section != 0 && !name.is_empty() {
                found.push((String::from_utf8_lossy(name).into_owned(), address));
            }
        }
    }
    Ok(found)
}
