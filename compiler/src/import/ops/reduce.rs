//! Reductions over axes: Reduce*, ArgMax, ArgMin.

use super::{OpResult, Row, activation::iota, row};
use crate::import::{
    error::Failure,
    node::{NodeContext, normalize_axes, normalize_axis},
    value::Tensor,
};
use winze_graph::{
    dialect::{Abs, Add, Eq, Exp, IsNan, Log, Mul, Or, Select, Sqrt, Sub},
    dim::Dim,
    types::{Class, ElementType},
};

pub const OPS: &[Row] = &[
    row("ReduceSum", |cx| reduce(cx, 13, sum)),
    row("ReduceMean", |cx| reduce(cx, 18, mean)),
    row("ReduceProd", |cx| reduce(cx, 18, |cx, x, axes| cx.reduce("mul", x, axes))),
    row("ReduceMax", |cx| reduce(cx, 18, |cx, x, axes| cx.reduce(if x.element() == ElementType::Bool { "or" } else { "max" }, x, axes))),
    row("ReduceMin", |cx| reduce(cx, 18, |cx, x, axes| cx.reduce(if x.element() == ElementType::Bool { "and" } else { "min" }, x, axes))),
    row("ReduceL1", |cx| reduce(cx, 18, l1)),
    row("ReduceL2", |cx| reduce(cx, 18, l2)),
    row("ReduceSumSquare", |cx| reduce(cx, 18, sum_square)),
    row("ReduceLogSum", |cx| reduce(cx, 18, log_sum)),
    row("ReduceLogSumExp", |cx| reduce(cx, 18, log_sum_exp)),
    row("ArgMax", |cx| arg(cx, "max")),
    row("ArgMin", |cx| arg(cx, "min")),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;
type Fold = for<'x, 'p, 'c, 'a> fn(&mut Cx<'x, 'p, 'c, 'a>, &Tensor<'c, 'a>, &[usize]) -> Result<Tensor<'c, 'a>, Failure>;

/// Axes are an attribute before version `operand_since`, an operand since.
fn reduce<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, operand_since: i64, fold: Fold) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axes = if cx.version < operand_since { cx.ints("axes")? } else { cx.optional_ints(1, "axes")? };
    let axes = match axes.filter(|axes| !axes.is_empty()) {
        Some(axes) => normalize_axes(&axes, x.rank())?,
        None if cx.int_or("noop_with_empty_axes", 0)? != 0 => vec![],
        None => (0..x.rank()).collect(),
    };
    let keep = cx.int_or("keepdims", 1)? != 0;
    // Folding no axes still applies the function to each element.
    let folded = fold(cx, &x, &axes)?;
    let folded = cx.convert(&folded, x.element())?;
    Ok(vec![if keep { keep_axes(cx, &folded, &x, &axes)? } else { folded }])
}

/// Brings folded axes back, of extent 1.
fn keep_axes<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    folded: &Tensor<'c, 'a>,
    x: &Tensor<'c, 'a>,
    axes: &[usize],
) -> Result<Tensor<'c, 'a>, Failure> {
    let dims = (0..x.rank()).map(|axis| if axes.contains(&axis) { Dim::from(1) } else { x.dims()[axis].clone() }).collect();
    cx.reshape(folded, dims)
}

fn sum<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    cx.reduce("add", x, axes)
}

fn mean<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    cx.mean(x, axes)
}

fn l1<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    let size = cx.unary(Abs::create, x)?;
    cx.reduce("add", &size, axes)
}

/// Squares of f16 and bf16 are summed in f32.
fn sum_square<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    let wide = cx.widen(x)?;
    let square = cx.binary(Mul::create, &wide, &wide)?;
    cx.reduce("add", &square, axes)
}

/// The root of integers is taken in f64.
fn l2<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    let x = float(cx, x)?;
    let sum = sum_square(cx, &x, axes)?;
    cx.unary(Sqrt::create, &sum)
}

fn float<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    if x.element().class() == Class::Float { cx.widen(x) } else { cx.convert(x, ElementType::F64) }
}

fn log_sum<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    let x = float(cx, x)?;
    let sum = cx.reduce("add", &x, axes)?;
    cx.unary(Log::create, &sum)
}

/// `log(sum(exp(x - max))) + max`; an infinite max is not subtracted, which would give NaN.
fn log_sum_exp<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    let x = float(cx, x)?;
    let largest = cx.reduce("max", &x, axes)?;
    let value = cx.value(&largest)?;
    let infinite = cx.infer(|c, l| winze_graph::dialect::IsInf::create(c, l, value))?;
    let zero = cx.scalar(x.element(), 0.0)?;
    let shift = cx.select(&infinite, &zero, &largest)?;
    let kept: Vec<usize> = (0..x.rank()).filter(|axis| !axes.contains(axis)).collect();
    let along = cx.broadcast_along(&shift, &kept, x.dims())?;
    let shifted = cx.binary(Sub::create, &x, &along)?;
    let powers = cx.unary(Exp::create, &shifted)?;
    let sum = cx.reduce("add", &powers, axes)?;
    let log = cx.unary(Log::create, &sum)?;
    cx.binary(Add::create, &log, &shift)
}

/// Position of the first (or last) extreme element.
fn arg<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, kind: &str) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", 0)?, x.rank())?;
    let last = cx.int_or("select_last_index", 0)? != 0;
    let kept: Vec<usize> = (0..x.rank()).filter(|i| *i != axis).collect();
    let extreme = cx.reduce(kind, &x, &[axis])?;
    let along = cx.broadcast_along(&extreme, &kept, x.dims())?;
    let mut hit = cx.compare(Eq::create, &x, &along)?;
    if x.element().is_float() {
        // A NaN is extreme.
        let value = cx.value(&x)?;
        let nan = cx.infer(|c, l| IsNan::create(c, l, value))?;
        hit = cx.binary(Or::create, &hit, &nan)?;
    }
    let position = iota(cx, &x, axis)?;
    let outside = cx.scalar_of(ElementType::I64, crate::constants::Scalar::Signed(if last { -1 } else { i64::MAX }))?;
    let outside = cx.broadcast_to(&outside, x.dims())?;
    let (condition, a, b) = (cx.value(&hit)?, cx.value(&position)?, cx.value(&outside)?);
    let op = Select::create(cx.context(), cx.location, condition, a, b, &[position.r#type.to_type(cx.context())]);
    let candidates = cx.emit(op)?;
    let index = cx.reduce(if last { "max" } else { "min" }, &candidates, &[axis])?;
    Ok(vec![if cx.int_or("keepdims", 1)? != 0 { keep_axes(cx, &index, &x, &[axis])? } else { index }])
}
