//! Command lines -> running children, shown to the user before they start. A failing child becomes a message with its command line.

use crate::Result;
use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Output, Stdio},
};

/// The command line as a user would type it.
pub fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: impl AsRef<str>) -> String {
    let word = word.as_ref();
    let plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./=:,+@%".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Runs a command with this process's stdout and stderr.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", text(command));
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", text(command))) }
}

/// Runs a command silently and returns what it printed, whether it succeeded or not.
pub fn capture(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))
}

/// Whether a command starts and succeeds; prints nothing.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("`{}` cannot be started: {error}", text(command))
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether a program of this name is on PATH.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_executable(&folder.join(program)))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_command_lines_as_typed() {
        let mut command = Command::new("apt-get");
        command.args(["install", "g++", "a b", "it's", ""]);
        assert_eq!(text(&command), r"apt-get install g++ 'a b' 'it'\''s' ''");
    }

    #[test]
    fn reports_failing_and_missing_programs() {
        assert!(run(&mut Command::new("false")).unwrap_err().contains("`false` failed"));
        assert!(run(&mut Command::new("no-such-program-here")).unwrap_err().contains("cannot be started"));
    }

    #[test]
    fn finds_programs() {
        assert!(on_path("sh") && !on_path("no-such-program-here"));
    }
}
