//! Commands that are recorded, submitted and waited for at once, outside of runs: what loading and the host's look at states need.

use super::{device::Device, error::Check};
use crate::error::Result;
use ash::vk;
use std::sync::Arc;

/// Bytes that are staged at once.
pub(super) const PIECE: u64 = 32 << 20;

const WRITES: vk::AccessFlags =
    vk::AccessFlags::from_raw(vk::AccessFlags::SHADER_WRITE.as_raw() | vk::AccessFlags::TRANSFER_WRITE.as_raw());
const TRANSFERS: vk::AccessFlags =
    vk::AccessFlags::from_raw(vk::AccessFlags::TRANSFER_READ.as_raw() | vk::AccessFlags::TRANSFER_WRITE.as_raw());

/// A command pool and the fence of its one submission.
pub(super) struct Immediate {
    device: Arc<Device>,
    pool: vk::CommandPool,
    fence: vk::Fence,
    in_flight: bool,
}

impl Immediate {
    pub fn new(device: &Arc<Device>) -> Result<Self> {
        let mut immediate = Self { device: device.clone(), pool: vk::CommandPool::null(), fence: vk::Fence::null(), in_flight: false };
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(device.physical.queue_family);
        // SAFETY: plain creation; `Drop` destroys what was made.
        unsafe {
            immediate.pool = device.raw.create_command_pool(&info, None).check("vkCreateCommandPool")?;
            immediate.fence = device.raw.create_fence(&vk::FenceCreateInfo::default(), None).check("vkCreateFence")?;
        }
        Ok(immediate)
    }

    /// Records transfers, which see all earlier writes, and waits until they have ended and the host sees what they wrote.
    ///
    /// # Safety
    /// `record` only records transfers between buffers that live until this returns.
    pub unsafe fn run(&mut self, record: impl FnOnce(&ash::Device, vk::CommandBuffer)) -> Result<()> {
        let raw = &self.device.raw;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        let once = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        let barrier = |commands, (from, written), (to, used)| {
            let memory = [vk::MemoryBarrier::default().src_access_mask(written).dst_access_mask(used)];
            // SAFETY: the command buffer is being recorded.
            unsafe { raw.cmd_pipeline_barrier(commands, from, to, vk::DependencyFlags::empty(), &memory, &[], &[]) };
        };
        let transfer = (vk::PipelineStageFlags::TRANSFER, TRANSFERS);
        let before = (vk::PipelineStageFlags::ALL_COMMANDS, WRITES);
        let written = (vk::PipelineStageFlags::TRANSFER, vk::AccessFlags::TRANSFER_WRITE);
        let host = (vk::PipelineStageFlags::HOST, vk::AccessFlags::HOST_READ);
        // SAFETY: the caller vouches for the buffers; after the wait the command buffer is free.
        unsafe {
            let commands = raw.allocate_command_buffers(&info).check("vkAllocateCommandBuffers")?;
            raw.begin_command_buffer(commands[0], &once).check("vkBeginCommandBuffer")?;
            barrier(commands[0], before, transfer);
            record(raw, commands[0]);
            barrier(commands[0], written, host);
            raw.end_command_buffer(commands[0]).check("vkEndCommandBuffer")?;
            self.device.submit(&commands, self.fence)?;
            self.in_flight = true;
            self.device.wait(&[self.fence])?;
            self.in_flight = false;
            raw.free_command_buffers(self.pool, &commands);
        }
        Ok(())
    }
}

impl Drop for Immediate {
    fn drop(&mut self) {
        if self.in_flight {
            self.device.settle(&[self.fence]);
        }
        if self.device.can_destroy() {
            // SAFETY: nothing runs any more.
            unsafe {
                self.device.raw.destroy_fence(self.fence, None);
                self.device.raw.destroy_command_pool(self.pool, None);
            }
        }
    }
}
