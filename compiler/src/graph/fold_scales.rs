//! `fold-scales`: factors and shifts per channel around convolutions and products with constant weights -> other weights and one shift behind.
//!
//! Batch normalization arrives as `sub`, `mul`, `add` by constants behind a convolution, learned scales as `mul`, `add` in front of or behind one.
//! Their factors become factors of the weight, what is added is joined in one `add` behind. The arithmetic on constants stands in the graph
//! until `fold-constants` takes it. In front of a contraction, values are only added where no padding stands between. Leaves alone: f16 and bf16,
//! whose weights would be rounded once more, weights that others use too, and values that others use too. Results differ by rounding.

use super::{
    chain::{only_user, producer, result},
    constness::is_constant,
};
use crate::kernels::insert::insert;
use melior::{
    Context,
    ir::{Location, OperationRef, Type, Value, ValueLike, operation::OperationLike},
};
use winze_graph::{
    dialect::{Add, Broadcast, Constant, Conv, Div, DotGeneral, Mul, Neg, Reduce, Reshape, Sub},
    op::op_name,
    ops::{constant::write_constant, dot_general::Axes},
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType},
};
use winze_mlir::{context::context_of, locations, pass::RustPass, walk};

/// Largest weight whose products with what is added in front of it are summed up.
const MAX_SUMMED: i64 = super::fold_constants::MAX_REDUCED;

/// The pass.
pub struct FoldScales;

impl RustPass for FoldScales {
    const ARGUMENT: &'static str = "fold-scales";
    const DESCRIPTION: &'static str = "Fold factors and shifts per channel into the weights of convolutions and products";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        for op in walk::find(func, |op| Conv::cast(op).is_some() || DotGeneral::cast(op).is_some()) {
            if let Some(contraction) = Contraction::of(op)? {
                contraction.fold_behind(contraction.fold_in_front()?)?;
            }
        }
        Ok(())
    }
}

/// A convolution or product of a run-time value with a constant.
struct Contraction<'c, 'a> {
    op: OperationRef<'c, 'a>,
    /// Positions of the constant and the other operand.
    weight: usize,
    input: usize,
    /// Axes of the result, and the weight's axes that they are.
    behind: Vec<(usize, usize)>,
    /// Axes of the input, and the weight's axes that meet them.
    in_front: Vec<(usize, usize)>,
    element: ElementType,
    shape: Vec<i64>,
    /// Whether every element of the result sums over whole axes of the input.
    whole: bool,
}

/// One op of a chain of affine ops.
#[derive(Clone, Copy)]
enum Kind {
    Add,
    Sub,
    /// The constant less the value.
    SubFrom,
    Mul,
    Div,
}

/// An affine op with a constant that does not vary but along one axis.
struct Step<'c, 'a> {
    op: OperationRef<'c, 'a>,
    kind: Kind,
    constant: Value<'c, 'a>,
    /// The axis along which it varies.
    axis: Option<usize>,
}

/// A constant in the making: a vector over the channels, or 0-d.
#[derive(Clone, Copy)]
struct Vector<'c, 'a> {
    value: Value<'c, 'a>,
    long: bool,
}

/// Where new ops go, and what they work on.
struct Maker<'c, 'a> {
    before: OperationRef<'c, 'a>,
    context: &'c Context,
    location: Location<'c>,
    element: ElementType,
    channels: i64,
}

type Binary<'c> = fn(&'c Context, Location<'c>, Value<'c, '_>, Value<'c, '_>, &[Type<'c>]) -> melior::ir::Operation<'c>;

impl<'c: 'a, 'a> Maker<'c, 'a> {
    fn types(&self, long: bool) -> [Type<'c>; 1] {
        let extents = [self.channels];
        [TensorType::fixed(self.element, if long { &extents } else { &[] }).to_type(self.context)]
    }

    fn lengthened(&self, vector: Vector<'c, 'a>) -> Vector<'c, 'a> {
        if vector.long {
            return vector;
        }
        let broadcast = Broadcast::create(self.context, self.location, vector.value, vec![], &self.types(true));
        Vector { value: insert(self.before, broadcast), long: true }
    }

    fn binary(&self, create: Binary<'c>, a: Vector<'c, 'a>, b: Vector<'c, 'a>) -> Vector<'c, 'a> {
        let (a, b) = if a.long == b.long { (a, b) } else { (self.lengthened(a), self.lengthened(b)) };
        Vector { value: insert(self.before, create(self.context, self.location, a.value, b.value, &self.types(a.long))), long: a.long }
    }

    fn negated(&self, a: Vector<'c, 'a>) -> Vector<'c, 'a> {
        Vector { value: insert(self.before, Neg::create(self.context, self.location, a.value, &self.types(a.long))), long: a.long }
    }

    fn one(&self) -> Vector<'c, 'a> {
        let one = write_constant(self.context, &Tensor::scalar(self.element, Scalar::of(self.element, 1)));
        Vector { value: insert(self.before, Constant::create(self.context, self.location, one, &self.types(false))), long: false }
    }

    /// The constant of a step, without axes of extent 1.
    fn constant(&self, step: &Step<'c, 'a>) -> Vector<'c, 'a> {
        let long = step.axis.is_some();
        let reshape = Reshape::create(self.context, self.location, step.constant, &self.types(long));
        Vector { value: insert(self.before, reshape), long }
    }

    /// A factor and a shift that do what steps do one after the other.
    fn joined(&self, steps: &[Step<'c, 'a>]) -> [Option<Vector<'c, 'a>>; 2] {
        let (mut scale, mut shift): (Option<Vector>, Option<Vector>) = (None, None);
        for step in steps {
            let c = self.constant(step);
            (scale, shift) = match step.kind {
                Kind::Add => (scale, Some(shift.map_or(c, |shift| self.binary(Add::create, shift, c)))),
                Kind::Sub => (scale, Some(shift.map_or_else(|| self.negated(c), |shift| self.binary(Sub::create, shift, c)))),
                Kind::SubFrom => {
                    let scale = self.negated(scale.unwrap_or_else(|| self.one()));
                    (Some(scale), Some(shift.map_or(c, |shift| self.binary(Sub::create, c, shift))))
                }
                Kind::Mul => {
                    (Some(scale.map_or(c, |scale| self.binary(Mul::create, scale, c))), shift.map(|x| self.binary(Mul::create, x, c)))
                }
                Kind::Div => {
                    let scale = scale.unwrap_or_else(|| self.one());
                    (Some(self.binary(Div::create, scale, c)), shift.map(|x| self.binary(Div::create, x, c)))
                }
            };
        }
        [scale, shift]
    }

    /// A vector along an axis of a type, or its only element everywhere.
    fn along(&self, vector: Vector<'c, 'a>, axis: usize, r#type: Type<'c>) -> Value<'c, 'a> {
        let axes = if vector.long { vec![axis as i64] } else { vec![] };
        insert(self.before, Broadcast::create(self.context, self.location, vector.value, axes, &[r#type]))
    }
}

impl<'c: 'a, 'a> Contraction<'c, 'a> {
    /// `op`, if it is one whose weight may change.
    fn of(op: OperationRef<'c, 'a>) -> Result<Option<Self>, String> {
        let mut found = if let Some(conv) = Conv::cast(op).filter(|conv| conv.accumulate().is_none()) {
            let (filter, rank) = (TensorType::of(conv.filter())?, TensorType::of(conv.input())?.rank());
            let channel = if conv.channels_last() { rank - 1 } else { 1 };
            let depthwise = filter.dims[1].as_static() == Some(1) && filter.dims[0].as_static() == Some(conv.groups());
            let in_front = match conv.groups() {
                1 => vec![(channel, 1)],
                _ if depthwise => vec![(channel, 0)],
                _ => vec![],
            };
            let whole = conv.low().iter().chain(&conv.high()).all(|amount| *amount <= 0) && conv.input_dilation().iter().all(|d| *d == 1);
            Self { op, weight: 1, input: 0, behind: vec![(channel, 0)], in_front, element: filter.element, shape: vec![], whole }
        } else if let Some(dot) = DotGeneral::cast(op).filter(|dot| dot.accumulate().is_none()) {
            let weight = usize::from(is_constant(dot.rhs()));
            let axes = Axes::of(op)?;
            let batch = axes.batch[0].len();
            let first = if weight == 0 { batch } else { batch + axes.free[0].len() };
            let behind = axes.free[weight].iter().enumerate().map(|(i, axis)| (first + i, *axis)).collect();
            let in_front = axes.contract[1 - weight].iter().copied().zip(axes.contract[weight].iter().copied()).collect();
            let whole = axes.free[weight].len() == 1 && axes.batch[0].is_empty();
            Self { op, weight, input: 1 - weight, behind, in_front, element: TensorType::of(dot.lhs())?.element, shape: vec![], whole }
        } else {
            return Ok(None);
        };
        let (weight, input) = (operand(op, found.weight)?, operand(op, found.input)?);
        let wide = matches!(found.element, ElementType::F32 | ElementType::F64);
        let Some(shape) = TensorType::of(weight)?.static_shape() else { return Ok(None) };
        found.shape = shape;
        Ok((wide && is_constant(weight) && !is_constant(input) && walk::users(weight).count() == 1).then_some(found))
    }

    /// Takes the affine ops behind the contraction `op`.
    fn fold_behind(&self, op: OperationRef<'c, 'a>) -> Result<(), String> {
        let (mut last, mut steps): (OperationRef, Vec<Step>) = (op, vec![]);
        while let Some(step) = only_user(last).and_then(|user| affine(user, result(last))) {
            if !fits(&step, &steps, &self.behind) {
                break;
            }
            last = step.op;
            steps.push(step);
        }
        let scales = steps.iter().any(|step| !matches!(step.kind, Kind::Add | Kind::Sub));
        if !scales && steps.len() < 2 {
            return Ok(());
        }
        let axis =
            steps.iter().find_map(|step| step.axis).map_or(self.behind.first(), |axis| self.behind.iter().find(|(of, _)| *of == axis));
        let Some(&(axis, weight_axis)) = axis else { return Ok(()) };
        let maker = self.maker(last, [&[op][..], &steps.iter().map(|step| step.op).collect::<Vec<_>>()].concat(), self.shape[weight_axis]);
        let [scale, shift] = maker.joined(&steps);
        let new = self.with_weight(&maker, op, scale, weight_axis, None)?;
        let r#type = result_type(op)?;
        let new = match shift {
            Some(shift) => {
                let shift = maker.along(shift, axis, r#type);
                insert(last, Add::create(maker.context, maker.location, new, shift, &[r#type]))
            }
            None => new,
        };
        walk::replace_all_uses(result(last), new);
        steps.iter().rev().for_each(|step| walk::erase(step.op));
        walk::erase(op);
        Ok(())
    }

    /// Takes the affine ops in front of the contraction; the op that is the contraction then.
    fn fold_in_front(&self) -> Result<OperationRef<'c, 'a>, String> {
        let mut steps: Vec<Step> = vec![];
        let mut input = operand(self.op, self.input)?;
        while let Some(producer) = producer(input).filter(|producer| only_user(*producer).is_some()) {
            let varying = producer.operands().find(|operand| !is_constant(*operand));
            let Some((varying, step)) = varying.and_then(|varying| Some((varying, affine(producer, varying)?))) else { break };
            let summed = self.whole && self.shape.iter().product::<i64>() <= MAX_SUMMED;
            if !fits(&step, &steps, &self.in_front) || !(summed || matches!(step.kind, Kind::Mul | Kind::Div)) {
                break;
            }
            input = varying;
            steps.push(step);
        }
        steps.reverse();
        let axis = steps.iter().find_map(|step| step.axis);
        let axis = axis.map_or(self.in_front.first(), |axis| self.in_front.iter().find(|(of, _)| *of == axis));
        let (false, Some(&(_, weight_axis))) = (steps.is_empty(), axis) else { return Ok(self.op) };
        let op = self.op;
        let maker = self.maker(op, [&[op][..], &steps.iter().map(|step| step.op).collect::<Vec<_>>()].concat(), self.shape[weight_axis]);
        let [scale, shift] = maker.joined(&steps);
        let new = self.with_weight(&maker, op, scale, weight_axis, Some(input))?;
        let folded = producer(new).ok_or("fold-scales: internal error: a contraction is no result")?;
        walk::replace_all_uses(result(op), new);
        if let Some(shift) = shift {
            self.add_sums(&maker, folded, shift, weight_axis)?;
        }
        walk::erase(op);
        steps.iter().rev().for_each(|step| walk::erase(step.op));
        Ok(folded)
    }

    /// Adds to the results of `folded` what the old weight makes of a constant input.
    fn add_sums(
        &self,
        maker: &Maker<'c, 'a>,
        folded: OperationRef<'c, 'a>,
        shift: Vector<'c, 'a>,
        weight_axis: usize,
    ) -> Result<(), String> {
        let Some(&(axis, free)) = self.behind.first() else { return Ok(()) };
        let (context, location) = (maker.context, maker.location);
        let weight = operand(self.op, self.weight)?;
        let r#type = TensorType::of(weight)?.to_type(context);
        let shift = maker.along(shift, weight_axis, r#type);
        let product = insert(self.op, Mul::create(context, location, weight, shift, &[r#type]));
        let others: Vec<i64> = (0..self.shape.len() as i64).filter(|axis| *axis != free as i64).collect();
        let sums = insert(self.op, Reduce::create(context, location, product, "add".into(), others)?);
        let r#type = result_type(folded)?;
        let sums = insert(self.op, Broadcast::create(context, location, sums, vec![axis as i64], &[r#type]));
        let value = result(folded);
        let uses: Vec<(OperationRef, usize)> = walk::uses(value).collect();
        let sum = insert(self.op, Add::create(context, location, value, sums, &[r#type]));
        uses.into_iter().for_each(|(user, i)| walk::set_operand(user, i, sum));
        Ok(())
    }

    /// The contraction with its weight multiplied along an axis, and perhaps another input.
    fn with_weight(
        &self,
        maker: &Maker<'c, 'a>,
        op: OperationRef<'c, 'a>,
        scale: Option<Vector<'c, 'a>>,
        axis: usize,
        input: Option<Value<'c, 'a>>,
    ) -> Result<Value<'c, 'a>, String> {
        let (weight, input) = (operand(op, self.weight)?, input.map_or_else(|| operand(op, self.input), Ok)?);
        let weight = match scale {
            Some(scale) => {
                let r#type = TensorType::of(weight)?.to_type(maker.context);
                let scale = maker.along(scale, axis, r#type);
                insert(maker.before, Mul::create(maker.context, maker.location, weight, scale, &[r#type]))
            }
            None => weight,
        };
        let new = insert(maker.before, walk::copy(op));
        let new_op = producer(new).ok_or("fold-scales: internal error: a contraction is no result")?;
        walk::set_operand(new_op, self.weight, weight);
        walk::set_operand(new_op, self.input, input);
        Ok(new)
    }

    fn maker(&self, before: OperationRef<'c, 'a>, ops: Vec<OperationRef<'c, 'a>>, channels: i64) -> Maker<'c, 'a> {
        let context = context_of(before);
        let location = locations::fuse(context, &ops.iter().map(|op| op.location()).collect::<Vec<_>>());
        Maker { before, context, location, element: self.element, channels }
    }
}

/// Whether a step varies along the axis of the others, which must be one of `axes`.
fn fits(step: &Step, others: &[Step], axes: &[(usize, usize)]) -> bool {
    let same = |axis: usize| others.iter().all(|other| other.axis.is_none_or(|other| other == axis));
    step.axis.is_none_or(|axis| same(axis) && axes.iter().any(|(of, _)| *of == axis))
}

/// `op` as an affine op of `value`.
fn affine<'c: 'a, 'a>(op: OperationRef<'c, 'a>, value: Value<'c, 'a>) -> Option<Step<'c, 'a>> {
    let kind = match op_name(op).as_str() {
        Add::NAME => Kind::Add,
        Sub::NAME if op.operand(1) == Ok(value) => Kind::SubFrom,
        Sub::NAME => Kind::Sub,
        Mul::NAME => Kind::Mul,
        Div::NAME if op.operand(0) == Ok(value) => Kind::Div,
        _ => return None,
    };
    let other = op.operands().find(|operand| *operand != value)?;
    let broadcast = Broadcast::cast(producer(other)?).filter(|broadcast| is_constant(broadcast.input()))?;
    let shape = TensorType::of(broadcast.input()).ok()?.static_shape()?;
    let mut long = shape.iter().zip(broadcast.axes()).filter(|(extent, _)| **extent != 1).map(|(_, axis)| axis as usize);
    let axis = long.next();
    long.next().is_none().then_some(Step { op, kind, constant: broadcast.input(), axis })
}

fn operand<'c, 'a>(op: OperationRef<'c, 'a>, index: usize) -> Result<Value<'c, 'a>, String> {
    op.operand(index).map_err(|e| e.to_string())
}

fn result_type<'c>(op: OperationRef<'c, '_>) -> Result<Type<'c>, String> {
    Ok(op.result(0).map_err(|e| e.to_string())?.r#type())
}
