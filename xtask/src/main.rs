//! `cargo xtask COMMAND` -> the chores of this repository: setup, demo, test, conformance, bless, new-op, new-pass. Builds without LLVM or a C compiler
//! beyond the Rust linker's needs, because its first job is to install them.

mod conformance;
mod demo;
mod new_op;
mod new_pass;
mod process;
mod setup;
mod smoke;
mod test;
mod text_edit;

use std::{path::PathBuf, process::ExitCode};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  setup             install the system packages that building and testing need (through apt-get; does nothing when all are there)
  demo              fetch trained models, compile them, read the text in a picture on CPU and Vulkan, compare with the stored reading
  test [--quick]    everything: format, lints, build, unit and integration tests, lit tests, examples, an optimized build
                    --quick leaves out lints, examples and the optimized build
  smoke             the part of test that compares optimized programs with the debug build, which must be there
  conformance [--device D] [FILTER]
                    ONNX's own cases and trained models (those with FILTER in their name) on a device (default: cpu); a run without FILTER
                    renews docs/coverage.md and shortens the list of known misses, xtask/misses-DEVICE.txt
  bless             renew the snapshots from what the compiler prints now; review them as a diff
  new-op NAME       add an op to the graph dialect: its folder, and the lines that register it
  new-pass NAME     add a pass: its file, its test, and the two lines that register it
                    --stage STAGE  the folder of compiler/src that it goes to (default: graph)
";

/// A failure that ends the command: a message for people, with the remedy.
pub type Result<T> = std::result::Result<T, String>;

/// The folder with the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is a folder of the workspace").to_owned()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["help"] | [.., "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["setup"] => setup::run(),
        ["demo"] => setup::run().and_then(|()| demo::run()),
        ["test", flags @ ..] if flags.iter().all(|flag| *flag == "--quick") => setup::run().and_then(|()| test::run(!flags.is_empty())),
        ["conformance"] => conformance::run("cpu", ""),
        ["conformance", "--device", device] => conformance::run(device, ""),
        ["conformance", filter] => conformance::run("cpu", filter),
        ["conformance", "--device", device, filter] | ["conformance", filter, "--device", device] => conformance::run(device, filter),
        ["smoke"] => smoke::run(),
        ["bless"] => setup::run().and_then(|()| test::bless()),
        ["new-op", name] => new_op::run(&root(), name),
        ["new-pass", name] => new_pass::run(&root(), name, "graph"),
        ["new-pass", name, "--stage", stage] | ["new-pass", "--stage", stage, name] => new_pass::run(&root(), name, stage),
        [] => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
        _ => {
            eprint!("error: xtask: unknown arguments \"{}\"\n\n{HELP}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
