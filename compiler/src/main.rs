//! `winze-compiler`: see `winze_compiler::driver`.

use std::process::ExitCode;

fn main() -> ExitCode {
    winze_compiler::driver::main_with(&[])
}
