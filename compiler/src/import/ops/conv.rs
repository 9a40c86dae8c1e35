//! Conv, over 1 to 3 spatial axes.

use super::{OpResult, Row, row};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Add, Conv},
    dim::Dim,
};

pub const OPS: &[Row] = &[row("Conv", conv)];

fn conv<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, filter) = (cx.input(0)?, cx.input(1)?);
    let y = convolution(cx, &x, &filter)?;
    Ok(vec![add_bias(cx, y)?])
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
    if cx.ints("kernel_shape")?.is_some_and(|declared| declared != kernel) {
        return Failure::invalid("kernel_shape differs from the shape of the filter");
    }
    let window = Window::of(cx, &x.dims()[2..], &kernel)?;
    let groups = cx.int_or("group", 1)?;
    if groups < 1 {
        return Failure::invalid(format!("group {groups} is not positive"));
    }
    let (input, weights) = (cx.value(x)?, cx.value(filter)?);
    let Window { strides, dilations, low, high } = window;
    let ones = vec![1; kernel.len()];
    cx.infer(|c, l| Conv::create(c, l, input, weights, strides, low, high, ones, dilations, groups, false, None))
}

/// Adds the optional bias, input 2, to axis 1.
fn add_bias<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, y: Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let Some(bias) = cx.optional(2) else { return Ok(y) };
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
                let total =
                    (0..rank).map(|i| same_padding(&spatial[i], kernel[i], strides[i], dilations[i])).collect::<Result<Vec<_>, _>>()?;
                let small: Vec<i64> = total.iter().map(|total| total / 2).collect();
                let large: Vec<i64> = total.iter().map(|total| total - total / 2).collect();
                if auto == "SAME_UPPER" { (small, large) } else { (large, small) }
            }
            other => return Failure::invalid(format!("auto_pad `{other}`")),
        };
        Ok(Self { strides, dilations, low, high })
    }
}

/// Padding that makes the result `ceil(extent / stride)` long.
fn same_padding(extent: &Dim, kernel: i64, stride: i64, dilation: i64) -> Result<i64, Failure> {
    let window = (kernel - 1) * dilation + 1;
    match extent.as_static() {
        Some(extent) => {
            let out = (extent as u64).div_ceil(stride as u64) as i64;
            Ok(((out - 1).saturating_mul(stride).saturating_add(window) - extent).max(0))
        }
        // The last window then starts `stride` before the end.
        None if extent.is_multiple_of(stride) => Ok((window - stride).max(0)),
        None => Failure::unsupported(format!("auto_pad with stride {stride} on the symbolic extent {extent}; fix it with --dim")),
    }
}
