//! Vulkan devices. Placeholder for the interface that the session and `devices` use.

use crate::{
    artifact::manifest::Device,
    backend::Backend,
    device::{DeviceInfo, VulkanSelector},
    error::{Error, Result},
    program::Program,
};

/// Usable Vulkan devices in the loader's order; none if there is no loader.
pub fn devices() -> Vec<DeviceInfo> {
    Vec::new()
}

/// Whether the selected device meets the requirements of a `Device::Vulkan` variant.
pub fn check(_selector: &VulkanSelector, _requirements: &Device) -> Result<()> {
    Err(Error::Device("no Vulkan loader or driver found".into()))
}

/// A backend for variant number `variant` of the program on the selected device.
pub fn create(_program: &Program, _variant: u32, _selector: &VulkanSelector) -> Result<Box<dyn Backend>> {
    Err(Error::Device("no Vulkan loader or driver found".into()))
}
