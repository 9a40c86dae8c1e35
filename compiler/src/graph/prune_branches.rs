//! `prune-branches`: conditionals on constants -> the branch that is taken; results and carried values that nothing needs are dropped.
//!
//! A carried value is needed if the loop's result is used, if the condition reads it, or if the next value of one that is needed depends on it. One that
//! never changes is the initial value. Loops stay even if their condition is constant. Inputs of the function stay as they are.

use super::chain::producer;
use crate::kernels::insert::place;
use melior::ir::{
    BlockLike, BlockRef, OperationRef, Region, RegionLike, Type, Value, ValueLike,
    operation::{OperationLike, OperationResult},
};
use std::collections::HashSet;
use winze_graph::{
    dialect::{Constant, If, While},
    ops::constant::read_constant,
};
use winze_mlir::{context::context_of, pass::RustPass, walk};

/// The pass.
pub struct PruneBranches;

impl RustPass for PruneBranches {
    const ARGUMENT: &'static str = "prune-branches";
    const DESCRIPTION: &'static str = "Take the branch of a constant condition; drop unused results of conditionals and loops";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        // Inner ones first: what they drop, outer ones need no more.
        for op in walk::find(func, |op| If::cast(op).is_some() || While::cast(op).is_some()).into_iter().rev() {
            if let Some(conditional) = If::cast(op) {
                match known_condition(conditional) {
                    Some(condition) => take(conditional, condition)?,
                    None => drop_results(conditional)?,
                }
            } else if let Some(repeated) = While::cast(op) {
                replace_unchanged(repeated)?;
                drop_carried(repeated)?;
            }
        }
        Ok(())
    }
}

fn known_condition(conditional: If) -> Option<bool> {
    let constant = Constant::cast(producer(conditional.condition())?)?;
    Some(read_constant(constant.value()).ok()?.get(0).bool())
}

/// The only block of a region.
fn block<'c: 'a, 'a>(op: OperationRef<'c, 'a>, region: usize) -> Result<BlockRef<'c, 'a>, String> {
    let block = op.region(region).ok().and_then(|region| region.first_block()).ok_or("prune-branches: a region without a block")?;
    // SAFETY: the block lives as long as the op.
    Ok(unsafe { BlockRef::from_raw(block.to_raw()) })
}

fn terminator<'c: 'a, 'a>(block: BlockRef<'c, 'a>) -> Result<OperationRef<'c, 'a>, String> {
    walk::operations(block).last().ok_or_else(|| "prune-branches: a block without a terminator".to_string())
}

/// Moves the ops of a branch in front of the conditional, which goes away.
fn take(conditional: If, condition: bool) -> Result<(), String> {
    let op = conditional.op();
    let branch = block(op, usize::from(!condition))?;
    let end = terminator(branch)?;
    for inner in walk::operations(branch).filter(|inner| *inner != end).collect::<Vec<_>>() {
        // SAFETY: both stand in blocks; what the branch reads is defined in front of the conditional.
        unsafe { mlir_sys::mlirOperationMoveBefore(inner.to_raw(), op.to_raw()) }
    }
    op.results().zip(end.operands()).for_each(|(result, value)| walk::replace_all_uses(result.into(), value));
    walk::erase(op);
    Ok(())
}

fn is_used(value: Value) -> bool {
    walk::users(value).next().is_some()
}

/// Keeps the operands of a terminator at the positions `kept`.
fn keep_operands(end: OperationRef, kept: &[usize]) -> Result<(), String> {
    let operands = kept.iter().map(|i| end.operand(*i).map(|value| value.to_raw())).collect::<Result<Vec<_>, _>>();
    let operands = operands.map_err(|e| e.to_string())?;
    // SAFETY: live values of the same op; their number is that of the list.
    unsafe { mlir_sys::mlirOperationSetOperands(end.to_raw(), operands.len() as isize, operands.as_ptr()) }
    Ok(())
}

/// Erases what nothing uses, last first.
pub(super) fn erase_unused(block: BlockRef) -> Result<(), String> {
    let end = terminator(block)?;
    for op in walk::operations(block).collect::<Vec<_>>().into_iter().rev() {
        // What has no results, as graph.size, is there for what it does.
        if op != end && op.result_count() > 0 && op.results().all(|result| !is_used(result.into())) {
            walk::erase(op);
        }
    }
    Ok(())
}

/// The blocks of an op's region in a region of their own.
fn taken<'c>(op: OperationRef<'c, '_>, region: usize) -> Result<Region<'c>, String> {
    let (new, old) = (Region::new(), op.region(region).map_err(|e| e.to_string())?);
    // SAFETY: both are live; the old region is left empty, and its op is erased soon.
    unsafe { mlir_sys::mlirRegionTakeBody(new.to_raw(), old.to_raw()) }
    Ok(new)
}

/// Puts `new` in the place of `old`, whose results `kept` are the new one's in order.
fn substitute<'c>(old: OperationRef<'c, '_>, new: melior::ir::Operation<'c>, kept: &[usize]) -> Result<(), String> {
    let new = place(old, new);
    for (i, position) in kept.iter().enumerate() {
        let (result, value) = (old.result(*position).map_err(|e| e.to_string())?, new.result(i).map_err(|e| e.to_string())?);
        walk::replace_all_uses(result.into(), value.into());
    }
    walk::erase(old);
    Ok(())
}

fn types<'c>(op: OperationRef<'c, '_>, kept: &[usize]) -> Vec<Type<'c>> {
    kept.iter().filter_map(|i| Some(op.result(*i).ok()?.r#type())).collect()
}

fn drop_results(conditional: If) -> Result<(), String> {
    let op = conditional.op();
    let kept: Vec<usize> = op.results().enumerate().filter(|(_, result)| is_used((*result).into())).map(|(i, _)| i).collect();
    if kept.len() == op.result_count() {
        return Ok(());
    }
    for region in 0..2 {
        let block = block(op, region)?;
        keep_operands(terminator(block)?, &kept)?;
        erase_unused(block)?;
    }
    let regions = [taken(op, 0)?, taken(op, 1)?];
    let new = If::create(context_of(op), op.location(), conditional.condition(), regions, &types(op, &kept));
    substitute(op, new, &kept)
}

/// Reads a carried value that its loop never changes where it comes from.
fn replace_unchanged(repeated: While) -> Result<(), String> {
    let op = repeated.op();
    let blocks = [block(op, 0)?, block(op, 1)?];
    let end = terminator(blocks[1])?;
    for (i, initial) in repeated.initial().into_iter().enumerate() {
        let [before, body] = [argument(blocks[0], i)?, argument(blocks[1], i)?];
        if end.operand(i) == Ok(body) {
            // The terminator goes on yielding the argument, until the value is dropped.
            [before, body].into_iter().for_each(|argument| walk::replace_all_uses(argument, initial));
            walk::set_operand(end, i, body);
            walk::replace_all_uses(op.result(i).map_err(|e| e.to_string())?.into(), initial);
        }
    }
    Ok(())
}

fn argument<'c: 'a, 'a>(block: BlockRef<'c, 'a>, i: usize) -> Result<Value<'c, 'a>, String> {
    // SAFETY: the argument lives as long as its block.
    block.argument(i).map(|argument| unsafe { Value::from_raw(argument.to_raw()) }).map_err(|e| e.to_string())
}

fn drop_carried(repeated: While) -> Result<(), String> {
    let op = repeated.op();
    let blocks = [block(op, 0)?, block(op, 1)?];
    let initial = repeated.initial();
    let end = terminator(blocks[1])?;
    let arguments = (0..initial.len()).map(|i| argument(blocks[1], i)).collect::<Result<Vec<_>, _>>()?;
    let mut needed: HashSet<usize> = HashSet::new();
    let mut work: Vec<usize> = vec![];
    for i in 0..initial.len() {
        if is_used(op.result(i).map_err(|e| e.to_string())?.into()) || is_used(argument(blocks[0], i)?) {
            work.push(i);
        }
    }
    while let Some(i) = work.pop() {
        if needed.insert(i) {
            let mut seen = HashSet::new();
            read(end.operand(i).map_err(|e| e.to_string())?, &mut seen);
            work.extend((0..arguments.len()).filter(|j| seen.contains(&(arguments[*j].to_raw().ptr as usize))));
        }
    }
    let kept: Vec<usize> = (0..initial.len()).filter(|i| needed.contains(i)).collect();
    if kept.len() == initial.len() || kept.is_empty() {
        return Ok(());
    }
    keep_operands(end, &kept)?;
    erase_unused(blocks[1])?;
    for i in (0..initial.len()).rev().filter(|i| !needed.contains(i)) {
        for block in blocks {
            // SAFETY: nothing uses the argument any more.
            unsafe { mlir_sys::mlirBlockEraseArgument(block.to_raw(), i as u32) }
        }
    }
    let regions = [taken(op, 0)?, taken(op, 1)?];
    let initial: Vec<Value> = kept.iter().map(|i| initial[*i]).collect();
    let new = While::create(context_of(op), op.location(), &initial, regions, &types(op, &kept));
    substitute(op, new, &kept)
}

/// Adds `value` and all that it is computed from.
fn read(value: Value, seen: &mut HashSet<usize>) {
    if !seen.insert(value.to_raw().ptr as usize) {
        return;
    }
    let Ok(result) = OperationResult::try_from(value) else { return };
    let op: OperationRef = result.owner();
    op.operands().for_each(|operand| read(operand, seen));
    walk::find(op, |_| true).into_iter().for_each(|inner| inner.operands().for_each(|operand| read(operand, seen)));
}
