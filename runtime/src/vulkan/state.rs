//! Memory of states on a Vulkan device: it outlives runs and sessions. The host reads and writes it where it is mapped, else through staging memory.

use super::{
    device::Device,
    immediate::{Immediate, PIECE},
    memory::{Buffer, Use},
};
use crate::{
    backend::{Blocks, StateBuffer},
    error::Result,
};
use ash::vk;
use std::{fmt, ops::Range, sync::Arc};

/// A state's buffer. Sessions that use it in a run hold it until the device is done with it.
pub(super) struct DeviceState {
    pub buffer: Arc<Buffer>,
    pub device: Arc<Device>,
}

impl DeviceState {
    /// All zero.
    pub fn new(device: &Arc<Device>, bytes: u64) -> Result<Self> {
        let buffer = Arc::new(Buffer::new(device, bytes, Use::Shared, "a state")?);
        let mut state = Self { buffer, device: device.clone() };
        state.clear()?;
        Ok(state)
    }

    /// Calls `transfer` for as many pieces of the blocks at once as staging memory holds, with their ranges in the buffer and in that memory, and where
    /// in the packed bytes they start.
    fn staged(&self, blocks: Blocks, mut transfer: impl FnMut(&mut Staging, &[vk::BufferCopy], usize) -> Result<()>) -> Result<()> {
        let total = blocks.count * blocks.bytes;
        if total == 0 {
            return Ok(());
        }
        let memory = Buffer::new(&self.device, total.min(PIECE), Use::Staging, "staging of a state")?;
        let mut staging = Staging { commands: Immediate::new(&self.device)?, memory };
        let (mut regions, mut used, mut first) = (Vec::new(), 0, 0);
        for (inside, _) in blocks.pieces() {
            let mut inside = inside.start as u64..inside.end as u64;
            while !inside.is_empty() {
                let size = (inside.end - inside.start).min(PIECE - used);
                regions.push(vk::BufferCopy { src_offset: inside.start, dst_offset: used, size });
                (inside.start, used) = (inside.start + size, used + size);
                if used == PIECE {
                    transfer(&mut staging, &regions, first)?;
                    (first, used) = (first + PIECE as usize, 0);
                    regions.clear();
                }
            }
        }
        if used > 0 { transfer(&mut staging, &regions, first) } else { Ok(()) }
    }
}

struct Staging {
    commands: Immediate,
    memory: Buffer,
}

impl Staging {
    /// The first bytes of the memory, as many as the regions have.
    fn bytes(&mut self, regions: &[vk::BufferCopy]) -> &mut [u8] {
        let bytes = regions.iter().map(|region| region.size).sum::<u64>() as usize;
        let start = self.memory.mapped().expect("staging memory is mapped");
        // SAFETY: the regions fit, and nothing else uses the memory while it is borrowed.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) }
    }
}

/// A part of a mapped buffer.
///
/// # Safety
/// The range lies inside, the device does not use it, and nobody writes it as long as the result is read, or reads it while it is written.
unsafe fn mapped<'a>(start: std::ptr::NonNull<u8>, range: Range<usize>) -> &'a mut [u8] {
    // SAFETY: passed on.
    unsafe { std::slice::from_raw_parts_mut(start.as_ptr().add(range.start), range.len()) }
}

impl StateBuffer for DeviceState {
    fn bytes(&self) -> u64 {
        self.buffer.bytes
    }

    fn read(&self, blocks: Blocks, into: &mut [u8]) -> Result<()> {
        self.device.check_alive()?;
        if let Some(start) = self.buffer.mapped() {
            // SAFETY: blocks lie inside; no run is in progress, and only this owner writes.
            blocks.pieces().for_each(|(inside, packed)| into[packed].copy_from_slice(unsafe { mapped(start, inside) }));
            return Ok(());
        }
        self.staged(blocks, |staging, regions, first| {
            let (from, to) = (self.buffer.raw, staging.memory.raw);
            // SAFETY: both buffers outlive the call.
            unsafe { staging.commands.run(|raw, commands| raw.cmd_copy_buffer(commands, from, to, regions)) }?;
            let bytes = staging.bytes(regions);
            into[first..first + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write(&mut self, blocks: Blocks, from: &[u8]) -> Result<()> {
        self.device.check_alive()?;
        if let Some(start) = self.buffer.mapped() {
            // SAFETY: blocks lie inside; no run is in progress, and this is the only owner.
            blocks.pieces().for_each(|(inside, packed)| unsafe { mapped(start, inside) }.copy_from_slice(&from[packed]));
            return Ok(());
        }
        self.staged(blocks, |staging, regions, first| {
            let bytes = staging.bytes(regions);
            bytes.copy_from_slice(&from[first..first + bytes.len()]);
            let back = |r: &vk::BufferCopy| vk::BufferCopy { src_offset: r.dst_offset, dst_offset: r.src_offset, size: r.size };
            let back: Vec<vk::BufferCopy> = regions.iter().map(back).collect();
            let (from, to) = (staging.memory.raw, self.buffer.raw);
            // SAFETY: both buffers outlive the call.
            unsafe { staging.commands.run(|raw, commands| raw.cmd_copy_buffer(commands, from, to, &back)) }
        })
    }

    fn clear(&mut self) -> Result<()> {
        self.device.check_alive()?;
        if let Some(start) = self.buffer.mapped() {
            // SAFETY: the whole buffer; no run is in progress, and this is the only owner.
            unsafe { mapped(start, 0..self.buffer.bytes as usize) }.fill(0);
            return Ok(());
        }
        let buffer = self.buffer.raw;
        let mut commands = Immediate::new(&self.device)?;
        // SAFETY: the buffer outlives the call.
        unsafe { commands.run(|raw, commands| raw.cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, 0)) }
    }
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceState({} bytes)", self.buffer.bytes)
    }
}
