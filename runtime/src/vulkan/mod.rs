//! Vulkan devices, found at run time: launch programs whose kernels are SPIR-V compute shaders. Without a loader or driver there are no
//! devices, and everything else works. Needs nothing above Vulkan 1.1 but what a variant requires.

mod error;
mod instance;
mod options;
mod physical;

mod device;
mod immediate;
mod memory;
mod state;

mod loaded;
mod pipeline;
mod spirv;

mod hazard;
mod recording;
mod segment;

mod backend;

pub use instance::{Instance, Messages};
pub use options::VulkanOptions;

use crate::{
    artifact::manifest,
    backend::Backend,
    device::{DeviceInfo, VulkanSelector},
    error::Result,
    program::Program,
};
use physical::Requirements;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
};

/// Usable Vulkan devices in the loader's order; none if there is no loader.
pub fn devices() -> Vec<DeviceInfo> {
    let found = Instance::open(&VulkanOptions::default()).and_then(|instance| physical::enumerate(&instance));
    found.map_or_else(|_| Vec::new(), |devices| devices.iter().map(physical::PhysicalDevice::info).collect())
}

/// Whether the selected device meets the requirements of a `Device::Vulkan` variant.
pub fn check(selector: &VulkanSelector, requirements: &manifest::Device) -> Result<()> {
    let requirements = Requirements::of(requirements)?;
    let instance = Instance::open(&VulkanOptions::default())?;
    physical::select(&physical::enumerate(&instance)?, selector, &requirements).map(|_| ())
}

/// A backend for variant number `variant` of the program on the selected device. Backends of equal choice and options share pipelines and
/// constants while one of them lives.
pub fn create(program: &Program, variant: u32, selector: &VulkanSelector, options: &VulkanOptions) -> Result<Box<dyn Backend>> {
    let loaded = program.vulkan().get(variant, selector, options, || VulkanProgram::load(program, variant, selector, options))?;
    loaded.backend()
}

/// The Vulkan side of a program: what sessions have loaded and still use.
#[derive(Default)]
pub(crate) struct LoadedVariants(Mutex<Vec<(LoadedKey, Weak<loaded::Loaded>)>>);

/// Variant, selector and options as asked for.
type LoadedKey = (u32, VulkanSelector, VulkanOptions);

impl LoadedVariants {
    /// What is loaded for this choice, unless its device was lost; else the result of `load`. Others wait meanwhile.
    fn get(
        &self,
        variant: u32,
        selector: &VulkanSelector,
        options: &VulkanOptions,
        load: impl FnOnce() -> Result<VulkanProgram>,
    ) -> Result<VulkanProgram> {
        let key = (variant, selector.clone(), options.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, loaded)| loaded.upgrade().is_some_and(|loaded| loaded.device.check_alive().is_ok()));
        if let Some(loaded) = all.iter().find(|(known, _)| *known == key).and_then(|(_, loaded)| loaded.upgrade()) {
            return Ok(VulkanProgram(loaded));
        }
        let loaded = load()?;
        all.push((key, Arc::downgrade(&loaded.0)));
        Ok(loaded)
    }
}

impl fmt::Debug for LoadedVariants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoadedVariants")
    }
}

/// How much recording and submitting a program has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Segments recorded; the others were resubmitted as they were.
    pub recorded_segments: u64,
    /// Barriers recorded because commands conflict.
    pub hazard_barriers: u64,
    pub submissions: u64,
}

/// Pipelines and constants of one variant on one device, for any number of backends.
#[derive(Clone)]
pub struct VulkanProgram(Arc<loaded::Loaded>);

impl VulkanProgram {
    pub fn load(program: &Program, variant: u32, selector: &VulkanSelector, options: &VulkanOptions) -> Result<Self> {
        let requirements = Requirements::of(&program.manifest().variants[variant as usize].device)?;
        let device = device::Device::open(selector, &requirements, options)?;
        Ok(Self(Arc::new(loaded::Loaded::new(program, variant, device)?)))
    }

    pub fn backend(&self) -> Result<Box<dyn Backend>> {
        Ok(Box::new(backend::VulkanBackend::new(self.0.clone())?))
    }

    /// What was done so far by all backends of this program.
    pub fn figures(&self) -> Figures {
        let counters = &self.0.counters;
        Figures {
            recorded_segments: counters.recorded.load(Ordering::Relaxed),
            hazard_barriers: counters.barriers.load(Ordering::Relaxed),
            submissions: self.0.device.submissions(),
        }
    }
}
