//! Register arithmetic of the launch program: integers wrap, division and modulo round toward negative infinity, NaN spreads.

use crate::artifact::program::{BoolOp, FloatOp, IntOp, Predicate};

/// `None` for a division by zero. Shifts use the low six bits of `rhs`; `Shr` keeps the sign.
pub fn eval_int(op: IntOp, lhs: i64, rhs: i64) -> Option<i64> {
    if rhs == 0 && matches!(op, IntOp::FloorDiv | IntOp::CeilDiv | IntOp::Mod) {
        return None;
    }
    let inexact_sign = |lhs: i64, rhs: i64| (lhs.wrapping_rem(rhs) != 0).then_some((lhs < 0) == (rhs < 0));
    Some(match op {
        IntOp::Add => lhs.wrapping_add(rhs),
        IntOp::Sub => lhs.wrapping_sub(rhs),
        IntOp::Mul => lhs.wrapping_mul(rhs),
        IntOp::FloorDiv => lhs.wrapping_div(rhs).wrapping_sub(i64::from(inexact_sign(lhs, rhs) == Some(false))),
        IntOp::CeilDiv => lhs.wrapping_div(rhs).wrapping_add(i64::from(inexact_sign(lhs, rhs) == Some(true))),
        IntOp::Mod => {
            let remainder = lhs.wrapping_rem(rhs);
            if remainder != 0 && (remainder < 0) != (rhs < 0) { remainder.wrapping_add(rhs) } else { remainder }
        }
        IntOp::Min => lhs.min(rhs),
        IntOp::Max => lhs.max(rhs),
        IntOp::And => lhs & rhs,
        IntOp::Or => lhs | rhs,
        IntOp::Xor => lhs ^ rhs,
        IntOp::Shl => lhs.wrapping_shl(rhs as u32),
        IntOp::Shr => lhs.wrapping_shr(rhs as u32),
    })
}

pub fn eval_float(op: FloatOp, lhs: f64, rhs: f64) -> f64 {
    match op {
        FloatOp::Add => lhs + rhs,
        FloatOp::Sub => lhs - rhs,
        FloatOp::Mul => lhs * rhs,
        FloatOp::Div => lhs / rhs,
        FloatOp::Min | FloatOp::Max if lhs.is_nan() || rhs.is_nan() => f64::NAN,
        FloatOp::Min => lhs.min(rhs),
        FloatOp::Max => lhs.max(rhs),
    }
}

pub fn eval_bool(op: BoolOp, lhs: bool, rhs: bool) -> bool {
    match op {
        BoolOp::And => lhs & rhs,
        BoolOp::Or => lhs | rhs,
        BoolOp::Xor => lhs ^ rhs,
    }
}

pub fn compare_int(predicate: Predicate, lhs: i64, rhs: i64) -> bool {
    compare(predicate, &lhs, &rhs)
}

/// With a NaN only `Ne` holds.
pub fn compare_float(predicate: Predicate, lhs: f64, rhs: f64) -> bool {
    compare(predicate, &lhs, &rhs)
}

fn compare<T: PartialOrd>(predicate: Predicate, lhs: &T, rhs: &T) -> bool {
    match predicate {
        Predicate::Eq => lhs == rhs,
        Predicate::Ne => lhs != rhs,
        Predicate::Lt => lhs < rhs,
        Predicate::Le => lhs <= rhs,
        Predicate::Gt => lhs > rhs,
        Predicate::Ge => lhs >= rhs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_rounds_toward_negative_infinity() {
        for lhs in -9..=9 {
            for rhs in [-4, -3, -1, 1, 2, 5] {
                let exact = lhs as f64 / rhs as f64;
                assert_eq!(eval_int(IntOp::FloorDiv, lhs, rhs), Some(exact.floor() as i64), "{lhs} floordiv {rhs}");
                assert_eq!(eval_int(IntOp::CeilDiv, lhs, rhs), Some(exact.ceil() as i64), "{lhs} ceildiv {rhs}");
                assert_eq!(eval_int(IntOp::Mod, lhs, rhs), Some(lhs - exact.floor() as i64 * rhs), "{lhs} mod {rhs}");
            }
        }
        assert_eq!(eval_int(IntOp::FloorDiv, 1, 0), None);
        assert_eq!(eval_int(IntOp::CeilDiv, 1, 0), None);
        assert_eq!(eval_int(IntOp::Mod, 1, 0), None);
        assert_eq!(eval_int(IntOp::FloorDiv, i64::MIN, -1), Some(i64::MIN));
        assert_eq!(eval_int(IntOp::Mod, i64::MIN, -1), Some(0));
    }

    #[test]
    fn integers_wrap_and_shift() {
        assert_eq!(eval_int(IntOp::Add, i64::MAX, 1), Some(i64::MIN));
        assert_eq!(eval_int(IntOp::Sub, i64::MIN, 1), Some(i64::MAX));
        assert_eq!(eval_int(IntOp::Mul, i64::MAX, 2), Some(-2));
        assert_eq!(eval_int(IntOp::Shl, 1, 65), Some(2));
        assert_eq!(eval_int(IntOp::Shr, -8, 1), Some(-4));
        assert_eq!([IntOp::And, IntOp::Or, IntOp::Xor].map(|op| eval_int(op, 12, 10).unwrap()), [8, 14, 6]);
        assert_eq!([IntOp::Min, IntOp::Max].map(|op| eval_int(op, -2, 7).unwrap()), [-2, 7]);
    }

    #[test]
    fn floats_follow_ieee_and_nan_spreads() {
        assert_eq!(eval_float(FloatOp::Div, 1.0, 0.0), f64::INFINITY);
        assert_eq!([FloatOp::Add, FloatOp::Sub, FloatOp::Mul].map(|op| eval_float(op, 6.0, 4.0)), [10.0, 2.0, 24.0]);
        assert!(eval_float(FloatOp::Min, f64::NAN, 1.0).is_nan() && eval_float(FloatOp::Max, 1.0, f64::NAN).is_nan());
        assert_eq!([FloatOp::Min, FloatOp::Max].map(|op| eval_float(op, 1.0, 2.0)), [1.0, 2.0]);
        let all = [Predicate::Eq, Predicate::Ne, Predicate::Lt, Predicate::Le, Predicate::Gt, Predicate::Ge];
        assert_eq!(all.map(|p| compare_float(p, f64::NAN, 1.0)), [false, true, false, false, false, false]);
        assert_eq!(all.map(|p| compare_int(p, -1, 1)), [false, true, true, true, false, false]);
        assert_eq!(all.map(|p| compare_int(p, 2, 2)), [true, false, false, true, false, true]);
        assert_eq!([BoolOp::And, BoolOp::Or, BoolOp::Xor].map(|op| eval_bool(op, true, true)), [true, true, false]);
    }
}
