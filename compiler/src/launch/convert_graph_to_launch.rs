//! `convert-graph-to-launch`: a function of `graph.kernel`s, views and control flow -> a `launch.program` on buffers without places.
//!
//! Every tensor gets a buffer. Results of the function and of branches are written where they are needed, when the op that makes them stands in
//! the same block; else they are copied. Loop state lives in buffers of its own and is copied at the end of each iteration.
//! Assumes outlined kernels (`winze.kernel` on each `graph.kernel`); refuses any other graph op.

use super::{
    IN_PLACE_ATTRIBUTE, KERNEL_ATTRIBUTE, SYMBOLS_ATTRIBUTE, extents,
    registers::{Registers, append},
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        Block, BlockLike, BlockRef, Location, Operation, OperationRef, Region, RegionLike, Type, Value, ValueLike,
        operation::{OperationBuilder, OperationLike, OperationResult},
    },
};
use std::{collections::HashMap, ffi::c_void};
use winze_graph::{dialect as graph, dim::Dim, types::TensorType};
use winze_launch as launch;
use winze_mlir::{attributes, locations, pass::RustPass, walk};

/// The pass.
pub struct ConvertGraphToLaunch;

impl RustPass for ConvertGraphToLaunch {
    const ARGUMENT: &'static str = "convert-graph-to-launch";
    const DESCRIPTION: &'static str = "Turn host functions into launch programs";
    const ANCHOR: &'static str = "builtin.module";

    fn dialects() -> Vec<DialectHandle> {
        vec![launch::handle(), DialectHandle::arith(), DialectHandle::scf(), DialectHandle::memref()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, module: OperationRef<'_, '_>) -> Result<(), String> {
        let context = winze_mlir::context::context_of(module);
        for block in walk::blocks(module) {
            for func in walk::operations(block).filter(|op| op.name().as_string_ref().as_str() == Ok("func.func")) {
                let program = convert(context, func)?;
                block.insert_operation_before(func, program);
                walk::erase(func);
            }
        }
        Ok(())
    }
}

fn convert<'c>(context: &'c Context, func: OperationRef<'c, '_>) -> Result<Operation<'c>, String> {
    let body = walk::blocks(func).into_iter().next().ok_or("convert-graph-to-launch: the function has no body")?;
    let block = Block::new(&[]);
    // SAFETY: the block outlives the converter.
    let prologue = unsafe { BlockRef::from_raw(block.to_raw()) };
    let symbols: Vec<String> = winze_graph::types::symbol_names(func);
    let mut converter = Converter { context, symbols: symbols.clone(), buffers: HashMap::new(), wanted: HashMap::new() };
    for i in 0..body.argument_count() {
        let argument: Value = body.argument(i).expect("in range").into();
        let (dims, memref) = converter.buffer_type(argument.r#type())?;
        let input =
            launch::Input::create(context, locations::of_value(argument), i as i64, extents::to_attribute(context, &dims), &[memref]);
        converter.bind(argument, append(prologue, input));
    }
    let terminator = body.terminator().ok_or("convert-graph-to-launch: the function has no terminator")?;
    let results: Vec<Value> = terminator.operands().collect();
    let mut outputs = vec![];
    for (i, result) in results.iter().enumerate() {
        let (dims, memref) = converter.buffer_type(result.r#type())?;
        let map = extents::to_attribute(context, &dims);
        outputs.push(append(prologue, launch::Output::create(context, locations::of_value(*result), i as i64, map, &[memref])));
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
        if let Some(reshape) = graph::Reshape::cast(owner) {
            let source = reshape.input();
            if self.wanted.contains_key(&source.to_raw().ptr) || !made_by_kernel(source) {
                return Ok(());
            }
            let view = self.view(target, source.r#type(), reshape.op().location(), to)?;
            self.wanted.insert(tensor.to_raw().ptr, target);
            return self.want(source, view, from, to);
        }
        if made_by_kernel(tensor) {
            self.wanted.insert(tensor.to_raw().ptr, target);
        }
        Ok(())
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
            Some(graph::AnyOp::Dim(dim)) => {
                let axis = dim.axis() as usize;
                let extent = TensorType::of(dim.input())?.dims.get(axis).cloned().ok_or("graph.dim: its input lacks the axis")?;
                let value = self.registers(location, to).extent(&extent)?;
                self.bind_register(dim.result(), value, to)
            }
            Some(graph::AnyOp::Size(size)) => self.size(size, to),
            Some(graph::AnyOp::If(branch)) => self.branch(branch, to),
            Some(graph::AnyOp::While(repeat)) => self.repeat(repeat, to),
            Some(graph::AnyOp::Yield(_)) => Ok(()),
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

    /// Puts a register where kernels read it as the only element of `tensor`.
    fn bind_register(&mut self, tensor: Value<'c, '_>, register: Value<'c, 'a>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let location = locations::of_value(tensor);
        let buffer = self.destination(tensor, to)?;
        let zero = self.registers(location, to).number(0);
        to.append_operation(launch::Store::create(self.context, location, register, buffer, zero));
        Ok(())
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

    /// Gives a symbol the value of a scalar.
    fn size(&self, size: graph::Size<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let location = size.op().location();
        let value = self.first(size.value(), self.registers(location, to).integer(), location, to)?;
        let symbol = self.symbols.get(size.symbol() as usize);
        let what = symbol.ok_or_else(|| format!("graph.size: the function has no symbol {}", size.symbol()))?.clone();
        to.append_operation(launch::SetSymbol::create(self.context, location, value, size.symbol(), size.bounds(), what));
        Ok(())
    }

    /// The first element of a bool tensor, on the host.
    fn condition(&self, tensor: Value<'c, '_>, location: Location<'c>, to: BlockRef<'c, 'a>) -> Result<Value<'c, 'a>, String> {
        self.first(tensor, self.registers(location, to).boolean(), location, to)
    }

    /// The first element of a tensor, on the host.
    fn first(
        &self,
        tensor: Value<'c, '_>,
        register: Type<'c>,
        location: Location<'c>,
        to: BlockRef<'c, 'a>,
    ) -> Result<Value<'c, 'a>, String> {
        let zero = self.registers(location, to).number(0);
        Ok(append(to, launch::Load::create(self.context, location, self.buffer(tensor)?, zero, &[register])))
    }

    fn branch(&mut self, branch: graph::If<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (op, location) = (branch.op(), branch.op().location());
        let condition = self.condition(branch.condition(), location, to)?;
        let targets: Vec<Value> = op.results().map(|result| self.destination(result.into(), to)).collect::<Result<_, _>>()?;
        let mut regions = vec![];
        for from in [branch.then_body(), branch.else_body()] {
            let from = from.first_block().ok_or("graph.if: a branch has no block")?;
            regions.push(self.region(from, &targets)?);
        }
        let scf = OperationBuilder::new("scf.if", location).add_operands(&[condition]).add_regions_vec(regions).build();
        to.append_operation(scf.map_err(|e| e.to_string())?);
        Ok(())
    }

    /// A region with the converted block, ended by `scf.yield`.
    fn region(&mut self, from: BlockRef<'c, '_>, targets: &[Value<'c, 'a>]) -> Result<Region<'c>, String> {
        let region = Region::new();
        // SAFETY: the block moves into the region, which becomes part of the program: it lives as long as every other buffer.
        let to: BlockRef<'c, 'a> = unsafe { BlockRef::from_raw(region.append_block(Block::new(&[])).to_raw()) };
        let terminator = from.terminator().ok_or("a region has no terminator")?;
        let results: Vec<Value> = terminator.operands().collect();
        // SAFETY: the handle refers to the same live block.
        let from = unsafe { BlockRef::from_raw(from.to_raw()) };
        self.block(from, to, &results, targets)?;
        to.append_operation(OperationBuilder::new("scf.yield", terminator.location()).build().expect("a terminator builds"));
        Ok(region)
    }

    fn repeat(&mut self, repeat: graph::While<'c, '_>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let (op, location) = (repeat.op(), repeat.op().location());
        let mut state = vec![];
        for (initial, result) in repeat.initial().into_iter().zip(op.results()) {
            let buffer = self.destination(result.into(), to)?;
            to.append_operation(launch::Copy::create(self.context, location, self.buffer(initial)?, buffer));
            state.push(buffer);
        }
        let before = repeat.before().first_block().ok_or("graph.while: no condition block")?;
        let body = repeat.body().first_block().ok_or("graph.while: no body block")?;
        for block in [before, body] {
            for (i, buffer) in state.iter().enumerate() {
                self.bind(block.argument(i).map_err(|e| e.to_string())?.into(), *buffer);
            }
        }

        let before_region = Region::new();
        // SAFETY: as in `region`.
        let (before, before_to): (BlockRef, BlockRef<'c, 'a>) =
            unsafe { (BlockRef::from_raw(before.to_raw()), BlockRef::from_raw(before_region.append_block(Block::new(&[])).to_raw())) };
        self.block(before, before_to, &[], &[])?;
        let terminator = before.terminator().ok_or("graph.while: no condition")?;
        let condition = self.condition(terminator.operand(0).map_err(|e| e.to_string())?, location, before_to)?;
        let end = OperationBuilder::new("scf.condition", location).add_operands(&[condition]).build();
        before_to.append_operation(end.map_err(|e| e.to_string())?);

        let body_region = Region::new();
        // SAFETY: as in `region`.
        let (body, body_to): (BlockRef, BlockRef<'c, 'a>) =
            unsafe { (BlockRef::from_raw(body.to_raw()), BlockRef::from_raw(body_region.append_block(Block::new(&[])).to_raw())) };
        self.block(body, body_to, &[], &[])?;
        let next: Vec<Value> = body.terminator().ok_or("graph.while: no terminator")?.operands().collect();
        self.advance(&next, &state, location, body_to)?;
        body_to.append_operation(OperationBuilder::new("scf.yield", location).build().expect("a terminator builds"));

        let scf = OperationBuilder::new("scf.while", location).add_regions_vec(vec![before_region, body_region]).build();
        to.append_operation(scf.map_err(|e| e.to_string())?);
        Ok(())
    }

    /// Copies the next loop state over the old one. State that moves between positions goes through buffers of its own first.
    fn advance(&self, next: &[Value<'c, '_>], state: &[Value<'c, 'a>], location: Location<'c>, to: BlockRef<'c, 'a>) -> Result<(), String> {
        let mut sources = vec![];
        for (tensor, target) in next.iter().zip(state) {
            let source = self.buffer(*tensor)?;
            let root = root_of(source);
            if root != *target && state.contains(&root) {
                let saved = self.arena(tensor.r#type(), location, to)?;
                to.append_operation(launch::Copy::create(self.context, location, source, saved));
                sources.push(saved);
            } else {
                sources.push(source);
            }
        }
        for (source, target) in sources.into_iter().zip(state).filter(|(source, target)| source != *target) {
            to.append_operation(launch::Copy::create(self.context, location, source, *target));
        }
        Ok(())
    }
}

/// Whether a kernel or branch makes this tensor, so that it can be made in a given buffer.
fn made_by_kernel(tensor: Value) -> bool {
    OperationResult::try_from(tensor).is_ok_and(|result| {
        let owner = result.owner();
        graph::Kernel::cast(owner).is_some() || graph::If::cast(owner).is_some()
    })
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
