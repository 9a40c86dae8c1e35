//! For build scripts: one ODS file -> C++ registration and verification (mlir-tblgen), typed Rust wrappers and Markdown (tblgen crate).
//!
//! ```no_run
//! winze_mlir_build::Dialect { name: "graph", td: "graph.td", include: &["."] }.build();
//! ```
//!
//! In the crate: `include!(concat!(env!("OUT_DIR"), "/ops.rs"));` brings the wrappers and `register(&registry)`.
//! Ops with `hasVerifier`, `hasCanonicalizer` or `DeclareOpInterfaceMethods<InferTypeOpInterface>` in ODS are implemented in Rust
//! through `winze_mlir::op_hooks`. Failures panic: they are errors of the crate being built, and cargo shows the message.

mod cpp;
mod docs;
mod record;
mod wrappers;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A dialect to build.
pub struct Dialect<'a> {
    /// Dialect name; also its C++ namespace.
    pub name: &'a str,
    /// Root ODS file, relative to the crate.
    pub td: &'a str,
    /// Folders with included ODS files, relative to the crate; watched for changes.
    pub include: &'a [&'a str],
}

impl Dialect<'_> {
    /// Writes `ops.rs` and `<name>.md` to OUT_DIR and compiles the C++ half of the dialect into the crate.
    pub fn build(&self) {
        let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("run from a build script"));
        let out = PathBuf::from(env::var("OUT_DIR").expect("run from a build script"));
        let prefix = PathBuf::from(env::var("MLIR_SYS_220_PREFIX").unwrap_or_else(|_| "/usr/lib/llvm-22".into()));
        println!("cargo:rerun-if-changed={}", self.td);
        println!("cargo:rerun-if-env-changed=MLIR_SYS_220_PREFIX");
        let includes: Vec<PathBuf> = self.include.iter().map(|folder| manifest_dir.join(folder)).collect();
        for folder in &includes {
            watch(folder);
        }

        let ops = record::parse(self.name, &manifest_dir.join(self.td), &includes, &prefix.join("include"));
        fs::write(out.join("ops.rs"), wrappers::render(self.name, &ops)).expect("OUT_DIR is writable");
        fs::write(out.join(format!("{}.md", self.name)), docs::render(self.name, &ops)).expect("OUT_DIR is writable");

        let tblgen = |generator: &[&str], file: &str| {
            let mut command = Command::new(prefix.join("bin/mlir-tblgen"));
            command.args(generator).arg("-I").arg(prefix.join("include"));
            for folder in &includes {
                command.arg("-I").arg(folder);
            }
            command.arg(manifest_dir.join(self.td)).arg("-o").arg(out.join(file));
            let status = command.status().unwrap_or_else(|e| panic!("mlir-tblgen: {e}; install mlir-22-tools (`cargo xtask setup`)"));
            assert!(status.success(), "mlir-tblgen {generator:?} rejects {}", self.td);
        };
        let dialect = format!("-dialect={}", self.name);
        tblgen(&["-gen-dialect-decls", &dialect], "Dialect.h.inc");
        tblgen(&["-gen-dialect-defs", &dialect], "Dialect.cpp.inc");
        tblgen(&["-gen-op-decls"], "Ops.h.inc");
        tblgen(&["-gen-op-defs"], "Ops.cpp.inc");
        let source = out.join(format!("{}.cpp", self.name));
        fs::write(&source, cpp::render(self.name, &ops)).expect("OUT_DIR is writable");
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .warnings(false)
            .opt_level(0)
            .debug(false)
            .flag("-fno-exceptions")
            .flag("-fvisibility=hidden")
            .flag("-ffunction-sections")
            .include(prefix.join("include"))
            .include(&out)
            .file(&source)
            .compile(&format!("winze_dialect_{}", self.name));
    }
}

/// Watches the ODS files of a folder and its subfolders, and the folders themselves for new ones.
fn watch(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    println!("cargo:rerun-if-changed={}", folder.display());
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            watch(&path);
        } else if path.extension().is_some_and(|extension| extension == "td") {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}

/// `window_reduce` or `pad` as a Rust type name.
fn camel_case(mnemonic: &str) -> String {
    mnemonic.split(['_', '.']).filter(|word| !word.is_empty()).map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
