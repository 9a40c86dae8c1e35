//! An artifact or a model -> an open program. Models are compiled to a temporary artifact, which is gone as soon as it is mapped.

use crate::{
    arguments::ModelOptions,
    compiler,
    console::{Console, Failure},
};
use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};
use winze_runtime::{
    Program,
    artifact::{container::MAGIC, reader::OpenOptions},
};

/// An open program and how long opening it took.
pub struct Opened {
    pub program: Program,
    pub time: Duration,
}

/// `how` is about artifacts that were compiled before.
pub fn open(options: &ModelOptions, how: &OpenOptions, console: &Console) -> Result<Opened, Failure> {
    let path = &options.model;
    if is_artifact(path)? {
        let flags = [
            (!options.target.is_empty(), "--target"),
            (options.optimisation.is_some(), "-O"),
            (options.jobs.is_some(), "--jobs"),
            (options.no_cache, "--no-cache"),
            (!options.value.is_empty(), "--value"),
            (!options.max_size.is_empty(), "--max-size"),
            (options.externs.iter().any(|file| is_declaration(file)), "--extern FILE.toml"),
            (!options.bind.is_empty(), "--bind"),
        ];
        if let Some((_, flag)) = flags.into_iter().find(|(given, _)| *given) {
            return Err(Failure::Usage(format!("{flag} is for compiling, but {} is compiled already", path.display())));
        }
        let opened = timed(path, how)?;
        for dim in &options.dim {
            // What follows the name is looked at where it is used.
            let name = dim.split_once("<=").or_else(|| dim.rsplit_once('=')).map_or(dim.as_str(), |(name, _)| name.trim());
            check_dim(&opened.program, dim, name)?;
        }
        return Ok(opened);
    }
    let folder = tempfile::Builder::new().prefix("winze-").tempdir();
    let folder = folder.map_err(|error| Failure::Failed(format!("compile: cannot make a temporary folder: {error}")))?;
    let artifact = folder.path().join("model.wz");
    let started = Instant::now();
    compiler::execute("compile", compile_words(options, &artifact, console))?;
    console.note(&format!("compiled in {:.0} ms", started.elapsed().as_secs_f64() * 1e3));
    timed(&artifact, &OpenOptions::default())
}

/// Refuses `--dim TEXT` about a dim that no function of an artifact has.
pub fn check_dim(program: &Program, text: &str, name: &str) -> Result<(), Failure> {
    let symbols = program.manifest().functions.iter().flat_map(|function| &function.symbols);
    let names: Vec<&str> = symbols.filter(|symbol| symbol.upper.is_none()).map(|symbol| symbol.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let has = if names.is_empty() { "none".into() } else { names.join(", ") };
    Err(Failure::Usage(format!("--dim {text}: the artifact has no dim {name}; it has: {has}")))
}

fn timed(path: &Path, how: &OpenOptions) -> Result<Opened, Failure> {
    let started = Instant::now();
    let program = Program::open_with(path, how)?;
    Ok(Opened { program, time: started.elapsed() })
}

/// Artifacts are known by their first bytes or by their name, everything else goes to the compiler.
fn is_artifact(path: &Path) -> Result<bool, Failure> {
    let failed = |error| Failure::Failed(format!("open: {}: {error}", path.display()));
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    Ok(start == MAGIC || path.extension().is_some_and(|extension| extension == "wz"))
}

/// Whether a file of `--extern` declares kernels, for the compiler; else it is a library of them.
pub fn is_declaration(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "toml")
}

fn compile_words(options: &ModelOptions, artifact: &Path, console: &Console) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![options.model.clone().into(), "-o".into(), artifact.into(), "--link".into()];
    if options.no_cache {
        words.push("--no-cache".into());
    }
    words.extend(compiler::loudness(console));
    let implied = if options.device.starts_with("vulkan") {
        // The CPU variant is what a run falls back to.
        if options.require_device { &["vulkan"][..] } else { &["cpu", "vulkan"] }
    } else {
        &[]
    };
    let targets = options.target.iter().map(String::as_str);
    let implied = implied.iter().copied().filter(|_| options.target.is_empty());
    for target in targets.chain(implied) {
        words.extend(["--target".into(), target.into()]);
    }
    for dim in &options.dim {
        words.extend(["--dim".into(), dim.into()]);
    }
    for value in &options.value {
        words.extend(["--value".into(), value.into()]);
    }
    for size in &options.max_size {
        words.extend(["--max-size".into(), size.into()]);
    }
    for file in options.externs.iter().filter(|file| is_declaration(file)) {
        words.extend(["--extern".into(), file.into()]);
    }
    for bind in &options.bind {
        words.extend(["--bind".into(), bind.into()]);
    }
    // The values and shapes of inputs that are known: the compiler uses those that the model cannot do without.
    for input in &options.input {
        words.extend(["--input".into(), input.into()]);
    }
    if let Some(level) = options.optimisation {
        words.push(format!("-O{level}").into());
    }
    if let Some(jobs) = options.jobs {
        words.extend(["--jobs".into(), jobs.to_string().into()]);
    }
    words
}
