//! Every way opening, binding or running can fail. Messages say stage, what, where and remedy; nothing here is a panic.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written.
    #[error("artifact: cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// The file is no artifact, damaged, or of a version that this runtime does not know.
    #[error("artifact: {0}")]
    Artifact(String),
    /// No such device, no variant for it, a feature it lacks, or an error of its driver.
    #[error("device: {0}")]
    Device(String),
    /// The device stopped working in the middle of a run; its backend is dead.
    #[error("device: lost: {0}")]
    DeviceLost(String),
    /// An input is missing or does not fit its port.
    #[error("bind: input \"{input}\": expected {expected}, got {got}")]
    Input { input: String, expected: String, got: String },
    /// Any other wrong use of the interface: unknown function, wrong number of inputs, an output buffer that does not fit.
    #[error("bind: {0}")]
    Bind(String),
    /// The program stopped by itself: `Fail`, a kernel's error code, an index out of range, a limit.
    #[error("run: {0}")]
    Run(String),
    /// A state would grow beyond its capacity; it is as it was.
    #[error(
        "run: state \"{state}\" holds {held} of at most {capacity} along axis {axis} and would grow to {wanted}; reset it, or compile with a larger bound"
    )]
    StateFull { state: String, axis: u32, held: i64, wanted: i64, capacity: u64 },
    #[error("run: cancelled")]
    Cancelled,
    #[error("{stage}: cannot allocate {bytes} bytes for {what}; use smaller dims or a device with more memory")]
    OutOfMemory { stage: &'static str, what: &'static str, bytes: u64 },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Stable small number for the C API.
    pub fn code(&self) -> i32 {
        match self {
            Self::Io { .. } => 1,
            Self::Artifact(_) => 2,
            Self::Device(_) => 3,
            Self::DeviceLost(_) => 4,
            Self::Input { .. } | Self::Bind(_) => 5,
            Self::Run(_) => 6,
            Self::Cancelled => 7,
            Self::OutOfMemory { .. } => 8,
            Self::StateFull { .. } => 9,
        }
    }
}
