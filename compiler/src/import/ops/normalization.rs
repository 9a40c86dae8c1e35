//! Normalizations, decomposed; later stages recognise the patterns. f16 and bf16 compute in f32.

use super::{
    OpResult, Row,
    pool::{powers, root},
    row,
};
use crate::import::{
    error::Failure,
    node::{NodeContext, normalize_axes, normalize_axis},
    value::Tensor,
};
use winze_graph::{
    dialect::{Abs, Add, Div, Maximum, Mul, Pow, ReduceWindow, Rsqrt, Sqrt, Sub},
    dim::Dim,
};

pub const OPS: &[Row] = &[
    row("BatchNormalization", batch_normalization),
    row("InstanceNormalization", instance_normalization),
    row("LayerNormalization", layer_normalization),
    row("RMSNormalization", rms_normalization),
    row("GroupNormalization", group_normalization),
    row("MeanVarianceNormalization", mean_variance_normalization),
    row("LpNormalization", lp_normalization),
    row("LRN", local_response_normalization),
];

pub const CONTRIB_OPS: &[Row] = &[
    row("SkipLayerNormalization", |cx| skip_normalization(cx, false)),
    row("SkipSimplifiedLayerNormalization", |cx| skip_normalization(cx, true)),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// `(x - mean) * (scale / sqrt(variance + epsilon)) + bias`, per channel. In training, statistics are the batch's, and the running ones are updated.
fn batch_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    if cx.int_or("spatial", 1)? == 0 {
        return Ok(Failure::unsupported("statistics per element (spatial = 0)")?);
    }
    let training = match cx.version {
        ..7 => cx.int_or("is_test", 0)? == 0,
        7..14 => cx.node.output.iter().skip(1).any(|output| !output.is_empty()),
        _ => cx.int_or("training_mode", 0)? != 0,
    };
    let momentum = cx.float_or("momentum", 0.9)?;
    let x = cx.input(0)?;
    if x.rank() < 2 {
        return Ok(Failure::invalid(format!("an input of rank {}", x.rank()))?);
    }
    let wide = cx.widen(&x)?;
    let mut channel = vec![];
    for i in 1..5 {
        let parameter = cx.input(i)?;
        channel.push(cx.convert(&parameter, wide.element())?);
    }
    let [scale, bias, mean, variance] = &channel[..] else { unreachable!("four were pushed") };
    let mut statistics = vec![];
    let (mean, variance) = if training {
        let axes = other_axes(x.rank(), &[1]);
        let own_mean = cx.mean(&wide, &axes)?;
        let along = cx.broadcast_along(&own_mean, &[1], x.dims())?;
        let centered = cx.binary(Sub::create, &wide, &along)?;
        let square = cx.binary(Mul::create, &centered, &centered)?;
        let own_variance = cx.mean(&square, &axes)?;
        for (i, (running, own)) in [(mean, &own_mean), (variance, &own_variance)].into_iter().enumerate() {
            let (old, new) = (cx.binary_scalar(Mul::create, running, momentum)?, cx.binary_scalar(Mul::create, own, 1.0 - momentum)?);
            let sum = cx.binary(Add::create, &old, &new)?;
            let element = cx.input(3 + i)?.element();
            statistics.push(cx.convert(&sum, element)?);
        }
        for own in [&own_mean, &own_variance] {
            statistics.push(cx.convert(own, x.element())?);
        }
        (own_mean, own_variance)
    } else {
        (mean.clone(), variance.clone())
    };
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let sum = cx.binary_scalar(Add::create, &variance, epsilon)?;
    let inverse = cx.unary(Rsqrt::create, &sum)?;
    let factor = cx.binary(Mul::create, scale, &inverse)?;
    let (mean, factor, bias) = (
        cx.broadcast_along(&mean, &[1], x.dims())?,
        cx.broadcast_along(&factor, &[1], x.dims())?,
        cx.broadcast_along(bias, &[1], x.dims())?,
    );
    let centered = cx.binary(Sub::create, &wide, &mean)?;
    let scaled = cx.binary(Mul::create, &centered, &factor)?;
    let y = cx.binary(Add::create, &scaled, &bias)?;
    let y = cx.convert(&y, x.element())?;
    Ok([y].into_iter().chain(statistics).collect())
}

/// `x / (bias + alpha / size * sum(x^2)) ^ beta`; the sum is over `size` neighbouring channels.
fn local_response_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let size = cx.int_or("size", 0)?;
    if x.rank() < 2 || !(1..1 << 31).contains(&size) {
        return Ok(Failure::invalid(format!("a size of {size} for an input of rank {}", x.rank()))?);
    }
    let (alpha, beta, bias) = (cx.float_or("alpha", 1e-4)?, cx.float_or("beta", 0.75)?, cx.float_or("bias", 1.0)?);
    let wide = cx.widen(&x)?;
    let square = cx.binary(Mul::create, &wide, &wide)?;
    let along = |channel: i64, other: i64| -> Vec<i64> { (0..x.rank()).map(|axis| if axis == 1 { channel } else { other }).collect() };
    let (ones, before) = (vec![1; x.rank()], (size - 1) / 2);
    let (value, low, high) = (cx.value(&square)?, along(before, 0), along(size - 1 - before, 0));
    let sum = cx.infer(|c, l| ReduceWindow::create(c, l, value, "add".into(), along(size, 1), ones.clone(), low, high, ones))?;
    let scaled = cx.binary_scalar(Mul::create, &sum, alpha / size as f64)?;
    let shifted = cx.binary_scalar(Add::create, &scaled, bias)?;
    let power = cx.binary_scalar(Pow::create, &shifted, beta)?;
    let y = cx.binary(Div::create, &wide, &power)?;
    Ok(vec![cx.convert(&y, x.element())?])
}

/// What normalizing over `axes` gives: the result, the mean and the inverse deviation, both without the axes.
struct Normalized<'c, 'a> {
    y: Tensor<'c, 'a>,
    mean: Tensor<'c, 'a>,
    inverse: Tensor<'c, 'a>,
}

fn other_axes(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !axes.contains(axis)).collect()
}

/// `(x - mean) / sqrt(mean((x - mean)^2) + epsilon)` over `axes`, wide.
fn normalize<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize], epsilon: f64) -> Result<Normalized<'c, 'a>, Failure> {
    let wide = cx.widen(x)?;
    let kept = other_axes(x.rank(), axes);
    let mean = cx.mean(&wide, axes)?;
    let along = cx.broadcast_along(&mean, &kept, x.dims())?;
    let centered = cx.binary(Sub::create, &wide, &along)?;
    let square = cx.binary(Mul::create, &centered, &centered)?;
    let variance = cx.mean(&square, axes)?;
    let sum = cx.binary_scalar(Add::create, &variance, epsilon)?;
    let inverse = cx.unary(Rsqrt::create, &sum)?;
    let along = cx.broadcast_along(&inverse, &kept, x.dims())?;
    let y = cx.binary(Mul::create, &centered, &along)?;
    Ok(Normalized { y, mean, inverse })
}

/// `y * scale + bias`; both are vectors along axis 1.
fn affine_channels<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, y: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let (scale, bias) = (cx.input(1)?, cx.input(2)?);
    let (scale, bias) = (cx.convert(&scale, y.element())?, cx.convert(&bias, y.element())?);
    let (scale, bias) = (cx.broadcast_along(&scale, &[1], y.dims())?, cx.broadcast_along(&bias, &[1], y.dims())?);
    let scaled = cx.binary(Mul::create, y, &scale)?;
    cx.binary(Add::create, &scaled, &bias)
}

fn instance_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    if x.rank() < 3 {
        return Ok(Failure::invalid(format!("an input of rank {}", x.rank()))?);
    }
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    let axes: Vec<usize> = (2..x.rank()).collect();
    let normalized = normalize(cx, &x, &axes, epsilon)?;
    let y = affine_channels(cx, &normalized.y)?;
    Ok(vec![cx.convert(&y, x.element())?])
}

/// Restores `axes` with extent 1.
fn keep_axes<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    folded: &Tensor<'c, 'a>,
    x: &Tensor<'c, 'a>,
    axes: &[usize],
) -> Result<Tensor<'c, 'a>, Failure> {
    let dims = (0..x.rank()).map(|axis| if axes.contains(&axis) { Dim::from(1) } else { x.dims()[axis].clone() }).collect();
    cx.reshape(folded, dims)
}

fn layer_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let axes: Vec<usize> = (normalize_axis(cx.int_or("axis", -1)?, x.rank())?..x.rank()).collect();
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    // Sums are f32 at least, whatever it asks for.
    cx.ignore(&["stash_type"]);
    let Normalized { y, mean, inverse } = normalize(cx, &x, &axes, epsilon)?;
    // The normalized values are rounded to the input's type before they are scaled.
    let y = cx.convert(&y, x.element())?;
    let mut y = cx.binary(Mul::create, &y, &scale)?;
    if let Some(bias) = cx.optional(2) {
        y = cx.binary(Add::create, &y, &bias)?;
    }
    let (mean, inverse) = (keep_axes(cx, &mean, &x, &axes)?, keep_axes(cx, &inverse, &x, &axes)?);
    Ok(vec![y, mean, inverse])
}

fn rms_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let axes: Vec<usize> = (normalize_axis(cx.int_or("axis", -1)?, x.rank())?..x.rank()).collect();
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    cx.ignore(&["stash_type"]);
    Ok(vec![by_root_mean_square(cx, &x, &scale, &axes, epsilon)?])
}

fn by_root_mean_square<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    scale: &Tensor<'c, 'a>,
    axes: &[usize],
    epsilon: f64,
) -> Result<Tensor<'c, 'a>, Failure> {
    let wide = cx.widen(x)?;
    let square = cx.binary(Mul::create, &wide, &wide)?;
    let mean = cx.mean(&square, axes)?;
    let sum = cx.binary_scalar(Add::create, &mean, epsilon)?;
    let inverse = cx.unary(Rsqrt::create, &sum)?;
    let along = cx.broadcast_along(&inverse, &other_axes(x.rank(), axes), x.dims())?;
    let y = cx.binary(Mul::create, &wide, &along)?;
    let y = cx.convert(&y, scale.element())?;
    cx.binary(Mul::create, &y, scale)
}

/// Normalized along the last axis, scaled and moved.
pub fn layer_normalized<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    scale: &Tensor<'c, 'a>,
    bias: Option<&Tensor<'c, 'a>>,
    epsilon: f64,
) -> Result<Tensor<'c, 'a>, Failure> {
    let Some(last) = x.rank().checked_sub(1) else { return Failure::invalid("a scalar input") };
    let y = normalize(cx, x, &[last], epsilon)?.y;
    let y = cx.convert(&y, x.element())?;
    let y = cx.binary(Mul::create, &y, scale)?;
    match bias {
        Some(bias) => cx.binary(Add::create, &y, bias),
        None => Ok(y),
    }
}

/// The sum of input, skip and bias, normalized along the last axis. Results: that, nothing, nothing, the sum; mean and deviation only training uses.
fn skip_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, simplified: bool) -> OpResult<'c, 'a> {
    if cx.node.output.iter().take(3).skip(1).any(|output| !output.is_empty()) {
        return Ok(Failure::unsupported("mean and deviation as results")?);
    }
    let (x, skip, scale) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (beta, bias) = if simplified { (None, cx.optional(3)) } else { (cx.optional(3), cx.optional(4)) };
    let mut sum = cx.binary(Add::create, &x, &skip)?;
    if let Some(bias) = bias {
        sum = cx.binary(Add::create, &sum, &bias)?;
    }
    let Some(last) = sum.rank().checked_sub(1) else { return Ok(Failure::invalid("a scalar input")?) };
    let epsilon = cx.float_or("epsilon", 1e-12)?;
    let y = if simplified {
        by_root_mean_square(cx, &sum, &scale, &[last], epsilon)?
    } else {
        layer_normalized(cx, &sum, &scale, beta.as_ref(), epsilon)?
    };
    Ok(vec![y, sum.clone(), sum.clone(), sum])
}

fn group_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let groups = cx.int_or("num_groups", 0)?;
    let (Some(channels), true) = (x.dims().get(1).and_then(Dim::as_static), x.rank() >= 2) else {
        return Ok(Failure::unsupported("a symbolic number of channels")?);
    };
    if groups < 1 || channels % groups != 0 {
        return Ok(Failure::invalid(format!("{groups} groups of {channels} channels"))?);
    }
    let epsilon = cx.float_or("epsilon", 1e-5)?;
    cx.ignore(&["stash_type"]);
    let grouped: Vec<Dim> =
        [x.dims()[0].clone(), Dim::from(groups), Dim::from(channels / groups)].into_iter().chain(x.dims()[2..].iter().cloned()).collect();
    let wide = cx.reshape(&x, grouped)?;
    let axes: Vec<usize> = (2..wide.rank()).collect();
    let normalized = normalize(cx, &wide, &axes, epsilon)?;
    // Before version 21, scale and bias are per group.
    let per_group = cx.version < 21 && cx.input(1)?.extent(0) == Some(groups) && groups != channels;
    let y = if per_group {
        let y = affine_channels(cx, &normalized.y)?;
        cx.reshape(&y, x.dims().to_vec())?
    } else {
        let y = cx.reshape(&normalized.y, x.dims().to_vec())?;
        affine_channels(cx, &y)?
    };
    Ok(vec![cx.convert(&y, x.element())?])
}

fn mean_variance_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axes = normalize_axes(&cx.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]), x.rank())?;
    // 1e-9 is added to the deviation itself.
    let wide = cx.widen(&x)?;
    let kept = other_axes(x.rank(), &axes);
    let mean = cx.mean(&wide, &axes)?;
    let along = cx.broadcast_along(&mean, &kept, x.dims())?;
    let centered = cx.binary(Sub::create, &wide, &along)?;
    let square = cx.binary(Mul::create, &centered, &centered)?;
    let variance = cx.mean(&square, &axes)?;
    let deviation = cx.unary(Sqrt::create, &variance)?;
    let deviation = cx.binary_scalar(Add::create, &deviation, 1e-9)?;
    let along = cx.broadcast_along(&deviation, &kept, x.dims())?;
    let y = cx.binary(Div::create, &centered, &along)?;
    Ok(vec![cx.convert(&y, x.element())?])
}

/// `x / norm`; 0 where the norm is 0.
fn lp_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", -1)?, x.rank())?;
    let wide = cx.widen(&x)?;
    let norm = match cx.int_or("p", 2)? {
        1 => {
            let size = cx.unary(Abs::create, &wide)?;
            cx.reduce("add", &size, &[axis])?
        }
        2 => {
            let square = powers(cx, &wide, 2.0)?;
            let sum = cx.reduce("add", &square, &[axis])?;
            root(cx, &sum, 2.0, wide.element())?
        }
        other => return Ok(Failure::invalid(format!("p {other}"))?),
    };
    // The smallest normal number keeps 0 / 0 from becoming NaN and changes no other quotient.
    let norm = cx.binary_scalar(Maximum::create, &norm, f64::from(f32::MIN_POSITIVE))?;
    let along = cx.broadcast_along(&norm, &other_axes(x.rank(), &[axis]), x.dims())?;
    let y = cx.binary(Div::create, &wide, &along)?;
    Ok(vec![cx.convert(&y, x.element())?])
}
