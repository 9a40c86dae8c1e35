//! A Vulkan variant of a program -> its pipelines and constants on a device, shared by all sessions.
//! Constants are packed into device-local blocks at 256-byte offsets and sent in bounded pieces.

use super::{
    device::Device,
    immediate::{Immediate, PIECE},
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
        let staging = |bytes: u64| Buffer::new(&self.device, bytes.min(PIECE), Use::Staging, "staging of constants");
        let mut transfer = largest.map(|bytes| Ok((staging(bytes)?, Immediate::new(&self.device)?))).transpose()?;
        for (index, place) in &self.places {
            let block = &self.blocks[place.block as usize];
            let mut offset = place.offset;
            for piece in program.reader().constant(*index)?.chunks(PIECE as usize) {
                let target = match (block.mapped(), &transfer) {
                    // SAFETY: the place lies inside the block.
                    (Some(block), _) => unsafe { block.add(offset as usize) },
                    (None, Some((staging, _))) => staging.mapped().expect("staging memory is mapped"),
                    (None, None) => unreachable!("made for the largest constant in unmapped blocks"),
                };
                // SAFETY: the piece fits, and the device uses none of this memory yet or any more.
                unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), target.as_ptr(), piece.len()) };
                if let (None, Some((staging, commands))) = (block.mapped(), &mut transfer) {
                    let region = [vk::BufferCopy { src_offset: 0, dst_offset: offset, size: piece.len() as u64 }];
                    let (from, to) = (staging.raw, block.raw);
                    // SAFETY: both buffers outlive the call.
                    unsafe { commands.run(|raw, commands| raw.cmd_copy_buffer(commands, from, to, &region)) }?;
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
