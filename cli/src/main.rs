//! `winze ARGUMENTS` -> exit code 0, 1, 2 or 3. Runs, measures and inspects artifacts by itself (no MLIR, no LLVM); the compiling commands, and
//! `run` and `bench` of a model, go to `winze-compiler` beside this executable.

mod arguments;
mod console;

mod compiler;
mod model;

mod compare;
mod inputs;
mod session;

mod bench;
mod devices;
mod inspect;
mod run;

use arguments::{Arguments, Command};
use clap::{CommandFactory, Parser};
use console::{Console, Failure};
use std::io::Write;

fn main() {
    let arguments = Arguments::parse();
    let console = Console::new(&arguments.general);
    let code = match execute(&arguments, &console) {
        Ok(()) => 0,
        Err(failure) => {
            console.failure(&failure);
            failure.exit_code()
        }
    };
    // A reader that has left wants nothing more.
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process. Exit handlers would take a driver's code away from a device in software that gave no answer in time and still runs it.
    unsafe { libc::_exit(code.into()) }
}

fn execute(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    match &arguments.command {
        Command::Run(options) => run::run(options, console),
        Command::Bench(options) => bench::bench(options, console),
        Command::Inspect(options) => inspect::inspect(options, console),
        Command::Devices { json } => devices::devices(*json, console),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "winze", &mut script);
            console.result(&String::from_utf8_lossy(&script))
        }
        Command::Compile(rest) => compiler::forward("compile", rest, console),
        Command::Check(rest) => compiler::forward("check", rest, console),
        Command::Opt(rest) => compiler::forward("opt", rest, console),
        Command::Passes(rest) => compiler::forward("passes", rest, console),
        Command::Targets(rest) => compiler::forward("targets", rest, console),
    }
}
