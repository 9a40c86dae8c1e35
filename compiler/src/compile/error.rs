//! Why a model was not compiled, with the exit code of the command.

use crate::import::{ImportError, Unsupported};

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Bad arguments; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// What the model needs and Winze lacks, a line each; exit code 3.
    #[error("{}", .0.iter().map(Unsupported::to_string).collect::<Vec<_>>().join("\n"))]
    Unsupported(Vec<Unsupported>),
    /// Anything else; exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CompileError {
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// A broken invariant of the compiler.
    pub fn internal(message: &str) -> Self {
        Self::Failed(format!("internal error: {message}; this is a fault of the compiler, please report it"))
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unsupported(_) => 3,
            Self::Failed(_) => 1,
        }
    }
}

impl From<ImportError> for CompileError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Unsupported(reasons) => Self::Unsupported(reasons),
            invalid => Self::Failed(invalid.to_string()),
        }
    }
}

impl From<winze_runtime::Error> for CompileError {
    fn from(error: winze_runtime::Error) -> Self {
        Self::Failed(format!("artifact: {error}"))
    }
}
