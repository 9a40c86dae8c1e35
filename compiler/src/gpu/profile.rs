//! Vulkan profiles: what a class of devices can do, read from `profiles/*.toml`.

use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};
use winze_runtime::artifact::manifest::ElementType;

/// What the kernels of a variant may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VulkanProfile {
    pub name: String,
    /// Major, minor.
    pub api_version: (u32, u32),
    pub spirv_version: String,
    /// `--target-env` of spirv-val.
    pub spirv_val_env: String,
    pub capabilities: Vec<String>,
    pub extensions: Vec<String>,
    /// Device features the runtime must enable, as named in the manifest.
    pub features: Vec<String>,
    /// Functions left to the driver, by the names of `expand-math`; all others are expanded.
    pub driver_math: Vec<String>,
    /// Invocations per workgroup.
    pub workgroup_size: u32,
    pub limits: Limits,
    storage: BTreeMap<String, Storage>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub max_workgroup_invocations: u32,
    pub max_push_constant_bytes: u32,
    pub max_storage_buffer_bytes: u64,
    pub max_storage_buffers: u32,
    pub max_shared_memory_bytes: u32,
}

/// How the elements of a buffer are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    /// A 64-bit integer as two 32-bit words, low one first: the same bytes as `I64` on a little-endian host.
    Words,
}

static PROFILES: LazyLock<Vec<Result<VulkanProfile, String>>> = LazyLock::new(|| {
    [include_str!("profiles/vulkan1.1-min.toml"), include_str!("profiles/vulkan1.3-desktop.toml")]
        .into_iter()
        .map(|text| toml::from_str(text).map_err(|e| format!("vulkan profile: {e}")))
        .collect()
});

impl VulkanProfile {
    /// Names of all profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PROFILES.iter().flatten().map(|p| p.name.as_str())
    }

    pub fn named(name: &str) -> Result<&'static Self, String> {
        for profile in PROFILES.iter() {
            match profile {
                Ok(profile) if profile.name == name => return Ok(profile),
                Ok(_) => {}
                Err(error) => return Err(error.clone()),
            }
        }
        Err(format!("vulkan profile `{name}` is not known; use one of {}", Self::names().collect::<Vec<_>>().join(", ")))
    }

    /// `api_version` as the manifest has it.
    pub fn packed_api_version(&self) -> u32 {
        (self.api_version.0 << 22) | (self.api_version.1 << 12)
    }

    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }

    /// How buffers of an MLIR element type (`f32`, `i64`, ...) are stored.
    pub fn storage_of(&self, element: &str) -> Result<Storage, String> {
        self.storage.get(element).copied().ok_or_else(|| {
            format!(
                "unsupported: element type {element}: profile {} has no storage for it; convert to another type or choose another profile",
                self.name
            )
        })
    }

    /// How a tensor's buffers are stored. A narrow integer that is stored widened counts by its low bits; the rest of the word may be anything.
    pub fn storage(&self, element: ElementType) -> Result<ElementType, String> {
        use ElementType as E;
        let (name, unsigned) = match element {
            E::Bool => ("i1", false),
            E::I8 => ("i8", false),
            E::I16 => ("i16", false),
            E::I32 => ("i32", false),
            E::I64 => ("i64", false),
            E::U8 => ("i8", true),
            E::U16 => ("i16", true),
            E::U32 => ("i32", true),
            E::U64 => ("i64", true),
            E::F16 => ("f16", false),
            E::BF16 => ("bf16", false),
            E::F32 => ("f32", false),
            E::F64 => ("f64", false),
        };
        Ok(match (self.storage_of(name)?, unsigned) {
            (Storage::F16, _) => E::F16,
            (Storage::F32, _) => E::F32,
            (Storage::F64, _) => E::F64,
            (Storage::I8, false) => E::I8,
            (Storage::I8, true) => E::U8,
            (Storage::I16, _) if element == E::BF16 => E::BF16,
            (Storage::I16, false) => E::I16,
            (Storage::I16, true) => E::U16,
            (Storage::I32, false) => E::I32,
            (Storage::I32, true) => E::U32,
            (Storage::I64 | Storage::Words, false) => E::I64,
            (Storage::I64 | Storage::Words, true) => E::U64,
        })
    }

    /// The `#spirv.target_env` attribute.
    pub fn target_env(&self) -> String {
        format!(
            "#spirv.target_env<#spirv.vce<{}, [{}], [{}]>, api=Vulkan, #spirv.resource_limits<max_compute_shared_memory_size = {}, max_compute_workgroup_invocations = {}>>",
            self.spirv_version,
            self.capabilities.join(", "),
            self.extensions.join(", "),
            self.limits.max_shared_memory_bytes,
            self.limits.max_workgroup_invocations,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_well_formed() {
        assert_eq!(VulkanProfile::names().collect::<Vec<_>>(), ["vulkan1.1-min", "vulkan1.3-desktop"]);
        for name in VulkanProfile::names() {
            let profile = VulkanProfile::named(name).unwrap();
            assert!(profile.workgroup_size <= profile.limits.max_workgroup_invocations);
            assert!(profile.limits.max_push_constant_bytes <= 128);
            for narrow in ["i8", "i16", "f16", "bf16"] {
                // Without the capability MLIR emulates narrow storage silently and wrongly.
                let (capability, stored) =
                    if narrow == "i8" { ("StorageBuffer8BitAccess", Storage::I8) } else { ("StorageBuffer16BitAccess", Storage::I16) };
                let stored_narrow = profile.storage_of(narrow).is_ok_and(|s| s == stored || s == Storage::F16);
                assert!(!stored_narrow || profile.has(capability), "{name}: {narrow}");
            }
        }
    }

    #[test]
    fn narrow_types_widen_or_are_refused() {
        let min = VulkanProfile::named("vulkan1.1-min").unwrap();
        assert_eq!(min.storage(ElementType::Bool).unwrap(), ElementType::I32);
        assert_eq!(min.storage(ElementType::U8).unwrap(), ElementType::U32);
        assert_eq!(min.storage(ElementType::I64).unwrap(), ElementType::I64);
        assert!(min.storage(ElementType::F16).unwrap_err().starts_with("unsupported: element type f16"));
        assert!(VulkanProfile::named("vulkan9").unwrap_err().contains("vulkan1.1-min"));
    }
}
