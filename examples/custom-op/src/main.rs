//! `custom-compiler COMMAND ...`: all that `winze-compiler` does, and the op and the pass of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    winze_compiler::driver::main_with(&[custom_op::register])
}
