//! `pack-weights`: dot_general and conv with constant weights -> packed_dot and packed_conv on weights in panels.
//!
//! The packed weight is a `graph.weight` whose id ends in the steps that make it (`fc1.weight|transpose:1,0|panels:32`); the constant store carries
//! them out when the artifact is written. Panel widths come from the target's schedules. Other products of floats are marked `graph.panel`: their
//! kernels pack the right side tile by tile. Products with a vector, which read a matrix once, lose their axes of extent 1 instead. Signed bytes that meet unsigned ones stand in fours of adjacent steps. Groups of a convolution that are
//! narrower than a register are merged: products with zeros cost less than idle lanes. Leaves everything else as it is: other integer products, depthwise,
//! transposed and padded convolutions (`pad-inputs` comes first), weights that are small constants.

use super::{
    insert::{insert, replace},
    pad_inputs::pad,
};
use crate::{graph::chain::producer, llvm::CpuTarget, schedule::panel_width};
use melior::{
    Context,
    ir::{Location, OperationRef, Value, ValueLike, operation::OperationLike},
};
use winze_graph::{
    dialect::{Conv, DotGeneral, PackedConv, PackedDot, Reshape, Weight},
    ops::{
        dot_general::{Axes, PANEL},
        packed_dot::FOUR,
    },
    tensor::Scalar,
    types::{ElementType, TensorType},
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    context::context_of,
    pass::{PassOption, RustPass},
    walk,
};

/// Fewest rows of a left side for which a right side is packed while running.
const MIN_ROWS: i64 = 4;

/// Fewest panels of steps for which a product with one column is summed up along registers instead of across panels.
const MIN_DEPTH: i64 = 4;

/// Most groups of a convolution that become one.
const MOST_MERGED: i64 = 16;

/// The pass.
pub struct PackWeights {
    target: CpuTarget,
}

impl RustPass for PackWeights {
    const ARGUMENT: &'static str = "pack-weights";
    const DESCRIPTION: &'static str = "Store constant weights of contractions in the panels that the target's schedules want";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] =
        &[PassOption { name: "target", description: "CPU target: native, x86-64-v3, x86-64-v4", default: "native" }];

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { target: CpuTarget::named(values[0])? })
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        for op in walk::find(func, |op| DotGeneral::cast(op).is_some() || Conv::cast(op).is_some()) {
            if let Some(dot) = DotGeneral::cast(op) {
                self.pack_dot(dot)?;
            } else if let Some(conv) = Conv::cast(op) {
                self.pack_conv(conv)?;
            }
        }
        Ok(())
    }
}

/// The weight behind a value, if it is one.
fn weight_of<'c, 'a>(value: Value<'c, 'a>) -> Option<Weight<'c, 'a>> {
    producer(value).and_then(Weight::cast)
}

impl PackWeights {
    fn pack_dot(&self, dot: DotGeneral) -> Result<(), String> {
        let (lhs, rhs) = (TensorType::of(dot.lhs())?, TensorType::of(dot.rhs())?);
        let Some(form) = Form::of(&lhs, &rhs, &TensorType::of(dot.result())?) else { return Ok(()) };
        let last = lhs.rank() as i64 - 1;
        let plain = lhs.rank() >= 2 && dot.lhs_batch().is_empty() && dot.lhs_contract() == [last];
        let (Some(weight), Some([rows, columns]), true) = (weight_of(dot.rhs()), fixed::<2>(&rhs), plain) else {
            return if form == Form::Single { self.pack_while_running(dot, &lhs, &rhs) } else { Ok(()) };
        };
        let (depth, width, steps) = match dot.rhs_contract()[..] {
            [0] => (rows, columns, String::new()),
            [1] => (columns, rows, "|transpose:1,0".to_string()),
            _ => return Ok(()),
        };
        if depth == 0 || width == 0 {
            return Ok(());
        }
        let panel = panel_width(width, form.accumulator_bits(&rhs), &self.target)?;
        if form == Form::Single && width == 1 && depth >= MIN_DEPTH * panel {
            return drop_unit_axes(dot, &lhs, &rhs);
        }
        let panels = (width + panel - 1) / panel;
        let (steps, dims) = match form {
            Form::Single => (format!("{steps}|panels:{panel}"), vec![panels, depth, panel]),
            Form::Fours => {
                let dims = vec![panels, fours(depth), panel, FOUR];
                (format!("{steps}|extend:{},{width}{}", dims[1] * FOUR, in_fours(dims[1], width, &dims)), dims)
            }
        };
        let op = dot.op();
        let lhs = if form == Form::Fours { whole_fours(op, dot.lhs(), &lhs, last as usize)? } else { dot.lhs() };
        let packed = insert_weight(op, weight, &format!("{}{steps}", weight.id()), &TensorType::fixed(rhs.element, &dims));
        let new = PackedDot::create(context_of(op), op.location(), lhs, packed, width, dot.accumulate())?;
        replace(Self::ARGUMENT, op, new)
    }

    /// Marks a product whose right side is no plain matrix of weights, where packing it costs little beside the product.
    fn pack_while_running(&self, dot: DotGeneral, lhs: &TensorType, rhs: &TensorType) -> Result<(), String> {
        let axes = Axes::of(dot.op())?;
        let Some(packed) = axes.free[1].last() else { return Ok(()) };
        let rows = axes.free[0].iter().try_fold(1i64, |rows, axis| lhs.dims[*axis].as_static().map(|extent| rows.saturating_mul(extent)));
        let width = rhs.dims[*packed].as_static();
        let empty = lhs.dims.iter().chain(&rhs.dims).any(|dim| dim.as_static() == Some(0));
        if axes.free[0].is_empty() || axes.contract[0].is_empty() || rows.is_some_and(|rows| rows < MIN_ROWS) || width == Some(1) || empty {
            return drop_unit_axes(dot, lhs, rhs);
        }
        let panel = panel_width(width.unwrap_or(i64::MAX), rhs.element.bits(), &self.target)?;
        attributes::set(dot.op(), PANEL, panel.to_attribute(context_of(dot.op())));
        Ok(())
    }

    fn pack_conv(&self, conv: Conv) -> Result<(), String> {
        let (input, filter) = (TensorType::of(conv.input())?, TensorType::of(conv.filter())?);
        let Some(weight) = weight_of(conv.filter()) else { return Ok(()) };
        let Some(shape) = filter.static_shape().filter(|shape| shape.iter().all(|extent| *extent > 0)) else { return Ok(()) };
        let Some(form) = Form::of(&input, &filter, &TensorType::of(conv.result())?) else { return Ok(()) };
        let last = conv.channels_last();
        let plain = conv.input_dilation().iter().all(|d| *d == 1) && (form == Form::Single || (last && conv.groups() == 1));
        let plain = plain && conv.low().iter().chain(&conv.high()).all(|amount| *amount == 0);
        if !plain {
            return Ok(());
        }
        let (op, width) = (conv.op(), shape[0]);
        let depthwise = conv.groups() > 1 && shape[1] == 1 && width == conv.groups();
        let panels = self.panels_of_groups(conv.groups(), width, form.accumulator_bits(&filter))?;
        let Some((merged, panel)) = panels.filter(|_| !depthwise) else { return Ok(()) };
        let outer = [&[(width + panel - 1) / panel][..], &shape[2..]].concat();
        let (steps, dims) = match form {
            Form::Single => {
                let steps = if merged == 1 { String::new() } else { format!("|merge_groups:{},{merged}", conv.groups()) };
                let (number, channels) = ([outer[0]], [shape[1] * merged]);
                match last {
                    true => (format!("{steps}|filter_panels_last:{panel}"), [&outer[..], &channels, &[panel]].concat()),
                    false => (format!("{steps}|filter_panels:{panel}"), [&number[..], &channels, &outer[1..], &[panel]].concat()),
                }
            }
            Form::Fours => {
                let fours = fours(shape[1]);
                let taps: i64 = shape[2..].iter().product();
                let order: Vec<i64> = (2..shape.len() as i64).chain([1, 0]).collect();
                let matrix = [&shape[2..], &[fours * FOUR, width]].concat();
                let dims = [&outer[..], &[fours, panel, FOUR]].concat();
                (format!("|transpose:{}|extend:{}{}", list(&order), list(&matrix), in_fours(taps * fours, width, &dims)), dims)
            }
        };
        let input = if form == Form::Fours { whole_fours(op, conv.input(), &input, shape.len() - 1)? } else { conv.input() };
        let packed = insert_weight(op, weight, &format!("{}{steps}", weight.id()), &TensorType::fixed(filter.element, &dims));
        let (strides, dilation, groups, accumulate) = (conv.strides(), conv.filter_dilation(), conv.groups() / merged, conv.accumulate());
        let new = PackedConv::create(context_of(op), op.location(), input, packed, width, strides, dilation, groups, last, accumulate)?;
        replace(Self::ARGUMENT, op, new)
    }

    /// How many of `groups` groups of a convolution with `width` outputs become one, so that groups fill panels, and the width of these.
    fn panels_of_groups(&self, groups: i64, width: i64, bits: u32) -> Result<Option<(i64, i64)>, String> {
        let narrow = panel_width(1, bits, &self.target)?;
        for merged in (1..=groups.min(MOST_MERGED)).filter(|merged| groups % merged == 0) {
            let of_group = width / groups * merged;
            let fits = |panel: &i64| merged == groups || of_group % panel == 0;
            // Wide panels where they fit, else those of a narrow result.
            if let Some(panel) = [panel_width(of_group, bits, &self.target)?, narrow].into_iter().find(fits) {
                return Ok(Some((merged, panel)));
            }
        }
        Ok(None)
    }
}

/// Reads a side whose free axes have extent 1 as if it had none, so that its elements stand one behind the other along what is left.
fn drop_unit_axes(dot: DotGeneral, lhs: &TensorType, rhs: &TensorType) -> Result<(), String> {
    let (op, context) = (dot.op(), context_of(dot.op()));
    let axes = Axes::of(op)?;
    let side = |side: usize, value, of: &TensorType| {
        let kept = |axis: &usize| of.dims[*axis].as_static() != Some(1) || !axes.free[side].contains(axis);
        let kept: Vec<usize> = (0..of.rank()).filter(kept).collect();
        let place = |axis: &usize| kept.iter().position(|k| k == axis).map(|axis| axis as i64).expect("paired axes are kept");
        let places = [&axes.batch, &axes.contract].map(|axes| axes[side].iter().map(place).collect::<Vec<i64>>());
        let narrow = TensorType::new(of.element, kept.iter().map(|axis| of.dims[*axis].clone()).collect::<Vec<_>>());
        let drops = kept.len() < of.rank();
        let value = if drops { insert(op, Reshape::create(context, op.location(), value, &[narrow.to_type(context)])) } else { value };
        (drops, value, places)
    };
    let (left_drops, left, [left_batch, left_contract]) = side(0, dot.lhs(), lhs);
    let (right_drops, right, [right_batch, right_contract]) = side(1, dot.rhs(), rhs);
    if !left_drops && !right_drops {
        return Ok(());
    }
    let result = dot.result().r#type();
    let narrow =
        DotGeneral::create(context, op.location(), left, right, left_batch, right_batch, left_contract, right_contract, dot.accumulate())?;
    let narrow = insert(op, narrow);
    replace(PackWeights::ARGUMENT, op, Reshape::create(context, op.location(), narrow, &[result]))
}

/// How the steps of a contraction stand in its panels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One by one: floats of one type.
    Single,
    /// Four by four: unsigned bytes times signed ones, added up in i32.
    Fours,
}

impl Form {
    /// `None` for contractions without register tiles.
    fn of(lhs: &TensorType, rhs: &TensorType, result: &TensorType) -> Option<Self> {
        match (lhs.element, rhs.element, result.element) {
            (a, b, c) if a.is_float() && a == b && a == c => Some(Self::Single),
            (ElementType::U8, ElementType::I8, ElementType::I32) => Some(Self::Fours),
            _ => None,
        }
    }

    /// What a lane of a register holds.
    fn accumulator_bits(self, weights: &TensorType) -> u32 {
        if self == Self::Fours { 32 } else { weights.element.bits() }
    }
}

/// The steps from a matrix `[rows * 4][width]` to panels in fours of these extents.
fn in_fours(rows: i64, width: i64, dims: &[i64]) -> String {
    let panel = dims[dims.len() - 2];
    let interleaved = format!("|reshape:{rows},{FOUR},{width}|transpose:0,2,1|reshape:{rows},{}", width * FOUR);
    format!("{interleaved}|panels:{}|reshape:{}", panel * FOUR, list(dims))
}

/// A value whose extent along an axis is a multiple of four: with zeros behind it, if need be.
fn whole_fours<'c, 'a>(
    before: OperationRef<'c, 'a>,
    value: Value<'c, 'a>,
    r#type: &TensorType,
    axis: usize,
) -> Result<Value<'c, 'a>, String> {
    let extent = r#type.dims[axis].as_static().ok_or("pack-weights: the depth of constant weights is known")?;
    let mut high = vec![0; r#type.rank()];
    high[axis] = fours(extent) * FOUR - extent;
    if high[axis] == 0 {
        return Ok(value);
    }
    let zeros = vec![0; r#type.rank()];
    pad(before, value, r#type, Scalar::of(r#type.element, 0), [zeros.clone(), high, zeros])
}

/// How many fours hold so many steps.
fn fours(steps: i64) -> i64 {
    (steps + FOUR - 1) / FOUR
}

fn list(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// Static extents of a tensor of rank N.
fn fixed<const N: usize>(tensor: &TensorType) -> Option<[i64; N]> {
    tensor.static_shape()?.try_into().ok()
}

fn insert_weight<'c, 'a>(before: OperationRef<'c, 'a>, weight: Weight<'c, 'a>, id: &str, r#type: &TensorType) -> Value<'c, 'a> {
    let context: &Context = context_of(before);
    let location: Location = weight.op().location();
    insert(before, Weight::create(context, location, id.to_string(), None, &[r#type.to_type(context)]))
}
