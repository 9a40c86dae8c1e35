//! Col2Im: overlapping blocks of an image, added where they came from.

use super::{
    OpResult, Row,
    index::{positions, take},
    resize::Taps,
    row,
};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Add, And, Div, Eq, Ge, Lt, Mul, Sub},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[row("Col2Im", col2im)];

/// How the blocks lie along an axis of the image.
struct Axis {
    image: Dim,
    block: Dim,
    count: Dim,
    stride: i64,
    dilation: i64,
    /// Padding in front.
    low: i64,
}

/// One axis after the other: an element of the image is the sum of the elements of those blocks that cover it.
fn col2im<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let (image, block) = (cx.sizes_input(1, "image shapes", |_| None)?, cx.sizes_input(2, "block shapes", |_| None)?);
    let spatial = image.len();
    let list = |name: &str, default: i64, length: usize| -> Result<Vec<i64>, Failure> {
        let list = cx.ints(name)?.filter(|list| !list.is_empty()).unwrap_or_else(|| vec![default; length]);
        let fits = list.len() == length && list.iter().all(|value| (default..1 << 31).contains(value));
        if fits { Ok(list) } else { Failure::invalid(format!("{name} {list:?} does not fit {spatial} spatial axes")) }
    };
    let (strides, dilations, pads) = (list("strides", 1, spatial)?, list("dilations", 1, spatial)?, list("pads", 0, 2 * spatial)?);
    let mut extents = image.iter().chain(&block).filter_map(Dim::as_static);
    if block.len() != spatial || spatial == 0 || x.rank() != 3 || extents.any(|extent| !(1..1 << 24).contains(&extent)) {
        return Ok(Failure::invalid(format!("an image of {image:?} in blocks of {block:?}, and an input of shape {:?}", x.dims()))?);
    }
    let axis = |i: usize| {
        let reach = &(&block[i] - &Dim::from(1)) * &Dim::from(dilations[i]);
        let starts = &(&image[i] + &Dim::from(pads[i] + pads[spatial + i] - 1)) - &reach;
        let count = &starts.floor_div(&Dim::from(strides[i])) + &Dim::from(1);
        Axis { image: image[i].clone(), block: block[i].clone(), count, stride: strides[i], dilation: dilations[i], low: pads[i] }
    };
    let axes: Vec<Axis> = (0..spatial).map(axis).collect();
    if axes.iter().any(|axis| axis.count.as_static().is_some_and(|count| count < 1)) {
        return Ok(Failure::invalid(format!("an image of {image:?} in blocks of {block:?}, which is smaller than a block"))?);
    }
    // [batch, channels, then taps and blocks of each axis].
    let taps = block.iter().fold(Dim::from(1), |product, extent| &product * extent);
    let lead = [x.dims()[0].clone(), x.dims()[1].floor_div(&taps)];
    let counts = axes.iter().map(|axis| axis.count.clone());
    let apart = cx.reshape(&x, lead.iter().chain(&block).cloned().chain(counts).collect())?;
    let order = [0, 1].into_iter().chain((0..spatial as i64).flat_map(|i| [2 + i, 2 + i + spatial as i64])).collect();
    let ordered = cx.transpose(&apart, order)?;
    let joined = axes.iter().map(|axis| &axis.block * &axis.count);
    let mut y = cx.reshape(&ordered, lead.into_iter().chain(joined).collect())?;
    for (i, axis) in axes.iter().enumerate() {
        y = axis.add_blocks(cx, &y, i + 2)?;
    }
    Ok(vec![y])
}

impl Axis {
    /// Sums of the elements of an axis, [taps, then blocks], that cover each element of the image.
    fn add_blocks<'c, 'a>(&self, cx: &mut NodeContext<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, at: usize) -> Result<Tensor<'c, 'a>, Failure> {
        let (Some(image), Some(block), Some(count)) = (self.image.as_static(), self.block.as_static(), self.count.as_static()) else {
            return self.add_blocks_while_running(cx, x, at);
        };
        let covering = |place: i64| {
            let within = |tap: i64| {
                let start = place + self.low - tap * self.dilation;
                (start % self.stride == 0 && (0..count).contains(&(start / self.stride))).then(|| (tap * count + start / self.stride, 1.0))
            };
            (0..block).filter_map(within).collect()
        };
        let found: Vec<Vec<(i64, f64)>> = (0..image).map(covering).collect();
        Taps::of(&found).apply(cx, x, at)
    }

    /// The same where only the run knows the extents: every tap is read, and counts where a block begins so that it covers the place.
    fn add_blocks_while_running<'c, 'a>(
        &self,
        cx: &mut NodeContext<'_, '_, 'c, 'a>,
        x: &Tensor<'c, 'a>,
        at: usize,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let table = [self.block.clone(), self.image.clone()];
        let (tap, place) = (positions(cx, &self.block, ElementType::I64)?, positions(cx, &self.image, ElementType::I64)?);
        let (tap, place) = (cx.broadcast_along(&tap, &[0], &table)?, cx.broadcast_along(&place, &[1], &table)?);
        let reach = cx.binary_scalar(Mul::create, &tap, self.dilation as f64)?;
        let start = cx.binary_scalar(Add::create, &place, self.low as f64)?;
        let start = cx.binary(Sub::create, &start, &reach)?;
        let from = cx.binary_scalar(Div::create, &start, self.stride as f64)?;
        let back = cx.binary_scalar(Mul::create, &from, self.stride as f64)?;
        let (zero, count) = (cx.number(&Dim::from(0)), cx.number(&self.count));
        let mut covers = cx.compare(Eq::create, &back, &start)?;
        for inside in [cx.compare(Ge::create, &start, &zero)?, cx.compare(Lt::create, &from, &count)?] {
            covers = cx.binary(And::create, &covers, &inside)?;
        }
        let index = cx.binary(Mul::create, &tap, &count)?;
        let index = cx.binary(Add::create, &index, &from)?;
        let index = cx.select(&covers, &index, &zero)?;
        let parts = take(cx, x, &index, at)?;
        let covers = cx.broadcast_along(&covers, &[at, at + 1], parts.dims())?;
        let none = cx.scalar(parts.element(), 0.0)?;
        let parts = cx.select(&covers, &parts, &none)?;
        cx.reduce("add", &parts, &[at])
    }
}
