//! A program, a device -> runs. A session owns arena, outputs and device state; it does one run at a time. All growth happens when dims
//! exceed everything seen or prepared before; other runs allocate nothing (on the CPU).

mod arithmetic;
mod bind;
mod externs;
mod interpret;
mod measure;
mod rooms;
mod state;

pub use externs::{ExternCall, ExternKernel, ExternKernels};

use crate::{
    artifact::{
        expr::{Expr, ExprOp},
        manifest::{ElementType, Function, Manifest, State, Variant},
        program::Place,
    },
    backend::{Backend, DispatchTiming, HostInput, HostOutput, MemoryFigures, Plan, PortPlan},
    cpu::{backend::CpuBackend, pool::Pool},
    device::{DeviceChoice, choose_variant},
    error::{Error, Result},
    program::Program,
    tensor::{Tensor, TensorView},
};
pub use bind::port_text;
use bind::{bind_symbols, check_symbols, eval_dims, largest_dims, set_found};
use interpret::{Cx, Machine, Ports, check_first, port_elements, size};
use measure::Measure;
pub use state::States;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// A dry run that goes on for longer stops looking for larger workspaces.
const MEASURED_ITERATIONS: u64 = 10_000;

/// How a session runs.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Threads of a pool of its own, the caller's included; `None` uses `pool`.
    pub threads: Option<usize>,
    /// The pool to share; `None` is the one of the process.
    pub pool: Option<Arc<Pool>>,
    /// Most loop iterations of a run.
    pub max_iterations: u64,
    /// Most bytes of arena and outputs that sizes may ask for which are found while running and have no bound; `None` is what the machine has left.
    pub max_bytes: Option<u64>,
    /// Host kernels that the program may call.
    pub externs: ExternKernels,
    /// Rerun on the CPU when a device is lost and the artifact has a CPU variant.
    pub fall_back: bool,
    /// How a Vulkan device is used.
    #[cfg(feature = "vulkan")]
    pub vulkan: crate::vulkan::VulkanOptions,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            threads: None,
            pool: None,
            max_iterations: 10_000_000,
            max_bytes: None,
            externs: ExternKernels::default(),
            fall_back: true,
            #[cfg(feature = "vulkan")]
            vulkan: crate::vulkan::VulkanOptions::default(),
        }
    }
}

/// Stops the run of a session from another thread.
#[derive(Clone, Debug)]
pub struct CancelHandle(Arc<AtomicU32>);

impl CancelHandle {
    /// The current or next run ends with [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(1, Ordering::Relaxed);
    }
}

/// Runs one variant of a program on one device.
pub struct Session {
    program: Program,
    variant: u32,
    options: SessionOptions,
    backend: Box<dyn Backend>,
    /// The threads of a CPU backend.
    pool: Option<Arc<Pool>>,
    machine: Machine,
    /// What machine and backend are ready for.
    prepared: Option<u32>,
    /// The function that `machine` ran last, successfully.
    ran: Option<u32>,
    prepared_symbols: Vec<i64>,
    symbols: Vec<i64>,
    dims: Vec<i64>,
    inputs: Vec<PortPlan>,
    outputs: Vec<PortPlan>,
    state_plans: Vec<PortPlan>,
    /// Per function: how the variant stores its states.
    state_storage: Vec<Vec<ElementType>>,
    /// Per function: its outputs, and copies of inputs that cannot be bound as they are.
    owned: Vec<Owned>,
    /// One per function; specialisations use those of the function they specialise.
    states: Vec<States>,
    /// Per function: the room for sizes that nothing bounds, one per symbol.
    rooms: Vec<Vec<i64>>,
    /// One per function.
    reserved: Vec<Reserved>,
    host_inputs: Vec<HostInput>,
    host_outputs: Vec<HostOutput>,
    cancel: Arc<AtomicU32>,
    profiling: bool,
    notices: Vec<String>,
}

// SAFETY: the pointers in `host_*` are dead between runs, and a run borrows the session mutably.
unsafe impl Send for Session {}

#[derive(Default)]
struct Owned {
    outputs: Vec<Tensor>,
    staging: Vec<Tensor>,
}

/// What a function needs once its growing states are full and bounded symbols at their bounds, so that smaller runs allocate nothing.
struct Reserved {
    symbols: Vec<i64>,
    arena: u64,
    workspace: u64,
}

impl Reserved {
    /// Nothing yet, but with memory for the symbols.
    fn new(function: &Function) -> Self {
        Self { symbols: Vec::with_capacity(function.symbols.len()), arena: 0, workspace: 0 }
    }
}

/// The outputs of the last run.
#[derive(Clone, Copy)]
pub struct Outputs<'a>(&'a [Tensor]);

impl<'a> Outputs<'a> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<TensorView<'a>> {
        self.0.get(index).map(Tensor::view)
    }

    pub fn iter(&self) -> impl Iterator<Item = TensorView<'a>> + use<'a> {
        self.0.iter().map(Tensor::view)
    }
}

impl Session {
    /// A session on the chosen device, with the best variant that it can run.
    pub fn new(program: &Program, device: &DeviceChoice, options: SessionOptions) -> Result<Self> {
        // Held from choosing to creating, so that both use one instance.
        #[cfg(feature = "vulkan")]
        let _instance =
            matches!(device, DeviceChoice::Vulkan(_)).then(|| crate::vulkan::Instance::open(&crate::vulkan::VulkanOptions::default()));
        let variant = choose_variant(program, device)?;
        match device {
            DeviceChoice::Cpu => {
                let (backend, pool) = cpu_backend(program, variant, &options)?;
                Ok(Self { pool: Some(pool), ..Self::with_backend(program, variant, backend, options) })
            }
            #[cfg(feature = "vulkan")]
            DeviceChoice::Vulkan(selector) => {
                let backend = crate::vulkan::create(program, variant, selector, &options.vulkan)?;
                Ok(Self::with_backend(program, variant, backend, options))
            }
            #[cfg(not(feature = "vulkan"))]
            DeviceChoice::Vulkan(_) => Err(Error::Device("this build of winze-runtime has no Vulkan support; use cpu".into())),
        }
    }

    /// A session on a backend made elsewhere for variant number `variant`.
    pub fn with_backend(program: &Program, variant: u32, backend: Box<dyn Backend>, options: SessionOptions) -> Self {
        let manifest = program.manifest();
        let owned = manifest.functions.iter().map(|function| Owned {
            outputs: function.outputs.iter().map(|port| Tensor::empty(port.element)).collect(),
            staging: function.inputs.iter().map(|port| Tensor::empty(port.element)).collect(),
        });
        let ports = manifest.functions.iter().map(|f| f.inputs.len().max(f.outputs.len())).max().unwrap_or(0);
        Self {
            program: program.clone(),
            variant,
            options,
            backend,
            pool: None,
            machine: Machine::new(&manifest.variants[variant as usize]),
            prepared: None,
            ran: None,
            prepared_symbols: Vec::new(),
            symbols: Vec::new(),
            dims: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            state_plans: Vec::new(),
            state_storage: state::storages(manifest, &manifest.variants[variant as usize]),
            owned: owned.collect(),
            states: manifest.functions.iter().zip(0..).map(|(function, index)| States::new(index, function)).collect(),
            rooms: manifest.functions.iter().map(|function| vec![0; function.symbols.len()]).collect(),
            reserved: manifest.functions.iter().map(Reserved::new).collect(),
            host_inputs: Vec::with_capacity(ports),
            host_outputs: Vec::with_capacity(ports),
            cancel: Arc::new(AtomicU32::new(0)),
            profiling: false,
            notices: Vec::new(),
        }
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Index of the variant in use.
    pub fn variant(&self) -> u32 {
        self.variant
    }

    /// What runs this, for people.
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// Memory held now.
    pub fn memory(&self) -> MemoryFigures {
        self.backend.memory()
    }

    /// What happened that the user should know of, such as a fallback to the CPU.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Adds or replaces a host kernel.
    pub fn register_extern(&mut self, name: impl Into<String>, kernel: ExternKernel) {
        self.options.externs.register(name, kernel);
        self.prepared = None;
    }

    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(self.cancel.clone())
    }

    /// Turns per-dispatch timings on or off, from the next run. Nothing is measured while they are off.
    pub fn set_profiling(&mut self, on: bool) {
        self.profiling = on;
        self.backend.set_profiling(on);
    }

    /// Timings of the last run.
    pub fn timings(&self) -> &[DispatchTiming] {
        self.backend.timings()
    }

    /// Makes room for a function and its specialisations at these values of its symbols (for instance their largest) and starts the threads,
    /// so that runs up to there allocate nothing. Of symbols that are found while running those count that nothing bounds.
    pub fn prepare(&mut self, function: u32, symbols: &[i64]) -> Result<()> {
        let program = self.program.clone();
        let description = function_of(program.manifest(), function)?;
        for (index, form) in program.manifest().functions.iter().enumerate() {
            let Some(specialization) = form.specializes.as_ref().filter(|s| s.function == function) else { continue };
            if specialization.symbols.iter().zip(symbols).all(|(fixed, value)| fixed.is_none_or(|fixed| fixed <= *value))
                && symbols_by_name(description, symbols, form, &mut self.symbols)
            {
                rooms::keep(form, &self.symbols, &mut self.rooms[index]);
                set_found(form, &self.rooms[index], &mut self.symbols)?;
                self.make_ready(index as u32)?;
            }
        }
        self.symbols.clear();
        self.symbols.extend_from_slice(symbols);
        if symbols.len() == description.symbols.len() {
            let rooms = &mut self.rooms[function as usize];
            rooms::keep(description, symbols, rooms);
            set_found(description, rooms, &mut self.symbols)?;
        }
        check_symbols(description, &self.symbols)?;
        self.make_ready(function)?;
        self.shape_outputs(function, function)?;
        if let Some(pool) = &self.pool {
            pool.start();
        }
        Ok(())
    }

    /// Runs the first function.
    pub fn run(&mut self, inputs: &[TensorView<'_>]) -> Result<Outputs<'_>> {
        self.run_function(0, inputs)
    }

    /// Runs a function, or its specialisation for the dims of the inputs; its outputs stay in the session until its next run.
    pub fn run_function(&mut self, function: u32, inputs: &[TensorView<'_>]) -> Result<Outputs<'_>> {
        let form = self.bind(function, inputs)?;
        self.execute(function, form, &mut |session| {
            session.shape_outputs(function, form)?;
            let tensors = &mut session.owned[function as usize].outputs;
            session.host_outputs.extend(tensors.iter_mut().map(|tensor| {
                let bytes = tensor.bytes_mut();
                HostOutput { data: bytes.as_mut_ptr(), bytes: bytes.len() }
            }));
            Ok(())
        })?;
        self.cut_outputs(function, form)?;
        Ok(self.outputs(function))
    }

    /// Runs a function into the caller's memory: one slice per output, of exactly its bytes (the bytes of its largest dims, where sizes are
    /// found while running; `last_output_dims` then tells how much of it is the output) and aligned for its elements. After an error
    /// their contents are unspecified. Where nothing bounds such sizes, a run that finds larger ones than any before fails for want of memory;
    /// `output_dims` then says how much it takes.
    pub fn run_into(&mut self, function: u32, inputs: &[TensorView<'_>], outputs: &mut [&mut [u8]]) -> Result<()> {
        let form = self.bind(function, inputs)?;
        let program = self.program.clone();
        let ports = &program.manifest().functions[function as usize].outputs;
        if outputs.len() != ports.len() {
            return Err(Error::Bind(format!("expected {} outputs, got memory for {}", ports.len(), outputs.len())));
        }
        self.execute(function, form, &mut |session| {
            for ((port, plan), output) in ports.iter().zip(&session.outputs).zip(&mut *outputs) {
                let aligned = output.is_empty() || output.as_ptr().addr().is_multiple_of(port.element.bytes());
                if output.len() as u64 != plan.host_bytes() || !aligned {
                    let aligned = if aligned { "" } else { " that are not aligned" };
                    return Err(Error::Bind(format!(
                        "output \"{}\": expected {} bytes, got {}{aligned}",
                        port.name,
                        plan.host_bytes(),
                        output.len()
                    )));
                }
                session.host_outputs.push(HostOutput { data: output.as_mut_ptr(), bytes: output.len() });
            }
            Ok(())
        })
    }

    /// Outputs of the last successful `run_function` of this function.
    ///
    /// # Panics
    /// If there is no such function.
    pub fn outputs(&self, function: u32) -> Outputs<'_> {
        Outputs(&self.owned[function as usize].outputs)
    }

    /// Exchanges the memory of an output with the caller's tensor of the same element type. After a run this takes the result out without a
    /// copy; handing back the tensor that was the input before makes two tensors alternate as state, and a failed run leaves both alone:
    /// ```text
    /// session.run(&[state.view(), x])?;       // new state in output 0
    /// session.swap_output(0, 0, &mut state)?; // committed
    /// ```
    /// That serves artifacts that were compiled without states, and every device, but each run makes the whole tensor anew; a state that grows in place copies
    /// nothing that it holds (`read_state`, `set_state`).
    pub fn swap_output(&mut self, function: u32, output: usize, tensor: &mut Tensor) -> Result<()> {
        function_of(self.program.manifest(), function)?;
        let outputs = &mut self.owned[function as usize].outputs;
        let count = outputs.len();
        let Some(own) = outputs.get_mut(output) else {
            return Err(Error::Bind(format!("output {output} does not exist, there are {count}")));
        };
        if own.element() != tensor.element() {
            return Err(Error::Bind(format!("output {output} is {}, the tensor to exchange with it {}", own.element(), tensor.element())));
        }
        std::mem::swap(own, tensor);
        Ok(())
    }

    fn state_of(&self, function: u32, state: u32) -> Result<&State> {
        let states = &function_of(self.program.manifest(), function)?.states;
        states.get(state as usize).ok_or_else(|| Error::Bind(format!("state {state} does not exist, there are {}", states.len())))
    }

    /// Extents of what a state of a function holds (`Function::states` describes it); `None` while it holds nothing and inputs decide.
    pub fn state_dims(&self, function: u32, state: u32) -> Result<Option<&[i64]>> {
        self.state_of(function, state)?;
        Ok(self.states[function as usize].held(state as usize))
    }

    /// Rows that a growing state holds along its axis; `None` for a state that does not grow.
    pub fn state_length(&self, function: u32, state: u32) -> Result<Option<u64>> {
        let growth = self.state_of(function, state)?.growth;
        Ok(growth.map(|growth| self.states[function as usize].length(state as usize, growth.axis as usize)))
    }

    /// A dense copy of what a state holds.
    pub fn read_state(&self, function: u32, state: u32) -> Result<Tensor> {
        let description = self.state_of(function, state)?;
        self.states[function as usize].read(description, state as usize)
    }

    /// Gives a state a value, which is copied. Symbols that it shares with inputs are compared at the next run.
    pub fn set_state(&mut self, function: u32, state: u32, value: &TensorView<'_>) -> Result<()> {
        self.state_of(function, state)?;
        self.prepared = None;
        let manifest = self.program.manifest();
        let (description, index) = (&manifest.functions[function as usize], state as usize);
        let storage = self.state_storage[function as usize][index];
        self.states[function as usize].set(description, index, value, storage, &mut *self.backend)
    }

    /// Makes the states of a function hold nothing: growing ones no rows, others zeros. Their memory stays.
    pub fn reset_states(&mut self, function: u32) -> Result<()> {
        let description = function_of(self.program.manifest(), function)?;
        self.prepared = None;
        self.states[function as usize].reset(description, &*self.backend)
    }

    /// Makes every growing state of a function hold only its first `length` rows, where it holds more: takes tokens back.
    pub fn truncate_states(&mut self, function: u32, length: u64) -> Result<()> {
        let description = function_of(self.program.manifest(), function)?;
        self.states[function as usize].truncate(description, length)
    }

    /// States of a function that hold nothing, beside those of the session: one per sequence that takes turns, by `swap_states`.
    pub fn new_states(&self, function: u32) -> Result<States> {
        Ok(States::new(function, function_of(self.program.manifest(), function)?))
    }

    /// Exchanges the states of their function, which come from `new_states` of a session of this program.
    pub fn swap_states(&mut self, states: &mut States) -> Result<()> {
        let description = function_of(self.program.manifest(), states.function)?;
        if !states.fit(description) {
            return Err(Error::Bind(format!("these states are not those of {}", description.name)));
        }
        self.prepared = None;
        std::mem::swap(&mut self.states[states.function as usize], states);
        Ok(())
    }

    /// Bytes of the states of all functions.
    pub fn state_bytes(&self) -> u64 {
        self.states.iter().map(States::bytes).sum()
    }

    /// Dims that an output has for these inputs, without running; where sizes are found while running, the largest it can have.
    pub fn output_dims(&self, function: u32, inputs: &[TensorView<'_>]) -> Result<Vec<Vec<i64>>> {
        let description = function_of(self.program.manifest(), function)?;
        let mut symbols = Vec::new();
        bind_symbols(description, inputs, &self.states[function as usize], &self.rooms[function as usize], &mut symbols)?;
        description
            .outputs
            .iter()
            .map(|port| {
                let mut dims = Vec::new();
                largest_dims(description, port, &symbols, &mut dims).map(|()| dims)
            })
            .collect()
    }

    /// Checks the inputs, makes everything ready for their dims and notes where they are. Returns the form of the function that serves them: itself
    /// or a specialisation.
    fn bind(&mut self, function: u32, inputs: &[TensorView<'_>]) -> Result<u32> {
        let program = self.program.clone();
        let manifest = program.manifest();
        let description = function_of(manifest, function)?;
        let states = &self.states[function as usize];
        bind_symbols(description, inputs, states, &self.rooms[function as usize], &mut self.symbols)?;
        let serves = |form: &Function| form.specializes.as_ref().is_some_and(|s| s.function == function && s.serves(&self.symbols));
        let form = match manifest.functions.iter().position(serves) {
            Some(form) => {
                bind_symbols(&manifest.functions[form], inputs, states, &self.rooms[form], &mut self.symbols)?;
                form as u32
            }
            None => function,
        };
        states.check_capacity(&manifest.functions[form as usize], &self.symbols, State::in_place)?;
        if states.given() && !states.are_held_by(&*self.backend) {
            let name = &description.name;
            return Err(Error::DeviceLost(format!(
                "the states of {name} are on a device that was lost, or on another one: reset them and start again"
            )));
        }
        self.make_ready(form)?;
        self.host_inputs.clear();
        for (input, staging) in inputs.iter().zip(&mut self.owned[function as usize].staging) {
            let bytes = if input.is_direct() {
                input.data
            } else {
                staging.reshape(input.dims)?;
                input.copy_to(staging.bytes_mut());
                staging.bytes()
            };
            self.host_inputs.push(HostInput { data: bytes.as_ptr(), bytes: bytes.len() });
        }
        Ok(form)
    }

    /// Resolves buffers and sizes device memory for `self.symbols`, unless it was done for these last.
    fn make_ready(&mut self, function: u32) -> Result<()> {
        if self.prepared == Some(function) && self.prepared_symbols == self.symbols {
            return Ok(());
        }
        match self.make_ready_once(function) {
            Err(Error::DeviceLost(why)) => self.fall_back(why).and_then(|()| self.make_ready_once(function)),
            other => other,
        }
    }

    fn make_ready_once(&mut self, function: u32) -> Result<()> {
        (self.prepared, self.ran) = (None, None);
        let program = self.program.clone();
        let manifest = program.manifest();
        let variant = &manifest.variants[self.variant as usize];
        let description = &manifest.functions[function as usize];
        check_first(description, &variant.programs[function as usize], &self.symbols)?;
        variant.externs.iter().try_for_each(|external| self.options.externs.resolve(external).map(drop))?;
        plan_ports(variant, description, function, &self.symbols, &mut self.dims, (&mut self.inputs, &mut self.outputs))?;
        let general = description.specializes.as_ref().map_or(function, |s| s.function);
        self.state_plans.clear();
        let (storage, plans) = (&self.state_storage[general as usize], (&mut self.dims, &mut self.state_plans));
        self.states[general as usize].make_room(description, &self.symbols, storage, &mut *self.backend, plans)?;
        self.reserve(manifest, function);
        let unset = AtomicU32::new(0);
        let cx = measuring(manifest, variant, &self.options.externs, &unset);
        let ports = Ports { inputs: &self.inputs, outputs: &self.outputs, states: &self.state_plans };
        self.machine.enter(&cx, function, &self.symbols, ports)?;
        let mut measure = Measure::new(variant);
        let measured = self.machine.run(&cx, &mut measure);
        // Sizes taken for as large as they can be need not go together; the run itself will tell.
        let guesses = description.symbols.iter().any(|symbol| symbol.upper.is_some());
        if !measure.stopped && !self.machine.exhausted && !guesses {
            measured?;
        }
        self.machine.lacking = None;
        let workspace = measure.workspace;
        let arena_bytes = size(&variant.programs[function as usize].arena, &self.symbols, "the arena")?;
        self.backend.prepare(&Plan {
            function,
            inputs: &self.inputs,
            outputs: &self.outputs,
            arena_bytes: arena_bytes.max(self.reserved[function as usize].arena),
            workspace_bytes: workspace.max(self.reserved[function as usize].workspace),
        })?;
        self.prepared = Some(function);
        self.prepared_symbols.clone_from(&self.symbols);
        Ok(())
    }

    /// Finds what `function` needs when its growing states are full, bounded symbols at their bounds and others as now.
    fn reserve(&mut self, manifest: &Manifest, function: u32) {
        let variant = &manifest.variants[self.variant as usize];
        let (description, program) = (&manifest.functions[function as usize], &variant.programs[function as usize]);
        let full = description.states.iter().filter_map(|state| {
            let growth = state.in_place()?;
            match state.input.dims[growth.axis as usize].0[..] {
                [ExprOp::Symbol(symbol)] => Some((symbol as usize, growth.capacity as i64)),
                _ => None,
            }
        });
        self.dims.clone_from(&self.symbols);
        for (value, symbol) in self.dims.iter_mut().zip(&description.symbols) {
            *value = symbol.max.unwrap_or(*value);
        }
        full.for_each(|(symbol, capacity)| self.dims[symbol] = capacity);
        // Where that has no value, the run of such sizes will tell.
        let _ = set_found(description, &self.rooms[function as usize], &mut self.dims);
        let reserved = &mut self.reserved[function as usize];
        let limited = description.symbols.iter().any(|symbol| symbol.max.is_some())
            || description.states.iter().any(|state| state.in_place().is_some());
        if !limited || self.dims == reserved.symbols {
            return;
        }
        reserved.arena = size(&program.arena, &self.dims, "the arena").unwrap_or(0);
        reserved.symbols.clone_from(&self.dims);
        if self.dims == self.symbols {
            return;
        }
        let symbols = self.dims.clone();
        let unset = AtomicU32::new(0);
        let cx = measuring(manifest, variant, &self.options.externs, &unset);
        let (mut inputs, mut outputs, mut states) = (Vec::new(), Vec::new(), Vec::new());
        let general = description.specializes.as_ref().map_or(function, |s| s.function);
        let storage = &self.state_storage[general as usize];
        let planned = plan_ports(variant, description, function, &symbols, &mut self.dims, (&mut inputs, &mut outputs))
            .and_then(|()| state::plan(description, &symbols, storage, &mut self.dims, &mut states));
        let ports = Ports { inputs: &inputs, outputs: &outputs, states: &states };
        let entered = planned.and_then(|()| self.machine.enter(&cx, function, &symbols, ports));
        let mut measure = Measure::new(variant);
        // Whatever fails here fails or is measured when it is run.
        let _ = entered.and_then(|()| self.machine.run(&cx, &mut measure));
        self.reserved[function as usize].workspace = measure.workspace;
    }

    /// Gives the outputs of `function` the dims that its form `form` makes.
    fn shape_outputs(&mut self, function: u32, form: u32) -> Result<()> {
        let description = &self.program.manifest().functions[form as usize];
        for (port, tensor) in description.outputs.iter().zip(&mut self.owned[function as usize].outputs) {
            let reserved = &self.reserved[form as usize].symbols;
            if !reserved.is_empty() && largest_dims(description, port, reserved, &mut self.dims).is_ok() {
                tensor.reshape(&self.dims)?;
            }
            largest_dims(description, port, &self.symbols, &mut self.dims)?;
            tensor.reshape(&self.dims)?;
        }
        Ok(())
    }

    /// Dims that output `index` has after the last run of this function; sizes that are found while running are exact.
    pub fn last_output_dims(&self, function: u32, index: usize) -> Result<Vec<i64>> {
        let mut description = function_of(self.program.manifest(), function)?;
        let port = description.outputs.get(index);
        port.ok_or_else(|| Error::Bind(format!("output {index} does not exist, there are {}", description.outputs.len())))?;
        let ran = self.ran.map(|ran| &self.program.manifest().functions[ran as usize]);
        let form = ran.filter(|ran| self.ran == Some(function) || ran.specializes.as_ref().is_some_and(|s| s.function == function));
        description = form.ok_or_else(|| Error::Bind(format!("{} has not run", description.name)))?;
        let port = &description.outputs[index];
        let mut dims = Vec::new();
        eval_dims(description, port, self.machine.symbols(), &mut dims)?;
        Ok(dims)
    }

    /// Cuts outputs that were given room for their largest dims to their exact ones.
    fn cut_outputs(&mut self, function: u32, form: u32) -> Result<()> {
        let description = &self.program.manifest().functions[form as usize];
        let found = |dim: &Expr| dim.uses(|symbol| description.symbols[symbol as usize].upper.is_some());
        for (port, tensor) in description.outputs.iter().zip(&mut self.owned[function as usize].outputs) {
            if port.dims.iter().any(found) {
                eval_dims(description, port, self.machine.symbols(), &mut self.dims)?;
                tensor.reshape(&self.dims)?;
            }
        }
        Ok(())
    }

    /// Runs what was bound, by the form `form` of `function`; once more on the CPU if the device is lost, and as often as a size needs more room.
    /// Then the states are committed. `bind_outputs` notes the memory of the outputs, whose sizes follow from the room.
    fn execute(&mut self, function: u32, form: u32, bind_outputs: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let result = loop {
            self.host_outputs.clear();
            if let Err(error) = bind_outputs(self) {
                break Err(error);
            }
            let result = match self.execute_once(function, form) {
                Err(Error::DeviceLost(why)) => {
                    self.fall_back(why).and_then(|()| self.make_ready(form)).and_then(|()| self.execute_once(function, form))
                }
                other => other,
            };
            match self.machine.lacking.take() {
                Some(symbol) => match self.make_room(form, symbol) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                None => break result,
            }
        };
        let description = &self.program.manifest().functions[form as usize];
        let result = result.and_then(|()| self.states[function as usize].commit(description, self.machine.symbols()));
        self.host_inputs.clear();
        self.host_outputs.clear();
        self.cancel.store(0, Ordering::Relaxed);
        result
    }

    /// Goes on with a CPU variant, if options and artifact allow it.
    fn fall_back(&mut self, why: String) -> Result<()> {
        let variant = match choose_variant(&self.program, &DeviceChoice::Cpu) {
            Ok(variant) if self.options.fall_back => variant,
            _ => return Err(Error::DeviceLost(why)),
        };
        if self.states.iter().any(States::given) {
            return Err(Error::DeviceLost(format!("{why}; the states that it held are lost as well: reset them and start again")));
        }
        self.notices.push(format!("{} was lost ({why}); running on the CPU from now on", self.backend.describe()));
        let (backend, pool) = cpu_backend(&self.program, variant, &self.options)?;
        (self.backend, self.pool) = (backend, Some(pool));
        for (states, function) in self.states.iter_mut().zip(&self.program.manifest().functions) {
            states.reset(function, &*self.backend)?;
        }
        self.backend.set_profiling(self.profiling);
        self.machine = Machine::new(&self.program.manifest().variants[variant as usize]);
        self.variant = variant;
        self.state_storage = state::storages(self.program.manifest(), &self.program.manifest().variants[variant as usize]);
        self.prepared = None;
        Ok(())
    }

    fn execute_once(&mut self, function: u32, form: u32) -> Result<()> {
        debug_assert_eq!(self.prepared, Some(form));
        let manifest = self.program.manifest();
        let cx = Cx {
            manifest,
            variant: &manifest.variants[self.variant as usize],
            externs: &self.options.externs,
            cancel: &self.cancel,
            max_iterations: self.options.max_iterations,
            assume_largest: false,
        };
        // SAFETY: `bind` and the callers noted memory that is borrowed until `execute` returns; sizes were compared with the plan.
        let states = self.states[function as usize].memory();
        let begun = unsafe { self.backend.begin(&self.host_inputs, &self.host_outputs, states, &self.cancel) };
        let result = begun.and_then(|()| self.machine.run(&cx, &mut *self.backend)).and_then(|()| self.backend.finish());
        if result.is_err() {
            self.backend.abort();
        }
        self.ran = result.is_ok().then_some(form);
        result
    }
}

/// A run that only finds out what another one needs.
fn measuring<'a>(manifest: &'a Manifest, variant: &'a Variant, externs: &'a ExternKernels, cancel: &'a AtomicU32) -> Cx<'a> {
    Cx { manifest, variant, externs, cancel, max_iterations: MEASURED_ITERATIONS, assume_largest: true }
}

fn cpu_backend(program: &Program, variant: u32, options: &SessionOptions) -> Result<(Box<dyn Backend>, Arc<Pool>)> {
    let pool = match (options.threads, &options.pool) {
        (Some(threads), _) => Pool::new(threads),
        (None, Some(pool)) => pool.clone(),
        (None, None) => Pool::global(),
    };
    Ok((Box::new(CpuBackend::new(program, variant, pool.clone())?), pool))
}

fn function_of(manifest: &Manifest, function: u32) -> Result<&Function> {
    let count = manifest.functions.len();
    manifest.functions.get(function as usize).ok_or_else(|| Error::Bind(format!("function {function} does not exist, there are {count}")))
}

/// Values of the symbols of `form` where those of `general` are known; `false` if it has one that `general` has not.
fn symbols_by_name(general: &Function, values: &[i64], form: &Function, symbols: &mut Vec<i64>) -> bool {
    symbols.clear();
    let value_of = |name: &str| general.symbols.iter().zip(values).find(|(symbol, _)| symbol.name == name).map(|(_, value)| *value);
    symbols.extend(form.symbols.iter().filter_map(|symbol| value_of(&symbol.name)));
    symbols.len() == form.symbols.len()
}

/// What inputs and outputs look like for these symbols, at their largest.
fn plan_ports(
    variant: &Variant,
    description: &Function,
    function: u32,
    symbols: &[i64],
    dims: &mut Vec<i64>,
    (inputs, outputs): (&mut Vec<PortPlan>, &mut Vec<PortPlan>),
) -> Result<()> {
    inputs.clear();
    outputs.clear();
    for (port, is_input) in description.inputs.iter().map(|p| (p, true)).chain(description.outputs.iter().map(|p| (p, false))) {
        largest_dims(description, port, symbols, dims)?;
        let ports = if is_input { &mut *inputs } else { &mut *outputs };
        let storage = stored_as(variant, function, is_input, ports.len() as u32).unwrap_or(port.element);
        ports.push(PortPlan { element: port.element, storage, elements: port_elements(dims)? });
    }
    Ok(())
}

/// How a variant stores a port; `None` if it does not use it.
fn stored_as(variant: &Variant, function: u32, is_input: bool, port: u32) -> Option<ElementType> {
    let wanted = if is_input { Place::Input(port) } else { Place::Output(port) };
    variant.programs[function as usize].buffers.iter().find(|buffer| buffer.place == wanted).map(|buffer| buffer.storage)
}

/// Memory that a function of a variant needs, before any session exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirements {
    pub arena_bytes: u64,
    /// Constants that the variant uses, each counted once.
    pub weights_bytes: u64,
}

impl Program {
    /// Arena and weights of a function of a variant for these values of its symbols.
    pub fn requirements(&self, variant: u32, function: u32, symbols: &[i64]) -> Result<Requirements> {
        let manifest = self.manifest();
        check_symbols(function_of(manifest, function)?, symbols)?;
        let count = manifest.variants.len();
        let variant = manifest.variants.get(variant as usize);
        let variant = variant.ok_or_else(|| Error::Bind(format!("the variant does not exist, there are {count}")))?;
        let arena_bytes = size(&variant.programs[function as usize].arena, symbols, "the arena")?;
        Ok(Requirements { arena_bytes, weights_bytes: weights_bytes(manifest, variant) })
    }
}

impl Program {
    /// Bytes that a run of a function with these values of its symbols only moves: by copies and by kernels that compute nothing (gather, concatenate,
    /// transpose, append). What follows a value that is read while running is not counted.
    pub fn copied_bytes(&self, variant: u32, function: u32, symbols: &[i64]) -> Result<u64> {
        let manifest = self.manifest();
        let description = function_of(manifest, function)?;
        check_symbols(description, symbols)?;
        let count = manifest.variants.len();
        let variant = manifest.variants.get(variant as usize);
        let variant = variant.ok_or_else(|| Error::Bind(format!("the variant does not exist, there are {count}")))?;
        let (mut inputs, mut outputs, mut states, mut dims) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        plan_ports(variant, description, function, symbols, &mut dims, (&mut inputs, &mut outputs))?;
        let general = description.specializes.as_ref().map_or(function, |s| s.function);
        let storage = &state::storages(manifest, variant)[general as usize];
        state::plan(description, symbols, storage, &mut dims, &mut states)?;
        let (unset, externs) = (AtomicU32::new(0), ExternKernels::default());
        let cx = measuring(manifest, variant, &externs, &unset);
        let (mut machine, mut measure) = (Machine::new(variant), Measure::new(variant));
        machine.enter(&cx, function, symbols, Ports { inputs: &inputs, outputs: &outputs, states: &states })?;
        match machine.run(&cx, &mut measure) {
            Err(error) if !measure.stopped && !machine.exhausted => Err(error),
            _ => Ok(measure.copied),
        }
    }
}

fn weights_bytes(manifest: &Manifest, variant: &Variant) -> u64 {
    let used = variant.programs.iter().flat_map(|p| &p.buffers).filter_map(|buffer| match buffer.place {
        Place::Constant(index) => Some(&manifest.constants[index as usize]),
        _ => None,
    });
    let mut ranges: Vec<_> = used.map(|constant| (constant.offset, constant.bytes)).collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges.iter().map(|(_, bytes)| bytes).sum()
}
