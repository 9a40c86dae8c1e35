//! Byte sizes -> buffers in the memory that suits their use: device-local, mapped where host and device share memory, or staging.
//! Refuses sizes above the device's limits before asking the driver.

use super::{device::Device, error::Check};
use crate::error::{Error, Result};
use ash::vk;
use std::{ptr::NonNull, sync::Arc};

/// Alignment of everything placed inside a buffer; no device asks for more than 256 in minStorageBufferOffsetAlignment.
pub(super) const PLACEMENT: u64 = 256;

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Touched by the device; the host writes into it where it can, and never reads.
    Upload,
    /// Touched by the device; the host reads and writes where it can do so fast.
    Shared,
    /// In host memory, for transfers.
    Staging,
}

/// A buffer with its own memory; destroyed when dropped.
pub(super) struct Buffer {
    device: Arc<Device>,
    pub raw: vk::Buffer,
    memory: vk::DeviceMemory,
    pub bytes: u64,
    mapped: Option<NonNull<u8>>,
}

// SAFETY: the mapping is plain memory that stays where it is; who may touch it is decided by the owner of the buffer.
unsafe impl Send for Buffer {}
// SAFETY: as above; shared references give only the address.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// At least `bytes` bytes; `what` names it in errors.
    pub fn new(device: &Arc<Device>, bytes: u64, purpose: Use, what: &'static str) -> Result<Self> {
        let bytes = bytes.max(1).next_multiple_of(PLACEMENT);
        if bytes > device.physical.max_allocation {
            let (label, limit) = (device.physical.label(), device.physical.max_allocation);
            return Err(Error::Device(format!(
                "{what} needs {bytes} bytes, but {label} allocates at most {limit} at once; use smaller dims or the cpu"
            )));
        }
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
        // SAFETY: plain creation; every error path destroys through `Drop`.
        unsafe {
            let info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
            let raw = device.raw.create_buffer(&info, None).check_allocation("vkCreateBuffer", what, bytes)?;
            let mut buffer = Self { device: device.clone(), raw, memory: vk::DeviceMemory::null(), bytes, mapped: None };
            let needs = device.raw.get_buffer_memory_requirements(raw);
            let (index, flags) = select_type(&device.physical.memory, needs.memory_type_bits, purpose, device.options.direct_memory)
                .ok_or_else(|| Error::Device(format!("{} has no memory that {what} could use", device.physical.label())))?;
            let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
            buffer.memory = device.raw.allocate_memory(&info, None).check_allocation("vkAllocateMemory", what, needs.size)?;
            device.raw.bind_buffer_memory(raw, buffer.memory, 0).check("vkBindBufferMemory")?;
            if maps(flags, purpose, device.options.direct_memory) {
                let address = device.raw.map_memory(buffer.memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).check("vkMapMemory")?;
                buffer.mapped = NonNull::new(address.cast());
            }
            Ok(buffer)
        }
    }

    /// Where the host sees it, for as long as the buffer lives; none if only the device does.
    pub fn mapped(&self) -> Option<NonNull<u8>> {
        self.mapped
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.device.can_destroy() {
            // SAFETY: the owner has waited for everything that uses it. Freeing unmaps.
            unsafe {
                self.device.raw.destroy_buffer(self.raw, None);
                self.device.raw.free_memory(self.memory, None);
            }
        }
    }
}

const DEVICE: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::DEVICE_LOCAL;
const HOST: vk::MemoryPropertyFlags =
    vk::MemoryPropertyFlags::from_raw(vk::MemoryPropertyFlags::HOST_VISIBLE.as_raw() | vk::MemoryPropertyFlags::HOST_COHERENT.as_raw());
const CACHED: vk::MemoryPropertyFlags = vk::MemoryPropertyFlags::HOST_CACHED;

fn maps(flags: vk::MemoryPropertyFlags, purpose: Use, direct: bool) -> bool {
    flags.contains(HOST)
        && match purpose {
            Use::Staging => true,
            Use::Upload => direct,
            Use::Shared => direct && flags.contains(CACHED),
        }
}

/// The memory type to take and its flags.
///
/// Memory that both sides see is used directly only in the largest device-local heap: there it is the device's main memory (integrated, or
/// discrete with a resizable window), while a small window in a heap of its own is too precious. Uncached memory is never read by the host.
fn select_type(
    memory: &vk::PhysicalDeviceMemoryProperties,
    allowed: u32,
    purpose: Use,
    direct: bool,
) -> Option<(u32, vk::MemoryPropertyFlags)> {
    let heaps = &memory.memory_heaps[..memory.memory_heap_count as usize];
    let types = &memory.memory_types[..memory.memory_type_count as usize];
    let main = (0..heaps.len()).filter(|&h| heaps[h].flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL)).max_by_key(|&h| heaps[h].size);
    let find = |accept: &dyn Fn(vk::MemoryPropertyFlags, bool) -> bool| {
        let exotic = vk::MemoryPropertyFlags::PROTECTED
            | vk::MemoryPropertyFlags::LAZILY_ALLOCATED
            | vk::MemoryPropertyFlags::DEVICE_COHERENT_AMD
            | vk::MemoryPropertyFlags::DEVICE_UNCACHED_AMD;
        let fits = |index: usize, kind: &vk::MemoryType| {
            allowed & (1 << index) != 0
                && !kind.property_flags.intersects(exotic)
                && accept(kind.property_flags, Some(kind.heap_index as usize) == main)
        };
        (types.iter().enumerate()).find(|(index, kind)| fits(*index, kind)).map(|(index, kind)| (index as u32, kind.property_flags))
    };
    match purpose {
        Use::Staging => find(&|flags, _| flags.contains(HOST | CACHED)).or_else(|| find(&|flags, _| flags.contains(HOST))),
        Use::Upload | Use::Shared => {
            let wanted = if purpose == Use::Upload { DEVICE | HOST } else { DEVICE | HOST | CACHED };
            let mapped = if direct { find(&|flags, main| main && flags.contains(wanted)) } else { None };
            mapped
                .or_else(|| find(&|flags, main| main && flags.contains(DEVICE) && !flags.contains(HOST)))
                .or_else(|| find(&|flags, _| flags.contains(DEVICE)))
                .or_else(|| find(&|_, _| true))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(heaps: &[(u64, bool)], types: &[(vk::MemoryPropertyFlags, u32)]) -> vk::PhysicalDeviceMemoryProperties {
        let (memory_heap_count, memory_type_count) = (heaps.len() as u32, types.len() as u32);
        let mut memory = vk::PhysicalDeviceMemoryProperties { memory_heap_count, memory_type_count, ..Default::default() };
        for (slot, (size, local)) in memory.memory_heaps.iter_mut().zip(heaps) {
            slot.size = *size;
            slot.flags = if *local { vk::MemoryHeapFlags::DEVICE_LOCAL } else { vk::MemoryHeapFlags::empty() };
        }
        for (slot, (flags, heap)) in memory.memory_types.iter_mut().zip(types) {
            (slot.property_flags, slot.heap_index) = (*flags, *heap);
        }
        memory
    }

    fn pick(memory: &vk::PhysicalDeviceMemoryProperties, purpose: Use, direct: bool) -> (u32, bool) {
        let (index, flags) = select_type(memory, !0, purpose, direct).unwrap();
        (index, maps(flags, purpose, direct))
    }

    #[test]
    fn discrete_with_small_window() {
        let m = memory(
            &[(8 << 30, true), (32 << 30, false), (256 << 20, true)],
            &[(HOST, 1), (HOST | CACHED, 1), (DEVICE, 0), (DEVICE | HOST, 2)],
        );
        assert_eq!(pick(&m, Use::Upload, true), (2, false));
        assert_eq!(pick(&m, Use::Shared, true), (2, false));
        assert_eq!(pick(&m, Use::Staging, true), (1, true));
    }

    #[test]
    fn discrete_with_full_window() {
        let m = memory(&[(8 << 30, true), (32 << 30, false)], &[(DEVICE, 0), (HOST | CACHED, 1), (DEVICE | HOST, 0)]);
        assert_eq!(pick(&m, Use::Upload, true), (2, true));
        assert_eq!(pick(&m, Use::Shared, true), (0, false));
        assert_eq!(pick(&m, Use::Upload, false), (0, false));
    }

    #[test]
    fn shared_memory() {
        let m = memory(&[(2 << 30, true)], &[(DEVICE | HOST | CACHED, 0)]);
        for purpose in [Use::Upload, Use::Shared, Use::Staging] {
            assert_eq!(pick(&m, purpose, true), (0, true));
        }
        assert_eq!(pick(&m, Use::Shared, false), (0, false));
    }
}
