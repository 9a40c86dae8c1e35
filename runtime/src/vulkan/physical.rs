//! Physical devices -> what they are, what they can do, which one to take for a request and which requirements they miss.
//! Refuses devices without a compute queue or below Vulkan 1.1.

use super::{error::Check, instance::Instance};
use crate::{
    artifact::manifest,
    device::{DeviceInfo, VulkanSelector},
    error::{Error, Result},
};
use ash::{khr, vk};

/// A device of the instance.
#[derive(Clone)]
pub(super) struct PhysicalDevice {
    pub raw: vk::PhysicalDevice,
    /// Position in the instance's enumeration: the INDEX of `vulkan:INDEX`.
    pub index: u32,
    pub name: String,
    pub kind: vk::PhysicalDeviceType,
    /// The lesser of what the device and the instance speak.
    pub api_version: u32,
    pub driver: String,
    pub driver_id: vk::DriverId,
    pub limits: vk::PhysicalDeviceLimits,
    pub max_allocation: u64,
    pub memory: vk::PhysicalDeviceMemoryProperties,
    pub queue_family: u32,
    /// 0: the queue has no timestamps.
    pub timestamp_bits: u32,
    pub features: Vec<String>,
    /// Device extensions to enable.
    pub extensions: Vec<&'static std::ffi::CStr>,
    pub supported: Supported,
}

/// The features that kernels may need, as the device reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Supported {
    pub int16: bool,
    pub int64: bool,
    pub float64: bool,
    pub int8: bool,
    pub float16: bool,
    pub storage8: bool,
    pub storage16: bool,
}

/// All usable devices in the driver's order.
pub(super) fn enumerate(instance: &Instance) -> Result<Vec<PhysicalDevice>> {
    // SAFETY: the instance is alive; the same holds for every query below.
    let all = unsafe { instance.raw.enumerate_physical_devices() }.check("vkEnumeratePhysicalDevices")?;
    let mut devices = Vec::with_capacity(all.len());
    for (index, raw) in all.into_iter().enumerate() {
        devices.extend(describe(instance, raw, index as u32)?);
    }
    Ok(devices)
}

fn describe(instance: &Instance, raw: vk::PhysicalDevice, index: u32) -> Result<Option<PhysicalDevice>> {
    let vk_instance = &instance.raw;
    // SAFETY: `raw` belongs to the instance.
    let base = unsafe { vk_instance.get_physical_device_properties(raw) };
    let api_version = base.api_version.min(instance.api_version);
    if api_version < vk::API_VERSION_1_1 {
        return Ok(None);
    }
    // SAFETY: as above.
    let families = unsafe { vk_instance.get_physical_device_queue_family_properties(raw) };
    let compute = |flags: vk::QueueFlags| flags.contains(vk::QueueFlags::COMPUTE);
    // A family without graphics is the driver's asynchronous compute queue: it does not compete with a desktop.
    let family = families
        .iter()
        .position(|f| compute(f.queue_flags) && !f.queue_flags.contains(vk::QueueFlags::GRAPHICS))
        .or_else(|| families.iter().position(|f| compute(f.queue_flags)));
    let Some(family) = family else { return Ok(None) };

    let mut maintenance = vk::PhysicalDeviceMaintenance3Properties::default();
    let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut maintenance).push_next(&mut subgroup);
    let modern = api_version >= vk::API_VERSION_1_2;
    if modern {
        properties = properties.push_next(&mut driver);
    }
    // SAFETY: as above; the chained structures are core in the device's version.
    let (extensions, memory) = unsafe {
        vk_instance.get_physical_device_properties2(raw, &mut properties);
        let extensions = vk_instance.enumerate_device_extension_properties(raw).check("vkEnumerateDeviceExtensionProperties")?;
        (extensions, vk_instance.get_physical_device_memory_properties(raw))
    };
    let has = |name| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
    let mut enable = Vec::new();
    if has(khr::portability_subset::NAME) {
        enable.push(khr::portability_subset::NAME);
    }
    let small_arithmetic = modern || has(khr::shader_float16_int8::NAME);
    let small_storage = modern || has(khr::_8bit_storage::NAME);
    if !modern {
        enable.extend(
            [(small_arithmetic, khr::shader_float16_int8::NAME), (small_storage, khr::_8bit_storage::NAME)]
                .iter()
                .filter_map(|e| e.0.then_some(e.1)),
        );
    }

    let mut storage16 = vk::PhysicalDevice16BitStorageFeatures::default();
    let mut storage8 = vk::PhysicalDevice8BitStorageFeatures::default();
    let mut arithmetic = vk::PhysicalDeviceShaderFloat16Int8Features::default();
    let mut query = vk::PhysicalDeviceFeatures2::default().push_next(&mut storage16);
    if small_storage {
        query = query.push_next(&mut storage8);
    }
    if small_arithmetic {
        query = query.push_next(&mut arithmetic);
    }
    // SAFETY: as above; optional structures are chained only where version or extension define them.
    unsafe { vk_instance.get_physical_device_features2(raw, &mut query) };
    let core = query.features;
    let supported = Supported {
        int16: core.shader_int16 != 0,
        int64: core.shader_int64 != 0,
        float64: core.shader_float64 != 0,
        int8: arithmetic.shader_int8 != 0,
        float16: arithmetic.shader_float16 != 0,
        storage8: storage8.storage_buffer8_bit_access != 0,
        storage16: storage16.storage_buffer16_bit_access != 0,
    };
    let timestamp_bits = families[family].timestamp_valid_bits;
    let text = |name: Option<&std::ffi::CStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    let driver_id = driver.driver_id;
    let driver = match modern {
        true => format!("{} {}", text(driver.driver_name_as_c_str().ok()), text(driver.driver_info_as_c_str().ok())),
        false => format!("version {:#x}", base.driver_version),
    };
    Ok(Some(PhysicalDevice {
        raw,
        index,
        name: text(base.device_name_as_c_str().ok()),
        kind: base.device_type,
        api_version,
        driver,
        driver_id,
        limits: base.limits,
        max_allocation: maintenance.max_memory_allocation_size,
        memory,
        queue_family: family as u32,
        timestamp_bits,
        features: feature_names(supported, &subgroup, timestamp_bits),
        extensions: enable,
        supported,
    }))
}

/// The names that manifests and `winze devices` use.
fn feature_names(supported: Supported, subgroup: &vk::PhysicalDeviceSubgroupProperties<'_>, timestamp_bits: u32) -> Vec<String> {
    use vk::SubgroupFeatureFlags as F;
    let in_compute = subgroup.supported_stages.contains(vk::ShaderStageFlags::COMPUTE);
    let group = |flag| in_compute && subgroup.supported_operations.contains(flag);
    let table = [
        ("int8", supported.int8),
        ("int16", supported.int16),
        ("int64", supported.int64),
        ("float16", supported.float16),
        ("float64", supported.float64),
        ("storage8", supported.storage8),
        ("storage16", supported.storage16),
        ("subgroup-basic", group(F::BASIC)),
        ("subgroup-vote", group(F::VOTE)),
        ("subgroup-arithmetic", group(F::ARITHMETIC)),
        ("subgroup-ballot", group(F::BALLOT)),
        ("subgroup-shuffle", group(F::SHUFFLE)),
        ("subgroup-shuffle-relative", group(F::SHUFFLE_RELATIVE)),
        ("subgroup-clustered", group(F::CLUSTERED)),
        ("timestamps", timestamp_bits > 0),
    ];
    let mut names: Vec<String> = table.iter().filter(|row| row.1).map(|row| row.0.to_owned()).collect();
    names.push(format!("subgroup-size-{}", subgroup.subgroup_size));
    names
}

impl PhysicalDevice {
    /// As given to `--device`, with the name.
    pub fn label(&self) -> String {
        format!("vulkan:{} {}", self.index, self.name)
    }

    pub fn info(&self) -> DeviceInfo {
        let heaps = &self.memory.memory_heaps[..self.memory.memory_heap_count as usize];
        DeviceInfo {
            id: format!("vulkan:{}", self.index),
            name: self.name.clone(),
            kind: kind_name(self.kind).into(),
            driver: format!("{}, Vulkan {}", self.driver, version(self.api_version)),
            features: self.features.clone(),
            memory_bytes: heaps.iter().filter(|heap| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL)).map(|heap| heap.size).sum(),
        }
    }

    /// Whether the CPU does its work.
    pub fn is_software(&self) -> bool {
        self.kind == vk::PhysicalDeviceType::CPU
    }

    /// How many turns one invocation may take in all its loops: Mesa's software renderer ends loops after that without an error
    /// (`LP_MAX_TGSI_LOOP_ITERATIONS`). `None`: any number.
    pub fn max_turns(&self) -> Option<i64> {
        let llvmpipe = self.driver_id == vk::DriverId::MESA_LLVMPIPE || self.name.starts_with("llvmpipe");
        llvmpipe.then_some(65_535)
    }

    /// What of a variant's requirements this device lacks; empty when it can run it.
    pub fn missing(&self, requirements: &Requirements<'_>) -> Vec<String> {
        let mut missing = Vec::new();
        if self.api_version < requirements.api_version {
            missing.push(format!("Vulkan {} (it has {})", version(requirements.api_version), version(self.api_version)));
        }
        missing.extend(requirements.features.iter().filter(|wanted| !self.features.contains(wanted)).cloned());
        missing
    }
}

/// What a variant needs of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requirements<'a> {
    pub profile: &'a str,
    pub api_version: u32,
    pub features: &'a [String],
}

impl<'a> Requirements<'a> {
    pub fn of(device: &'a manifest::Device) -> Result<Self> {
        match device {
            manifest::Device::Vulkan { profile, api_version, features, .. } => Ok(Self { profile, api_version: *api_version, features }),
            manifest::Device::Cpu { .. } => Err(Error::Device("a cpu variant cannot run on a Vulkan device".into())),
        }
    }
}

/// The device to use: the one asked for, or the best that meets the requirements. A software renderer is taken only
/// when it is asked for or there is nothing else.
pub(super) fn select<'a>(
    devices: &'a [PhysicalDevice],
    selector: &VulkanSelector,
    requirements: &Requirements<'_>,
) -> Result<&'a PhysicalDevice> {
    let mut candidates: Vec<&PhysicalDevice> = match selector {
        VulkanSelector::Best => {
            let software = |device: &&PhysicalDevice| device.is_software();
            let only_software = devices.iter().all(|device| software(&device));
            devices.iter().filter(|device| only_software || !software(device)).collect()
        }
        VulkanSelector::Index(index) => devices.iter().filter(|device| device.index == *index).collect(),
        VulkanSelector::Name(part) => {
            let part = part.to_lowercase();
            devices.iter().filter(|device| device.name.to_lowercase().contains(&part)).collect()
        }
    };
    if candidates.is_empty() {
        let all: Vec<String> = devices.iter().map(PhysicalDevice::label).collect();
        return Err(Error::Device(match (all.is_empty(), selector) {
            (true, _) => "no Vulkan device on this machine; install a driver or use --device cpu".into(),
            (false, VulkanSelector::Name(name)) => format!("no Vulkan device is called \"{name}\"; there is {}", all.join(", ")),
            (false, VulkanSelector::Index(index)) => format!("there is no vulkan:{index}, only {}", all.join(", ")),
            (false, VulkanSelector::Best) => unreachable!("some device is always a candidate"),
        }));
    }
    candidates.sort_by_key(|device| rank(device.kind));
    candidates.iter().find(|device| device.missing(requirements).is_empty()).copied().ok_or_else(|| {
        let lacks: Vec<String> =
            candidates.iter().map(|device| format!("{} lacks {}", device.label(), device.missing(requirements).join(", "))).collect();
        Error::Device(format!(
            "profile {} does not run here: {}; compile for another profile or use --device cpu",
            requirements.profile,
            lacks.join("; ")
        ))
    })
}

fn rank(kind: vk::PhysicalDeviceType) -> u32 {
    match kind {
        vk::PhysicalDeviceType::DISCRETE_GPU => 0,
        vk::PhysicalDeviceType::INTEGRATED_GPU => 1,
        vk::PhysicalDeviceType::VIRTUAL_GPU => 2,
        vk::PhysicalDeviceType::CPU => 4,
        _ => 3,
    }
}

fn kind_name(kind: vk::PhysicalDeviceType) -> &'static str {
    match kind {
        vk::PhysicalDeviceType::DISCRETE_GPU => "discrete gpu",
        vk::PhysicalDeviceType::INTEGRATED_GPU => "integrated gpu",
        vk::PhysicalDeviceType::VIRTUAL_GPU => "virtual gpu",
        vk::PhysicalDeviceType::CPU => "software",
        _ => "other",
    }
}

fn version(version: u32) -> String {
    format!("{}.{}", vk::api_version_major(version), vk::api_version_minor(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, name: &str, kind: vk::PhysicalDeviceType, features: &[&str]) -> PhysicalDevice {
        PhysicalDevice {
            raw: vk::PhysicalDevice::null(),
            index,
            name: name.into(),
            kind,
            api_version: vk::API_VERSION_1_1,
            driver: String::new(),
            driver_id: vk::DriverId::default(),
            limits: vk::PhysicalDeviceLimits::default(),
            max_allocation: 0,
            memory: vk::PhysicalDeviceMemoryProperties::default(),
            queue_family: 0,
            timestamp_bits: 0,
            features: features.iter().map(|f| f.to_string()).collect(),
            extensions: Vec::new(),
            supported: Supported::default(),
        }
    }

    impl std::fmt::Debug for PhysicalDevice {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.label())
        }
    }

    fn machine() -> Vec<PhysicalDevice> {
        use vk::PhysicalDeviceType as T;
        vec![
            device(0, "llvmpipe", T::CPU, &["int64"]),
            device(1, "Radeon Graphics", T::INTEGRATED_GPU, &[]),
            device(2, "GeForce", T::DISCRETE_GPU, &[]),
            device(3, "Virtio", T::VIRTUAL_GPU, &[]),
        ]
    }

    fn pick(selector: VulkanSelector, features: &[&str]) -> Result<u32> {
        let features: Vec<String> = features.iter().map(|f| f.to_string()).collect();
        let requirements = Requirements { profile: "test", api_version: vk::API_VERSION_1_1, features: &features };
        select(&machine(), &selector, &requirements).map(|device| device.index)
    }

    #[test]
    fn prefers_hardware() {
        assert_eq!(pick(VulkanSelector::Best, &[]).unwrap(), 2);
        let mut only: Vec<_> = machine();
        only.truncate(1);
        let any = Requirements { profile: "test", api_version: vk::API_VERSION_1_1, features: &[] };
        assert_eq!(select(&only, &VulkanSelector::Best, &any).unwrap().index, 0);
    }

    #[test]
    fn takes_what_is_named() {
        assert_eq!(pick(VulkanSelector::Index(1), &[]).unwrap(), 1);
        assert_eq!(pick(VulkanSelector::Name("LLVM".into()), &[]).unwrap(), 0);
        assert!(pick(VulkanSelector::Index(9), &[]).unwrap_err().to_string().contains("only vulkan:0 llvmpipe"));
        assert!(pick(VulkanSelector::Name("arc".into()), &[]).unwrap_err().to_string().contains("no Vulkan device is called \"arc\""));
    }

    #[test]
    fn checks_requirements() {
        // The software renderer could, but nobody asked for it.
        assert!(pick(VulkanSelector::Best, &["int64"]).is_err());
        assert_eq!(pick(VulkanSelector::Name("llvmpipe".into()), &["int64"]).unwrap(), 0);
        let message = pick(VulkanSelector::Index(2), &["int64", "float16"]).unwrap_err().to_string();
        assert!(message.contains("vulkan:2 GeForce lacks int64, float16"), "{message}");
        let newer = Requirements { profile: "test", api_version: vk::API_VERSION_1_3, features: &[] };
        let message = select(&machine(), &VulkanSelector::Index(0), &newer).unwrap_err().to_string();
        assert!(message.contains("lacks Vulkan 1.3 (it has 1.1)"), "{message}");
    }
}
