//! Operators that work on one element, or one of each operand, at a time.

use super::{OpResult, Row, row, row_since, row_until};
use crate::{
    constants::Scalar,
    import::{
        error::Failure,
        node::{Binary, Compare, NodeContext, Unary},
        value::Tensor,
    },
};
use winze_graph::{
    dialect::{self as graph, And, Div, Gt, IsInf, IsNan, Lt, Maximum, Minimum, Or, Shl, Shr, Xor},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[
    row("Abs", |cx| unary(cx, graph::Abs::create)),
    row("Neg", |cx| unary(cx, graph::Neg::create)),
    row("Sign", |cx| unary(cx, graph::Sign::create)),
    row("Ceil", |cx| unary(cx, graph::Ceil::create)),
    row("Floor", |cx| unary(cx, graph::Floor::create)),
    row("Round", |cx| unary(cx, graph::Round::create)),
    row("Exp", |cx| unary(cx, graph::Exp::create)),
    row("Log", |cx| unary(cx, graph::Log::create)),
    row("Sqrt", |cx| unary(cx, graph::Sqrt::create)),
    row("Erf", |cx| unary(cx, graph::Erf::create)),
    row("Sigmoid", |cx| unary(cx, graph::Logistic::create)),
    row("Tanh", |cx| unary(cx, graph::Tanh::create)),
    row("Sin", |cx| unary(cx, graph::Sin::create)),
    row("Cos", |cx| unary(cx, graph::Cos::create)),
    row("Tan", |cx| unary(cx, graph::Tan::create)),
    row("Asin", |cx| unary(cx, graph::Asin::create)),
    row("Acos", |cx| unary(cx, graph::Acos::create)),
    row("Atan", |cx| unary(cx, graph::Atan::create)),
    row("Sinh", |cx| unary(cx, graph::Sinh::create)),
    row("Cosh", |cx| unary(cx, graph::Cosh::create)),
    row("Asinh", |cx| unary(cx, graph::Asinh::create)),
    row("Acosh", |cx| unary(cx, graph::Acosh::create)),
    row("Atanh", |cx| unary(cx, graph::Atanh::create)),
    row("Not", |cx| unary(cx, graph::Not::create)),
    row("BitwiseNot", |cx| unary(cx, graph::Not::create)),
    row("Reciprocal", reciprocal),
    row("IsNaN", is_nan),
    row("IsInf", is_inf),
    row("Add", |cx| binary(cx, graph::Add::create)),
    row("Sub", |cx| binary(cx, graph::Sub::create)),
    row("Mul", |cx| binary(cx, graph::Mul::create)),
    row("Div", |cx| binary(cx, graph::Div::create)),
    row("And", |cx| binary(cx, And::create)),
    row("Or", |cx| binary(cx, Or::create)),
    row("Xor", |cx| binary(cx, Xor::create)),
    row("BitwiseAnd", |cx| binary(cx, And::create)),
    row("BitwiseOr", |cx| binary(cx, Or::create)),
    row("BitwiseXor", |cx| binary(cx, Xor::create)),
    row("Mod", modulo),
    row("Pow", pow),
    row("BitShift", bit_shift),
    row("Equal", |cx| compare(cx, graph::Eq::create)),
    row("Greater", |cx| compare(cx, Gt::create)),
    row("Less", |cx| compare(cx, Lt::create)),
    row("GreaterOrEqual", |cx| compare(cx, graph::Ge::create)),
    row("LessOrEqual", |cx| compare(cx, graph::Le::create)),
    row("Max", |cx| variadic(cx, Maximum::create)),
    row("Min", |cx| variadic(cx, Minimum::create)),
    row("Sum", |cx| variadic(cx, graph::Add::create)),
    row("Mean", mean),
    row("Where", where_),
    row_until("Clip", 10, clip_attributes),
    row_since("Clip", 11, clip),
];

fn unary<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, create: Unary<'c>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    Ok(vec![cx.unary(create, &x)?])
}

/// Operands 0 and 1. Before version 7, the second is aligned at `axis` if `broadcast` is set.
fn pair<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> Result<(Tensor<'c, 'a>, Tensor<'c, 'a>), Failure> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    if cx.version >= 7 {
        return Ok((a, b));
    }
    cx.ignore(&["broadcast"]);
    let Some(axis) = cx.int("axis")? else { return Ok((a, b)) };
    let axis = if axis < 0 { axis + a.rank() as i64 } else { axis };
    let Some(after) = usize::try_from(axis).ok().and_then(|axis| a.rank().checked_sub(axis + b.rank())) else {
        return Failure::invalid(format!("axis {axis} leaves no room for the second operand"));
    };
    let dims = b.dims().iter().cloned().chain(vec![Dim::from(1); after]).collect();
    let b = cx.reshape(&b, dims)?;
    Ok((a, b))
}

fn binary<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, create: Binary<'c>) -> OpResult<'c, 'a> {
    let (a, b) = pair(cx)?;
    Ok(vec![cx.binary(create, &a, &b)?])
}

fn compare<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, create: Compare<'c>) -> OpResult<'c, 'a> {
    let (a, b) = pair(cx)?;
    Ok(vec![cx.compare(create, &a, &b)?])
}

fn variadic<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, create: Binary<'c>) -> OpResult<'c, 'a> {
    let mut inputs = cx.all_inputs()?.into_iter();
    let first = cx.input(0)?;
    inputs.next();
    Ok(vec![inputs.try_fold(first, |folded, x| cx.binary(create, &folded, &x))?])
}

fn mean<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let count = cx.all_inputs()?.len();
    let sum = variadic(cx, graph::Add::create)?.remove(0);
    Ok(vec![cx.binary_scalar(Div::create, &sum, count as f64)?])
}

fn reciprocal<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let one = cx.scalar(x.element(), 1.0)?;
    Ok(vec![cx.binary(Div::create, &one, &x)?])
}

fn is_nan<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.numbers(&cx.input(0)?)?;
    let value = cx.value(&x)?;
    Ok(vec![cx.infer(|c, l| IsNan::create(c, l, value))?])
}

fn is_inf<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.numbers(&cx.input(0)?)?;
    let value = cx.value(&x)?;
    let infinite = cx.infer(|c, l| IsInf::create(c, l, value))?;
    let (negative, positive) = (cx.int_or("detect_negative", 1)? != 0, cx.int_or("detect_positive", 1)? != 0);
    let zero = cx.scalar(x.element(), 0.0)?;
    let signed = match (negative, positive) {
        (true, true) => return Ok(vec![infinite]),
        (true, false) => cx.compare(Lt::create, &x, &zero)?,
        (false, true) => cx.compare(Gt::create, &x, &zero)?,
        (false, false) => {
            let no = cx.scalar(ElementType::Bool, 0.0)?;
            return Ok(vec![cx.broadcast_to(&no, x.dims())?]);
        }
    };
    Ok(vec![cx.binary(And::create, &infinite, &signed)?])
}

fn modulo<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let fmod = cx.int_or("fmod", 0)? != 0;
    binary(cx, if fmod { graph::Rem::create } else { graph::Mod::create })
}

/// The result has the base's type; a float exponent of an integer base is applied in f64.
fn pow<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (base, exponent) = pair(cx)?;
    // Squares and cubes are products; those of f16 and bf16 are rounded once, as powers are.
    let known = cx.scalar_constant(&exponent).filter(|_| exponent.rank() <= base.rank());
    let is = |n: i64| match known {
        Some(Scalar::Float(value)) => value == n as f64,
        Some(Scalar::Signed(value)) => value == n,
        _ => false,
    };
    let cube = is(3) && matches!(base.element(), ElementType::F32 | ElementType::F64);
    if is(2) || cube {
        let square = cx.binary(graph::Mul::create, &base, &base)?;
        return Ok(vec![if cube { cx.binary(graph::Mul::create, &square, &base)? } else { square }]);
    }
    let work = if !base.element().is_float() && exponent.element().is_float() { ElementType::F64 } else { base.element() };
    let (x, y) = (cx.convert(&base, work)?, cx.convert(&exponent, work)?);
    let power = cx.binary(graph::Pow::create, &x, &y)?;
    Ok(vec![cx.convert(&power, base.element())?])
}

fn bit_shift<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    match cx.string_or("direction", "")?.as_str() {
        "LEFT" => binary(cx, Shl::create),
        "RIGHT" => binary(cx, Shr::create),
        other => Ok(Failure::invalid(format!("direction `{other}`"))?),
    }
}

fn where_<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (condition, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if condition.element() != ElementType::Bool {
        return Ok(Failure::invalid(format!("a condition of element type {}", condition.element()))?);
    }
    Ok(vec![cx.select(&condition, &a, &b)?])
}

fn clip_attributes<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut x = cx.input(0)?;
    if let Some(low) = cx.float("min")? {
        x = cx.binary_scalar(Maximum::create, &x, low)?;
    }
    if let Some(high) = cx.float("max")? {
        x = cx.binary_scalar(Minimum::create, &x, high)?;
    }
    Ok(vec![x])
}

fn clip<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let mut y = x.clone();
    for (i, create) in [(1, Maximum::create as Binary<'c>), (2, Minimum::create as Binary<'c>)] {
        if let Some(bound) = cx.optional(i) {
            let bound = cx.reshape(&bound, vec![])?;
            y = cx.binary(create, &y, &bound)?;
        }
    }
    Ok(vec![y])
}
