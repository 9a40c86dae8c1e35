//! Commands -> native kernel calls on a thread pool, each finished when the call returns. Inputs, outputs and constants are used in place.

use super::{
    fpu::FloatEnvironment,
    image::{Image, WzArgs},
    pool::{Cost, Pool},
};
use crate::{
    artifact::manifest::{Device, Variant},
    backend::{
        Backend, CopyCommand, DispatchCommand, DispatchTiming, HostInput, HostOutput, HostRegion, Location, MemoryFigures, Plan, Region,
        StateBuffer, StateMemory,
    },
    error::{Error, Result},
    memory::AlignedBytes,
    program::Program,
};
use std::{
    any::Any,
    ffi::c_void,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU32, Ordering},
    },
    time::Instant,
};

/// Runs a CPU variant.
pub struct CpuBackend {
    program: Program,
    variant: u32,
    image: Arc<Image>,
    pool: Arc<Pool>,
    arena: AlignedBytes,
    /// One per thread of the pool, the caller's first.
    workspaces: Vec<AlignedBytes>,
    inputs: Vec<HostInput>,
    outputs: Vec<HostOutput>,
    states: Vec<*mut u8>,
    cancel: Option<Arc<AtomicU32>>,
    /// One per dispatch of the variant.
    costs: Vec<Cost>,
    /// Arguments of the current command.
    pointers: Vec<*mut c_void>,
    regions: Vec<HostRegion>,
    profiling: bool,
    start: Option<Instant>,
    timings: Vec<DispatchTiming>,
}

// SAFETY: the raw pointers are only followed between `begin` and `finish`/`abort`, while the session that owns this is borrowed.
unsafe impl Send for CpuBackend {}

impl CpuBackend {
    /// Maps the code of variant number `variant` after checking that this CPU can run it.
    pub fn new(program: &Program, variant: u32, pool: Arc<Pool>) -> Result<Self> {
        let description = &program.manifest().variants[variant as usize];
        let Device::Cpu { triple, features, .. } = &description.device else {
            return Err(Error::Device(format!("variant {} is not for a CPU", description.target)));
        };
        super::features::check(triple, features)?;
        let arity = description.kernels.iter().map(|k| k.buffers.len()).max().unwrap_or(0);
        let ports = program.manifest().functions.iter().map(|f| f.inputs.len().max(f.outputs.len())).max().unwrap_or(0);
        let states = program.manifest().functions.iter().map(|f| 2 * f.states.len()).max().unwrap_or(0);
        Ok(Self {
            program: program.clone(),
            variant,
            image: program.image(variant)?,
            arena: AlignedBytes::empty(),
            workspaces: (0..pool.threads()).map(|_| AlignedBytes::empty()).collect(),
            pool,
            inputs: Vec::with_capacity(ports),
            outputs: Vec::with_capacity(ports),
            states: Vec::with_capacity(states),
            cancel: None,
            costs: vec![Cost::default(); description.dispatches.len()],
            pointers: Vec::with_capacity(arity),
            regions: Vec::new(),
            profiling: false,
            start: None,
            timings: Vec::new(),
        })
    }

    fn description(&self) -> &Variant {
        &self.program.manifest().variants[self.variant as usize]
    }

    fn pointer(&mut self, region: Region) -> Result<*mut u8> {
        let start = match region.location {
            Location::Input(port) => self.inputs[port as usize].data.cast_mut(),
            Location::Output(port) => self.outputs[port as usize].data,
            Location::State(state) => self.states[state as usize],
            Location::Constant(constant) => self.program.reader().constant(constant)?.as_ptr().cast_mut(),
            Location::Arena => self.arena.as_mut_ptr(),
        };
        Ok(start.wrapping_add(region.offset as usize))
    }

    fn grow_workspaces(&mut self, bytes: u64) -> Result<()> {
        self.workspaces.iter_mut().try_for_each(|w| w.grow(bytes, "cpu", "workspace").map(drop))
    }

    fn failure(&self, dispatch: u32, code: i32) -> Error {
        let variant = self.description();
        let dispatch = &variant.dispatches[dispatch as usize];
        let kernel = &variant.kernels[dispatch.kernel as usize];
        Error::Run(format!(
            "kernel {} failed with code {code} at {}; check that the values of index inputs are in range",
            kernel.name,
            dispatch.nodes.join(", ")
        ))
    }
}

impl Backend for CpuBackend {
    fn prepare(&mut self, plan: &Plan<'_>) -> Result<()> {
        self.arena.grow(plan.arena_bytes, "cpu", "the arena")?;
        self.grow_workspaces(plan.workspace_bytes)
    }

    fn state_buffer(&mut self, bytes: u64) -> Result<Box<dyn StateBuffer>> {
        Ok(Box::new(AlignedBytes::zeroed(bytes, "cpu", "a state")?))
    }

    fn holds(&self, buffer: &dyn StateBuffer) -> bool {
        (buffer as &dyn Any).is::<AlignedBytes>()
    }

    unsafe fn begin(
        &mut self,
        inputs: &[HostInput],
        outputs: &[HostOutput],
        states: &mut StateMemory,
        cancel: &Arc<AtomicU32>,
    ) -> Result<()> {
        self.states.clear();
        for buffer in states {
            let memory = buffer.as_deref_mut().map(|buffer| (buffer as &mut dyn Any).downcast_mut::<AlignedBytes>());
            self.states.push(match memory {
                Some(Some(memory)) => memory.as_mut_ptr(),
                Some(None) => return Err(Error::Bind("a state is in the memory of another device".into())),
                None => std::ptr::null_mut(),
            });
        }
        self.inputs.clear();
        self.inputs.extend_from_slice(inputs);
        self.outputs.clear();
        self.outputs.extend_from_slice(outputs);
        self.cancel = Some(cancel.clone());
        self.timings.clear();
        self.start = self.profiling.then(Instant::now);
        Ok(())
    }

    fn dispatch(&mut self, command: &DispatchCommand<'_>) -> Result<()> {
        // Normally there: `prepare` saw all but workspaces that depend on loaded values.
        self.grow_workspaces(command.workspace)?;
        self.pointers.clear();
        for region in command.buffers {
            let pointer = self.pointer(*region)?;
            self.pointers.push(pointer.cast());
        }
        let cancel = self.cancel.as_deref();
        if cancel.is_some_and(|flag| flag.load(Ordering::Relaxed) != 0) {
            return Err(Error::Cancelled);
        }
        let start = self.start.map(|start| start.elapsed());
        let arguments = Arguments {
            buffers: self.pointers.as_ptr(),
            dims: command.dims.as_ptr(),
            scalars: command.scalars.as_ptr(),
            workspaces: &self.workspaces,
            workspace_size: command.workspace,
        };
        let entry = self.image.entry(command.kernel);
        let code = AtomicI32::new(0);
        let run = |begin, end, worker: usize| {
            let arguments = &arguments;
            let args = WzArgs {
                buffers: arguments.buffers,
                dims: arguments.dims,
                scalars: arguments.scalars,
                workspace: arguments.workspaces[worker].as_ptr().cast_mut().cast(),
                workspace_size: arguments.workspace_size,
                cancel: cancel.map_or(std::ptr::null(), |flag| flag.as_ptr()),
            };
            // SAFETY: the interpreter checked the regions against the plan, and the manifest promises a kernel of ABI 1 with these arguments;
            // `args` lives during the call, and each worker has its own workspace.
            let result = unsafe { entry(&args, begin, end) };
            if result != 0 {
                let _ = code.compare_exchange(0, result, Ordering::Relaxed, Ordering::Relaxed);
            }
            result == 0 && cancel.is_none_or(|flag| flag.load(Ordering::Relaxed) == 0)
        };
        {
            let _environment = FloatEnvironment::enter();
            self.pool.run(command.grid, &mut self.costs[command.dispatch as usize], &run);
        }
        if cancel.is_some_and(|flag| flag.load(Ordering::Relaxed) != 0) {
            return Err(Error::Cancelled);
        }
        if let (Some(begun), Some(start)) = (start, self.start) {
            let nanoseconds = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
            let (start_ns, end_ns) = (nanoseconds(begun), nanoseconds(start.elapsed()));
            self.timings.push(DispatchTiming { dispatch: command.dispatch, start_ns, duration_ns: end_ns - start_ns });
        }
        match code.into_inner() {
            0 => Ok(()),
            code => Err(self.failure(command.dispatch, code)),
        }
    }

    fn copy(&mut self, command: &CopyCommand) -> Result<()> {
        let (src, dst) = (self.pointer(command.src)?, self.pointer(command.dst)?);
        // SAFETY: both regions are inside their places and of this length; they may overlap.
        unsafe { dst.copy_from(src, command.src.bytes as usize) };
        Ok(())
    }

    fn write(&mut self, region: Region, bytes: &[u8]) -> Result<()> {
        let dst = self.pointer(region)?;
        // SAFETY: the region holds at least these bytes.
        unsafe { dst.copy_from(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn barrier(&mut self) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, region: Region, into: &mut [u8]) -> Result<()> {
        let src = self.pointer(region)?;
        // SAFETY: the region holds at least these bytes.
        unsafe { into.as_mut_ptr().copy_from(src, into.len()) };
        Ok(())
    }

    fn call_host(&mut self, regions: &[Region], call: &mut dyn FnMut(&[HostRegion]) -> Result<()>) -> Result<()> {
        let mut host = std::mem::take(&mut self.regions);
        host.clear();
        let resolved = regions.iter().try_for_each(|region| {
            let writable = matches!(region.location, Location::Output(_) | Location::State(_) | Location::Arena);
            host.push(HostRegion { data: self.pointer(*region)?, bytes: region.bytes as usize, writable });
            Ok(())
        });
        let result = resolved.and_then(|()| call(&host));
        self.regions = host;
        result
    }

    fn finish(&mut self) -> Result<()> {
        self.abort();
        Ok(())
    }

    fn abort(&mut self) {
        self.inputs.clear();
        self.outputs.clear();
        self.states.clear();
        self.cancel = None;
    }

    fn set_profiling(&mut self, on: bool) {
        self.profiling = on;
        if !on {
            self.timings.clear();
        }
    }

    fn timings(&self) -> &[DispatchTiming] {
        &self.timings
    }

    fn memory(&self) -> MemoryFigures {
        let workspace = self.workspaces.iter().map(|w| w.capacity() as u64).sum();
        MemoryFigures { arena: self.arena.capacity() as u64, workspace, constants: 0, transfer: 0 }
    }

    fn describe(&self) -> String {
        format!("cpu ({} threads)", self.pool.threads())
    }
}

/// What all calls of a dispatch share.
struct Arguments<'a> {
    buffers: *const *mut c_void,
    dims: *const i64,
    scalars: *const u64,
    workspaces: &'a [AlignedBytes],
    workspace_size: u64,
}

// SAFETY: kernels of ABI 1 may be called concurrently for disjoint ranges; the pointed-to arrays are only read.
unsafe impl Sync for Arguments<'_> {}
