//! Resolved device commands -> their execution. What the launch-program interpreter asks of a device; one implementation per kind of device.
//!
//! The interpreter (session/interpret.rs) walks a launch program and hands over fully resolved commands: every buffer is a [`Region`] of the
//! root function's inputs, outputs, constants or arena (calls are flattened), every grid is a number, every range has been checked against
//! its buffer. Commands arrive in program order. A device may execute each at once (CPU) or collect them until a host value is needed
//! ([`Backend::read`], [`Backend::call_host`], [`Backend::finish`]), i.e. until a *segment* ends, and submit what it recorded for an equal
//! segment before (Vulkan: a recording is keyed by the exact sequence of commands, so shapes, loops and calls need no special case).

use crate::{artifact::manifest::ElementType, error::Error};
use std::{
    any::Any,
    fmt::Debug,
    ops::Range,
    sync::{Arc, atomic::AtomicU32},
};

/// Where a region lives, in terms of the function that the session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// Input number of the running function. Read only.
    Input(u32),
    /// Output number of the running function.
    Output(u32),
    /// The current value of a state of the running function, by its number, which is read and written; behind all of them their next values.
    State(u32),
    /// Index into `Manifest::constants`. Read only.
    Constant(u32),
    Arena,
}

/// Bytes `offset..offset + bytes` of a place. For inputs and outputs the offset is 0 and the bytes are those of the stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    pub location: Location,
    pub offset: u64,
    pub bytes: u64,
}

/// An input or output of the running function at the prepared shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Element type in host memory.
    pub element: ElementType,
    /// Element type on the device (bool may be stored as i32, for instance).
    pub storage: ElementType,
    pub elements: u64,
}

impl PortPlan {
    /// Bytes in host memory.
    pub fn host_bytes(&self) -> u64 {
        self.elements * self.element.bytes() as u64
    }

    /// Bytes in stored form.
    pub fn stored_bytes(&self) -> u64 {
        self.elements * self.storage.bytes() as u64
    }
}

/// What a device must have room for before a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Index into `Manifest::functions`.
    pub function: u32,
    pub inputs: &'a [PortPlan],
    pub outputs: &'a [PortPlan],
    pub arena_bytes: u64,
    /// Largest workspace of one concurrent kernel call, as far as it is known before the run.
    pub workspace_bytes: u64,
}

/// Memory of the caller for one input, valid from `begin` to `finish`/`abort`.
#[derive(Clone, Copy, Debug)]
pub struct HostInput {
    pub data: *const u8,
    pub bytes: usize,
}

/// Memory for one output, valid from `begin` to `finish`/`abort`.
#[derive(Clone, Copy, Debug)]
pub struct HostOutput {
    pub data: *mut u8,
    pub bytes: usize,
}

/// Pieces of equal size at equal distances in the memory of a state, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub count: u64,
    /// Of each piece.
    pub bytes: u64,
    /// From the start of one to the start of the next; at least `bytes`.
    pub step: u64,
}

impl Blocks {
    /// The ranges of each piece: in the memory, and where the pieces stand one behind the other.
    pub(crate) fn pieces(self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let range = |start: u64, bytes: u64| start as usize..(start + bytes) as usize;
        (0..self.count).filter(move |_| self.bytes > 0).map(move |n| (range(n * self.step, self.bytes), range(n * self.bytes, self.bytes)))
    }
}

/// Memory of a state in stored form, made by [`Backend::state_buffer`]. It outlives runs, and may outlive the backend; the device uses it only during runs.
pub trait StateBuffer: Any + Debug + Send {
    /// At least what was asked for.
    fn bytes(&self) -> u64;

    /// Copies these blocks, which lie inside, one behind the other into memory of their size.
    fn read(&self, blocks: Blocks, into: &mut [u8]) -> Result<(), Error>;

    /// Copies memory of their size into these blocks, which lie inside.
    fn write(&mut self, blocks: Blocks, from: &[u8]) -> Result<(), Error>;

    /// Sets all bytes to zero.
    fn clear(&mut self) -> Result<(), Error>;
}

/// The memory of a function's states: their current values, then their next ones. None where there is nothing to hold.
pub type StateMemory = [Option<Box<dyn StateBuffer>>];

/// One use of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct DispatchCommand<'a> {
    /// Index into `Variant::dispatches`.
    pub dispatch: u32,
    /// Index into `Variant::kernels`.
    pub kernel: u32,
    /// One per tensor argument. Regions that the kernel writes are outputs, states or arena.
    pub buffers: &'a [Region],
    pub dims: &'a [i64],
    pub scalars: &'a [u64],
    /// Number of tiles (CPU) or workgroups (Vulkan); never 0, an empty grid is not dispatched.
    pub grid: u32,
    /// Bytes of workspace per concurrent call.
    pub workspace: u64,
}

/// Copies `src.bytes` bytes; both regions have the same length (never 0) and may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CopyCommand {
    pub src: Region,
    pub dst: Region,
}

/// A region as host memory during [`Backend::call_host`].
#[derive(Clone, Copy, Debug)]
pub struct HostRegion {
    pub data: *mut u8,
    pub bytes: usize,
    /// False for inputs and constants: writing there is undefined.
    pub writable: bool,
}

/// How long a dispatch took. Times are relative to the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchTiming {
    /// Index into `Variant::dispatches`.
    pub dispatch: u32,
    pub start_ns: u64,
    pub duration_ns: u64,
}

/// Device memory a backend holds now, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    pub arena: u64,
    /// Workspace of all workers together.
    pub workspace: u64,
    /// Constants copied to the device; 0 where the mapped file is used directly.
    pub constants: u64,
    /// Staging and device copies of inputs and outputs.
    pub transfer: u64,
}

/// A device that runs one variant of one program. One run at a time: `prepare`, then per run `begin`, commands, `finish` or `abort`.
///
/// After an error from any method but `prepare` the session calls `abort`. A lost device is reported as [`Error::DeviceLost`], so that the
/// session can rerun on another variant; every other error keeps the backend usable.
pub trait Backend: Send {
    /// Makes room for the plan and keeps what is larger already. Called before the first run and whenever the plan changes. All growth
    /// happens here: a run of an equal or smaller plan allocates nothing.
    fn prepare(&mut self, plan: &Plan<'_>) -> Result<(), Error>;

    /// Zeroed memory for a state.
    fn state_buffer(&mut self, bytes: u64) -> Result<Box<dyn StateBuffer>, Error>;

    /// Whether runs can use this memory: it is on the device of this backend, which still works.
    fn holds(&self, buffer: &dyn StateBuffer) -> bool;

    /// Starts a run: binds the memory of inputs and outputs (uploading and converting `element` to `storage` where the device needs it) and of the states.
    /// `cancel` is polled: non-zero ends the run with [`Error::Cancelled`].
    ///
    /// # Safety
    /// The memory is valid, of the planned `host_bytes`, element-aligned and untouched by others until `finish` or `abort` returns.
    unsafe fn begin(
        &mut self,
        inputs: &[HostInput],
        outputs: &[HostOutput],
        states: &mut StateMemory,
        cancel: &Arc<AtomicU32>,
    ) -> Result<(), Error>;

    fn dispatch(&mut self, command: &DispatchCommand<'_>) -> Result<(), Error>;

    fn copy(&mut self, command: &CopyCommand) -> Result<(), Error>;

    /// Writes 1 to 8 bytes, all of `region`, which is an output, in a state or in the arena, in program order with the other commands. On devices with memory
    /// of their own the value becomes part of the commands: offset and bytes are multiples of 4.
    fn write(&mut self, region: Region, bytes: &[u8]) -> Result<(), Error>;

    /// Orders everything before against everything after. Without it, commands between two barriers may run in any order or at once.
    fn barrier(&mut self) -> Result<(), Error>;

    /// Reads `into.len()` bytes at the start of `region`, after everything before has finished. Ends a segment.
    fn read(&mut self, region: Region, into: &mut [u8]) -> Result<(), Error>;

    /// Runs host code on regions in stored form, after everything before has finished; what it wrote is seen by what follows. Ends a segment.
    fn call_host(&mut self, regions: &[Region], call: &mut dyn FnMut(&[HostRegion]) -> Result<(), Error>) -> Result<(), Error>;

    /// Ends a run: when it returns, the outputs are in host memory.
    fn finish(&mut self) -> Result<(), Error>;

    /// Drops what was begun and not finished: waits until the device no longer touches the bound memory, and forgets collected commands.
    fn abort(&mut self);

    /// Turns per-dispatch timing on or off, from the next run.
    fn set_profiling(&mut self, on: bool);

    /// Timings of the last finished run, in program order; empty while profiling is off.
    fn timings(&self) -> &[DispatchTiming];

    fn memory(&self) -> MemoryFigures;

    /// What runs this, for people: `cpu (2 threads)`, `vulkan:0 llvmpipe (LLVM 15.0.6, 256 bits)`.
    fn describe(&self) -> String;
}
