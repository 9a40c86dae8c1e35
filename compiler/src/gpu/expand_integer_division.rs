//! `expand-integer-division`: what SPIR-V conversion gets wrong or lacks -> arithmetic that it has.
//!
//! Signed remainder becomes `x - x / y * y`: upstream takes absolute values, which the smallest integer has none of. Where 64-bit integers are emulated,
//! which upstream does without division, quotient and remainder come from a loop of shifts and subtractions, one bit a turn; division by zero gives
//! a quotient of all ones there, without a trap. Shifts by 0 of such integers are taken out of the emulation.

use crate::gpu::builder::{
    Before, Op, Val, block_ref, build, context_of, defining_op, integer, integer_width, name_of, op_ref, operands, operations_below,
    results,
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        Block, BlockLike, BlockRef, OperationRef, Region, RegionLike, Type, ValueLike,
        attribute::IntegerAttribute,
        operation::{OperationBuilder, OperationLike},
    },
};
use winze_mlir::{
    pass::{PassOption, RustPass},
    walk,
};

pub struct ExpandIntegerDivision {
    widest: u32,
}

impl RustPass for ExpandIntegerDivision {
    const ARGUMENT: &'static str = "expand-integer-division";
    const DESCRIPTION: &'static str = "Expand signed remainders, and division of integers wider than the target has";
    const OPTIONS: &'static [PassOption] =
        &[PassOption { name: "widest", description: "widest integer of the target in bits", default: "64" }];

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith(), DialectHandle::scf()]
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { widest: values[0].parse().map_err(|e| format!("option 'widest': {e}"))? })
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let context = context_of(op_ref(&op));
        for inner in operations_below(op_ref(&op)) {
            match results(inner).first().and_then(|r| integer_width(r.r#type())) {
                Some(width) if width > self.widest => expand(context, inner)?,
                Some(_) if name_of(inner) == "arith.remsi" => expand_remainder(context, inner)?,
                _ => {}
            }
        }
        Ok(())
    }
}

const EQUAL: i64 = 0;
const NOT_EQUAL: i64 = 1;
const SIGNED_LESS: i64 = 2;
const UNSIGNED_GREATER_EQUAL: i64 = 9;

fn compare<'c>(before: &Before<'c>, predicate: i64, lhs: Val<'c>, rhs: Val<'c>) -> Result<Val<'c>, String> {
    let predicate = IntegerAttribute::new(integer(before.context, 64), predicate).into();
    before.one("arith.cmpi", &[lhs, rhs], integer(before.context, 1), &[("predicate", predicate)])
}

fn expand_remainder<'c>(context: &'c Context, op: Op<'c>) -> Result<(), String> {
    let before = Before::new(context, op);
    let inputs = operands(op);
    let r#type = inputs[0].r#type();
    let quotient = before.one("arith.divsi", &inputs, r#type, &[])?;
    let product = before.one("arith.muli", &[quotient, inputs[1]], r#type, &[])?;
    walk::replace_all_uses(results(op)[0], before.one("arith.subi", &[inputs[0], product], r#type, &[])?);
    walk::erase(op);
    Ok(())
}

/// Keeps the operand where the amount is 0: the emulation then shifts a word by its whole width, which is undefined.
fn guard_shift<'c>(context: &'c Context, op: Op<'c>) -> Result<(), String> {
    let before = Before::new(context, op);
    let inputs = operands(op);
    if defining_op(inputs[1]).is_some_and(|(amount, _)| name_of(amount) == "arith.constant") {
        return Ok(());
    }
    let r#type = inputs[0].r#type();
    let zero = before.constant(r#type, 0)?;
    let unshifted = compare(&before, EQUAL, inputs[1], zero)?;
    let shifted = before.one(&name_of(op), &inputs, r#type, &[])?;
    walk::replace_all_uses(results(op)[0], before.one("arith.select", &[unshifted, inputs[0], shifted], r#type, &[])?);
    walk::erase(op);
    Ok(())
}

fn expand<'c>(context: &'c Context, op: Op<'c>) -> Result<(), String> {
    let (signed, remainder) = match name_of(op).as_str() {
        "arith.divui" => (false, false),
        "arith.remui" => (false, true),
        "arith.divsi" => (true, false),
        "arith.remsi" => (true, true),
        "arith.shli" | "arith.shrui" | "arith.shrsi" => return guard_shift(context, op),
        _ => return Ok(()),
    };
    let before = Before::new(context, op);
    let wide = integer(context, 64);
    let inputs = operands(op);
    let (dividend, divisor) = (inputs[0], inputs[1]);
    let result = if signed {
        let zero = before.constant(wide, 0)?;
        let negate_if = |condition: Val<'c>, value: Val<'c>| {
            let negated = before.one("arith.subi", &[zero, value], wide, &[])?;
            before.one("arith.select", &[condition, negated, value], wide, &[])
        };
        let (dividend_negative, divisor_negative) =
            (compare(&before, SIGNED_LESS, dividend, zero)?, compare(&before, SIGNED_LESS, divisor, zero)?);
        let (quotient, rest) = divide(&before, negate_if(dividend_negative, dividend)?, negate_if(divisor_negative, divisor)?)?;
        if remainder {
            negate_if(dividend_negative, rest)?
        } else {
            let differ = before.one("arith.xori", &[dividend_negative, divisor_negative], integer(context, 1), &[])?;
            negate_if(differ, quotient)?
        }
    } else {
        let (quotient, rest) = divide(&before, dividend, divisor)?;
        if remainder { rest } else { quotient }
    };
    walk::replace_all_uses(results(op)[0], result);
    walk::erase(op);
    Ok(())
}

/// Unsigned quotient and remainder. The dividend moves out of its word from the top while quotient bits move in from below.
fn divide<'c>(before: &Before<'c>, dividend: Val<'c>, divisor: Val<'c>) -> Result<(Val<'c>, Val<'c>), String> {
    let (context, location) = (before.context, before.location);
    let (wide, bit, index) = (integer(context, 64), integer(context, 1), Type::index(context));
    let region = Region::new();
    let block: BlockRef<'c, 'c> = block_ref(region.append_block(Block::new(&[(index, location), (wide, location), (wide, location)])));
    let arguments = crate::gpu::builder::block_arguments(block);
    let (moving, rest) = (arguments[1], arguments[2]);
    let end = op_ref(&block.append_operation(build("scf.yield", location, &[moving, rest], &[], &[])?));
    let inside = Before { op: end, context, location };
    let (zero, one, top) = (inside.constant(wide, 0)?, inside.constant(wide, 1)?, inside.constant(wide, 63)?);
    let next_bit = inside.one("arith.shrui", &[moving, top], wide, &[])?;
    // The remainder may need a 65th bit for divisors above 2^63.
    let carry = inside.one("arith.shrui", &[rest, top], wide, &[])?;
    let carry = compare(&inside, NOT_EQUAL, carry, zero)?;
    let doubled = inside.one("arith.shli", &[rest, one], wide, &[])?;
    let rest = inside.one("arith.ori", &[doubled, next_bit], wide, &[])?;
    let fits = compare(&inside, UNSIGNED_GREATER_EQUAL, rest, divisor)?;
    let fits = inside.one("arith.ori", &[fits, carry], bit, &[])?;
    let less = inside.one("arith.subi", &[rest, divisor], wide, &[])?;
    let rest = inside.one("arith.select", &[fits, less, rest], wide, &[])?;
    let moved = inside.one("arith.shli", &[moving, one], wide, &[])?;
    let quotient_bit = inside.one("arith.extui", &[fits], wide, &[])?;
    let moving = inside.one("arith.ori", &[moved, quotient_bit], wide, &[])?;
    block.append_operation(build("scf.yield", location, &[moving, rest], &[], &[])?);
    walk::erase(end);

    let (from, to, step) = (before.constant(index, 0)?, before.constant(index, 64)?, before.constant(index, 1)?);
    let zero = before.constant(wide, 0)?;
    let op = OperationBuilder::new("scf.for", location)
        .add_operands(&[from, to, step, dividend, zero])
        .add_results(&[wide, wide])
        .add_regions([region])
        .build()
        .map_err(|e| format!("expand-integer-division: {e}"))?;
    let parent = before.op.block().ok_or("operation outside a block")?;
    let results = results(op_ref(&parent.insert_operation_before(before.op, op)));
    Ok((results[0], results[1]))
}
