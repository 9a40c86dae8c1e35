//! Constants (streamed), images and a manifest -> a `.wz` file. Deterministic; written beside the target and renamed when complete, so a
//! half-written artifact never carries the name. Constants with equal bytes are stored once.

use super::{
    container::{HEADER_BYTES, PAGE, Section, SectionKind, encode_header, encode_manifest},
    manifest::{Constant, ElementType, Manifest},
    verify::verify_with,
};
use crate::{
    error::{Error, Result},
    memory::ALIGNMENT,
};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Number of the constants section, which is always the first.
const CONSTANTS_SECTION: usize = 0;

/// An artifact being written. Dropped without [`Writer::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    path: PathBuf,
    temporary: Option<PathBuf>,
    constants: Vec<Constant>,
    /// A constant of each content.
    by_hash: HashMap<[u8; 32], usize>,
    /// Bytes of the constants section so far.
    length: u64,
    crc: crc32fast::Hasher,
    /// Images and SPIR-V, small enough to wait until the constants are complete.
    images: Vec<(SectionKind, Vec<u8>)>,
}

/// Counts, hashes and checksums what a constant's producer writes.
struct Tap<'a> {
    out: &'a mut BufWriter<File>,
    crc: crc32fast::Hasher,
    hash: blake3::Hasher,
    bytes: u64,
}

impl Write for Tap<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.crc.update(bytes);
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Starts writing; `path` itself appears or changes only in [`Writer::finish`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = path.as_ref().to_owned();
        let failed = |source| Error::Io { action: "write", path: path.clone(), source };
        let name = path.file_name().ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name")))?;
        let temporary =
            path.with_file_name(format!(".{}.{}.{}.tmp", name.to_string_lossy(), process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(failed)?;
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 18, file),
            path: path.clone(),
            temporary: Some(temporary),
            constants: Vec::new(),
            by_hash: HashMap::new(),
            length: 0,
            crc: crc32fast::Hasher::new(),
            images: Vec::new(),
        };
        writer.zeros(PAGE).map_err(failed)?;
        Ok(writer)
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Io { action: "write", path: path.clone(), source }
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
        self.out.write_all(&ZEROS[..count as usize])
    }

    /// Adds a constant and returns its index; equal ones share an index, equal bytes of another type or shape share the storage.
    pub fn constant(&mut self, storage: ElementType, dims: &[u64], bytes: &[u8]) -> Result<u32> {
        self.check_size(storage, dims, bytes.len() as u64)?;
        let hash = *blake3::hash(bytes).as_bytes();
        if let Some(&same) = self.by_hash.get(&hash) {
            return Ok(self.entry(Constant { storage, dims: dims.to_vec(), ..self.constants[same].clone() }));
        }
        self.constant_from(storage, dims, |out| out.write_all(bytes))
    }

    /// Adds a constant that `produce` writes piece by piece, C order, so that it never has to be in memory as a whole.
    pub fn constant_from(
        &mut self,
        storage: ElementType,
        dims: &[u64],
        produce: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<u32> {
        let failed = self.failed();
        let start = self.length;
        let padding = [0; ALIGNMENT];
        let padding = &padding[..(start.next_multiple_of(ALIGNMENT as u64) - start) as usize];
        self.out.write_all(padding).map_err(&failed)?;
        let offset = start + padding.len() as u64;
        let mut tap = Tap { out: &mut self.out, crc: crc32fast::Hasher::new(), hash: blake3::Hasher::new(), bytes: 0 };
        produce(&mut tap).map_err(&failed)?;
        let (hash, crc, bytes) = (*tap.hash.finalize().as_bytes(), tap.crc, tap.bytes);
        self.check_size(storage, dims, bytes)?;
        if let Some(&same) = self.by_hash.get(&hash) {
            // Known bytes: take them back.
            self.out.seek(SeekFrom::Start(PAGE + start)).map_err(&failed)?;
            return Ok(self.entry(Constant { storage, dims: dims.to_vec(), ..self.constants[same].clone() }));
        }
        self.crc.update(padding);
        self.crc.combine(&crc);
        self.length = offset + bytes;
        let index = self.entry(Constant { storage, dims: dims.to_vec(), offset, bytes, hash, crc32: crc.finalize() });
        self.by_hash.insert(hash, index as usize);
        Ok(index)
    }

    fn check_size(&self, storage: ElementType, dims: &[u64], bytes: u64) -> Result<()> {
        let expected = dims.iter().try_fold(storage.bytes() as u64, |n, d| n.checked_mul(*d));
        if expected != Some(bytes) {
            return Err(Error::Artifact(format!("a constant of {storage} {dims:?} has {bytes} bytes; pass its elements in C order")));
        }
        Ok(())
    }

    fn entry(&mut self, constant: Constant) -> u32 {
        let known = self.constants.iter().position(|c| *c == constant);
        known.unwrap_or_else(|| {
            self.constants.push(constant);
            self.constants.len() - 1
        }) as u32
    }

    /// Adds the ELF image of a CPU variant; the result goes into `Device::Cpu::image`.
    pub fn cpu_image(&mut self, elf: Vec<u8>) -> u32 {
        self.image(SectionKind::CpuImage, elf)
    }

    /// Adds the SPIR-V modules of a Vulkan variant; the result goes into `Device::Vulkan::spirv`.
    pub fn spirv(&mut self, modules: Vec<u8>) -> u32 {
        self.image(SectionKind::Spirv, modules)
    }

    fn image(&mut self, kind: SectionKind, bytes: Vec<u8>) -> u32 {
        self.images.push((kind, bytes));
        (CONSTANTS_SECTION + self.images.len()) as u32
    }

    /// Checks the manifest (its constants are filled in here), completes the file and gives it its name. Returns its length.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<u64> {
        let failed = self.failed();
        manifest.constants = std::mem::take(&mut self.constants);
        let images = std::mem::take(&mut self.images);
        let crc32 = std::mem::take(&mut self.crc).finalize();
        let mut sections = vec![Section { kind: SectionKind::Constants, offset: PAGE, length: self.length, alignment: PAGE as u32, crc32 }];
        let mut position = PAGE + self.length;
        let encoded = encode_manifest(&manifest)?;
        for (kind, bytes) in images.iter().map(|(kind, bytes)| (*kind, bytes)).chain([(SectionKind::Manifest, &encoded)]) {
            let alignment = if kind == SectionKind::CpuImage { PAGE } else { ALIGNMENT as u64 };
            let offset = position.next_multiple_of(alignment);
            self.zeros(offset - position).map_err(&failed)?;
            self.out.write_all(bytes).map_err(&failed)?;
            let length = bytes.len() as u64;
            sections.push(Section { kind, offset, length, alignment: alignment as u32, crc32: crc32fast::hash(bytes) });
            position = offset + length;
        }
        verify_with(&manifest, &sections, &|index| &images[index - 1].1)?;
        let table_offset = position.next_multiple_of(8);
        self.zeros(table_offset - position).map_err(&failed)?;
        let (header, table) = encode_header(&sections, table_offset);
        self.out.write_all(&table).map_err(&failed)?;
        // A producer's bytes that were taken back may stand beyond the end.
        self.out.flush().map_err(&failed)?;
        let length = table_offset + table.len() as u64;
        self.out.get_ref().set_len(length).map_err(&failed)?;
        self.out.seek(SeekFrom::Start(0)).map_err(&failed)?;
        self.out.write_all(&header[..HEADER_BYTES]).map_err(&failed)?;
        self.out.flush().map_err(&failed)?;
        let temporary = self.temporary.as_deref().expect("only finish and drop take it");
        fs::rename(temporary, &self.path).map_err(&failed)?;
        self.temporary = None;
        Ok(length)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Nothing better can be done about a failure here.
            let _ = fs::remove_file(temporary);
        }
    }
}
