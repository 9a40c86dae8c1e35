//! Sampling at run-time positions: GridSample, AffineGrid, RoiAlign, DeformConv.
//!
//! Positions count elements of the input. Along each axis a position stands between a few elements, its taps; all of them are gathered,
//! weighted and added.

use super::{
    OpResult, Row,
    conv::{Window, add_bias, check_kernel_shape},
    index::{Places, gather_places, positions, single},
    resize::floats,
    row,
};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Abs, Add, And, Div, DotGeneral, Floor, Ge, Gt, Le, Lt, Maximum, Minimum, Mul, Or, Rem, Round, Sub},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] =
    &[row("GridSample", grid_sample), row("AffineGrid", affine_grid), row("RoiAlign", roi_align), row("DeformConv", deform_conv)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

#[derive(Clone, Copy, PartialEq)]
enum Filter {
    Nearest,
    Linear,
    Cubic,
}

impl Filter {
    /// Distances of the taps from the element at or before the position.
    fn taps(self) -> &'static [f64] {
        match self {
            Self::Nearest => &[0.0],
            Self::Linear => &[0.0, 1.0],
            Self::Cubic => &[-1.0, 0.0, 1.0, 2.0],
        }
    }
}

/// What stands beyond the first and the last element.
#[derive(Clone, Copy, PartialEq)]
enum Border {
    Zeros,
    Nearest,
    /// The elements again, around the outermost elements or around their outer edges.
    Reflected {
        edges: bool,
    },
}

/// The taps of positions, on a first axis of their own.
struct Taps<'c, 'a> {
    /// Of i64, inside the input.
    indices: Tensor<'c, 'a>,
    /// `None`: 1.
    weights: Option<Tensor<'c, 'a>>,
    /// Which of them are elements of the input; `None`: all.
    inside: Option<Tensor<'c, 'a>>,
}

/// Moves what is beyond `low` and `low + range` to where a mirror there shows it.
fn reflect<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, extent: &Dim, edges: bool) -> Result<Tensor<'c, 'a>, Failure> {
    let low = if edges { -0.5 } else { 0.0 };
    let range = cx.extent(extent, x.element())?;
    let range = cx.binary_scalar(Sub::create, &range, if edges { 0.0 } else { 1.0 })?;
    // One element alone is its own reflection.
    let range = cx.binary_scalar(Maximum::create, &range, 1e-30)?;
    let distance = cx.binary_scalar(Sub::create, x, low)?;
    let distance = cx.unary(Abs::create, &distance)?;
    let period = cx.binary_scalar(Mul::create, &range, 2.0)?;
    let place = cx.binary(Rem::create, &distance, &period)?;
    let back = cx.binary(Sub::create, &place, &range)?;
    let back = cx.unary(Abs::create, &back)?;
    let there = cx.binary(Sub::create, &range, &back)?;
    cx.binary_scalar(Add::create, &there, low)
}

fn between<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    low: &Tensor<'c, 'a>,
    high: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let above = cx.compare(Ge::create, x, low)?;
    let below = cx.compare(Le::create, x, high)?;
    cx.binary(And::create, &above, &below)
}

fn clamp<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    low: &Tensor<'c, 'a>,
    high: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let raised = cx.binary(Maximum::create, x, low)?;
    cx.binary(Minimum::create, &raised, high)
}

impl<'c, 'a> Taps<'c, 'a> {
    /// Around float positions along an axis of `extent` elements.
    fn around(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, extent: &Dim, filter: Filter, border: Border) -> Result<Self, Failure> {
        let element = x.element();
        let first = cx.scalar(element, 0.0)?;
        let last = cx.extent(extent, element)?;
        let last = cx.binary_scalar(Sub::create, &last, 1.0)?;
        let offsets = filter.taps();
        let base = if filter == Filter::Nearest { x.clone() } else { cx.unary(Floor::create, x)? };
        let dims = [&[Dim::from(offsets.len() as i64)], x.dims()].concat();
        let along: Vec<usize> = (1..dims.len()).collect();
        let offsets = floats(cx, element, vec![offsets.len() as i64], offsets)?;
        let offsets = cx.broadcast_along(&offsets, &[0], &dims)?;
        let base = cx.broadcast_along(&base, &along, &dims)?;
        let place = cx.binary(Add::create, &base, &offsets)?;
        let weights = match filter {
            Filter::Nearest => None,
            _ => {
                let x = cx.broadcast_along(x, &along, &dims)?;
                let distance = cx.binary(Sub::create, &x, &place)?;
                let distance = cx.unary(Abs::create, &distance)?;
                Some(weight(cx, filter, &distance)?)
            }
        };
        let inside = if border == Border::Zeros { Some(between(cx, &place, &first, &last)?) } else { None };
        let place = match border {
            Border::Reflected { edges } => reflect(cx, &place, extent, edges)?,
            _ => place,
        };
        let place = clamp(cx, &place, &first, &last)?;
        Ok(Self { indices: cx.convert(&place, ElementType::I64)?, weights, inside })
    }

    /// Puts the axes where `axes` says among `dims`.
    fn spread(self, cx: &mut Cx<'_, '_, 'c, 'a>, axes: &[usize], dims: &[Dim]) -> Result<Self, Failure> {
        let mut spread = |x: Option<Tensor<'c, 'a>>| x.map(|x| cx.broadcast_along(&x, axes, dims)).transpose();
        let (weights, inside) = (spread(self.weights)?, spread(self.inside)?);
        Ok(Self { indices: cx.broadcast_along(&self.indices, axes, dims)?, weights, inside })
    }

    /// All pairs of taps of one axis and of the axes inside it, which have `count` elements; both are spread to the same dims.
    fn pairs(self, cx: &mut Cx<'_, '_, 'c, 'a>, inner: Self, count: &Dim) -> Result<Self, Failure> {
        let count = cx.extent(count, ElementType::I64)?;
        let outer = cx.binary(Mul::create, &self.indices, &count)?;
        let indices = cx.binary(Add::create, &outer, &inner.indices)?;
        let weights = match (self.weights, inner.weights) {
            (Some(a), Some(b)) => Some(cx.binary(Mul::create, &a, &b)?),
            (a, b) => a.or(b),
        };
        let inside = match (self.inside, inner.inside) {
            (Some(a), Some(b)) => Some(cx.binary(And::create, &a, &b)?),
            (a, b) => a.or(b),
        };
        Ok(Self { indices, weights, inside })
    }
}

/// Weight of an element at a distance; cubic with the coefficient -0.75.
fn weight<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, filter: Filter, distance: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let one = cx.scalar(distance.element(), 1.0)?;
    if filter == Filter::Linear {
        return cx.binary(Sub::create, &one, distance);
    }
    let mut polynomial = |coefficients: [f64; 4]| -> Result<Tensor<'c, 'a>, Failure> {
        let mut sum = cx.scalar(distance.element(), coefficients[0])?;
        for coefficient in &coefficients[1..] {
            let product = cx.binary(Mul::create, &sum, distance)?;
            sum = cx.binary_scalar(Add::create, &product, *coefficient)?;
        }
        Ok(sum)
    };
    let a = -0.75;
    let near = polynomial([a + 2.0, -(a + 3.0), 0.0, 1.0])?;
    let far = polynomial([a, -5.0 * a, 8.0 * a, -4.0 * a])?;
    let is_near = cx.compare(Le::create, distance, &one)?;
    cx.select(&is_near, &near, &far)
}

/// The type that positions and sums are computed in.
pub fn computed(types: &[ElementType]) -> ElementType {
    if types.contains(&ElementType::F64) { ElementType::F64 } else { ElementType::F32 }
}

/// The input at places: `x` is [batch, channels, elements], the taps [taps, batch, places...], and the result [batch, channels, places...].
fn sample<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, taps: &Taps<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let indices = single(cx, &taps.indices)?;
    // [channels, taps, batch, places...].
    let mut parts = gather_places(cx, x, &indices, &Places { axes: vec![2], batch: vec![(0, 1)], position: 1, checked: false })?;
    let along: Vec<usize> = (1..parts.rank()).collect();
    if let Some(inside) = &taps.inside {
        let inside = cx.broadcast_along(inside, &along, parts.dims())?;
        let zero = cx.scalar(parts.element(), 0.0)?;
        parts = cx.select(&inside, &parts, &zero)?;
    }
    if let Some(weights) = &taps.weights {
        let weights = cx.broadcast_along(weights, &along, parts.dims())?;
        let wide = cx.convert(&parts, weights.element())?;
        parts = cx.binary(Mul::create, &wide, &weights)?;
    }
    let sum = if parts.extent(1) == Some(1) {
        let dims = [&parts.dims()[..1], &parts.dims()[2..]].concat();
        cx.reshape(&parts, dims)?
    } else {
        cx.reduce("add", &parts, &[1])?
    };
    let sum = cx.convert(&sum, x.element())?;
    cx.transpose(&sum, [1, 0].into_iter().chain(2..sum.rank() as i64).collect())
}

/// The taps along several axes together, on one first axis; each is [taps, places...].
fn all_axes<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, axes: Vec<(Taps<'c, 'a>, Dim)>) -> Result<Taps<'c, 'a>, Failure> {
    let rank = axes.len();
    let counts: Vec<Dim> = axes.iter().map(|(taps, _)| taps.indices.dims()[0].clone()).collect();
    let places = axes.first().map(|(taps, _)| taps.indices.dims()[1..].to_vec()).unwrap_or_default();
    let dims = [counts, places.clone()].concat();
    let mut joined: Option<(Taps<'c, 'a>, Dim)> = None;
    for (i, (taps, extent)) in axes.into_iter().enumerate().rev() {
        let own: Vec<usize> = [i].into_iter().chain(rank..dims.len()).collect();
        let taps = taps.spread(cx, &own, &dims)?;
        joined = Some(match joined {
            None => (taps, extent),
            Some((inner, count)) => (taps.pairs(cx, inner, &count)?, &count * &extent),
        });
    }
    let Some((taps, _)) = joined else { return Failure::invalid("no spatial axis") };
    let count = dims[..rank].iter().fold(Dim::from(1), |count, dim| &count * dim);
    let flat = [&[count], &places[..]].concat();
    let mut flatten = |x: Option<Tensor<'c, 'a>>| x.map(|x| cx.reshape(&x, flat.clone())).transpose();
    let (weights, inside) = (flatten(taps.weights)?, flatten(taps.inside)?);
    Ok(Taps { indices: cx.reshape(&taps.indices, flat)?, weights, inside })
}

/// [batch, channels, spatial...] with the spatial axes as one.
fn flat_spatial<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let count = x.dims()[2..].iter().fold(Dim::from(1), |count, dim| &count * dim);
    cx.reshape(x, vec![x.dims()[0].clone(), x.dims()[1].clone(), count])
}

/// Element `i` of the last axis.
fn component<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, i: i64) -> Result<Tensor<'c, 'a>, Failure> {
    let last = x.rank() - 1;
    let part = cx.slice_axis(x, last, i, i + 1)?;
    cx.reshape(&part, x.dims()[..last].to_vec())
}

/// Samples at positions from -1 to 1, which the grid lists last axis first.
fn grid_sample<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, mut grid) = (cx.input(0)?, cx.input(1)?);
    let Some(spatial) = x.rank().checked_sub(2).filter(|spatial| *spatial > 0 && grid.rank() == x.rank()) else {
        return Ok(Failure::invalid(format!("an input of rank {} and a grid of rank {}", x.rank(), grid.rank()))?);
    };
    let mut dims = grid.dims().to_vec();
    (dims[0], dims[spatial + 1]) = (x.dims()[0].clone(), Dim::from(spatial as i64));
    grid = cx.with_dims(&grid, dims, "a grid of positions for each image")?;
    let filter = match cx.string_or("mode", "linear")?.as_str() {
        "nearest" => Filter::Nearest,
        "linear" | "bilinear" => Filter::Linear,
        "cubic" | "bicubic" => Filter::Cubic,
        other => return Ok(Failure::invalid(format!("mode `{other}`"))?),
    };
    let corners = cx.int_or("align_corners", 0)? != 0;
    let border = match cx.string_or("padding_mode", "zeros")?.as_str() {
        "zeros" => Border::Zeros,
        "border" => Border::Nearest,
        "reflection" => Border::Reflected { edges: !corners },
        other => return Ok(Failure::invalid(format!("padding_mode `{other}`"))?),
    };
    let element = computed(&[x.element(), grid.element()]);
    let grid = cx.convert(&grid, element)?;
    let mut axes = vec![];
    for axis in 0..spatial {
        let extent = x.dims()[axis + 2].clone();
        let given = component(cx, &grid, (spatial - 1 - axis) as i64)?;
        let from_start = cx.binary_scalar(Add::create, &given, 1.0)?;
        let length = cx.extent(&extent, element)?;
        let mut at = if corners {
            let steps = cx.binary_scalar(Sub::create, &length, 1.0)?;
            let half = cx.binary_scalar(Mul::create, &from_start, 0.5)?;
            cx.binary(Mul::create, &half, &steps)?
        } else {
            let scaled = cx.binary(Mul::create, &from_start, &length)?;
            let centered = cx.binary_scalar(Sub::create, &scaled, 1.0)?;
            cx.binary_scalar(Mul::create, &centered, 0.5)?
        };
        if filter == Filter::Nearest {
            at = cx.unary(Round::create, &at)?;
        }
        at = match border {
            Border::Zeros => at,
            Border::Nearest => {
                let half = if corners { 0.0 } else { 0.5 };
                let (first, last) = (cx.scalar(element, 0.0)?, cx.binary_scalar(Sub::create, &length, 1.0)?);
                let (low, high) = (cx.scalar(element, -half)?, cx.binary_scalar(Add::create, &last, half)?);
                let inside = between(cx, &at, &low, &high)?;
                let moved = clamp(cx, &at, &first, &last)?;
                cx.select(&inside, &at, &moved)?
            }
            Border::Reflected { edges } => reflect(cx, &at, &extent, edges)?,
        };
        axes.push((Taps::around(cx, &at, &extent, filter, border)?, extent));
    }
    let taps = all_axes(cx, axes)?;
    let flat = flat_spatial(cx, &x)?;
    Ok(vec![sample(cx, &flat, &taps)?])
}

/// Positions of all elements of a result, from -1 to 1, under a matrix per batch.
fn affine_grid<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let theta = cx.input(0)?;
    let size = cx.sizes_input(1, "sizes", |_| None)?;
    let corners = cx.int_or("align_corners", 0)? != 0;
    let Some(spatial) = size.get(2..).filter(|spatial| matches!(spatial.len(), 2 | 3)) else {
        return Ok(Failure::invalid(format!("a size of {size:?}"))?);
    };
    let rank = spatial.len();
    if theta.rank() != 3 || theta.extent(1) != Some(rank as i64) || theta.extent(2) != Some(rank as i64 + 1) {
        return Ok(Failure::invalid(format!("matrices of shape {:?} for {rank} axes", theta.dims()))?);
    }
    if spatial.iter().filter_map(Dim::as_static).any(|extent| !(0..1 << 24).contains(&extent)) {
        return Ok(Failure::invalid(format!("a size of {size:?}"))?);
    }
    let wide = cx.widen(&theta)?;
    let element = wide.element();
    let count = spatial.iter().fold(Dim::from(1), |count, extent| &count * extent);
    // Columns: last axis first, then 1.
    let mut columns = vec![];
    for axis in (0..rank).rev() {
        let at = grid_positions(cx, &spatial[axis], element, corners)?;
        let at = cx.broadcast_along(&at, &[axis], spatial)?;
        columns.push(cx.reshape(&at, vec![count.clone(), Dim::from(1)])?);
    }
    let one = cx.scalar(element, 1.0)?;
    columns.push(cx.broadcast_to(&one, &[count, Dim::from(1)])?);
    let base = cx.concat(&columns, 1)?;
    let (matrix, base) = (cx.value(&wide)?, cx.value(&base)?);
    let grid = cx.infer(|c, l| DotGeneral::create(c, l, base, matrix, vec![], vec![], vec![1], vec![2], None))?;
    let grid = cx.transpose(&grid, vec![1, 0, 2])?;
    let dims = [&theta.dims()[..1], spatial, &[Dim::from(rank as i64)]].concat();
    let grid = cx.reshape(&grid, dims)?;
    Ok(vec![cx.convert(&grid, theta.element())?])
}

/// Places of `extent` elements between -1 and 1, of their centers or, with `corners`, so that the outermost are -1 and 1.
fn grid_positions<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    extent: &Dim,
    element: ElementType,
    corners: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    let place = positions(cx, extent, ElementType::I64)?;
    let place = cx.convert(&place, element)?;
    let twice = cx.binary(Add::create, &place, &place)?;
    let count = cx.extent(extent, element)?;
    if !corners {
        let center = cx.binary_scalar(Add::create, &twice, 1.0)?;
        let share = cx.binary(Div::create, &center, &count)?;
        return cx.binary_scalar(Sub::create, &share, 1.0);
    }
    let steps = cx.binary_scalar(Sub::create, &count, 1.0)?;
    let several = cx.binary_scalar(Maximum::create, &steps, 1.0)?;
    let share = cx.binary(Div::create, &twice, &several)?;
    // One element alone stands in the middle.
    let first = cx.binary_scalar(Minimum::create, &steps, 1.0)?;
    cx.binary(Sub::create, &share, &first)
}

/// Averages, or maxima, of samples on a regular grid in each bin of each region.
fn roi_align<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, rois, batch) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if x.rank() != 4 || rois.rank() != 2 {
        return Ok(Failure::invalid(format!("an input of shape {:?} and regions {:?}", x.dims(), rois.dims()))?);
    }
    let count = rois.dims()[0].clone();
    let rois = cx.with_dims(&rois, vec![count.clone(), Dim::from(4)], "regions of four numbers")?;
    let batch = cx.with_dims(&batch, vec![count], "a batch index for each region")?;
    let ratio = cx.int_or("sampling_ratio", 0)?;
    if ratio < 1 {
        return Ok(Failure::unsupported("a number of samples that depends on the size of each region; set sampling_ratio")?);
    }
    let half_pixel = cx.version >= 16
        && match cx.string_or("coordinate_transformation_mode", "half_pixel")?.as_str() {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => return Ok(Failure::invalid(format!("coordinate_transformation_mode `{other}`"))?),
        };
    let mode = match cx.string_or("mode", "avg")?.as_str() {
        "avg" => "add",
        "max" => "max",
        other => return Ok(Failure::invalid(format!("mode `{other}`"))?),
    };
    let pooled = [cx.int_or("output_height", 1)?, cx.int_or("output_width", 1)?];
    if pooled.iter().chain([&ratio]).any(|extent| !(1..1 << 16).contains(extent)) {
        return Ok(Failure::invalid(format!("bins {pooled:?} of {ratio} samples"))?);
    }
    let element = computed(&[x.element()]);
    let rois = cx.convert(&rois, element)?;
    let rois = cx.binary_scalar(Mul::create, &rois, cx.float_or("spatial_scale", 1.0)?)?;
    let rois = cx.binary_scalar(Sub::create, &rois, if half_pixel { 0.5 } else { 0.0 })?;
    let regions = rois.dims()[0].clone();
    let mut axes = vec![];
    for (axis, bins) in pooled.into_iter().enumerate() {
        let (start, end) = (component(cx, &rois, 1 - axis as i64)?, component(cx, &rois, 3 - axis as i64)?);
        let mut length = cx.binary(Sub::create, &end, &start)?;
        if !half_pixel {
            length = cx.binary_scalar(Maximum::create, &length, 1.0)?;
        }
        // Where the samples of all bins stand, as parts of the region.
        let dims = vec![regions.clone(), Dim::from(bins * ratio)];
        let places: Vec<f64> = (0..bins * ratio).map(|i| (i as f64 + 0.5) / (bins * ratio) as f64).collect();
        let places = floats(cx, element, vec![bins * ratio], &places)?;
        let places = cx.broadcast_along(&places, &[1], &dims)?;
        let (start, length) = (cx.broadcast_along(&start, &[0], &dims)?, cx.broadcast_along(&length, &[0], &dims)?);
        let within = cx.binary(Mul::create, &places, &length)?;
        let at = cx.binary(Add::create, &start, &within)?;
        let extent = x.dims()[axis + 2].clone();
        let size = cx.extent(&extent, element)?;
        let (below, zero) = (cx.scalar(element, -1.0)?, cx.scalar(element, 0.0)?);
        let (low, high) = (cx.compare(Lt::create, &at, &below)?, cx.compare(Gt::create, &at, &size)?);
        let outside = cx.binary(Or::create, &low, &high)?;
        let last = cx.binary_scalar(Sub::create, &size, 1.0)?;
        let at = clamp(cx, &at, &zero, &last)?;
        let taps = Taps::around(cx, &at, &extent, Filter::Linear, Border::Nearest)?;
        let counted = taps.indices.dims().to_vec();
        let outside = cx.broadcast_along(&outside, &[1, 2], &counted)?;
        let weights = taps.weights.as_ref().expect("linear taps have weights");
        let weights = cx.select(&outside, &zero, weights)?;
        axes.push((Taps { weights: Some(weights), ..taps }, extent));
    }
    // [taps, regions, rows, columns] of both axes.
    let [(rows, height), (columns, width)] = <[_; 2]>::try_from(axes).ok().expect("two axes");
    let dims: Vec<Dim> = [&[Dim::from(2), Dim::from(2), regions.clone()], &pooled.map(|bins| Dim::from(bins * ratio))[..]].concat();
    let (rows, columns) = (rows.spread(cx, &[0, 2, 3], &dims)?, columns.spread(cx, &[1, 2, 4], &dims)?);
    let taps = rows.pairs(cx, columns, &width)?;
    let batch = cx.convert(&batch, ElementType::I64)?;
    let batch = cx.broadcast_along(&batch, &[2], &dims)?;
    let flat = cx.reshape(&x, vec![x.dims()[0].clone(), x.dims()[1].clone(), &height * &width])?;
    let (image, place) = (single(cx, &batch)?, single(cx, &taps.indices)?);
    let tuples = cx.concat(&[image, place], 5)?;
    // [channels, 2, 2, regions, rows, columns].
    let parts = gather_places(cx, &flat, &tuples, &Places { axes: vec![0, 2], batch: vec![], position: 1, checked: false })?;
    let parts = cx.convert(&parts, element)?;
    let weights = cx.broadcast_along(taps.weights.as_ref().expect("linear taps have weights"), &[1, 2, 3, 4, 5], parts.dims())?;
    let weighted = cx.binary(Mul::create, &parts, &weights)?;
    let samples = cx.reduce(mode, &weighted, &[1, 2])?;
    let [bins_high, bins_wide] = pooled.map(Dim::from);
    let ratio_dim = Dim::from(ratio);
    let apart = vec![x.dims()[1].clone(), regions, bins_high, ratio_dim.clone(), bins_wide, ratio_dim];
    let apart = cx.reshape(&samples, apart)?;
    let mut y = cx.reduce(mode, &apart, &[3, 5])?;
    if mode == "add" {
        y = cx.binary_scalar(Div::create, &y, (ratio * ratio) as f64)?;
    }
    let y = cx.transpose(&y, vec![1, 0, 2, 3])?;
    Ok(vec![cx.convert(&y, x.element())?])
}

/// A convolution whose taps are moved by run-time offsets, and scaled by a run-time mask.
fn deform_conv<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, filter, offset) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if x.rank() < 3 || filter.rank() != x.rank() || offset.rank() != x.rank() {
        let ranks = format!("an input of rank {}, a filter of {} and offsets of {}", x.rank(), filter.rank(), offset.rank());
        return Ok(Failure::invalid(ranks)?);
    }
    let Some(shape) = filter.r#type.static_shape() else { return Ok(Failure::unsupported("a filter of symbolic size")?) };
    let (groups, offset_groups) = (cx.int_or("group", 1)?, cx.int_or("offset_group", 1)?);
    let (outputs, kernel) = (shape[0], &shape[2..]);
    let Some(inputs) = x.extent(1).filter(|inputs| {
        groups > 0 && offset_groups > 0 && *inputs == shape[1] * groups && outputs % groups == 0 && inputs % offset_groups == 0
    }) else {
        let what = format!("{} channels for a filter of shape {shape:?} in {groups} groups, {offset_groups} of offsets", x.dims()[1]);
        return Ok(Failure::invalid(what)?);
    };
    check_kernel_shape(cx, kernel)?;
    let window = Window::of(cx, &x.dims()[2..], kernel)?;
    let (spatial, taps) = (kernel.len(), kernel.iter().product::<i64>());
    let (batch, out) = (x.dims()[0].clone(), offset.dims()[2..].to_vec());
    if offset.extent(1) != Some(offset_groups * taps * spatial as i64) {
        return Ok(Failure::invalid(format!("offsets of shape {:?} for {offset_groups} times {taps} taps", offset.dims()))?);
    }
    let element = computed(&[x.element()]);
    let images = &batch * &Dim::from(offset_groups);
    let dims = [&[images.clone(), Dim::from(taps)], &out[..]].concat();
    let apart = [&[images.clone(), Dim::from(taps), Dim::from(spatial as i64)], &out[..]].concat();
    let offset = cx.reshape(&offset, apart)?;
    let offset = cx.convert(&offset, element)?;
    let mut axes = vec![];
    for axis in 0..spatial {
        let moved = cx.slice_axis(&offset, 2, axis as i64, axis as i64 + 1)?;
        let moved = cx.reshape(&moved, dims.clone())?;
        let inner: i64 = kernel[axis + 1..].iter().product();
        let first: Vec<f64> =
            (0..taps).map(|tap| (tap / inner % kernel[axis] * window.dilations[axis] - window.low[axis]) as f64).collect();
        let first = floats(cx, element, vec![taps], &first)?;
        let first = cx.broadcast_along(&first, &[1], &dims)?;
        let step = positions(cx, &out[axis], element)?;
        let step = cx.binary_scalar(Mul::create, &step, window.strides[axis] as f64)?;
        let step = cx.broadcast_along(&step, &[axis + 2], &dims)?;
        let at = cx.binary(Add::create, &first, &step)?;
        let at = cx.binary(Add::create, &at, &moved)?;
        let extent = x.dims()[axis + 2].clone();
        axes.push((Taps::around(cx, &at, &extent, Filter::Linear, Border::Zeros)?, extent));
    }
    let places = all_axes(cx, axes)?;
    let flat = flat_spatial(cx, &x)?;
    let flat = cx.reshape(&flat, vec![images, Dim::from(inputs / offset_groups), flat.dims()[2].clone()])?;
    let mut columns = sample(cx, &flat, &places)?;
    if let Some(mask) = cx.optional(4) {
        let mask = cx.reshape(&mask, dims)?;
        let along: Vec<usize> = [0].into_iter().chain(2..columns.rank()).collect();
        let mask = cx.broadcast_along(&mask, &along, columns.dims())?;
        columns = cx.binary(Mul::create, &columns, &mask)?;
    }
    let count = out.iter().fold(Dim::from(1), |count, dim| &count * dim);
    let depth = inputs / groups * taps;
    let columns = cx.reshape(&columns, vec![batch.clone(), Dim::from(groups), Dim::from(depth), count.clone()])?;
    let filter = cx.arrange_reshape(&filter, &[groups, outputs / groups, depth])?;
    let (lhs, rhs) = (cx.value(&filter)?, cx.value(&columns)?);
    let y = cx.infer(|c, l| DotGeneral::create(c, l, lhs, rhs, vec![0], vec![1], vec![2], vec![2], None))?;
    let y = cx.transpose(&y, vec![2, 0, 1, 3])?;
    let y = cx.reshape(&y, [&[batch, Dim::from(outputs)], &out[..]].concat())?;
    Ok(vec![add_bias(cx, y, 3)?])
}
