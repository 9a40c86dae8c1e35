//! How Vulkan devices are used: plain data given by the host.

use super::instance::Messages;
use std::time::Duration;

/// Options of a Vulkan device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VulkanOptions {
    /// Runs under VK_LAYER_KHRONOS_validation with synchronization validation, and collects here what it says.
    pub validation: Option<Messages>,
    /// How long a device may work on one submission before it counts as lost. By default a minute, and ten for software renderers.
    pub timeout: Option<Duration>,
    /// Keeps inputs, outputs and the arena in memory that the host maps, where the device has such memory. Off: always staged.
    pub direct_memory: bool,
    /// Reports this submission (counted from 0) as lost, to test recovery.
    #[doc(hidden)]
    pub lose_submission: Option<u64>,
}

impl Default for VulkanOptions {
    fn default() -> Self {
        Self { validation: None, timeout: None, direct_memory: true, lose_submission: None }
    }
}
