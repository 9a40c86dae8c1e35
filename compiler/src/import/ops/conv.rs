//! Conv and ConvTranspose, over 1 to 3 spatial axes.

use super::{OpResult, Row, recurrent, row};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Add, Conv},
    dim::Dim,
};

pub const OPS: &[Row] = &[row("Conv", conv), row("ConvTranspose", conv_transpose)];

pub const CONTRIB_OPS: &[Row] = &[row("FusedConv", |cx| {
    recurrent::then_activation(cx, |cx| {
        let y = conv(cx)?.remove(0);
        Ok(vec![match cx.optional(3) {
            Some(added) => cx.binary(Add::create, &y, &added)?,
            None => y,
        }])
    })
})];

fn conv<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, filter) = (cx.input(0)?, cx.input(1)?);
    let y = convolution(cx, &x, &filter)?;
    Ok(vec![add_bias(cx, y, 2)?])
}

/// The convolution that the node's attributes describe.
pub fn convolution<'c, 'a>(
    cx: &mut NodeContext<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    filter: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    if x.rank() != filter.rank() || x.rank() < 3 {
        return Failure::invalid(format!("an input of rank {} and a filter of rank {}", x.rank(), filter.rank()));
    }
    if x.rank() > 5 {
        return Failure::unsupported("more than 3 spatial axes");
    }
    let Some(kernel) = filter.dims()[2..].iter().map(Dim::as_static).collect::<Option<Vec<i64>>>() else {
        return Failure::unsupported("a filter of symbolic size");
    };
    check_kernel_shape(cx, &kernel)?;
    let window = Window::of(cx, &x.dims()[2..], &kernel)?;
    let groups = cx.int_or("group", 1)?;
    if groups < 1 {
        return Failure::invalid(format!("group {groups} is not positive"));
    }
    let mut dims = x.dims().to_vec();
    dims[1] = &filter.dims()[1] * &Dim::from(groups);
    let x = cx.with_dims(x, dims, "as many channels as the filter takes")?;
    let (input, weights) = (cx.value(&x)?, cx.value(filter)?);
    let Window { strides, dilations, low, high } = window;
    let ones = vec![1; kernel.len()];
    cx.infer(|c, l| Conv::create(c, l, input, weights, strides, low, high, ones, dilations, groups, false, None))
}

/// What places the elements of a transposed convolution along one spatial axis.
struct Spread {
    kernel: i64,
    stride: i64,
    dilation: i64,
    /// Elements that are cut off in front, and at the end; negative at the end where zeros are added.
    low: i64,
    high: i64,
}

impl Spread {
    /// Reads the attributes of a ConvTranspose.
    fn of(cx: &NodeContext, spatial: &[Dim], kernel: &[i64]) -> Result<Vec<Self>, Failure> {
        let rank = kernel.len();
        let list = |name: &str, default: i64| -> Result<Vec<i64>, Failure> {
            let list = cx.ints(name)?.filter(|list| !list.is_empty()).unwrap_or_else(|| vec![default; rank]);
            let fits = list.len() == rank && list.iter().all(|value| (default..1 << 31).contains(value));
            if fits { Ok(list) } else { Failure::invalid(format!("{name} {list:?} does not fit {rank} spatial axes")) }
        };
        let (strides, dilations, extra) = (list("strides", 1)?, list("dilations", 1)?, list("output_padding", 0)?);
        let auto = cx.string_or("auto_pad", "NOTSET")?;
        if !["NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(&auto.as_str()) {
            return Failure::invalid(format!("auto_pad `{auto}`"));
        }
        let same = auto.starts_with("SAME");
        let shape = cx.ints("output_shape")?.filter(|shape| !shape.is_empty());
        if shape.as_ref().is_some_and(|shape| shape.len() < rank || shape.iter().any(|extent| !(1..1 << 31).contains(extent))) {
            return Failure::invalid(format!("output_shape {shape:?} for {rank} spatial axes"));
        }
        let pads = cx.ints("pads")?.filter(|pads| !pads.is_empty() && auto != "VALID").unwrap_or_else(|| vec![0; 2 * rank]);
        if pads.len() != 2 * rank || pads.iter().any(|pad| !(-(1 << 31)..1 << 31).contains(pad)) {
            return Failure::invalid(format!("pads {pads:?} do not fit {rank} spatial axes"));
        }
        (0..rank)
            .map(|i| {
                let (kernel, stride, dilation) = (kernel[i], strides[i], dilations[i]);
                let span = (kernel - 1) * dilation + 1;
                let total = match &shape {
                    Some(shape) => {
                        let Some(extent) = spatial[i].as_static() else {
                            return Failure::unsupported(format!("output_shape for the symbolic extent {}", spatial[i]));
                        };
                        Some((extent - 1).saturating_mul(stride).saturating_add(extra[i] + span) - shape[shape.len() - rank + i])
                    }
                    // The result is `stride` times as long as the input.
                    None if same => Some(extra[i] + span - stride),
                    None => None,
                };
                let (low, high) = match total {
                    None => (pads[i], pads[rank + i]),
                    Some(total) if total < 0 => (0, total),
                    Some(total) if auto == "SAME_UPPER" => (total / 2, total - total / 2),
                    Some(total) => (total - total / 2, total / 2),
                };
                Ok(Self { kernel, stride, dilation, low, high: high - extra[i] })
            })
            .collect()
    }
}

fn conv_transpose<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, filter) = (cx.input(0)?, cx.input(1)?);
    if x.rank() != filter.rank() || x.rank() < 3 {
        return Ok(Failure::invalid(format!("an input of rank {} and a filter of rank {}", x.rank(), filter.rank()))?);
    }
    if x.rank() > 5 {
        return Ok(Failure::unsupported("more than 3 spatial axes")?);
    }
    let Some(shape) = filter.r#type.static_shape().filter(|shape| shape.iter().all(|extent| (1..1 << 31).contains(extent))) else {
        return Ok(Failure::unsupported("an empty filter or one of symbolic size")?);
    };
    let (groups, kernel) = (cx.int_or("group", 1)?, &shape[2..]);
    if groups < 1 || shape[0] % groups != 0 {
        return Ok(Failure::invalid(format!("{groups} groups for a filter of {} channels", shape[0]))?);
    }
    let mut dims = x.dims().to_vec();
    dims[1] = Dim::from(shape[0]);
    let x = cx.with_dims(&x, dims, "as many channels as the filter takes")?;
    check_kernel_shape(cx, kernel)?;
    let spread = Spread::of(cx, &x.dims()[2..], kernel)?;
    let strided = spread.iter().any(|axis| axis.stride > 1) && spread.iter().all(|axis| axis.dilation == 1);
    let y = if groups == 1 && strided {
        by_phases(cx, &x, &filter, &shape, &spread)?
    } else {
        by_zeros(cx, &x, &filter, &shape, &spread, groups)?
    };
    Ok(vec![add_bias(cx, y, 2)?])
}

/// As a convolution of the input with `stride - 1` zeros between its elements.
fn by_zeros<'c, 'a>(
    cx: &mut NodeContext<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    filter: &Tensor<'c, 'a>,
    shape: &[i64],
    spread: &[Spread],
    groups: i64,
) -> Result<Tensor<'c, 'a>, Failure> {
    let (inputs, outputs, kernel) = (shape[0], shape[1], &shape[2..]);
    // Channels of the result come first, those of the input are counted inside a group.
    let grouped = cx.arrange_reshape(filter, &[&[groups, inputs / groups, outputs], kernel].concat())?;
    let permutation: Vec<usize> = [0, 2, 1].into_iter().chain(3..grouped.rank()).collect();
    let swapped = cx.arrange_transpose(&grouped, &permutation)?;
    let joined = cx.arrange_reshape(&swapped, &[&[groups * outputs, inputs / groups], kernel].concat())?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    let filter = cx.arrange_reverse(&joined, &axes)?;
    let all_axes = |amount: &dyn Fn(&Spread) -> i64| -> Vec<i64> { [0, 0].into_iter().chain(spread.iter().map(amount)).collect() };
    let margin = |axis: &Spread| (axis.kernel - 1) * axis.dilation;
    let zero = cx.scalar(x.element(), 0.0)?;
    let (low, high) = (all_axes(&|axis| margin(axis) - axis.low), all_axes(&|axis| margin(axis) - axis.high));
    let wide = cx.pad(x, &zero, low, high, all_axes(&|axis| axis.stride - 1))?;
    let (ones, zeros) = (vec![1; kernel.len()], vec![0; kernel.len()]);
    let dilations = spread.iter().map(|axis| axis.dilation).collect();
    let (input, weights) = (cx.value(&wide)?, cx.value(&filter)?);
    cx.infer(|c, l| Conv::create(c, l, input, weights, ones.clone(), zeros.clone(), zeros, ones, dilations, groups, false, None))
}

/// As one convolution that makes the `stride` elements of each step as channels, which are then put side by side: no zero is multiplied.
fn by_phases<'c, 'a>(
    cx: &mut NodeContext<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    filter: &Tensor<'c, 'a>,
    shape: &[i64],
    spread: &[Spread],
) -> Result<Tensor<'c, 'a>, Failure> {
    let (inputs, outputs, spatial) = (shape[0], shape[1], spread.len());
    let taps: Vec<i64> = spread.iter().map(|axis| (axis.kernel as u64).div_ceil(axis.stride as u64) as i64).collect();
    let missing: Vec<i64> =
        [0, 0].into_iter().chain(spread.iter().zip(&taps).map(|(axis, taps)| taps * axis.stride - axis.kernel)).collect();
    let phases: i64 = spread.iter().map(|axis| axis.stride).product();
    // Tap k of the filter is tap k / stride of phase k % stride.
    let extended = cx.arrange_extend(filter, &missing)?;
    let split: Vec<i64> =
        [inputs, outputs].into_iter().chain(spread.iter().zip(&taps).flat_map(|(axis, taps)| [*taps, axis.stride])).collect();
    let split = cx.arrange_reshape(&extended, &split)?;
    let permutation: Vec<usize> =
        [1].into_iter().chain((0..spatial).map(|i| 3 + 2 * i)).chain([0]).chain((0..spatial).map(|i| 2 + 2 * i)).collect();
    let moved = cx.arrange_transpose(&split, &permutation)?;
    let joined = cx.arrange_reshape(&moved, &[&[outputs * phases, inputs], &taps[..]].concat())?;
    let axes: Vec<usize> = (2..2 + spatial).collect();
    let filter = cx.arrange_reverse(&joined, &axes)?;
    let (ones, margin): (Vec<i64>, Vec<i64>) = (vec![1; spatial], taps.iter().map(|taps| taps - 1).collect());
    let (input, weights) = (cx.value(x)?, cx.value(&filter)?);
    let y =
        cx.infer(|c, l| Conv::create(c, l, input, weights, ones.clone(), margin.clone(), margin, ones.clone(), ones, 1, false, None))?;
    let steps = y.dims()[2..].to_vec();
    let batch = x.dims()[0].clone();
    let apart: Vec<Dim> = [batch.clone(), Dim::from(outputs)]
        .into_iter()
        .chain(spread.iter().map(|axis| Dim::from(axis.stride)))
        .chain(steps.iter().cloned())
        .collect();
    let apart = cx.reshape(&y, apart)?;
    let permutation = [0, 1].into_iter().chain((0..spatial as i64).flat_map(|i| [2 + spatial as i64 + i, 2 + i])).collect();
    let moved = cx.transpose(&apart, permutation)?;
    let full = steps.iter().zip(spread).map(|(steps, axis)| steps * &Dim::from(axis.stride));
    let full: Vec<Dim> = [batch, Dim::from(outputs)].into_iter().chain(full).collect();
    let full = cx.reshape(&moved, full)?;
    let (mut low, mut high) = (vec![0; 2], vec![0; 2]);
    for (axis, taps) in spread.iter().zip(&taps) {
        low.push(-axis.low);
        high.push(axis.kernel - taps * axis.stride - axis.high);
    }
    let zero = cx.scalar(x.element(), 0.0)?;
    cx.pad(&full, &zero, low, high, vec![0; x.rank()])
}

/// Adds an optional input, the bias, to axis 1.
pub fn add_bias<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, y: Tensor<'c, 'a>, input: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let Some(bias) = cx.optional(input) else { return Ok(y) };
    if bias.rank() != 1 {
        return Failure::invalid("the bias is no vector");
    }
    let bias = cx.broadcast_along(&bias, &[1], y.dims())?;
    cx.binary(Add::create, &y, &bias)
}

/// Strides, dilations and padding of a window over spatial axes.
pub struct Window {
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    pub low: Vec<i64>,
    pub high: Vec<i64>,
}

/// `kernel_shape` says again what the filter's shape says.
pub fn check_kernel_shape(cx: &NodeContext, kernel: &[i64]) -> Result<(), Failure> {
    match cx.ints("kernel_shape")? {
        Some(declared) if declared != kernel => Failure::invalid("kernel_shape differs from the shape of the filter"),
        _ => Ok(()),
    }
}

impl Window {
    /// Reads the attributes that Conv and the pooling operators share. `spatial` are the input's extents.
    pub fn of(cx: &NodeContext, spatial: &[Dim], kernel: &[i64]) -> Result<Self, Failure> {
        let rank = kernel.len();
        if spatial.len() != rank {
            return Failure::invalid(format!("a kernel_shape of {rank} axes for {} spatial axes", spatial.len()));
        }
        let list = |name: &str, default: i64| -> Result<Vec<i64>, Failure> {
            let list = cx.ints(name)?.filter(|list| !list.is_empty()).unwrap_or_else(|| vec![default; rank]);
            // Bounds keep all arithmetic on extents inside 64 bits.
            let fits = list.len() == rank && list.iter().all(|value| (1..1 << 31).contains(value));
            if fits { Ok(list) } else { Failure::invalid(format!("{name} {list:?} does not fit {rank} spatial axes")) }
        };
        let (strides, dilations) = (list("strides", 1)?, list("dilations", 1)?);
        if kernel.iter().any(|k| !(1..1 << 31).contains(k)) {
            return Failure::invalid(format!("a window of {kernel:?}"));
        }
        let auto = cx.string_or("auto_pad", "NOTSET")?;
        let (low, high) = match auto.as_str() {
            "NOTSET" | "" => {
                let pads = cx.ints("pads")?.filter(|pads| !pads.is_empty()).unwrap_or_else(|| vec![0; 2 * rank]);
                if pads.len() != 2 * rank || pads.iter().any(|pad| !(-(1 << 31)..1 << 31).contains(pad)) {
                    return Failure::invalid(format!("pads {pads:?} do not fit {rank} spatial axes"));
                }
                (pads[..rank].to_vec(), pads[rank..].to_vec())
            }
            "VALID" => (vec![0; rank], vec![0; rank]),
            "SAME_UPPER" | "SAME_LOWER" => {
                let pads = (0..rank).map(|i| same_padding(&spatial[i], kernel[i], strides[i], dilations[i], auto == "SAME_UPPER"));
                pads.collect::<Result<Vec<_>, _>>()?.into_iter().unzip()
            }
            other => return Failure::invalid(format!("auto_pad `{other}`")),
        };
        Ok(Self { strides, dilations, low, high })
    }
}

/// Padding before and after that makes the result `ceil(extent / stride)` long; of an odd number the greater half is after (`upper`) or before.
fn same_padding(extent: &Dim, kernel: i64, stride: i64, dilation: i64, upper: bool) -> Result<(i64, i64), Failure> {
    let window = (kernel - 1) * dilation + 1;
    let halves = |total: i64| if upper { (total / 2, total - total / 2) } else { (total - total / 2, total / 2) };
    if let Some(extent) = extent.as_static() {
        let out = (extent as u64).div_ceil(stride as u64) as i64;
        return Ok(halves(((out - 1).saturating_mul(stride).saturating_add(window) - extent).max(0)));
    }
    if extent.is_multiple_of(stride) {
        // The last window starts `stride` before the end.
        return Ok(halves((window - stride).max(0)));
    }
    let before: Vec<i64> = (0..stride.min(1 << 16)).map(|rest| halves((window - stride + rest).max(0)).0).collect();
    let low = before[0];
    if before.iter().any(|before| *before != low) {
        return Failure::unsupported(format!(
            "auto_pad with a window of {window} and stride {stride} on the symbolic extent {extent}; fix it with --dim"
        ));
    }
    // More padding after than some extents need makes no more windows.
    Ok((low, (window - 1 - low).max(0)))
}
