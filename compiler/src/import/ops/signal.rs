//! Signals: DFT, STFT, window functions, MelWeightMatrix.
//!
//! A transform is a product with the matrix of its exponentials, a short-time transform a convolution with it. Refuses lengths that are symbolic or
//! only known at run time.

use super::{OpResult, Row, row, row_since, row_until};
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
    dialect::{Conv, DotGeneral, Mul},
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[
    row_until("DFT", 19, |cx| {
        let axis = cx.int_or("axis", 1)?;
        dft(cx, axis)
    }),
    row_since("DFT", 20, |cx| {
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
    Ok(Tensor { r#type: TensorType::fixed(element, dims), data: Data::Constant(id) })
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

fn dft<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, axis: i64) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(axis, x.rank())?;
    let last = x.rank() - 1;
    let (Some(extent), Some(parts)) = (x.extent(axis), x.extent(last)) else {
        return Ok(Failure::unsupported(format!("a transform of the symbolic extent {}; fix it with --dim", x.dims()[axis]))?);
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
    let (x_dims, x) = (x.dims().to_vec(), if used < extent { cx.slice_axis(&x, axis, 0, used)? } else { x });
    // Rows of what is transformed, times a matrix.
    let others: Vec<usize> = (0..last).filter(|i| *i != axis).collect();
    let x = cx.transpose(&x, others.iter().chain([&axis, &last]).map(|i| *i as i64).collect())?;
    let mut dims: Vec<Dim> = others.iter().map(|i| x_dims[*i].clone()).collect();
    let rows = dims.iter().fold(Dim::from(1), |product, dim| &product * dim);
    let x = cx.reshape(&x, vec![rows, Dim::from(used * parts)])?;
    let (a, b) = (cx.value(&x)?, cx.value(&basis)?);
    let y = cx.infer(|c, l| DotGeneral::create(c, l, a, b, vec![], vec![], vec![1], vec![0], None))?;
    dims.extend([Dim::from(bins), Dim::from(results)]);
    let y = cx.reshape(&y, dims)?;
    // The transformed axis came out behind the others.
    let mut permutation: Vec<i64> = (0..last as i64 - 1).collect();
    permutation.insert(axis, last as i64 - 1);
    permutation.push(last as i64);
    Ok(vec![cx.transpose(&y, permutation)?])
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

fn output_element(cx: &Cx) -> Result<ElementType, Failure> {
    element_type(i32::try_from(cx.int_or("output_datatype", 1)?).unwrap_or(-1))
}

/// `a - b cos(2 pi n / N) + c cos(4 pi n / N)`.
fn window<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, [a, b, c]: [f64; 3]) -> OpResult<'c, 'a> {
    let element = output_element(cx)?;
    let size = match cx.ints_input(0, "sizes")?[..] {
        [size] if (0..1 << 31).contains(&size) => size,
        ref other => return Ok(Failure::invalid(format!("a size of {other:?}"))?),
    };
    let length = if cx.int_or("periodic", 1)? != 0 { size } else { size - 1 };
    let items: Vec<f64> =
        (0..size).map(|n| if length < 1 { 1.0 } else { a - b * rotation(n, length).0 + c * rotation(2 * n, length).0 }).collect();
    Ok(vec![constant(cx, element, &[size], &items)?])
}

/// Triangles on the mel scale `2595 log10(1 + f / 700)`, per frequency of a spectrum and band.
fn mel_weight_matrix<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let element = output_element(cx)?;
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
