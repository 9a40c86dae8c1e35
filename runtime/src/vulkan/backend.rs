//! Resolved commands -> a Vulkan device: collects a segment, submits its recording, waits only where the host needs a value.
//! Inputs, outputs and reads go through mapped device memory where there is some, else through staging memory and copies in the segment.

use super::{
    error::Check,
    loaded::Loaded,
    memory::{Buffer, PLACEMENT, Use},
    recording::{Recorder, descriptor_range},
    segment::{Segment, Slice, place},
    state::DeviceState,
};
use crate::{
    artifact::manifest::Access,
    backend::{
        Backend, CopyCommand, DispatchCommand, DispatchTiming, HostInput, HostOutput, HostRegion, Location, MemoryFigures, Plan, PortPlan,
        Region, StateBuffer, StateMemory,
    },
    error::{Error, Result},
    tensor::{self, is_storable},
};
use ash::vk;
use std::{
    any::Any,
    collections::HashMap,
    ptr::NonNull,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

/// Commands after which a segment is submitted without waiting, so that the device works while the host goes on. What is submitted at once has to end before
/// the timeouts of the runtime and of the driver.
const SUBMIT_AFTER: usize = 256;
/// Buffers of states that a session tells apart before it forgets them, with its recordings.
const KNOWN_STATES: usize = 4096;
/// Smallest buffer for reads in the middle of a run.
const BOUNCE_BYTES: u64 = 4096;

/// One session on a Vulkan device.
pub(super) struct VulkanBackend {
    recorder: Recorder,
    /// By place, up to and including `place::BOUNCE`.
    buffers: [Option<Buffer>; place::CONSTANTS as usize],
    inputs: Ports,
    outputs: Ports,
    segment: Segment,
    in_flight: Vec<vk::Fence>,
    idle_fences: Vec<vk::Fence>,
    host_outputs: Lent,
    states: StateTable,
    /// Of the run in progress; none between runs.
    cancel: Option<Arc<AtomicU32>>,
    /// All buffers have the sizes of the last plan.
    prepared: bool,
    profiling: bool,
    timings: Vec<DispatchTiming>,
    /// Timestamp of the run's first dispatch.
    first_tick: Option<u64>,
    // Last: everything above is destroyed before the device.
    loaded: Arc<Loaded>,
}

/// Inputs or outputs in stored form inside their buffer.
#[derive(Debug, Default)]
struct Ports {
    ports: Vec<(PortPlan, u64)>,
    bytes: u64,
}

/// Buffers of states by place, so that recordings tell them apart: states are exchanged with their next values, and take turns.
#[derive(Default)]
struct StateTable {
    /// By place; they may be gone, but their addresses are not given to others.
    known: Vec<Weak<Buffer>>,
    places: HashMap<*const Buffer, u32>,
    /// Those of the last run, which the device may be using: index into `known`.
    bound: Vec<Option<(u32, Arc<Buffer>)>>,
}

// SAFETY: the pointers are keys and never followed.
unsafe impl Send for StateTable {}

impl StateTable {
    fn bind(&mut self, buffer: &Arc<Buffer>) {
        let index = *self.places.entry(Arc::as_ptr(buffer)).or_insert_with(|| {
            self.known.push(Arc::downgrade(buffer));
            self.known.len() as u32 - 1
        });
        self.bound.push(Some((index, buffer.clone())));
    }

    /// The buffer at a place that is bound.
    fn at(&self, place: u32) -> Option<&Buffer> {
        let index = place.checked_sub(place::STATES)?;
        self.bound.iter().flatten().find(|(bound, _)| *bound == index).map(|(_, buffer)| &**buffer)
    }
}

/// Memory that the caller lent for the outputs of a run.
#[derive(Default)]
struct Lent(Vec<HostOutput>);

// SAFETY: the pointers are valid on any thread, and only followed until the run ends (see `Backend::begin`).
unsafe impl Send for Lent {}

impl Ports {
    fn plan(plans: &[PortPlan]) -> Result<Self> {
        let mut ports = Self::default();
        for plan in plans {
            if !is_storable(plan.element, plan.storage) {
                return Err(Error::Artifact(format!("a port of {} cannot be stored as {}; compile again", plan.element, plan.storage)));
            }
            ports.ports.push((*plan, ports.bytes));
            ports.bytes = ports.bytes.saturating_add(plan.stored_bytes().max(1).next_multiple_of(PLACEMENT));
        }
        Ok(ports)
    }
}

impl VulkanBackend {
    pub fn new(loaded: Arc<Loaded>) -> Result<Self> {
        Ok(Self {
            recorder: Recorder::new(loaded.clone())?,
            buffers: [const { None }; place::CONSTANTS as usize],
            inputs: Ports::default(),
            outputs: Ports::default(),
            segment: Segment::default(),
            in_flight: Vec::new(),
            idle_fences: Vec::new(),
            host_outputs: Lent::default(),
            states: StateTable::default(),
            cancel: None,
            prepared: false,
            profiling: false,
            timings: Vec::new(),
            first_tick: None,
            loaded,
        })
    }

    /// Makes a buffer at least this large. Nothing may be in flight.
    fn reserve(&mut self, place: u32, bytes: u64) -> Result<()> {
        let (purpose, what) = match place {
            place::ARENA => (Use::Shared, "the arena"),
            place::INPUTS => (Use::Upload, "inputs"),
            place::OUTPUTS => (Use::Shared, "outputs"),
            place::STAGING => (Use::Staging, "staging of inputs and outputs"),
            _ => (Use::Staging, "staging of values read by the host"),
        };
        let slot = &mut self.buffers[place as usize];
        let now = slot.as_ref().map_or(0, |buffer| buffer.bytes);
        if slot.is_some() && bytes <= now {
            return Ok(());
        }
        // Recordings refer to the old buffer. It goes first: both at once would raise the peak. Repeated growth takes bigger steps.
        self.recorder.clear();
        *slot = None;
        *slot = Some(Buffer::new(&self.loaded.device, bytes.max(now.saturating_add(now / 4)), purpose, what)?);
        Ok(())
    }

    fn mapped(&self, place: u32) -> Option<NonNull<u8>> {
        match self.buffers.get(place as usize) {
            Some(buffer) => buffer.as_ref().and_then(Buffer::mapped),
            None => self.states.at(place).and_then(Buffer::mapped),
        }
    }

    /// Where the host finds a slice of a mapped buffer.
    fn host_slice(&self, slice: Slice) -> Option<NonNull<u8>> {
        // SAFETY: slices lie inside their buffers.
        self.mapped(slice.place).map(|start| unsafe { start.add(slice.offset as usize) })
    }

    fn resolve(&self, region: Region) -> Result<Slice> {
        let (place, start, room) = match region.location {
            Location::Arena => (place::ARENA, 0, self.buffers[place::ARENA as usize].as_ref().map_or(0, |arena| arena.bytes)),
            Location::Input(port) => {
                self.inputs.ports.get(port as usize).map(|(plan, at)| (place::INPUTS, *at, plan.stored_bytes())).unwrap_or_default()
            }
            Location::Output(port) => {
                self.outputs.ports.get(port as usize).map(|(plan, at)| (place::OUTPUTS, *at, plan.stored_bytes())).unwrap_or_default()
            }
            Location::State(state) => match self.states.bound.get(state as usize) {
                Some(Some((index, buffer))) => (place::STATES + index, 0, buffer.bytes),
                _ => Default::default(),
            },
            Location::Constant(index) => {
                self.loaded.constant(index).map(|c| (place::CONSTANTS + c.block, c.offset, c.bytes)).unwrap_or_default()
            }
        };
        match region.offset.checked_add(region.bytes) {
            Some(end) if end <= room => Ok(Slice { place, offset: start + region.offset, bytes: region.bytes }),
            // An empty tensor may stand anywhere.
            _ if region.bytes == 0 => Ok(Slice { place, offset: start, bytes: 0 }),
            _ => Err(Error::Run(format!(
                "bytes {}..+{} of {:?} lie outside it ({room} bytes)",
                region.offset, region.bytes, region.location
            ))),
        }
    }

    fn check_cancelled(&self) -> Result<()> {
        match &self.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) == 0 => Ok(()),
            Some(_) => Err(Error::Cancelled),
            None => Err(Error::Run("a command outside of a run".into())),
        }
    }

    /// Submits what was collected.
    fn submit(&mut self) -> Result<()> {
        if self.segment.is_empty() {
            return Ok(());
        }
        let (buffers, loaded, states) = (&self.buffers, &self.loaded, &self.states);
        let handle = |place: u32| match buffers.get(place as usize) {
            Some(buffer) => buffer.as_ref().map_or(vk::Buffer::null(), |buffer| buffer.raw),
            None if place >= place::STATES => states.at(place).map_or(vk::Buffer::null(), |buffer| buffer.raw),
            None => loaded.blocks[(place - place::CONSTANTS) as usize].raw,
        };
        let recording = self.recorder.get(self.segment.words(), self.profiling, &handle)?;
        let device = &self.loaded.device;
        let fence = match self.idle_fences.pop() {
            Some(fence) => fence,
            // SAFETY: plain creation.
            None => unsafe { device.raw.create_fence(&vk::FenceCreateInfo::default(), None) }.check("vkCreateFence")?,
        };
        // SAFETY: recordings and buffers are kept until `wait` has returned.
        if let Err(error) = unsafe { device.submit(&[recording.commands], fence) } {
            self.idle_fences.push(fence);
            return Err(error);
        }
        self.in_flight.push(fence);
        self.segment.clear();
        if self.profiling {
            let (queries, dispatches) = (recording.queries, recording.dispatches.clone());
            self.wait()?;
            self.collect_timings(queries, &dispatches)?;
        }
        Ok(())
    }

    /// Waits for everything submitted, one submission after the other: the timeout is about a device that gets nowhere, not about long runs.
    fn wait(&mut self) -> Result<()> {
        while let Some(fence) = self.in_flight.first().copied() {
            self.loaded.device.wait(&[fence])?;
            self.idle_fences.push(self.in_flight.remove(0));
        }
        Ok(())
    }

    /// Forgets any run; afterwards the device uses nothing of this session.
    fn become_idle(&mut self) -> Result<()> {
        self.abort();
        self.loaded.device.check_alive()?;
        self.wait()
    }

    fn submit_and_wait(&mut self) -> Result<()> {
        self.check_cancelled()?;
        self.submit()?;
        self.wait()
    }

    fn collect_timings(&mut self, queries: vk::QueryPool, dispatches: &[u32]) -> Result<()> {
        if dispatches.is_empty() {
            return Ok(());
        }
        let device = &self.loaded.device;
        let mut ticks = vec![0u64; 2 * dispatches.len()];
        let flags = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
        // SAFETY: the submission that wrote them has finished.
        unsafe { device.raw.get_query_pool_results(queries, 0, &mut ticks, flags) }.check("vkGetQueryPoolResults")?;
        let bits = device.physical.timestamp_bits;
        let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        let first = *self.first_tick.get_or_insert(ticks[0]);
        let nanoseconds = |ticks: u64| ((ticks & mask) as f64 * f64::from(device.physical.limits.timestamp_period)) as u64;
        self.timings.extend(dispatches.iter().zip(ticks.as_chunks::<2>().0).map(|(dispatch, [start, end])| DispatchTiming {
            dispatch: *dispatch,
            start_ns: nanoseconds(start.wrapping_sub(first)),
            duration_ns: nanoseconds(end.wrapping_sub(*start)),
        }));
        Ok(())
    }

    /// Where outputs stand in the staging buffer.
    fn staged_outputs(&self) -> u64 {
        if self.mapped(place::INPUTS).is_some() { 0 } else { self.inputs.bytes }
    }

    /// Inputs from the caller's memory, in stored form, into mapped memory; copies from staging become the first commands of the run.
    ///
    /// # Safety
    /// As `Backend::begin`.
    unsafe fn upload(&mut self, inputs: &[HostInput]) -> Result<()> {
        let direct = self.mapped(place::INPUTS).is_some();
        let target = if direct { place::INPUTS } else { place::STAGING };
        for (number, (input, (plan, offset))) in inputs.iter().zip(&self.inputs.ports).enumerate() {
            if input.bytes as u64 != plan.host_bytes() {
                return Err(Error::Bind(format!("input {number} has {} bytes, not {}", input.bytes, plan.host_bytes())));
            }
            if input.bytes == 0 {
                continue;
            }
            let slice = Slice { place: target, offset: *offset, bytes: plan.stored_bytes() };
            let stored = self.host_slice(slice).expect("inputs or their staging are mapped");
            // SAFETY: the caller vouches for the host side; nothing is in flight that uses the other.
            unsafe {
                let host = std::slice::from_raw_parts(input.data, input.bytes);
                tensor::store(plan.element, plan.storage, host, std::slice::from_raw_parts_mut(stored.as_ptr(), slice.bytes as usize));
            }
        }
        if !direct && self.inputs.bytes > 0 {
            let bytes = self.inputs.bytes;
            self.segment.push_copy(Slice { place: place::STAGING, offset: 0, bytes }, Slice { place: place::INPUTS, offset: 0, bytes });
        }
        Ok(())
    }

    /// Outputs from mapped memory into the caller's.
    fn download(&self) {
        let (source, base) = match self.mapped(place::OUTPUTS) {
            Some(_) => (place::OUTPUTS, 0),
            None => (place::STAGING, self.staged_outputs()),
        };
        for (output, (plan, offset)) in self.host_outputs.0.iter().zip(&self.outputs.ports).filter(|pair| pair.0.bytes > 0) {
            let slice = Slice { place: source, offset: base + offset, bytes: plan.stored_bytes() };
            let stored = self.host_slice(slice).expect("outputs or their staging are mapped");
            // SAFETY: sizes were checked in `begin`; the device has finished.
            unsafe {
                let host = std::slice::from_raw_parts_mut(output.data, output.bytes);
                tensor::unstore(plan.element, plan.storage, std::slice::from_raw_parts(stored.as_ptr(), slice.bytes as usize), host);
            }
        }
    }

    /// A slice that the host sees for the same bytes, if there is one without copying.
    fn seen_by_host(&self, slice: Slice) -> Option<Slice> {
        match slice.place {
            // What was uploaded is still in staging, and kernels do not write inputs.
            place::INPUTS if self.mapped(place::INPUTS).is_none() => Some(Slice { place: place::STAGING, ..slice }),
            place if !(place::CONSTANTS..place::STATES).contains(&place) && self.mapped(place).is_some() => Some(slice),
            _ => None,
        }
    }
}

impl Backend for VulkanBackend {
    fn prepare(&mut self, plan: &Plan<'_>) -> Result<()> {
        self.prepared = false;
        self.become_idle()?;
        (self.inputs, self.outputs) = (Ports::plan(plan.inputs)?, Ports::plan(plan.outputs)?);
        self.reserve(place::ARENA, plan.arena_bytes)?;
        self.reserve(place::INPUTS, self.inputs.bytes)?;
        self.reserve(place::OUTPUTS, self.outputs.bytes)?;
        let staged = self.staged_outputs() + if self.mapped(place::OUTPUTS).is_some() { 0 } else { self.outputs.bytes };
        if staged > 0 {
            self.reserve(place::STAGING, staged)?;
        }
        if self.mapped(place::ARENA).is_none() || self.mapped(place::OUTPUTS).is_none() {
            self.reserve(place::BOUNCE, BOUNCE_BYTES)?;
        }
        self.prepared = true;
        Ok(())
    }

    fn state_buffer(&mut self, bytes: u64) -> Result<Box<dyn StateBuffer>> {
        Ok(Box::new(DeviceState::new(&self.loaded.device, bytes)?))
    }

    fn holds(&self, buffer: &dyn StateBuffer) -> bool {
        let device = &self.loaded.device;
        let state = (buffer as &dyn Any).downcast_ref::<DeviceState>();
        state.is_some_and(|state| Arc::ptr_eq(&state.device, device)) && device.check_alive().is_ok()
    }

    unsafe fn begin(
        &mut self,
        inputs: &[HostInput],
        outputs: &[HostOutput],
        states: &mut StateMemory,
        cancel: &Arc<AtomicU32>,
    ) -> Result<()> {
        self.become_idle()?;
        self.bind_states(states)?;
        if !self.prepared || inputs.len() != self.inputs.ports.len() || outputs.len() != self.outputs.ports.len() {
            return Err(Error::Bind("inputs and outputs are not those that were prepared".into()));
        }
        if let Some(number) =
            outputs.iter().zip(&self.outputs.ports).position(|(output, (plan, _))| output.bytes as u64 != plan.host_bytes())
        {
            let (got, wanted) = (outputs[number].bytes, self.outputs.ports[number].0.host_bytes());
            return Err(Error::Bind(format!("output {number} has {got} bytes, not {wanted}")));
        }
        self.timings.clear();
        self.first_tick = None;
        self.host_outputs.0.clear();
        self.host_outputs.0.extend_from_slice(outputs);
        self.cancel = Some(cancel.clone());
        // SAFETY: passed on.
        unsafe { self.upload(inputs) }
    }

    fn dispatch(&mut self, command: &DispatchCommand<'_>) -> Result<()> {
        self.check_cancelled()?;
        let loaded = self.loaded.clone();
        let pipeline = &loaded.pipelines[command.kernel as usize];
        let failed = |what: String| {
            let nodes = loaded.dispatches.get(command.dispatch as usize).map(|dispatch| dispatch.nodes.join(", ")).unwrap_or_default();
            let at = if nodes.is_empty() { nodes } else { format!(" at {nodes}") };
            Err(Error::Run(format!("kernel {}{at}: {what}", pipeline.name)))
        };
        if (command.buffers.len(), command.dims.len(), command.scalars.len())
            != (pipeline.access.len(), pipeline.dims as usize, pipeline.scalars as usize)
        {
            return failed("wrong number of buffers, dims or scalars; compile again".into());
        }
        if command.workspace > 0 {
            return failed("Vulkan kernels have no workspace; compile again".into());
        }
        if let Err(why) = pipeline.check_turns(command.dims) {
            return failed(why);
        }
        let limits = &loaded.device.physical.limits;
        let mut slices = [Slice { place: 0, offset: 0, bytes: 0 }; 64];
        let Some(slices) = slices.get_mut(..command.buffers.len()) else { return failed("it binds more than 64 buffers".into()) };
        for (number, (region, access)) in command.buffers.iter().zip(&pipeline.access).enumerate() {
            let slice = self.resolve(*region)?;
            let (offset, range) = descriptor_range(slice);
            if *access != Access::Read && !place::writable(slice.place) {
                return failed(format!("argument {number} writes {:?}; compile again", region.location));
            }
            if offset % limits.min_storage_buffer_offset_alignment.max(1) != 0 {
                return failed(format!("argument {number} stands at offset {offset}, which this device cannot bind; compile again"));
            }
            if range > u64::from(limits.max_storage_buffer_range) {
                let limit = limits.max_storage_buffer_range;
                return failed(format!(
                    "argument {number} has {range} bytes, a kernel sees at most {limit} here; use smaller dims or the cpu"
                ));
            }
            slices[number] = slice;
        }
        let slices = slices.iter().copied();
        self.segment.push_dispatch(command.dispatch, command.kernel, command.grid, slices, command.dims, command.scalars);
        if self.segment.commands() >= SUBMIT_AFTER {
            self.submit()?;
        }
        Ok(())
    }

    fn copy(&mut self, command: &CopyCommand) -> Result<()> {
        self.check_cancelled()?;
        let (src, dst) = (self.resolve(command.src)?, self.resolve(command.dst)?);
        if src.bytes != dst.bytes || !place::writable(dst.place) {
            return Err(Error::Run(format!("cannot copy {:?} to {:?}; compile again", command.src, command.dst)));
        }
        if src.bytes > 0 {
            self.segment.push_copy(src, dst);
        }
        Ok(())
    }

    fn write(&mut self, region: Region, bytes: &[u8]) -> Result<()> {
        self.check_cancelled()?;
        let dst = self.resolve(region)?;
        let whole = matches!(dst.bytes, 4 | 8) && dst.bytes == bytes.len() as u64 && dst.offset.is_multiple_of(4);
        if !whole || !place::writable(dst.place) {
            return Err(Error::Run(format!("cannot write {} bytes to {region:?}; compile again", bytes.len())));
        }
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        self.segment.push_write(dst, u64::from_le_bytes(value));
        Ok(())
    }

    /// Nothing to do: recordings order whatever conflicts, and nothing else can be told apart.
    fn barrier(&mut self) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, region: Region, into: &mut [u8]) -> Result<()> {
        self.check_cancelled()?;
        let mut slice = self.resolve(region)?;
        if into.len() as u64 > slice.bytes {
            return Err(Error::Run(format!("cannot read {} bytes of {region:?}; compile again", into.len())));
        }
        if into.is_empty() {
            return Ok(());
        }
        slice.bytes = into.len() as u64;
        let host = match self.seen_by_host(slice) {
            // The device never writes inputs, so there is nothing to wait for.
            Some(host) if slice.place == place::INPUTS => host,
            Some(host) => {
                self.submit_and_wait()?;
                host
            }
            None => {
                self.reserve_bounce(slice.bytes)?;
                let host = Slice { place: place::BOUNCE, offset: 0, bytes: slice.bytes };
                self.segment.push_copy(slice, host);
                self.submit_and_wait()?;
                host
            }
        };
        let from = self.host_slice(host).expect("seen by the host");
        // SAFETY: the slice lies inside its buffer and the device has finished with it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn call_host(&mut self, regions: &[Region], call: &mut dyn FnMut(&[HostRegion]) -> Result<()>) -> Result<()> {
        self.check_cancelled()?;
        let slices = regions.iter().map(|region| self.resolve(*region)).collect::<Result<Vec<_>>>()?;
        let mut total = 0;
        let mut hosts = Vec::with_capacity(slices.len());
        for slice in &slices {
            hosts.push(self.seen_by_host(*slice).unwrap_or_else(|| {
                let host = Slice { place: place::BOUNCE, offset: total, bytes: slice.bytes };
                total += slice.bytes.next_multiple_of(PLACEMENT);
                host
            }));
        }
        self.reserve_bounce(total)?;
        let copied = |host: &Slice| host.place == place::BOUNCE && host.bytes > 0;
        for (slice, host) in slices.iter().zip(&hosts).filter(|pair| copied(pair.1)) {
            self.segment.push_copy(*slice, *host);
        }
        self.submit_and_wait()?;
        let writable = |slice: &Slice| place::writable(slice.place);
        let views: Vec<HostRegion> = (slices.iter().zip(&hosts))
            .map(|(slice, host)| HostRegion {
                data: self.host_slice(*host).map_or(std::ptr::null_mut(), NonNull::as_ptr),
                bytes: slice.bytes as usize,
                writable: writable(slice),
            })
            .collect();
        call(&views)?;
        for (slice, host) in slices.iter().zip(&hosts).filter(|(slice, host)| copied(host) && writable(slice)) {
            self.segment.push_copy(*host, *slice);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.mapped(place::OUTPUTS).is_none() && self.outputs.bytes > 0 {
            let (bytes, offset) = (self.outputs.bytes, self.staged_outputs());
            self.segment.push_copy(Slice { place: place::OUTPUTS, offset: 0, bytes }, Slice { place: place::STAGING, offset, bytes });
        }
        self.submit_and_wait()?;
        self.download();
        self.states.bound.clear();
        self.cancel = None;
        self.recorder.trim();
        Ok(())
    }

    fn abort(&mut self) {
        self.cancel = None;
        self.segment.clear();
        // The caller's memory is never seen by the device, so a device that does not answer need not be waited for; dropping settles it.
        if self.wait().is_ok() {
            self.states.bound.clear();
        }
    }

    fn set_profiling(&mut self, on: bool) {
        self.profiling = on && self.loaded.device.physical.timestamp_bits > 0;
        self.timings.clear();
    }

    fn timings(&self) -> &[DispatchTiming] {
        &self.timings
    }

    fn memory(&self) -> MemoryFigures {
        let bytes = |place: u32| self.buffers[place as usize].as_ref().map_or(0, |buffer| buffer.bytes);
        MemoryFigures {
            arena: bytes(place::ARENA),
            workspace: 0,
            constants: self.loaded.constant_bytes(),
            transfer: bytes(place::INPUTS) + bytes(place::OUTPUTS) + bytes(place::STAGING) + bytes(place::BOUNCE),
        }
    }

    fn describe(&self) -> String {
        self.loaded.device.physical.label()
    }
}

impl VulkanBackend {
    /// Gives the buffers of the states their places. Nothing may be in flight.
    fn bind_states(&mut self, states: &StateMemory) -> Result<()> {
        self.states.bound.clear();
        if self.states.known.len() > KNOWN_STATES {
            self.recorder.clear();
            self.states = StateTable::default();
        }
        for buffer in states {
            let state = buffer.as_deref().map(|buffer| (buffer as &dyn Any).downcast_ref::<DeviceState>());
            match state {
                Some(Some(state)) if Arc::ptr_eq(&state.device, &self.loaded.device) => self.states.bind(&state.buffer),
                Some(_) => return Err(Error::Bind("a state is in the memory of another device".into())),
                None => self.states.bound.push(None),
            }
        }
        Ok(())
    }

    /// Room for values read in the middle of a run.
    fn reserve_bounce(&mut self, bytes: u64) -> Result<()> {
        let room = self.buffers[place::BOUNCE as usize].as_ref().map_or(0, |buffer| buffer.bytes);
        if bytes > room {
            // The device must be done with the old one.
            self.submit_and_wait()?;
            self.reserve(place::BOUNCE, bytes.max(BOUNCE_BYTES))?;
        }
        Ok(())
    }
}

impl Drop for VulkanBackend {
    fn drop(&mut self) {
        let device = &self.loaded.device;
        device.settle(&self.in_flight);
        if device.can_destroy() {
            for fence in self.in_flight.drain(..).chain(self.idle_fences.drain(..)) {
                // SAFETY: nothing is in flight any more.
                unsafe { device.raw.destroy_fence(fence, None) };
            }
        }
    }
}
