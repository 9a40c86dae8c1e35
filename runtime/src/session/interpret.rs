//! Launch program + bound symbols -> resolved commands for a backend. Runs host arithmetic, control flow and calls itself; assumes a
//! verified manifest; checks everything that depends on run-time values. Allocates nothing once its stacks have been sized.

use super::{
    arithmetic::{compare_float, compare_int, eval_bool, eval_float, eval_int},
    bind::UNBOUND,
    externs::{ExternCall, ExternKernels},
};
use crate::{
    artifact::{
        expr::{Expr, ExprError},
        manifest::{Device, ElementType, Extern, Function, Kernel, Manifest, Variant},
        program::{Buffer, BufferId, Instruction, Place, Predicate, Program, Register},
        verify::callees,
    },
    backend::{Backend, CopyCommand, DispatchCommand, Location, PortPlan, Region},
    error::{Error, Result},
    tensor::{element_count, is_float, read_f64, read_i64},
};
use std::sync::atomic::{AtomicU32, Ordering};

/// What a run refers to and is limited by.
pub struct Cx<'a> {
    pub manifest: &'a Manifest,
    pub variant: &'a Variant,
    pub externs: &'a ExternKernels,
    pub cancel: &'a AtomicU32,
    /// Most backward jumps.
    pub max_iterations: u64,
    /// Sizes that are found while running are taken to be as large as they can be, instead of being read.
    pub assume_largest: bool,
}

/// Registers, resolved buffers and calls in progress.
#[derive(Debug, Default)]
pub struct Machine {
    registers: Vec<u64>,
    symbols: Vec<i64>,
    regions: Vec<Region>,
    frames: Vec<Frame>,
    /// Bytes of the running function's inputs, from `outputs_from` of its outputs, and from `states_from` of its states.
    capacities: Vec<u64>,
    outputs_from: usize,
    states_from: usize,
    /// The last run stopped at the limit of iterations.
    pub exhausted: bool,
    /// The last run stopped for want of room: for the first symbol whose value was too large.
    pub lacking: Option<u32>,
    /// The symbols that the running function was entered with.
    planned: Vec<i64>,
    /// Largest values that the last run found, one per symbol; 0 where it found none.
    found: Vec<i64>,
    /// Arguments of the current command.
    buffers: Vec<Region>,
    storage: Vec<ElementType>,
    dims: Vec<i64>,
    scalars: Vec<u64>,
    /// One per dispatch: runs of the same sizes evaluate no expressions.
    extents: Vec<Extents>,
}

/// What a dispatch takes for the dims that it had last.
#[derive(Debug)]
struct Extents {
    dims: Vec<i64>,
    /// Number of tiles and bytes of workspace; `None` before the first time.
    found: Option<(u32, u64)>,
}

impl Extents {
    fn new(kernel: &Kernel) -> Self {
        Self { dims: Vec::with_capacity(kernel.dims as usize), found: None }
    }

    /// Dims are few: a call of memcmp takes longer.
    fn is_for(&self, dims: &[i64]) -> bool {
        self.dims.len() == dims.len() && self.dims.iter().zip(dims).all(|(known, dim)| known == dim)
    }
}

/// A function in progress.
#[derive(Clone, Copy, Debug)]
struct Frame {
    function: usize,
    pc: usize,
    /// Where its registers, symbols and regions start.
    registers: usize,
    symbols: usize,
    regions: usize,
    /// Its part of the arena.
    arena: u64,
    arena_bytes: u64,
}

/// What the running function's ports look like, for its first frame.
#[derive(Clone, Copy)]
pub struct Ports<'a> {
    pub inputs: &'a [PortPlan],
    pub outputs: &'a [PortPlan],
    /// Current values of all states, then their next ones.
    pub states: &'a [PortPlan],
}

/// Bytes of a buffer that does not fit in its place.
const UNFIT: u64 = u64::MAX;

fn run_error<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Run(what.into()))
}

impl Machine {
    /// Sizes the stacks for the deepest chain of calls from any function of the variant.
    pub fn new(variant: &Variant) -> Self {
        let mut needs = vec![None; variant.programs.len()];
        (0..variant.programs.len()).for_each(|function| need(variant, function, &mut needs));
        let most = |part: fn(&Need) -> usize| needs.iter().flatten().map(part).max().unwrap_or(0);
        let arity = variant.programs.iter().flat_map(|p| &p.code).map(|instruction| match instruction {
            Instruction::Dispatch { buffers, dims, scalars, .. } | Instruction::CallExtern { buffers, dims, scalars, .. } => {
                buffers.len().max(dims.len()).max(scalars.len())
            }
            Instruction::Call { symbols, .. } => symbols.len(),
            _ => 0,
        });
        let arity = arity.max().unwrap_or(0);
        Self {
            registers: Vec::with_capacity(most(|n| n.registers)),
            symbols: Vec::with_capacity(most(|n| n.registers)),
            regions: Vec::with_capacity(most(|n| n.regions)),
            frames: Vec::with_capacity(most(|n| n.frames)),
            capacities: Vec::new(),
            outputs_from: 0,
            states_from: 0,
            buffers: Vec::with_capacity(arity),
            storage: Vec::with_capacity(arity),
            dims: Vec::with_capacity(arity),
            scalars: Vec::with_capacity(arity),
            extents: variant.dispatches.iter().map(|dispatch| Extents::new(&variant.kernels[dispatch.kernel as usize])).collect(),
            exhausted: false,
            lacking: None,
            planned: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Resolves the buffers of `function` for these symbols. They stay resolved for any number of runs.
    pub fn enter(&mut self, cx: &Cx<'_>, function: u32, symbols: &[i64], ports: Ports<'_>) -> Result<()> {
        let (description, program) = (&cx.manifest.functions[function as usize], &cx.variant.programs[function as usize]);
        self.regions.clear();
        self.frames.clear();
        self.capacities.clear();
        self.capacities.extend(ports.inputs.iter().map(PortPlan::stored_bytes));
        self.outputs_from = self.capacities.len();
        self.capacities.extend(ports.outputs.iter().map(PortPlan::stored_bytes));
        self.states_from = self.capacities.len();
        self.capacities.extend(ports.states.iter().map(PortPlan::stored_bytes));
        let arena_bytes = size(&program.arena, symbols, "the arena")?;
        for (index, buffer) in program.buffers.iter().enumerate() {
            // Buffers whose size is found while running have none until then.
            let found = depends_on(buffer, |symbol| description.symbols[symbol as usize].upper.is_some());
            let bytes = if found { Ok(0) } else { buffer_bytes(buffer, symbols) };
            let bytes = bytes.map_err(|e| locate(cx, function as usize, index, e))?;
            let states = description.states.len() as u32;
            let (port, location) = match &buffer.place {
                Place::Input(port) => (Some(&ports.inputs[*port as usize]), Location::Input(*port)),
                Place::Output(port) => (Some(&ports.outputs[*port as usize]), Location::Output(*port)),
                Place::State { state, .. } => (None, Location::State(*state)),
                Place::NextState(state) => {
                    let port = states + state;
                    (Some(&ports.states[port as usize]), Location::State(port))
                }
                Place::Constant(constant) => (None, Location::Constant(*constant)),
                Place::Arena(_) => (None, Location::Arena),
            };
            if let Some(port) = port.filter(|port| !found && port.stored_bytes() != bytes) {
                let why = format!("it has {bytes} bytes, its port {}", port.stored_bytes());
                return Err(locate(cx, function as usize, index, Error::Run(why)));
            }
            let offset = match &buffer.place {
                Place::State { state, offset } => {
                    let room = ports.states[*state as usize].stored_bytes();
                    state_offset(offset, symbols, bytes, room)
                }
                _ => arena_offset(cx, buffer, symbols, bytes, 0, arena_bytes),
            };
            let offset = offset.map_err(|e| locate(cx, function as usize, index, e))?;
            self.regions.push(Region { location, offset, bytes });
        }
        self.symbols.clear();
        self.symbols.extend_from_slice(symbols);
        self.planned.clear();
        self.planned.extend_from_slice(symbols);
        self.frames.push(Frame { function: function as usize, pc: 0, registers: 0, symbols: 0, regions: 0, arena: 0, arena_bytes });
        Ok(())
    }

    /// Runs the entered function from its start.
    pub fn run(&mut self, cx: &Cx<'_>, backend: &mut dyn Backend) -> Result<()> {
        let Some(root) = self.frames.first().copied() else { return run_error("no function was entered") };
        let program = &cx.variant.programs[root.function];
        self.frames.clear();
        self.frames.push(Frame { pc: 0, ..root });
        self.regions.truncate(program.buffers.len());
        let symbols = &cx.manifest.functions[root.function].symbols;
        self.symbols.truncate(symbols.len());
        for (value, _) in self.symbols.iter_mut().zip(symbols).filter(|(_, symbol)| symbol.upper.is_some()) {
            *value = UNBOUND;
        }
        self.registers.clear();
        self.push_registers(program, 0);
        (self.exhausted, self.lacking) = (false, None);
        self.found.clear();
        self.found.resize(symbols.len(), 0);
        let mut iterations = cx.max_iterations;
        // The current frame; the stack has the instruction that a caller goes on with.
        let mut frame = Frame { pc: 0, ..root };
        loop {
            match self.step(cx, frame, &mut iterations, backend)? {
                Step::To(pc) => {
                    frame.pc = pc;
                    continue;
                }
                Step::Enter => {}
                Step::Leave => {
                    if self.frames.len() == 1 {
                        return Ok(());
                    }
                    self.frames.pop();
                    self.registers.truncate(frame.registers);
                    self.symbols.truncate(frame.symbols);
                    self.regions.truncate(frame.regions);
                }
            }
            frame = *self.frames.last().expect("only Return pops frames, and it ends the run with the last one");
        }
    }

    /// Values of the symbols of the function that ran last.
    pub fn symbols(&self) -> &[i64] {
        &self.symbols
    }

    /// Largest values of each symbol that the last run found, also where it stopped early; 0 where it found none.
    pub fn found(&self) -> &[i64] {
        &self.found
    }

    /// Pushes the registers of a frame; the first ones hold its symbols, which start at `symbols`.
    fn push_registers(&mut self, program: &Program, symbols: usize) {
        let base = self.registers.len();
        self.registers.extend(self.symbols[symbols..].iter().map(|s| *s as u64));
        self.registers.resize(base + program.registers as usize, 0);
    }

    fn step(&mut self, cx: &Cx<'_>, frame: Frame, iterations: &mut u64, backend: &mut dyn Backend) -> Result<Step> {
        use Instruction as I;
        let program = &cx.variant.programs[frame.function];
        let registers = &mut self.registers[frame.registers..];
        let int = |registers: &[u64], r: Register| registers[r as usize] as i64;
        let float = |registers: &[u64], r: Register| f64::from_bits(registers[r as usize]);
        let truth = |registers: &[u64], r: Register| registers[r as usize] != 0;
        let mut to = frame.pc + 1;
        let instruction = &program.code[frame.pc];
        if self.lacking.is_some() && !is_host_arithmetic(instruction) {
            return run_error(format!("a size found at {} needs more room", place(cx, frame)));
        }
        match instruction {
            I::ConstInt { dst, value } => registers[*dst as usize] = *value as u64,
            I::ConstFloat { dst, value } => registers[*dst as usize] = value.to_bits(),
            I::ConstBool { dst, value } => registers[*dst as usize] = u64::from(*value),
            I::Move { dst, src } => registers[*dst as usize] = registers[*src as usize],
            I::Int { op, dst, lhs, rhs } => {
                let value = eval_int(*op, int(registers, *lhs), int(registers, *rhs));
                let Some(value) = value else { return run_error(format!("integer division by zero at {}", place(cx, frame))) };
                registers[*dst as usize] = value as u64;
            }
            I::Float { op, dst, lhs, rhs } => {
                registers[*dst as usize] = eval_float(*op, float(registers, *lhs), float(registers, *rhs)).to_bits();
            }
            I::Bool { op, dst, lhs, rhs } => {
                registers[*dst as usize] = u64::from(eval_bool(*op, truth(registers, *lhs), truth(registers, *rhs)));
            }
            I::Not { dst, src } => registers[*dst as usize] = u64::from(!truth(registers, *src)),
            I::CompareInt { predicate, dst, lhs, rhs } => {
                registers[*dst as usize] = u64::from(compare_int(*predicate, int(registers, *lhs), int(registers, *rhs)));
            }
            I::CompareFloat { predicate, dst, lhs, rhs } => {
                registers[*dst as usize] = u64::from(compare_float(*predicate, float(registers, *lhs), float(registers, *rhs)));
            }
            I::Select { dst, condition, on_true, on_false } => {
                let from = if truth(registers, *condition) { on_true } else { on_false };
                registers[*dst as usize] = registers[*from as usize];
            }
            I::IntToFloat { dst, src } => registers[*dst as usize] = (int(registers, *src) as f64).to_bits(),
            I::FloatToInt { dst, src } => registers[*dst as usize] = float(registers, *src) as i64 as u64,
            I::Load { dst, .. }
                if cx.assume_largest && matches!(program.code.get(to), Some(I::SetSymbol { value, .. }) if value == dst) =>
            {
                if let Some(I::SetSymbol { symbol, upper, .. }) = program.code.get(to) {
                    let open = cx.manifest.functions[frame.function].is_open(*symbol);
                    let largest = if open { Ok(self.planned[*symbol as usize]) } else { upper.eval(&self.symbols[frame.symbols..]) };
                    registers[*dst as usize] = largest.map_err(|e| Error::Run(format!("{e} at {}", place(cx, frame))))? as u64;
                }
            }
            I::Load { dst, buffer, index } => {
                let index = int(registers, *index);
                let value = self.load(cx, frame, *buffer, index, backend)?;
                self.registers[frame.registers + *dst as usize] = value;
            }
            I::Store { src, buffer, index } => {
                let (value, index) = (registers[*src as usize], int(registers, *index));
                self.store(cx, frame, *buffer, index, value, backend)?;
            }
            I::Dispatch { dispatch, buffers, dims, scalars } => self.dispatch(cx, frame, *dispatch, [buffers, dims, scalars], backend)?,
            I::Copy { src, src_offset, dst, dst_offset, bytes } => {
                let value = |r: &Option<Register>| r.map(|r| int(registers, r));
                let (src_offset, dst_offset, bytes) = (value(src_offset).unwrap_or(0), value(dst_offset).unwrap_or(0), value(bytes));
                let (src, dst) = (self.region(cx, frame, *src)?, self.region(cx, frame, *dst)?);
                copy(cx, frame, (src, src_offset), (dst, dst_offset), bytes, backend)?;
            }
            I::Barrier => backend.barrier()?,
            I::Jump { target } => to = *target as usize,
            I::Branch { condition, on_true, on_false } => to = if truth(registers, *condition) { *on_true } else { *on_false } as usize,
            I::Loop { counter, trip, exit } => {
                registers[*counter as usize] = 0;
                if int(registers, *trip) <= 0 {
                    to = *exit as usize;
                }
            }
            I::EndLoop { start } => {
                if let I::Loop { counter, trip, .. } = &program.code[*start as usize] {
                    let next = int(registers, *counter).wrapping_add(1);
                    registers[*counter as usize] = next as u64;
                    if next < int(registers, *trip) {
                        to = *start as usize + 1;
                    }
                }
            }
            I::Call { function, symbols, inputs, outputs, arena } => {
                self.call(cx, frame, *function as usize, symbols, (inputs, outputs), arena)?;
                return Ok(Step::Enter);
            }
            I::SetSymbol { symbol, value, lower, upper, what } => {
                let value = int(registers, *value);
                let symbols = &self.symbols[frame.symbols..];
                let limit = |expr: &Expr| expr.eval(symbols).map_err(|e| Error::Run(format!("the range of {what}: {e}")));
                let open = cx.manifest.functions[frame.function].is_open(*symbol);
                let (lower, upper) = (limit(lower)?.max(0), if open { i64::MAX } else { limit(upper)? });
                if !(lower..=upper).contains(&value) {
                    return run_error(format!("{what} is {value}; it must be {}", range_text(lower, upper)));
                }
                // Functions that are called find no sizes, so this one was entered.
                let found = &mut self.found[*symbol as usize];
                *found = value.max(*found);
                if open && value > self.planned[*symbol as usize] {
                    self.lacking.get_or_insert(*symbol);
                }
                registers[*symbol as usize] = value as u64;
                self.set_symbol(cx, frame, *symbol, value)?;
            }
            I::CallExtern { external, buffers, dims, scalars } => {
                self.call_extern(cx, frame, &cx.variant.externs[*external as usize], [buffers, dims, scalars], backend)?
            }
            I::Fail { message } => return run_error(message.clone()),
            // Sizes that are found while running need not be related when they are at their largest.
            I::Check { .. } if cx.assume_largest => {}
            I::Check { predicate, lhs, rhs, message } => {
                let function = &cx.manifest.functions[frame.function];
                check(function, &self.symbols[frame.symbols..], *predicate, lhs, rhs, message)?;
            }
            I::Return => return Ok(Step::Leave),
        }
        if to <= frame.pc {
            self.count_iteration(cx, frame, to, iterations)?;
        }
        Ok(Step::To(to))
    }

    /// Counts a jump back to instruction `start`.
    fn count_iteration(&mut self, cx: &Cx<'_>, frame: Frame, start: usize, left: &mut u64) -> Result<()> {
        check_cancel(cx)?;
        if *left == 0 {
            self.exhausted = true;
            let nodes = cx.variant.programs[frame.function].code[start..=frame.pc].iter().find_map(|instruction| match instruction {
                Instruction::Dispatch { dispatch, .. } => Some(cx.variant.dispatches[*dispatch as usize].nodes.join(", ")),
                _ => None,
            });
            let nodes = nodes.filter(|nodes| !nodes.is_empty()).map_or_else(String::new, |nodes| format!(", in the loop around {nodes}"));
            return run_error(format!(
                "more than {} loop iterations at {}{nodes}; check the values that end the loop, or raise the limit (--max-iterations)",
                cx.max_iterations,
                place(cx, frame)
            ));
        }
        *left -= 1;
        Ok(())
    }

    /// Gives a symbol of a frame its value, and the buffers that depend on it their sizes.
    fn set_symbol(&mut self, cx: &Cx<'_>, frame: Frame, symbol: u32, value: i64) -> Result<()> {
        self.symbols[frame.symbols + symbol as usize] = value;
        let symbols = &self.symbols[frame.symbols..];
        for (index, buffer) in cx.variant.programs[frame.function].buffers.iter().enumerate() {
            if !depends_on(buffer, |s| s == symbol) || depends_on(buffer, |s| symbols[s as usize] == UNBOUND) {
                continue;
            }
            let at = |e| locate(cx, frame.function, index, e);
            let bytes = buffer_bytes(buffer, symbols).map_err(at)?;
            let region = &mut self.regions[frame.regions + index];
            let room = match region.location {
                Location::Input(port) => self.capacities[port as usize],
                Location::Output(port) => self.capacities[self.outputs_from + port as usize],
                Location::State(port) => self.capacities[self.states_from + port as usize].saturating_sub(region.offset),
                Location::Constant(constant) => cx.manifest.constants[constant as usize].bytes,
                Location::Arena => (frame.arena + frame.arena_bytes).saturating_sub(region.offset),
            };
            // One that shows another whose size is still to be found: a check stands between that and its use.
            region.bytes = if bytes <= room { bytes } else { UNFIT };
        }
        Ok(())
    }

    /// Where a buffer of a frame is.
    fn region(&self, cx: &Cx<'_>, frame: Frame, buffer: BufferId) -> Result<Region> {
        let region = self.regions[frame.regions + buffer as usize];
        if region.bytes == UNFIT {
            return Err(locate(cx, frame.function, buffer as usize, Error::Run("it does not fit in what was planned for it".into())));
        }
        Ok(region)
    }

    /// Collects the arguments of a dispatch or external call.
    fn gather(&mut self, cx: &Cx<'_>, frame: Frame, [buffers, dims, scalars]: [&[u32]; 3]) -> Result<()> {
        self.buffers.clear();
        for buffer in buffers {
            let region = self.region(cx, frame, *buffer)?;
            self.buffers.push(region);
        }
        let registers = &self.registers[frame.registers..];
        self.dims.clear();
        self.dims.extend(dims.iter().map(|r| registers[*r as usize] as i64));
        self.scalars.clear();
        self.scalars.extend(scalars.iter().map(|r| registers[*r as usize]));
        Ok(())
    }

    fn dispatch(&mut self, cx: &Cx<'_>, frame: Frame, dispatch: u32, arguments: [&[u32]; 3], backend: &mut dyn Backend) -> Result<()> {
        self.gather(cx, frame, arguments)?;
        let index = cx.variant.dispatches[dispatch as usize].kernel;
        let kernel = &cx.variant.kernels[index as usize];
        let known = &mut self.extents[dispatch as usize];
        let (grid, workspace) = match known.found {
            Some(found) if known.is_for(&self.dims) => found,
            _ => {
                let found = extents(kernel, &self.dims, || format!("kernel {} at {}", kernel.name, place(cx, frame)))?;
                known.dims.clone_from(&self.dims);
                *known.found.insert(found)
            }
        };
        if grid == 0 {
            return Ok(());
        }
        let (buffers, dims, scalars) = (&self.buffers[..], &self.dims[..], &self.scalars[..]);
        backend.dispatch(&DispatchCommand { dispatch, kernel: index, buffers, dims, scalars, grid, workspace })
    }

    /// One element of a buffer, with its type. `what` is done to it.
    fn element(&self, cx: &Cx<'_>, frame: Frame, buffer: BufferId, index: i64, what: &str) -> Result<(ElementType, Region)> {
        let storage = cx.variant.programs[frame.function].buffers[buffer as usize].storage;
        let region = self.region(cx, frame, buffer)?;
        let size = storage.bytes() as u64;
        let count = region.bytes / size;
        let Some(index) = u64::try_from(index).ok().filter(|index| *index < count) else {
            return run_error(format!("element {index} of a buffer of {count} is {what} at {}", place(cx, frame)));
        };
        Ok((storage, Region { offset: region.offset + index * size, bytes: size, ..region }))
    }

    fn load(&mut self, cx: &Cx<'_>, frame: Frame, buffer: BufferId, index: i64, backend: &mut dyn Backend) -> Result<u64> {
        check_cancel(cx)?;
        let (storage, region) = self.element(cx, frame, buffer, index, "loaded")?;
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..storage.bytes()];
        backend.read(region, bytes)?;
        Ok(if is_float(storage) { read_f64(storage, bytes).to_bits() } else { read_i64(storage, bytes) as u64 })
    }

    fn store(&mut self, cx: &Cx<'_>, frame: Frame, buffer: BufferId, index: i64, value: u64, backend: &mut dyn Backend) -> Result<()> {
        let (storage, region) = self.element(cx, frame, buffer, index, "stored")?;
        let value = if storage == ElementType::F32 { u64::from((f64::from_bits(value) as f32).to_bits()) } else { value };
        backend.write(region, &value.to_le_bytes()[..storage.bytes()])
    }

    fn call_extern(
        &mut self,
        cx: &Cx<'_>,
        frame: Frame,
        external: &Extern,
        arguments: [&[u32]; 3],
        backend: &mut dyn Backend,
    ) -> Result<()> {
        let kernel = cx.externs.resolve(external)?;
        self.gather(cx, frame, arguments)?;
        let all = &cx.variant.programs[frame.function].buffers;
        self.storage.clear();
        self.storage.extend(arguments[0].iter().map(|b| all[*b as usize].storage));
        let (storage, dims, scalars) = (&self.storage[..], &self.dims[..], &self.scalars[..]);
        backend.call_host(&self.buffers, &mut |buffers| {
            kernel(&mut ExternCall { buffers, storage, inputs: external.inputs.len(), dims, scalars })
                .map_err(|why| Error::Run(format!("external kernel \"{}\" failed at {}: {why}", external.name, place(cx, frame))))
        })
    }

    fn call(&mut self, cx: &Cx<'_>, frame: Frame, callee: usize, symbols: &[u32], ports: (&[u32], &[u32]), arena: &Expr) -> Result<()> {
        let (function, program) = (&cx.manifest.functions[callee], &cx.variant.programs[callee]);
        self.gather(cx, frame, [&[], symbols, &[]])?;
        let at = |e: Error| Error::Run(format!("call of {} at {}: {e}", function.name, place(cx, frame)));
        super::bind::check_symbols(function, &self.dims).map_err(at)?;
        let offset = size(arena, &self.symbols[frame.symbols..], "the arena of the call").map_err(at)?;
        let arena_bytes = size(&program.arena, &self.dims, "the arena").map_err(at)?;
        if offset.checked_add(arena_bytes).is_none_or(|end| end > frame.arena_bytes) {
            return Err(at(Error::Run(format!("its {arena_bytes} arena bytes at {offset} leave the caller's {}", frame.arena_bytes))));
        }
        let base = self.regions.len();
        let start = frame.arena + offset;
        for (index, buffer) in program.buffers.iter().enumerate() {
            let bytes = buffer_bytes(buffer, &self.dims).map_err(|e| at(locate(cx, callee, index, e)))?;
            let region = match buffer.place {
                Place::Input(port) => self.regions[frame.regions + ports.0[port as usize] as usize],
                Place::Output(port) => self.regions[frame.regions + ports.1[port as usize] as usize],
                Place::State { .. } | Place::NextState(_) => unreachable!("verified: functions with states are not called"),
                Place::Constant(constant) => Region { location: Location::Constant(constant), offset: 0, bytes },
                Place::Arena(_) => {
                    let offset =
                        arena_offset(cx, buffer, &self.dims, bytes, start, arena_bytes).map_err(|e| at(locate(cx, callee, index, e)))?;
                    Region { location: Location::Arena, offset, bytes }
                }
            };
            if region.bytes != bytes {
                let why = format!("it has {bytes} bytes, the buffer passed for it {}", region.bytes);
                return Err(at(locate(cx, callee, index, Error::Run(why))));
            }
            self.regions.push(region);
        }
        self.frames.last_mut().expect("the caller's frame").pc = frame.pc + 1;
        let (registers, symbols) = (self.registers.len(), self.symbols.len());
        self.symbols.extend_from_slice(&self.dims);
        self.push_registers(program, symbols);
        self.frames.push(Frame { function: callee, pc: 0, registers, symbols, regions: base, arena: start, arena_bytes });
        Ok(())
    }
}

/// Number of tiles and bytes of workspace of a kernel, which `at` describes.
fn extents(kernel: &Kernel, dims: &[i64], at: impl Fn() -> String) -> Result<(u32, u64)> {
    let grid = kernel.grid.eval(dims).map_err(|e| Error::Run(format!("the grid of {}: {e}", at())))?;
    let Ok(grid) = u32::try_from(grid) else { return run_error(format!("{} has an impossible grid of {grid}", at())) };
    // An empty grid is not dispatched.
    let workspace = if grid == 0 { 0 } else { size(&kernel.workspace, dims, "the workspace")? };
    Ok((grid, workspace))
}

/// What a run without enough room still does: it may find further sizes, and executes nothing.
fn is_host_arithmetic(instruction: &Instruction) -> bool {
    use Instruction as I;
    matches!(
        instruction,
        I::ConstInt { .. }
            | I::ConstFloat { .. }
            | I::ConstBool { .. }
            | I::Move { .. }
            | I::Int { .. }
            | I::Float { .. }
            | I::Bool { .. }
            | I::Not { .. }
            | I::CompareInt { .. }
            | I::CompareFloat { .. }
            | I::Select { .. }
            | I::IntToFloat { .. }
            | I::FloatToInt { .. }
            | I::Load { .. }
            | I::Store { .. }
            | I::SetSymbol { .. }
    )
}

enum Step {
    To(usize),
    Enter,
    Leave,
}

#[derive(Clone, Copy)]
struct Need {
    registers: usize,
    regions: usize,
    frames: usize,
}

/// Stack that a function and the deepest chain of its callees need. Calls form no circles (verified).
fn need(variant: &Variant, function: usize, needs: &mut Vec<Option<Need>>) {
    if needs[function].is_some() {
        return;
    }
    let program = &variant.programs[function];
    let mut most = Need { registers: 0, regions: 0, frames: 0 };
    for callee in callees(program) {
        need(variant, callee, needs);
        if let Some(callee) = needs[callee] {
            most.registers = most.registers.max(callee.registers);
            most.regions = most.regions.max(callee.regions);
            most.frames = most.frames.max(callee.frames);
        }
    }
    needs[function] = Some(Need {
        registers: most.registers + program.registers as usize,
        regions: most.regions + program.buffers.len(),
        frames: most.frames + 1,
    });
}

fn copy(
    cx: &Cx<'_>,
    frame: Frame,
    (src, src_offset): (Region, i64),
    (dst, dst_offset): (Region, i64),
    bytes: Option<i64>,
    backend: &mut dyn Backend,
) -> Result<()> {
    let part = |region: Region, offset: i64, bytes: Option<i64>| {
        let offset = u64::try_from(offset).ok()?;
        let bytes = match bytes {
            Some(bytes) => u64::try_from(bytes).ok()?,
            None => region.bytes.checked_sub(offset)?,
        };
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= region.bytes);
        inside.then_some(Region { offset: region.offset + offset, bytes, ..region })
    };
    let source = part(src, src_offset, bytes);
    let target = source.and_then(|source| part(dst, dst_offset, Some(source.bytes as i64)));
    match (source, target) {
        (Some(src), Some(dst)) if src.bytes > 0 => backend.copy(&CopyCommand { src, dst }),
        (Some(_), Some(_)) => Ok(()),
        _ => run_error(format!(
            "a copy of {} bytes from {src_offset} of {} to {dst_offset} of {} leaves its buffers at {}",
            bytes.map_or_else(|| "all".into(), |b| b.to_string()),
            src.bytes,
            dst.bytes,
            place(cx, frame)
        )),
    }
}

/// Runs the checks that a program starts with, so that they speak before sizes that follow from the same symbols are found impossible.
pub fn check_first(function: &Function, program: &Program, symbols: &[i64]) -> Result<()> {
    for instruction in &program.code {
        let Instruction::Check { predicate, lhs, rhs, message } = instruction else { break };
        check(function, symbols, *predicate, lhs, rhs, message)?;
    }
    Ok(())
}

fn check(function: &Function, symbols: &[i64], predicate: Predicate, lhs: &Expr, rhs: &Expr, message: &str) -> Result<()> {
    let (a, b) = (lhs.eval(symbols), rhs.eval(symbols));
    if let (Ok(a), Ok(b)) = (a, b)
        && compare_int(predicate, a, b)
    {
        return Ok(());
    }
    let name = |symbol: u32| function.symbols.get(symbol as usize).map_or_else(|| format!("s{symbol}"), |s| s.name.clone());
    let side = |expr: &Expr, value: std::result::Result<i64, ExprError>| match (expr.as_constant(), value) {
        (Some(value), _) => value.to_string(),
        (None, Ok(value)) => format!("{} = {value}", expr.to_text(&name)),
        (None, Err(why)) => format!("{} ({why})", expr.to_text(&name)),
    };
    let dims: Vec<String> = function.symbols.iter().zip(symbols).map(|(symbol, value)| format!("{} = {value}", symbol.name)).collect();
    let relation = if predicate == Predicate::Eq { "differ" } else { "are the wrong way round" };
    run_error(format!("{message}; {} and {} {relation} for {}", side(lhs, a), side(rhs, b), dims.join(", ")))
}

fn check_cancel(cx: &Cx<'_>) -> Result<()> {
    if cx.cancel.load(Ordering::Relaxed) != 0 { Err(Error::Cancelled) } else { Ok(()) }
}

/// `function main, instruction 3`.
fn place(cx: &Cx<'_>, frame: Frame) -> String {
    format!("function {}, instruction {}", cx.manifest.functions[frame.function].name, frame.pc)
}

fn locate(cx: &Cx<'_>, function: usize, buffer: usize, error: Error) -> Error {
    let why = match error {
        Error::Run(why) => why,
        other => other.to_string(),
    };
    Error::Run(format!("buffer {buffer} of {}: {why}", cx.manifest.functions[function].name))
}

/// A size in bytes.
pub fn size(expr: &Expr, symbols: &[i64], what: &str) -> Result<u64> {
    match expr.eval(symbols).map(u64::try_from) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => run_error(format!("{what} would have a negative size")),
        Err(error) => run_error(format!("{what}: {error}")),
    }
}

/// Whether the size of a buffer depends on such a symbol.
fn depends_on(buffer: &Buffer, is: impl Fn(u32) -> bool) -> bool {
    buffer.capacities.iter().any(|dim| dim.uses(&is))
}

fn range_text(lower: i64, upper: i64) -> String {
    match upper {
        i64::MAX => format!("at least {lower}"),
        _ if lower == upper => lower.to_string(),
        _ => format!("{lower} to {upper}"),
    }
}

/// Bytes of a buffer in stored form, which its capacities determine.
fn buffer_bytes(buffer: &Buffer, symbols: &[i64]) -> Result<u64> {
    let mut bytes = buffer.storage.bytes() as u64;
    for (dim, capacity) in buffer.dims.iter().zip(&buffer.capacities) {
        let capacity = size(capacity, symbols, "a dim")?;
        let fits = dim.eval(symbols).is_ok_and(|dim| dim >= 0 && dim as u64 <= capacity);
        if !fits {
            return run_error(format!("a dim is negative or beyond its capacity of {capacity}"));
        }
        match bytes.checked_mul(capacity).filter(|bytes| *bytes <= i64::MAX as u64) {
            Some(product) => bytes = product,
            None => return run_error("its size does not fit 64 bits"),
        }
    }
    Ok(bytes)
}

/// Absolute offset of a buffer in the arena, 0 for other places.
fn arena_offset(cx: &Cx<'_>, buffer: &Buffer, symbols: &[i64], bytes: u64, start: u64, arena_bytes: u64) -> Result<u64> {
    let Place::Arena(offset) = &buffer.place else { return Ok(0) };
    let offset = size(offset, symbols, "its arena offset")?;
    let alignment = if matches!(cx.variant.device, Device::Cpu { .. }) { 64 } else { 256 };
    if offset.checked_add(bytes).is_none_or(|end| end > arena_bytes) || !(start + offset).is_multiple_of(alignment) {
        return run_error(format!("its {bytes} bytes at {offset} leave the arena of {arena_bytes} or are misaligned"));
    }
    Ok(start + offset)
}

/// Offset of a buffer in a state of `room` bytes.
fn state_offset(offset: &Expr, symbols: &[i64], bytes: u64, room: u64) -> Result<u64> {
    let offset = size(offset, symbols, "its offset in the state")?;
    if offset.checked_add(bytes).is_none_or(|end| end > room) {
        return run_error(format!("its {bytes} bytes at {offset} leave the state of {room}"));
    }
    Ok(offset)
}

/// Elements of a port for its dims.
pub fn port_elements(dims: &[i64]) -> Result<u64> {
    match element_count(dims) {
        Some(elements) if elements <= i64::MAX as u64 / 8 => Ok(elements),
        _ => run_error(format!("a tensor with dims {dims:?} is too large")),
    }
}
