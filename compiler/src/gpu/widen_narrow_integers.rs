//! `widen-narrow-integers`: 8- and 16-bit integers -> 32-bit ones that always hold the sign-extended value.
//!
//! For targets that have 32-bit arithmetic only. Upstream's own emulation leaves bits above the width undefined, which comparisons then see. Refuses
//! operations that it does not know.

use crate::gpu::builder::{
    Before, Op, Val, block_arguments, blocks_of, context_of, integer, integer_width, key, name_of, op_mut, op_ref, operands,
    operations_below, results,
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        OperationRef, Type, ValueLike,
        attribute::IntegerAttribute,
        operation::{OperationLike, OperationMutLike},
    },
};
use std::collections::HashMap;
use winze_mlir::{pass::RustPass, walk};

/// Width in the source program of each value that is narrow there.
type Widths = HashMap<usize, u32>;

pub struct WidenNarrowIntegers;

impl RustPass for WidenNarrowIntegers {
    const ARGUMENT: &'static str = "widen-narrow-integers";
    const DESCRIPTION: &'static str = "Compute 8- and 16-bit integers in 32 bits";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let context = context_of(op_ref(&op));
        let operations = operations_below(op_ref(&op));
        let word = integer(context, 32);
        let mut widths = Widths::new();
        let mut note = |value: Val<'_>| {
            if let Some(width @ (8 | 16)) = integer_width(value.r#type()) {
                widths.insert(key(value), width);
            }
        };
        for op in &operations {
            results(*op).into_iter().for_each(&mut note);
            blocks_of(*op).into_iter().flat_map(block_arguments).for_each(&mut note);
        }
        if widths.is_empty() {
            return Ok(());
        }
        let widen = |value: Val<'_>, widths: &Widths| {
            if widths.contains_key(&key(value)) {
                value.set_type(word);
            }
        };
        for op in &operations {
            let operand_width = operands(*op).iter().find_map(|v| widths.get(&key(*v)).copied());
            let result_width = results(*op).iter().find_map(|v| widths.get(&key(*v)).copied());
            for value in results(*op).into_iter().chain(blocks_of(*op).into_iter().flat_map(block_arguments)) {
                widen(value, &widths);
            }
            if operand_width.is_some() || result_width.is_some() {
                rewrite(context, *op, operand_width, result_width, word, &mut widths)?;
            }
        }
        Ok(())
    }
}

/// Predicates of `arith.cmpi` from this one on compare as unsigned.
const FIRST_UNSIGNED: i64 = 6;

fn rewrite<'c>(
    context: &'c Context,
    op: Op<'c>,
    operand_width: Option<u32>,
    result_width: Option<u32>,
    word: Type<'c>,
    widths: &mut Widths,
) -> Result<(), String> {
    let name = name_of(op);
    match name.as_str() {
        "arith.constant" => {
            let value =
                op.attribute("value").ok().and_then(|v| IntegerAttribute::try_from(v).ok()).ok_or("integer constant without a value")?;
            let shift = 64 - result_width.unwrap_or(32);
            let value = (value.value() << shift) >> shift;
            let mut op = op_mut(op);
            op.set_attribute("value", IntegerAttribute::new(word, value).into());
        }
        // Hold or choose values as they are.
        "arith.select" | "scf.yield" | "scf.for" | "scf.if" | "scf.while" | "scf.condition" | "arith.andi" | "arith.ori" | "arith.xori"
        | "arith.maxsi" | "arith.minsi" | "arith.shrsi" | "arith.remsi" | "arith.sitofp" | "arith.index_cast" => {
            if name == "arith.index_cast" && result_width.is_some() {
                normalize(context, op, result_width, widths)?;
            }
        }
        "arith.addi" | "arith.subi" | "arith.muli" | "arith.shli" | "arith.divsi" | "arith.fptosi" | "arith.fptoui" | "math.absi" => {
            normalize(context, op, result_width, widths)?;
        }
        "arith.divui" | "arith.remui" | "arith.maxui" | "arith.minui" | "arith.shrui" | "arith.uitofp" | "arith.index_castui" => {
            mask(context, op, widths)?;
            normalize(context, op, result_width, widths)?;
        }
        "arith.cmpi" => {
            let predicate = op.attribute("predicate").ok().and_then(|v| IntegerAttribute::try_from(v).ok()).map_or(0, |v| v.value());
            if predicate >= FIRST_UNSIGNED {
                mask(context, op, widths)?;
            }
        }
        "arith.trunci" | "arith.extsi" | "arith.extui" => convert(context, op, operand_width, result_width, word, widths)?,
        other => {
            return Err(format!(
                "unsupported: {other} on integers of {} bits at {}: the target computes in 32 bits; convert to i32 before it",
                operand_width.or(result_width).unwrap_or(8),
                op.location()
            ));
        }
    }
    Ok(())
}

/// Replaces a narrow operand by its zero-extended value.
fn mask<'c>(context: &'c Context, op: Op<'c>, widths: &Widths) -> Result<(), String> {
    let before = Before::new(context, op);
    for (i, operand) in operands(op).into_iter().enumerate() {
        let Some(width) = widths.get(&key(operand)).copied() else { continue };
        let ones = before.constant(integer(context, 32), (1 << width) - 1)?;
        let masked = before.one("arith.andi", &[operand, ones], integer(context, 32), &[])?;
        let mut op = op_mut(op);
        op.set_operand(i, masked);
    }
    Ok(())
}

/// Sign-extends an operation's result from its width.
fn normalize<'c>(context: &'c Context, op: Op<'c>, width: Option<u32>, widths: &mut Widths) -> Result<(), String> {
    let Some(width) = width else { return Ok(()) };
    let Some(next) = op.next_in_block().map(|o| op_ref(&o)) else { return Ok(()) };
    let mut after = Before::new(context, next);
    after.location = op.location();
    let word = integer(context, 32);
    let shift = after.constant(word, i64::from(32 - width))?;
    let raw = results(op)[0];
    let up = after.insert("arith.shli", &[raw, shift], &[word], &[])?;
    let down = after.one("arith.shrsi", &[results(up)[0], shift], word, &[])?;
    let mut exception = up.to_raw();
    // SAFETY: all are live; the shift keeps the raw value.
    unsafe { mlir_sys::mlirValueReplaceAllUsesExcept(raw.to_raw(), down.to_raw(), 1, &mut exception) };
    widths.insert(key(down), width);
    Ok(())
}

/// Conversions between widths of which at least one is narrow.
fn convert<'c>(
    context: &'c Context,
    op: Op<'c>,
    operand_width: Option<u32>,
    result_width: Option<u32>,
    word: Type<'c>,
    widths: &mut Widths,
) -> Result<(), String> {
    let before = Before::new(context, op);
    let signed = name_of(op) == "arith.extsi";
    if operand_width.is_some() && !signed && name_of(op) == "arith.extui" {
        mask(context, op, widths)?;
    }
    let source = operands(op)[0];
    let result = results(op)[0];
    if source.r#type() == result.r#type() {
        // Both are words now: the value itself, cut to the result's width where that got smaller.
        let replacement = if name_of(op) == "arith.trunci" {
            let shift = before.constant(word, i64::from(32 - result_width.unwrap_or(32)))?;
            let up = before.one("arith.shli", &[source, shift], word, &[])?;
            before.one("arith.shrsi", &[up, shift], word, &[])?
        } else if signed {
            // A value of its own: the source counts by fewer bits than what follows from it.
            let zero = before.constant(word, 0)?;
            before.one("arith.ori", &[source, zero], word, &[])?
        } else {
            source
        };
        // The address may come back for another value.
        widths.remove(&key(result));
        if let Some(width) = result_width {
            widths.insert(key(replacement), width);
        }
        walk::replace_all_uses(result, replacement);
        walk::erase(op);
        return Ok(());
    }
    // To or from i1 or i64: the operation itself now works on the word.
    if name_of(op) == "arith.trunci" {
        normalize(context, op, result_width, widths)?;
    }
    Ok(())
}
