//! Activation functions, and softmax.

use super::{OpResult, Row, row, row_since, row_until};
use crate::import::{
    error::Failure,
    node::{NodeContext, normalize_axis},
    value::Tensor,
};
use winze_graph::{
    dialect::{Abs, Add, Div, Eq, Erf, Exp, Expm1, Gt, Iota, Log, Log1p, Logistic, Lt, Maximum, Minimum, Mul, Neg, Softmax, Sub, Tanh},
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[
    row("Relu", relu),
    row("LeakyRelu", leaky_relu),
    row("PRelu", prelu),
    row("Elu", elu),
    row("Selu", selu),
    row("Celu", celu),
    row("HardSigmoid", hard_sigmoid),
    row("HardSwish", hard_swish),
    row("Softplus", softplus),
    row("Softsign", softsign),
    row("ThresholdedRelu", thresholded_relu),
    row("Gelu", gelu),
    row("Mish", mish),
    row("Swish", swish),
    row("SwiGLU", swiglu),
    row("Shrink", shrink),
    row_until("Softmax", 12, |cx| flattened(cx, softmax)),
    row_since("Softmax", 13, |cx| along_axis(cx, softmax)),
    row_until("LogSoftmax", 12, |cx| flattened(cx, log_softmax)),
    row_since("LogSoftmax", 13, |cx| along_axis(cx, log_softmax)),
    row_until("Hardmax", 12, |cx| flattened(cx, hardmax)),
    row_since("Hardmax", 13, |cx| along_axis(cx, hardmax)),
];

pub const CONTRIB_OPS: &[Row] = &[
    row("Gelu", |cx| {
        let x = cx.input(0)?;
        gated_by_erf(cx, &x)
    }),
    row("BiasGelu", |cx| {
        let x = biased(cx)?;
        gated_by_erf(cx, &x)
    }),
    row("FastGelu", |cx| {
        let x = biased(cx)?;
        gated_by_tanh(cx, &x)
    }),
    row("QuickGelu", |cx| {
        let x = cx.input(0)?;
        let scaled = cx.float_or("alpha", 1.702).map(|alpha| cx.binary_scalar(Mul::create, &x, alpha))??;
        let gate = cx.unary(Logistic::create, &scaled)?;
        Ok(vec![cx.binary(Mul::create, &x, &gate)?])
    }),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn relu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    Ok(vec![cx.binary_scalar(Maximum::create, &x, 0.0)?])
}

/// `slope * x` where x is negative, else x.
fn sloped<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, slope: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let zero = cx.scalar(x.element(), 0.0)?;
    let negative = cx.compare(Lt::create, x, &zero)?;
    let scaled = cx.binary(Mul::create, x, slope)?;
    Ok(vec![cx.select(&negative, &scaled, x)?])
}

fn leaky_relu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 0.01)?;
    let slope = cx.scalar(x.element(), alpha)?;
    sloped(cx, &x, &slope)
}

fn prelu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, mut slope) = (cx.input(0)?, cx.input(1)?);
    // Before version 7, a vector of slopes belongs to the channels.
    if cx.version < 7 && slope.rank() == 1 && x.rank() > 2 && slope.extent(0) != Some(1) {
        slope = cx.broadcast_along(&slope, &[1], x.dims())?;
    }
    sloped(cx, &x, &slope)
}

/// `gamma * x` where x is positive, else `gamma * alpha * (exp(x / scale) - 1)`.
fn exponential<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, alpha: f64, gamma: f64, scale: f64) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let zero = cx.scalar(x.element(), 0.0)?;
    let positive = cx.compare(Gt::create, &x, &zero)?;
    let scaled = if scale == 1.0 { x.clone() } else { cx.binary_scalar(Div::create, &x, scale)? };
    let grown = cx.unary(Expm1::create, &scaled)?;
    let below = cx.binary_scalar(Mul::create, &grown, alpha)?;
    let y = cx.select(&positive, &x, &below)?;
    Ok(vec![if gamma == 1.0 { y } else { cx.binary_scalar(Mul::create, &y, gamma)? }])
}

fn elu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let alpha = cx.float_or("alpha", 1.0)?;
    exponential(cx, alpha, 1.0, 1.0)
}

fn selu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    // Defaults of version 6; version 1 differs in the last digits.
    let (alpha, gamma) = if cx.version < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let (alpha, gamma) = (cx.float_or("alpha", alpha)?, cx.float_or("gamma", gamma)?);
    exponential(cx, alpha, gamma, 1.0)
}

fn celu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let alpha = cx.float_or("alpha", 1.0)?;
    exponential(cx, alpha, 1.0, alpha)
}

/// `min(max(alpha * x + beta, 0), 1)`.
fn ramp<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, alpha: f64, beta: f64) -> Result<Tensor<'c, 'a>, Failure> {
    let scaled = cx.binary_scalar(Mul::create, x, alpha)?;
    let shifted = cx.binary_scalar(Add::create, &scaled, beta)?;
    let low = cx.binary_scalar(Maximum::create, &shifted, 0.0)?;
    cx.binary_scalar(Minimum::create, &low, 1.0)
}

fn hard_sigmoid<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let (alpha, beta) = (cx.float_or("alpha", 0.2)?, cx.float_or("beta", 0.5)?);
    Ok(vec![ramp(cx, &x, alpha, beta)?])
}

fn hard_swish<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let gate = ramp(cx, &x, 1.0 / 6.0, 0.5)?;
    Ok(vec![cx.binary(Mul::create, &x, &gate)?])
}

/// `log(1 + exp(x))` as `max(x, 0) + log1p(exp(-|x|))`, which does not overflow.
fn soft<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let size = cx.unary(Abs::create, x)?;
    let negative = cx.unary(Neg::create, &size)?;
    let power = cx.unary(Exp::create, &negative)?;
    let rest = cx.unary(Log1p::create, &power)?;
    let positive = cx.binary_scalar(Maximum::create, x, 0.0)?;
    cx.binary(Add::create, &positive, &rest)
}

fn softplus<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    Ok(vec![soft(cx, &x)?])
}

fn softsign<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let size = cx.unary(Abs::create, &x)?;
    let divisor = cx.binary_scalar(Add::create, &size, 1.0)?;
    Ok(vec![cx.binary(Div::create, &x, &divisor)?])
}

fn thresholded_relu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    let (alpha, zero) = (cx.scalar(x.element(), alpha)?, cx.scalar(x.element(), 0.0)?);
    let above = cx.compare(Gt::create, &x, &alpha)?;
    Ok(vec![cx.select(&above, &x, &zero)?])
}

fn gelu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    match cx.string_or("approximate", "none")?.as_str() {
        "none" => gated_by_erf(cx, &x),
        "tanh" => gated_by_tanh(cx, &x),
        other => Ok(Failure::invalid(format!("approximate `{other}`"))?),
    }
}

fn gated_by_erf<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let scaled = cx.binary_scalar(Mul::create, x, std::f64::consts::FRAC_1_SQRT_2)?;
    let gate = cx.unary(Erf::create, &scaled)?;
    gated(cx, x, &gate)
}

/// The gate is tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)).
fn gated_by_tanh<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let square = cx.binary(Mul::create, x, x)?;
    let cube = cx.binary(Mul::create, &square, x)?;
    let small = cx.binary_scalar(Mul::create, &cube, 0.044715)?;
    let sum = cx.binary(Add::create, x, &small)?;
    let scaled = cx.binary_scalar(Mul::create, &sum, (2.0 / std::f64::consts::PI).sqrt())?;
    let gate = cx.unary(Tanh::create, &scaled)?;
    gated(cx, x, &gate)
}

/// `x / 2 * (1 + gate)`
fn gated<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, gate: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let gate = cx.binary_scalar(Add::create, gate, 1.0)?;
    let half = cx.binary_scalar(Mul::create, x, 0.5)?;
    Ok(vec![cx.binary(Mul::create, &half, &gate)?])
}

/// Input 0 with input 1 added, if there is one.
fn biased<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let x = cx.input(0)?;
    match cx.optional(1) {
        Some(bias) => cx.binary(Add::create, &x, &bias),
        None => Ok(x),
    }
}

fn mish<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let soft = soft(cx, &x)?;
    let gate = cx.unary(Tanh::create, &soft)?;
    Ok(vec![cx.binary(Mul::create, &x, &gate)?])
}

/// `swish(a) * b`.
fn swiglu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (gate, value) = (swish(cx)?.remove(0), cx.input(1)?);
    Ok(vec![cx.binary(Mul::create, &gate, &value)?])
}

/// 0 where `|x| <= lambd`, elsewhere x brought nearer to 0 by `bias`.
fn shrink<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let (bias, bound) = (cx.float_or("bias", 0.0)?, cx.float_or("lambd", 0.5)?);
    // Bounds are floats also where the elements are integers.
    let wide = if x.element().is_float() { x.clone() } else { cx.convert(&x, ElementType::F64)? };
    let (low, high, zero) = (cx.scalar(wide.element(), -bound)?, cx.scalar(wide.element(), bound)?, cx.scalar(wide.element(), 0.0)?);
    let (below, above) = (cx.compare(Lt::create, &wide, &low)?, cx.compare(Gt::create, &wide, &high)?);
    let (raised, lowered) = (cx.binary_scalar(Add::create, &wide, bias)?, cx.binary_scalar(Sub::create, &wide, bias)?);
    let y = cx.select(&above, &lowered, &zero)?;
    let y = cx.select(&below, &raised, &y)?;
    Ok(vec![cx.convert(&y, x.element())?])
}

fn swish<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let alpha = cx.float_or("alpha", 1.0)?;
    let scaled = if alpha == 1.0 { x.clone() } else { cx.binary_scalar(Mul::create, &x, alpha)? };
    let gate = cx.unary(Logistic::create, &scaled)?;
    Ok(vec![cx.binary(Mul::create, &x, &gate)?])
}

type AlongAxis = for<'x, 'p, 'c, 'a> fn(&mut Cx<'x, 'p, 'c, 'a>, &Tensor<'c, 'a>, usize) -> Result<Tensor<'c, 'a>, Failure>;

fn along_axis<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, apply: AlongAxis) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", -1)?, x.rank())?;
    Ok(vec![apply(cx, &x, axis)?])
}

/// Before version 13: all axes from `axis` on count as one.
fn flattened<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, apply: AlongAxis) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", 1)?, x.rank())?;
    if axis + 1 == x.rank() {
        return Ok(vec![apply(cx, &x, axis)?]);
    }
    let product = |dims: &[Dim]| dims.iter().fold(Dim::from(1), |product, dim| &product * dim);
    let (outer, inner) = x.dims().split_at(axis);
    let matrix = cx.reshape(&x, vec![product(outer), product(inner)])?;
    let y = apply(cx, &matrix, 1)?;
    Ok(vec![cx.reshape(&y, x.dims().to_vec())?])
}

fn softmax<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let value = cx.value(x)?;
    let op = Softmax::create(cx.context(), cx.location, value, axis as i64, &[x.r#type.to_type(cx.context())]);
    cx.emit(op)
}

/// Folds an axis and repeats the result along it.
fn fold_along<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, kind: &str, x: &Tensor<'c, 'a>, axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let folded = cx.reduce(kind, x, &[axis])?;
    let kept: Vec<usize> = (0..x.rank()).filter(|i| *i != axis).collect();
    cx.broadcast_along(&folded, &kept, x.dims())
}

/// `x - max - log(sum(exp(x - max)))`.
pub fn log_softmax<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let wide = cx.widen(x)?;
    let largest = fold_along(cx, "max", &wide, axis)?;
    let shifted = cx.binary(Sub::create, &wide, &largest)?;
    let powers = cx.unary(Exp::create, &shifted)?;
    let sum = fold_along(cx, "add", &powers, axis)?;
    let log = cx.unary(Log::create, &sum)?;
    let y = cx.binary(Sub::create, &shifted, &log)?;
    cx.convert(&y, x.element())
}

/// 1 at the first largest element, else 0.
fn hardmax<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let position = iota(cx, x, axis)?;
    let largest = fold_along(cx, "max", x, axis)?;
    let at_largest = cx.compare(Eq::create, x, &largest)?;
    let beyond = cx.scalar(ElementType::I64, i64::MAX as f64)?;
    let candidates = cx.select(&at_largest, &position, &beyond)?;
    let first = fold_along(cx, "min", &candidates, axis)?;
    let hit = cx.compare(Eq::create, &position, &first)?;
    cx.convert(&hit, x.element())
}

/// Positions along an axis, as i64, of the shape of `x`.
pub fn iota<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let r#type = TensorType::new(ElementType::I64, x.dims().to_vec()).to_type(cx.context());
    let op = Iota::create(cx.context(), cx.location, axis as i64, &[r#type]);
    cx.emit(op)
}
