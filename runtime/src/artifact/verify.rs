//! A decoded manifest and its sections -> after `Ok` nothing downstream panics: every index, range, arity and expression is checked.
//! What depends on run-time values (sizes for given symbols, loaded indices) is checked when they are known.

use super::{
    container::{Section, SectionKind},
    expr::{Expr, ExprOp},
    manifest::{
        Access, Code, Constant, Device, ElementType, Extern, Function, Growth, Kernel, MANIFEST_VERSION, Manifest, Port, State, Variant,
    },
    program::{Instruction, Place, Program},
};
use crate::{
    cpu::elf,
    error::{Error, Result},
    tensor::{element_count, is_storable},
};

use std::collections::BTreeMap;

/// A launch program may not ask for more registers.
const MAX_REGISTERS: u32 = 1 << 20;
/// Push constants are at most 128 bytes.
const MAX_VULKAN_DIMS: u32 = 32;
const SPIRV_MAGIC: [u8; 4] = 0x0723_0203u32.to_le_bytes();

/// Checks a manifest against the sections of the file that holds it.
pub fn verify(manifest: &Manifest, sections: &[Section], file: &[u8]) -> Result<()> {
    verify_with(manifest, sections, &|index| &file[sections[index].range()])
}

/// The same with the bytes of image sections from elsewhere.
pub(super) fn verify_with<'a>(manifest: &Manifest, sections: &[Section], bytes: &dyn Fn(usize) -> &'a [u8]) -> Result<()> {
    if manifest.version != MANIFEST_VERSION {
        return fail(format!("manifest version {} is unknown, expected {MANIFEST_VERSION}", manifest.version));
    }
    if manifest.functions.is_empty() {
        return fail("it has no functions".into());
    }
    for (index, function) in manifest.functions.iter().enumerate() {
        let known = &manifest.functions[..index];
        if known.iter().any(|f| f.name == function.name) {
            return fail(format!("two functions are named \"{}\"", function.name));
        }
        let verified = verify_function(function).and_then(|()| verify_specialization(function, known));
        verified.or_else(|e| fail(format!("function {}: {e}", function.name)))?;
    }
    let constants = sections.iter().find(|s| s.kind == SectionKind::Constants).map_or(0, |s| s.length);
    for (index, constant) in manifest.constants.iter().enumerate() {
        verify_constant(constant, constants).or_else(|e| fail(format!("constant {index}: {e}")))?;
    }
    for variant in &manifest.variants {
        verify_variant(manifest, variant, sections, bytes).or_else(|e| fail(format!("variant {}: {e}", variant.target)))?;
    }
    Ok(())
}

fn fail<T>(what: String) -> Result<T> {
    Err(Error::Artifact(format!("{what}; the file is damaged or its compiler faulty, compile the model again")))
}

/// What is wrong, without where.
type Check<T = ()> = std::result::Result<T, String>;

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn check_index(what: &str, index: u32, count: usize) -> Check {
    check((index as usize) < count, || format!("{what} {index} does not exist, there are {count}"))
}

fn check_expr(what: &str, expr: &Expr, symbols: usize) -> Check {
    expr.check(symbols).map_err(|e| format!("{what}: {e}"))
}

/// Whether an expression uses a symbol that is found while running.
fn uses_found(function: &Function, expr: &Expr) -> bool {
    expr.uses(|symbol| function.symbols.get(symbol as usize).is_some_and(|symbol| symbol.upper.is_some()))
}

/// An expression of the memory plan, where a size that is left open stands for the room that it has.
fn check_planned(function: &Function, what: &str, expr: &Expr) -> Check {
    check_expr(what, expr, function.symbols.len())?;
    let found = |symbol: u32| function.symbols[symbol as usize].upper.is_some() && !function.is_open(symbol);
    check(!expr.uses(found), || format!("{what} depends on a size that is only known while running"))
}

/// An expression that has its value before the run starts.
fn check_known(function: &Function, what: &str, expr: &Expr) -> Check {
    check_expr(what, expr, function.symbols.len())?;
    check(!uses_found(function, expr), || format!("{what} depends on a size that is only known while running"))
}

fn verify_function(function: &Function) -> Check {
    for symbol in &function.symbols {
        check(symbol.min >= 0 && symbol.max.is_none_or(|max| max >= symbol.min), || {
            format!("the range of dim {} is empty or negative", symbol.name)
        })?;
    }
    for (index, symbol) in function.symbols.iter().enumerate() {
        let bound = symbol.upper.as_ref().filter(|_| !function.is_open(index as u32));
        bound.map_or(Ok(()), |upper| check_expr(&format!("the bound of {}", symbol.name), upper, index))?;
    }
    for port in function.inputs.iter().chain(&function.outputs) {
        for dim in &port.dims {
            check_expr(&format!("a dim of {}", port.name), dim, function.symbols.len())?;
        }
    }
    for port in &function.inputs {
        for dim in &port.dims {
            check(!uses_found(function, dim), || format!("a dim of the input {} is only known while running", port.name))?;
        }
    }
    for (index, state) in function.states.iter().enumerate() {
        verify_state(function, state).map_err(|e| format!("state {}: {e}", state.input.name))?;
        let twice = |other: &State| other.input_index == state.input_index || other.output_index == state.output_index;
        check(!function.states[..index].iter().any(twice), || {
            format!("state {} shares an input or output with another", state.input.name)
        })?;
    }
    for (i, fixed) in function.fixed.iter().enumerate() {
        check_index("input", fixed.input, function.inputs.len())?;
        let port = &function.inputs[fixed.input as usize];
        let dims: Option<Vec<i64>> = port.dims.iter().map(Expr::as_constant).collect();
        let bytes = dims.and_then(|dims| element_count(&dims)).and_then(|count| count.checked_mul(port.element.bytes() as u64));
        check(bytes == Some(fixed.bytes.len() as u64), || format!("the fixed value of {} has {} bytes", port.name, fixed.bytes.len()))?;
        check(function.fixed[..i].iter().all(|other| other.input != fixed.input), || format!("{} is fixed twice", port.name))?;
    }
    Ok(())
}

fn verify_state(function: &Function, state: &State) -> Check {
    let (input, output) = (&state.input, &state.output);
    check(input.element == output.element && input.dims.len() == output.dims.len(), || "its next value is of another type".into())?;
    let all = (function.inputs.len() + function.states.len(), function.outputs.len() + function.states.len());
    check_index("input", state.input_index, all.0)?;
    check_index("output", state.output_index, all.1)?;
    for dim in input.dims.iter() {
        check_known(function, "a dim", dim)?;
    }
    for dim in output.dims.iter() {
        check_expr("a next dim", dim, function.symbols.len())?;
    }
    let Some(Growth { axis, capacity, in_place }) = state.growth else { return Ok(()) };
    check_index("axis", axis, input.dims.len())?;
    check(matches!(input.dims[axis as usize].0[..], [ExprOp::Symbol(_)]), || format!("axis {axis}, along which it grows, is no symbol"))?;
    check(i64::try_from(capacity).is_ok_and(|capacity| capacity > 0), || format!("a capacity of {capacity}"))?;
    if in_place {
        output.dims.iter().try_for_each(|dim| check_known(function, "a next dim", dim))?;
    }
    let others = input.dims.iter().zip(&output.dims).enumerate().filter(|(at, _)| *at != axis as usize);
    let mut others = others.filter(|(_, (now, next))| now != next);
    others.next().map_or(Ok(()), |(at, _)| Err(format!("it changes along axis {at} but grows along axis {axis}")))
}

/// `earlier`: the functions that come before.
fn verify_specialization(function: &Function, earlier: &[Function]) -> Check {
    let Some(specialization) = &function.specializes else { return Ok(()) };
    check_index("function", specialization.function, earlier.len())?;
    let general = &earlier[specialization.function as usize];
    check(general.specializes.is_none(), || format!("it specialises {}, which is specialised itself", general.name))?;
    check(specialization.symbols.len() == general.symbols.len(), || {
        format!("it specialises {} dims of {}, which has {}", specialization.symbols.len(), general.name, general.symbols.len())
    })?;
    let alike = |ours: &[Port], theirs: &[Port]| {
        let same = |(a, b): (&Port, &Port)| a.name == b.name && a.element == b.element && a.dims.len() == b.dims.len();
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(same)
    };
    let states = |a: &State, b: &State| {
        let places = (a.growth, a.input_index, a.output_index) == (b.growth, b.input_index, b.output_index);
        places && alike(std::slice::from_ref(&a.input), std::slice::from_ref(&b.input))
    };
    let same_states =
        function.states.len() == general.states.len() && function.states.iter().zip(&general.states).all(|(a, b)| states(a, b));
    check(same_states, || format!("its states are not those of {}", general.name))?;
    check(alike(&function.inputs, &general.inputs) && alike(&function.outputs, &general.outputs), || {
        format!("its inputs and outputs are not those of {}", general.name)
    })
}

fn verify_constant(constant: &Constant, section: u64) -> Check {
    let bytes = constant.dims.iter().try_fold(constant.storage.bytes() as u64, |n, d| n.checked_mul(*d));
    check(bytes == Some(constant.bytes), || format!("{} bytes do not hold {} {:?}", constant.bytes, constant.storage, constant.dims))?;
    let end = constant.offset.checked_add(constant.bytes);
    check(constant.offset.is_multiple_of(64) && end.is_some_and(|end| end <= section), || {
        "it is misaligned or outside the constants section".into()
    })
}

fn verify_variant<'a>(manifest: &Manifest, variant: &Variant, sections: &[Section], bytes: &dyn Fn(usize) -> &'a [u8]) -> Check {
    let (section, kind) = match &variant.device {
        Device::Cpu { image, .. } => (*image, SectionKind::CpuImage),
        Device::Vulkan { spirv, .. } => (*spirv, SectionKind::Spirv),
    };
    check_index("section", section, sections.len())?;
    let found = sections[section as usize].kind;
    check(found == kind, || format!("section {section} is {}, not {}", found.name(), kind.name()))?;
    let code = bytes(section as usize);
    let image = match &variant.device {
        Device::Cpu { triple, .. } => {
            let image = elf::parse(code).map_err(|e| e.to_string())?;
            let architecture = triple.split('-').next().unwrap_or_default();
            check(architecture == image.machine.name(), || format!("its image is for {}, not {triple}", image.machine.name()))?;
            Some(image)
        }
        Device::Vulkan { .. } => None,
    };
    for kernel in &variant.kernels {
        verify_kernel(kernel, image.as_ref(), code).map_err(|e| format!("kernel {}: {e}", kernel.name))?;
    }
    for (index, dispatch) in variant.dispatches.iter().enumerate() {
        check_index("kernel", dispatch.kernel, variant.kernels.len()).map_err(|e| format!("dispatch {index}: {e}"))?;
    }
    for (index, external) in variant.externs.iter().enumerate() {
        check(!external.name.is_empty(), || "an external kernel has no name".into())?;
        let known = variant.externs[..index].iter().any(|other| other.name == external.name);
        check(!known, || format!("two external kernels are named \"{}\"", external.name))?;
    }
    check(variant.programs.len() == manifest.functions.len(), || {
        format!("{} programs for {} functions", variant.programs.len(), manifest.functions.len())
    })?;
    for (function, program) in manifest.functions.iter().zip(&variant.programs) {
        let cx = Cx { manifest, variant, function, program };
        cx.verify_program().map_err(|e| format!("function {}: {e}", function.name))?;
    }
    verify_state_storage(manifest, variant)?;
    check_calls(variant)
}

/// All forms of a function must store a state alike, because its memory outlives a run.
fn verify_state_storage(manifest: &Manifest, variant: &Variant) -> Check {
    let mut known = BTreeMap::new();
    for (index, (form, program)) in (0..).zip(manifest.functions.iter().zip(&variant.programs)) {
        let function = form.specializes.as_ref().map_or(index, |specialization| specialization.function);
        for buffer in &program.buffers {
            let (Place::State { state, .. } | Place::NextState(state)) = buffer.place else { continue };
            let first = *known.entry((function, state)).or_insert(buffer.storage);
            check(first == buffer.storage, || format!("state {state} of {} is stored as {first} and as {}", form.name, buffer.storage))?;
        }
    }
    Ok(())
}

fn verify_kernel(kernel: &Kernel, image: Option<&elf::Elf>, code: &[u8]) -> Check {
    check_expr("grid", &kernel.grid, kernel.dims as usize)?;
    check_expr("workspace", &kernel.workspace, kernel.dims as usize)?;
    for (input, output) in &kernel.in_place {
        let access = |argument: u32| kernel.buffers.get(argument as usize).copied();
        let fits =
            matches!((access(*input), access(*output)), (Some(Access::Read | Access::ReadWrite), Some(Access::Write | Access::ReadWrite)));
        check(fits, || format!("arguments {input} and {output} cannot be in place"))?;
    }
    match (&kernel.code, image) {
        (Code::Native { entry }, Some(image)) => check(image.is_code(*entry), || format!("entry {entry:#x} is not code")),
        (Code::Spirv { offset, bytes, entry, workgroup_size, turns }, None) => {
            check_expr("turns", turns, kernel.dims as usize)?;
            let module = offset.checked_add(*bytes).and_then(|end| code.get(usize::try_from(*offset).ok()?..usize::try_from(end).ok()?));
            let aligned = offset % 4 == 0 && bytes % 4 == 0;
            check(aligned && module.is_some_and(|module| module.starts_with(&SPIRV_MAGIC)), || {
                format!("no SPIR-V module at {offset}..+{bytes}")
            })?;
            check(!entry.is_empty() && !entry.contains('\0') && workgroup_size.iter().all(|n| *n > 0), || "its entry is malformed".into())?;
            check(kernel.dims <= MAX_VULKAN_DIMS, || format!("{} dims are more than push constants hold", kernel.dims))?;
            check(kernel.workspace.as_constant() == Some(0), || "Vulkan kernels have no workspace".into())
        }
        _ => Err("its code is for another kind of device".into()),
    }
}

/// Everything a launch program refers to.
struct Cx<'a> {
    manifest: &'a Manifest,
    variant: &'a Variant,
    function: &'a Function,
    program: &'a Program,
}

impl Cx<'_> {
    fn verify_program(&self) -> Check {
        let Program { registers, buffers, arena, code } = self.program;
        let symbols = self.function.symbols.len();
        check(*registers as usize >= symbols && *registers <= MAX_REGISTERS, || {
            format!("{registers} registers do not hold {symbols} dims")
        })?;
        check_planned(self.function, "arena", arena)?;
        for (index, buffer) in buffers.iter().enumerate() {
            self.verify_buffer(index).map_err(|e| format!("buffer {index}: {e}"))?;
            for dim in buffer.dims.iter().chain(&buffer.capacities) {
                check_expr("a dim", dim, symbols).map_err(|e| format!("buffer {index}: {e}"))?;
            }
        }
        let ends = matches!(code.last(), Some(Instruction::Return | Instruction::Fail { .. } | Instruction::Jump { .. }));
        check(ends, || "its program does not end with return, fail or jump".into())?;
        for (at, instruction) in code.iter().enumerate() {
            self.verify_instruction(at, instruction).map_err(|e| format!("instruction {at}: {e}"))?;
        }
        Ok(())
    }

    fn verify_buffer(&self, index: usize) -> Check {
        let buffer = &self.program.buffers[index];
        check(buffer.dims.len() == buffer.capacities.len(), || "dims and capacities differ in rank".into())?;
        match &buffer.place {
            Place::Input(port) => {
                check_index("input", *port, self.function.inputs.len())?;
                self.verify_port_storage(self.function.inputs[*port as usize].element, buffer.storage)
            }
            Place::Output(port) => {
                check_index("output", *port, self.function.outputs.len())?;
                self.verify_port_storage(self.function.outputs[*port as usize].element, buffer.storage)
            }
            Place::State { state, offset } => {
                let state = self.state(*state, buffer.storage)?;
                check(state.in_place().is_some() || offset.as_constant() == Some(0), || {
                    "it is a part of a state that does not grow in place".into()
                })?;
                check_known(self.function, "offset in a state", offset)
            }
            Place::NextState(state) => {
                let state = self.state(*state, buffer.storage)?;
                check(state.in_place().is_none(), || "it makes the next value of a state that grows in place".into())
            }
            Place::Constant(constant) => {
                check_index("constant", *constant, self.manifest.constants.len())?;
                let constant = &self.manifest.constants[*constant as usize];
                let elements = buffer.capacities.iter().try_fold(1i64, |n, dim| n.checked_mul(dim.as_constant()?));
                let bytes = elements.and_then(|n| u64::try_from(n).ok()?.checked_mul(buffer.storage.bytes() as u64));
                check(bytes == Some(constant.bytes), || format!("its shape needs {bytes:?} bytes, the constant has {}", constant.bytes))
            }
            Place::Arena(offset) => check_planned(self.function, "arena offset", offset),
        }?;
        // All buffers of one port must agree, because the port is bound once.
        let same_port = |other: &Place| matches!((other, &buffer.place), (Place::Input(a), Place::Input(b)) | (Place::Output(a), Place::Output(b)) if a == b);
        let first = self.program.buffers.iter().find(|other| same_port(&other.place));
        check(first.is_none_or(|first| first.storage == buffer.storage), || "it stores its port differently than another buffer".into())
    }

    /// A state that may be stored so.
    fn state(&self, state: u32, storage: ElementType) -> Check<&State> {
        check_index("state", state, self.function.states.len())?;
        let state = &self.function.states[state as usize];
        self.verify_port_storage(state.input.element, storage).map(|()| state)
    }

    fn verify_port_storage(&self, element: ElementType, storage: ElementType) -> Check {
        // The CPU uses the caller's memory directly, so only types of one size will do there.
        let fits = match self.variant.device {
            Device::Cpu { .. } => element == storage || (element.bytes() == storage.bytes() && is_storable(element, storage)),
            Device::Vulkan { .. } => is_storable(element, storage),
        };
        check(fits, || format!("{element} cannot be stored as {storage} on this device"))
    }

    fn register(&self, register: u32) -> Check {
        check_index("register", register, self.program.registers as usize)
    }

    fn registers(&self, registers: &[u32]) -> Check {
        registers.iter().try_for_each(|r| self.register(*r))
    }

    fn target(&self, target: u32) -> Check {
        check_index("instruction", target, self.program.code.len())
    }

    fn buffer(&self, buffer: u32) -> Check {
        check_index("buffer", buffer, self.program.buffers.len())
    }

    fn writable(&self, buffer: u32) -> Check {
        self.buffer(buffer)?;
        let place = &self.program.buffers[buffer as usize].place;
        let writable = match place {
            Place::Output(_) | Place::Arena(_) | Place::NextState(_) => true,
            Place::State { state, .. } => self.function.states[*state as usize].in_place().is_some(),
            Place::Input(_) | Place::Constant(_) => false,
        };
        check(writable, || format!("it writes buffer {buffer}, which is read-only"))
    }

    fn verify_instruction(&self, at: usize, instruction: &Instruction) -> Check {
        use Instruction::*;
        match instruction {
            ConstInt { dst, .. } | ConstFloat { dst, .. } | ConstBool { dst, .. } => self.register(*dst),
            Move { dst, src } | Not { dst, src } | IntToFloat { dst, src } | FloatToInt { dst, src } => self.registers(&[*dst, *src]),
            Int { dst, lhs, rhs, .. } | Float { dst, lhs, rhs, .. } | Bool { dst, lhs, rhs, .. } => self.registers(&[*dst, *lhs, *rhs]),
            CompareInt { dst, lhs, rhs, .. } | CompareFloat { dst, lhs, rhs, .. } => self.registers(&[*dst, *lhs, *rhs]),
            Select { dst, condition, on_true, on_false } => self.registers(&[*dst, *condition, *on_true, *on_false]),
            Load { dst, buffer, index } => {
                self.buffer(*buffer)?;
                self.registers(&[*dst, *index])
            }
            Store { src, buffer, index } => {
                self.writable(*buffer)?;
                let storage = self.program.buffers[*buffer as usize].storage;
                // Vulkan writes whole words.
                let words = matches!(self.variant.device, Device::Cpu { .. }) || storage.bytes() >= 4;
                let stored = !matches!(storage, ElementType::F16 | ElementType::BF16);
                check(words && stored, || format!("a register cannot be stored as {storage} on this device"))?;
                self.registers(&[*src, *index])
            }
            Dispatch { dispatch, buffers, dims, scalars } => self.verify_dispatch(*dispatch, buffers, dims, scalars),
            Copy { src, src_offset, dst, dst_offset, bytes } => {
                self.buffer(*src)?;
                self.writable(*dst)?;
                [src_offset, dst_offset, bytes].into_iter().flatten().try_for_each(|r| self.register(*r))
            }
            Barrier | Return | Fail { .. } => Ok(()),
            Check { lhs, rhs, .. } => {
                check_expr("the left side of a check", lhs, self.function.symbols.len())?;
                check_expr("the right side of a check", rhs, self.function.symbols.len())
            }
            Jump { target } => self.target(*target),
            Branch { condition, on_true, on_false } => {
                self.register(*condition)?;
                self.target(*on_true)?;
                self.target(*on_false)
            }
            Loop { counter, trip, exit } => {
                self.registers(&[*counter, *trip])?;
                self.target(*exit)?;
                let end = (*exit as usize).checked_sub(1).map(|end| &self.program.code[end]);
                let closed = matches!(end, Some(EndLoop { start }) if *start as usize == at) && *exit as usize > at;
                check(closed, || "the loop's exit does not follow its end".into())
            }
            EndLoop { start } => {
                self.target(*start)?;
                let opened = matches!(self.program.code[*start as usize], Loop { exit, .. } if exit as usize == at + 1);
                check(opened, || "the end of a loop does not refer to its start".into())
            }
            Call { function, symbols, inputs, outputs, arena } => {
                check_index("function", *function, self.manifest.functions.len())?;
                self.registers(symbols)?;
                check_known(self.function, "arena of the call", arena)?;
                self.verify_call(*function as usize, symbols.len(), inputs, outputs)
            }
            SetSymbol { symbol, value, lower, upper, what } => {
                check_index("symbol", *symbol, self.function.symbols.len())?;
                let bound = self.function.symbols[*symbol as usize].upper.is_some();
                check(bound, || format!("it sets symbol {symbol}, which the inputs determine"))?;
                self.register(*value)?;
                check(!what.is_empty(), || "a size has no name".into())?;
                [lower, upper].into_iter().try_for_each(|expr| check_expr("the range of a size", expr, self.function.symbols.len()))
            }
            CallExtern { external, buffers, dims, scalars } => self.verify_call_extern(*external, buffers, dims, scalars),
        }
    }

    fn verify_dispatch(&self, dispatch: u32, buffers: &[u32], dims: &[u32], scalars: &[u32]) -> Check {
        check_index("dispatch", dispatch, self.variant.dispatches.len())?;
        let kernel = &self.variant.kernels[self.variant.dispatches[dispatch as usize].kernel as usize];
        for (what, got, expected) in [
            ("buffers", buffers.len(), kernel.buffers.len()),
            ("dims", dims.len(), kernel.dims as usize),
            ("scalars", scalars.len(), kernel.scalars as usize),
        ] {
            check(got == expected, || format!("kernel {} takes {expected} {what}, got {got}", kernel.name))?;
        }
        for (buffer, access) in buffers.iter().zip(&kernel.buffers) {
            if *access == Access::Read { self.buffer(*buffer) } else { self.writable(*buffer) }?;
        }
        self.registers(dims)?;
        self.registers(scalars)
    }

    fn verify_call_extern(&self, external: u32, buffers: &[u32], dims: &[u32], scalars: &[u32]) -> Check {
        check_index("external kernel", external, self.variant.externs.len())?;
        let Extern { name, inputs, outputs, dims: dim_count, scalars: scalar_count, .. } = &self.variant.externs[external as usize];
        for (what, got, expected) in [
            ("buffers", buffers.len(), inputs.len() + outputs.len()),
            ("dims", dims.len(), *dim_count as usize),
            ("scalars", scalars.len(), *scalar_count as usize),
        ] {
            check(got == expected, || format!("external kernel {name} takes {expected} {what}, got {got}"))?;
        }
        for (i, (buffer, expected)) in buffers.iter().zip(inputs.iter().chain(outputs)).enumerate() {
            if i < inputs.len() { self.buffer(*buffer) } else { self.writable(*buffer) }?;
            let storage = self.program.buffers[*buffer as usize].storage;
            check(storage == *expected, || format!("external kernel {name} takes {expected} as argument {i}, got {storage}"))?;
        }
        self.registers(dims)?;
        self.registers(scalars)
    }

    fn verify_call(&self, function: usize, symbols: usize, inputs: &[u32], outputs: &[u32]) -> Check {
        let (callee, program) = (&self.manifest.functions[function], self.variant.programs.get(function));
        let arities = [symbols, inputs.len(), outputs.len()] == [callee.symbols.len(), callee.inputs.len(), callee.outputs.len()];
        check(arities, || format!("it passes {symbols} dims, {} inputs, {} outputs to {}", inputs.len(), outputs.len(), callee.name))?;
        check(callee.states.is_empty(), || format!("it calls {}, which keeps state", callee.name))?;
        let found = callee.symbols.iter().find(|symbol| symbol.upper.is_some());
        check(found.is_none(), || format!("it calls {}, which finds sizes while running", callee.name))?;
        inputs.iter().try_for_each(|b| self.buffer(*b))?;
        outputs.iter().try_for_each(|b| self.writable(*b))?;
        let bound = program.into_iter().flat_map(|p| &p.buffers).filter_map(|buffer| match buffer.place {
            Place::Input(port) => inputs.get(port as usize).map(|actual| (buffer, *actual)),
            Place::Output(port) => outputs.get(port as usize).map(|actual| (buffer, *actual)),
            _ => None,
        });
        for (buffer, actual) in bound {
            let storage = self.program.buffers[actual as usize].storage;
            check(storage == buffer.storage, || format!("it passes {storage} for {} to {}", buffer.storage, callee.name))?;
        }
        Ok(())
    }
}

/// Refuses recursion: the interpreter's stacks are sized by the deepest chain of calls.
fn check_calls(variant: &Variant) -> Check {
    let callees: Vec<Vec<usize>> = variant.programs.iter().map(|program| callees(program).collect()).collect();
    // Repeatedly drop functions that call nothing that is left; a cycle never becomes empty.
    let mut left: Vec<bool> = vec![true; callees.len()];
    while let Some(leaf) = (0..callees.len()).find(|f| left[*f] && callees[*f].iter().all(|callee| !left[*callee])) {
        left[leaf] = false;
    }
    check(left.iter().all(|l| !l), || "functions call each other in a circle".into())
}

/// Functions that a program calls, with repetitions.
pub(crate) fn callees(program: &Program) -> impl Iterator<Item = usize> {
    program.code.iter().filter_map(|instruction| match instruction {
        Instruction::Call { function, .. } => Some(*function as usize),
        _ => None,
    })
}
