//! `narrow-products`: products and convolutions of bytes less their zero points in i32 -> products of the bytes themselves, or of exact floats.
//!
//! `sum((a - za) * (b - zb))` is `sum(a * b) - za * sum(b - zb) - zb * sum(a)`. With a constant `b`, the product is one of unsigned by signed bytes, which
//! targets have instructions for (a byte of the other kind is moved by 128, and its zero point as well), the first sum is a constant, and the second only
//! needed where `zb` is not 0. Integers wrap, so this is exact. A convolution of this kind has its channels last, where four of them lie side by side,
//! and is padded with the zero point. Other contractions, of so few steps that every sum is an integer below 2^24, are computed in f32: exactly, by
//! the kernels of floats. Leaves alone what is neither.

use super::{
    chain::{producer, result},
    constness::is_constant,
};
use crate::kernels::{insert::insert, pad_inputs::pad_with};
use melior::{
    Context,
    ir::{Location, Operation, OperationRef, Type, Value, ValueLike, attribute::TypeAttribute, operation::OperationLike},
};
use winze_graph::{
    dialect::{Add, Broadcast, Constant, Conv, Convert, DotGeneral, Mul, Reduce, ReduceWindow, Reshape, Sub, Transpose},
    dim::Dim,
    ops::{
        constant::{read_constant, write_constant},
        dot_general::Axes,
    },
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType},
};
use winze_mlir::{context::context_of, pass::RustPass, walk};

/// Most products of two differences of bytes, each at most 255 * 255, whose sums f32 holds exactly.
const MAX_EXACT: i64 = (1 << 24) / (255 * 255);

/// Fewest products in a sum of a convolution for which bytes with their channels last are faster than floats that stay where they are.
const MIN_MOVED: i64 = 64;

/// What moves signed bytes to unsigned ones.
const HALF: i64 = 128;

/// The pass.
pub struct NarrowProducts;

impl RustPass for NarrowProducts {
    const ARGUMENT: &'static str = "narrow-products";
    const DESCRIPTION: &'static str = "Multiply bytes instead of their differences from zero points";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        for op in walk::find(func, |op| Conv::cast(op).is_some() || DotGeneral::cast(op).is_some()) {
            if let Some(new) = narrow(op)? {
                walk::replace_all_uses(result(op), new);
                walk::erase(op);
            }
        }
        Ok(())
    }
}

/// The result of a contraction in i32, computed from bytes or floats in front of it; `None` if it cannot be.
pub fn narrow<'c: 'a, 'a>(op: OperationRef<'c, 'a>) -> Result<Option<Value<'c, 'a>>, String> {
    match (DotGeneral::cast(op), Conv::cast(op)) {
        (Some(dot), _) => narrow_dot(dot),
        (_, Some(conv)) => narrow_conv(conv),
        _ => Ok(None),
    }
}

/// An operand of a contraction: bytes less their zero point.
#[derive(Clone)]
struct Factor<'c, 'a> {
    bytes: Value<'c, 'a>,
    zero: Option<Zero<'c, 'a>>,
}

/// A zero point in i32: 0-d, or one element per index of an axis of the bytes.
#[derive(Clone)]
struct Zero<'c, 'a> {
    value: Value<'c, 'a>,
    axis: Option<usize>,
    /// Its elements, where the IR holds them.
    known: Option<Tensor>,
    /// Whether every element is one of the bytes' type.
    is_byte: bool,
}

/// Makes ops in front of one.
pub struct Maker<'c, 'a> {
    before: OperationRef<'c, 'a>,
    pub context: &'c Context,
    location: Location<'c>,
}

type Unary<'c> = fn(&'c Context, Location<'c>, Value<'c, '_>, &[Type<'c>]) -> Operation<'c>;
type Binary<'c> = fn(&'c Context, Location<'c>, Value<'c, '_>, Value<'c, '_>, &[Type<'c>]) -> Operation<'c>;

impl<'c: 'a, 'a> Maker<'c, 'a> {
    pub fn before(op: OperationRef<'c, 'a>) -> Self {
        Self { before: op, context: context_of(op), location: op.location() }
    }

    pub fn add(&self, op: Operation<'c>) -> Value<'c, 'a> {
        insert(self.before, op)
    }

    pub fn constant(&self, tensor: &Tensor) -> Value<'c, 'a> {
        let r#type = tensor.tensor_type().to_type(self.context);
        self.add(Constant::create(self.context, self.location, write_constant(self.context, tensor), &[r#type]))
    }

    pub fn convert(&self, value: Value<'c, 'a>, element: ElementType) -> Result<Value<'c, 'a>, String> {
        let from = TensorType::of(value)?;
        let to = from.with_element(element).to_type(self.context);
        Ok(if from.element == element { value } else { self.add(Convert::create(self.context, self.location, value, false, &[to])) })
    }

    pub fn unary(&self, create: Unary<'c>, x: Value<'c, 'a>) -> Value<'c, 'a> {
        self.add(create(self.context, self.location, x, &[x.r#type()]))
    }

    pub fn binary(&self, create: Binary<'c>, a: Value<'c, 'a>, b: Value<'c, 'a>) -> Value<'c, 'a> {
        self.add(create(self.context, self.location, a, b, &[a.r#type()]))
    }

    /// Repeats a tensor whose axis i is axis `axes[i]` of `like`, and whose elements are of `like`'s type.
    pub fn along(&self, value: Value<'c, 'a>, axes: &[usize], like: &TensorType) -> Value<'c, 'a> {
        let axes = axes.iter().map(|axis| *axis as i64).collect();
        self.add(Broadcast::create(self.context, self.location, value, axes, &[like.to_type(self.context)]))
    }

    /// A 0-d value as often as `like` has elements; what is as long already stays.
    pub fn repeated(&self, value: Value<'c, 'a>, like: Value<'c, 'a>) -> Result<Value<'c, 'a>, String> {
        let (from, like) = (TensorType::of(value)?, TensorType::of(like)?);
        Ok(if from.rank() == like.rank() { value } else { self.along(value, &[], &like.with_element(from.element)) })
    }

    /// What is repeated, as a vector along the one axis on which it is not the same everywhere, or 0-d; `None` if there are several.
    pub fn flat(&self, broadcast: Broadcast<'c, 'a>) -> Result<Option<(Value<'c, 'a>, Option<usize>)>, String> {
        let (from, whole) = (TensorType::of(broadcast.input())?, TensorType::of(broadcast.result())?);
        let mut long = from.dims.iter().zip(broadcast.axes()).filter(|(dim, _)| dim.as_static() != Some(1)).map(|(_, axis)| axis as usize);
        let axis = long.next();
        if long.next().is_some() {
            return Ok(None);
        }
        let dims: Vec<Dim> = axis.map(|axis| whole.dims[axis].clone()).into_iter().collect();
        let flat = TensorType::new(from.element, dims);
        Ok(Some(match flat.rank() == from.rank() {
            true => (broadcast.input(), axis),
            false => (self.add(Reshape::create(self.context, self.location, broadcast.input(), &[flat.to_type(self.context)])), axis),
        }))
    }

    fn sum(&self, value: Value<'c, 'a>, axes: impl Iterator<Item = usize>) -> Result<Value<'c, 'a>, String> {
        let axes: Vec<i64> = axes.map(|axis| axis as i64).collect();
        Ok(self.add(Reduce::create(self.context, self.location, value, "add".into(), axes)?))
    }

    fn transpose(&self, value: Value<'c, 'a>, permutation: Vec<i64>) -> Result<Value<'c, 'a>, String> {
        Ok(self.add(Transpose::create(self.context, self.location, value, permutation)?))
    }

    /// The factor with bytes of another kind, moved by half their range.
    fn moved(&self, factor: Factor<'c, 'a>, to: ElementType) -> Result<Factor<'c, 'a>, String> {
        let r#type = TensorType::of(factor.bytes)?;
        if r#type.element == to {
            return Ok(factor);
        }
        let shift = if to == ElementType::U8 { HALF } else { -HALF };
        let half = |like: &TensorType| {
            let half = self.constant(&Tensor::scalar(ElementType::I32, Scalar::Signed(shift)));
            self.along(half, &[], &like.with_element(ElementType::I32))
        };
        let wide = self.convert(factor.bytes, ElementType::I32)?;
        let bytes = self.convert(self.binary(Add::create, wide, half(&r#type)), to)?;
        let zero = match factor.zero {
            None => {
                let known = Tensor::scalar(ElementType::I32, Scalar::Signed(shift));
                Zero { value: self.constant(&known), axis: None, known: Some(known), is_byte: true }
            }
            Some(zero) => {
                let known = zero.known.map(|known| {
                    Tensor::from_index_fn(ElementType::I32, &known.shape.clone(), |at| Scalar::Signed(known.at(at).i64() + shift))
                });
                let value = match &known {
                    Some(known) => self.constant(known),
                    None => self.binary(Add::create, zero.value, half(&TensorType::of(zero.value)?)),
                };
                Zero { value, known, ..zero }
            }
        };
        Ok(Factor { bytes, zero: Some(zero).filter(|zero| !zero.is_nothing()) })
    }

    /// `value - zero * sums`, where the axes of the two others are these of `value`.
    fn less(
        &self,
        value: Value<'c, 'a>,
        (zero, zero_axes): (Value<'c, 'a>, &[usize]),
        (sums, sum_axes): (Value<'c, 'a>, &[usize]),
    ) -> Result<Value<'c, 'a>, String> {
        let like = TensorType::of(value)?;
        let product = self.binary(Mul::create, self.along(zero, zero_axes, &like), self.along(sums, sum_axes, &like));
        Ok(self.binary(Sub::create, value, product))
    }
}

impl Zero<'_, '_> {
    fn is_nothing(&self) -> bool {
        self.known.as_ref().is_some_and(|known| (0..known.count()).all(|i| known.get(i).i64() == 0))
    }
}

pub fn is_byte(element: ElementType) -> bool {
    matches!(element, ElementType::I8 | ElementType::U8)
}

/// `value` as bytes less their zero point.
fn factor<'c: 'a, 'a>(maker: &Maker<'c, 'a>, value: Value<'c, 'a>) -> Result<Option<Factor<'c, 'a>>, String> {
    let Some(op) = producer(value) else { return Ok(None) };
    if let Some(bytes) = bytes_behind(value)? {
        return Ok(Some(Factor { bytes, zero: None }));
    }
    let Some(sub) = Sub::cast(op) else { return Ok(None) };
    let (Some(bytes), Some(broadcast)) = (bytes_behind(sub.lhs())?, producer(sub.rhs()).and_then(Broadcast::cast)) else { return Ok(None) };
    let Some((value, axis)) = maker.flat(broadcast)? else { return Ok(None) };
    // Conversions of integers and reshapes lead to what it is made of.
    let mut point = broadcast.input();
    let known = loop {
        let Some(op) = producer(point) else { break None };
        if let Some(constant) = Constant::cast(op) {
            break read_constant(constant.value()).ok();
        }
        point = match (Reshape::cast(op), Convert::cast(op)) {
            (Some(reshape), _) => reshape.input(),
            (_, Some(convert)) if !is_byte(TensorType::of(point)?.element) => convert.input(),
            _ => break None,
        };
    };
    let byte = is_byte(TensorType::of(point)?.element);
    let shape: Vec<usize> = known.iter().flat_map(|known| &known.shape).copied().filter(|extent| *extent != 1).collect();
    let known = known.map(|known| Tensor::from_fn(ElementType::I32, &shape, |i| Scalar::Signed(known.get(i).i64())));
    let is_byte = byte || known.as_ref().is_some_and(|known| (0..known.count()).all(|i| (-128..=255).contains(&known.get(i).i64())));
    let zero = Some(Zero { value, axis, known, is_byte }).filter(|zero| !zero.is_nothing());
    Ok(Some(Factor { bytes, zero }))
}

/// The bytes that a value in i32 is made of.
fn bytes_behind<'c: 'a, 'a>(value: Value<'c, 'a>) -> Result<Option<Value<'c, 'a>>, String> {
    let Some(convert) = producer(value).and_then(Convert::cast) else { return Ok(None) };
    let (from, to) = (TensorType::of(convert.input())?.element, TensorType::of(value)?.element);
    Ok((is_byte(from) && to == ElementType::I32).then(|| convert.input()))
}

/// Whether sums of so many products of these factors are exact in f32.
fn is_exact(depth: Option<i64>, factors: [&Factor; 2]) -> bool {
    let bytes = |factor: &Factor| factor.zero.as_ref().is_none_or(|zero| zero.is_byte);
    depth.is_some_and(|depth| depth <= MAX_EXACT) && factors.into_iter().all(bytes)
}

fn narrow_dot<'c: 'a, 'a>(dot: DotGeneral<'c, 'a>) -> Result<Option<Value<'c, 'a>>, String> {
    let maker = Maker::before(dot.op());
    if dot.accumulate().is_some() {
        return Ok(None);
    }
    let (Some(a), Some(b)) = (factor(&maker, dot.lhs())?, factor(&maker, dot.rhs())?) else { return Ok(None) };
    let axes = Axes::of(dot.op())?;
    let (lhs, rhs) = (TensorType::of(dot.lhs())?, TensorType::of(dot.rhs())?);
    let along_depth = |side: usize, factor: &Factor| {
        factor.zero.as_ref().and_then(|zero| zero.axis).is_some_and(|axis| axes.contract[side].contains(&axis))
    };
    let plain = axes.batch[0].is_empty() && axes.contract[0] == [lhs.rank() - 1] && rhs.rank() == 2 && is_constant(dot.rhs());
    if plain && !along_depth(0, &a) && !along_depth(1, &b) {
        let (a, b) = (maker.moved(a, ElementType::U8)?, maker.moved(b, ElementType::I8)?);
        let i32 = TypeAttribute::new(ElementType::I32.to_type(maker.context)).into();
        let (batch, contract) = ([dot.lhs_batch(), dot.rhs_batch()], [dot.lhs_contract(), dot.rhs_contract()]);
        let ([left_batch, right_batch], [left, right]) = (batch, contract);
        let product = DotGeneral::create(maker.context, maker.location, a.bytes, b.bytes, left_batch, right_batch, left, right, Some(i32))?;
        let mut sum = maker.add(product);
        let column = lhs.rank() - 1;
        // Free axes of the left side come first in the result, in order.
        let rows: Vec<usize> = (0..column).collect();
        if let Some(zero) = &a.zero {
            let columns = maker.sum(dot.rhs(), axes.contract[1].iter().copied())?;
            sum = maker.less(sum, (zero.value, zero.axis.as_slice()), (columns, &[column]))?;
        }
        if let Some(zero) = &b.zero {
            let sums = maker.sum(maker.convert(a.bytes, ElementType::I32)?, axes.contract[0].iter().copied())?;
            let along = zero.axis.map(|_| column);
            sum = maker.less(sum, (zero.value, along.as_slice()), (sums, &rows))?;
        }
        return Ok(Some(sum));
    }
    let depth = axes.contract[0].iter().try_fold(1i64, |depth, axis| Some(depth.saturating_mul(lhs.dims[*axis].as_static()?)));
    if !is_exact(depth, [&a, &b]) {
        return Ok(None);
    }
    let (left, right) = (maker.convert(dot.lhs(), ElementType::F32)?, maker.convert(dot.rhs(), ElementType::F32)?);
    let (batch, contract) = ([dot.lhs_batch(), dot.rhs_batch()], [dot.lhs_contract(), dot.rhs_contract()]);
    let ([left_batch, right_batch], [left_contract, right_contract]) = (batch, contract);
    let product =
        DotGeneral::create(maker.context, maker.location, left, right, left_batch, right_batch, left_contract, right_contract, None)?;
    Ok(Some(maker.convert(maker.add(product), ElementType::I32)?))
}

fn narrow_conv<'c: 'a, 'a>(conv: Conv<'c, 'a>) -> Result<Option<Value<'c, 'a>>, String> {
    let maker = Maker::before(conv.op());
    if conv.accumulate().is_some() {
        return Ok(None);
    }
    let (Some(x), Some(filter)) = (factor(&maker, conv.input())?, factor(&maker, conv.filter())?) else { return Ok(None) };
    let (input, shape) = (TensorType::of(conv.input())?, TensorType::of(conv.filter())?);
    let depth = shape.dims[1..].iter().try_fold(1i64, |depth, dim| Some(depth.saturating_mul(dim.as_static()?)));
    let dense = conv.groups() == 1 && conv.input_dilation().iter().all(|distance| *distance == 1);
    let padded = conv.low().iter().chain(&conv.high()).all(|amount| *amount >= 0);
    let per_tensor = |zero: &Option<Zero>| zero.as_ref().is_none_or(|zero| zero.axis.is_none());
    let per_output = filter.zero.as_ref().and_then(|zero| zero.axis).is_none_or(|axis| axis == 0);
    let moves = dense && padded && is_constant(conv.filter()) && per_tensor(&x.zero) && per_output;
    let few = depth.is_some_and(|depth| depth < MIN_MOVED);
    if (few || !moves) && is_exact(depth, [&x, &filter]) {
        let (x, filter) = (maker.convert(conv.input(), ElementType::F32)?, maker.convert(conv.filter(), ElementType::F32)?);
        let new = Conv::create(
            maker.context,
            maker.location,
            x,
            filter,
            conv.strides(),
            conv.low(),
            conv.high(),
            conv.input_dilation(),
            conv.filter_dilation(),
            conv.groups(),
            conv.channels_last(),
            None,
        )?;
        return Ok(Some(maker.convert(maker.add(new), ElementType::I32)?));
    }
    if !moves {
        return Ok(None);
    }
    let (x, filter) = (maker.moved(x, ElementType::U8)?, maker.moved(filter, ElementType::I8)?);
    let rank = input.rank();
    let to_last: Vec<i64> = [0].into_iter().chain(2..rank as i64).chain([1]).collect();
    let to_second: Vec<i64> = [0, rank as i64 - 1].into_iter().chain(1..rank as i64 - 1).collect();
    let mut bytes = if conv.channels_last() { x.bytes } else { maker.transpose(x.bytes, to_last)? };
    if conv.low().iter().chain(&conv.high()).any(|amount| *amount != 0) {
        let zero = match &x.zero {
            Some(zero) => maker.convert(zero.value, ElementType::U8)?,
            None => maker.constant(&Tensor::scalar(ElementType::U8, Scalar::Unsigned(0))),
        };
        let amounts = |amounts: Vec<i64>| [&[0][..], &amounts, &[0]].concat();
        bytes = pad_with(conv.op(), bytes, zero, [amounts(conv.low()), amounts(conv.high()), vec![0; rank]])?;
    }
    let i32 = TypeAttribute::new(ElementType::I32.to_type(maker.context)).into();
    let none = vec![0; rank - 2];
    let (strides, dense, dilation) = (conv.strides(), vec![1; rank - 2], conv.filter_dilation());
    let product = Conv::create(
        maker.context,
        maker.location,
        bytes,
        filter.bytes,
        strides.clone(),
        none.clone(),
        none,
        dense,
        dilation.clone(),
        1,
        true,
        Some(i32),
    )?;
    let mut sum = maker.add(product);
    if let Some(zero) = &x.zero {
        let outputs = maker.sum(conv.filter(), 1..rank)?;
        sum = maker.less(sum, (zero.value, &[]), (outputs, &[rank - 1]))?;
    }
    if let Some(zero) = &filter.zero {
        let mut sums = maker.sum(maker.convert(bytes, ElementType::I32)?, [rank - 1].into_iter())?;
        let taps = shape.dims[2..].iter().map(|dim| dim.as_static().ok_or("narrow-products: constant filters have static extents"));
        let taps = taps.collect::<Result<Vec<_>, _>>()?;
        if taps.iter().chain(&strides).any(|n| *n != 1) {
            let with_batch = |first: i64, rest: &[i64]| [&[first][..], rest].concat();
            let none = vec![0; rank - 1];
            let (window, strides, dilation) = (with_batch(1, &taps), with_batch(1, &strides), with_batch(1, &dilation));
            let windows =
                ReduceWindow::create(maker.context, maker.location, sums, "add".into(), window, strides, none.clone(), none, dilation)?;
            sums = maker.add(windows);
        }
        let along = zero.axis.map(|_| rank - 1);
        sum = maker.less(sum, (zero.value, along.as_slice()), (sums, &(0..rank - 1).collect::<Vec<_>>()))?;
    }
    Ok(Some(if conv.channels_last() { sum } else { maker.transpose(sum, to_second)? }))
}
