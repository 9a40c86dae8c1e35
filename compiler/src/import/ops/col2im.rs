//! Col2Im: overlapping blocks of an image, added where they came from.

use super::{OpResult, Row, resize::Taps, row};
use crate::import::{error::Failure, node::NodeContext};
use winze_graph::dim::Dim;

pub const OPS: &[Row] = &[row("Col2Im", col2im)];

/// One axis after the other: an element of the image is the sum of the elements of those blocks that cover it.
fn col2im<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let (image, block) = (cx.ints_input(1, "image shapes")?, cx.ints_input(2, "block shapes")?);
    let spatial = image.len();
    let list = |name: &str, default: i64, length: usize| -> Result<Vec<i64>, Failure> {
        let list = cx.ints(name)?.filter(|list| !list.is_empty()).unwrap_or_else(|| vec![default; length]);
        let fits = list.len() == length && list.iter().all(|value| (default..1 << 31).contains(value));
        if fits { Ok(list) } else { Failure::invalid(format!("{name} {list:?} does not fit {spatial} spatial axes")) }
    };
    let (strides, dilations, pads) = (list("strides", 1, spatial)?, list("dilations", 1, spatial)?, list("pads", 0, 2 * spatial)?);
    if block.len() != spatial || spatial == 0 || image.iter().chain(&block).any(|extent| !(1..1 << 24).contains(extent)) {
        return Ok(Failure::invalid(format!("an image of {image:?} in blocks of {block:?}"))?);
    }
    let counts: Vec<i64> = (0..spatial)
        .map(|i| (image[i] + pads[i] + pads[spatial + i] - dilations[i] * (block[i] - 1) - 1).div_euclid(strides[i]) + 1)
        .collect();
    let taps: i64 = block.iter().product();
    let places: i64 = counts.iter().product();
    let channels = x.dims().get(1).and_then(Dim::as_static).filter(|extent| extent % taps == 0).map(|extent| extent / taps);
    let (Some(channels), true) = (channels, x.rank() == 3 && x.dims()[2] == Dim::from(places) && counts.iter().all(|count| *count > 0))
    else {
        return Ok(Failure::invalid(format!("an input of shape {:?}; {taps} elements of each of {places} blocks are needed", x.dims()))?);
    };
    // [batch, channels, then taps and blocks of each axis].
    let lead = [x.dims()[0].clone(), Dim::from(channels)];
    let apart = lead.iter().cloned().chain(block.iter().chain(&counts).map(|extent| Dim::from(*extent))).collect();
    let apart = cx.reshape(&x, apart)?;
    let order = [0, 1].into_iter().chain((0..spatial as i64).flat_map(|i| [2 + i, 2 + i + spatial as i64])).collect();
    let ordered = cx.transpose(&apart, order)?;
    let joined = (0..spatial).map(|i| Dim::from(block[i] * counts[i]));
    let mut y = cx.reshape(&ordered, lead.into_iter().chain(joined).collect())?;
    for i in 0..spatial {
        let covering = |at: i64| {
            let within = |tap: i64| {
                let start = at + pads[i] - tap * dilations[i];
                (start % strides[i] == 0 && (0..counts[i]).contains(&(start / strides[i])))
                    .then(|| (tap * counts[i] + start / strides[i], 1.0))
            };
            (0..block[i]).filter_map(within).collect()
        };
        let found: Vec<Vec<(i64, f64)>> = (0..image[i]).map(covering).collect();
        y = Taps::of(&found).apply(cx, &y, i + 2)?;
    }
    Ok(vec![y])
}
