//! Sampling: Resize, Upsample.
//!
//! Each axis is resized by itself: the elements that a result is made of are gathered, weighted and added. Where and how much follows at import
//! from known extents; integer factors of the nearest mode repeat elements, whatever the extents.

use super::{
    OpResult, Row,
    index::{constants, take},
    resize_at_run_time::{OpenAxis, resize_by_operand},
    row, row_since, row_until,
};
use crate::{
    constants::{ConstantType, Source},
    import::{
        error::Failure,
        node::{NodeContext, normalize_axis},
        value::{Data, Tensor},
    },
};
use winze_graph::{
    dialect::{Div, Mul},
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[row_until("Resize", 10, upsample), row_since("Resize", 11, resize), row("Upsample", upsample)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Mode {
    Nearest(Rounding),
    Linear,
    /// With the coefficient a.
    Cubic(f64),
}

impl Mode {
    /// Weight of an element at a distance within reach.
    fn weight(self, t: f64) -> f64 {
        match self {
            Self::Nearest(_) => 1.0,
            Self::Linear => 1.0 - t,
            Self::Cubic(a) if t <= 1.0 => ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
            Self::Cubic(a) => ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    HalfPixelForNearest,
    Crop,
}

/// How all axes are sampled.
pub struct Sampling {
    pub mode: Mode,
    pub coordinates: Coordinates,
    pub exclude_outside: bool,
    pub antialias: bool,
    /// What stands outside the input when cropping.
    pub extrapolation: f64,
}

/// One axis of the result.
struct Axis {
    axis: usize,
    input: Dim,
    output: Dim,
    /// `None`: the quotient of the extents.
    scale: Option<f64>,
    /// Start and end of the crop, of 1.
    crop: (f64, f64),
}

/// Elements and their weights, `taps` for each of the results: first the first of all results.
pub struct Taps {
    taps: usize,
    indices: Vec<i64>,
    weights: Vec<f64>,
}

impl Taps {
    /// From the elements of each result; those that have fewer than others get weight 0.
    pub fn of(found: &[Vec<(i64, f64)>]) -> Self {
        let taps = found.iter().map(Vec::len).max().unwrap_or(1);
        let all = (0..taps).flat_map(|tap| found.iter().map(move |of_result| of_result.get(tap).copied().unwrap_or((0, 0.0))));
        let (indices, weights) = all.unzip();
        Self { taps, indices, weights }
    }

    /// Gathers elements along an axis, weights and adds them.
    pub fn apply<'c, 'a>(&self, cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, at: usize) -> Result<Tensor<'c, 'a>, Failure> {
        let output = self.indices.len().checked_div(self.taps).unwrap_or(0) as i64;
        let taps = self.taps as i64;
        let indices = Tensor { r#type: TensorType::fixed(ElementType::I64, &[taps, output]), ..constants(&self.indices) };
        if taps == 1 && self.weights.iter().all(|weight| *weight == 1.0) {
            let indices = Tensor { r#type: TensorType::fixed(ElementType::I64, &[output]), ..indices };
            return take(cx, x, &indices, at);
        }
        let parts = take(cx, x, &indices, at)?;
        let weights = floats(cx, x.element(), vec![taps, output], &self.weights)?;
        let weights = cx.broadcast_along(&weights, &[at, at + 1], parts.dims())?;
        let weighted = cx.binary(Mul::create, &parts, &weights)?;
        cx.reduce("add", &weighted, &[at])
    }
}

impl Sampling {
    /// What is sampled: sums of narrow floats and of integers are made in f32.
    pub fn widened<'c, 'a>(&self, cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let narrow = !matches!(x.element(), ElementType::F32 | ElementType::F64) && !matches!(self.mode, Mode::Nearest(_));
        cx.convert(x, if narrow { ElementType::F32 } else { x.element() })
    }

    fn coordinate(&self, axis: &Axis, scale: f64, input: f64, place: f64) -> f64 {
        let (output, half_pixel) = (scale * input, (place + 0.5) / scale - 0.5);
        match self.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                let resized = axis.output.as_static().map_or(output, |extent| extent as f64);
                input / 2.0 * (1.0 - resized / output) + half_pixel
            }
            Coordinates::PytorchHalfPixel => {
                if output > 1.0 {
                    half_pixel
                } else {
                    0.0
                }
            }
            Coordinates::AlignCorners => {
                if output == 1.0 {
                    0.0
                } else {
                    place * (input - 1.0) / (output - 1.0)
                }
            }
            Coordinates::Asymmetric => place / scale,
            Coordinates::HalfPixelForNearest => (place + 0.5) / scale,
            Coordinates::Crop => {
                let (start, end) = axis.crop;
                if output == 1.0 {
                    0.5 * (start + end) * (input - 1.0)
                } else {
                    start * (input - 1.0) + place * (end - start) * (input - 1.0) / (output - 1.0)
                }
            }
        }
    }

    /// The elements that make up `output` results from `input` elements, and which results lie outside of what is cropped.
    fn taps(&self, axis: &Axis, input: i64, output: i64) -> (Taps, Vec<bool>) {
        let scale = axis.scale.unwrap_or(output as f64 / input as f64);
        let mut found: Vec<Vec<(i64, f64)>> = vec![];
        let mut outside = vec![];
        for place in 0..output {
            let x = self.coordinate(axis, scale, input as f64, place as f64);
            outside.push(self.coordinates == Coordinates::Crop && !(0.0..=(input - 1) as f64).contains(&x));
            found.push(self.around(x, scale, input));
        }
        found.iter_mut().flatten().for_each(|(index, _)| *index = (*index).clamp(0, input - 1));
        (Taps::of(&found), outside)
    }

    /// Elements near `x` with their weights.
    fn around(&self, x: f64, scale: f64, input: i64) -> Vec<(i64, f64)> {
        let radius = match self.mode {
            Mode::Nearest(rounding) => {
                let nearest = match rounding {
                    Rounding::PreferFloor => (x - 0.5).ceil(),
                    Rounding::PreferCeil => (x + 0.5).floor(),
                    Rounding::Floor => x.floor(),
                    Rounding::Ceil => x.ceil(),
                };
                return vec![(nearest as i64, 1.0)];
            }
            Mode::Linear => 1.0,
            Mode::Cubic(_) => 2.0,
        };
        // A stretched filter covers all that one result stands for.
        let stretch = if self.antialias { scale.min(1.0) } else { 1.0 };
        let reach = radius / stretch;
        let (first, last) = ((x - reach).floor() as i64 + 1, (x + reach).ceil() as i64 - 1);
        let mut taps: Vec<(i64, f64)> = (first..=last).map(|i| (i, self.mode.weight((i as f64 - x).abs() * stretch))).collect();
        if self.exclude_outside {
            taps.iter_mut().filter(|(i, _)| !(0..input).contains(i)).for_each(|(_, weight)| *weight = 0.0);
        }
        if self.exclude_outside || self.antialias {
            let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
            taps.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        taps
    }

    /// Whether result `o` is element `o / factor` for an integer factor.
    fn repeats(&self, scale: f64) -> Option<i64> {
        let factor = scale as i64;
        let Mode::Nearest(rounding) = self.mode else { return None };
        let repeats = match self.coordinates {
            Coordinates::Asymmetric => rounding == Rounding::Floor,
            Coordinates::HalfPixel | Coordinates::HalfPixelSymmetric | Coordinates::PytorchHalfPixel => {
                matches!(rounding, Rounding::PreferFloor | Rounding::PreferCeil)
            }
            Coordinates::HalfPixelForNearest => rounding == Rounding::Floor,
            _ => false,
        };
        (repeats && factor >= 1 && factor as f64 == scale).then_some(factor)
    }
}

/// Every element `factor` times along an axis.
fn repeat<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize, factor: i64) -> Result<Tensor<'c, 'a>, Failure> {
    let (mut wide, mut dims) = (x.dims().to_vec(), x.dims().to_vec());
    wide.insert(axis + 1, Dim::from(factor));
    dims[axis] = &dims[axis] * &Dim::from(factor);
    let places: Vec<usize> = (0..x.rank()).map(|i| if i > axis { i + 1 } else { i }).collect();
    let spread = cx.broadcast_along(x, &places, &wide)?;
    cx.reshape(&spread, dims)
}

/// A constant f32 or f64 tensor.
pub fn floats<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    element: ElementType,
    dims: Vec<i64>,
    values: &[f64],
) -> Result<Tensor<'c, 'a>, Failure> {
    let mut bytes = vec![];
    values.iter().for_each(|value| crate::constants::Scalar::Float(*value).write(element, &mut bytes));
    let r#type = TensorType::fixed(element, &dims);
    let added = cx.importer.store.add("weights", ConstantType::new(element, dims), Source::Inline(bytes));
    Ok(Tensor::new(r#type, Data::Constant(added.map_err(|error| Failure::Invalid(error.to_string()))?)))
}

fn resize_axis<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    sampling: &Sampling,
    axis: &Axis,
) -> Result<Tensor<'c, 'a>, Failure> {
    let at = axis.axis;
    let scale = axis.scale.or_else(|| axis.output.exact_div(&axis.input)?.as_static().map(|factor| factor as f64));
    if let Some(factor) = scale.and_then(|scale| sampling.repeats(scale)) {
        return if factor == 1 { Ok(x.clone()) } else { repeat(cx, x, at, factor) };
    }
    let (Some(input), Some(output)) = (axis.input.as_static(), axis.output.as_static()) else {
        let scale = match axis.scale {
            Some(scale) => cx.scalar(ElementType::F64, scale)?,
            None => {
                let (input, output) = (cx.extent(&axis.input, ElementType::F64)?, cx.extent(&axis.output, ElementType::F64)?);
                cx.binary(Div::create, &output, &input)?
            }
        };
        let crop = [cx.scalar(ElementType::F64, axis.crop.0)?, cx.scalar(ElementType::F64, axis.crop.1)?];
        return OpenAxis { axis: at, output: axis.output.clone(), scale, crop: Some(crop) }.resize(cx, sampling, x);
    };
    if input == 0 || output > 1 << 24 {
        return Failure::invalid(format!("{output} results from {input} elements"));
    }
    let (taps, outside) = sampling.taps(axis, input, output);
    let mut y = taps.apply(cx, x, at)?;
    if outside.contains(&true) {
        let outside = Tensor::integers(ElementType::Bool, &[output], outside.iter().map(|o| Dim::from(i64::from(*o))).collect());
        let outside = cx.broadcast_along(&outside, &[at], y.dims())?;
        let fill = cx.scalar(y.element(), sampling.extrapolation)?;
        y = cx.select(&outside, &fill, &y)?;
    }
    Ok(y)
}

/// One axis after the other.
fn resize_axes<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, sampling: &Sampling, axes: &[Axis]) -> OpResult<'c, 'a> {
    let mut y = sampling.widened(cx, x)?;
    for axis in axes {
        y = resize_axis(cx, &y, sampling, axis)?;
    }
    Ok(vec![cx.convert(&y, x.element())?])
}

/// Known floats of an operand; `None` if it is left out or empty.
fn operand_floats<'c, 'a>(cx: &Cx<'_, '_, 'c, 'a>, i: usize, what: &str) -> Result<Option<Vec<f64>>, Failure> {
    let Some(tensor) = cx.optional(i).filter(|tensor| tensor.r#type.count().as_static() != Some(0)) else { return Ok(None) };
    match known_floats(cx, &tensor)? {
        Some(values) => Ok(Some(values)),
        None => Err(cx.importer.unknown(&tensor, what)),
    }
}

/// The elements of a constant.
pub fn known_floats(cx: &Cx, tensor: &Tensor) -> Result<Option<Vec<f64>>, Failure> {
    let Data::Constant(id) = &tensor.data else { return Ok(None) };
    let bytes = cx.importer.store.read(id).map_err(|error| Failure::Invalid(error.to_string()))?;
    let read = |item| crate::constants::Scalar::read(tensor.element(), item).to_f64();
    Ok(Some(bytes.chunks_exact(tensor.element().bytes()).map(read).collect()))
}

/// `dim * scale` rounded down.
fn scaled(dim: &Dim, scale: f64) -> Result<Dim, Failure> {
    if !(scale > 0.0 && scale < 1e6) {
        return Failure::invalid(format!("a scale of {scale}"));
    }
    match dim.as_static() {
        Some(extent) => Ok(Dim::from((extent as f64 * scale).floor() as i64)),
        None => {
            let fraction = (1..=64i64).find(|q| (scale * *q as f64).fract() == 0.0);
            let Some(q) = fraction else { return Failure::unsupported(format!("scaling the symbolic extent {dim} by {scale}")) };
            Ok((dim * &Dim::from((scale * q as f64) as i64)).floor_div(&Dim::from(q)))
        }
    }
}

/// Resize before version 11 and Upsample: nearest or linear, from the corner.
fn upsample<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let scales = match cx.floats("scales")? {
        Some(scales) => Some(scales.into_iter().map(f64::from).collect()),
        None if cx.open_operand(1).is_some() => None,
        None => operand_floats(cx, 1, "scales")?,
    };
    let mode = match cx.string_or("mode", "nearest")?.as_str() {
        "nearest" => Mode::Nearest(Rounding::Floor),
        "linear" | "bilinear" => Mode::Linear,
        other => return Ok(Failure::invalid(format!("mode `{other}`"))?),
    };
    let sampling = Sampling { mode, coordinates: Coordinates::Asymmetric, exclude_outside: false, antialias: false, extrapolation: 0.0 };
    if cx.floats("scales")?.is_none() && cx.open_operand(1).is_some() {
        return resize_by_operand(cx, &x, &sampling, &(0..x.rank()).collect::<Vec<_>>(), 1, "stretch");
    }
    let Some(scales) = scales.filter(|scales: &Vec<f64>| scales.len() == x.rank()) else {
        return Ok(Failure::unsupported("scales that do not name every axis")?);
    };
    let axes = axes_of(&x, &(0..x.rank()).collect::<Vec<_>>(), Some(scales), None, &[])?;
    resize_axes(cx, &x, &sampling, &axes)
}

/// Axes that change, by scales or sizes.
fn axes_of(
    x: &Tensor,
    axes: &[usize],
    scales: Option<Vec<f64>>,
    sizes: Option<Vec<Dim>>,
    crops: &[(f64, f64)],
) -> Result<Vec<Axis>, Failure> {
    let mut changed = vec![];
    for (i, axis) in axes.iter().enumerate() {
        let input = x.dims()[*axis].clone();
        let (scale, size) = (scales.as_ref().map(|scales| scales[i]), sizes.as_ref().map(|sizes| sizes[i].clone()));
        let output = match (&size, scale) {
            (Some(size), _) => size.clone(),
            (None, Some(scale)) => scaled(&input, scale)?,
            (None, None) => return Failure::invalid("neither scales nor sizes"),
        };
        let crop = crops.get(i).copied().unwrap_or((0.0, 1.0));
        if output != input || crop != (0.0, 1.0) || scale.is_some_and(|scale| scale != 1.0) {
            changed.push(Axis { axis: *axis, input, output, scale, crop });
        }
    }
    Ok(changed)
}

fn resize<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    // Each is of one mode, and written for the others too.
    cx.ignore(&["nearest_mode", "cubic_coeff_a"]);
    let mode = match cx.string_or("mode", "nearest")?.as_str() {
        "nearest" => Mode::Nearest(match cx.string_or("nearest_mode", "round_prefer_floor")?.as_str() {
            "round_prefer_floor" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            other => return Ok(Failure::invalid(format!("nearest_mode `{other}`"))?),
        }),
        "linear" => Mode::Linear,
        "cubic" => Mode::Cubic(cx.float_or("cubic_coeff_a", -0.75)?),
        other => return Ok(Failure::invalid(format!("mode `{other}`"))?),
    };
    let coordinates = match cx.string_or("coordinate_transformation_mode", "half_pixel")?.as_str() {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::HalfPixelForNearest,
        "tf_crop_and_resize" => Coordinates::Crop,
        other => return Ok(Failure::invalid(format!("coordinate_transformation_mode `{other}`"))?),
    };
    let sampling = Sampling {
        mode,
        coordinates,
        exclude_outside: cx.int_or("exclude_outside", 0)? != 0,
        antialias: cx.int_or("antialias", 0)? != 0,
        extrapolation: cx.float_or("extrapolation_value", 0.0)?,
    };
    let axes = match cx.ints("axes")? {
        Some(axes) => axes.iter().map(|axis| normalize_axis(*axis, x.rank())).collect::<Result<Vec<_>, _>>()?,
        None => (0..x.rank()).collect(),
    };
    let policy = cx.string_or("keep_aspect_ratio_policy", "stretch")?;
    if let Some(open) = [2, 3].into_iter().find(|i| cx.open_operand(*i).is_some()) {
        return resize_by_operand(cx, &x, &sampling, &axes, open, &policy);
    }
    let crops: Vec<(f64, f64)> = match coordinates {
        Coordinates::Crop => match operand_floats(cx, 1, "regions")? {
            Some(roi) if roi.len() == 2 * axes.len() => (0..axes.len()).map(|i| (roi[i], roi[axes.len() + i])).collect(),
            _ => return Ok(Failure::invalid("a region that does not name the start and the end of each axis")?),
        },
        _ => vec![],
    };
    let mut scales = operand_floats(cx, 2, "scales")?;
    let mut sizes = match cx.optional(3) {
        Some(_) if scales.is_none() => Some(cx.dims_input(3, "sizes")?),
        _ => None,
    };
    if scales.as_ref().map(Vec::len).or(sizes.as_ref().map(Vec::len)) != Some(axes.len()) {
        return Ok(Failure::invalid("scales or sizes do not name each axis")?);
    }
    if let (Some(wanted), "not_larger" | "not_smaller") = (&sizes, policy.as_str()) {
        let ratio = |(axis, size): (&usize, &Dim)| Some(size.as_static()? as f64 / x.extent(*axis)? as f64);
        let Some(ratios) = axes.iter().zip(wanted).map(ratio).collect::<Option<Vec<f64>>>() else {
            return Ok(Failure::unsupported("a kept aspect ratio of symbolic extents; fix them with --dim")?);
        };
        let pick = if policy == "not_larger" { f64::min } else { f64::max };
        let scale = ratios.into_iter().reduce(pick).unwrap_or(1.0);
        let rounded = |axis: &usize| Dim::from((x.extent(*axis).unwrap_or(0) as f64 * scale + 0.5).floor() as i64);
        sizes = Some(axes.iter().map(rounded).collect());
        scales = Some(vec![scale; axes.len()]);
    }
    let axes = axes_of(&x, &axes, scales, sizes, &crops)?;
    resize_axes(cx, &x, &sampling, &axes)
}
