//! An artifact with one CPU variant -> a static library that holds it, and a C header that opens it: for hosts that cannot map files.
//!
//! The whole artifact becomes one executable read-only section, aligned to pages. Its native code has no relocations, so it runs where it is linked.
//! Needs `llvm-mc` and `llvm-ar`, from LLVM's own packages.

use super::CompileError;
use crate::llvm::find_tool;
use std::{fs, path::Path, process::Command};
use winze_runtime::{
    artifact::{
        manifest::{Device, Extern, Function, Port},
        reader::{LINKED_ALIGNMENT, OpenOptions, Reader},
    },
    cpu::elf,
    session::port_text,
};

/// Writes the library to `out` and its header beside it.
pub fn write(artifact: &Path, out: &Path) -> Result<(), CompileError> {
    let reader = Reader::open(artifact, &OpenOptions::whole())?;
    let [variant] = &reader.manifest().variants[..] else {
        return Err(CompileError::Usage("--emit static-lib takes one --target".into()));
    };
    let Device::Cpu { triple, image, .. } = &variant.device else {
        return Err(CompileError::Usage("--emit static-lib is for CPU targets".into()));
    };
    let code = elf::parse(reader.section(*image)).and_then(|image| image.check_in_place());
    code.map_err(|e| CompileError::failed(e.to_string()))?;
    let name = symbol(out)?;

    let folder = tempfile::Builder::new().prefix("winze-library").tempdir();
    let folder = folder.map_err(|e| CompileError::failed(format!("static-lib: no temporary folder: {e}")))?;
    let put = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).map_err(|e| CompileError::failed(format!("static-lib: {} cannot be written: {e}", path.display())))
    };
    let link = folder.path().join("model.wz");
    fs::copy(artifact, &link).map_err(|e| CompileError::failed(format!("static-lib: {}: {e}", artifact.display())))?;
    put(&folder.path().join("model.s"), assembly(&name).as_bytes())?;
    run(folder.path(), "llvm-mc", &["-filetype=obj", &format!("-triple={triple}"), "-o", "model.o", "model.s"])?;
    run(folder.path(), "llvm-ar", &["rcsD", "model.a", "model.o"])?;
    let library = fs::read(folder.path().join("model.a")).map_err(|e| CompileError::failed(format!("static-lib: no archive: {e}")))?;
    put(out, &library)?;
    put(&out.with_file_name(format!("{name}.h")), header(&name, &reader.manifest().functions, &variant.externs).as_bytes())
}

/// `libNAME.a` -> `NAME`, as C can say it.
fn symbol(out: &Path) -> Result<String, CompileError> {
    let stem = out.file_stem().and_then(|stem| stem.to_str()).filter(|_| out.extension().is_some_and(|extension| extension == "a"));
    let stem = stem.ok_or_else(|| CompileError::Usage("--emit static-lib writes a library: give -o libNAME.a".into()))?;
    let name: String = stem.strip_prefix("lib").unwrap_or(stem).chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(CompileError::Usage(format!("--emit static-lib: \"{}\" gives no name in C; give -o libNAME.a", out.display())));
    }
    Ok(name)
}

fn assembly(name: &str) -> String {
    format!(
        ".section .winze.{name},\"ax\",@progbits\n.balign {LINKED_ALIGNMENT}\n.globl winze_{name}_begin\nwinze_{name}_begin:\n.incbin \"model.wz\"\n\
         .globl winze_{name}_end\nwinze_{name}_end:\n.section .note.GNU-stack,\"\",@progbits\n"
    )
}

fn header(name: &str, functions: &[Function], externs: &[Extern]) -> String {
    let ports = |function: &Function| {
        let list = |kind: &str, ports: &[Port]| -> String {
            ports.iter().map(|port| format!(" *   {kind} {}: {}\n", port.name, port_text(function, port))).collect()
        };
        format!(" * {}:\n{}{}", function.name, list("input", &function.inputs), list("output", &function.outputs))
    };
    let functions: String = functions.iter().map(ports).collect();
    // Names are the model's and may hold anything.
    let functions = functions.replace("*/", "* /");
    format!(
        "/* A model, compiled by Winze. Link lib{name}.a and libwinze_runtime.a.\n{functions} */\n#ifndef WINZE_{name}_H\n#define WINZE_{name}_H\n\n\
         #include \"winze.h\"\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         extern const unsigned char winze_{name}_begin[], winze_{name}_end[];\n\n\
         /* Opens the model; nothing is copied or mapped. */\n\
         static inline wz_status winze_{name}_open(wz_program **program) {{\n  \
         return wz_program_open_linked(winze_{name}_begin, (size_t)(winze_{name}_end - winze_{name}_begin), program);\n}}\n\n\
         {}#ifdef __cplusplus\n}}\n#endif\n\n#endif\n",
        registration(name, externs)
    )
}

/// Declarations of the kernels that the program brings, and a function that registers them all.
fn registration(name: &str, externs: &[Extern]) -> String {
    if externs.is_empty() {
        return String::new();
    }
    let declare = |external: &Extern| {
        let Extern { name, signature, .. } = external;
        format!("/* {signature} */\nint32_t {name}(void *user, const wz_call *call);\n")
    };
    let register = |external: &Extern| {
        let kernel = &external.name;
        format!("  if (status == WZ_OK) status = wz_session_register(session, \"{kernel}\", {kernel}, 0);\n")
    };
    let (declared, registered): (String, String) = (externs.iter().map(declare).collect(), externs.iter().map(register).collect());
    format!(
        "/* The kernels that the model calls; your program defines them. */\n{declared}\n/* Registers them; call it for each session, before its \
         first run. */\nstatic inline wz_status winze_{name}_register(wz_session *session) {{\n  wz_status status = WZ_OK;\n{registered}  \
         return status;\n}}\n\n"
    )
}

fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Result<(), CompileError> {
    let path = find_tool(tool, "llvm-22").map_err(CompileError::Failed)?;
    let output = Command::new(&path).args(arguments).current_dir(folder).output();
    let output = output.map_err(|e| CompileError::failed(format!("static-lib: {} does not start: {e}", path.display())))?;
    if output.status.success() {
        return Ok(());
    }
    Err(CompileError::failed(format!("static-lib: {} failed: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim())))
}
