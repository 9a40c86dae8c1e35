//! The stages of compilation, in order. Their words name folders, `--emit` values, dump folders and snapshots.

use std::{fmt, str::FromStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Import,
    Graph,
    Kernels,
    Linalg,
    Schedule,
    Vector,
    Llvm,
    Gpu,
    Spirv,
    Launch,
    Artifact,
}

impl Stage {
    pub const ALL: [Self; 11] = [
        Self::Import,
        Self::Graph,
        Self::Kernels,
        Self::Linalg,
        Self::Schedule,
        Self::Vector,
        Self::Llvm,
        Self::Gpu,
        Self::Spirv,
        Self::Launch,
        Self::Artifact,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Graph => "graph",
            Self::Kernels => "kernels",
            Self::Linalg => "linalg",
            Self::Schedule => "schedule",
            Self::Vector => "vector",
            Self::Llvm => "llvm",
            Self::Gpu => "gpu",
            Self::Spirv => "spirv",
            Self::Launch => "launch",
            Self::Artifact => "artifact",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| format!("`{text}` is no stage; use one of {}", known()))
    }
}
