//! `winze-compiler`: the commands that need MLIR. `winze` hands them over with the same words.
//!
//! `main_with` takes extensions, so that a program out of this tree is the same compiler with more ops and passes.

use crate::{
    cache::{Cache, Key},
    compile::{CompileError, CompileOptions, Emit, Target, compile, static_library},
    context,
    import::{
        Declaration, DimSetting, ImportOptions, SizeSetting, Specialization, Unsupported, ValueSetting, import_onnx, read_declarations,
    },
    stage::Stage,
    steps::{
        self,
        progress::{Reporting, report},
    },
};
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};
use winze_mlir::melior::dialect::DialectRegistry;

/// Adds dialects to a registry, and ops and passes to the process.
pub type Extension = fn(&DialectRegistry);

#[derive(Parser)]
#[command(
    name = "winze-compiler",
    bin_name = "winze",
    version,
    about = "The compiling half of winze; use `winze`, which passes its words on"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile a model (.onnx, .mlir) to an artifact (.wz)
    Compile(Box<CompileArguments>),
    /// List everything of a model that is unsupported, at once, per target
    Check(CheckArguments),
    /// Everything mlir-opt does, with Winze's dialects and passes
    #[command(disable_help_flag = true)]
    Opt {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// List the passes of Winze
    #[command(after_help = "Examples:\n  winze passes")]
    Passes,
    /// List the targets
    #[command(after_help = "Examples:\n  winze targets")]
    Targets,
    /// For each line of stdin, the words of a `compile` command between tabs: compile, and answer with the exit code in a line on stdout
    #[command(hide = true)]
    Batch,
}

#[derive(Args)]
#[command(after_help = "Examples:
  winze compile model.onnx -o model.wz
  winze compile model.onnx -o model.wz --target cpu=x86-64-v3 --target vulkan
  winze compile model.onnx -o model.wz --dim batch=1 --dim 'length<=512'
  winze compile model.onnx -o model.wz --specialize batch=1 --specialize batch=8
  winze compile model.onnx -o model.wz --extern smooth.toml        kernels of your own for custom operators
  winze compile model.onnx -o model.wz --bind y=x                  x stays in the session, y is its next value
  winze compile model.onnx --emit kernels
  winze compile model.onnx -o model.wz --emit all --emit-folder stages
  winze compile model.onnx --emit static-lib -o libmodel.a         a library and model.h, for C programs that cannot map files")]
struct CompileArguments {
    /// The model: .onnx, or .mlir of the graph dialect with its weights in a .safetensors file of the same name
    model: PathBuf,
    /// Where the artifact goes; needed unless --emit is given
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// cpu[=NAME] or vulkan[=PROFILE]; may be repeated [default: cpu=native]
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<Target>,
    /// NAME=N fixes a symbolic dim, 'NAME<=N' bounds it; may be repeated
    #[arg(long = "dim", value_name = "DIM")]
    dims: Vec<DimSetting>,
    /// NAME=N[,NAME=N...]: also compile a form for these values of dims, which runs where inputs have them; may be repeated
    #[arg(long = "specialize", value_name = "DIMS")]
    specializations: Vec<Specialization>,
    /// The value of an input, fixed where an operator needs it to be compiled; the input stays, and other values are refused
    #[arg(long = "value", value_name = "NAME=FILE.npy")]
    values: Vec<ValueSetting>,
    /// Sizes that the value NAME of the model, or any, decides while running are at most N; may be repeated
    #[arg(long = "max-size", value_name = "[NAME=]N")]
    max_sizes: Vec<SizeSetting>,
    /// Kernels of your own for operators of the model, declared in FILE.toml (docs/extern-kernels.md); may be repeated
    #[arg(long = "extern", value_name = "FILE")]
    externs: Vec<PathBuf>,
    /// Keep INPUT in the session: OUTPUT is its next value. A cache that grows needs a bound (--dim 'NAME<=N'); may be repeated
    #[arg(long, value_name = "OUTPUT=INPUT")]
    bind: Vec<String>,
    /// An input of the run that follows: up to 1024 elements it counts as --value, and its shape as --dim where no general form is supported
    #[arg(long = "input", value_name = "[NAME=]FILE.npy")]
    inputs: Vec<String>,
    /// Print a stage: import, graph, kernels, linalg, schedule, vector, llvm, gpu, spirv, launch, or all; or make a static-lib
    #[arg(long, value_name = "STAGE")]
    emit: Option<String>,
    /// Only kernels with this text in their name
    #[arg(long, value_name = "TEXT")]
    emit_kernel: Option<String>,
    /// Write stages to files in this folder instead of printing them
    #[arg(long, value_name = "DIR")]
    emit_folder: Option<PathBuf>,
    /// How hard LLVM optimizes CPU kernels, 0 to 3: lower levels compile faster, and kernels run slower
    #[arg(short = 'O', value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    level: u8,
    /// Compile even if an earlier compilation has left the same artifact, and keep none
    #[arg(long)]
    no_cache: bool,
    /// The output may be the same file as the cached artifact
    #[arg(long, hide = true)]
    link: bool,
    /// Threads that compile [default: all]
    #[arg(long)]
    jobs: Option<usize>,
    /// Write the time of every step and pass, as a Chrome trace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Say what each step takes
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  winze check model.onnx
  winze check model.onnx --target cpu --target vulkan --json

Prints a verdict per target; each gap is a line `unsupported: <op> at <node>: <why> [operator set N, target T]` on stderr.
--json prints {\"supported\": BOOL, \"targets\": [{\"target\": NAME, \"supported\": BOOL, \"gaps\": [GAP, ...]}, ...]} with
GAP = {\"op\": NAME, \"opset\": N or null, \"node\": NAME, \"why\": TEXT}.
Exit codes: 0 every target supports the model, 3 one does not.")]
struct CheckArguments {
    /// The model: .onnx or .mlir
    model: PathBuf,
    /// May be repeated [default: cpu=native]
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<Target>,
    /// NAME=N fixes a symbolic dim, 'NAME<=N' bounds it; may be repeated
    #[arg(long = "dim", value_name = "DIM")]
    dims: Vec<DimSetting>,
    /// The value of an input, as for compile
    #[arg(long = "value", value_name = "NAME=FILE.npy")]
    values: Vec<ValueSetting>,
    /// Largest sizes, as for compile
    #[arg(long = "max-size", value_name = "[NAME=]N")]
    max_sizes: Vec<SizeSetting>,
    /// Kernels of your own, as for compile
    #[arg(long = "extern", value_name = "FILE")]
    externs: Vec<PathBuf>,
    /// One object on stdout
    #[arg(long)]
    json: bool,
}

/// The whole program; the exit codes are 0 ok, 1 failed, 2 bad arguments, 3 unsupported.
pub fn main_with(extensions: &[Extension]) -> ExitCode {
    context::extend(extensions);
    ExitCode::from(execute(std::env::args_os()))
}

/// Runs one command line, whose failure is on stderr already when its exit code is returned.
fn execute(words: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    let result = std::panic::catch_unwind(|| run(cli.command)).unwrap_or_else(|_| Err(CompileError::internal("the compiler panicked")));
    match result {
        Ok(code) => code,
        Err(error) => {
            match &error {
                CompileError::Unsupported(_) => eprintln!("{error}"),
                other => eprintln!("error: {other}"),
            }
            error.exit_code()
        }
    }
}

fn run(command: Command) -> Result<u8, CompileError> {
    match command {
        Command::Compile(arguments) => {
            report_crashes();
            compile_command(*arguments)?;
        }
        Command::Check(arguments) => {
            report_crashes();
            return check(arguments);
        }
        Command::Opt { words } => {
            let code = winze_mlir::tools::opt_main("winze opt", &words, &context::registry());
            return Ok(u8::from(code != 0));
        }
        Command::Passes => {
            context::register_passes();
            for (name, description) in winze_mlir::pass::registered() {
                say(&format!("{name:<28} {description}"));
            }
        }
        Command::Targets => Target::names().iter().for_each(|name| say(name)),
        Command::Batch => {
            for line in std::io::stdin().lines() {
                let line = line.map_err(|error| CompileError::failed(format!("batch: stdin: {error}")))?;
                let words = ["winze-compiler", "compile"].into_iter().chain(line.split('\t')).map(OsString::from);
                say(&execute(words).to_string());
            }
        }
    }
    Ok(0)
}

/// The kernels of all files; those that come first count first.
fn declarations(files: &[PathBuf]) -> Result<Vec<Declaration>, CompileError> {
    let lists = files.iter().map(|file| read_declarations(file)).collect::<Result<Vec<_>, _>>()?;
    Ok(lists.concat())
}

fn report_crashes() {
    steps::keep_reproducers(&std::env::temp_dir());
    steps::crash::install();
}

fn or_native(targets: Vec<Target>) -> Result<Vec<Target>, CompileError> {
    if targets.is_empty() { Ok(vec!["cpu".parse().map_err(CompileError::Usage)?]) } else { Ok(targets) }
}

/// Value of `--emit` that makes a library instead of an artifact.
const STATIC_LIBRARY: &str = "static-lib";

fn compile_command(mut arguments: CompileArguments) -> Result<(), CompileError> {
    if arguments.emit.as_deref() == Some(STATIC_LIBRARY) {
        let out = arguments.output.take().ok_or_else(|| CompileError::Usage("--emit static-lib: give -o libNAME.a".into()))?;
        let folder = tempfile::Builder::new().prefix("winze-library").tempdir();
        let folder = folder.map_err(|e| CompileError::failed(format!("static-lib: no temporary folder: {e}")))?;
        let artifact = folder.path().join("model.wz");
        compile_command(CompileArguments { output: Some(artifact.clone()), emit: None, ..arguments })?;
        return static_library::write(&artifact, &out);
    }
    if arguments.output.is_none() && arguments.emit.is_none() {
        return Err(CompileError::Usage("compile: give -o OUT.wz, or --emit STAGE to look at a stage".into()));
    }
    let emit = arguments.emit.as_deref().map(|stage| -> Result<Emit, CompileError> {
        let stage = if stage == "all" { Ok(None) } else { stage.parse::<Stage>().map(Some) };
        Ok(Emit {
            stage: stage.map_err(|e| CompileError::Usage(format!("--emit: {e}, or `all`")))?,
            kernel: arguments.emit_kernel.clone(),
            folder: arguments.emit_folder.clone(),
        })
    });
    let jobs = arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let import = ImportOptions {
        dims: arguments.dims,
        specializations: arguments.specializations,
        max_sizes: arguments.max_sizes,
        values: arguments.values,
        inputs: arguments.inputs,
        externs: declarations(&arguments.externs)?,
    };
    let mut targets = or_native(arguments.targets)?;
    for target in &mut targets {
        if let Target::Cpu(cpu) = target {
            cpu.level = arguments.level;
        }
    }
    let options = CompileOptions { targets, import, bind: arguments.bind, jobs: jobs.max(1), emit: emit.transpose()? };
    // Whoever asks for stages or times wants to see the model being compiled.
    let cached = arguments.emit.is_none() && arguments.trace.is_none() && !arguments.no_cache;
    let key = || Key::new(&arguments.model, arguments.level, &options);
    let cache = if cached { Cache::of_user().zip(key()) } else { None };
    if let (Some((cache, key)), Some(out)) = (&cache, &arguments.output)
        && cache.fetch(*key, out, arguments.link)
    {
        if arguments.verbose {
            eprintln!("note: compiled before; --no-cache compiles again");
        }
        return Ok(());
    }
    let reporting = Reporting { trace: arguments.trace.as_deref(), verbose: arguments.verbose, quiet: arguments.quiet };
    let reports = report(reporting).map_err(CompileError::Failed)?;
    let warnings = compile(&arguments.model, arguments.output.as_deref(), &options)?;
    drop(reports);
    // Warnings are for every compilation; and a model that changed meanwhile is not what the key says.
    if let (Some((cache, before)), Some(out)) = (cache, &arguments.output)
        && warnings.is_empty()
        && key() == Some(before)
    {
        cache.store(before, out);
    }
    if !arguments.quiet {
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
    Ok(())
}

/// Import finds what no target supports; compiling without writing finds what one target lacks.
fn check(arguments: CheckArguments) -> Result<u8, CompileError> {
    let targets = or_native(arguments.targets.clone())?;
    let import = ImportOptions {
        dims: arguments.dims.clone(),
        max_sizes: arguments.max_sizes.clone(),
        values: arguments.values.clone(),
        externs: declarations(&arguments.externs)?,
        ..Default::default()
    };
    let gaps_of = |result: Result<(), CompileError>| match result {
        Ok(()) => Ok(vec![]),
        Err(CompileError::Unsupported(gaps)) => Ok(gaps),
        Err(other) => Err(other),
    };
    let everywhere = if arguments.model.extension().is_some_and(|extension| extension == "mlir") {
        vec![]
    } else {
        let options = import.clone();
        gaps_of(import_onnx(&context::new_context(), &arguments.model, &options).map(|_| ()).map_err(CompileError::from))?
    };
    let gaps = targets.into_iter().map(|target| -> Result<(String, Vec<Unsupported>), CompileError> {
        let name = target.to_string();
        if !everywhere.is_empty() {
            return Ok((name, everywhere.clone()));
        }
        let options = CompileOptions { targets: vec![target], import: import.clone(), bind: vec![], jobs: 1, emit: None };
        Ok((name, gaps_of(compile(&arguments.model, None, &options).map(|_| ()))?))
    });
    let gaps: Vec<_> = gaps.collect::<Result<_, _>>()?;
    let supported = gaps.iter().all(|(_, gaps)| gaps.is_empty());
    if arguments.json {
        let targets: Vec<_> =
            gaps.iter().map(|(target, gaps)| serde_json::json!({ "target": target, "supported": gaps.is_empty(), "gaps": gaps })).collect();
        say(&serde_json::json!({ "supported": supported, "targets": targets }).to_string());
    } else {
        let line = |gap: &Unsupported, where_: &str| {
            let opset = gap.opset.map_or_else(String::new, |version| format!("operator set {version}, "));
            eprintln!("{gap} [{opset}{where_}]");
        };
        everywhere.iter().for_each(|gap| line(gap, "every target"));
        for (target, gaps) in gaps.iter().filter(|_| everywhere.is_empty()) {
            gaps.iter().for_each(|gap| line(gap, &format!("target {target}")));
        }
        for (target, gaps) in &gaps {
            let verdict = if gaps.is_empty() { "supported".to_owned() } else { format!("unsupported (gaps: {})", gaps.len()) };
            say(&format!("{target}: {verdict}"));
        }
    }
    Ok(if supported { 0 } else { 3 })
}

/// A line on stdout. A reader that goes away is no failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
