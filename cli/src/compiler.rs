//! Words of the command line -> a run of `winze-compiler`, which stands beside this executable. Its exit codes 0 to 3 are passed on; a crash
//! becomes exit 1 with a message.

use crate::{
    arguments::Forwarded,
    console::{Console, Failure},
};
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Command,
};

const NAME: &str = "winze-compiler";

/// Runs `winze-compiler COMMAND WORDS`.
pub fn forward(command: &str, words: &Forwarded, console: &Console) -> Result<(), Failure> {
    let flags = if command == "compile" { loudness(console) } else { None };
    execute(command, flags.into_iter().chain(words.words.iter().cloned()))
}

/// The flag of `compile` that says as much as this command does.
pub fn loudness(console: &Console) -> Option<OsString> {
    let flags = [(console.is_quiet(), "--quiet"), (console.is_verbose(), "--verbose")];
    flags.into_iter().find_map(|(wanted, flag)| wanted.then(|| flag.into()))
}

pub fn execute(command: &str, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), Failure> {
    let compiler = find(command)?;
    let status = Command::new(&compiler).arg(command).args(words).status();
    let status = status.map_err(|error| Failure::Failed(format!("{command}: cannot start {}: {error}", compiler.display())))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code @ 1..=3) => Err(Failure::Compiler(code as u8)),
        _ => Err(Failure::Failed(format!(
            "{command}: {} ended abnormally ({status}); this is a defect of Winze, please report it",
            compiler.display()
        ))),
    }
}

fn find(command: &str) -> Result<PathBuf, Failure> {
    let here = std::env::current_exe().map_err(|error| Failure::Failed(format!("{command}: cannot find this executable: {error}")))?;
    // A symbolic link in a bin folder leads to the folder where both are.
    let beside = [here.clone(), here.canonicalize().unwrap_or(here)].map(|path| path.with_file_name(NAME));
    beside.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        Failure::Failed(format!(
            "{command}: {} does not exist, and compiling needs it; install {NAME} beside winze (winze alone runs artifacts)",
            beside[1].display()
        ))
    })
}
