//! What `--target` names.

use crate::{gpu::VulkanProfile, llvm::CpuTarget};
use std::{fmt, str::FromStr};

/// A CPU or a Vulkan profile.
#[derive(Clone, Debug)]
pub enum Target {
    Cpu(CpuTarget),
    Vulkan(&'static VulkanProfile),
}

/// Profile of `--target vulkan`.
const DEFAULT_PROFILE: &str = "vulkan1.1-min";

impl FromStr for Target {
    type Err = String;

    /// `cpu`, `cpu=NAME`, `vulkan`, `vulkan=PROFILE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('=').map_or((text, None), |(kind, name)| (kind, Some(name)));
        match kind {
            "cpu" => Ok(Self::Cpu(CpuTarget::named(name.unwrap_or("native"))?)),
            "vulkan" => Ok(Self::Vulkan(VulkanProfile::named(name.unwrap_or(DEFAULT_PROFILE))?)),
            _ => Err(format!("target '{text}' is neither cpu[=NAME] nor vulkan[=PROFILE]; `winze targets` lists them")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cpu(cpu) => write!(f, "cpu={}", cpu.name),
            Self::Vulkan(profile) => write!(f, "vulkan={}", profile.name),
        }
    }
}

impl Target {
    /// Every target that has a name.
    pub fn names() -> Vec<String> {
        let cpus = CpuTarget::names().into_iter().map(|name| format!("cpu={name}"));
        cpus.chain(VulkanProfile::names().map(|name| format!("vulkan={name}"))).collect()
    }

    /// `kernels` stage.
    pub fn kernels_pipeline(&self) -> String {
        match self {
            Self::Cpu(cpu) => {
                format!(
                    "builtin.module(func.func(pad-inputs,pack-weights{{target={}}}),canonicalize,cse,func.func(mark-host-scalars,form-kernels,merge-axes))",
                    cpu.name
                )
            }
            Self::Vulkan(profile) => {
                format!(
                    "builtin.module(func.func(split-reductions,mark-host-scalars,form-kernels{{max-buffers={}}}))",
                    profile.limits.max_storage_buffers
                )
            }
        }
    }

    /// Bits that a stored bool takes.
    pub fn bool_bits(&self) -> u32 {
        match self {
            Self::Cpu(_) => 8,
            Self::Vulkan(_) => 32,
        }
    }

    /// Bytes that arena offsets are multiples of.
    pub fn arena_alignment(&self) -> u32 {
        match self {
            Self::Cpu(_) => 64,
            Self::Vulkan(_) => 256,
        }
    }
}
