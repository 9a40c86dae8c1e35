//! The command line of `winze`, declared for clap. Commands that `winze-compiler` answers only collect their words here.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::{ffi::OsString, path::PathBuf};

#[derive(Debug, Parser)]
#[command(
    name = "winze",
    version,
    about = "Compiles tensor models ahead of time to one small file, and runs it on CPUs and Vulkan GPUs",
    after_help = "\
Examples:
  winze compile model.onnx -o model.wz                         one file for this machine's CPU
  winze compile model.onnx -o model.wz --target cpu --target vulkan
  winze run model.wz --input a.npy b.npy --output-dir out      writes out/output_0.npy, ...
  winze run model.onnx --random-inputs 1 --dim batch=4         compiles first, inputs from a seed
  winze bench model.wz --random-inputs 1 --threads 2 --json
  winze inspect model.wz                                       what is inside, and what it needs
  winze devices                                                what --device can name here

Exit codes: 0 done; 1 failed (inputs, device, limits, a differing result); 2 bad arguments; 3 the model needs something unsupported.
Results go to stdout, diagnostics to stderr.",
    disable_help_subcommand = true,
    max_term_width = 120
)]
pub struct Arguments {
    #[command(flatten)]
    pub general: General,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug)]
pub struct General {
    /// Say more: device, memory, times
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Say nothing but errors and what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Coloured diagnostics
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a model (.onnx, .mlir) to an artifact (.wz)
    #[command(disable_help_flag = true)]
    Compile(Forwarded),
    /// Run an artifact or a model once
    #[command(after_help = RUN_HELP)]
    Run(Box<RunOptions>),
    /// Measure an artifact or a model
    #[command(after_help = BENCH_HELP)]
    Bench(Box<BenchOptions>),
    /// Show what an artifact contains and needs; runs none of it
    #[command(after_help = INSPECT_HELP)]
    Inspect(InspectOptions),
    /// List the devices of this machine, as --device names them
    #[command(after_help = DEVICES_HELP)]
    Devices {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List all that a model needs and Winze cannot do, per target
    #[command(disable_help_flag = true)]
    Check(Forwarded),
    /// Run passes on MLIR: all that mlir-opt does, with Winze's dialects and passes
    #[command(disable_help_flag = true)]
    Opt(Forwarded),
    /// List the passes of `winze opt`
    #[command(disable_help_flag = true)]
    Passes(Forwarded),
    /// List the values of --target
    #[command(disable_help_flag = true)]
    Targets(Forwarded),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions { shell: Shell },
}

const RUN_HELP: &str = "\
Examples:
  winze run model.wz --input a.npy b.npy --output-dir out
  winze run model.wz --input b=b.npy a=a.npy                       by name, in any order
  winze run model.wz --input a.npy b.npy --expect y.npy --rtol 1e-4  exit 1 with a report if the result differs
  winze run model.onnx --input a.npy b.npy --bind y=b --steps 10   keeps b for ten runs: y is its next value

Inputs are .npy files, C or Fortran order, any byte order; bfloat16 is stored as uint16. Those without a name are taken in the
order of the model's inputs. Outputs are DIR/output_0.npy, DIR/output_1.npy, ... in the order of the model's outputs.";

const BENCH_HELP: &str = "\
Examples:
  winze bench model.wz --random-inputs 1 --dim rows=8 --threads 1
  winze bench model.wz --input a.npy b.npy --device cpu --require-device --runs 100 --json

--json prints one object: load_ms, first_run_ms, median_ms, min_ms, runs, peak_rss_mb, weights_bytes, arena_bytes, device, threads.
Compiling a model is no part of load_ms; on the CPU weights are read and checked in the first run.";

const INSPECT_HELP: &str = "\
Examples:
  winze inspect model.wz            sections, functions, variants, memory, kernels, launch programs
  winze inspect model.wz --json     the same for programs";

const DEVICES_HELP: &str = "\
Examples:
  winze devices
  winze devices --json";

const COMPLETIONS_HELP: &str = "\
Examples:
  winze completions bash > winze.bash          source it from ~/.bashrc
  winze completions zsh > _winze               a folder of $fpath
  winze completions fish > winze.fish          ~/.config/fish/completions
  winze completions powershell > winze.ps1";

/// Words for `winze-compiler`, as they are.
#[derive(Args, Debug)]
pub struct Forwarded {
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// What `run` and `bench` share.
#[derive(Args, Debug)]
pub struct ModelOptions {
    /// An artifact (.wz), or a model (.onnx, .mlir) to compile first
    pub model: PathBuf,
    /// Input files, in order or by name
    #[arg(short, long, value_name = "[NAME=]FILE.npy", num_args = 1.., action = clap::ArgAction::Append)]
    pub input: Vec<String>,
    /// Make the inputs that have no file from a seed: floats in [-1, 1), integers and bools 0 or 1
    #[arg(long, value_name = "SEED")]
    pub random_inputs: Option<u64>,
    /// Value of a symbolic dim: fixes it when compiling, shapes random inputs (default 1). 'NAME<=N' only bounds it
    #[arg(long, value_name = "DIM", action = clap::ArgAction::Append)]
    pub dim: Vec<String>,
    /// Value of an input that a model is compiled for, where its operators need one
    #[arg(long, value_name = "NAME=FILE.npy", action = clap::ArgAction::Append, help_heading = "Compiling")]
    pub value: Vec<String>,
    /// Largest size that a value of the model, or any, decides while running
    #[arg(long, value_name = "[NAME=]N", action = clap::ArgAction::Append, help_heading = "Compiling")]
    pub max_size: Vec<String>,
    /// A library with kernels of your own that the model calls; for a model, also their declarations, FILE.toml, as for compile
    #[arg(long = "extern", value_name = "FILE", action = clap::ArgAction::Append)]
    pub externs: Vec<PathBuf>,
    /// Where to run: cpu, vulkan, vulkan:INDEX or vulkan:NAME
    #[arg(short, long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Fail where the device is missing or lost, instead of running on the CPU
    #[arg(long)]
    pub require_device: bool,
    /// CPU threads, the caller's included [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Function of the artifact [default: the first]
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// Stop runs whose loops take more iterations in all [default: 10000000]
    #[arg(long, value_name = "N")]
    pub max_iterations: Option<u64>,
    /// Write the times of all dispatches of the last run, as a Chrome trace
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Target to compile a model for [default: that of --device]
    #[arg(long, value_name = "TARGET", help_heading = "Compiling")]
    pub target: Vec<String>,
    /// Optimisation level for compiling a model
    #[arg(short = 'O', value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=3), help_heading = "Compiling")]
    pub optimisation: Option<u8>,
    /// Compile a model even if an earlier run has left its artifact, and keep none
    #[arg(long, help_heading = "Compiling")]
    pub no_cache: bool,
    /// Keep INPUT from run to run: OUTPUT is its next value. It starts empty (what grows) or as zeros, or with its file
    #[arg(long, value_name = "OUTPUT=INPUT", help_heading = "Compiling")]
    pub bind: Vec<String>,
    /// Threads for compiling a model
    #[arg(long, value_name = "N", help_heading = "Compiling")]
    pub jobs: Option<u32>,
}

#[derive(Args, Debug)]
pub struct RunOptions {
    #[command(flatten)]
    pub model: ModelOptions,
    /// Write DIR/output_0.npy, ... (made if missing); without it outputs are shown
    #[arg(short, long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Expected outputs, in order
    #[arg(long, value_name = "FILE.npy", num_args = 1.., action = clap::ArgAction::Append)]
    pub expect: Vec<PathBuf>,
    /// Allowed relative difference [default: by element type, 1e-3 for f32]
    #[arg(long, value_name = "X", requires = "expect", value_parser = tolerance)]
    pub rtol: Option<f64>,
    /// Allowed absolute difference [default: by element type, 1e-5 for f32]
    #[arg(long, value_name = "X", requires = "expect", value_parser = tolerance)]
    pub atol: Option<f64>,
    /// Number of runs, one after another
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
}

#[derive(Args, Debug)]
pub struct BenchOptions {
    #[command(flatten)]
    pub model: ModelOptions,
    /// Timed runs, after the first
    #[arg(short, long, value_name = "R", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct InspectOptions {
    /// The artifact (.wz)
    pub artifact: PathBuf,
    /// NAME=N: value of a symbolic dim, for which the bytes of the arena are shown; may be repeated
    #[arg(long, value_name = "NAME=N")]
    pub dim: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number, zero or larger".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declaration_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn collects_repeated_and_listed_inputs() {
        let parsed = Arguments::parse_from(["winze", "run", "m.wz", "--input", "a.npy", "--input", "x=b.npy", "c.npy"]);
        let Command::Run(options) = parsed.command else { panic!("run was given") };
        assert_eq!(options.model.input, ["a.npy", "x=b.npy", "c.npy"]);
    }

    #[test]
    fn leaves_the_compilers_words_alone() {
        let parsed = Arguments::parse_from(["winze", "opt", "--pass-pipeline=builtin.module(cse)", "--help", "a.mlir"]);
        let Command::Opt(Forwarded { words }) = parsed.command else { panic!("opt was given") };
        assert_eq!(words, ["--pass-pipeline=builtin.module(cse)", "--help", "a.mlir"]);
    }
}
