//! Resize of axes whose scales or extents only the run knows: coordinates are computed as tensors of f64, elements gathered where they point.

use super::{
    OpResult,
    index::{positions, take},
    resize::{Coordinates, Mode, Rounding, Sampling},
};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Abs, Add, And, Ceil, Div, Eq, Floor, Ge, Gt, Le, Maximum, Minimum, Mul, Or, Sub},
    dim::Dim,
    types::ElementType,
};

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

const F64: ElementType = ElementType::F64;

/// One axis: its extent afterwards, its scale (0-d f64), and where the part begins and ends that is cropped, of 1 (0-d f64).
pub struct OpenAxis<'c, 'a> {
    pub axis: usize,
    pub output: Dim,
    pub scale: Tensor<'c, 'a>,
    pub crop: Option<[Tensor<'c, 'a>; 2]>,
}

impl<'c, 'a> OpenAxis<'c, 'a> {
    /// Where the elements of the result lie in the input, [output].
    fn coordinates(&self, cx: &mut Cx<'_, '_, 'c, 'a>, sampling: &Sampling, input: &Dim) -> Result<Tensor<'c, 'a>, Failure> {
        let (extent, last) = (cx.extent(input, F64)?, cx.extent(&(input - &Dim::from(1)), F64)?);
        let length = cx.binary(Mul::create, &self.scale, &extent)?;
        let place = positions(cx, &self.output, ElementType::I64)?;
        let place = cx.convert(&place, F64)?;
        let centered = cx.binary_scalar(Add::create, &place, 0.5)?;
        let centered = cx.binary(Div::create, &centered, &self.scale)?;
        let half_pixel = cx.binary_scalar(Sub::create, &centered, 0.5)?;
        let one = cx.scalar(F64, 1.0)?;
        // Of the distances between the results; one result has none.
        let steps = cx.binary(Sub::create, &length, &one)?;
        let single = cx.compare(Eq::create, &length, &one)?;
        let steps = cx.select(&single, &one, &steps)?;
        match sampling.coordinates {
            Coordinates::HalfPixel => Ok(half_pixel),
            Coordinates::HalfPixelSymmetric => {
                let resized = cx.extent(&self.output, F64)?;
                let share = cx.binary(Div::create, &resized, &length)?;
                let rest = cx.binary(Sub::create, &one, &share)?;
                let offset = cx.binary(Mul::create, &extent, &rest)?;
                let offset = cx.binary_scalar(Mul::create, &offset, 0.5)?;
                cx.binary(Add::create, &half_pixel, &offset)
            }
            Coordinates::PytorchHalfPixel => {
                let several = cx.compare(Gt::create, &length, &one)?;
                let zero = cx.scalar(F64, 0.0)?;
                cx.select(&several, &half_pixel, &zero)
            }
            Coordinates::AlignCorners => {
                let at = cx.binary(Mul::create, &place, &last)?;
                cx.binary(Div::create, &at, &steps)
            }
            Coordinates::Asymmetric => cx.binary(Div::create, &place, &self.scale),
            Coordinates::HalfPixelForNearest => Ok(centered),
            Coordinates::Crop => {
                let Some([start, end]) = &self.crop else { return Failure::invalid("a crop without a region") };
                let (first, width) = (cx.binary(Mul::create, start, &last)?, cx.binary(Sub::create, end, start)?);
                let width = cx.binary(Mul::create, &width, &last)?;
                let at = cx.binary(Mul::create, &place, &width)?;
                let at = cx.binary(Div::create, &at, &steps)?;
                let at = cx.binary(Add::create, &at, &first)?;
                let sum = cx.binary(Add::create, start, end)?;
                let middle = cx.binary(Mul::create, &sum, &last)?;
                let middle = cx.binary_scalar(Mul::create, &middle, 0.5)?;
                cx.select(&single, &middle, &at)
            }
        }
    }

    /// `x` with this axis sampled.
    pub fn resize(&self, cx: &mut Cx<'_, '_, 'c, 'a>, sampling: &Sampling, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let input = x.dims()[self.axis].clone();
        let at = self.coordinates(cx, sampling, &input)?;
        let y = match sampling.mode {
            Mode::Nearest(rounding) => {
                let nearest = match rounding {
                    Rounding::PreferFloor => {
                        let shifted = cx.binary_scalar(Sub::create, &at, 0.5)?;
                        cx.unary(Ceil::create, &shifted)?
                    }
                    Rounding::PreferCeil => {
                        let shifted = cx.binary_scalar(Add::create, &at, 0.5)?;
                        cx.unary(Floor::create, &shifted)?
                    }
                    Rounding::Floor => cx.unary(Floor::create, &at)?,
                    Rounding::Ceil => cx.unary(Ceil::create, &at)?,
                };
                self.pick(cx, x, &nearest)?
            }
            Mode::Linear | Mode::Cubic(_) if sampling.antialias => self.smooth(cx, sampling, x, &at)?,
            Mode::Linear | Mode::Cubic(_) => self.blend(cx, sampling, x, &at)?,
        };
        if sampling.coordinates != Coordinates::Crop {
            return Ok(y);
        }
        let (zero, last) = (cx.scalar(F64, 0.0)?, cx.extent(&(&input - &Dim::from(1)), F64)?);
        let (before, behind) = (cx.compare(Gt::create, &zero, &at)?, cx.compare(Gt::create, &at, &last)?);
        let outside = cx.binary(Or::create, &before, &behind)?;
        let outside = cx.broadcast_along(&outside, &[self.axis], y.dims())?;
        let fill = cx.scalar(y.element(), sampling.extrapolation)?;
        cx.select(&outside, &fill, &y)
    }

    /// Weighted sums of all elements that a result stands for: a filter that is stretched where the axis shrinks, of as many taps as the run needs.
    fn smooth(
        &self,
        cx: &mut Cx<'_, '_, 'c, 'a>,
        sampling: &Sampling,
        x: &Tensor<'c, 'a>,
        at: &Tensor<'c, 'a>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let radius = cx.scalar(F64, if sampling.mode == Mode::Linear { 1.0 } else { 2.0 })?;
        let (zero, one) = (cx.scalar(F64, 0.0)?, cx.scalar(F64, 1.0)?);
        let stretch = cx.binary(Minimum::create, &self.scale, &one)?;
        let reach = cx.binary(Div::create, &radius, &stretch)?;
        let half = cx.unary(Ceil::create, &reach)?;
        let taps = cx.binary(Add::create, &half, &half)?;
        let taps = cx.convert(&taps, ElementType::I64)?;
        let taps = cx.size(&taps, "taps of the filter", "", None)?;
        let first = cx.binary(Sub::create, at, &reach)?;
        let first = cx.unary(Floor::create, &first)?;
        let first = cx.binary(Add::create, &first, &one)?;
        let tap = positions(cx, &taps, ElementType::I64)?;
        let tap = cx.convert(&tap, F64)?;
        let table = [taps, self.output.clone()];
        let (first, tap) = (cx.broadcast_along(&first, &[1], &table)?, cx.broadcast_along(&tap, &[0], &table)?);
        let index = cx.binary(Add::create, &first, &tap)?;
        let at = cx.broadcast_along(at, &[1], &table)?;
        let distance = cx.binary(Sub::create, &index, &at)?;
        let t = cx.unary(Abs::create, &distance)?;
        let t = cx.binary(Mul::create, &t, &stretch)?;
        let mut weight = polynomial(cx, &t, &inner(sampling.mode))?;
        if let Mode::Cubic(a) = sampling.mode {
            let (near, far) = (cx.compare(Le::create, &t, &one)?, polynomial(cx, &t, &outer(a))?);
            weight = cx.select(&near, &weight, &far)?;
        }
        let mut counts = cx.compare(Ge::create, &radius, &t)?;
        if sampling.exclude_outside {
            let last = cx.extent(&(&x.dims()[self.axis] - &Dim::from(1)), F64)?;
            let (behind, before) = (cx.compare(Ge::create, &index, &zero)?, cx.compare(Le::create, &index, &last)?);
            let inside = cx.binary(And::create, &behind, &before)?;
            counts = cx.binary(And::create, &counts, &inside)?;
        }
        let weight = cx.select(&counts, &weight, &zero)?;
        let total = cx.reduce("add", &weight, &[0])?;
        let total = cx.broadcast_along(&total, &[1], &table)?;
        let weight = cx.binary(Div::create, &weight, &total)?;
        let parts = self.pick(cx, x, &index)?;
        let weight = cx.convert(&weight, parts.element())?;
        let weight = cx.broadcast_along(&weight, &[self.axis, self.axis + 1], parts.dims())?;
        let weighted = cx.binary(Mul::create, &parts, &weight)?;
        cx.reduce("add", &weighted, &[self.axis])
    }

    /// The nearest elements at whole coordinates.
    fn pick(&self, cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, at: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let (first, last) = (cx.number(&Dim::from(0)), cx.number(&(&x.dims()[self.axis] - &Dim::from(1))));
        let index = cx.convert(at, ElementType::I64)?;
        let index = cx.binary(Maximum::create, &index, &first)?;
        let index = cx.binary(Minimum::create, &index, &last)?;
        take(cx, x, &index, self.axis)
    }

    /// Weighted sums of the elements around.
    fn blend(
        &self,
        cx: &mut Cx<'_, '_, 'c, 'a>,
        sampling: &Sampling,
        x: &Tensor<'c, 'a>,
        at: &Tensor<'c, 'a>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let last = cx.extent(&(&x.dims()[self.axis] - &Dim::from(1)), F64)?;
        let floor = cx.unary(Floor::create, at)?;
        let (first, count) = if sampling.mode == Mode::Linear { (0, 2) } else { (-1, 4) };
        let mut taps = vec![];
        let mut total: Option<Tensor<'c, 'a>> = None;
        for tap in first..first + count {
            let index = cx.binary_scalar(Add::create, &floor, f64::from(tap))?;
            let distance = cx.binary(Sub::create, &index, at)?;
            let t = cx.unary(Abs::create, &distance)?;
            let mut weight = match sampling.mode {
                Mode::Cubic(a) if !(0..2).contains(&tap) => polynomial(cx, &t, &outer(a))?,
                mode => polynomial(cx, &t, &inner(mode))?,
            };
            if sampling.exclude_outside {
                let zero = cx.scalar(F64, 0.0)?;
                let (behind, before) = (cx.compare(Ge::create, &index, &zero)?, cx.compare(Le::create, &index, &last)?);
                let inside = cx.binary(And::create, &behind, &before)?;
                weight = cx.select(&inside, &weight, &zero)?;
                total = Some(match total {
                    Some(sum) => cx.binary(Add::create, &sum, &weight)?,
                    None => weight.clone(),
                });
            }
            taps.push((self.pick(cx, x, &index)?, weight));
        }
        let mut y: Option<Tensor<'c, 'a>> = None;
        for (part, mut weight) in taps {
            if let Some(total) = &total {
                weight = cx.binary(Div::create, &weight, total)?;
            }
            let weight = cx.convert(&weight, part.element())?;
            let weight = cx.broadcast_along(&weight, &[self.axis], part.dims())?;
            let weighted = cx.binary(Mul::create, &part, &weight)?;
            y = Some(match y {
                Some(sum) => cx.binary(Add::create, &sum, &weighted)?,
                None => weighted,
            });
        }
        y.ok_or_else(|| Failure::Invalid("no elements to sample".into()))
    }
}

/// Coefficients of `Mode::weight` at distances of up to 1, highest first.
fn inner(mode: Mode) -> Vec<f64> {
    match mode {
        Mode::Cubic(a) => vec![a + 2.0, -(a + 3.0), 0.0, 1.0],
        _ => vec![-1.0, 1.0],
    }
}

/// Those of the cubic one at distances from 1 to 2.
fn outer(a: f64) -> Vec<f64> {
    vec![a, -5.0 * a, 8.0 * a, -4.0 * a]
}

/// Horner's scheme.
fn polynomial<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, t: &Tensor<'c, 'a>, coefficients: &[f64]) -> Result<Tensor<'c, 'a>, Failure> {
    let mut sum = cx.scalar(F64, 0.0)?;
    for coefficient in coefficients {
        sum = cx.binary(Mul::create, &sum, t)?;
        sum = cx.binary_scalar(Add::create, &sum, *coefficient)?;
    }
    Ok(sum)
}

/// Element `at` of a 1-d tensor as a 0-d f64.
fn element<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, list: &Tensor<'c, 'a>, at: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let part = cx.slice_axis(list, 0, at as i64, at as i64 + 1)?;
    let part = cx.reshape(&part, vec![])?;
    cx.convert(&part, F64)
}

/// Resize by the scales or sizes that operand `i` has in the run, for each of `axes`; the region of a crop is operand 1.
pub fn resize_by_operand<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    sampling: &Sampling,
    axes: &[usize],
    i: usize,
    policy: &str,
) -> OpResult<'c, 'a> {
    let (list, from) = (cx.input(i)?, cx.operand_name(i).to_string());
    if list.dims() != [Dim::from(axes.len() as i64)] {
        return Ok(Failure::invalid("scales or sizes do not name each axis")?);
    }
    let region = if sampling.coordinates == Coordinates::Crop { Some(cx.input(1)?) } else { None };
    if region.as_ref().is_some_and(|region| region.dims() != [Dim::from(2 * axes.len() as i64)]) {
        return Ok(Failure::invalid("a region that does not name the start and the end of each axis")?);
    }
    let (mut inputs, mut scales) = (vec![], vec![]);
    for (at, axis) in axes.iter().enumerate() {
        let (input, given) = (cx.extent(&x.dims()[*axis], F64)?, element(cx, &list, at)?);
        scales.push(if list.element().is_float() { given } else { cx.binary(Div::create, &given, &input)? });
        inputs.push(input);
    }
    let keeps_ratio = !list.element().is_float() && policy != "stretch";
    if let (true, Some(first)) = (keeps_ratio, scales.first().cloned()) {
        let pick = if policy == "not_larger" { Minimum::create } else { Maximum::create };
        let scale = scales[1..].iter().try_fold(first, |all, scale| cx.binary(pick, &all, scale))?;
        scales = vec![scale; axes.len()];
    }
    let mut y = sampling.widened(cx, x)?;
    for (at, (axis, scale)) in axes.iter().zip(scales).enumerate() {
        let size = if list.element().is_float() || keeps_ratio {
            let size = cx.binary(Mul::create, &scale, &inputs[at])?;
            let size = if keeps_ratio { cx.binary_scalar(Add::create, &size, 0.5)? } else { size };
            cx.unary(Floor::create, &size)?
        } else {
            element(cx, &list, at)?
        };
        let size = cx.convert(&size, ElementType::I64)?;
        let output = cx.size(&size, "resized extents", &from, None)?;
        let crop = match &region {
            Some(region) => Some([element(cx, region, at)?, element(cx, region, axes.len() + at)?]),
            None => None,
        };
        y = OpenAxis { axis: *axis, output, scale, crop }.resize(cx, sampling, &y)?;
    }
    Ok(vec![cx.convert(&y, x.element())?])
}
