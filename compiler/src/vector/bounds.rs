//! Interval of an index value, from constants, loops and affine operations. `None` on a side means unbounded.

use melior::ir::{
    AffineExpr, AffineMap, AttributeLike, OperationRef, Value,
    attribute::IntegerAttribute,
    operation::{OperationLike, OperationResult},
};
use mlir_sys::mlirAffineMapAttrGetValue;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub low: Option<i64>,
    pub high: Option<i64>,
}

const UNKNOWN: Interval = Interval { low: None, high: None };

/// Interval of `value`.
pub fn interval(value: Value<'_, '_>) -> Interval {
    let Ok(result) = OperationResult::try_from(value) else {
        return UNKNOWN;
    };
    let op = result.owner();
    let name = op.name();
    match name.as_string_ref().as_str().unwrap_or_default() {
        "arith.constant" => {
            let value = op.attribute("value").ok().and_then(|a| IntegerAttribute::try_from(a).ok()).map(|a| a.value());
            Interval { low: value, high: value }
        }
        "affine.min" => combine(op, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }),
        "affine.apply" => combine(op, |a, _| a),
        _ => UNKNOWN,
    }
}

/// Interval of the results of an op's map, joined: of their minimum for affine.min, the only one for affine.apply.
fn combine(op: OperationRef<'_, '_>, high: impl Fn(Option<i64>, Option<i64>) -> Option<i64>) -> Interval {
    let Ok(attribute) = op.attribute("map") else {
        return UNKNOWN;
    };
    // SAFETY: both ops have an affine map of this name.
    let map = unsafe { AffineMap::from_raw(mlirAffineMapAttrGetValue(attribute.to_raw())) };
    let operands: Vec<_> = op.operands().map(interval).collect();
    let results = (0..map.result_count()).filter_map(|i| map.result(i).ok()).map(|expr| evaluate(expr, &operands, map.dim_count()));
    results.reduce(|a, b| Interval { low: a.low.zip(b.low).map(|(a, b)| a.min(b)), high: high(a.high, b.high) }).unwrap_or(UNKNOWN)
}

fn evaluate(expr: AffineExpr<'_>, operands: &[Interval], dims: usize) -> Interval {
    if expr.is_constant() {
        return Interval { low: Some(expr.constant_value()), high: Some(expr.constant_value()) };
    }
    if expr.is_dim() {
        return operands[expr.dim_position()];
    }
    if expr.is_symbol() {
        return operands[dims + expr.symbol_position()];
    }
    let (lhs, rhs) = (evaluate(expr.lhs(), operands, dims), evaluate(expr.rhs(), operands, dims));
    let positive = || rhs.low.filter(|low| *low > 0 && rhs.high == Some(*low));
    if expr.is_add() {
        let sum = |a: Option<i64>, b: Option<i64>| a.zip(b).and_then(|(a, b)| a.checked_add(b));
        return Interval { low: sum(lhs.low, rhs.low), high: sum(lhs.high, rhs.high) };
    }
    if expr.is_mul() {
        let Some(factor) = rhs.low.filter(|low| rhs.high == Some(*low)) else {
            return UNKNOWN;
        };
        let scale = |side: Option<i64>| side.and_then(|side| side.checked_mul(factor));
        let (low, high) = (scale(lhs.low), scale(lhs.high));
        return if factor >= 0 { Interval { low, high } } else { Interval { low: high, high: low } };
    }
    if let Some(divisor) = positive() {
        if expr.is_floor_div() {
            return Interval { low: lhs.low.map(|v| v.div_euclid(divisor)), high: lhs.high.map(|v| v.div_euclid(divisor)) };
        }
        if expr.is_ceil_div() {
            let ceil = |v: i64| v.checked_add(divisor - 1).map(|v| v.div_euclid(divisor));
            return Interval { low: lhs.low.and_then(ceil), high: lhs.high.and_then(ceil) };
        }
        if expr.is_mod() {
            return Interval { low: Some(0), high: Some(divisor - 1) };
        }
    }
    UNKNOWN
}
