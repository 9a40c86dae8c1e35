//! A device string (`cpu`, `vulkan`, `vulkan:INDEX`, `vulkan:NAME`) -> a choice; the list of devices; the variant of a program that suits one.

use crate::{
    artifact::manifest::Device,
    error::{Error, Result},
    program::Program,
};
use std::{fmt, str::FromStr};

/// What the user asked to run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    #[default]
    Cpu,
    Vulkan(VulkanSelector),
}

/// Which Vulkan device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VulkanSelector {
    /// The best one: real GPUs before software renderers.
    #[default]
    Best,
    /// Position in [`devices`]' Vulkan part.
    Index(u32),
    /// Part of the device's name, case-insensitive.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "vulkan" => Ok(Self::Vulkan(VulkanSelector::Best)),
            Some(("vulkan", which)) if !which.is_empty() => Ok(Self::Vulkan(match which.parse() {
                Ok(index) => VulkanSelector::Index(index),
                Err(_) => VulkanSelector::Name(which.to_owned()),
            })),
            _ => Err(Error::Device(format!("unknown device \"{text}\"; use cpu, vulkan, vulkan:INDEX or vulkan:NAME"))),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Vulkan(VulkanSelector::Best) => f.write_str("vulkan"),
            Self::Vulkan(VulkanSelector::Index(index)) => write!(f, "vulkan:{index}"),
            Self::Vulkan(VulkanSelector::Name(name)) => write!(f, "vulkan:{name}"),
        }
    }
}

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// As given to `--device`: `cpu`, `vulkan:0`.
    pub id: String,
    pub name: String,
    /// `cpu`, `discrete gpu`, `integrated gpu`, `virtual gpu`, `software`.
    pub kind: String,
    /// Driver and version; empty for the CPU.
    pub driver: String,
    /// Features that variants may require, under the names the manifest uses.
    pub features: Vec<String>,
    /// Memory that buffers can live in, in bytes; 0 if unknown.
    pub memory_bytes: u64,
}

/// All devices of this machine, the CPU first. A missing Vulkan loader or driver means no Vulkan devices, not an error.
pub fn devices() -> Vec<DeviceInfo> {
    #[allow(unused_mut)]
    let mut all = vec![crate::cpu::features::device_info()];
    #[cfg(feature = "vulkan")]
    all.extend(crate::vulkan::devices());
    all
}

/// The variant to run on the chosen device: of those whose requirements it meets the one that requires most, the last one among equals.
pub fn choose_variant(program: &Program, choice: &DeviceChoice) -> Result<u32> {
    let manifest = program.manifest();
    let (mut best, mut refused) = (None, Vec::new());
    for (index, variant) in manifest.variants.iter().enumerate() {
        let (met, features) = match (choice, &variant.device) {
            (DeviceChoice::Cpu, Device::Cpu { triple, features, .. }) => (crate::cpu::features::check(triple, features), features),
            #[cfg(feature = "vulkan")]
            (DeviceChoice::Vulkan(selector), Device::Vulkan { features, .. }) => {
                (crate::vulkan::check(selector, &variant.device), features)
            }
            _ => continue,
        };
        match met {
            Ok(()) if best.is_none_or(|(_, most)| features.len() >= most) => best = Some((index as u32, features.len())),
            Ok(()) => {}
            Err(error) => refused.push(format!("{} ({error})", variant.target)),
        }
    }
    if let Some((index, _)) = best {
        return Ok(index);
    }
    let targets: Vec<_> = manifest.variants.iter().map(|v| v.target.as_str()).collect();
    Err(Error::Device(if refused.is_empty() {
        format!(
            "the artifact has no variant for {choice}, only for {}; compile with another --target or choose another --device",
            targets.join(", ")
        )
    } else {
        format!("no variant suits {choice}: {}; compile with another --target", refused.join("; "))
    }))
}
