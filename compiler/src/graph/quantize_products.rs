//! `quantize-products`: products and convolutions of dequantized bytes -> integer ones and one factor, as ONNX Runtime computes them.
//!
//! `(a - za) * sa` times `(b - zb) * sb` is `sum((a - za) * (b - zb)) * (sa * sb)`, where the sum is exact. Before a quantization by `s`, the factor is
//! `sa * sb / s`, rounded once in f32 (MlasRequantizeOutput), with a maximum by 0 in between if there is one; a constant that is added along the
//! channels in front of the quantization is rounded to a multiple of `sa * sb` and added to the sum, as the quantization tools store such biases and as
//! ONNX Runtime does with those in float. The integer products are those that `narrow-products` makes fast; leaves alone what it would not,
//! scales per step of the sum, and everything that is not dequantized on both sides.

use super::{
    chain::{only_user, producer, result},
    constness::is_constant,
    narrow_products::{Maker, is_byte, narrow},
};
use melior::ir::{OperationRef, Value, operation::OperationLike};
use winze_graph::{
    dialect::{Add, Broadcast, Conv, Convert, Div, DotGeneral, Maximum, Mul, Round, Sub},
    ops::{constant::splat_of, dot_general::Axes},
    types::{ElementType, TensorType},
};
use winze_mlir::{pass::RustPass, walk};

/// The pass.
pub struct QuantizeProducts;

impl RustPass for QuantizeProducts {
    const ARGUMENT: &'static str = "quantize-products";
    const DESCRIPTION: &'static str = "Compute products of dequantized bytes in integers";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        walk::find(func, |op| Conv::cast(op).is_some() || DotGeneral::cast(op).is_some()).into_iter().try_for_each(quantize)
    }
}

/// Bytes less their zero point, in i32, times a scale.
pub struct Dequantized<'c, 'a> {
    difference: Value<'c, 'a>,
    /// f32: 0-d, or one element per index of `axis`.
    scale: Value<'c, 'a>,
    axis: Option<usize>,
}

fn quantize<'c: 'a, 'a>(op: OperationRef<'c, 'a>) -> Result<(), String> {
    let (dot, conv) = (DotGeneral::cast(op), Conv::cast(op));
    if dot.is_some_and(|dot| dot.accumulate().is_some()) || conv.is_some_and(|conv| conv.accumulate().is_some()) {
        return Ok(());
    }
    let maker = Maker::before(op);
    let operand = |i: usize| op.operand(i).map_err(|e| e.to_string());
    let (Some(a), Some(b)) = (dequantized(&maker, operand(0)?)?, dequantized(&maker, operand(1)?)?) else { return Ok(()) };
    let like = TensorType::of(result(op))?;
    let channel = match (dot, conv) {
        (Some(_), _) => {
            let axes = Axes::of(op)?;
            let first = axes.batch[0].len() + axes.free[0].len();
            b.axis.map(|axis| axes.free[1].iter().position(|free| *free == axis).map(|i| first + i))
        }
        (_, Some(conv)) => b.axis.map(|axis| (axis == 0).then(|| if conv.channels_last() { like.rank() - 1 } else { 1 })),
        _ => return Ok(()),
    };
    // An axis of the scale that is no axis of the result is one of the sum.
    if a.axis.is_some() || channel == Some(None) {
        return Ok(());
    }
    let channel = channel.flatten();
    let integers = producer(maker.add(walk::copy(op))).ok_or("quantize-products: internal error: a contraction is no result")?;
    walk::set_operand(integers, 0, a.difference);
    walk::set_operand(integers, 1, b.difference);
    walk::set_type(result(integers), like.with_element(ElementType::I32).to_type(maker.context));
    let narrowed = narrow(integers)?;
    walk::erase(integers);
    let Some(sum) = narrowed else { return Ok(()) };

    let tail = Tail::behind(op, &like);
    let maker = Maker::before(tail.last);
    let scale = maker.binary(Mul::create, maker.repeated(a.scale, b.scale)?, b.scale);
    let mut sum = sum;
    if let Some((bias, axis)) = tail.bias.filter(|_| tail.scale.is_some()) {
        // One element per channel, whether or not the scale has one.
        let steps = maker.binary(Div::create, bias, maker.repeated(scale, bias)?);
        let rounded = maker.convert(maker.unary(Round::create, steps), ElementType::I32)?;
        sum = maker.binary(Add::create, sum, maker.along(rounded, &[axis], &like.with_element(ElementType::I32)));
    }
    let factor = match tail.scale {
        Some(of_result) => maker.binary(Div::create, scale, maker.repeated(of_result, scale)?),
        None => scale,
    };
    let real = maker.convert(sum, ElementType::F32)?;
    let mut scaled = maker.binary(Mul::create, real, maker.along(factor, channel.as_slice(), &like));
    if let Some(zeros) = tail.at_least {
        scaled = maker.binary(Maximum::create, scaled, zeros);
    }
    walk::replace_all_uses(result(tail.last), scaled);
    Ok(())
}

/// What of the ops behind a contraction becomes one with it.
struct Tail<'c, 'a> {
    /// The op that computes what is replaced: the contraction, or the division of a quantization.
    last: OperationRef<'c, 'a>,
    /// What is added per index of an axis, in f32.
    bias: Option<(Value<'c, 'a>, usize)>,
    /// Zeros, if results are at least 0.
    at_least: Option<Value<'c, 'a>>,
    /// What the quantization divides by, 0-d.
    scale: Option<Value<'c, 'a>>,
}

impl<'c: 'a, 'a> Tail<'c, 'a> {
    fn behind(op: OperationRef<'c, 'a>, like: &TensorType) -> Self {
        let nothing = Self { last: op, bias: None, at_least: None, scale: None };
        let Some(mut user) = only_user(op) else { return nothing };
        let mut value = result(op);
        let bias = Add::cast(user).and_then(|add| added_along(add, value, like));
        if bias.is_some() {
            value = result(user);
            let Some(next) = only_user(user) else { return nothing };
            user = next;
        }
        let at_least = Maximum::cast(user).map(|op| if op.lhs() == value { op.rhs() } else { op.lhs() }).filter(|other| is_zero(*other));
        if at_least.is_some() {
            value = result(user);
            let Some(next) = only_user(user) else { return nothing };
            user = next;
        }
        let scale = Div::cast(user).filter(|div| div.lhs() == value).and_then(|div| scalar_behind(div.rhs()));
        match scale {
            Some(scale) if only_user(user).is_some_and(|next| Round::cast(next).is_some()) => {
                Self { last: user, bias, at_least, scale: Some(scale) }
            }
            _ => nothing,
        }
    }
}

/// `value` as dequantized bytes.
pub fn dequantized<'c: 'a, 'a>(maker: &Maker<'c, 'a>, value: Value<'c, 'a>) -> Result<Option<Dequantized<'c, 'a>>, String> {
    if TensorType::of(value)?.element != ElementType::F32 {
        return Ok(None);
    }
    let Some(mul) = producer(value).and_then(Mul::cast) else { return Ok(None) };
    let (Some(convert), Some(broadcast)) = (producer(mul.lhs()).and_then(Convert::cast), producer(mul.rhs()).and_then(Broadcast::cast))
    else {
        return Ok(None);
    };
    let Some((scale, axis)) = maker.flat(broadcast)? else { return Ok(None) };
    let from = TensorType::of(convert.input())?.element;
    let difference = match from {
        element if is_byte(element) => maker.convert(convert.input(), ElementType::I32)?,
        ElementType::I32 if producer(convert.input()).is_some_and(|op| Sub::cast(op).is_some() || Convert::cast(op).is_some()) => {
            convert.input()
        }
        _ => return Ok(None),
    };
    Ok(Some(Dequantized { difference, scale, axis }))
}

/// The constant that `add` adds to `value` along one axis of the result.
fn added_along<'c: 'a, 'a>(add: Add<'c, 'a>, value: Value<'c, 'a>, like: &TensorType) -> Option<(Value<'c, 'a>, usize)> {
    let other = if add.lhs() == value { add.rhs() } else { add.lhs() };
    let broadcast = producer(other).and_then(Broadcast::cast)?;
    let shape = TensorType::of(broadcast.input()).ok()?;
    let axis = *broadcast.axes().first()? as usize;
    let vector = shape.rank() == 1 && shape.dims[0] == like.dims[axis];
    (vector && is_constant(broadcast.input())).then(|| (broadcast.input(), axis))
}

/// The 0-d value that is repeated everywhere.
pub fn scalar_behind<'c: 'a, 'a>(value: Value<'c, 'a>) -> Option<Value<'c, 'a>> {
    let broadcast = producer(value).and_then(Broadcast::cast)?;
    (TensorType::of(broadcast.input()).ok()?.rank() == 0).then(|| broadcast.input())
}

fn is_zero<'c: 'a, 'a>(value: Value<'c, 'a>) -> bool {
    splat_of(value).is_some_and(|value| value.f64() == 0.0)
}
