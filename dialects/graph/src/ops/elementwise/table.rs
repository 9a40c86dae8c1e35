//! The rows of the elementwise family: name, value of an element, operations on scalars.
//!
//! f32, f16 and bf16 are evaluated in f64 and rounded once; kernels compute them in f32.

use super::{INFER_BOOL, drop_neutral, integer, special};
use crate::{
    lower::{ScalarBuilder, Val},
    op::{EvalScalar, LowerScalar, OpDefinition},
    tensor::Scalar,
    types::{Class, ElementType},
};
use Scalar::{Bool, Float, Signed, Unsigned};
use winze_mlir::op_hooks::OpHooks;

type B<'b, 'c> = &'b ScalarBuilder<'c>;

const fn row(name: &'static str, eval: EvalScalar, lower: LowerScalar) -> OpDefinition {
    OpDefinition::elementwise(name, eval, lower)
}

/// A row whose result is bool.
const fn test(name: &'static str, eval: EvalScalar, lower: LowerScalar) -> OpDefinition {
    OpDefinition { hooks: OpHooks { verify: None, infer: Some(INFER_BOOL), canonicalize: None }, ..row(name, eval, lower) }
}

/// A row for a function of floats that the math dialect has.
macro_rules! math {
    ($name:literal, $op:literal, $eval:expr) => {
        row(concat!("graph.", $name), |_, x| Float($eval(x[0].f64())), |b, _, _, x| b.same($op, x))
    };
}

/// Only the negative zero leaves every float as it is when it is added.
fn adds_nothing(x: Scalar) -> bool {
    if let Float(v) = x { v == 0.0 && v.is_sign_negative() } else { x.u64() == 0 }
}

fn takes_nothing(x: Scalar) -> bool {
    if let Float(v) = x { v == 0.0 && v.is_sign_positive() } else { x.u64() == 0 }
}

fn is_one(x: Scalar) -> bool {
    x.f64() == 1.0
}

fn no_bits(x: Scalar) -> bool {
    x.u64() == 0
}

fn all_bits(x: Scalar) -> bool {
    matches!(x, Signed(-1) | Bool(true))
}

/// An operation per class of element type: float, signed, unsigned, bool.
fn by_class<'c>(b: B<'_, 'c>, element: ElementType, x: &[Val<'c>], ops: [&str; 4]) -> Val<'c> {
    b.same(
        match element.class() {
            Class::Float => ops[0],
            Class::Signed => ops[1],
            Class::Unsigned => ops[2],
            Class::Bool => ops[3],
        },
        x,
    )
}

/// Evaluates with the function of the operands' class. Integers wrap when stored.
fn binary(x: &[Scalar], float: fn(f64, f64) -> f64, signed: fn(i64, i64) -> i64, unsigned: fn(u64, u64) -> u64) -> Scalar {
    match x[1] {
        Float(b) => Float(float(x[0].f64(), b)),
        Signed(b) => Signed(signed(x[0].i64(), b)),
        Unsigned(b) => Unsigned(unsigned(x[0].u64(), b)),
        Bool(b) => Bool(unsigned(x[0].u64(), b.into()) != 0),
    }
}

fn bits(x: &[Scalar], f: fn(u64, u64) -> u64) -> Scalar {
    match x[1] {
        Signed(b) => Signed(f(x[0].u64(), b as u64) as i64),
        Bool(b) => Bool(f(x[0].u64(), b.into()) & 1 != 0),
        other => Unsigned(f(x[0].u64(), other.u64())),
    }
}

fn compare(x: &[Scalar], f: fn(&f64, &f64) -> bool, i: fn(&i64, &i64) -> bool, u: fn(&u64, &u64) -> bool) -> Scalar {
    Bool(match x[1] {
        Float(b) => f(&x[0].f64(), &b),
        Signed(b) => i(&x[0].i64(), &b),
        other => u(&x[0].u64(), &other.u64()),
    })
}

fn lower_compare<'c>(b: B<'_, 'c>, element: ElementType, x: &[Val<'c>], float: &str, signed: &str, unsigned: &str) -> Val<'c> {
    match element.class() {
        Class::Float => b.cmpf(float, x[0], x[1]),
        Class::Signed => b.cmpi(signed, x[0], x[1]),
        _ => b.cmpi(unsigned, x[0], x[1]),
    }
}

/// Larger or smaller of two floats, NaN if either is.
fn extreme(a: f64, b: f64, larger: bool) -> f64 {
    match () {
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        // -0 is below 0.
        _ if a == b => {
            if a.is_sign_negative() == larger {
                b
            } else {
                a
            }
        }
        _ => {
            if (a > b) == larger {
                a
            } else {
                b
            }
        }
    }
}

pub static ROWS: &[OpDefinition] = &[
    row(
        "graph.abs",
        |_, x| match x[0] {
            Float(v) => Float(v.abs()),
            Signed(v) => Signed(v.wrapping_abs()),
            other => other,
        },
        |b, _, e, x| match e.class() {
            Class::Float => b.same("math.absf", x),
            Class::Signed => {
                let zero = b.number(e, 0.0);
                let (negative, negated) = (b.cmpi("slt", x[0], zero), b.same("arith.subi", &[zero, x[0]]));
                b.select(negative, negated, x[0])
            }
            _ => x[0],
        },
    ),
    row(
        "graph.neg",
        |_, x| match x[0] {
            Float(v) => Float(-v),
            Signed(v) => Signed(v.wrapping_neg()),
            other => Unsigned(other.u64().wrapping_neg()),
        },
        |b, _, e, x| if e.is_float() { b.same("arith.negf", x) } else { b.same("arith.subi", &[b.number(e, 0.0), x[0]]) },
    ),
    row(
        "graph.sign",
        |_, x| match x[0] {
            Float(v) => Float(if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }),
            Signed(v) => Signed(v.signum()),
            other => Unsigned(other.u64().min(1)),
        },
        special::lower_sign,
    ),
    math!("ceil", "math.ceil", f64::ceil),
    math!("floor", "math.floor", f64::floor),
    math!("round", "math.roundeven", f64::round_ties_even),
    math!("trunc", "math.trunc", f64::trunc),
    math!("exp", "math.exp", f64::exp),
    math!("expm1", "math.expm1", f64::exp_m1),
    math!("log", "math.log", f64::ln),
    math!("log1p", "math.log1p", f64::ln_1p),
    math!("sqrt", "math.sqrt", f64::sqrt),
    math!("rsqrt", "math.rsqrt", |v: f64| 1.0 / v.sqrt()),
    math!("cbrt", "math.cbrt", f64::cbrt),
    row("graph.logistic", |_, x| Float(1.0 / (1.0 + (-x[0].f64()).exp())), special::lower_logistic),
    math!("sin", "math.sin", f64::sin),
    math!("cos", "math.cos", f64::cos),
    math!("tan", "math.tan", f64::tan),
    math!("asin", "math.asin", f64::asin),
    math!("acos", "math.acos", f64::acos),
    math!("atan", "math.atan", f64::atan),
    math!("sinh", "math.sinh", f64::sinh),
    math!("cosh", "math.cosh", f64::cosh),
    math!("tanh", "math.tanh", f64::tanh),
    math!("asinh", "math.asinh", f64::asinh),
    math!("acosh", "math.acosh", f64::acosh),
    math!("atanh", "math.atanh", f64::atanh),
    math!("erf", "math.erf", special::erf),
    math!("erfc", "math.erfc", special::erfc),
    row("graph.erf_inv", |_, x| Float(special::erf_inv(x[0].f64())), special::lower_erf_inv),
    row(
        "graph.not",
        |_, x| match x[0] {
            Bool(v) => Bool(!v),
            Signed(v) => Signed(!v),
            other => Unsigned(!other.u64()),
        },
        |b, _, e, x| b.same("arith.xori", &[x[0], b.number(e, if e == ElementType::Bool { 1.0 } else { -1.0 })]),
    ),
    row("graph.popcnt", |e, x| Scalar::of(e, integer::unsigned_bits(e, x[0]).count_ones().into()), |b, _, _, x| b.same("math.ctpop", x)),
    row(
        "graph.clz",
        |e, x| Scalar::of(e, i64::from(integer::unsigned_bits(e, x[0]).leading_zeros()) - (64 - i64::from(e.bits()))),
        |b, _, _, x| b.same("math.ctlz", x),
    ),
    test("graph.is_nan", |_, x| Bool(x[0].f64().is_nan()), |b, _, _, x| b.cmpf("uno", x[0], x[0])),
    test(
        "graph.is_inf",
        |_, x| Bool(x[0].f64().is_infinite()),
        |b, _, e, x| b.cmpf("oeq", b.same("math.absf", x), b.number(e, f64::INFINITY)),
    ),
    row(
        "graph.add",
        |_, x| binary(x, |a, b| a + b, i64::wrapping_add, u64::wrapping_add),
        |b, _, e, x| by_class(b, e, x, ["arith.addf", "arith.addi", "arith.addi", "arith.ori"]),
    )
    .canonicalized(|patterns| drop_neutral(patterns, "graph.add", adds_nothing, &[0, 1])),
    row(
        "graph.sub",
        |_, x| binary(x, |a, b| a - b, i64::wrapping_sub, u64::wrapping_sub),
        |b, _, e, x| by_class(b, e, x, ["arith.subf", "arith.subi", "arith.subi", "arith.xori"]),
    )
    .canonicalized(|patterns| drop_neutral(patterns, "graph.sub", takes_nothing, &[1])),
    row(
        "graph.mul",
        |_, x| binary(x, |a, b| a * b, i64::wrapping_mul, u64::wrapping_mul),
        |b, _, e, x| by_class(b, e, x, ["arith.mulf", "arith.muli", "arith.muli", "arith.andi"]),
    )
    .canonicalized(|patterns| drop_neutral(patterns, "graph.mul", is_one, &[0, 1])),
    row(
        "graph.div",
        |_, x| binary(x, |a, b| a / b, |a, b| if b == 0 { -1 } else { a.wrapping_div(b) }, |a, b| a.checked_div(b).unwrap_or(u64::MAX)),
        integer::lower_div,
    )
    .canonicalized(|patterns| drop_neutral(patterns, "graph.div", is_one, &[1])),
    row(
        "graph.rem",
        |_, x| binary(x, |a, b| a % b, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }, |a, b| a.checked_rem(b).unwrap_or(a)),
        integer::lower_rem,
    ),
    row("graph.mod", |_, x| binary(x, special::float_mod, integer::floor_mod, |a, b| a.checked_rem(b).unwrap_or(a)), integer::lower_mod),
    row("graph.pow", |_, x| binary(x, f64::powf, integer::pow_signed, integer::pow_unsigned), integer::lower_pow)
        .canonicalized(|patterns| drop_neutral(patterns, "graph.pow", is_one, &[1])),
    row("graph.atan2", |_, x| Float(x[0].f64().atan2(x[1].f64())), |b, _, _, x| b.same("math.atan2", x)),
    row(
        "graph.maximum",
        |_, x| binary(x, |a, b| extreme(a, b, true), i64::max, u64::max),
        |b, _, e, x| by_class(b, e, x, ["arith.maximumf", "arith.maxsi", "arith.maxui", "arith.ori"]),
    ),
    row(
        "graph.minimum",
        |_, x| binary(x, |a, b| extreme(a, b, false), i64::min, u64::min),
        |b, _, e, x| by_class(b, e, x, ["arith.minimumf", "arith.minsi", "arith.minui", "arith.andi"]),
    ),
    row("graph.and", |_, x| bits(x, |a, b| a & b), |b, _, _, x| b.same("arith.andi", x))
        .canonicalized(|patterns| drop_neutral(patterns, "graph.and", all_bits, &[0, 1])),
    row("graph.or", |_, x| bits(x, |a, b| a | b), |b, _, _, x| b.same("arith.ori", x))
        .canonicalized(|patterns| drop_neutral(patterns, "graph.or", no_bits, &[0, 1])),
    row("graph.xor", |_, x| bits(x, |a, b| a ^ b), |b, _, _, x| b.same("arith.xori", x))
        .canonicalized(|patterns| drop_neutral(patterns, "graph.xor", no_bits, &[0, 1])),
    row("graph.shl", integer::shl, integer::lower_shl).canonicalized(|patterns| drop_neutral(patterns, "graph.shl", no_bits, &[1])),
    row("graph.shr", integer::shr, integer::lower_shr).canonicalized(|patterns| drop_neutral(patterns, "graph.shr", no_bits, &[1])),
    test("graph.eq", |_, x| compare(x, f64::eq, i64::eq, u64::eq), |b, _, e, x| lower_compare(b, e, x, "oeq", "eq", "eq")),
    test("graph.ne", |_, x| compare(x, f64::ne, i64::ne, u64::ne), |b, _, e, x| lower_compare(b, e, x, "une", "ne", "ne")),
    test("graph.lt", |_, x| compare(x, f64::lt, i64::lt, u64::lt), |b, _, e, x| lower_compare(b, e, x, "olt", "slt", "ult")),
    test("graph.le", |_, x| compare(x, f64::le, i64::le, u64::le), |b, _, e, x| lower_compare(b, e, x, "ole", "sle", "ule")),
    test("graph.gt", |_, x| compare(x, f64::gt, i64::gt, u64::gt), |b, _, e, x| lower_compare(b, e, x, "ogt", "sgt", "ugt")),
    test("graph.ge", |_, x| compare(x, f64::ge, i64::ge, u64::ge), |b, _, e, x| lower_compare(b, e, x, "oge", "sge", "uge")),
    row("graph.select", |_, x| if x[0].bool() { x[1] } else { x[2] }, |b, _, _, x| b.select(x[0], x[1], x[2])),
];
