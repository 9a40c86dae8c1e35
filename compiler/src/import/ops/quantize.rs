//! Affine quantization, written out: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, and integer products and convolutions.
//!
//! A real number is `(q - zero_point) * scale`. Quotients and products are computed in f32, rounded half to even and saturated. What is known is
//! computed here, so that quantized weights reach contractions as constants. Integers of 2 and 4 bits, and floats of 4 to 8, go in and out of
//! QuantizeLinear and DequantizeLinear alone.

use super::{
    OpResult, Row,
    cast::{Rounding, float_codes},
    conv, linear, row,
};
use crate::{
    constants::{ConstantType, Scalar, Source},
    import::{
        error::Failure,
        narrow::ModelType,
        node::{NodeContext, normalize_axis},
        value::{Data, Tensor},
    },
};
use winze_graph::{
    dialect::{Add, And, Div, Eq, Logistic, Lt, Maximum, Minimum, Mul, Round, Shr, Sub},
    dim::Dim,
    types::{Class, ElementType},
};

pub const OPS: &[Row] = &[
    row("QuantizeLinear", quantize_linear),
    row("DequantizeLinear", dequantize_linear),
    row("DynamicQuantizeLinear", dynamic_quantize_linear),
    row("MatMulInteger", matmul_integer),
    row("ConvInteger", conv_integer),
    row("QLinearMatMul", qlinear_matmul),
    row("QLinearConv", qlinear_conv),
];

pub const CONTRIB_OPS: &[Row] = &[
    row("DynamicQuantizeMatMul", |cx| {
        let (x, weights, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.optional(3));
        let y = dynamic_product(cx, &x, (&weights, &scale, zero.as_ref()))?;
        with_bias(cx, y, 4)
    }),
    row("MatMulIntegerToFloat", |cx| {
        let (operands, zeros) = ([cx.input(0)?, cx.input(1)?], [cx.optional(4), cx.optional(5)]);
        check_quantized(&operands)?;
        let sum = integer_product(cx, operands, zeros)?;
        let scales = [cx.input(2)?, cx.input(3)?];
        let y = scaled_product(cx, &sum, [&scales[0], &scales[1]])?;
        with_bias(cx, y, 6)
    }),
    row("QGemm", qgemm),
    row("QLinearAdd", |cx| {
        let (a, b) = (dequantized(cx, 0)?, dequantized(cx, 3)?);
        let y = cx.binary(Add::create, &a, &b)?;
        requantized(cx, &y, 6)
    }),
    row("QLinearMul", |cx| {
        let (a, b) = (dequantized(cx, 0)?, dequantized(cx, 3)?);
        let y = cx.binary(Mul::create, &a, &b)?;
        requantized(cx, &y, 6)
    }),
    row("QLinearSigmoid", |cx| {
        let x = dequantized(cx, 0)?;
        let y = cx.unary(Logistic::create, &x)?;
        requantized(cx, &y, 3)
    }),
    row("QLinearLeakyRelu", |cx| {
        let x = dequantized(cx, 0)?;
        let below = cx.float_or("alpha", 0.01)?;
        let below = cx.binary_scalar(Mul::create, &x, below)?;
        let zero = cx.scalar(ElementType::F32, 0.0)?;
        let negative = cx.compare(Lt::create, &x, &zero)?;
        let y = cx.select(&negative, &below, &x)?;
        requantized(cx, &y, 3)
    }),
    row("QLinearGlobalAveragePool", |cx| {
        if cx.int_or("channels_last", 0)? != 0 {
            return Ok(Failure::unsupported("channels behind the image")?);
        }
        let x = dequantized(cx, 0)?;
        let axes: Vec<usize> = (2..x.rank()).collect();
        let mean = cx.mean(&x, &axes)?;
        let dims = x.dims().iter().enumerate().map(|(axis, dim)| if axis < 2 { dim.clone() } else { Dim::from(1) }).collect();
        let mean = cx.reshape(&mean, dims)?;
        requantized(cx, &mean, 3)
    }),
    row("QLinearConcat", |cx| {
        let count = cx.node.input.len();
        if count < 5 || (count - 2) % 3 != 0 {
            return Ok(Failure::invalid("inputs that are no triples of a tensor, its scale and its zero point")?);
        }
        let parts = (2..count).step_by(3).map(|i| dequantized(cx, i)).collect::<Result<Vec<_>, _>>()?;
        let axis = normalize_axis(cx.int_or("axis", 0)?, parts[0].rank())?;
        let y = cx.concat(&parts, axis)?;
        requantized(cx, &y, 0)
    }),
    row("MatMulNBits", matmul_bits),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// How the elements of a scale or zero point belong to those of a tensor.
enum Granularity {
    Tensor,
    Axis(usize),
    /// One per so many elements along an axis; the last block may be short.
    Block(usize, i64),
}

impl Granularity {
    fn of(cx: &Cx, x: &Tensor, scale: &Tensor) -> Result<Self, Failure> {
        let (axis, block) = (cx.int_since(13, "axis", 1)?, cx.int_since(21, "block_size", 0)?);
        if scale.r#type.count().as_static() == Some(1) && scale.rank() <= 1 {
            return Ok(Self::Tensor);
        }
        let axis = normalize_axis(axis, x.rank())?;
        let fits = |axis: usize, extent: &Dim| *extent == x.dims()[axis];
        if block == 0 {
            return if scale.rank() == 1 && fits(axis, &scale.dims()[0]) {
                Ok(Self::Axis(axis))
            } else {
                Failure::invalid(format!("a scale of shape {:?} for axis {axis} of {:?}", scale.dims(), x.dims()))
            };
        }
        let (Some(extent), Some(blocks)) = (x.extent(axis), scale.rank().eq(&x.rank()).then(|| scale.extent(axis)).flatten()) else {
            return Failure::unsupported("blocks along a symbolic axis");
        };
        let others = (0..x.rank()).all(|other| other == axis || fits(other, &scale.dims()[other]));
        if block < 1 || !others || (extent as u64).div_ceil(block as u64) != blocks as u64 {
            return Failure::invalid(format!(
                "a scale of shape {:?} for blocks of {block} along axis {axis} of {:?}",
                scale.dims(),
                x.dims()
            ));
        }
        Ok(Self::Block(axis, block))
    }

    /// Position of the parameter that belongs to element `i` of a tensor of this shape.
    fn position(&self, shape: &[i64], i: usize) -> usize {
        let inner = |axis: usize| shape[axis + 1..].iter().product::<i64>() as usize;
        match *self {
            Self::Tensor => 0,
            Self::Axis(axis) => i / inner(axis) % shape[axis] as usize,
            Self::Block(axis, block) => {
                let (inner, extent) = (inner(axis), shape[axis] as usize);
                let (outer, along, rest) = (i / inner / extent, i / inner % extent, i % inner);
                (outer * extent.div_ceil(block as usize) + along / block as usize) * inner + rest
            }
        }
    }

    /// A parameter, repeated for each element of the tensor.
    fn spread<'c, 'a>(
        &self,
        cx: &mut Cx<'_, '_, 'c, 'a>,
        parameter: &Tensor<'c, 'a>,
        x: &Tensor<'c, 'a>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        match *self {
            Self::Tensor => {
                let scalar = cx.reshape(parameter, vec![])?;
                cx.broadcast_to(&scalar, x.dims())
            }
            Self::Axis(axis) => cx.broadcast_along(parameter, &[axis], x.dims()),
            Self::Block(axis, block) => {
                let mut dims = parameter.dims().to_vec();
                dims.insert(axis + 1, Dim::from(block));
                let axes: Vec<usize> = (0..dims.len()).filter(|i| *i != axis + 1).collect();
                let repeated = cx.broadcast_along(parameter, &axes, &dims)?;
                dims.remove(axis + 1);
                dims[axis] = &dims[axis] * &Dim::from(block);
                let joined = cx.reshape(&repeated, dims)?;
                let Some(extent) = x.extent(axis) else { return Failure::unsupported("blocks along a symbolic axis") };
                if joined.extent(axis) == Some(extent) { Ok(joined) } else { cx.slice_axis(&joined, axis, 0, extent) }
            }
        }
    }
}

/// Elements of a constant; of floats of few bits, their codes.
fn known(cx: &Cx, tensor: &Tensor) -> Option<Vec<Scalar>> {
    match &tensor.data {
        Data::Constant(id) => {
            let bytes = cx.importer.store.read(id).ok()?;
            Some(bytes.chunks_exact(tensor.element().bytes()).map(|bytes| Scalar::read(tensor.element(), bytes)).collect())
        }
        Data::Integers(items) => items.iter().map(|item| item.as_static().map(Scalar::Signed)).collect(),
        _ => None,
    }
}

/// Adds a constant of the shape of `x`.
fn constant<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor,
    element: ElementType,
    items: impl Iterator<Item = Scalar>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let mut bytes = vec![];
    items.for_each(|item| item.write(element, &mut bytes));
    let Some(shape) = x.r#type.static_shape() else { return Failure::invalid("a constant of symbolic shape") };
    let id = cx.importer.store.add(cx.name, ConstantType::new(element, shape), Source::Inline(bytes));
    let id = id.map_err(|error| Failure::Invalid(error.to_string()))?;
    Ok(Tensor::new(x.r#type.with_element(element), Data::Constant(id)))
}

/// Scale, zero point and the way they belong to `x`.
struct Parameters<'c, 'a> {
    scale: Tensor<'c, 'a>,
    zero: Option<Tensor<'c, 'a>>,
    granularity: Granularity,
}

impl<'c, 'a> Parameters<'c, 'a> {
    /// From inputs 1 and 2.
    fn of(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Self, Failure> {
        let (scale, zero) = (cx.numbers(&cx.input(1)?)?, cx.optional(2));
        if let Some(zero) = &zero
            && zero.r#type.count() != scale.r#type.count()
        {
            return Failure::invalid(format!("a scale of shape {:?} and a zero point of shape {:?}", scale.dims(), zero.dims()));
        }
        let granularity = Granularity::of(cx, x, &scale)?;
        Ok(Self { scale, zero, granularity })
    }

    /// Zero point and scale per element of `x`, if both are known.
    #[allow(clippy::type_complexity)]
    fn known(&self, cx: &Cx, x: &Tensor) -> Option<(Vec<Scalar>, Option<Vec<Scalar>>, Vec<i64>)> {
        let zero = match &self.zero {
            Some(zero) => Some(known(cx, zero)?),
            None => None,
        };
        Some((known(cx, &self.scale)?, zero, x.r#type.static_shape()?))
    }
}

fn is_quantized(element: ElementType) -> bool {
    !element.is_float() && element != ElementType::Bool && element.bits() <= 16
}

fn output_type(cx: &Cx, default: ModelType) -> Result<ModelType, Failure> {
    match cx.int_since(21, "output_dtype", 0)? {
        0 => Ok(default),
        number => ModelType::of_number(i32::try_from(number).unwrap_or(-1)),
    }
}

fn quantize_linear<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let parameters = Parameters::of(cx, &x)?;
    let to = output_type(cx, parameters.zero.as_ref().map_or(ElementType::U8.into(), Tensor::model_type))?;
    if parameters.zero.as_ref().is_some_and(|zero| zero.model_type() != to) {
        return Ok(Failure::invalid(format!("an output_dtype of {to} and a zero point of another type"))?);
    }
    // Quotients are f32 or what is asked for.
    cx.ignore(&["precision"]);
    let (rounding, element) = (Rounding::of(cx)?, to.element);
    if !is_quantized(element) {
        return Ok(Failure::invalid(format!("a quantized type of {to}"))?);
    }
    if to.narrow.is_none()
        && let (Some(items), Some((scales, zeros, shape))) = (known(cx, &x), parameters.known(cx, &x))
    {
        let quantized = items.into_iter().enumerate().map(|(i, x)| {
            let at = parameters.granularity.position(&shape, i);
            let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[at].to_f64() as f32);
            Scalar::Float(((x.to_f64() as f32 / scales[at].to_f64() as f32).round_ties_even() + zero).into())
        });
        return Ok(vec![constant(cx, &x, element, quantized)?]);
    }
    let wide = cx.convert(&x, ElementType::F32)?;
    let scale = cx.convert(&parameters.scale, ElementType::F32)?;
    let scale = parameters.granularity.spread(cx, &scale, &x)?;
    let quotient = cx.binary(Div::create, &wide, &scale)?;
    let zero = match parameters.zero.filter(|zero| !is_zero(cx, zero)) {
        Some(zero) => {
            let zero = cx.numbers(&zero)?;
            let zero = cx.convert(&zero, ElementType::F32)?;
            Some(parameters.granularity.spread(cx, &zero, &x)?)
        }
        None => None,
    };
    Ok(vec![match to.narrow {
        Some(narrow) if narrow.is_float() => {
            let shifted = with_zero(cx, quotient, zero.as_ref())?;
            float_codes(cx, &shifted, narrow, &rounding)?
        }
        Some(narrow) => {
            let rounded = cx.unary(Round::create, &quotient)?;
            let shifted = with_zero(cx, rounded, zero.as_ref())?;
            let [low, high] = narrow.range();
            let above = cx.binary_scalar(Maximum::create, &shifted, low)?;
            let within = cx.binary_scalar(Minimum::create, &above, high)?;
            Tensor { narrow: to.narrow, ..cx.convert(&within, element)? }
        }
        None => round_to(cx, &quotient, zero.as_ref(), element)?,
    }])
}

fn with_zero<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: Tensor<'c, 'a>, zero: Option<&Tensor<'c, 'a>>) -> Result<Tensor<'c, 'a>, Failure> {
    match zero {
        Some(zero) => cx.binary(Add::create, &x, zero),
        None => Ok(x),
    }
}

/// Rounds half to even, adds the zero point, saturates.
fn round_to<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    zero: Option<&Tensor<'c, 'a>>,
    element: ElementType,
) -> Result<Tensor<'c, 'a>, Failure> {
    let rounded = cx.unary(Round::create, x)?;
    let shifted = with_zero(cx, rounded, zero)?;
    cx.convert(&shifted, element)
}

fn dequantize_linear<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let parameters = Parameters::of(cx, &x)?;
    let to = output_type(cx, parameters.scale.element().into())?;
    if (!is_quantized(x.element()) && x.element() != ElementType::I32) || !to.element.is_float() {
        return Ok(Failure::invalid(format!("dequantizing {} to {to}", x.model_type()))?);
    }
    if let Some(zero) = parameters.zero.as_ref().filter(|zero| zero.narrow != x.narrow) {
        return Ok(Failure::invalid(format!("a tensor of {} and a zero point of {}", x.model_type(), zero.model_type()))?);
    }
    let difference = shifted(cx, &x, parameters.zero.as_ref(), &parameters.granularity)?;
    let wide = cx.convert(&difference, ElementType::F32)?;
    let scale = cx.convert(&parameters.scale, ElementType::F32)?;
    let scale = parameters.granularity.spread(cx, &scale, &x)?;
    let y = cx.binary(Mul::create, &wide, &scale)?;
    Ok(vec![cx.convert(&y, to.element)?])
}

/// Whether all elements are known to be 0.
fn is_zero(cx: &Cx, zero: &Tensor) -> bool {
    known(cx, zero).is_some_and(|zeros| zeros.iter().all(|zero| zero.to_i64() == Some(0)))
}

/// `x - zero` in i32, of floats of few bits in f32.
fn shifted<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    zero: Option<&Tensor<'c, 'a>>,
    granularity: &Granularity,
) -> Result<Tensor<'c, 'a>, Failure> {
    let x = &cx.numbers(x)?;
    let element = if x.element().is_float() { ElementType::F32 } else { ElementType::I32 };
    let wide = cx.convert(x, element)?;
    let Some(zero) = zero.filter(|zero| !is_zero(cx, zero)) else { return Ok(wide) };
    let zero = cx.numbers(zero)?;
    let zero = cx.convert(&zero, element)?;
    let zero = granularity.spread(cx, &zero, x)?;
    cx.binary(Sub::create, &wide, &zero)
}

fn dynamic_quantize_linear<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    Ok(dynamically_quantized(cx, &x)?.into())
}

/// A tensor in bytes over the range of its values and 0, scale and zero point.
fn dynamically_quantized<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<[Tensor<'c, 'a>; 3], Failure> {
    let axes: Vec<usize> = (0..x.rank()).collect();
    let (low, high) = (cx.reduce("min", x, &axes)?, cx.reduce("max", x, &axes)?);
    let (low, high) = (cx.binary_scalar(Minimum::create, &low, 0.0)?, cx.binary_scalar(Maximum::create, &high, 0.0)?);
    let range = cx.binary(Sub::create, &high, &low)?;
    let steps = cx.binary_scalar(Div::create, &range, 255.0)?;
    // Nothing but zeros has the scale 1, as in ONNX Runtime.
    let (empty, one) = (cx.scalar(x.element(), 0.0)?, cx.scalar(x.element(), 1.0)?);
    let empty = cx.compare(Eq::create, &range, &empty)?;
    let scale = cx.select(&empty, &one, &steps)?;
    let lowest = cx.binary(Div::create, &low, &scale)?;
    let zero = cx.scalar(x.element(), 0.0)?;
    let zero = cx.binary(Sub::create, &zero, &lowest)?;
    let zero = round_to(cx, &zero, None, ElementType::U8)?;
    let along = cx.broadcast_to(&scale, x.dims())?;
    let quotient = cx.binary(Div::create, x, &along)?;
    let shift = cx.convert(&zero, x.element())?;
    let y = round_to(cx, &quotient, Some(&shift), ElementType::U8)?;
    Ok([y, scale, zero])
}

/// The product of rows, quantized together, with a matrix of bytes: values, scale and zero point, which are one or one per column.
pub fn dynamic_product<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    (values, scale, zero): (&Tensor<'c, 'a>, &Tensor<'c, 'a>, Option<&Tensor<'c, 'a>>),
) -> Result<Tensor<'c, 'a>, Failure> {
    let [rows, row_scale, row_zero] = dynamically_quantized(cx, x)?;
    let operands = [rows, values.clone()];
    check_quantized(&operands)?;
    let sum = integer_product(cx, operands, [Some(row_zero), zero.cloned()])?;
    scaled_product(cx, &sum, [&row_scale, scale])
}

/// A product of integers in the numbers that they stand for; scales are one, or one per column.
fn scaled_product<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    sum: &Tensor<'c, 'a>,
    scales: [&Tensor<'c, 'a>; 2],
) -> Result<Tensor<'c, 'a>, Failure> {
    let [a, b] = scales.map(|scale| match scale.r#type.count().as_static() {
        Some(1) => cx.reshape(scale, vec![]),
        _ => Ok(scale.clone()),
    });
    let scale = cx.binary(Mul::create, &a?, &b?)?;
    let wide = cx.convert(sum, ElementType::F32)?;
    cx.binary(Mul::create, &wide, &scale)
}

fn with_bias<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, y: Tensor<'c, 'a>, input: usize) -> OpResult<'c, 'a> {
    Ok(vec![match cx.optional(input) {
        Some(bias) => cx.binary(Add::create, &y, &bias)?,
        None => y,
    }])
}

/// Input `i` in the numbers that it stands for; its scale and zero point follow it.
fn dequantized<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, i: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let x = cx.input(i)?;
    check_quantized(std::slice::from_ref(&x))?;
    let difference = shifted(cx, &x, cx.optional(i + 2).as_ref(), &Granularity::Tensor)?;
    let (wide, scale) = (cx.convert(&difference, ElementType::F32)?, cx.input(i + 1)?);
    let scale = Granularity::Tensor.spread(cx, &scale, &x)?;
    cx.binary(Mul::create, &wide, &scale)
}

/// Numbers in the bytes that input `i`, a scale, and the zero point behind it say.
fn requantized<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, y: &Tensor<'c, 'a>, i: usize) -> OpResult<'c, 'a> {
    let (scale, zero) = (cx.input(i)?, cx.optional(i + 1));
    let scale = Granularity::Tensor.spread(cx, &scale, y)?;
    let quotient = cx.binary(Div::create, y, &scale)?;
    let element = zero.as_ref().map_or(ElementType::U8, Tensor::element);
    let zero = match zero {
        Some(zero) => {
            let zero = cx.convert(&zero, ElementType::F32)?;
            Some(Granularity::Tensor.spread(cx, &zero, y)?)
        }
        None => None,
    };
    Ok(vec![round_to(cx, &quotient, zero.as_ref(), element)?])
}

fn qgemm<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut operands = [cx.input(0)?, cx.input(3)?];
    check_quantized(&operands)?;
    for (x, name) in operands.iter_mut().zip(["transA", "transB"]) {
        if cx.int_or(name, 0)? != 0 {
            *x = cx.transpose(x, vec![1, 0])?;
        }
    }
    let mut sum = integer_product(cx, operands, [cx.optional(2), cx.optional(5)])?;
    if let Some(bias) = cx.optional(6) {
        sum = cx.binary(Add::create, &sum, &bias)?;
    }
    let scales = [cx.input(1)?, cx.input(4)?];
    let mut y = scaled_product(cx, &sum, [&scales[0], &scales[1]])?;
    let alpha = cx.float_or("alpha", 1.0)?;
    if alpha != 1.0 {
        y = cx.binary_scalar(Mul::create, &y, alpha)?;
    }
    if cx.optional(7).is_none() { Ok(vec![y]) } else { requantized(cx, &y, 7) }
}

/// A zero point of a matrix product: one, or one per row (`from_end` 2) or column (`from_end` 1) of the last two axes.
fn matrix_zero<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    zero: Option<Tensor<'c, 'a>>,
    from_end: usize,
) -> Result<Tensor<'c, 'a>, Failure> {
    let Some(mut zero) = zero else { return shifted(cx, x, None, &Granularity::Tensor) };
    if zero.r#type.count().as_static() == Some(1) {
        zero = cx.reshape(&zero, vec![])?;
        return shifted(cx, x, Some(&zero), &Granularity::Tensor);
    }
    if zero.rank() == 1 && x.rank() >= from_end {
        return shifted(cx, x, Some(&zero), &Granularity::Axis(x.rank() - from_end));
    }
    let (wide, zero) = (cx.convert(x, ElementType::I32)?, cx.convert(&zero, ElementType::I32)?);
    cx.binary(Sub::create, &wide, &zero)
}

/// The product of two quantized matrices, less their zero points, in i32.
fn integer_product<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    [a, b]: [Tensor<'c, 'a>; 2],
    [a_zero, b_zero]: [Option<Tensor<'c, 'a>>; 2],
) -> Result<Tensor<'c, 'a>, Failure> {
    let a = matrix_zero(cx, &a, a_zero, 2)?;
    let b = matrix_zero(cx, &b, b_zero, 1)?;
    linear::product(cx, &a, &b)
}

fn matmul_integer<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (operands, zeros) = ([cx.input(0)?, cx.input(1)?], [cx.optional(2), cx.optional(3)]);
    check_quantized(&operands)?;
    Ok(vec![integer_product(cx, operands, zeros)?])
}

fn check_quantized(operands: &[Tensor]) -> Result<(), Failure> {
    match operands.iter().find(|x| x.element().bits() != 8 || matches!(x.element().class(), Class::Float | Class::Bool)) {
        Some(x) => Failure::invalid(format!("an operand of {}; 8-bit integers are needed", x.element())),
        None => Ok(()),
    }
}

/// The convolution of an input with a filter, less their zero points, in i32. The padding is the zero point.
fn integer_convolution<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    [x, filter]: [Tensor<'c, 'a>; 2],
    [x_zero, filter_zero]: [Option<Tensor<'c, 'a>>; 2],
) -> Result<Tensor<'c, 'a>, Failure> {
    let per_output = |zero: &Option<Tensor>| zero.as_ref().is_some_and(|zero| zero.r#type.count().as_static() != Some(1));
    let granularity = if per_output(&filter_zero) { Granularity::Axis(0) } else { Granularity::Tensor };
    let x = shifted(cx, &x, x_zero.as_ref(), &Granularity::Tensor)?;
    let filter = shifted(cx, &filter, filter_zero.as_ref(), &granularity)?;
    conv::convolution(cx, &x, &filter)
}

fn conv_integer<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (operands, zeros) = ([cx.input(0)?, cx.input(1)?], [cx.optional(2), cx.optional(3)]);
    check_quantized(&operands)?;
    Ok(vec![integer_convolution(cx, operands, zeros)?])
}

/// Brings an i32 accumulator to the scale of the result. Scales of the operands have one element, or one per index of an axis of the result.
fn requantize<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    sum: &Tensor<'c, 'a>,
    operands: [(Tensor<'c, 'a>, usize); 2],
    (scale, zero): (Tensor<'c, 'a>, Tensor<'c, 'a>),
) -> Result<Tensor<'c, 'a>, Failure> {
    let mut spread = |scale: &Tensor<'c, 'a>, axis: usize| -> Result<Tensor<'c, 'a>, Failure> {
        let scale = cx.convert(scale, ElementType::F32)?;
        let granularity = match scale.rank() {
            _ if scale.r#type.count().as_static() == Some(1) => Granularity::Tensor,
            1 => Granularity::Axis(axis),
            _ => return cx.broadcast_to(&scale, sum.dims()),
        };
        granularity.spread(cx, &scale, sum)
    };
    let [a, b] = operands;
    let (a, b, y) = (spread(&a.0, a.1)?, spread(&b.0, b.1)?, spread(&scale, 0)?);
    let product = cx.binary(Mul::create, &a, &b)?;
    let factor = cx.binary(Div::create, &product, &y)?;
    let wide = cx.convert(sum, ElementType::F32)?;
    let scaled = cx.binary(Mul::create, &wide, &factor)?;
    let element = zero.element();
    let zero = cx.convert(&zero, ElementType::F32)?;
    let zero = Granularity::Tensor.spread(cx, &zero, sum)?;
    round_to(cx, &scaled, Some(&zero), element)
}

fn qlinear_matmul<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let operands = [cx.input(0)?, cx.input(3)?];
    check_quantized(&operands)?;
    let sum = integer_product(cx, operands, [cx.optional(2), cx.optional(5)])?;
    let (rows, columns) = (sum.rank().saturating_sub(2), sum.rank().saturating_sub(1));
    let scales = [(cx.input(1)?, rows), (cx.input(4)?, columns)];
    let result = (cx.input(6)?, cx.input(7)?);
    Ok(vec![requantize(cx, &sum, scales, result)?])
}

fn qlinear_conv<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let operands = [cx.input(0)?, cx.input(3)?];
    check_quantized(&operands)?;
    let mut sum = integer_convolution(cx, operands, [cx.optional(2), cx.optional(5)])?;
    if let Some(bias) = cx.optional(8) {
        let bias = cx.broadcast_along(&bias, &[1], sum.dims())?;
        sum = cx.binary(Add::create, &sum, &bias)?;
    }
    let scales = [(cx.input(1)?, 1), (cx.input(4)?, 1)];
    let result = (cx.input(6)?, cx.input(7)?);
    Ok(vec![requantize(cx, &sum, scales, result)?])
}

/// Elements of less than a byte, the lowest bits first, along the last axis, which becomes so many times longer.
fn unpacked<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, bits: i64) -> Result<Tensor<'c, 'a>, Failure> {
    let per_byte = 8 / bits;
    if per_byte == 1 {
        return Ok(x.clone());
    }
    let apart = [x.dims(), &[Dim::from(1)]].concat();
    let mut parts = vec![];
    for part in 0..per_byte {
        let shifted = cx.binary_scalar(Shr::create, x, (part * bits) as f64)?;
        let kept = cx.binary_scalar(And::create, &shifted, ((1 << bits) - 1) as f64)?;
        parts.push(cx.reshape(&kept, apart.clone())?);
    }
    let joined = cx.concat(&parts, x.rank())?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = &*last * &Dim::from(per_byte);
    }
    cx.reshape(&joined, dims)
}

/// The product with a matrix of 2, 4 or 8 bits, [N, blocks, bytes of a block], each block of a column with its own scale and zero point.
fn matmul_bits<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, weights, scales) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (depth, width) = (cx.int_or("K", 0)?, cx.int_or("N", 0)?);
    let (bits, block) = (cx.int_or("bits", 4)?, cx.int_or("block_size", 0)?);
    // How exact sums have to be at least.
    cx.ignore(&["accuracy_level"]);
    if cx.optional(4).is_some() {
        return Ok(Failure::unsupported("rows of weights in another order (g_idx)")?);
    }
    if ![2, 4, 8].contains(&bits) || block < 8 || !(1..1 << 31).contains(&depth) || !(1..1 << 31).contains(&width) || block > 1 << 20 {
        return Ok(Failure::invalid(format!("K {depth}, N {width}, {bits} bits in blocks of {block}"))?);
    }
    let blocks = (depth as u64).div_ceil(block as u64) as i64;
    let fixed = |dims: &[i64]| dims.iter().copied().map(Dim::from).collect::<Vec<_>>();
    let weights = cx.with_dims(&weights, fixed(&[width, blocks, block * bits / 8]), "weights of so many blocks")?;
    let weights = unpacked(cx, &weights, bits)?;
    let element = super::sample::computed(&[x.element()]);
    let weights = cx.convert(&weights, element)?;
    let per_block = fixed(&[width, blocks, 1]);
    let zero = match cx.optional(3) {
        // Bits are packed along the blocks of a column, which begins with a byte.
        Some(zero) if zero.element() == ElementType::U8 => {
            let bytes = (blocks * bits).div_euclid(8) + i64::from((blocks * bits) % 8 != 0);
            let zero = cx.reshape(&zero, fixed(&[width, bytes]))?;
            let zero = unpacked(cx, &zero, bits)?;
            let zero = cx.slice_axis(&zero, 1, 0, blocks)?;
            cx.reshape(&zero, per_block.clone())?
        }
        Some(zero) => cx.reshape(&zero, per_block.clone())?,
        None => cx.scalar(element, (1 << (bits - 1)) as f64)?,
    };
    let (zero, scales) = (cx.convert(&zero, element)?, cx.convert(&scales, element)?);
    let scales = cx.reshape(&scales, per_block)?;
    let moved = cx.binary(Sub::create, &weights, &zero)?;
    let scaled = cx.binary(Mul::create, &moved, &scales)?;
    let columns = cx.reshape(&scaled, fixed(&[width, blocks * block]))?;
    let columns = cx.slice_axis(&columns, 1, 0, depth)?;
    let rows = cx.transpose(&columns, vec![1, 0])?;
    let wide = cx.convert(&x, element)?;
    let mut y = super::linear::product(cx, &wide, &rows)?;
    if let Some(bias) = cx.optional(5) {
        let bias = cx.convert(&bias, element)?;
        y = cx.binary(Add::create, &y, &bias)?;
    }
    Ok(vec![cx.convert(&y, x.element())?])
}
