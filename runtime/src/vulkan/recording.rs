//! Segments -> command buffers, recorded once and resubmitted whenever an equal segment comes again.
//! Barriers stand only where byte ranges conflict. Recordings hold buffer handles: `clear` them before a buffer is replaced.

use super::{
    error::Check,
    hazard::{Hazards, Span},
    loaded::Loaded,
    pipeline::{GRID_WIDTH, Pipeline},
    segment::{Command, DispatchWords, Slice, commands},
};
use crate::{
    artifact::manifest::Access,
    error::{Error, Result},
};
use ash::vk;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

/// Most recordings kept; beyond it the longest unused ones go.
const KEPT: usize = 256;
/// Descriptors see whole vectors of four words at the end of a tensor; placements leave room for it.
const RANGE_STEP: u64 = 16;
/// An overlapping copy that would take more steps than this is refused.
const OVERLAP_STEPS: u64 = 1024;

const WORK: vk::PipelineStageFlags =
    vk::PipelineStageFlags::from_raw(vk::PipelineStageFlags::COMPUTE_SHADER.as_raw() | vk::PipelineStageFlags::TRANSFER.as_raw());
const WRITES: vk::AccessFlags =
    vk::AccessFlags::from_raw(vk::AccessFlags::SHADER_WRITE.as_raw() | vk::AccessFlags::TRANSFER_WRITE.as_raw());
const ALL: vk::AccessFlags =
    vk::AccessFlags::from_raw(WRITES.as_raw() | vk::AccessFlags::SHADER_READ.as_raw() | vk::AccessFlags::TRANSFER_READ.as_raw());

/// A recorded segment.
pub(super) struct Recording {
    key: Box<[u64]>,
    hash: u64,
    profiled: bool,
    pub commands: vk::CommandBuffer,
    descriptors: vk::DescriptorPool,
    /// Two timestamps per dispatch; null unless profiled.
    pub queries: vk::QueryPool,
    /// Index into `Variant::dispatches`, in order.
    pub dispatches: Vec<u32>,
    last_used: u64,
}

/// The recordings of one session.
pub(super) struct Recorder {
    loaded: Arc<Loaded>,
    pool: vk::CommandPool,
    recordings: Vec<Recording>,
    uses: u64,
}

impl Recorder {
    pub fn new(loaded: Arc<Loaded>) -> Result<Self> {
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(loaded.device.physical.queue_family);
        // SAFETY: plain creation.
        let pool = unsafe { loaded.device.raw.create_command_pool(&info, None) }.check("vkCreateCommandPool")?;
        Ok(Self { loaded, pool, recordings: Vec::new(), uses: 0 })
    }

    /// The recording of a segment. `buffers`: handles by place.
    pub fn get(&mut self, words: &[u64], profiled: bool, buffers: &dyn Fn(u32) -> vk::Buffer) -> Result<&Recording> {
        let hash = hash_words(words);
        self.uses += 1;
        let known = self.recordings.iter().position(|r| r.hash == hash && r.profiled == profiled && *r.key == *words);
        let index = match known {
            Some(index) => index,
            None => {
                let mut recording = Recording {
                    key: words.into(),
                    hash,
                    profiled,
                    commands: vk::CommandBuffer::null(),
                    descriptors: vk::DescriptorPool::null(),
                    queries: vk::QueryPool::null(),
                    dispatches: Vec::new(),
                    last_used: 0,
                };
                if let Err(error) = self.record(&mut recording, buffers) {
                    self.destroy(recording);
                    return Err(error);
                }
                self.loaded.counters.recorded.fetch_add(1, Ordering::Relaxed);
                self.recordings.push(recording);
                self.recordings.len() - 1
            }
        };
        self.recordings[index].last_used = self.uses;
        Ok(&self.recordings[index])
    }

    /// Drops recordings that have not been used for long. Nothing may be in flight.
    pub fn trim(&mut self) {
        if self.recordings.len() > KEPT {
            self.recordings.sort_by_key(|recording| std::cmp::Reverse(recording.last_used));
            for old in self.recordings.split_off(KEPT / 2) {
                self.destroy(old);
            }
        }
    }

    /// Drops all recordings. Nothing may be in flight.
    pub fn clear(&mut self) {
        for recording in std::mem::take(&mut self.recordings) {
            self.destroy(recording);
        }
    }

    fn destroy(&self, recording: Recording) {
        let device = &self.loaded.device;
        if device.can_destroy() {
            // SAFETY: not in flight (see the callers); null handles are ignored, except by vkFreeCommandBuffers, which allows them as well.
            unsafe {
                device.raw.free_command_buffers(self.pool, &[recording.commands]);
                device.raw.destroy_descriptor_pool(recording.descriptors, None);
                device.raw.destroy_query_pool(recording.queries, None);
            }
        }
    }

    fn record(&self, recording: &mut Recording, buffers: &dyn Fn(u32) -> vk::Buffer) -> Result<()> {
        let device = &self.loaded.device.raw;
        let dispatches = || {
            commands(&recording.key).filter_map(|command| match command {
                Command::Dispatch(dispatch) => Some(dispatch),
                Command::Copy { .. } | Command::Write { .. } => None,
            })
        };
        recording.dispatches = dispatches().map(|dispatch| dispatch.dispatch).collect();
        let descriptors = dispatches().map(|dispatch| dispatch.bindings.len() as u32 / 2).sum();
        let count = recording.dispatches.len() as u32;
        // SAFETY: plain creation; `destroy` takes what was made before a failure.
        unsafe {
            if descriptors > 0 {
                let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::STORAGE_BUFFER, descriptor_count: descriptors }];
                let info = vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes);
                recording.descriptors = device.create_descriptor_pool(&info, None).check("vkCreateDescriptorPool")?;
            }
            if recording.profiled && count > 0 {
                let info = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(2 * count);
                recording.queries = device.create_query_pool(&info, None).check("vkCreateQueryPool")?;
            }
            let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
            recording.commands = device.allocate_command_buffers(&info).check("vkAllocateCommandBuffers")?[0];
            // A loop may submit the same segment again before the first time has ended.
            let info = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::SIMULTANEOUS_USE);
            device.begin_command_buffer(recording.commands, &info).check("vkBeginCommandBuffer")?;
            if recording.queries != vk::QueryPool::null() {
                device.cmd_reset_query_pool(recording.commands, recording.queries, 0, 2 * count);
            }
        }
        let mut scribe = Scribe {
            loaded: &self.loaded,
            buffers,
            commands: recording.commands,
            descriptors: recording.descriptors,
            queries: recording.queries,
            hazards: Hazards::default(),
            sets: HashMap::new(),
            bound: None,
            dispatched: 0,
            push: Vec::new(),
        };
        // Against whatever was submitted before, then, at the end, for the host.
        scribe.barrier(WORK, WORK, ALL);
        for command in commands(&recording.key) {
            match command {
                Command::Dispatch(dispatch) => scribe.dispatch(dispatch)?,
                Command::Copy { src, dst } => scribe.copy(src, dst)?,
                Command::Write { dst, value } => scribe.write(dst, value),
            }
        }
        scribe.barrier(WORK, vk::PipelineStageFlags::HOST, vk::AccessFlags::HOST_READ);
        // SAFETY: it is being recorded.
        unsafe { device.end_command_buffer(recording.commands) }.check("vkEndCommandBuffer")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.clear();
        if self.loaded.device.can_destroy() {
            // SAFETY: nothing is in flight: the session settled that before.
            unsafe { self.loaded.device.raw.destroy_command_pool(self.pool, None) };
        }
    }
}

/// Records one command buffer.
struct Scribe<'a> {
    loaded: &'a Loaded,
    buffers: &'a dyn Fn(u32) -> vk::Buffer,
    commands: vk::CommandBuffer,
    descriptors: vk::DescriptorPool,
    queries: vk::QueryPool,
    hazards: Hazards,
    /// By kernel and binding words.
    sets: HashMap<(u32, &'a [u64]), vk::DescriptorSet>,
    bound: Option<u32>,
    dispatched: u32,
    push: Vec<u8>,
}

impl<'a> Scribe<'a> {
    fn barrier(&self, from: vk::PipelineStageFlags, to: vk::PipelineStageFlags, access: vk::AccessFlags) {
        let memory = [vk::MemoryBarrier::default().src_access_mask(WRITES).dst_access_mask(access)];
        let none = vk::DependencyFlags::empty();
        // SAFETY: the command buffer is being recorded, here and in all functions below.
        unsafe { self.loaded.device.raw.cmd_pipeline_barrier(self.commands, from, to, none, &memory, &[], &[]) };
    }

    /// Notes accesses and separates them from earlier ones where they conflict.
    fn order(&mut self, reads: &[Span], writes: &[Span]) {
        if self.hazards.add(reads, writes) {
            self.loaded.counters.barriers.fetch_add(1, Ordering::Relaxed);
            self.barrier(WORK, WORK, ALL);
        }
    }

    fn dispatch(&mut self, dispatch: DispatchWords<'a>) -> Result<()> {
        let loaded = self.loaded;
        let pipeline = &loaded.pipelines[dispatch.kernel as usize];
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for (slice, access) in dispatch.slices().zip(&pipeline.access) {
            let range = descriptor_range(slice);
            let span = Span { place: slice.place, start: range.0, end: range.0 + range.1 };
            if *access != Access::Write {
                reads.push(span);
            }
            if *access != Access::Read {
                writes.push(span);
            }
        }
        if self.queries == vk::QueryPool::null() {
            self.order(&reads, &writes);
        } else {
            // One at a time, so that the timestamps around a dispatch are its own.
            self.hazards.clear();
            self.hazards.add(&reads, &writes);
            self.barrier(WORK, WORK, ALL);
            self.timestamp(2 * self.dispatched);
        }
        let set = match dispatch.bindings {
            [] => None,
            bindings => Some(match self.sets.get(&(dispatch.kernel, bindings)) {
                Some(set) => *set,
                None => {
                    let set = self.descriptor_set(pipeline, dispatch)?;
                    self.sets.insert((dispatch.kernel, bindings), set);
                    set
                }
            }),
        };
        pipeline.push_constants(dispatch.dims(), dispatch.scalars(), &mut self.push)?;
        let (width, height) = (dispatch.grid.min(GRID_WIDTH), dispatch.grid.div_ceil(GRID_WIDTH));
        if height > loaded.device.physical.limits.max_compute_work_group_count[1] {
            return Err(Error::Run(format!(
                "kernel {}: {} workgroups are too many; use smaller dims or the cpu",
                pipeline.name, dispatch.grid
            )));
        }
        let (raw, compute) = (&loaded.device.raw, vk::PipelineBindPoint::COMPUTE);
        // SAFETY: all handles live as long as the recording.
        unsafe {
            if self.bound.replace(dispatch.kernel) != Some(dispatch.kernel) {
                raw.cmd_bind_pipeline(self.commands, compute, pipeline.raw);
            }
            if let Some(set) = set {
                raw.cmd_bind_descriptor_sets(self.commands, compute, pipeline.layout, 0, &[set], &[]);
            }
            if !self.push.is_empty() {
                raw.cmd_push_constants(self.commands, pipeline.layout, vk::ShaderStageFlags::COMPUTE, 0, &self.push);
            }
            raw.cmd_dispatch(self.commands, width, height, 1);
        }
        if self.queries != vk::QueryPool::null() {
            self.timestamp(2 * self.dispatched + 1);
        }
        self.dispatched += 1;
        Ok(())
    }

    fn timestamp(&self, query: u32) {
        let stage = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
        // SAFETY: see `barrier`.
        unsafe { self.loaded.device.raw.cmd_write_timestamp(self.commands, stage, self.queries, query) };
    }

    fn descriptor_set(&self, pipeline: &Pipeline, dispatch: DispatchWords<'_>) -> Result<vk::DescriptorSet> {
        let raw = &self.loaded.device.raw;
        let layouts = [pipeline.set_layout];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(self.descriptors).set_layouts(&layouts);
        // SAFETY: the pool was made for all dispatches of this segment.
        let set = unsafe { raw.allocate_descriptor_sets(&info) }.check("vkAllocateDescriptorSets")?[0];
        let infos: Vec<_> = dispatch
            .slices()
            .map(|slice| {
                let (offset, range) = descriptor_range(slice);
                [vk::DescriptorBufferInfo { buffer: (self.buffers)(slice.place), offset, range }]
            })
            .collect();
        let writes: Vec<_> = (infos.iter().zip(0..))
            .map(|(info, binding)| {
                vk::WriteDescriptorSet::default()
                    .dst_set(set)
                    .dst_binding(binding)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .buffer_info(info)
            })
            .collect();
        // SAFETY: the set is new, so nothing uses it yet.
        unsafe { raw.update_descriptor_sets(&writes, &[]) };
        Ok(set)
    }

    fn copy(&mut self, src: Slice, dst: Slice) -> Result<()> {
        let distance = src.offset.abs_diff(dst.offset);
        if src.place != dst.place || distance >= src.bytes {
            self.copy_apart(src, dst);
            return Ok(());
        }
        // Vulkan copies no overlapping ranges: go in steps of the distance, starting where nothing is overwritten before it is read.
        if distance == 0 {
            return Ok(());
        }
        let steps = src.bytes.div_ceil(distance);
        if steps > OVERLAP_STEPS {
            return Err(Error::Run(format!(
                "a copy of {} bytes onto itself, {distance} bytes apart, takes too many steps; copy through another buffer",
                src.bytes
            )));
        }
        let piece = |step: u64| {
            let start = step * distance;
            let part = |slice: Slice| Slice { offset: slice.offset + start, bytes: distance.min(slice.bytes - start), ..slice };
            (part(src), part(dst))
        };
        for step in 0..steps {
            let (src, dst) = piece(if dst.offset < src.offset { step } else { steps - 1 - step });
            self.copy_apart(src, dst);
        }
        Ok(())
    }

    fn write(&mut self, dst: Slice, value: u64) {
        self.order(&[], &[Span { place: dst.place, start: dst.offset, end: dst.offset + dst.bytes }]);
        let bytes = &value.to_le_bytes()[..dst.bytes as usize];
        // SAFETY: see `barrier`; the backend checked that offset and size are multiples of 4 and inside the buffer.
        unsafe { self.loaded.device.raw.cmd_update_buffer(self.commands, (self.buffers)(dst.place), dst.offset, bytes) };
    }

    fn copy_apart(&mut self, src: Slice, dst: Slice) {
        let span = |slice: Slice| [Span { place: slice.place, start: slice.offset, end: slice.offset + slice.bytes }];
        self.order(&span(src), &span(dst));
        let region = [vk::BufferCopy { src_offset: src.offset, dst_offset: dst.offset, size: src.bytes }];
        // SAFETY: see `barrier`; the ranges lie inside the buffers and do not overlap.
        unsafe { self.loaded.device.raw.cmd_copy_buffer(self.commands, (self.buffers)(src.place), (self.buffers)(dst.place), &region) };
    }
}

/// Equal words have equal hashes; the keys themselves are compared as well. A multiplicative hash, since this runs for every segment of every run.
fn hash_words(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Offset and size of what a kernel sees of a slice. An empty slice, for which there need not be room, shows some bytes at the start.
pub(super) fn descriptor_range(slice: Slice) -> (u64, u64) {
    match slice.bytes {
        0 => (0, RANGE_STEP),
        bytes => (slice.offset, bytes.next_multiple_of(RANGE_STEP)),
    }
}
