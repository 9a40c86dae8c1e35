//! `convert-graph-to-launch`: a function of `graph.kernel`s, views and control flow -> a `launch.program` on buffers without places.
//!
//! Every tensor gets a buffer, host scalars (`winze.host`) a register, which is stored where a kernel reads it. Results of the function, of branches
//! and of iterations are written where they are needed, when the op that makes them stands in the same block and nothing reads the old value
//! afterwards; else they are copied. Initial values that nothing else uses become the state of their loop, and an update of a box of a tensor that
//! nothing else uses writes the box alone.
//! Assumes outlined kernels (`winze.kernel` on each `graph.kernel`); refuses any other graph op.

use super::{
    HOST_ATTRIBUTE, IN_PLACE_ATTRIBUTE, KERNEL_ATTRIBUTE, SYMBOLS_ATTRIBUTE, extents,
    registers::{Registers, append},
};
use crate::graph::bind_state::{STATE_ARGUMENTS, STATE_OFFSETS, STATE_RESULTS};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        Block, BlockLike, BlockRef, Location, Operation, OperationRef, Region, RegionLike, Type, Value, ValueLike,
        operation::{OperationBuilder, OperationLike, OperationResult},
        r#type::IntegerType,
    },
};
use std::{collections::HashMap, ffi::c_void};
use winze_graph::{
    dialect as graph,
    dim::Dim,
    ops::{call_extern, constant::read_constant, dim::only_measured, size::Bound},
    types::{ElementType, TensorType},
};
use winze_launch as launch;
use winze_mlir::{
    attributes, locations,
    pass::{PassOption, RustPass},
    walk,
};

/// The pass.
pub struct ConvertGraphToLaunch {
    /// Whether dispatches may write what they read, as their kernels declare.
    in_place: bool,
}

impl RustPass for ConvertGraphToLaunch {
    const ARGUMENT: &'static str = "convert-graph-to-launch";
    const DESCRIPTION: &'static str = "Turn host functions into launch programs";
    const ANCHOR: &'static str = "builtin.module";

    fn dialects() -> Vec<DialectHandle> {
        vec![launch::handle(), DialectHandle::arith(), DialectHandle::scf(), DialectHandle::memref()]
    }

    const OPTIONS: &'static [PassOption] = &[PassOption {
        name: "in-place",
        description: "let loop state be written by kernels that read it: true or false",
        default: "true",
    }];

    fn from_options(values: &[&str]) -> Result<Self, String> {
        let in_place = values[0].parse().map_err(|_| format!("option 'in-place': '{}' is neither true nor false", values[0]))?;
        Ok(Self { in_place })
    }

    fn run(&self, module: OperationRef<'_, '_>) -> Result<(), String> {
        let context = winze_mlir::context::context_of(module);
        for block in walk::blocks(module) {
            for func in walk::operations(block).filter(|op| op.name().as_string_ref().as_str() == Ok("func.func")) {
                let program = convert(context, func, self.in_place)?;
                block.insert_operation_before(func, program);
                walk::erase(func);
            }
        }
        Ok(())
    }
}

fn convert<'c>(context: &'c Context, func: OperationRef<'c, '_>, in_place: bool) -> Result<Operation<'c>, String> {
    let body = walk::blocks(func).into_iter().next().ok_or("convert-graph-to-launch: the function has no body")?;
    let block = Block::new(&[]);
    // SAFETY: the block outlives the converter.
    let prologue = unsafe { BlockRef::from_raw(block.to_raw()) };
    let symbols: Vec<String> = winze_graph::types::symbol_names(func);
    let bounds = Bound::all(func)?;
    let mut converter = Converter {
        context,
        open: bounds.iter().filter(|bound| bound.is_open()).map(|bound| bound.symbol).collect(),
        in_place,
        symbols: symbols.clone(),
        buffers: HashMap::new(),
        registers: HashMap::new(),
        wanted: HashMap::new(),
    };
    let arguments: Vec<i64> = attributes::get(func, STATE_ARGUMENTS).unwrap_or_default();
    let offsets = attributes::get(func, STATE_OFFSETS).map_or(Ok(vec![]), extents::from_attribute)?;
    let mut inputs = 0;
    for i in 0..body.argument_count() {
        let argument: Value = body.argument(i).expect("in range").into();
        let (dims, memref) = converter.buffer_type(argument.r#type())?;
        let (map, location) = (extents::to_attribute(context, &dims), locations::of_value(argument));
        let buffer = match arguments.chunks_exact(2).zip(&offsets).find(|(pair, _)| pair[0] == i as i64) {
            Some((pair, offset)) => {
                let offset = extents::to_attribute(context, std::slice::from_ref(offset));
                append(prologue, launch::State::create(context, location, pair[1], offset, map, &[memref]))
            }
            None => {
                inputs += 1;
                append(prologue, launch::Input::create(context, location, inputs - 1, map, &[memref]))
            }
        };
        converter.bind(argument, buffer);
    }
    let terminator = body.terminator().ok_or("convert-graph-to-launch: the function has no terminator")?;
    let results: Vec<Value> = terminator.operands().collect();
    let next: Vec<i64> = attributes::get(func, STATE_RESULTS).unwrap_or_default();
    let mut outputs = vec![];
    let mut ports = 0;
    for (i, result) in results.iter().enumerate() {
        let (dims, memref) = converter.buffer_type(result.r#type())?;
        let (map, location) = (extents::to_attribute(context, &dims), locations::of_value(*result));
        outputs.push(match next.chunks_exact(3).find(|triple| triple[0] == i as i64) {
            Some([_, state, -1]) => append(prologue, launch::NextState::create(context, location, *state, map, &[memref])),
            Some(triple) => {
                let argument = body.argument(triple[2] as usize).map_err(|e| format!("convert-graph-to-launch: {e}"))?;
                converter.buffer(argument.into())?
            }
            None => {
                ports += 1;
                append(prologue, launch::Output::create(context, location, ports - 1, map, &[memref]))
            }
        });
    }
    converter.block(body, prologue, &results, &outputs)?;

    let name: String = attributes::get(func, "sym_name").unwrap_or_else(|| "main".into());
    let region = Region::new();
    region.append_block(block);
    Ok(launch::Program::create(context, func.location(), name, symbols, extents::to_attribute(context, &[Dim::from(0)]), [region]))
}

struct Converter<'c, 'a> {
    context: &'c Context,
    symbols: Vec<String>,
    /// Symbols that nothing bounds: until they are found there need not be room for them.
    open: Vec<u32>,
    in_place: bool,
    /// Host scalar -> its register.
    registers: HashMap<*const c_void, Value<'c, 'a>>,
    /// Tensor -> its buffer.
    buffers: HashMap<*const c_void, Value<'c, 'a>>,
    /// Tensor not made yet -> the buffer it should be made in.
    wanted: HashMap<*const c_void, Value<'c, 'a>>,
}

impl<'c: 'a, 'a> Converter<'c, 'a> {
    fn buffer_type(&self, tensor: Type<'c>) -> Result<(Vec<Dim>, Type<'c>), String> {
        extents::buffer_of(self.context, tensor)
    }

    fn bind(&mut self, tensor: Value<'c, '_>, buffer: Value<'c, 'a>) {
        self.buffers.insert(tensor.to_raw().ptr, buffer);
    }

    fn buffer(&self, tensor: Value) -> Result<Value<'c, 'a>, String> {
        let buffer = self.buffers.get(&tensor.to_raw().ptr).copied();
        buffer.ok_or_else(|| format!("convert-graph-to-launch: a tensor has no buffer at {}", locations::of_value(tensor)))
    }

    /// Converts `from` to the end of `to`; its `results` end up in `targets`.
    fn block(
        &mut self,
        from: BlockRef<'c, '_>,
        to: BlockRef<'c, 'a>,
        results: &[Value<'c, '_>],
        targets: &[Value<'c, 'a>],
    ) -> Result<(), String> {
        for (result, target) in results.iter().zip(targets) {
            self.want(*result, *target, from, to)?;
        }
        for op in walk::operations(from) {
            self.op(op, to).map_err(|e| format!("{e} at {}", op.location()))?;
        }
        for (result, target) in results.iter().zip(targets) {
            let buffer = self.buffer(*result)?;
            if buffer != *target && self.wanted.get(&result.to_raw().ptr) != Some(target) {
                to.append_operation(launch::Copy::create(self.context, locations::of_value(*result), buffer, *target));
            }
        }
        Ok(())
    }

    /// Asks that `tensor` be made in `target`, if an op of block `from` makes it. Later wishes for the same tensor are copied.
    fn want(&mut self, tensor: Value<'c, '_>, target: Value<'c, 'a>, from: BlockRef<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let Ok(result) = OperationResult::try_from(tensor) else { return Ok(()) };
        let owner = result.owner();
        if owner.block().is_none_or(|block| block.to_raw().ptr != from.to_raw().ptr) || self.wanted.contains_key(&tensor.to_raw().ptr) {
            return Ok(());
        }
        // Views of what a kernel makes: the kernel writes through them.
        if !is_host(owner) && (graph::Reshape::cast(owner).is_some() || graph::Require::cast(owner).is_some()) {
            let source = owner.operand(0).map_err(|e| e.to_string())?;
            let (made, shown) = (TensorType::of(source)?.dims, TensorType::of(tensor)?.dims);
            let uses = |dims: &[Dim], symbol: u32| dims.iter().any(|dim| dim.uses(symbol));
            let found_later = self.open.iter().any(|symbol| uses(&shown, *symbol) && !uses(&made, *symbol));
            if found_later || self.wanted.contains_key(&source.to_raw().ptr) || !made_in_place(source) {
                return Ok(());
            }
            let view = self.view(target, source.r#type(), owner.location(), to)?;
            self.wanted.insert(tensor.to_raw().ptr, target);
            return self.want(source, view, from, to);
        }
        if !made_in_place(tensor) {
            return Ok(());
        }
        self.wanted.insert(tensor.to_raw().ptr, target);
        // What starts out as another tensor is best begun in the same place.
        match start_of(owner, result.result_number()) {
            Some(start) => self.want(start, target, from, to),
            None => Ok(()),
        }
    }

    fn view(&self, source: Value<'c, 'a>, tensor: Type<'c>, location: Location<'c>, to: BlockRef<'c, 'a>) -> Result<Value<'c, 'a>, String> {
        let (dims, memref) = self.buffer_type(tensor)?;
        Ok(append(to, launch::View::create(self.context, location, source, extents::to_attribute(self.context, &dims), &[memref])))
    }

    /// The buffer that `tensor` is made in: the one asked for, or a new one in the arena.
    fn destination(&mut self, tensor: Value<'c, '_>, to: BlockRef<'c, 'a>) -> Result<Value<'c, 'a>, String> {
        if let Some(wanted) = self.wanted.get(&tensor.to_raw().ptr).copied() {
            self.bind(tensor, wanted);
            return Ok(wanted);
        }
        let buffer = self.arena(tensor.r#type(), locations::of_value(tensor), to)?;
        self.bind(tensor, buffer);
        Ok(buffer)
    }

    fn arena(&self, tensor: Type<'c>, location: Location<'c>, to: BlockRef<'c, 'a>) -> Result<Value<'c, 'a>, String> {
        let (dims, memref) = self.buffer_type(tensor)?;
        let unplanned = extents::to_attribute(self.context, &[Dim::from(-1)]);
        Ok(append(to, launch::Arena::create(self.context, location, unplanned, extents::to_attribute(self.context, &dims), &[memref])))
    }

    fn op(&mut self, op: OperationRef<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (context, location) = (self.context, op.location());
        match graph::AnyOp::cast(op) {
            Some(graph::AnyOp::DynamicSlice(slice)) if is_host(op) => self.slice(slice, to),
            Some(graph::AnyOp::DynamicUpdateSlice(update)) if is_host(op) => self.update(update, to),
            Some(scalar) if is_host(op) && !matches!(scalar, graph::AnyOp::If(_) | graph::AnyOp::While(_)) => self.scalar(op, to),
            Some(graph::AnyOp::Kernel(kernel)) => self.kernel(kernel, to),
            Some(graph::AnyOp::Weight(weight)) => {
                let (_, memref) = self.buffer_type(weight.result().r#type())?;
                self.bind(weight.result(), append(to, launch::Constant::create(context, location, weight.id(), None, &[memref])));
                Ok(())
            }
            Some(graph::AnyOp::Constant(constant)) => {
                let (_, memref) = self.buffer_type(constant.result().r#type())?;
                let buffer = launch::Constant::create(context, location, String::new(), Some(constant.value()), &[memref]);
                self.bind(constant.result(), append(to, buffer));
                Ok(())
            }
            Some(graph::AnyOp::Reshape(reshape)) => {
                let source = self.buffer(reshape.input())?;
                let view = self.view(source, reshape.result().r#type(), location, to)?;
                self.bind(reshape.result(), view);
                Ok(())
            }
            Some(graph::AnyOp::Size(size)) => self.size(size, to),
            Some(graph::AnyOp::Require(require)) => {
                let check = launch::Check::create(context, location, require.lhs(), require.relation(), require.rhs(), require.why());
                to.append_operation(check);
                let source = self.buffer(require.input())?;
                let view = self.view(source, require.result().r#type(), location, to)?;
                self.bind(require.result(), view);
                Ok(())
            }
            Some(graph::AnyOp::If(branch)) => self.branch(branch, to),
            Some(graph::AnyOp::While(repeat)) => self.repeat(repeat, to),
            Some(graph::AnyOp::CallExtern(call)) => self.call_extern(call, to),
            Some(graph::AnyOp::Fail(fail)) => {
                // Nothing writes the results, but what follows refers to them.
                op.results().try_for_each(|result| self.destination(result.into(), to).map(drop))?;
                to.append_operation(launch::Fail::create(context, location, fail.message()));
                Ok(())
            }
            Some(graph::AnyOp::Yield(_)) => Ok(()),
            Some(_) if only_measured(op) => Ok(()),
            None if op.name().as_string_ref().as_str() == Ok("func.return") => Ok(()),
            _ => Err(format!(
                "convert-graph-to-launch: '{}' stands outside a kernel; run form-kernels first",
                op.name().as_string_ref().as_str().unwrap_or("?")
            )),
        }
    }

    fn registers(&self, location: Location<'c>, block: BlockRef<'c, 'a>) -> Registers<'c, 'a> {
        Registers { context: self.context, block, location }
    }

    /// Binds a host scalar, and stores it where ops that are no host arithmetic read it.
    fn bind_register(&mut self, tensor: Value<'c, '_>, register: Value<'c, 'a>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        self.registers.insert(tensor.to_raw().ptr, register);
        if self.wanted.contains_key(&tensor.to_raw().ptr) || walk::users(tensor).any(|user| reads_buffer(user, tensor)) {
            let location = locations::of_value(tensor);
            let buffer = self.destination(tensor, to)?;
            let zero = self.registers(location, to).number(0);
            to.append_operation(launch::Store::create(self.context, location, register, buffer, zero));
        }
        Ok(())
    }

    /// The register of a host scalar: its own, a constant, or loaded from its buffer.
    fn register(&self, tensor: Value<'c, '_>, location: Location<'c>, to: BlockRef<'c, 'a>) -> Result<Value<'c, 'a>, String> {
        if let Some(register) = self.registers.get(&tensor.to_raw().ptr) {
            return Ok(*register);
        }
        let registers = self.registers(location, to);
        let r#type = match TensorType::of(tensor)?.element {
            ElementType::Bool => registers.boolean(),
            _ => registers.integer(),
        };
        let constant = OperationResult::try_from(tensor).ok().and_then(|result| graph::Constant::cast(result.owner()));
        if let Some(constant) = constant {
            return Ok(registers.constant(r#type, read_constant(constant.value())?.get(0).i64()));
        }
        Ok(append(to, launch::Load::create(self.context, location, self.buffer(tensor)?, registers.number(0), &[r#type])))
    }

    /// Host arithmetic.
    fn scalar(&mut self, op: OperationRef<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let registers = self.registers(op.location(), to);
        let result: Value = op.result(0).map_err(|e| e.to_string())?.into();
        let value = match graph::Dim::cast(op) {
            Some(dim) => {
                let extent = TensorType::of(dim.input())?.dims.get(dim.axis() as usize).cloned();
                registers.extent(&extent.ok_or("graph.dim: its input lacks the axis")?)?
            }
            None => {
                let operands = op.operands().map(|operand| self.register(operand, op.location(), to)).collect::<Result<Vec<_>, _>>()?;
                registers.graph_op(op, &operands)?
            }
        };
        self.bind_register(result, value, to)
    }

    /// Linear index of the first element of a box, whose starts are clamped.
    fn first_of_box(
        &self,
        op: OperationRef<'c, '_>,
        (whole, part): (&[Dim], &[Dim]),
        axes: &[i64],
        starts: usize,
        to: BlockRef<'c, 'a>,
    ) -> Result<Value<'c, 'a>, String> {
        let registers = self.registers(op.location(), to);
        let mut first = registers.number(0);
        for (axis, start) in axes.iter().zip(op.operands().skip(starts)) {
            let axis = usize::try_from(*axis).map_err(|e| e.to_string())?;
            let start = self.register(start, op.location(), to)?;
            let start = registers.same("arith.minsi", start, registers.extent(&(&whole[axis] - &part[axis]))?);
            let start = registers.same("arith.maxsi", start, registers.number(0));
            let step = registers.extent(&whole[axis + 1..].iter().fold(Dim::from(1), |step, dim| &step * dim))?;
            first = registers.same("arith.addi", first, registers.same("arith.muli", start, step));
        }
        Ok(first)
    }

    fn slice(&mut self, slice: graph::DynamicSlice<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (whole, part) = (TensorType::of(slice.input())?.dims, TensorType::of(slice.result())?.dims);
        let first = self.first_of_box(slice.op(), (&whole, &part), &slice.axes(), 1, to)?;
        let (source, target) = (self.buffer(slice.input())?, self.destination(slice.result(), to)?);
        self.copy_box((source, Some(first)), (target, None), &part, slice.op().location(), to)
    }

    fn update(&mut self, update: graph::DynamicUpdateSlice<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (op, location) = (update.op(), update.op().location());
        let (whole, part) = (TensorType::of(update.input())?.dims, TensorType::of(update.update())?.dims);
        let source = self.buffer(update.input())?;
        let target = match self.wanted.get(&update.result().to_raw().ptr) {
            None if self.dies_at(update.input(), op) => {
                self.bind(update.result(), source);
                source
            }
            _ => self.destination(update.result(), to)?,
        };
        if source != target {
            to.append_operation(launch::Copy::create(self.context, location, source, target));
        }
        let first = self.first_of_box(op, (&whole, &part), &update.axes(), 2, to)?;
        self.copy_box((self.buffer(update.update())?, None), (target, Some(first)), &part, location, to)
    }

    /// Copies a contiguous box between linear indices (the start where there is none).
    fn copy_box(
        &self,
        (source, from): (Value<'c, 'a>, Option<Value<'c, 'a>>),
        (target, at): (Value<'c, 'a>, Option<Value<'c, 'a>>),
        dims: &[Dim],
        location: Location<'c>,
        to: BlockRef<'c, 'a>,
    ) -> Result<(), String> {
        let registers = self.registers(location, to);
        let count = registers.extent(&dims.iter().fold(Dim::from(1), |count, dim| &count * dim))?;
        let (from, at) = (from.unwrap_or_else(|| registers.number(0)), at.unwrap_or_else(|| registers.number(0)));
        to.append_operation(launch::CopyPart::create(self.context, location, source, from, target, at, count));
        Ok(())
    }

    /// Whether `op`, the only use of a tensor, may take its buffer: one of the arena that is made anew, or loop state, whenever `op` runs.
    fn dies_at(&self, tensor: Value<'c, '_>, op: OperationRef<'c, '_>) -> bool {
        let here =
            |block: Option<BlockRef>| op.block().is_some_and(|own| block.is_some_and(|block| own.to_raw().ptr == block.to_raw().ptr));
        if walk::users(tensor).count() != 1 {
            return false;
        }
        if let Some(argument) = walk::block_argument(tensor) {
            let state = argument.owner().parent_operation().is_some_and(|parent| graph::While::cast(parent).is_some());
            return state && here(Some(argument.owner()));
        }
        let Ok(result) = OperationResult::try_from(tensor) else { return false };
        if !here(result.owner().block()) {
            return false;
        }
        match graph::Reshape::cast(result.owner()) {
            Some(reshape) => self.dies_at(reshape.input(), reshape.op()),
            None => self.buffer(tensor).is_ok_and(|buffer| {
                let root = OperationResult::try_from(root_of(buffer));
                root.is_ok_and(|root| launch::Arena::cast(root.owner()).is_some())
            }),
        }
    }

    fn kernel(&mut self, kernel: graph::Kernel<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let op = kernel.op();
        let name: String = attributes::get(op, KERNEL_ATTRIBUTE)
            .ok_or("convert-graph-to-launch: a graph.kernel is not outlined; run outline-kernels first")?;
        let symbols: Vec<i64> = attributes::get(op, SYMBOLS_ATTRIBUTE).unwrap_or_default();
        let mut buffers: Vec<Value> = kernel.inputs().into_iter().map(|input| self.buffer(input)).collect::<Result<_, _>>()?;
        for result in op.results() {
            buffers.push(self.destination(result.into(), to)?);
        }
        let outputs = op.result_count() as i64;
        let dispatch = launch::Dispatch::create(self.context, op.location(), &buffers, name, outputs, symbols, kernel.nodes());
        let dispatch = to.append_operation(dispatch);
        if let Ok(pairs) = op.attribute(IN_PLACE_ATTRIBUTE) {
            attributes::set(dispatch, IN_PLACE_ATTRIBUTE, pairs);
        }
        Ok(())
    }

    fn call_extern(&mut self, call: graph::CallExtern<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (op, location) = (call.op(), call.op().location());
        let mut buffers: Vec<Value> = call.inputs().into_iter().map(|input| self.buffer(input)).collect::<Result<_, _>>()?;
        for result in op.results() {
            buffers.push(self.destination(result.into(), to)?);
        }
        let registers = self.registers(location, to);
        let dims = call_extern::dims(call)?.iter().map(|dim| registers.extent(dim)).collect::<Result<Vec<_>, _>>()?;
        let (outputs, scalars) = (op.result_count() as i64, call.scalars());
        let launched = launch::CallExtern::create(self.context, location, &buffers, &dims, call.name(), call.signature(), outputs, scalars);
        to.append_operation(launched);
        Ok(())
    }

    /// Gives a symbol the value of a scalar.
    fn size(&self, size: graph::Size<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let location = size.op().location();
        let value = self.register(size.value(), location, to)?;
        let symbol = self.symbols.get(size.symbol() as usize);
        let what = symbol.ok_or_else(|| format!("graph.size: the function has no symbol {}", size.symbol()))?.clone();
        to.append_operation(launch::SetSymbol::create(self.context, location, value, size.symbol(), size.bounds(), what));
        Ok(())
    }

    fn branch(&mut self, branch: graph::If<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (op, location) = (branch.op(), branch.op().location());
        let host = host_positions(op);
        let condition = self.register(branch.condition(), location, to)?;
        let buffers: Vec<usize> = (0..op.result_count()).filter(|i| !host.contains(i)).collect();
        let result = |i: usize| -> Result<Value, String> { Ok(op.result(i).map_err(|e| e.to_string())?.into()) };
        let targets: Vec<Value> = buffers.iter().map(|i| self.destination(result(*i)?, to)).collect::<Result<_, _>>()?;
        let mut regions = vec![];
        for from in [branch.then_body(), branch.else_body()] {
            let from = from.first_block().ok_or("graph.if: a branch has no block")?;
            let (region, inner) = new_region(&[]);
            let yields: Vec<Value> = from.terminator().ok_or("graph.if: a branch has no terminator")?.operands().collect();
            let tensors: Vec<Value> = buffers.iter().map(|i| yields[*i]).collect();
            // SAFETY: the handle refers to the same live block.
            self.block(unsafe { BlockRef::from_raw(from.to_raw()) }, inner, &tensors, &targets)?;
            let registers = host.iter().map(|i| self.register(yields[*i], location, inner)).collect::<Result<Vec<_>, _>>()?;
            inner.append_operation(OperationBuilder::new("scf.yield", location).add_operands(&registers).build().expect("a yield builds"));
            regions.push(region);
        }
        let types = host.iter().map(|i| self.register_type(result(*i)?)).collect::<Result<Vec<_>, String>>()?;
        let scf = OperationBuilder::new("scf.if", location).add_operands(&[condition]).add_results(&types).add_regions_vec(regions).build();
        let scf = to.append_operation(scf.map_err(|e| e.to_string())?);
        for (i, register) in host.iter().zip(scf.results()) {
            // SAFETY: the result lives as long as the block.
            self.bind_register(result(*i)?, unsafe { Value::from_raw(register.to_raw()) }, to)?;
        }
        Ok(())
    }

    fn register_type(&self, tensor: Value<'c, '_>) -> Result<Type<'c>, String> {
        let width = if TensorType::of(tensor)?.element == ElementType::Bool { 1 } else { 64 };
        Ok(IntegerType::new(self.context, width).into())
    }

    fn repeat(&mut self, repeat: graph::While<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (op, location) = (repeat.op(), repeat.op().location());
        let host = host_positions(op);
        let initial = repeat.initial();
        let result = |i: usize| -> Result<Value, String> { Ok(op.result(i).map_err(|e| e.to_string())?.into()) };
        let starts = host.iter().map(|i| self.register(initial[*i], location, to)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<Type> = starts.iter().map(|start| start.r#type()).collect();
        // Positions and buffers of the other carried values.
        let mut state = vec![];
        for i in (0..initial.len()).filter(|i| !host.contains(i)) {
            let (result, start) = (result(i)?, self.buffer(initial[i])?);
            let buffer = if !self.wanted.contains_key(&result.to_raw().ptr) && self.dies_at(initial[i], op) {
                self.bind(result, start);
                start
            } else {
                self.destination(result, to)?
            };
            if buffer != start {
                to.append_operation(launch::Copy::create(self.context, location, start, buffer));
            }
            state.push((i, buffer));
        }

        let before = repeat.before().first_block().ok_or("graph.while: no condition block")?;
        let body = repeat.body().first_block().ok_or("graph.while: no body block")?;
        // SAFETY: the handles refer to the same live blocks.
        let (before, body): (BlockRef, BlockRef) = unsafe { (BlockRef::from_raw(before.to_raw()), BlockRef::from_raw(body.to_raw())) };
        let mut regions = vec![];
        for from in [before, body] {
            let (region, inner) = new_region(&types.iter().map(|r#type| (*r#type, location)).collect::<Vec<_>>());
            regions.push(region);
            let argument = |i: usize| -> Result<Value, String> { Ok(from.argument(i).map_err(|e| e.to_string())?.into()) };
            for (i, buffer) in &state {
                self.bind(argument(*i)?, *buffer);
            }
            for (register, i) in host.iter().enumerate() {
                let register: Value = inner.argument(register).map_err(|e| e.to_string())?.into();
                // SAFETY: the argument lives as long as the block.
                self.bind_register(argument(*i)?, unsafe { Value::from_raw(register.to_raw()) }, inner)?;
            }
            let yields: Vec<Value> = from.terminator().ok_or("graph.while: no terminator")?.operands().collect();
            if regions.len() == 1 {
                self.block(from, inner, &[], &[])?;
                let condition = self.register(yields[0], location, inner)?;
                let passed: Vec<Value> = (0..host.len()).map(|i| inner.argument(i).expect("as many as registers").into()).collect();
                let end = OperationBuilder::new("scf.condition", location).add_operands(&[&[condition][..], &passed].concat()).build();
                inner.append_operation(end.map_err(|e| e.to_string())?);
                continue;
            }
            for (i, buffer) in &state {
                if self.last_to_read(argument(*i)?, yields[*i], from) {
                    self.want(yields[*i], *buffer, from, inner)?;
                }
            }
            self.block(from, inner, &[], &[])?;
            let next: Vec<Value> = state.iter().map(|(i, _)| yields[*i]).collect();
            let buffers: Vec<Value> = state.iter().map(|(_, buffer)| *buffer).collect();
            self.advance(&next, &buffers, location, inner)?;
            let registers = host.iter().map(|i| self.register(yields[*i], location, inner)).collect::<Result<Vec<_>, _>>()?;
            inner.append_operation(OperationBuilder::new("scf.yield", location).add_operands(&registers).build().expect("a yield builds"));
        }
        let scf = OperationBuilder::new("scf.while", location).add_operands(&starts).add_results(&types).add_regions_vec(regions).build();
        let scf = to.append_operation(scf.map_err(|e| e.to_string())?);
        for (i, register) in host.iter().zip(scf.results()) {
            // SAFETY: the result lives as long as the block.
            self.bind_register(result(*i)?, unsafe { Value::from_raw(register.to_raw()) }, to)?;
        }
        Ok(())
    }

    /// Whether what makes `next` in block `body` may write over `state`: every other read of it comes before, and its own are element by element.
    fn last_to_read(&self, state: Value<'c, '_>, next: Value<'c, '_>, body: BlockRef<'c, '_>) -> bool {
        let Some(writer) = first_writer(next).filter(|writer| stands_in(*writer, body)) else { return false };
        let mut reads = vec![];
        reads_of(state, &mut reads);
        reads.into_iter().all(|(user, tensor)| {
            let Some(at) = ancestor_in(user, body) else { return false };
            if at != writer {
                return is_before(at, writer);
            }
            let operands: Vec<usize> =
                (0..user.operand_count()).filter(|i| user.operand(*i).is_ok_and(|operand| operand == tensor)).collect();
            let [operand] = operands[..] else { return false };
            if graph::DynamicUpdateSlice::cast(user).is_some() {
                return operand == 0 && tensor == state;
            }
            if graph::While::cast(user).is_some() {
                let begun = OperationResult::try_from(next).is_ok_and(|next| next.owner() == user && next.result_number() == operand);
                return begun && tensor == state;
            }
            let pairs: Vec<i64> = attributes::get(user, IN_PLACE_ATTRIBUTE).unwrap_or_default();
            let inputs = user.operand_count() as i64;
            self.in_place && user == writer && pairs.chunks_exact(2).any(|pair| pair == [operand as i64, inputs])
        })
    }

    /// Copies the next loop state over the old one. State that moves between positions goes through buffers of its own first.
    fn advance(&self, next: &[Value<'c, '_>], state: &[Value<'c, 'a>], location: Location<'c>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let mut sources = vec![];
        let made_there = |tensor: &Value, target: &Value| self.wanted.get(&tensor.to_raw().ptr) == Some(target);
        let roots: Vec<Value> = state.iter().map(|buffer| root_of(*buffer)).collect();
        let moves = next.iter().zip(state).filter(|(tensor, target)| !made_there(tensor, target)).collect::<Vec<_>>();
        for (tensor, target) in &moves {
            let source = self.buffer(**tensor)?;
            let root = root_of(source);
            if root != root_of(**target) && roots.contains(&root) {
                let saved = self.arena(tensor.r#type(), location, to)?;
                to.append_operation(launch::Copy::create(self.context, location, source, saved));
                sources.push(saved);
            } else {
                sources.push(source);
            }
        }
        for (source, (_, target)) in sources.into_iter().zip(moves).filter(|(source, (_, target))| root_of(*source) != root_of(**target)) {
            to.append_operation(launch::Copy::create(self.context, location, source, *target));
        }
        Ok(())
    }
}

/// Whether the op that makes this tensor can make it in a given buffer.
fn made_in_place(tensor: Value) -> bool {
    OperationResult::try_from(tensor).is_ok_and(|result| {
        let owner = result.owner();
        if graph::If::cast(owner).is_some() || graph::While::cast(owner).is_some() {
            return !host_positions(owner).contains(&result.result_number());
        }
        let writes = graph::Kernel::cast(owner).is_some() || graph::CallExtern::cast(owner).is_some() || graph::Fail::cast(owner).is_some();
        writes || is_host(owner)
    })
}

/// Whether the op is host arithmetic, or a copy that the launch program makes itself.
fn is_host(op: OperationRef) -> bool {
    op.attribute(HOST_ATTRIBUTE).is_ok()
}

/// Positions of the results of a loop or branch that are registers.
fn host_positions(op: OperationRef) -> Vec<usize> {
    let positions: Vec<i64> = attributes::get(op, HOST_ATTRIBUTE).unwrap_or_default();
    positions.into_iter().filter_map(|position| usize::try_from(position).ok()).collect()
}

/// Whether a user of a host scalar reads it from a buffer.
fn reads_buffer(user: OperationRef, tensor: Value) -> bool {
    let operands = (0..user.operand_count()).filter(|i| user.operand(*i).is_ok_and(|operand| operand == tensor));
    let first_start = if graph::DynamicSlice::cast(user).is_some() { 1 } else { 2 };
    if graph::DynamicSlice::cast(user).is_some() || graph::DynamicUpdateSlice::cast(user).is_some() {
        return !is_host(user) || operands.into_iter().any(|i| i < first_start);
    }
    if graph::While::cast(user).is_some() {
        let host = host_positions(user);
        return operands.into_iter().any(|i| !host.contains(&i));
    }
    if graph::Yield::cast(user).is_some() {
        let Some(parent) = user.parent_operation() else { return true };
        let host = host_positions(parent);
        let is_condition = graph::While::cast(parent)
            .and_then(|repeat| repeat.before().first_block())
            .is_some_and(|before| user.block().is_some_and(|block| block.to_raw().ptr == before.to_raw().ptr));
        return !is_condition && operands.into_iter().any(|i| !host.contains(&i));
    }
    graph::If::cast(user).is_none() && graph::Size::cast(user).is_none() && !is_host(user)
}

/// The first op that writes to where a tensor is made: what it starts out as may be made there already.
fn first_writer<'c: 'a, 'a>(tensor: Value<'c, 'a>) -> Option<OperationRef<'c, 'a>> {
    let result = OperationResult::try_from(tensor).ok()?;
    // SAFETY: an op lives as long as its results.
    let owner: OperationRef = unsafe { OperationRef::from_raw(result.owner().to_raw()) };
    if let Some(reshape) = graph::Reshape::cast(owner).filter(|_| !is_host(owner)) {
        return first_writer(reshape.input());
    }
    let start = start_of(owner, result.result_number()).filter(|start| writer_stands_beside(*start, owner));
    start.map_or(Some(owner), first_writer)
}

/// What a result of a loop or of an update of a box starts out as, if nothing else uses that.
fn start_of<'c: 'a, 'a>(op: OperationRef<'c, 'a>, result: usize) -> Option<Value<'c, 'a>> {
    let start = match graph::While::cast(op) {
        Some(_) => op.operand(result).ok()?,
        None => graph::DynamicUpdateSlice::cast(op)?.input(),
    };
    (walk::users(start).count() == 1).then_some(start)
}

/// Whether an op of the same block as `op` makes the tensor.
fn writer_stands_beside(tensor: Value, op: OperationRef) -> bool {
    OperationResult::try_from(tensor).is_ok_and(|result| op.block().is_some_and(|block| stands_in(result.owner(), block)))
}

/// Ops that read a tensor, with what they read: the tensor or another view of it.
fn reads_of<'c: 'a, 'a>(tensor: Value<'c, 'a>, reads: &mut Vec<(OperationRef<'c, 'a>, Value<'c, 'a>)>) {
    for user in walk::users(tensor) {
        match graph::Reshape::cast(user).filter(|_| !is_host(user)) {
            Some(reshape) => reads_of(reshape.result(), reads),
            None => reads.push((user, tensor)),
        }
    }
}

fn stands_in(op: OperationRef, block: BlockRef) -> bool {
    op.block().is_some_and(|own| own.to_raw().ptr == block.to_raw().ptr)
}

/// The op of `block` that is `op` or holds it.
fn ancestor_in<'c: 'a, 'a>(mut op: OperationRef<'c, 'a>, block: BlockRef) -> Option<OperationRef<'c, 'a>> {
    while !stands_in(op, block) {
        // SAFETY: the parent lives as long as what it holds.
        op = unsafe { OperationRef::from_raw(op.parent_operation()?.to_raw()) };
    }
    Some(op)
}

/// Whether one op of a block stands before another.
fn is_before(a: OperationRef, b: OperationRef) -> bool {
    let mut next = a.next_in_block();
    while let Some(op) = next {
        if op.to_raw().ptr == b.to_raw().ptr {
            return true;
        }
        // SAFETY: ops of the block outlive the walk.
        next = unsafe { OperationRef::from_raw(op.to_raw()) }.next_in_block();
    }
    false
}

/// A region with one block, and a reference to that block.
fn new_region<'c: 'a, 'a>(arguments: &[(Type<'c>, Location<'c>)]) -> (Region<'c>, BlockRef<'c, 'a>) {
    let region = Region::new();
    // SAFETY: the block moves with the region, which becomes part of the program: it lives as long as every other buffer.
    let block = unsafe { BlockRef::from_raw(region.append_block(Block::new(arguments)).to_raw()) };
    (region, block)
}

/// The buffer behind views.
pub fn root_of<'c, 'a>(buffer: Value<'c, 'a>) -> Value<'c, 'a> {
    let view = OperationResult::try_from(buffer).ok().and_then(|result| launch::View::cast(result.owner()));
    match view {
        // SAFETY: the source lives as long as the view does.
        Some(view) => root_of(unsafe { Value::from_raw(view.source().to_raw()) }),
        None => buffer,
    }
}
