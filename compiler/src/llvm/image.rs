//! Object files of one variant -> one ELF shared object without imports, and the address of every kernel in it.
//!
//! Assumes x86-64 ELF objects whose global symbols are the kernels. Refuses undefined symbols. Needs `ld.lld`, from LLVM's own packages.

use super::{CpuTarget, codegen::LlvmModule};
use object::{Object, ObjectSymbol};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const FREESTANDING: &str = include_str!("freestanding.ll");

/// The native code of one CPU variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuImage {
    /// An ELF shared object: position-independent, without imports, the same for the same kernels.
    pub bytes: Vec<u8>,
    /// Address of each kernel's entry relative to the image base.
    pub entries: BTreeMap<String, u64>,
}

/// Links `objects` (kernel name, object file), in this order, with the memory functions that LLVM may call.
pub fn link_image(objects: &[(String, Vec<u8>)], target: &CpuTarget) -> Result<CpuImage, String> {
    let runtime = LlvmModule::from_text("freestanding.ll", FREESTANDING, target)?;
    runtime.optimize()?;
    let runtime = runtime.object()?;

    let folder = tempfile::Builder::new().prefix("winze-link").tempdir().map_err(|e| format!("link: no temporary folder: {e}"))?;
    let mut inputs = Vec::new();
    for (index, bytes) in objects.iter().map(|(_, bytes)| bytes).chain([&runtime]).enumerate() {
        // Names by number: nothing of a kernel's name or this machine's paths can get into the image.
        let name = format!("{index}.o");
        write(&folder.path().join(&name), bytes)?;
        inputs.push(name);
    }
    // A response file, because thousands of names do not fit on a command line.
    write(&folder.path().join("inputs"), inputs.join("\n").as_bytes())?;

    let linker = find_tool("ld.lld", "lld-22")?;
    let output = Command::new(&linker)
        .current_dir(folder.path())
        .args([
            "-shared",
            "-s",
            "--no-undefined",
            "--gc-sections",
            "--build-id=none",
            "--hash-style=gnu",
            "-z",
            "noexecstack",
            "-z",
            "norelro",
        ])
        .args(["-z", "separate-code", "--threads=1", "-o", "image.so", "@inputs"])
        .output()
        .map_err(|e| format!("link: {} does not start: {e}", linker.display()))?;
    if !output.status.success() {
        return Err(format!("link: {} failed: {}", linker.display(), String::from_utf8_lossy(&output.stderr).trim()));
    }
    let bytes = fs::read(folder.path().join("image.so")).map_err(|e| format!("link: the image is unreadable: {e}"))?;
    let entries = entries(&bytes)?;
    if let Some((name, _)) = objects.iter().find(|(name, _)| !entries.contains_key(name)) {
        return Err(format!("link: kernel '{name}' is not in the image; its object does not define that symbol"));
    }
    Ok(CpuImage { bytes, entries })
}

fn entries(image: &[u8]) -> Result<BTreeMap<String, u64>, String> {
    let file = object::File::parse(image).map_err(|e| format!("link: the image is no ELF file: {e}"))?;
    let mut entries = BTreeMap::new();
    for symbol in file.dynamic_symbols() {
        let name = symbol.name().map_err(|e| format!("link: a symbol of the image has no name: {e}"))?;
        if symbol.is_undefined() {
            return Err(format!("link: the image imports '{name}'; kernels may call nothing outside"));
        }
        entries.insert(name.to_owned(), symbol.address());
    }
    Ok(entries)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("link: {} cannot be written: {e}", path.display()))
}

/// A tool of the LLVM this was built with, else from PATH. `package` is Debian's.
pub fn find_tool(name: &str, package: &str) -> Result<PathBuf, String> {
    let mut candidates = Vec::new();
    if let Some(prefix) = option_env!("MLIR_SYS_220_PREFIX") {
        candidates.push(Path::new(prefix).join("bin").join(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
    for folder in std::env::split_paths(&path) {
        candidates.extend([folder.join(format!("{name}-22")), folder.join(name)]);
    }
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("link: {name} is neither in LLVM's folder nor on PATH; install it (Debian: apt-get install {package})"))
}
