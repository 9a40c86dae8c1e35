//! `split-wide-values`: 64-bit integers that loops and conditionals carry -> pairs of 32-bit words, joined again where they are used.
//!
//! `arith-emulate-wide-int` knows arithmetic but no `scf`. Refuses `scf.while`.

use crate::gpu::builder::{
    Before, Op, Val, block_arguments, blocks_of, context_of, integer, name_of, op_ref, operands, operations_below, operations_in, results,
};
use crate::gpu::distribute_elements::emitter::region_with;
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        BlockLike, BlockRef, OperationRef, Region, Type, ValueLike,
        operation::{OperationBuilder, OperationLike},
    },
};
use winze_mlir::{pass::RustPass, walk};

pub struct SplitWideValues;

impl RustPass for SplitWideValues {
    const ARGUMENT: &'static str = "split-wide-values";
    const DESCRIPTION: &'static str = "Carry 64-bit integers through scf.for and scf.if as two 32-bit words";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith(), DialectHandle::scf()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let context = context_of(op_ref(&op));
        // Innermost first, so that an operation's regions are final when it is rebuilt.
        for inner in operations_below(op_ref(&op)).into_iter().rev() {
            if !results(inner).iter().any(|r| is_wide(context, r.r#type())) {
                continue;
            }
            match name_of(inner).as_str() {
                "scf.for" | "scf.if" => rebuild(context, inner)?,
                "scf.while" => return Err(format!("split-wide-values: scf.while at {}: write it as scf.for", inner.location())),
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_wide(context: &Context, r#type: Type<'_>) -> bool {
    r#type == integer(context, 64)
}

fn split_types<'c>(context: &'c Context, types: &[Type<'c>]) -> Vec<Type<'c>> {
    types.iter().flat_map(|t| if is_wide(context, *t) { vec![integer(context, 32); 2] } else { vec![*t] }).collect()
}

/// Words of the wide values among `values`, low one first, computed before an operation.
fn split<'c>(before: &Before<'c>, values: &[Val<'c>]) -> Result<Vec<Val<'c>>, String> {
    let word = integer(before.context, 32);
    let mut words = vec![];
    for value in values {
        if !is_wide(before.context, value.r#type()) {
            words.push(*value);
            continue;
        }
        words.push(before.one("arith.trunci", &[*value], word, &[])?);
        let shift = before.constant(integer(before.context, 64), 32)?;
        let high = before.one("arith.shrui", &[*value, shift], value.r#type(), &[])?;
        words.push(before.one("arith.trunci", &[high], word, &[])?);
    }
    Ok(words)
}

/// Values of the given types from their words, computed before an operation.
fn join<'c>(before: &Before<'c>, types: &[Type<'c>], words: &[Val<'c>]) -> Result<Vec<Val<'c>>, String> {
    let wide = integer(before.context, 64);
    let mut words = words.iter().copied();
    let mut next = || words.next().ok_or("split-wide-values: a word is missing".to_string());
    let mut values = vec![];
    for r#type in types {
        let low = next()?;
        if *r#type != wide {
            values.push(low);
            continue;
        }
        let low = before.one("arith.extui", &[low], wide, &[])?;
        let high = before.one("arith.extui", &[next()?], wide, &[])?;
        let shift = before.constant(wide, 32)?;
        let high = before.one("arith.shli", &[high, shift], wide, &[])?;
        values.push(before.one("arith.ori", &[low, high], wide, &[])?);
    }
    Ok(values)
}

/// Replaces a loop or conditional by one that carries words.
fn rebuild<'c>(context: &'c Context, op: Op<'c>) -> Result<(), String> {
    let inputs = operands(op);
    let old_results = results(op);
    let old_types: Vec<Type<'c>> = old_results.iter().map(|r| r.r#type()).collect();
    let before = Before::new(context, op);
    let inputs = match name_of(op).as_str() {
        "scf.for" => [inputs[..3].to_vec(), split(&before, &inputs[3..])?].concat(),
        _ => inputs,
    };
    let mut regions = vec![];
    for block in blocks_of(op) {
        regions.push(rebuild_block(context, op, block)?);
    }
    let rebuilt = OperationBuilder::new(&name_of(op), op.location())
        .add_operands(&inputs)
        .add_results(&split_types(context, &old_types))
        .add_regions_vec(regions)
        .build()
        .map_err(|e| format!("split-wide-values: cannot rebuild {}: {e}", name_of(op)))?;
    let block = op.block().ok_or("operation outside a block")?;
    let rebuilt = op_ref(&block.insert_operation_before(op, rebuilt));
    for (old, new) in old_results.into_iter().zip(join(&before, &old_types, &results(rebuilt))?) {
        walk::replace_all_uses(old, new);
    }
    walk::erase(op);
    Ok(())
}

/// A region with the block's operations, whose arguments and yielded values are words.
fn rebuild_block<'c>(context: &'c Context, op: Op<'c>, block: BlockRef<'c, 'c>) -> Result<Region<'c>, String> {
    let arguments = block_arguments(block);
    let types: Vec<Type<'c>> = arguments.iter().map(|a| a.r#type()).collect();
    let new_types: Vec<_> = split_types(context, &types).into_iter().map(|t| (t, op.location())).collect();
    let (region, new) = region_with(&new_types);
    let operations = operations_in(block);
    for inner in &operations {
        walk::move_to_end(*inner, new);
    }
    let (Some(first), Some(last)) = (operations.first(), operations.last()) else { return Err("split-wide-values: empty block".into()) };
    for (old, new) in arguments.iter().zip(join(&Before::new(context, *first), &types, &block_arguments(new))?) {
        walk::replace_all_uses(*old, new);
    }
    let at_end = Before::new(context, *last);
    let words = split(&at_end, &operands(*last))?;
    at_end.insert("scf.yield", &words, &[], &[])?;
    walk::erase(*last);
    Ok(region)
}
