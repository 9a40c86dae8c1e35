//! `split-wide-values`: 64-bit integers that loops and conditionals carry -> pairs of 32-bit words, joined again where they are used.
//!
//! `arith-emulate-wide-int` knows arithmetic but no `scf`. Refuses `scf.while`.

use crate::gpu::builder::{
    Before, Op, Val, block_arguments, block_ref, blocks_of, build, erase, integer, move_to_end, name_of, op_ref, operands,
    operations_below, operations_in, replace_uses, results,
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        Attribute, Block, BlockLike, BlockRef, OperationRef, Region, RegionLike, Type, ValueLike,
        attribute::IntegerAttribute,
        operation::{OperationBuilder, OperationLike},
    },
};
use winze_mlir::pass::RustPass;

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
        let context: &Context = unsafe { op.context().to_ref() };
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

fn split_types<'c>(context: &'c Context, types: impl Iterator<Item = Type<'c>>) -> Vec<Type<'c>> {
    types.flat_map(|t| if is_wide(context, t) { vec![integer(context, 32); 2] } else { vec![t] }).collect()
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

/// Appends operations, or puts them after one.
struct Join<'c, 'f> {
    context: &'c Context,
    one: &'f mut dyn FnMut(&str, &[Val<'c>], Type<'c>, Option<Attribute<'c>>) -> Result<Val<'c>, String>,
}

impl<'c> Join<'c, '_> {
    /// Values of the old types from the words.
    fn join(&mut self, types: &[Type<'c>], words: &[Val<'c>]) -> Result<Vec<Val<'c>>, String> {
        let wide = integer(self.context, 64);
        let mut words = words.iter().copied();
        let mut next = || words.next().ok_or("split-wide-values: a word is missing".to_string());
        let mut values = vec![];
        for r#type in types {
            let low = next()?;
            if *r#type != wide {
                values.push(low);
                continue;
            }
            let high = next()?;
            let low = (self.one)("arith.extui", &[low], wide, None)?;
            let high = (self.one)("arith.extui", &[high], wide, None)?;
            let shift = (self.one)("arith.constant", &[], wide, Some(IntegerAttribute::new(wide, 32).into()))?;
            let high = (self.one)("arith.shli", &[high, shift], wide, None)?;
            values.push((self.one)("arith.ori", &[low, high], wide, None)?);
        }
        Ok(values)
    }
}

fn rebuild<'c>(context: &'c Context, op: Op<'c>) -> Result<(), String> {
    let location = op.location();
    let inputs = operands(op);
    let old_results = results(op);
    let old_types: Vec<Type<'c>> = old_results.iter().map(|r| r.r#type()).collect();
    let before = Before::new(context, op);
    let is_loop = name_of(op) == "scf.for";
    let new_inputs = if is_loop { [inputs[..3].to_vec(), split(&before, &inputs[3..])?].concat() } else { inputs };

    let mut regions = vec![];
    for block in blocks_of(op) {
        let arguments = block_arguments(block);
        let types: Vec<Type<'c>> = arguments.iter().map(|a| a.r#type()).collect();
        let new_types: Vec<_> = split_types(context, types.iter().copied()).into_iter().map(|t| (t, location)).collect();
        let region = Region::new();
        let new: BlockRef<'c, 'c> = block_ref(region.append_block(Block::new(&new_types)));
        let mut append = |name: &str, operands: &[Val<'c>], r#type: Type<'c>, value: Option<Attribute<'c>>| {
            let attributes: Vec<_> = value.iter().map(|v| ("value", *v)).collect();
            let op = op_ref(&new.append_operation(build(name, location, operands, &[r#type], &attributes)?));
            Ok(results(op)[0])
        };
        let joined = Join { context, one: &mut append }.join(&types, &block_arguments(new))?;
        for (old, new) in arguments.iter().zip(joined) {
            replace_uses(*old, new);
        }
        for inner in operations_in(block) {
            if name_of(inner) == "scf.yield" {
                let words = split(&Before::new(context, inner), &operands(inner))?;
                let r#yield = build("scf.yield", inner.location(), &words, &[], &[])?;
                for inner in operations_in(block).into_iter().filter(|o| name_of(*o) != "scf.yield") {
                    move_to_end(inner, new);
                }
                new.append_operation(r#yield);
                erase(inner);
                break;
            }
            move_to_end(inner, new);
        }
        regions.push(region);
    }
    let rebuilt = OperationBuilder::new(&name_of(op), location)
        .add_operands(&new_inputs)
        .add_results(&split_types(context, old_types.iter().copied()))
        .add_regions_vec(regions)
        .build()
        .map_err(|e| format!("split-wide-values: cannot rebuild {}: {e}", name_of(op)))?;
    let block = op.block().ok_or("operation outside a block")?;
    let rebuilt = op_ref(&block.insert_operation_before(op, rebuilt));
    let mut insert = |name: &str, operands: &[Val<'c>], r#type: Type<'c>, value: Option<Attribute<'c>>| {
        let attributes: Vec<_> = value.iter().map(|v| ("value", *v)).collect();
        before.one(name, operands, r#type, &attributes)
    };
    let joined = Join { context, one: &mut insert }.join(&old_types, &results(rebuilt))?;
    for (old, new) in old_results.into_iter().zip(joined) {
        replace_uses(old, new);
    }
    erase(op);
    Ok(())
}
