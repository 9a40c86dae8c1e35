//! `expand-shader-math`: the few scalar `math` operations that no other pass lowers to SPIR-V -> operations that have a lowering.

use crate::gpu::builder::{
    Before, Op, Val, context_of, erase, float_attribute, integer, math_dialect, name_of, op_ref, operands, operations_below, replace_uses,
    results,
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{OperationRef, ValueLike, attribute::IntegerAttribute},
};
use winze_mlir::pass::RustPass;

pub struct ExpandShaderMath;

impl RustPass for ExpandShaderMath {
    const ARGUMENT: &'static str = "expand-shader-math";
    const DESCRIPTION: &'static str = "Expand math operations that SPIR-V conversion lacks: trunc, isnan, isinf, isfinite";

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
                replace_uses(results(inner)[0], value);
                erase(inner);
            }
        }
        Ok(())
    }
}

/// Predicates of `arith.cmpf`.
const EQUAL: i64 = 1;
const LESS: i64 = 4;
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
        _ => return Ok(None),
    }))
}
