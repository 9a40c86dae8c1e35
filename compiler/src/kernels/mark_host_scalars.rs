//! `mark-host-scalars`: a function of graph ops -> the same function where each op that the launch program computes in registers is marked.
//!
//! Host scalars are i64 and bool tensors of one element that follow from extents, constants and each other, loop counters among them; and what a
//! condition needs of the function's inputs and of one element that a kernel makes. Their ops get the attribute `winze.host`, loops and branches the
//! positions of such results. Boxes that dynamic slices and updates at such positions move are marked too, if they are contiguous: they become copies.
//! Everything unmarked is a kernel's. Assumes canonicalized, CSE'd graph ops.

use crate::launch::HOST_ATTRIBUTE;
use melior::ir::{
    Attribute, BlockLike, BlockRef, OperationRef, RegionLike, Value, ValueLike,
    operation::{OperationLike, OperationResult},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::c_void,
};
use winze_graph::{
    dialect::{Constant, Dim, DynamicSlice, DynamicUpdateSlice, If, Size, While},
    op::op_name,
    types::{ElementType, TensorType},
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    context::context_of,
    pass::RustPass,
    walk,
};

/// The pass.
pub struct MarkHostScalars;

impl RustPass for MarkHostScalars {
    const ARGUMENT: &'static str = "mark-host-scalars";
    const DESCRIPTION: &'static str = "Mark what the launch program computes in registers";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let mut ops = vec![];
        walk::walk(func, &mut |op| {
            ops.push(op);
            Ok::<(), String>(())
        })?;
        let inputs: HashSet<Key> = walk::blocks(func)
            .first()
            .map(|entry| arguments(*entry).filter(|input| is_scalar(*input)).map(key).collect())
            .unwrap_or_default();
        let mut marks = Marks {
            free: closed(&ops, &HashSet::new()),
            known: closed(&ops, &inputs),
            ops: BTreeMap::new(),
            positions: BTreeMap::new(),
            needed: HashSet::new(),
        };
        for op in &ops {
            if let Some(branch) = If::cast(*op) {
                marks.condition(branch.condition());
            } else if let Some(size) = Size::cast(*op) {
                marks.condition(size.value());
            } else if While::cast(*op).is_some() {
                marks.condition(yielded(*op, 0)?.first().copied().ok_or("graph.while: no condition")?);
            }
            for result in op.results().map(Value::from) {
                if marks.free.contains(&key(result)) {
                    marks.need(result);
                }
            }
        }
        for op in &ops {
            let starts = if DynamicSlice::cast(*op).is_some() {
                1
            } else if DynamicUpdateSlice::cast(*op).is_some() {
                2
            } else {
                continue;
            };
            if op.operands().skip(starts).all(|start| marks.known.contains(&key(start))) && contiguous(*op)? {
                op.operands().skip(starts).for_each(|start| marks.need(start));
                marks.ops.insert(op.to_raw().ptr, *op);
            }
        }
        for op in marks.ops.values() {
            attributes::set(*op, HOST_ATTRIBUTE, Attribute::unit(context_of(*op)));
        }
        for (op, positions) in marks.positions.values() {
            let positions: Vec<i64> = positions.iter().map(|position| *position as i64).collect();
            attributes::set(*op, HOST_ATTRIBUTE, positions.to_attribute(context_of(*op)));
        }
        Ok(())
    }
}

type Key = *const c_void;

fn key(value: Value) -> Key {
    value.to_raw().ptr
}

fn arguments<'c: 'a, 'a>(block: BlockRef<'c, 'a>) -> impl Iterator<Item = Value<'c, 'a>> {
    // SAFETY: arguments live as long as their block, not only as this handle to it.
    (0..block.argument_count()).map(move |i| unsafe { Value::from_raw(block.argument(i).expect("in range").to_raw()) })
}

/// The only block of a region.
fn block_of<'c: 'a, 'a>(op: OperationRef<'c, 'a>, region: usize) -> Result<BlockRef<'c, 'a>, String> {
    let region = op.region(region).map_err(|e| e.to_string())?;
    let block = region.first_block().ok_or("mark-host-scalars: a region has no block")?;
    // SAFETY: the block lives as long as the op.
    Ok(unsafe { BlockRef::from_raw(block.to_raw()) })
}

/// What a region yields.
fn yielded<'c: 'a, 'a>(op: OperationRef<'c, 'a>, region: usize) -> Result<Vec<Value<'c, 'a>>, String> {
    let end = block_of(op, region)?.terminator().ok_or("mark-host-scalars: a region has no terminator")?;
    // SAFETY: the values live as long as the op that uses them.
    Ok(end.operands().map(|value| unsafe { Value::from_raw(value.to_raw()) }).collect())
}

/// Whether a register can hold the tensor.
fn is_scalar(value: Value) -> bool {
    TensorType::of(value).is_ok_and(|r#type| {
        matches!(r#type.element, ElementType::I64 | ElementType::Bool) && r#type.dims.iter().all(|dim| dim.as_static() == Some(1))
    })
}

/// Whether an op makes the value that the launch program can compute from registers.
fn computed(value: Value) -> bool {
    OperationResult::try_from(value).is_ok_and(|result| computable(result.owner()))
        && sources(value).is_some_and(|sources| sources.into_iter().all(is_scalar))
}

/// Whether the launch program can compute the op from registers.
fn computable(op: OperationRef) -> bool {
    let bools = op.operands().any(|operand| TensorType::of(operand).is_ok_and(|r#type| r#type.element == ElementType::Bool));
    match op_name(op).as_str() {
        "graph.dim" | "graph.constant" | "graph.reshape" | "graph.convert" | "graph.select" => true,
        "graph.add" | "graph.sub" | "graph.mul" | "graph.div" | "graph.rem" | "graph.mod" | "graph.neg" | "graph.abs" => true,
        "graph.minimum" | "graph.maximum" | "graph.and" | "graph.or" | "graph.xor" | "graph.not" | "graph.eq" | "graph.ne" => true,
        "graph.lt" | "graph.le" | "graph.gt" | "graph.ge" => !bools,
        _ => false,
    }
}

/// What each value follows from: operands, or for loops and branches the values of the regions.
fn sources<'c: 'a, 'a>(value: Value<'c, 'a>) -> Option<Vec<Value<'c, 'a>>> {
    if let Some(argument) = walk::block_argument(value) {
        // SAFETY: the op holds the block that holds the argument.
        let owner: OperationRef = unsafe { OperationRef::from_raw(argument.owner().parent_operation()?.to_raw()) };
        let position = argument.argument_number();
        return While::cast(owner).is_some().then(|| vec![owner.result(position).expect("verified").into()]);
    }
    let result = OperationResult::try_from(value).ok()?;
    // SAFETY: an op lives as long as its results.
    let owner: OperationRef = unsafe { OperationRef::from_raw(result.owner().to_raw()) };
    let position = result.result_number();
    if While::cast(owner).is_some() {
        return Some(vec![owner.operand(position).ok()?, *yielded(owner, 1).ok()?.get(position)?]);
    }
    if If::cast(owner).is_some() {
        return Some(vec![*yielded(owner, 0).ok()?.get(position)?, *yielded(owner, 1).ok()?.get(position)?]);
    }
    if Dim::cast(owner).is_some() {
        return Some(vec![]);
    }
    computable(owner).then(|| owner.operands().collect())
}

/// The largest set of scalars that follow from `seeds` and each other.
fn closed(ops: &[OperationRef], seeds: &HashSet<Key>) -> HashSet<Key> {
    let mut values: Vec<Value> = vec![];
    for op in ops {
        values.extend(op.results().map(Value::from));
        if While::cast(*op).is_some() {
            walk::blocks(*op).into_iter().for_each(|block| values.extend(arguments(block)));
        }
    }
    values.retain(|value| is_scalar(*value));
    let mut members: HashSet<Key> = values.iter().map(|value| key(*value)).chain(seeds.iter().copied()).collect();
    loop {
        let before = members.len();
        for value in &values {
            let follows = sources(*value).is_some_and(|sources| sources.iter().all(|source| members.contains(&key(*source))));
            if !follows {
                members.remove(&key(*value));
            }
        }
        if members.len() == before {
            return members;
        }
    }
}

struct Marks<'c, 'a> {
    /// Scalars that follow from extents and constants.
    free: HashSet<Key>,
    /// Scalars that follow from these and the function's inputs.
    known: HashSet<Key>,
    ops: BTreeMap<*mut c_void, OperationRef<'c, 'a>>,
    /// Loops and branches with the positions of their host scalars.
    positions: BTreeMap<*mut c_void, (OperationRef<'c, 'a>, BTreeSet<usize>)>,
    needed: HashSet<Key>,
}

impl<'c: 'a, 'a> Marks<'c, 'a> {
    /// The value of a condition or a size: in registers, unless that means to read more than one element that kernels make.
    fn condition(&mut self, value: Value<'c, 'a>) {
        let mut made = HashSet::new();
        if is_scalar(value) && self.kernels_behind(value, &mut made) && made.len() <= 1 && !made.contains(&key(value)) {
            self.need(value);
        }
    }

    /// Collects the elements made by kernels that `value` is computed from; false if that is too many to follow.
    fn kernels_behind(&self, value: Value<'c, 'a>, made: &mut HashSet<Key>) -> bool {
        if self.known.contains(&key(value)) {
            return true;
        }
        match sources(value).filter(|_| computed(value)) {
            Some(sources) => sources.into_iter().all(|source| self.kernels_behind(source, made)),
            None => {
                made.insert(key(value));
                made.len() <= 1
            }
        }
    }

    /// Marks what computes `value` in a register, as far as it is no kernel.
    fn need(&mut self, value: Value<'c, 'a>) {
        if !(self.known.contains(&key(value)) || computed(value)) || !self.needed.insert(key(value)) {
            return;
        }
        if let Ok(result) = OperationResult::try_from(value) {
            // SAFETY: an op lives as long as its results.
            let owner: OperationRef = unsafe { OperationRef::from_raw(result.owner().to_raw()) };
            if While::cast(owner).is_some() || If::cast(owner).is_some() {
                self.positions.entry(owner.to_raw().ptr).or_insert_with(|| (owner, BTreeSet::new())).1.insert(result.result_number());
            } else if Constant::cast(owner).is_none() {
                self.ops.insert(owner.to_raw().ptr, owner);
            }
        }
        // An extent follows from the type of its operand.
        sources(value).unwrap_or_default().into_iter().for_each(|source| self.need(source));
    }
}

/// Whether the box that a dynamic slice or update moves is one range of the tensor: axes of extent 1, then at most one that is cut, then whole ones.
fn contiguous(op: OperationRef) -> Result<bool, String> {
    let whole = TensorType::of(op.operand(0).map_err(|e| e.to_string())?)?.dims;
    let part = match DynamicUpdateSlice::cast(op) {
        Some(update) => update.update(),
        None => op.result(0).map_err(|e| e.to_string())?.into(),
    };
    let part = TensorType::of(part)?.dims;
    let cut = part.iter().position(|dim| dim.as_static() != Some(1)).unwrap_or(part.len());
    Ok((cut + 1..part.len()).all(|axis| part[axis] == whole[axis]))
}
