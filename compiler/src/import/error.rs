//! What import reports: everything unsupported at once, or the first thing that is wrong with the file.

use serde::Serialize;
use std::fmt;
use thiserror::Error;

/// Something a model needs that the compiler or a target lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsupported {
    /// The operator as in the model, behind its domain if that is not ONNX's; where a target lacks it, ops of the graph dialect.
    pub op: String,
    /// Version of the operator set that the model takes the operator from, where it is an operator's.
    pub opset: Option<i64>,
    pub node: String,
    /// The attribute, element type, extent or value that is missing, and what to do.
    pub why: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "unsupported: {} at {}: {}", self.op, self.node, self.why)
    }
}

#[derive(Debug, Error)]
pub enum ImportError {
    /// A line per reason; the command exits with 3.
    #[error("{}", .0.iter().map(Unsupported::to_string).collect::<Vec<_>>().join("\n"))]
    Unsupported(Vec<Unsupported>),
    /// The file is damaged or contradicts itself, or does not fit the options; the command exits with 1.
    #[error("import: {what} at {at}; {remedy}")]
    Invalid { what: String, at: String, remedy: String },
}

impl ImportError {
    pub(super) fn invalid(what: impl Into<String>, at: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), at: at.into(), remedy: remedy.into() }
    }

    /// A model that contradicts the ONNX specification.
    pub(super) fn model(what: impl Into<String>, at: impl Into<String>) -> Self {
        Self::invalid(what, at, "check the model with onnx.checker, or export it again")
    }
}

/// Why one node was not imported; the node is known to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Unsupported(String),
    Invalid(String),
}

impl Failure {
    pub fn unsupported<T>(why: impl Into<String>) -> Result<T, Self> {
        Err(Self::Unsupported(why.into()))
    }

    /// The same with more about what it concerns.
    pub fn about(self, more: &str) -> Self {
        match self {
            Self::Unsupported(why) => Self::Unsupported(format!("{why}, {more}")),
            Self::Invalid(what) => Self::Invalid(format!("{what}, {more}")),
        }
    }

    pub fn invalid<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self::Invalid(what.into()))
    }
}
