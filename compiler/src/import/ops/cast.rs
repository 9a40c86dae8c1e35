//! Cast, CastLike, BitCast: one element type to another, also to and from those that the graph dialect lacks.

use super::{OpResult, Row, order::bitcast, row};
use crate::import::{
    error::Failure,
    narrow::{FloatFormat, ModelType, Narrow, NarrowForm, Specials},
    node::NodeContext,
    value::Tensor,
};
use winze_graph::{
    dialect::{Add, And, Eq, Gt, Le, Lt, Minimum, Mul, Ne, Neg, Or, Round, Shl, Shr, Sub},
    types::{Class, ElementType},
};

pub const OPS: &[Row] = &[row("Cast", cast), row("CastLike", cast_like), row("BitCast", bit_cast)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// What becomes of numbers that a float of few bits does not hold.
pub struct Rounding {
    /// Those beyond the largest become that, not infinity or NaN.
    saturate: bool,
    /// Of powers of two: up, down or nearest.
    mode: String,
}

impl Rounding {
    /// As a node says.
    pub fn of(cx: &Cx) -> Result<Self, Failure> {
        Ok(Self { saturate: cx.int_or("saturate", 1)? != 0, mode: cx.string_or("round_mode", "up")? })
    }
}

fn cast<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let Some(to) = cx.int("to")? else { return Ok(Failure::unsupported("a target type written as text")?) };
    let to = ModelType::of_number(i32::try_from(to).unwrap_or(-1))?;
    let rounding = Rounding::of(cx)?;
    Ok(vec![cast_to(cx, &x, to, &rounding)?])
}

fn cast_like<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, like) = (cx.input(0)?, cx.input(1)?);
    let rounding = Rounding::of(cx)?;
    Ok(vec![cast_to(cx, &x, like.model_type(), &rounding)?])
}

/// A bool is the byte 0 or 1.
fn bit_cast<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let to = ModelType::of_number(i32::try_from(cx.int_or("to", 0)?).unwrap_or(-1))?;
    let storage = |element: ElementType| if element == ElementType::Bool { ElementType::U8 } else { element };
    let width = |r#type: ModelType| r#type.narrow.map_or(storage(r#type.element).bits(), |narrow| narrow.bits);
    if width(to) != width(x.model_type()) {
        return Ok(Failure::invalid(format!("bits of {} as {to}, which is of another width", x.model_type()))?);
    }
    let stored = storage(x.element());
    let x = cx.convert(&Tensor { narrow: None, ..x }, stored)?;
    let y = if x.element() == storage(to.element) { x } else { bitcast(cx, &x, storage(to.element))? };
    if let Some(narrow) = to.narrow.filter(|narrow| narrow.bits < 8) {
        return Ok(vec![lowest_bits(cx, &y, narrow)?]);
    }
    Ok(vec![Tensor { narrow: to.narrow, ..cx.convert(&y, to.element)? }])
}

fn cast_to<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, to: ModelType, rounding: &Rounding) -> Result<Tensor<'c, 'a>, Failure> {
    if x.model_type() == to {
        return Ok(x.clone());
    }
    let x = cx.numbers(x)?;
    match to.narrow {
        Some(narrow) if narrow.is_float() => float_codes(cx, &x, narrow, rounding),
        Some(narrow) => lowest_bits(cx, &x, narrow),
        // Floats become unsigned through i64, so that negative ones wrap as they do in C.
        None if x.element().is_float() && to.element.class() == Class::Unsigned && to.element != ElementType::U64 => {
            let signed = cx.convert(&x, ElementType::I64)?;
            cx.convert(&signed, to.element)
        }
        None => cx.convert(&x, to.element),
    }
}

/// The lowest bits of integers (of floats: of what is before the point) as another type. Of floats, codes.
fn lowest_bits<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, narrow: &'static Narrow) -> Result<Tensor<'c, 'a>, Failure> {
    let wide = cx.convert(x, ElementType::I32)?;
    let low = if narrow.form == NarrowForm::Signed {
        let above = f64::from(32 - narrow.bits);
        let top = cx.binary_scalar(Shl::create, &wide, above)?;
        cx.binary_scalar(Shr::create, &top, above)?
    } else {
        cx.binary_scalar(And::create, &wide, f64::from((1u32 << narrow.bits) - 1))?
    };
    Ok(Tensor { narrow: Some(narrow), ..cx.convert(&low, narrow.storage())? })
}

/// Numbers as floats of few bits. They are rounded to f32 first, where they are not exact in it.
pub fn float_codes<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    narrow: &'static Narrow,
    rounding: &Rounding,
) -> Result<Tensor<'c, 'a>, Failure> {
    let x = cx.convert(x, ElementType::F32)?;
    let bits = bitcast(cx, &x, ElementType::U32)?;
    let magnitude = cx.binary_scalar(And::create, &bits, f64::from(u32::MAX >> 1))?;
    let codes = match narrow.form {
        NarrowForm::Float(format) => encoded(cx, [&bits, &magnitude], &format, rounding.saturate)?,
        NarrowForm::Exponent => encoded_exponent(cx, &magnitude, rounding)?,
        NarrowForm::Signed | NarrowForm::Unsigned => return Failure::invalid(format!("floats as {}", narrow.name)),
    };
    Ok(Tensor { narrow: Some(narrow), ..cx.convert(&codes, ElementType::U8)? })
}

/// Bits of infinity in f32; NaN has a greater magnitude.
const INFINITY: u32 = f32::INFINITY.to_bits();

/// `a` where the bits `x` compare as said with `limit`, else `b`.
fn choose<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    (x, compare, limit): (&Tensor<'c, 'a>, crate::import::node::Compare<'c>, u32),
    a: &Tensor<'c, 'a>,
    b: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let limit = cx.scalar(ElementType::U32, f64::from(limit))?;
    let holds = cx.compare(compare, x, &limit)?;
    cx.select(&holds, a, b)
}

fn number<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, value: u32) -> Result<Tensor<'c, 'a>, Failure> {
    cx.scalar(ElementType::U32, f64::from(value))
}

/// Codes (u32) of f32 numbers, from their bits and those without the sign; rounded half to even.
fn encoded<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    [bits, magnitude]: [&Tensor<'c, 'a>; 2],
    format: &FloatFormat,
    saturate: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    let dropped = 23 - format.mantissa;
    let kept = cx.binary_scalar(Shr::create, magnitude, f64::from(dropped))?;
    let odd = cx.binary_scalar(And::create, &kept, 1.0)?;
    let rounded = cx.binary_scalar(Add::create, magnitude, f64::from((1u32 << (dropped - 1)) - 1))?;
    let rounded = cx.binary(Add::create, &rounded, &odd)?;
    let rounded = cx.binary_scalar(Shr::create, &rounded, f64::from(dropped))?;
    let normal = cx.binary_scalar(Sub::create, &rounded, f64::from((127 - format.bias) << format.mantissa))?;
    // Below the least normal number, codes count steps of one size.
    let absolute = bitcast(cx, magnitude, ElementType::F32)?;
    let steps = cx.binary_scalar(Mul::create, &absolute, f64::from(format.bias + format.mantissa - 1).exp2())?;
    let steps = cx.unary(Round::create, &steps)?;
    let small = cx.convert(&steps, ElementType::U32)?;
    let code = choose(cx, (magnitude, Lt::create, (128 - format.bias) << 23), &small, &normal)?;
    let beyond = number(cx, if saturate { format.largest() } else { format.beyond() })?;
    let code = choose(cx, (&code, Gt::create, format.largest()), &beyond, &code)?;
    let nan = number(cx, format.nan())?;
    let code = choose(cx, (magnitude, Gt::create, INFINITY), &nan, &code)?;
    let sign = cx.binary_scalar(Shr::create, bits, 31.0)?;
    let sign = cx.binary_scalar(Shl::create, &sign, f64::from(format.sign()))?;
    let signed = cx.binary(Or::create, &code, &sign)?;
    if format.specials == Specials::NanForNegativeZero { choose(cx, (&code, Eq::create, 0), &code, &signed) } else { Ok(signed) }
}

/// Codes (u32) of powers of two; the sign counts for nothing.
fn encoded_exponent<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    magnitude: &Tensor<'c, 'a>,
    rounding: &Rounding,
) -> Result<Tensor<'c, 'a>, Failure> {
    let carry: u32 = match rounding.mode.as_str() {
        "up" => (1 << 23) - 1,
        // Halfway, up.
        "nearest" => 1 << 22,
        "down" => 0,
        other => return Failure::invalid(format!("round_mode `{other}`")),
    };
    let rounded = cx.binary_scalar(Add::create, magnitude, f64::from(carry))?;
    let rounded = cx.binary_scalar(Shr::create, &rounded, 23.0)?;
    // The least power, which has no exponent of its own in f32.
    const LEAST: u32 = 1 << 22;
    let (least, nan) = (number(cx, 0)?, number(cx, 255)?);
    let code = choose(cx, (magnitude, Le::create, LEAST), &least, &rounded)?;
    let code = if rounding.saturate {
        cx.binary_scalar(Minimum::create, &code, 254.0)?
    } else {
        choose(cx, (magnitude, Lt::create, LEAST), &nan, &code)?
    };
    choose(cx, (magnitude, Gt::create, INFINITY), &nan, &code)
}

/// f32 numbers of codes.
fn decoded<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, format: &FloatFormat) -> Result<Tensor<'c, 'a>, Failure> {
    let code = cx.convert(x, ElementType::U32)?;
    let magnitude = cx.binary_scalar(And::create, &code, f64::from((1u32 << format.sign()) - 1))?;
    let shifted = cx.binary_scalar(Shl::create, &magnitude, f64::from(23 - format.mantissa))?;
    let bits = cx.binary_scalar(Add::create, &shifted, f64::from((127 - format.bias) << 23))?;
    let normal = bitcast(cx, &bits, ElementType::F32)?;
    let steps = cx.convert(&magnitude, ElementType::F32)?;
    let small = cx.binary_scalar(Mul::create, &steps, (-f64::from(format.bias + format.mantissa - 1)).exp2())?;
    let mut y = choose(cx, (&magnitude, Lt::create, 1 << format.mantissa), &small, &normal)?;
    let nan = cx.scalar(ElementType::F32, f64::NAN)?;
    if matches!(format.specials, Specials::Ieee | Specials::OneNan) {
        y = choose(cx, (&magnitude, Gt::create, format.largest()), &nan, &y)?;
    }
    if format.specials == Specials::Ieee {
        let infinity = cx.scalar(ElementType::F32, f64::INFINITY)?;
        y = choose(cx, (&magnitude, Eq::create, format.beyond()), &infinity, &y)?;
    }
    let sign = cx.binary_scalar(And::create, &code, f64::from(1u32 << format.sign()))?;
    let negative = cx.unary(Neg::create, &y)?;
    y = choose(cx, (&sign, Ne::create, 0), &negative, &y)?;
    if format.specials == Specials::NanForNegativeZero { choose(cx, (&code, Eq::create, format.nan()), &nan, &y) } else { Ok(y) }
}

/// f32 numbers of exponents.
fn decoded_exponent<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let code = cx.convert(x, ElementType::U32)?;
    let shifted = cx.binary_scalar(Shl::create, &code, 23.0)?;
    let least = number(cx, 1 << 22)?;
    let bits = choose(cx, (&code, Eq::create, 0), &least, &shifted)?;
    let nan = number(cx, f32::NAN.to_bits())?;
    let bits = choose(cx, (&code, Eq::create, 255), &nan, &bits)?;
    bitcast(cx, &bits, ElementType::F32)
}

impl<'c, 'a> NodeContext<'_, '_, 'c, 'a> {
    /// What the elements stand for: floats of few bits in f32, all others as they are.
    pub fn numbers(&mut self, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        match x.narrow.map(|narrow| narrow.form) {
            Some(NarrowForm::Float(format)) => decoded(self, x, &format),
            Some(NarrowForm::Exponent) => decoded_exponent(self, x),
            _ => Ok(Tensor { narrow: None, ..x.clone() }),
        }
    }
}
