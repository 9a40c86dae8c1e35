//! Signals: DFT, STFT, window functions, MelWeightMatrix.
//!
//! A transform is a product with the matrix of its exponentials, a short-time transform a convolution with it. Where lengths are symbolic or only the run
//! knows them, so is the matrix, and the frames of a short-time transform are gathered.

use super::{
    OpResult, Row,
    index::{positions, take},
    reshape::axes_named,
    row, row_since, row_until,
    slice::pad_axis_to,
};
use crate::{
    constants::{ConstantType, Scalar, Source},
    import::{
        error::Failure,
        node::{NodeContext, normalize_axis},
        tensor::element_type,
        value::{Data, Tensor},
    },
};
use std::f64::consts::PI;
use winze_graph::{
    dialect::{Add, And, Conv, Cos, Div, DotGeneral, Eq, Floor, Ge, Le, Log, Lt, Mod, Mul, Or, Pow, Sin, Sub},
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[
    row_until("DFT", 19, |cx| {
        let axis = cx.int_or("axis", 1)?;
        dft(cx, axis)
    }),
    row_since("DFT", 20, |cx| {
        if let Some(axis) = cx.open_operand(2) {
            return dft_along(cx, &axis);
        }
        let axis = cx.optional_ints(2, "axes")?.and_then(|axis| axis.first().copied()).unwrap_or(-2);
        dft(cx, axis)
    }),
    row("STFT", stft),
    row("HannWindow", |cx| window(cx, [0.5, 0.5, 0.0])),
    row("HammingWindow", |cx| window(cx, [25.0 / 46.0, 21.0 / 46.0, 0.0])),
    row("BlackmanWindow", |cx| window(cx, [0.42, 0.5, 0.08])),
    row("MelWeightMatrix", mel_weight_matrix),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// Largest matrix of exponentials, in elements.
const LARGEST_BASIS: i64 = 1 << 26;

/// A constant of numbers.
fn constant<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, element: ElementType, dims: &[i64], items: &[f64]) -> Result<Tensor<'c, 'a>, Failure> {
    let mut bytes = vec![];
    items.iter().for_each(|item| Scalar::Float(*item).write(element, &mut bytes));
    let id = cx.importer.store.add(cx.name, ConstantType::new(element, dims), Source::Inline(bytes));
    let id = id.map_err(|error| Failure::Invalid(error.to_string()))?;
    Ok(Tensor::new(TensorType::fixed(element, dims), Data::Constant(id)))
}

/// Cosine and sine of `2 pi * step / length`, exact at quarter turns.
fn rotation(step: i64, length: i64) -> (f64, f64) {
    let step = step % length;
    if 4 * step % length == 0 {
        return [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][(4 * step / length) as usize];
    }
    let angle = 2.0 * PI * step as f64 / length as f64;
    (angle.cos(), angle.sin())
}

/// A transform of `length` samples.
struct Transform {
    length: i64,
    inverse: bool,
    onesided: bool,
}

impl Transform {
    /// Positions of the result.
    fn bins(&self) -> i64 {
        if self.onesided && !self.inverse { self.length / 2 + 1 } else { self.length }
    }

    /// Numbers per element of the result: an inverse transform of half a spectrum is real.
    fn parts(&self) -> usize {
        if self.onesided && self.inverse { 1 } else { 2 }
    }

    /// What the real (0) or imaginary (1) part of sample `n` adds to the parts of bin `k`.
    fn factors(&self, n: i64, part: usize, k: i64) -> [f64; 2] {
        let (cos, sin) = rotation(n * k, self.length);
        let sin = if self.inverse { -sin } else { sin };
        let mut scale = if self.inverse { 1.0 / self.length as f64 } else { 1.0 };
        if self.inverse && self.onesided && n != 0 && 2 * n != self.length {
            // Stands for its mirror image too.
            scale *= 2.0;
        }
        if part == 0 { [scale * cos, -scale * sin] } else { [scale * sin, scale * cos] }
    }
}

/// A transform whose sizes need not be known.
struct OpenTransform<'c, 'a> {
    /// 0-d i64.
    length: Tensor<'c, 'a>,
    used: Dim,
    bins: Dim,
    inverse: bool,
    onesided: bool,
}

impl<'c, 'a> OpenTransform<'c, 'a> {
    /// Positions and parts of the result.
    fn bins(&self) -> [Dim; 2] {
        [self.bins.clone(), Dim::from(if self.onesided && self.inverse { 1 } else { 2 })]
    }

    /// Exponentials as of [`Transform::factors`]: [used * parts, bins * parts of the result].
    fn basis(&self, cx: &mut Cx<'_, '_, 'c, 'a>, element: ElementType, parts: i64) -> Result<Tensor<'c, 'a>, Failure> {
        let table = [self.used.clone(), self.bins.clone()];
        let (n, k) = (positions(cx, &self.used, ElementType::I64)?, positions(cx, &self.bins, ElementType::I64)?);
        let (n, k) = (cx.broadcast_along(&n, &[0], &table)?, cx.broadcast_along(&k, &[1], &table)?);
        let step = cx.binary(Mul::create, &n, &k)?;
        let step = cx.binary(Mod::create, &step, &self.length)?;
        let (step, length) = (cx.convert(&step, element)?, cx.convert(&self.length, element)?);
        let share = cx.binary(Div::create, &step, &length)?;
        let angle = cx.binary_scalar(Mul::create, &share, if self.inverse { -2.0 * PI } else { 2.0 * PI })?;
        let (mut cos, mut sin) = (cx.unary(Cos::create, &angle)?, cx.unary(Sin::create, &angle)?);
        if self.inverse {
            let mut scale = cx.scalar(element, 1.0)?;
            scale = cx.binary(Div::create, &scale, &length)?;
            if self.onesided {
                // All but the first and the middle stand for their mirror images too.
                let (zero, double) = (cx.number(&Dim::from(0)), cx.binary(Add::create, &scale, &scale)?);
                let twice = cx.binary(Add::create, &n, &n)?;
                let (first, middle) = (cx.compare(Eq::create, &n, &zero)?, cx.compare(Eq::create, &twice, &self.length)?);
                let alone = cx.binary(Or::create, &first, &middle)?;
                scale = cx.select(&alone, &scale, &double)?;
            }
            (cos, sin) = (cx.binary(Mul::create, &cos, &scale)?, cx.binary(Mul::create, &sin, &scale)?);
        }
        let zero = cx.scalar(element, 0.0)?;
        let minus = cx.binary(Sub::create, &zero, &sin)?;
        let real = self.onesided && self.inverse;
        let apart = vec![self.used.clone(), Dim::from(1), self.bins.clone(), Dim::from(1)];
        let mut rows = vec![];
        for pair in [[&cos, &minus], [&sin, &cos]].into_iter().take(parts as usize) {
            let columns = pair.into_iter().take(if real { 1 } else { 2 });
            let columns = columns.map(|part| cx.reshape(part, apart.clone())).collect::<Result<Vec<_>, _>>()?;
            rows.push(cx.concat(&columns, 3)?);
        }
        let basis = cx.concat(&rows, 1)?;
        let [bins, results] = self.bins();
        cx.reshape(&basis, vec![&self.used * &Dim::from(parts), &bins * &results])
    }
}

/// The first element of an operand as a 0-d i64.
fn length_operand<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, i: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let given = cx.input(i)?;
    let given = cx.convert(&given, ElementType::I64)?;
    cx.reshape(&given, vec![])
}

/// Half of an extent and 1.
fn half_spectrum(length: &Dim) -> Dim {
    &length.floor_div(&Dim::from(2)) + &Dim::from(1)
}

/// A transform whose extent is symbolic, or of a length that only the run knows.
fn dft_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize) -> OpResult<'c, 'a> {
    let last = x.rank() - 1;
    let Some(parts) = x.extent(last).filter(|parts| (1..=2).contains(parts) && axis != last) else {
        return Ok(Failure::invalid(format!(
            "a last axis of extent {}; it holds real parts, or real and imaginary parts",
            x.dims()[last]
        ))?);
    };
    let (inverse, onesided) = (cx.int_or("inverse", 0)? != 0, cx.int_or("onesided", 0)? != 0);
    let extent = x.dims()[axis].clone();
    let length = match cx.optional(1) {
        Some(_) if cx.open_operand(1).is_some() => {
            let (length, from) = (length_operand(cx, 1)?, cx.operand_name(1).to_string());
            cx.check_size(&length, "length of the transform", &Dim::from(1), &Dim::from(i64::from(i32::MAX)))?;
            cx.size(&length, "lengths", &from, None)?
        }
        Some(_) => cx.dims_input(1, "lengths")?[0].clone(),
        None if inverse && onesided => &(&extent - &Dim::from(1)) * &Dim::from(2),
        None => extent.clone(),
    };
    // Elements behind the axis are zeros, those beyond the length do not count.
    let used = if inverse && onesided { half_spectrum(&length) } else { length.clone() };
    let none = cx.number(&Dim::from(0));
    let (zero, wanted) = (cx.scalar(x.element(), 0.0)?, cx.number(&used));
    let x = if used == extent { x.clone() } else { pad_axis_to(cx, x, "constant", axis, &none, &wanted, &zero)? };
    let bins = if onesided && !inverse { half_spectrum(&length) } else { length.clone() };
    let transform = OpenTransform { length: cx.number(&length), used, bins, inverse, onesided };
    let basis = transform.basis(cx, x.element(), parts)?;
    transformed(cx, &x, &basis, transform.bins(), axis)
}

/// Rows of an axis and the last one times a matrix of exponentials, whose columns are `bins` of so many parts; the bins take the place of the axis.
fn transformed<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    basis: &Tensor<'c, 'a>,
    bins: [Dim; 2],
    axis: usize,
) -> OpResult<'c, 'a> {
    let last = x.rank() - 1;
    let others: Vec<usize> = (0..last).filter(|i| *i != axis).collect();
    let mut dims: Vec<Dim> = others.iter().map(|i| x.dims()[*i].clone()).collect();
    let rows = dims.iter().fold(Dim::from(1), |product, dim| &product * dim);
    let x = cx.transpose(x, others.iter().chain([&axis, &last]).map(|i| *i as i64).collect())?;
    let x = cx.reshape(&x, vec![rows, basis.dims()[0].clone()])?;
    let (a, b) = (cx.value(&x)?, cx.value(basis)?);
    let y = cx.infer(|c, l| DotGeneral::create(c, l, a, b, vec![], vec![], vec![1], vec![0], None))?;
    dims.extend(bins);
    let y = cx.reshape(&y, dims)?;
    // The transformed axis came out behind the others.
    let mut permutation: Vec<i64> = (0..last as i64 - 1).collect();
    permutation.insert(axis, last as i64 - 1);
    permutation.push(last as i64);
    Ok(vec![cx.transpose(&y, permutation)?])
}

/// A transform along an axis that only the run knows: what stands before and behind it is one axis each.
fn dft_along<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, axis: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let last = x.rank().saturating_sub(1);
    let axis = cx.elements(axis)?;
    let hits = axes_named(cx, &axis, x.rank())?;
    let one = cx.number(&Dim::from(1));
    let (mut outer, mut inner, mut own) = (one.clone(), one.clone(), one.clone());
    let mut passed = cx.scalar(ElementType::Bool, 0.0)?;
    for (hit, dim) in hits[..last].iter().zip(x.dims()) {
        let extent = cx.number(dim);
        let (before, behind) = (cx.binary(Mul::create, &outer, &extent)?, cx.binary(Mul::create, &inner, &extent)?);
        inner = cx.select(&passed, &behind, &inner)?;
        passed = cx.binary(Or::create, &passed, hit)?;
        outer = cx.select(&passed, &outer, &before)?;
        own = cx.select(hit, &extent, &own)?;
    }
    let found = cx.convert(&passed, ElementType::I64)?;
    cx.check_size(&found, "whether the axis of the transform is one before the last", &Dim::from(1), &Dim::from(1))?;
    let (outer, own, inner) = (
        cx.factor(&outer, "extents before the axis")?,
        cx.factor(&own, "extents of the axis")?,
        cx.factor(&inner, "extents behind the axis")?,
    );
    let apart = cx.reshape(&x, vec![outer, own, inner, x.dims()[last].clone()])?;
    let y = dft_while_running(cx, &apart, 1)?.remove(0);
    let bins = cx.number(&y.dims()[1]);
    let mut dims = vec![];
    for (hit, dim) in hits[..last].iter().zip(x.dims()) {
        let extent = cx.select(hit, &bins, &cx.number(dim))?;
        dims.push(cx.factor(&extent, "extents of the result")?);
    }
    dims.push(y.dims()[3].clone());
    Ok(vec![cx.reshape(&y, dims)?])
}

fn dft<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, axis: i64) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(axis, x.rank())?;
    let last = x.rank() - 1;
    if x.extent(axis).is_none() || cx.open_operand(1).is_some() {
        return dft_while_running(cx, &x, axis);
    }
    let (Some(extent), Some(parts)) = (x.extent(axis), x.extent(last)) else {
        return Ok(Failure::unsupported(format!("a last axis of the symbolic extent {}; fix it with --dim", x.dims()[last]))?);
    };
    if axis == last || !(1..=2).contains(&parts) {
        return Ok(Failure::invalid(format!("a last axis of extent {parts}; it holds real parts, or real and imaginary parts"))?);
    }
    let (inverse, onesided) = (cx.int_or("inverse", 0)? != 0, cx.int_or("onesided", 0)? != 0);
    let given = cx.optional_ints(1, "lengths")?.and_then(|length| length.first().copied());
    let length = given.unwrap_or(if inverse && onesided { 2 * (extent - 1) } else { extent });
    if length < 1 || extent < 1 {
        return Ok(Failure::invalid(format!("a transform of {length} elements"))?);
    }
    let transform = Transform { length, inverse, onesided };
    let used = extent.min(if inverse && onesided { length / 2 + 1 } else { length });
    let bins = transform.bins();
    if used.saturating_mul(bins) > LARGEST_BASIS {
        return Ok(Failure::unsupported(format!("a transform of {length} elements; up to {} are computed", LARGEST_BASIS.isqrt()))?);
    }
    let mut items = vec![];
    for n in 0..used {
        for part in 0..parts as usize {
            (0..bins).for_each(|k| items.extend(&transform.factors(n, part, k)[..transform.parts()]));
        }
    }
    let results = transform.parts() as i64;
    let basis = constant(cx, x.element(), &[used * parts, bins * results], &items)?;
    let x = if used < extent { cx.slice_axis(&x, axis, 0, used)? } else { x };
    transformed(cx, &x, &basis, [Dim::from(bins), Dim::from(results)], axis)
}

fn stft<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let signal = cx.input(0)?;
    let parts = match signal.rank() {
        2 => Some(1),
        3 => signal.extent(2).filter(|parts| (1..=2).contains(parts)),
        _ => None,
    };
    let Some(parts) = parts else { return Ok(Failure::invalid("a signal that is not batch, time, and one or two parts")?) };
    let window = cx.optional(2);
    if cx.open_operand(1).is_some() || cx.open_operand(3).is_some() {
        return stft_while_running(cx, &signal, window, parts);
    }
    let length = match cx.optional_ints(3, "frame lengths")? {
        Some(length) => length.first().copied(),
        None => window.as_ref().and_then(|window| window.extent(0)),
    };
    let (Some(&[step]), Some(length)) = (cx.optional_ints(1, "frame steps")?.as_deref(), length) else {
        return Ok(Failure::invalid("neither window nor frame_length says how long a frame is, or frame_step is missing")?);
    };
    if step < 1 || length < 1 || window.as_ref().is_some_and(|window| window.rank() != 1 || window.extent(0) != Some(length)) {
        return Ok(Failure::invalid(format!("frames of {length} elements, {step} apart, under a window of another length"))?);
    }
    let transform = Transform { length, inverse: false, onesided: cx.int_or("onesided", 1)? != 0 };
    let bins = transform.bins();
    if length.saturating_mul(bins) > LARGEST_BASIS {
        return Ok(Failure::unsupported(format!("frames of {length} elements; up to {} are computed", LARGEST_BASIS.isqrt()))?);
    }
    let mut items = vec![];
    for k in 0..bins {
        for result in 0..2 {
            for part in 0..parts as usize {
                items.extend((0..length).map(|n| transform.factors(n, part, k)[result]));
            }
        }
    }
    let mut filter = constant(cx, signal.element(), &[2 * bins, parts, length], &items)?;
    if let Some(window) = window {
        let window = cx.convert(&window, signal.element())?;
        let along = cx.broadcast_along(&window, &[2], filter.dims())?;
        filter = cx.binary(Mul::create, &filter, &along)?;
    }
    let (batch, time) = (signal.dims()[0].clone(), signal.dims()[1].clone());
    let input =
        if parts == 1 { cx.reshape(&signal, vec![batch.clone(), Dim::from(1), time])? } else { cx.transpose(&signal, vec![0, 2, 1])? };
    let (input, filter) = (cx.value(&input)?, cx.value(&filter)?);
    let y = cx.infer(|c, l| Conv::create(c, l, input, filter, vec![step], vec![0], vec![0], vec![1], vec![1], 1, false, None))?;
    let frames = y.dims()[2].clone();
    let y = cx.reshape(&y, vec![batch, Dim::from(bins), Dim::from(2), frames])?;
    Ok(vec![cx.transpose(&y, vec![0, 3, 1, 2])?])
}

/// Frames whose length or distance only the run knows: their elements are gathered.
fn stft_while_running<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    signal: &Tensor<'c, 'a>,
    window: Option<Tensor<'c, 'a>>,
    parts: i64,
) -> OpResult<'c, 'a> {
    let (batch, time) = (signal.dims()[0].clone(), signal.dims()[1].clone());
    let step = length_operand(cx, 1)?;
    cx.check_size(&step, "frame_step", &Dim::from(1), &Dim::from(i64::MAX))?;
    let length = match (cx.optional(3), &window) {
        (Some(_), _) => {
            let length = length_operand(cx, 3)?;
            cx.size(&length, "frame lengths", "", Some(time.clone()))?
        }
        (None, Some(window)) if window.rank() == 1 => window.dims()[0].clone(),
        _ => return Ok(Failure::invalid("neither window nor frame_length says how long a frame is")?),
    };
    let rest = cx.number(&(&time - &length));
    let steps = cx.binary(Div::create, &rest, &step)?;
    let frames = cx.binary_scalar(Add::create, &steps, 1.0)?;
    let frames = cx.size(&frames, "frames", "", Some(time))?;
    let table = [frames.clone(), length.clone()];
    let (frame, place) = (positions(cx, &frames, ElementType::I64)?, positions(cx, &length, ElementType::I64)?);
    let start = cx.binary(Mul::create, &frame, &step)?;
    let (start, place) = (cx.broadcast_along(&start, &[0], &table)?, cx.broadcast_along(&place, &[1], &table)?);
    let index = cx.binary(Add::create, &start, &place)?;
    let x = take(cx, signal, &index, 1)?;
    let mut x = cx.reshape(&x, vec![batch, frames, length.clone(), Dim::from(parts)])?;
    if let Some(window) = window {
        let window = cx.convert(&window, x.element())?;
        let along = cx.broadcast_along(&window, &[2], x.dims())?;
        x = cx.binary(Mul::create, &x, &along)?;
    }
    let onesided = cx.int_or("onesided", 1)? != 0;
    let bins = if onesided { half_spectrum(&length) } else { length.clone() };
    let transform = OpenTransform { length: cx.number(&length), used: length, bins, inverse: false, onesided };
    let basis = transform.basis(cx, x.element(), parts)?;
    transformed(cx, &x, &basis, transform.bins(), 2)
}

fn output_element(cx: &Cx) -> Result<ElementType, Failure> {
    element_type(i32::try_from(cx.int_or("output_datatype", 1)?).unwrap_or(-1))
}

/// `a - b cos(2 pi n / N) + c cos(4 pi n / N)`.
fn window<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, [a, b, c]: [f64; 3]) -> OpResult<'c, 'a> {
    let element = output_element(cx)?;
    if cx.open_operand(0).is_some() {
        return window_while_running(cx, element, [a, b, c]);
    }
    let size = match cx.ints_input(0, "sizes")?[..] {
        [size] if (0..1 << 31).contains(&size) => size,
        ref other => return Ok(Failure::invalid(format!("a size of {other:?}"))?),
    };
    let length = if cx.int_or("periodic", 1)? != 0 { size } else { size - 1 };
    let items: Vec<f64> =
        (0..size).map(|n| if length < 1 { 1.0 } else { a - b * rotation(n, length).0 + c * rotation(2 * n, length).0 }).collect();
    Ok(vec![constant(cx, element, &[size], &items)?])
}

/// The same for a size that only the run knows.
fn window_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, element: ElementType, [a, b, c]: [f64; 3]) -> OpResult<'c, 'a> {
    let (size, from) = (length_operand(cx, 0)?, cx.operand_name(0).to_string());
    let size = cx.size(&size, "sizes", &from, None)?;
    let computed = if element == ElementType::F64 { ElementType::F64 } else { ElementType::F32 };
    let place = positions(cx, &size, ElementType::I64)?;
    let place = cx.convert(&place, computed)?;
    let mut length = cx.extent(&size, computed)?;
    if cx.int_or("periodic", 1)? == 0 {
        length = cx.binary_scalar(Sub::create, &length, 1.0)?;
    }
    let share = cx.binary(Div::create, &place, &length)?;
    let mut y = cx.scalar(computed, a)?;
    for (turns, factor) in [(1.0, -b), (2.0, c)] {
        let angle = cx.binary_scalar(Mul::create, &share, 2.0 * PI * turns)?;
        let cos = cx.unary(Cos::create, &angle)?;
        let part = cx.binary_scalar(Mul::create, &cos, factor)?;
        y = cx.binary(Add::create, &y, &part)?;
    }
    // One element alone is 1.
    let one = cx.scalar(computed, 1.0)?;
    let short = cx.compare(Lt::create, &length, &one)?;
    let y = cx.select(&short, &one, &y)?;
    Ok(vec![cx.convert(&y, element)?])
}

/// Triangles on the mel scale `2595 log10(1 + f / 700)`, per frequency of a spectrum and band.
fn mel_weight_matrix<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let element = output_element(cx)?;
    if (0..5).any(|i| cx.open_operand(i).is_some()) {
        return mel_weights_while_running(cx, element);
    }
    let mut numbers = [0.0; 5];
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = cx.scalar_input(i, "parameters")?.to_f64();
    }
    let [bands, length, rate, low, high] = numbers;
    let (bands, spectrum) = (bands as i64, length as i64 / 2 + 1);
    if !(1..1 << 16).contains(&bands) || !(1..1 << 20).contains(&spectrum) || rate <= 0.0 {
        return Ok(Failure::invalid(format!("{bands} bands, a transform of {length} elements, {rate} samples per second"))?);
    }
    let mel = |frequency: f64| 2595.0 * (1.0 + frequency / 700.0).log10();
    let step = (mel(high) - mel(low)) / (bands + 2) as f64;
    let edge = |i: i64| {
        let frequency = 700.0 * (10f64.powf((i as f64 * step + mel(low)) / 2595.0) - 1.0);
        ((length + 1.0) * frequency / rate).floor() as i64
    };
    let mut items = vec![0.0; (spectrum * bands) as usize];
    for band in 0..bands {
        let (lower, center, upper) = (edge(band), edge(band + 1), edge(band + 2));
        let mut set = |bin: i64, value: f64| {
            if (0..spectrum).contains(&bin) {
                items[(bin * bands + band) as usize] = value;
            }
        };
        if lower == center {
            set(center, 1.0);
        } else {
            (lower..=center).for_each(|bin| set(bin, (bin - lower) as f64 / (center - lower) as f64));
        }
        (center..upper).for_each(|bin| set(bin, (upper - bin) as f64 / (upper - center) as f64));
    }
    Ok(vec![constant(cx, element, &[spectrum, bands], &items)?])
}

/// The same for parameters that only the run knows.
fn mel_weights_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, element: ElementType) -> OpResult<'c, 'a> {
    let computed = if element == ElementType::F64 { ElementType::F64 } else { ElementType::F32 };
    let bands = length_operand(cx, 0)?;
    let length = length_operand(cx, 1)?;
    let (from_bands, from_length) = (cx.operand_name(0).to_string(), cx.operand_name(1).to_string());
    let bands = cx.size(&bands, "bands", &from_bands, None)?;
    let half = cx.binary_scalar(Div::create, &length, 2.0)?;
    let spectrum = cx.binary_scalar(Add::create, &half, 1.0)?;
    let spectrum = cx.size(&spectrum, "frequencies", &from_length, None)?;
    let mut number = |i: usize| {
        let given = cx.input(i)?;
        let given = cx.reshape(&given, vec![])?;
        cx.convert(&given, computed)
    };
    let (rate, low, high) = (number(2)?, number(3)?, number(4)?);
    let mel = |cx: &mut Cx<'_, '_, 'c, 'a>, frequency: &Tensor<'c, 'a>| {
        let share = cx.binary_scalar(Div::create, frequency, 700.0)?;
        let share = cx.binary_scalar(Add::create, &share, 1.0)?;
        let log = cx.unary(Log::create, &share)?;
        cx.binary_scalar(Mul::create, &log, 2595.0 / std::f64::consts::LN_10)
    };
    let (low, high) = (mel(cx, &low)?, mel(cx, &high)?);
    let difference = cx.binary(Sub::create, &high, &low)?;
    let parts = cx.extent(&(&bands + &Dim::from(2)), computed)?;
    let step = cx.binary(Div::create, &difference, &parts)?;
    // The bins at which the triangles begin, peak and end.
    let edges = positions(cx, &(&bands + &Dim::from(2)), ElementType::I64)?;
    let edges = cx.convert(&edges, computed)?;
    let edges = cx.binary(Mul::create, &edges, &step)?;
    let edges = cx.binary(Add::create, &edges, &low)?;
    let edges = cx.binary_scalar(Div::create, &edges, 2595.0)?;
    let ten = cx.scalar(computed, 10.0)?;
    let edges = cx.binary(Pow::create, &ten, &edges)?;
    let edges = cx.binary_scalar(Sub::create, &edges, 1.0)?;
    let frequencies = cx.binary_scalar(Mul::create, &edges, 700.0)?;
    let length = cx.convert(&length, computed)?;
    let length = cx.binary_scalar(Add::create, &length, 1.0)?;
    let bins = cx.binary(Mul::create, &length, &frequencies)?;
    let bins = cx.binary(Div::create, &bins, &rate)?;
    let bins = cx.unary(Floor::create, &bins)?;
    let table = [spectrum.clone(), bands.clone()];
    let mut edge = |from: i64| {
        let part = cx.symbolic_slice(&bins, 0, &Dim::from(from), &bands, 1)?;
        cx.broadcast_along(&part, &[1], &table)
    };
    let (lower, center, upper) = (edge(0)?, edge(1)?, edge(2)?);
    let bin = positions(cx, &spectrum, ElementType::I64)?;
    let bin = cx.convert(&bin, computed)?;
    let bin = cx.broadcast_along(&bin, &[0], &table)?;
    let (zero, one) = (cx.scalar(computed, 0.0)?, cx.scalar(computed, 1.0)?);
    let mut slope = |from: &Tensor<'c, 'a>, to: &Tensor<'c, 'a>, at: [&Tensor<'c, 'a>; 2]| {
        let (width, distance) = (cx.binary(Sub::create, to, from)?, cx.binary(Sub::create, at[0], at[1])?);
        let flat = cx.compare(Eq::create, &width, &zero)?;
        let width = cx.select(&flat, &one, &width)?;
        let share = cx.binary(Div::create, &distance, &width)?;
        cx.select(&flat, &one, &share)
    };
    let (rising, falling) = (slope(&lower, &center, [&bin, &lower])?, slope(&center, &upper, [&upper, &bin])?);
    let mut within = |from: &Tensor<'c, 'a>, to: &Tensor<'c, 'a>, last: bool| {
        let begun = cx.compare(Ge::create, &bin, from)?;
        let left = if last { cx.compare(Le::create, &bin, to)? } else { cx.compare(Lt::create, &bin, to)? };
        cx.binary(And::create, &begun, &left)
    };
    let (rises, falls) = (within(&lower, &center, true)?, within(&center, &upper, false)?);
    let y = cx.select(&rises, &rising, &zero)?;
    let y = cx.select(&falls, &falling, &y)?;
    Ok(vec![cx.convert(&y, element)?])
}
