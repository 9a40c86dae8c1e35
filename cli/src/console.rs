//! What the user sees: results on stdout, diagnostics on stderr, failures with their exit code. A reader that goes away (`| head`) is no failure.

use crate::arguments::{ColorWhen, General};
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Why the command ends without success.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Exit 2: arguments that contradict each other or cannot be.
    Usage(String),
    /// Exit 1: everything else.
    Failed(String),
    /// The compiler has said what is wrong; its exit code.
    Compiler(u8),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Compiler(code) => *code,
        }
    }
}

impl From<winze_runtime::Error> for Failure {
    fn from(error: winze_runtime::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

pub struct Console {
    color: bool,
    verbose: bool,
    quiet: bool,
}

impl Console {
    pub fn new(general: &General) -> Self {
        let color = match general.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Self { color, verbose: general.verbose, quiet: general.quiet }
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Text for stdout, complete with its newlines.
    pub fn result(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::Failed(format!("console: cannot write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    pub fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Usage(message) => self.diagnose("error", "31", &format!("{message}\n\nFor more information, try '--help'.")),
            Failure::Failed(message) => self.diagnose("error", "31", message),
            Failure::Compiler(_) => {}
        }
    }

    pub fn warning(&self, message: &str) {
        if !self.quiet {
            self.diagnose("warning", "33", message);
        }
    }

    /// What only `--verbose` shows.
    pub fn note(&self, message: &str) {
        if self.verbose {
            self.diagnose("note", "36", message);
        }
    }

    fn diagnose(&self, label: &str, color: &str, message: &str) {
        let mut err = io::stderr().lock();
        // Nobody is left to tell if this fails.
        let _ = if self.color { writeln!(err, "\x1b[1;{color}m{label}\x1b[0m: {message}") } else { writeln!(err, "{label}: {message}") };
    }
}
