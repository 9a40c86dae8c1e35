//! A planned `launch.program` -> the runtime's `Program`.
//!
//! Structured control flow becomes branches; SSA registers get numbers, symbols first. Assumes `plan-arena` ran; refuses ops that are neither
//! `launch` nor the scalar part of `arith` nor `scf.if` / `scf.while` on registers.

use super::extents;
use melior::ir::{
    BlockLike, BlockRef, OperationRef, RegionLike, TypeLike, Value, ValueLike,
    attribute::{FloatAttribute, IntegerAttribute},
    operation::OperationLike,
};
use std::{collections::HashMap, ffi::c_void};
use winze_graph::{
    dim::{Dim, DimStep},
    types::ElementType,
};
use winze_launch as launch;
use winze_mlir::{attributes, walk};
use winze_runtime::artifact::{
    expr::{Expr, ExprOp},
    manifest::{ElementType as Storage, Extern},
    program::{BoolOp, Buffer, BufferId, FloatOp, Instruction, IntOp, Place, Predicate, Program, Register},
};

/// What the artifact knows that the IR does not.
pub trait Resolver {
    /// How a target stores elements of a type.
    fn storage(&self, element: ElementType) -> Result<Storage, String>;
    /// Index in the manifest of the constant that an op names.
    fn constant(&mut self, op: launch::Constant) -> Result<u32, String>;
    /// Index in the variant of a dispatch: kernel name and the nodes it computes.
    fn dispatch(&mut self, kernel: &str, nodes: Vec<String>) -> Result<u32, String>;
    /// Index in the variant of a kernel that the host brings.
    fn external(&mut self, external: Extern) -> Result<u32, String>;
    /// Index of a function of the model.
    fn function(&self, name: &str) -> Result<u32, String>;
}

/// Encodes one program.
pub fn encode(program: launch::Program, resolver: &mut dyn Resolver) -> Result<Program, String> {
    let symbols = program.symbols().len() as u32;
    let mut encoder = Encoder {
        resolver,
        registers: HashMap::new(),
        next: symbols,
        buffers: HashMap::new(),
        table: vec![],
        code: vec![],
        first_found: 0,
    };
    let body = walk::blocks(program.op()).into_iter().next().ok_or("encode: a program without a body")?;
    // Checks that hold for the whole run come first, so that they say what is wrong with the dims before anything else does.
    let found =
        walk::named(program.op(), launch::SetSymbol::NAME).into_iter().filter_map(launch::SetSymbol::cast).map(|set| set.symbol() as u32);
    encoder.first_found = found.min().unwrap_or(u32::MAX);
    for check in walk::operations(body).filter_map(launch::Check::cast) {
        if encoder.is_known_at_start(check)? {
            encoder.check(check)?;
        }
    }
    encoder.block(body)?;
    encoder.code.push(Instruction::Return);
    let arena = extents::from_attribute(program.arena())?;
    let arena = arena.first().ok_or("encode: a program without an arena size")?;
    Ok(Program { registers: encoder.next, buffers: encoder.table, arena: expr_of(arena), code: encoder.code })
}

/// An extent as the runtime evaluates it.
pub fn expr_of(dim: &Dim) -> Expr {
    if let Some(value) = dim.as_static() {
        return Expr::constant(value);
    }
    Expr(
        dim.postfix()
            .into_iter()
            .map(|step| match step {
                DimStep::Const(value) => ExprOp::Const(value),
                DimStep::Symbol(symbol) => ExprOp::Symbol(symbol),
                DimStep::Add => ExprOp::Add,
                DimStep::Mul => ExprOp::Mul,
                DimStep::FloorDiv => ExprOp::FloorDiv,
            })
            .collect(),
    )
}

struct Encoder<'r> {
    resolver: &'r mut dyn Resolver,
    registers: HashMap<*const c_void, Register>,
    next: Register,
    buffers: HashMap<*const c_void, BufferId>,
    table: Vec<Buffer>,
    code: Vec<Instruction>,
    /// The first symbol that is found while running.
    first_found: u32,
}

impl Encoder<'_> {
    fn block(&mut self, block: BlockRef) -> Result<(), String> {
        for op in walk::operations(block) {
            self.op(op).map_err(|e| format!("encode: {e} at {}", op.location()))?;
        }
        Ok(())
    }

    fn op(&mut self, op: OperationRef) -> Result<(), String> {
        let name = op.name();
        let name = name.as_string_ref().as_str().unwrap_or("");
        match launch::AnyOp::cast(op) {
            Some(op) => self.launch(op),
            None => match name {
                "scf.if" => self.branch(op),
                "scf.while" => self.repeat(op),
                // The op around it reads its operands.
                "scf.yield" => Ok(()),
                _ => self.arithmetic(name, op),
            },
        }
    }

    fn launch(&mut self, op: launch::AnyOp) -> Result<(), String> {
        use launch::AnyOp;
        match op {
            AnyOp::Symbol(symbol) => {
                self.registers.insert(symbol.result().to_raw().ptr, symbol.index() as Register);
            }
            AnyOp::Input(input) => {
                self.buffer(input.result(), extents::from_attribute(input.extents())?, Place::Input(input.index() as u32))?
            }
            AnyOp::Output(output) => {
                self.buffer(output.result(), extents::from_attribute(output.extents())?, Place::Output(output.index() as u32))?
            }
            AnyOp::State(state) => {
                let element = ElementType::from_type(extents::element_of(state.result().r#type()))?;
                let bytes = Dim::from(self.resolver.storage(element)?.bytes() as i64);
                let offset = extents::from_attribute(state.offset())?;
                let offset = expr_of(&(offset.first().ok_or("a state without an offset")? * &bytes));
                let place = Place::State { state: state.index() as u32, offset };
                self.buffer(state.result(), extents::from_attribute(state.extents())?, place)?
            }
            AnyOp::NextState(state) => {
                self.buffer(state.result(), extents::from_attribute(state.extents())?, Place::NextState(state.index() as u32))?
            }
            AnyOp::Constant(constant) => {
                let dims = static_dims(constant.result())?;
                let place = Place::Constant(self.resolver.constant(constant)?);
                self.buffer(constant.result(), dims, place)?
            }
            AnyOp::Arena(arena) => {
                let offset = extents::from_attribute(arena.offset())?;
                let offset = offset.first().ok_or("an arena buffer without an offset")?;
                if offset.as_static() == Some(-1) {
                    // Nothing uses it, so the planner left it out.
                    return Ok(());
                }
                self.buffer(arena.result(), extents::from_attribute(arena.extents())?, Place::Arena(expr_of(offset)))?
            }
            AnyOp::View(view) => {
                let source = self.table[self.buffer_id(view.source())? as usize].place.clone();
                self.buffer(view.result(), extents::from_attribute(view.extents())?, source)?
            }
            AnyOp::Dispatch(dispatch) => {
                let buffers = dispatch.buffers().into_iter().map(|buffer| self.buffer_id(buffer)).collect::<Result<_, _>>()?;
                let dims = dispatch.symbols().into_iter().map(|symbol| symbol as Register).collect();
                let dispatch = self.resolver.dispatch(&dispatch.kernel(), dispatch.nodes())?;
                self.code.push(Instruction::Dispatch { dispatch, buffers, dims, scalars: vec![] });
            }
            AnyOp::Copy(copy) => {
                let (src, dst) = (self.buffer_id(copy.source())?, self.buffer_id(copy.target())?);
                self.code.push(Instruction::Copy { src, src_offset: None, dst, dst_offset: None, bytes: None });
            }
            AnyOp::CopyPart(copy) => {
                let (src, dst) = (self.buffer_id(copy.source())?, self.buffer_id(copy.target())?);
                let src_offset = Some(self.bytes(copy.source_offset(), src)?);
                let dst_offset = Some(self.bytes(copy.target_offset(), dst)?);
                let bytes = Some(self.bytes(copy.count(), src)?);
                self.code.push(Instruction::Copy { src, src_offset, dst, dst_offset, bytes });
            }
            AnyOp::Load(load) => {
                let (buffer, index) = (self.buffer_id(load.source())?, self.register(load.index())?);
                let dst = self.define(load.result());
                self.code.push(Instruction::Load { dst, buffer, index });
            }
            AnyOp::Store(store) => {
                let (src, buffer, index) = (self.register(store.value())?, self.buffer_id(store.target())?, self.register(store.index())?);
                self.code.push(Instruction::Store { src, buffer, index });
            }
            AnyOp::SetSymbol(set) => {
                let bounds = extents::from_attribute(set.bounds())?;
                let [lower, upper] = &bounds[..] else { return Err("a size needs a smallest and a largest value".into()) };
                let (lower, upper, what) = (expr_of(lower), expr_of(upper), set.what());
                self.code.push(Instruction::SetSymbol {
                    symbol: set.symbol() as u32,
                    value: self.register(set.value())?,
                    lower,
                    upper,
                    what,
                });
            }
            AnyOp::Barrier(_) => self.code.push(Instruction::Barrier),
            AnyOp::Call(call) => {
                let symbols = call.symbols().into_iter().map(|symbol| self.register(symbol)).collect::<Result<_, _>>()?;
                let inputs = call.inputs().into_iter().map(|buffer| self.buffer_id(buffer)).collect::<Result<_, _>>()?;
                let outputs = call.outputs().into_iter().map(|buffer| self.buffer_id(buffer)).collect::<Result<_, _>>()?;
                let function = self.resolver.function(&call.callee())?;
                let arena = extents::from_attribute(call.arena())?;
                let arena = expr_of(arena.first().ok_or("a call without an arena offset")?);
                self.code.push(Instruction::Call { function, symbols, inputs, outputs, arena });
            }
            AnyOp::CallExtern(call) => {
                let buffers = call.buffers().into_iter().map(|buffer| self.buffer_id(buffer)).collect::<Result<Vec<_>, _>>()?;
                let dims = call.dims().into_iter().map(|dim| self.register(dim)).collect::<Result<Vec<_>, _>>()?;
                let storage: Vec<Storage> = buffers.iter().map(|buffer| self.table[*buffer as usize].storage).collect();
                let first_output = usize::try_from(call.outputs()).ok().and_then(|outputs| storage.len().checked_sub(outputs));
                let (inputs, outputs) = storage.split_at(first_output.ok_or("a call with more outputs than buffers")?);
                let external = self.resolver.external(Extern {
                    name: call.name(),
                    signature: call.signature(),
                    inputs: inputs.to_vec(),
                    outputs: outputs.to_vec(),
                    dims: dims.len() as u32,
                    scalars: call.scalars().len() as u32,
                })?;
                let scalars = call.scalars().into_iter().map(|value| {
                    let dst = self.fresh();
                    self.code.push(Instruction::ConstInt { dst, value });
                    dst
                });
                let scalars = scalars.collect();
                self.code.push(Instruction::CallExtern { external, buffers, dims, scalars });
            }
            AnyOp::Check(check) => {
                let first = check.op().parent_operation().is_some_and(|op| launch::Program::cast(op).is_some());
                if !first || !self.is_known_at_start(check)? {
                    self.check(check)?;
                }
            }
            AnyOp::Fail(fail) => self.code.push(Instruction::Fail { message: fail.message() }),
            AnyOp::Program(_) => return Err("a program inside a program".into()),
        }
        Ok(())
    }

    /// Whether the inputs determine what a check compares.
    fn is_known_at_start(&self, check: launch::Check) -> Result<bool, String> {
        let dims = [extents::from_attribute(check.lhs())?, extents::from_attribute(check.rhs())?].concat();
        Ok(dims.iter().all(|dim| dim.symbol_count() <= self.first_found))
    }

    fn check(&mut self, check: launch::Check) -> Result<(), String> {
        let predicate = if check.relation() == "eq" { Predicate::Eq } else { Predicate::Le };
        for (lhs, rhs) in extents::from_attribute(check.lhs())?.iter().zip(&extents::from_attribute(check.rhs())?) {
            self.code.push(Instruction::Check { predicate, lhs: expr_of(lhs), rhs: expr_of(rhs), message: check.message() });
        }
        Ok(())
    }

    fn buffer(&mut self, value: Value, dims: Vec<Dim>, place: Place) -> Result<(), String> {
        let storage = self.resolver.storage(ElementType::from_type(extents::element_of(value.r#type()))?)?;
        let dims: Vec<Expr> = dims.iter().map(expr_of).collect();
        self.buffers.insert(value.to_raw().ptr, self.table.len() as BufferId);
        self.table.push(Buffer { storage, capacities: dims.clone(), dims, place });
        Ok(())
    }

    fn buffer_id(&self, value: Value) -> Result<BufferId, String> {
        self.buffers.get(&value.to_raw().ptr).copied().ok_or_else(|| "a buffer is used before it is made".into())
    }

    fn register(&self, value: Value) -> Result<Register, String> {
        self.registers.get(&value.to_raw().ptr).copied().ok_or_else(|| "a register is used before it is set".into())
    }

    fn define(&mut self, value: Value) -> Register {
        let register = self.fresh();
        self.registers.insert(value.to_raw().ptr, register);
        register
    }

    fn fresh(&mut self) -> Register {
        self.next += 1;
        self.next - 1
    }

    /// Bytes of as many stored elements of a buffer.
    fn bytes(&mut self, count: Value, buffer: BufferId) -> Result<Register, String> {
        let (lhs, rhs, dst) = (self.register(count)?, self.fresh(), self.fresh());
        self.code.push(Instruction::ConstInt { dst: rhs, value: self.table[buffer as usize].storage.bytes() as i64 });
        self.code.push(Instruction::Int { op: IntOp::Mul, dst, lhs, rhs });
        Ok(dst)
    }

    /// Sets registers to what `block` yields, all at once.
    fn assign(&mut self, targets: &[Register], block: BlockRef) -> Result<(), String> {
        let end = block.terminator().ok_or("a region without a terminator")?;
        let sources = end.operands().map(|source| self.register(source)).collect::<Result<Vec<_>, _>>()?;
        if sources.len() != targets.len() {
            return Err(format!("{} values yielded for {} registers", sources.len(), targets.len()));
        }
        let mut moves: Vec<(Register, Register)> = targets.iter().copied().zip(sources).filter(|(dst, src)| dst != src).collect();
        // What another move overwrites goes through a register of its own.
        for i in 0..moves.len() {
            let src = moves[i].1;
            if moves.iter().any(|(dst, _)| *dst == src) {
                let dst = self.fresh();
                self.code.push(Instruction::Move { dst, src });
                moves[i].1 = dst;
            }
        }
        self.code.extend(moves.into_iter().map(|(dst, src)| Instruction::Move { dst, src }));
        Ok(())
    }

    fn here(&self) -> u32 {
        self.code.len() as u32
    }

    fn branch(&mut self, op: OperationRef) -> Result<(), String> {
        let condition = self.register(op.operand(0).map_err(|e| e.to_string())?)?;
        let results: Vec<Register> = op.results().map(|result| self.define(result.into())).collect();
        let branch = self.here();
        self.code.push(Instruction::Branch { condition, on_true: branch + 1, on_false: 0 });
        let mut bodies = op.regions();
        if let Some(block) = bodies.next().and_then(|region| region.first_block()) {
            self.block(block)?;
            self.assign(&results, block)?;
        }
        let jump = self.here();
        self.code.push(Instruction::Jump { target: 0 });
        let on_false = self.here();
        if let Some(block) = bodies.next().and_then(|region| region.first_block()) {
            self.block(block)?;
            self.assign(&results, block)?;
        }
        let end = self.here();
        self.code[branch as usize] = Instruction::Branch { condition, on_true: branch + 1, on_false };
        self.code[jump as usize] = Instruction::Jump { target: end };
        Ok(())
    }

    /// One register per carried value, in both regions and after the loop. The condition passes them on as they are.
    fn repeat(&mut self, op: OperationRef) -> Result<(), String> {
        let blocks = walk::blocks(op);
        let [before, after] = blocks[..] else { return Err("an scf.while without two blocks".into()) };
        let mut carried = vec![];
        for i in 0..op.operand_count() {
            let src = self.register(op.operand(i).map_err(|e| e.to_string())?)?;
            let dst = self.fresh();
            self.code.push(Instruction::Move { dst, src });
            carried.push(dst);
            let (before, after) = (before.argument(i).map_err(|e| e.to_string())?, after.argument(i).map_err(|e| e.to_string())?);
            let result = op.result(i).map_err(|e| e.to_string())?;
            for value in [before.into(), after.into(), Value::from(result)] {
                self.registers.insert(value.to_raw().ptr, dst);
            }
        }
        let start = self.here();
        let mut condition = None;
        for op in walk::operations(before) {
            if op.name().as_string_ref().as_str() != Ok("scf.condition") {
                self.op(op)?;
                continue;
            }
            let passed = op.operands().skip(1).map(|value| self.register(value)).collect::<Result<Vec<_>, _>>()?;
            if passed != carried {
                return Err("an scf.condition that passes on other values than it was given".into());
            }
            condition = Some(self.register(op.operand(0).map_err(|e| e.to_string())?)?);
        }
        let condition = condition.ok_or("an scf.while without a condition")?;
        let branch = self.here();
        self.code.push(Instruction::Branch { condition, on_true: branch + 1, on_false: 0 });
        self.block(after)?;
        self.assign(&carried, after)?;
        self.code.push(Instruction::Jump { target: start });
        let end = self.here();
        self.code[branch as usize] = Instruction::Branch { condition, on_true: branch + 1, on_false: end };
        Ok(())
    }

    fn arithmetic(&mut self, name: &str, op: OperationRef) -> Result<(), String> {
        let operands = op.operands().map(|operand| self.register(operand)).collect::<Result<Vec<_>, _>>()?;
        let result: Value = op.result(0).map_err(|_| format!("'{name}' has no place in a launch program"))?.into();
        let is_bool = attributes::bit_width(result.r#type()) == Some(1);
        let dst = self.define(result);
        let pair = || match operands[..] {
            [lhs, rhs] => Ok((lhs, rhs)),
            _ => Err(format!("'{name}' has {} operands", operands.len())),
        };
        let int = |op| pair().map(|(lhs, rhs)| Instruction::Int { op, dst, lhs, rhs });
        let float = |op| pair().map(|(lhs, rhs)| Instruction::Float { op, dst, lhs, rhs });
        let bits = |on_bool, on_int| {
            pair().map(|(lhs, rhs)| match is_bool {
                true => Instruction::Bool { op: on_bool, dst, lhs, rhs },
                false => Instruction::Int { op: on_int, dst, lhs, rhs },
            })
        };
        let instruction = match name {
            "arith.constant" => constant(op, dst)?,
            "arith.addi" => int(IntOp::Add)?,
            "arith.subi" => int(IntOp::Sub)?,
            "arith.muli" => int(IntOp::Mul)?,
            "arith.floordivsi" => int(IntOp::FloorDiv)?,
            "arith.ceildivsi" => int(IntOp::CeilDiv)?,
            "arith.minsi" => int(IntOp::Min)?,
            "arith.maxsi" => int(IntOp::Max)?,
            "arith.shli" => int(IntOp::Shl)?,
            "arith.shrsi" => int(IntOp::Shr)?,
            "arith.andi" => bits(BoolOp::And, IntOp::And)?,
            "arith.ori" => bits(BoolOp::Or, IntOp::Or)?,
            "arith.xori" => bits(BoolOp::Xor, IntOp::Xor)?,
            "arith.addf" => float(FloatOp::Add)?,
            "arith.subf" => float(FloatOp::Sub)?,
            "arith.mulf" => float(FloatOp::Mul)?,
            "arith.divf" => float(FloatOp::Div)?,
            "arith.minimumf" => float(FloatOp::Min)?,
            "arith.maximumf" => float(FloatOp::Max)?,
            "arith.cmpi" => {
                let (lhs, rhs) = pair()?;
                let predicate: i64 = attributes::get(op, "predicate").ok_or("a comparison without a predicate")?;
                Instruction::CompareInt { predicate: int_predicate(predicate)?, dst, lhs, rhs }
            }
            "arith.select" => match operands[..] {
                [condition, on_true, on_false] => Instruction::Select { dst, condition, on_true, on_false },
                _ => return Err("a select without three operands".into()),
            },
            "arith.extui" => Instruction::Move { dst, src: operands[0] },
            "arith.sitofp" => Instruction::IntToFloat { dst, src: operands[0] },
            "arith.fptosi" => Instruction::FloatToInt { dst, src: operands[0] },
            _ => return Err(format!("'{name}' has no place in a launch program")),
        };
        self.code.push(instruction);
        Ok(())
    }
}

fn constant(op: OperationRef, dst: Register) -> Result<Instruction, String> {
    let value = op.attribute("value").map_err(|e| e.to_string())?;
    if let Ok(integer) = IntegerAttribute::try_from(value) {
        return Ok(match attributes::bit_width(op.result(0).map_err(|e| e.to_string())?.r#type()) {
            Some(1) => Instruction::ConstBool { dst, value: integer.value() != 0 },
            _ => Instruction::ConstInt { dst, value: integer.value() },
        });
    }
    let float = FloatAttribute::try_from(value).map_err(|_| format!("the constant {value} is neither integer nor float"))?;
    Ok(Instruction::ConstFloat { dst, value: float.value() })
}

/// arith's signed comparison predicates, by number.
fn int_predicate(predicate: i64) -> Result<Predicate, String> {
    Ok(match predicate {
        0 => Predicate::Eq,
        1 => Predicate::Ne,
        2 => Predicate::Lt,
        3 => Predicate::Le,
        4 => Predicate::Gt,
        5 => Predicate::Ge,
        _ => return Err("an unsigned comparison; registers are signed".into()),
    })
}

/// Extents of a buffer without symbols.
fn static_dims(buffer: Value) -> Result<Vec<Dim>, String> {
    let memref = buffer.r#type();
    // SAFETY: buffers are memrefs; indices are below the rank.
    let extents = unsafe {
        let rank = mlir_sys::mlirShapedTypeGetRank(memref.to_raw());
        (0..rank).map(|i| mlir_sys::mlirShapedTypeGetDimSize(memref.to_raw(), i as isize)).collect::<Vec<i64>>()
    };
    if extents.iter().any(|extent| *extent < 0) {
        return Err(format!("a constant of type {memref}; constants have static extents"));
    }
    Ok(extents.into_iter().map(Dim::from).collect())
}
