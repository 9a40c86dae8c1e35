//! This machine -> a machine that can build and test Winze. Looks for files, not for package names, so it is instant and offline when all is
//! there, and content with any installation in the same places. Installs through apt-get; elsewhere it names what is missing and stops.

use crate::{Result, process};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A Debian package, what for, and the evidence that its files are there.
struct Package {
    name: &'static str,
    why: &'static str,
    evidence: Evidence,
}

enum Evidence {
    /// A program on PATH.
    Program(&'static str),
    /// A Python module that the system's python3 can run.
    PythonModule(&'static str),
    /// A path, of which the last component may end in `*`.
    File(&'static str),
    /// A file in any folder where this system keeps libraries.
    Library(&'static str),
}
use Evidence::{File, Library, Program, PythonModule};

/// In the order in which a build needs them.
const PACKAGES: &[Package] = &[
    Package { name: "gcc", why: "links Rust programs", evidence: Program("cc") },
    Package { name: "g++", why: "compiles the C++ shim", evidence: Program("c++") },
    Package {
        name: "llvm-22-dev",
        why: "LLVM: code generation; lit and FileCheck",
        evidence: File("/usr/lib/llvm-22/include/llvm-c/Core.h"),
    },
    Package { name: "libmlir-22-dev", why: "MLIR", evidence: File("/usr/lib/llvm-22/include/mlir-c/IR.h") },
    Package { name: "mlir-22-tools", why: "mlir-tblgen: dialects from .td files", evidence: File("/usr/lib/llvm-22/bin/mlir-tblgen") },
    Package { name: "libclang1-22", why: "bindings to MLIR's C API", evidence: File("/usr/lib/llvm-22/lib/libclang-22.so*") },
    Package {
        name: "libclang-common-22-dev",
        why: "C headers for these bindings",
        evidence: File("/usr/lib/llvm-22/lib/clang/22/include/stddef.h"),
    },
    Package { name: "libpolly-22-dev", why: "needed to link LLVM's table reader", evidence: File("/usr/lib/llvm-22/lib/libPolly.a") },
    Package { name: "zlib1g-dev", why: "needed to link LLVM's table reader", evidence: File("/usr/include/zlib.h") },
    Package { name: "libzstd-dev", why: "needed to link LLVM's table reader", evidence: File("/usr/include/zstd.h") },
    Package { name: "lld-22", why: "links compiled models", evidence: File("/usr/lib/llvm-22/bin/ld.lld") },
    Package { name: "libvulkan1", why: "runs models on Vulkan", evidence: Library("libvulkan.so.1") },
    Package {
        name: "mesa-vulkan-drivers",
        why: "tests: a Vulkan device on every machine",
        evidence: File("/usr/share/vulkan/icd.d/lvp_icd*"),
    },
    Package {
        name: "vulkan-validationlayers",
        why: "tests: checks every Vulkan call",
        evidence: File("/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json"),
    },
    Package { name: "spirv-tools", why: "tests: checks every shader", evidence: Program("spirv-val") },
    Package { name: "python3", why: "tests: lit", evidence: Program("python3") },
    Package { name: "python3-pip", why: "demo: fetches its model", evidence: PythonModule("pip") },
];

impl Evidence {
    fn found(&self) -> bool {
        match self {
            Program(name) => process::on_path(name),
            File(path) => file_found(Path::new(path)),
            Library(name) => library_folders().iter().any(|folder| folder.join(name).exists()),
            PythonModule(name) => python_module_found(name),
        }
    }
}

/// A path whose last component may end in `*`.
fn file_found(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return false };
    let Some(prefix) = name.strip_suffix('*') else { return path.exists() };
    folder.read_dir().is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with(prefix))))
}

fn library_folders() -> Vec<PathBuf> {
    let multiarch = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    vec![multiarch, "/usr/lib".into(), "/usr/lib64".into(), "/usr/local/lib".into()]
}

/// Debian keeps modules in dist-packages; anything else is asked with a Python process, which takes a while.
fn python_module_found(name: &str) -> bool {
    Path::new("/usr/lib/python3/dist-packages").join(name).exists()
        || process::succeeds(Command::new("python3").args(["-c", &format!("import {name}")]))
}

/// Installs what is missing. Does nothing, and says nothing, when nothing is.
pub fn run() -> Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !package.evidence.found()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("These packages are missing:");
    for package in &missing {
        println!("  {:24} {}", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !process::on_path("apt-get") {
        return Err(format!(
            "setup: this system has no apt-get; install the equivalents of {} (LLVM and MLIR 22.1 under /usr/lib/llvm-22) and run this again",
            names.join(" ")
        ));
    }
    process::run(as_root("apt-get")?.args(["update", "-q"]))?;
    let unknown: Vec<&str> = names.iter().copied().filter(|name| !apt_knows(name)).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "setup: apt does not offer {}; add a package source that does (Debian 12 with its security updates has all of them) and run this again",
            unknown.join(" ")
        ));
    }
    let mut install = as_root("env")?;
    install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q", "--no-install-recommends"]).args(&names);
    process::run(&mut install)?;
    let still: Vec<&str> = missing.iter().filter(|package| !package.evidence.found()).map(|package| package.name).collect();
    if still.is_empty() {
        return Ok(());
    }
    Err(format!("setup: {} installed, but their files are not where they are expected; reinstall them", still.join(" ")))
}

/// A command as root: through sudo unless this process is root already.
fn as_root(program: &str) -> Result<Command> {
    let id = process::capture(Command::new("id").arg("-u"))?;
    if id.stdout.trim_ascii() == b"0" {
        return Ok(Command::new(program));
    }
    if !process::on_path("sudo") {
        return Err(format!(
            "setup: installing packages needs root, and there is no sudo; run `{program}` as root or install them yourself"
        ));
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

/// Whether apt can install a package: `apt-cache policy` shows a candidate.
fn apt_knows(name: &str) -> bool {
    let Ok(output) = process::capture(Command::new("apt-cache").args(["policy", name]).env("LC_ALL", "C")) else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().any(|line| line.trim().strip_prefix("Candidate: ").is_some_and(|version| version != "(none)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_files_by_prefix() {
        assert!(file_found(Path::new("/usr/bin/en*")) && file_found(Path::new("/usr/bin/env")));
        assert!(!file_found(Path::new("/usr/bin/no-such-*")) && !file_found(Path::new("/no/such/folder*")));
    }

    #[test]
    fn apt_knows_only_what_it_offers() {
        if process::on_path("apt-cache") {
            assert!(apt_knows("bash") && !apt_knows("no-such-package-here"));
        }
    }

    #[test]
    fn every_package_has_a_reason() {
        assert!(PACKAGES.iter().all(|package| !package.why.is_empty()));
    }
}
