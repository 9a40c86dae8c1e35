//! A Vulkan variant of a program -> its pipelines and constants on a device, shared by all sessions.
//! Constants are packed into device-local blocks at 256-byte offsets and sent in bounded pieces.

use super::{
    device::Device,
    error::Check,
    memory::{Buffer, PLACEMENT, Use},
    pipeline::{self, Pipeline},
};
use crate::{
    artifact::{
        manifest::{self, Dispatch, Variant},
        program::Place,
    },
    error::{Error, Result},
    program::Program,
};
use ash::vk;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

/// Largest buffer made for constants; a larger single constant gets one of its own.
const BLOCK: u64 = 1 << 30;
/// Bytes sent at once while loading.
const PIECE: u64 = 32 << 20;

/// A variant on a device.
pub(super) struct Loaded {
    pub pipelines: Vec<Pipeline>,
    pub blocks: Vec<Buffer>,
    pub counters: Counters,
    pub dispatches: Vec<Dispatch>,
    /// By index into `Manifest::constants`; only those that the variant uses.
    places: BTreeMap<u32, ConstantPlace>,
    // Last: everything above is destroyed before the device.
    pub device: Arc<Device>,
}

/// What was done so far, over all sessions.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub recorded: AtomicU64,
    pub barriers: AtomicU64,
}

/// Where a constant stands on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConstantPlace {
    pub block: u32,
    pub offset: u64,
    pub bytes: u64,
}

impl Loaded {
    pub fn new(program: &Program, variant: u32, device: Arc<Device>) -> Result<Self> {
        let manifest = program.manifest();
        let variant = &manifest.variants[variant as usize];
        let manifest::Device::Vulkan { spirv, .. } = variant.device else {
            return Err(Error::Device(format!("variant {} is not for Vulkan", variant.target)));
        };
        let pipelines = pipeline::create_all(&device, &variant.kernels, program.reader().section(spirv))?;
        let (places, sizes) = place_constants(manifest, variant, &device)?;
        let blocks = sizes.iter().map(|bytes| Buffer::new(&device, *bytes, Use::Upload, "constants")).collect::<Result<Vec<_>>>()?;
        let (counters, dispatches) = (Counters::default(), variant.dispatches.clone());
        let loaded = Self { pipelines, blocks, counters, dispatches, places, device };
        loaded.upload(program)?;
        Ok(loaded)
    }

    pub fn constant(&self, index: u32) -> Option<&ConstantPlace> {
        self.places.get(&index)
    }

    pub fn constant_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes).sum()
    }

    fn upload(&self, program: &Program) -> Result<()> {
        let largest =
            self.places.values().filter(|place| self.blocks[place.block as usize].mapped().is_none()).map(|place| place.bytes).max();
        let mut transfer = largest.map(|bytes| Transfer::new(&self.device, bytes.min(PIECE))).transpose()?;
        for (index, place) in &self.places {
            let block = &self.blocks[place.block as usize];
            let mut offset = place.offset;
            for piece in program.reader().constant(*index)?.chunks(PIECE as usize) {
                let target = match (block.mapped(), &transfer) {
                    // SAFETY: the place lies inside the block.
                    (Some(block), _) => unsafe { block.add(offset as usize) },
                    (None, Some(transfer)) => transfer.staging.mapped().expect("staging memory is mapped"),
                    (None, None) => unreachable!("made for the largest constant in unmapped blocks"),
                };
                // SAFETY: the piece fits, and the device uses none of this memory yet or any more.
                unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), target.as_ptr(), piece.len()) };
                if let (None, Some(transfer)) = (block.mapped(), &mut transfer) {
                    transfer.send(block, offset, piece.len() as u64)?;
                }
                offset += piece.len() as u64;
            }
        }
        Ok(())
    }
}

/// Offsets for all constants of the variant, and the sizes of the blocks.
fn place_constants(manifest: &manifest::Manifest, variant: &Variant, device: &Device) -> Result<(BTreeMap<u32, ConstantPlace>, Vec<u64>)> {
    let mut places = BTreeMap::<u32, ConstantPlace>::new();
    for buffer in variant.programs.iter().flat_map(|program| &program.buffers) {
        let Place::Constant(index) = buffer.place else { continue };
        let constant = &manifest.constants[index as usize];
        let bytes = constant.bytes;
        let range = u64::from(device.physical.limits.max_storage_buffer_range);
        if bytes > range {
            return Err(Error::Device(format!(
                "constant {index} has {bytes} bytes, more than the {range} that a kernel can see on {}; use the cpu or another device",
                device.physical.label()
            )));
        }
        places.insert(index, ConstantPlace { block: 0, offset: 0, bytes });
    }
    let limit = BLOCK.min(device.physical.max_allocation);
    let mut sizes: Vec<u64> = Vec::new();
    for place in places.values_mut() {
        let padded = place.bytes.max(1).next_multiple_of(PLACEMENT);
        match sizes.last_mut() {
            Some(size) if *size + padded <= limit => (place.offset, *size) = (*size, *size + padded),
            _ => sizes.push(padded),
        }
        place.block = sizes.len() as u32 - 1;
    }
    Ok((places, sizes))
}

/// Sends bytes from a staging buffer, one piece at a time.
struct Transfer {
    device: Arc<Device>,
    staging: Buffer,
    pool: vk::CommandPool,
    fence: vk::Fence,
    in_flight: bool,
}

impl Transfer {
    fn new(device: &Arc<Device>, bytes: u64) -> Result<Self> {
        let staging = Buffer::new(device, bytes, Use::Staging, "staging of constants")?;
        let mut transfer =
            Self { device: device.clone(), staging, pool: vk::CommandPool::null(), fence: vk::Fence::null(), in_flight: false };
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(device.physical.queue_family);
        // SAFETY: plain creation; `Drop` destroys what was made.
        unsafe {
            transfer.pool = device.raw.create_command_pool(&info, None).check("vkCreateCommandPool")?;
            transfer.fence = device.raw.create_fence(&vk::FenceCreateInfo::default(), None).check("vkCreateFence")?;
        }
        Ok(transfer)
    }

    fn send(&mut self, block: &Buffer, offset: u64, bytes: u64) -> Result<()> {
        let raw = &self.device.raw;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        let once = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: both buffers live until the wait has ended; after it the command buffer is free.
        unsafe {
            let commands = raw.allocate_command_buffers(&info).check("vkAllocateCommandBuffers")?;
            raw.begin_command_buffer(commands[0], &once).check("vkBeginCommandBuffer")?;
            let region = [vk::BufferCopy { src_offset: 0, dst_offset: offset, size: bytes }];
            raw.cmd_copy_buffer(commands[0], self.staging.raw, block.raw, &region);
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

impl Drop for Transfer {
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
