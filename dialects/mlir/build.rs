//! Makes shared linking work and compiles the C++ shim.
//!
//! Distributions ship no libMLIR-C.so. A linker script of that name pulls the static C-API archives and the shared libMLIR and libLLVM;
//! nothing is duplicated because libMLIR.so holds no C-API symbols.

use std::{env, fs, path::PathBuf};

const SOURCES: [&str; 4] = ["cpp/Conversion.cpp", "cpp/Loops.cpp", "cpp/Pass.cpp", "cpp/Tools.cpp"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-env-changed=MLIR_SYS_220_PREFIX");
    println!("cargo:rerun-if-env-changed=MLIR_SYS_LINK_SHARED");
    let prefix = PathBuf::from(env::var("MLIR_SYS_220_PREFIX").unwrap_or_else(|_| "/usr/lib/llvm-22".into()));
    let lib = prefix.join("lib");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .opt_level(1)
        .debug(false)
        .flag("-fno-exceptions")
        .flag("-fvisibility=hidden")
        .include(prefix.join("include"))
        .files(SOURCES)
        .compile("winze_mlir_shim");

    if env::var("MLIR_SYS_LINK_SHARED").as_deref() == Ok("1") {
        if !lib.join("libMLIR-C.so").exists() {
            fs::write(out.join("libMLIR-C.so"), linker_script(&lib)).expect("OUT_DIR is writable");
            println!("cargo:rustc-link-search=native={}", out.display());
        }
        println!("cargo:rustc-link-search=native={}", lib.display());
        println!("cargo:rustc-link-lib=MLIR");
        println!("cargo:rustc-link-lib=LLVM-22");
    }
    println!("cargo:rustc-link-lib=stdc++");
}

fn linker_script(lib: &std::path::Path) -> String {
    let entries = fs::read_dir(lib).unwrap_or_else(|e| panic!("{}: {e}; install libmlir-22-dev (`cargo xtask setup`)", lib.display()));
    let mut archives: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("libMLIRCAPI") && name.ends_with(".a"))
        .map(|name| lib.join(name).display().to_string())
        .collect();
    archives.sort();
    format!("GROUP(\n{}\n)\nINPUT(-lMLIR -lLLVM-22)\n", archives.join("\n"))
}
