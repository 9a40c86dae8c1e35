//! Integer arithmetic with defined results everywhere: division by zero, overflow, shifts by the width or more.

use crate::{
    lower::{Op, ScalarBuilder, Val, lasting},
    tensor::Scalar,
    types::{Class, ElementType},
};
use winze_mlir::melior::ir::ValueLike;

/// The bits of an integer without sign extension.
pub fn unsigned_bits(element: ElementType, value: Scalar) -> u64 {
    value.u64() & (u64::MAX >> (64 - element.bits()))
}

pub fn floor_mod(a: i64, b: i64) -> i64 {
    if b == 0 {
        return a;
    }
    let r = a.wrapping_rem(b);
    if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
}

pub fn pow_signed(base: i64, exponent: i64) -> i64 {
    match (base, exponent) {
        (_, 0..) => pow_unsigned(base as u64, exponent as u64) as i64,
        (1, _) => 1,
        (-1, _) => {
            if exponent % 2 == 0 {
                1
            } else {
                -1
            }
        }
        _ => 0,
    }
}

pub fn pow_unsigned(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1u64;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    result
}

pub fn shl(element: ElementType, x: &[Scalar]) -> Scalar {
    let (value, by) = (x[0].u64(), unsigned_bits(element, x[1]));
    let shifted = if by >= u64::from(element.bits()) { 0 } else { value << by };
    if element.class() == Class::Signed { Scalar::Signed(shifted as i64) } else { Scalar::Unsigned(shifted) }
}

pub fn shr(element: ElementType, x: &[Scalar]) -> Scalar {
    let by = unsigned_bits(element, x[1]);
    let out = by >= u64::from(element.bits());
    match x[0] {
        Scalar::Signed(value) => Scalar::Signed(value >> if out { 63 } else { by }),
        other => Scalar::Unsigned(if out { 0 } else { other.u64() >> by }),
    }
}

struct Guarded<'c> {
    /// The divisor, or 1 where division is undefined.
    divisor: Val<'c>,
    zero: Val<'c>,
    is_zero: Val<'c>,
}

fn guard<'c>(b: &ScalarBuilder<'c>, e: ElementType, x: &[Val<'c>]) -> Guarded<'c> {
    let (zero, one) = (b.number(e, 0.0), b.number(e, 1.0));
    let is_zero = b.cmpi("eq", x[1], zero);
    Guarded { divisor: b.select(is_zero, one, x[1]), zero, is_zero }
}

pub fn lower_div<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    if e.is_float() {
        return b.same("arith.divf", x);
    }
    let Guarded { mut divisor, zero, is_zero } = guard(b, e, x);
    let all_ones = b.constant_int(x[0].r#type(), -1);
    let quotient = if e.class() == Class::Signed {
        // minimum / -1 overflows: negate instead.
        let is_minus_one = b.cmpi("eq", x[1], all_ones);
        divisor = b.select(is_minus_one, b.number(e, 1.0), divisor);
        let quotient = b.same("arith.divsi", &[x[0], divisor]);
        b.select(is_minus_one, b.same("arith.subi", &[zero, x[0]]), quotient)
    } else {
        b.same("arith.divui", &[x[0], divisor])
    };
    b.select(is_zero, all_ones, quotient)
}

/// Remainder with the sign of the dividend for non-zero divisors; 0 for divisor 0.
fn remainder<'c>(b: &ScalarBuilder<'c>, e: ElementType, x: &[Val<'c>], guarded: &Guarded<'c>) -> Val<'c> {
    if e.class() != Class::Signed {
        return b.same("arith.remui", &[x[0], guarded.divisor]);
    }
    // minimum rem -1 overflows; the remainder by 1 is the same 0.
    let is_minus_one = b.cmpi("eq", x[1], b.constant_int(x[1].r#type(), -1));
    let divisor = b.select(is_minus_one, b.number(e, 1.0), guarded.divisor);
    b.same("arith.remsi", &[x[0], divisor])
}

pub fn lower_rem<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    if e.is_float() {
        return b.same("arith.remf", x);
    }
    let guarded = guard(b, e, x);
    let remainder = remainder(b, e, x, &guarded);
    b.select(guarded.is_zero, x[0], remainder)
}

pub fn lower_mod<'c>(b: &ScalarBuilder<'c>, op: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    let (r, zero) = (lower_rem(b, op, e, x), b.number(e, 0.0));
    let (differs, add, [r_negative, b_negative, not_zero]) = match e.class() {
        Class::Float => ("ne", "arith.addf", [b.cmpf("olt", r, zero), b.cmpf("olt", x[1], zero), b.cmpf("one", r, zero)]),
        Class::Signed => ("ne", "arith.addi", [b.cmpi("slt", r, zero), b.cmpi("slt", x[1], zero), b.cmpi("ne", r, zero)]),
        _ => return r,
    };
    let opposite = b.same("arith.andi", &[not_zero, b.cmpi(differs, r_negative, b_negative)]);
    let opposite = if e.is_float() {
        opposite
    } else {
        // By zero the dividend stays.
        b.same("arith.andi", &[opposite, b.cmpi("ne", x[1], zero)])
    };
    let result = b.select(opposite, b.same(add, &[r, x[1]]), r);
    // A zero has the sign of the divisor.
    if e.is_float() { b.select(b.cmpf("oeq", r, zero), b.same("math.copysign", &[r, x[1]]), result) } else { result }
}

pub fn lower_pow<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    if e.is_float() {
        return b.same("math.powf", x);
    }
    let (ty, zero, one) = (x[0].r#type(), b.number(e, 0.0), b.number(e, 1.0));
    // Square and multiply, one step per bit.
    let step = |b: &ScalarBuilder<'c>, values: &[Val<'c>]| {
        let [result, base, exponent] = [values[1], values[2], values[3]];
        let odd = b.cmpi("ne", b.same("arith.andi", &[exponent, one]), zero);
        let product = b.same("arith.muli", &[result, base]);
        vec![b.select(odd, product, result), b.same("arith.muli", &[base, base]), b.same("arith.shrui", &[exponent, one])]
    };
    let body = b.region(&[b.index_type(), ty, ty, ty], step, "scf.yield");
    let bounds = [b.index(0), b.index(e.bits().into()), b.index(1), one, x[0], x[1]];
    let powers = b.build("scf.for", &bounds, &[ty, ty, ty], &[], vec![body]);
    let power = lasting(powers.result(0).expect("three results").into());
    if e.class() != Class::Signed {
        return power;
    }
    let minus_one = b.constant_int(ty, -1);
    let odd = b.cmpi("ne", b.same("arith.andi", &[x[1], one]), zero);
    let (is_one, is_minus_one) = (b.cmpi("eq", x[0], one), b.cmpi("eq", x[0], minus_one));
    let inverse = b.select(is_one, one, b.select(is_minus_one, b.select(odd, minus_one, one), zero));
    b.select(b.cmpi("slt", x[1], zero), inverse, power)
}

pub fn lower_shl<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    let within = b.cmpi("ult", x[1], b.number(e, e.bits().into()));
    let zero = b.number(e, 0.0);
    let shifted = b.same("arith.shli", &[x[0], b.select(within, x[1], zero)]);
    b.select(within, shifted, zero)
}

pub fn lower_shr<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    let within = b.cmpi("ult", x[1], b.number(e, e.bits().into()));
    if e.class() == Class::Signed {
        return b.same("arith.shrsi", &[x[0], b.select(within, x[1], b.number(e, f64::from(e.bits() - 1)))]);
    }
    let zero = b.number(e, 0.0);
    let shifted = b.same("arith.shrui", &[x[0], b.select(within, x[1], zero)]);
    b.select(within, shifted, zero)
}
