//! Result codes of Vulkan calls -> the runtime's errors, naming the call. A lost device stays tellable from everything else.

use crate::error::{Error, Result};
use ash::vk;

pub(super) trait Check<T> {
    fn check(self, call: &'static str) -> Result<T>;

    /// As `check`, for calls that allocate `bytes` for `what`.
    fn check_allocation(self, call: &'static str, what: &'static str, bytes: u64) -> Result<T>;
}

impl<T> Check<T> for std::result::Result<T, vk::Result> {
    fn check(self, call: &'static str) -> Result<T> {
        self.map_err(|result| match result {
            vk::Result::ERROR_DEVICE_LOST => Error::DeviceLost(format!("{call} says so; rerun on the cpu or open the device again")),
            other => Error::Device(format!("{call} failed: {other}")),
        })
    }

    fn check_allocation(self, call: &'static str, what: &'static str, bytes: u64) -> Result<T> {
        match self {
            Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY | vk::Result::ERROR_TOO_MANY_OBJECTS) => {
                Err(Error::OutOfMemory { stage: "vulkan", what, bytes })
            }
            other => other.check(call),
        }
    }
}
