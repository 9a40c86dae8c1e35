//! Reductions over axes: Reduce*, ArgMax, ArgMin.

use super::{
    OpResult, Row,
    activation::iota,
    reshape::{axes_named, kept_extents},
    row,
};
use crate::import::{
    error::Failure,
    node::{NodeContext, normalize_axes, normalize_axis},
    value::Tensor,
    value_range::larger,
};
use winze_graph::{
    dialect::{Abs, Add, Eq, Exp, IsNan, Log, Mul, Or, Select, Sqrt, Sub},
    dim::Dim,
    types::{Class, ElementType},
};

pub const OPS: &[Row] = &[
    row("ReduceSum", |cx| reduce(cx, 13, &Reduction { fold: sum, ..PLAIN })),
    row("ReduceMean", |cx| reduce(cx, 18, &Reduction { fold: mean, ..PLAIN })),
    row("ReduceProd", |cx| reduce(cx, 18, &Reduction { fold: |cx, x, axes| cx.reduce("mul", x, axes), ..PLAIN })),
    row("ReduceMax", |cx| reduce(cx, 18, &Reduction { fold: max, ..PLAIN })),
    row("ReduceMin", |cx| reduce(cx, 18, &Reduction { fold: min, ..PLAIN })),
    row("ReduceL1", |cx| reduce(cx, 18, &Reduction { before: |cx, x| cx.unary(Abs::create, x), ..PLAIN })),
    row("ReduceL2", |cx| reduce(cx, 18, &Reduction { before: float_square, after: |cx, x| cx.unary(Sqrt::create, x), ..PLAIN })),
    row("ReduceSumSquare", |cx| reduce(cx, 18, &Reduction { before: square, ..PLAIN })),
    row("ReduceLogSum", |cx| reduce(cx, 18, &Reduction { before: float, after: |cx, x| cx.unary(Log::create, x), ..PLAIN })),
    row("ReduceLogSumExp", |cx| reduce(cx, 18, &Reduction { before: float, fold: log_sum_exp, ..PLAIN })),
    row("ArgMax", |cx| arg(cx, "max")),
    row("ArgMin", |cx| arg(cx, "min")),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;
type Fold = for<'x, 'p, 'c, 'a> fn(&mut Cx<'x, 'p, 'c, 'a>, &Tensor<'c, 'a>, &[usize]) -> Result<Tensor<'c, 'a>, Failure>;

type Map = for<'x, 'p, 'c, 'a> fn(&mut Cx<'x, 'p, 'c, 'a>, &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure>;

/// What is done to each element, then along the axes, then to each result. Folding one axis after the other gives the same.
struct Reduction {
    before: Map,
    fold: Fold,
    after: Map,
}

const PLAIN: Reduction = Reduction { before: |_, x| Ok(x.clone()), fold: sum, after: |_, x| Ok(x.clone()) };

/// Axes are an attribute before version `operand_since`, an operand since.
fn reduce<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, operand_since: i64, reduction: &Reduction) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let (keep, noop) = (cx.int_or("keepdims", 1)? != 0, cx.int_since(operand_since, "noop_with_empty_axes", 0)? != 0);
    if let Some(named) = cx.open_operand(1).filter(|_| cx.version >= operand_since) {
        return reduce_while_running(cx, &x, &named, reduction, keep);
    }
    let axes = if cx.version < operand_since { cx.ints("axes")? } else { cx.optional_ints(1, "axes")? };
    let axes = match axes.filter(|axes| !axes.is_empty()) {
        Some(axes) => normalize_axes(&axes, x.rank())?,
        None if noop => vec![],
        None => (0..x.rank()).collect(),
    };
    // Folding no axes still applies the function to each element.
    let y = (reduction.before)(cx, &x)?;
    let y = (reduction.fold)(cx, &y, &axes)?;
    let y = (reduction.after)(cx, &y)?;
    let y = cx.convert(&y, x.element())?;
    Ok(vec![if keep { keep_axes(cx, &y, &x, &axes)? } else { y }])
}

/// Axes that only the run knows: every axis is folded, the result put in front of it, and one of both taken.
fn reduce_while_running<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    named: &Tensor<'c, 'a>,
    reduction: &Reduction,
    keep: bool,
) -> OpResult<'c, 'a> {
    if x.element().class() != Class::Float && cx.node.op_type == "ReduceMean" {
        return Ok(Failure::unsupported("axes of a mean of integers that are only known at run time; it rounds once")?);
    }
    let named = cx.elements(named)?;
    let Some(left) = x.rank().checked_sub(named.len()) else { return Ok(Failure::invalid("more axes than the input has")?) };
    let hits = axes_named(cx, &named, x.rank())?;
    let mut y = (reduction.before)(cx, x)?;
    let (first, one) = (cx.number(&Dim::default()), cx.number(&Dim::from(1)));
    for (axis, hit) in hits.iter().enumerate() {
        let (extent, kept) = (y.dims()[axis].clone(), (0..x.rank()).filter(|i| *i != axis).collect::<Vec<_>>());
        let folded = (reduction.fold)(cx, &y, &[axis])?;
        let mut dims = y.dims().to_vec();
        dims[axis] = Dim::from(1);
        let folded = cx.broadcast_along(&folded, &kept, &dims)?;
        y = cx.convert(&y, folded.element())?;
        y = cx.concat(&[folded, y], axis)?;
        let start = cx.select(hit, &first, &one)?;
        let length = cx.select(hit, &one, &cx.number(&extent))?;
        let upper = larger(extent, Dim::from(1));
        let length = cx.size(&length, "extents of the result", "", Some(upper))?;
        y = cx.window(&y, axis, &start, length)?;
    }
    let y = (reduction.after)(cx, &y)?;
    let y = cx.convert(&y, x.element())?;
    if keep {
        return Ok(vec![y]);
    }
    let (extents, total) = (y.dims().to_vec(), y.r#type.count());
    let dims = kept_extents(cx, &extents, &hits, left)?;
    let count = dims.iter().fold(Dim::from(1), |product, dim| &product * dim);
    cx.check_size(&cx.number(&count), "number of results", &total, &total)?;
    Ok(vec![cx.reshape_to(&y, dims)?])
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

fn max<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    cx.reduce(if x.element() == ElementType::Bool { "or" } else { "max" }, x, axes)
}

fn min<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    cx.reduce(if x.element() == ElementType::Bool { "and" } else { "min" }, x, axes)
}

/// Squares of f16 and bf16 are summed in f32.
fn square<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let wide = cx.widen(x)?;
    cx.binary(Mul::create, &wide, &wide)
}

/// The root of integers is taken in f64.
fn float_square<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let x = float(cx, x)?;
    square(cx, &x)
}

fn float<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    if x.element().class() == Class::Float { cx.widen(x) } else { cx.convert(x, ElementType::F64) }
}

/// `log(sum(exp(x - max))) + max`; an infinite max is not subtracted, which would give NaN.
fn log_sum_exp<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
    let largest = cx.reduce("max", x, axes)?;
    let value = cx.value(&largest)?;
    let infinite = cx.infer(|c, l| winze_graph::dialect::IsInf::create(c, l, value))?;
    let zero = cx.scalar(x.element(), 0.0)?;
    let shift = cx.select(&infinite, &zero, &largest)?;
    let kept: Vec<usize> = (0..x.rank()).filter(|axis| !axes.contains(axis)).collect();
    let along = cx.broadcast_along(&shift, &kept, x.dims())?;
    let shifted = cx.binary(Sub::create, x, &along)?;
    let powers = cx.unary(Exp::create, &shifted)?;
    let sum = cx.reduce("add", &powers, axes)?;
    let log = cx.unary(Log::create, &sum)?;
    cx.binary(Add::create, &log, &shift)
}

fn arg<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, kind: &str) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", 0)?, x.rank())?;
    let last = cx.int_since(12, "select_last_index", 0)? != 0;
    let index = extreme_position(cx, &x, kind, axis, last)?;
    Ok(vec![if cx.int_or("keepdims", 1)? != 0 { keep_axes(cx, &index, &x, &[axis])? } else { index }])
}

/// Position of the first (or last) extreme element along an axis, which vanishes.
pub fn extreme_position<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    kind: &str,
    axis: usize,
    last: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    let kept: Vec<usize> = (0..x.rank()).filter(|i| *i != axis).collect();
    let extreme = cx.reduce(kind, x, &[axis])?;
    let along = cx.broadcast_along(&extreme, &kept, x.dims())?;
    let mut hit = cx.compare(Eq::create, x, &along)?;
    if x.element().is_float() {
        // A NaN is extreme.
        let value = cx.value(x)?;
        let nan = cx.infer(|c, l| IsNan::create(c, l, value))?;
        hit = cx.binary(Or::create, &hit, &nan)?;
    }
    let position = iota(cx, x, axis)?;
    let outside = cx.scalar_of(ElementType::I64, crate::constants::Scalar::Signed(if last { -1 } else { i64::MAX }))?;
    let outside = cx.broadcast_to(&outside, x.dims())?;
    let (condition, a, b) = (cx.value(&hit)?, cx.value(&position)?, cx.value(&outside)?);
    let op = Select::create(cx.context(), cx.location, condition, a, b, &[position.r#type.to_type(cx.context())]);
    let candidates = cx.emit(op)?;
    cx.reduce(if last { "max" } else { "min" }, &candidates, &[axis])
}
