//! `expand-shader-math`: the few scalar `math` operations that no other pass lowers to SPIR-V -> operations that have a lowering.

use crate::gpu::builder::{
    Before, Op, Val, context_of, float_attribute, integer, integer_width, math_dialect, name_of, op_ref, operands, operations_below,
    results,
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{OperationRef, ValueLike, attribute::IntegerAttribute},
};
use winze_mlir::{pass::RustPass, walk};

pub struct ExpandShaderMath;

impl RustPass for ExpandShaderMath {
    const ARGUMENT: &'static str = "expand-shader-math";
    const DESCRIPTION: &'static str =
        "Expand math operations that SPIR-V conversion lacks: trunc, isnan, isinf, isfinite, ctpop, ctlz; powf of NaN and remf by infinity";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith(), math_dialect()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let context = context_of(op_ref(&op));
        for inner in operations_below(op_ref(&op)) {
            if let Some(value) = expand(context, inner)? {
                walk::replace_all_uses(results(inner)[0], value);
                walk::erase(inner);
            }
        }
        Ok(())
    }
}

/// Predicates of `arith.cmpf`.
const EQUAL: i64 = 1;
const LESS: i64 = 4;
const NOT_EQUAL: i64 = 6;
const UNORDERED: i64 = 14;

fn expand<'c>(context: &'c Context, op: Op<'c>) -> Result<Option<Val<'c>>, String> {
    let before = Before::new(context, op);
    let Some(x) = operands(op).first().copied() else { return Ok(None) };
    let r#type = x.r#type();
    let absolute = || before.one("math.absf", &[x], r#type, &[]);
    let infinity = || before.one("arith.constant", &[], r#type, &[("value", float_attribute(r#type, f64::INFINITY))]);
    let compare = |predicate: i64, lhs: Val<'c>, rhs: Val<'c>| {
        let predicate = IntegerAttribute::new(integer(context, 64), predicate).into();
        before.one("arith.cmpf", &[lhs, rhs], integer(context, 1), &[("predicate", predicate)])
    };
    Ok(Some(match name_of(op).as_str() {
        // Keeps the sign of zero.
        "math.trunc" => {
            let floor = before.one("math.floor", &[absolute()?], r#type, &[])?;
            before.one("math.copysign", &[floor, x], r#type, &[])?
        }
        "math.isnan" => compare(UNORDERED, x, x)?,
        "math.isinf" => compare(EQUAL, absolute()?, infinity()?)?,
        "math.isfinite" => compare(LESS, absolute()?, infinity()?)?,
        // Drivers need not care for NaN, nor for negative bases.
        "math.powf" => {
            let y = operands(op)[1];
            let one = before.one("arith.constant", &[], r#type, &[("value", float_attribute(r#type, 1.0))])?;
            let zero = before.one("arith.constant", &[], r#type, &[("value", float_attribute(r#type, 0.0))])?;
            let power = before.one("math.powf", &[x, y], r#type, &[])?;
            let sum = before.one("arith.addf", &[x, y], r#type, &[])?;
            let power = before.one("arith.select", &[compare(UNORDERED, x, y)?, sum, power], r#type, &[])?;
            let whole = before.one("math.floor", &[y], r#type, &[])?;
            let boolean = integer(context, 1);
            let finite_negative =
                before.one("arith.andi", &[compare(LESS, x, zero)?, compare(LESS, absolute()?, infinity()?)?], boolean, &[])?;
            let undefined = before.one("arith.andi", &[finite_negative, compare(NOT_EQUAL, whole, y)?], boolean, &[])?;
            let nan = before.one("arith.constant", &[], r#type, &[("value", float_attribute(r#type, f64::NAN))])?;
            let power = before.one("arith.select", &[undefined, nan, power], r#type, &[])?;
            let is_one = before.one("arith.ori", &[compare(EQUAL, y, zero)?, compare(EQUAL, x, one)?], integer(context, 1), &[])?;
            before.one("arith.select", &[is_one, one, power], r#type, &[])?
        }
        // Drivers compute `x - y * trunc(x / y)`, which is no number for an infinite y.
        "arith.remf" => {
            let y = operands(op)[1];
            let rest = before.one("arith.remf", &[x, y], r#type, &[])?;
            let size = before.one("math.absf", &[y], r#type, &[])?;
            let whole = [compare(EQUAL, size, infinity()?)?, compare(LESS, absolute()?, infinity()?)?];
            let whole = before.one("arith.andi", &whole, integer(context, 1), &[])?;
            let rest = before.one("arith.select", &[whole, x, rest], r#type, &[])?;
            before.one("math.copysign", &[rest, x], r#type, &[])?
        }
        "math.ctpop" => count_ones(&before, x)?,
        "math.ctlz" => {
            let width = integer_width(r#type).ok_or("math.ctlz of no integer")?;
            let mut below = x;
            for shift in (0..6).map(|i| 1u32 << i).take_while(|s| *s < width) {
                let shifted = before.one("arith.shrui", &[below, before.constant(r#type, i64::from(shift))?], r#type, &[])?;
                below = before.one("arith.ori", &[below, shifted], r#type, &[])?;
            }
            before.one("arith.subi", &[before.constant(r#type, i64::from(width))?, count_ones(&before, below)?], r#type, &[])?
        }
        _ => return Ok(None),
    }))
}

/// Number of set bits: sums of neighbouring fields of 1, 2 and 4 bits, then of all bytes by one product.
fn count_ones<'c>(before: &Before<'c>, x: Val<'c>) -> Result<Val<'c>, String> {
    let r#type = x.r#type();
    let width = integer_width(r#type).ok_or("math.ctpop of no integer")?;
    let constant = |bits: u64| before.constant(r#type, (bits << (64 - width)) as i64 >> (64 - width));
    let op = |name: &str, lhs: Val<'c>, rhs: Val<'c>| before.one(name, &[lhs, rhs], r#type, &[]);
    let shifted = |value: Val<'c>, by: u64| op("arith.shrui", value, constant(by)?);
    let pairs = op("arith.subi", x, op("arith.andi", shifted(x, 1)?, constant(0x5555_5555_5555_5555)?)?)?;
    let mask = constant(0x3333_3333_3333_3333)?;
    let nibbles = op("arith.addi", op("arith.andi", pairs, mask)?, op("arith.andi", shifted(pairs, 2)?, mask)?)?;
    let bytes = op("arith.andi", op("arith.addi", nibbles, shifted(nibbles, 4)?)?, constant(0x0f0f_0f0f_0f0f_0f0f)?)?;
    if width == 8 {
        return Ok(bytes);
    }
    shifted(op("arith.muli", bytes, constant(0x0101_0101_0101_0101)?)?, u64::from(width) - 8)
}
