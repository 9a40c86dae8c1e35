//! `pad-inputs`: padding of reduce_window and conv -> `graph.pad` in front of them, so that every tap is on an element.
//!
//! With taps inside, input positions are affine and windows become vectors; a choice per tap would stay scalar. So do gaps between input elements
//! (transposed convolution): products with their zeros cost less than finding out. Leaves windows that crop on the low side as they are.

use super::insert::{insert, replace};
use melior::ir::{OperationRef, Value, operation::OperationLike};
use winze_graph::{
    dialect::{Constant, Conv, Pad, ReduceWindow},
    dim::Dim,
    ops::{constant::write_constant, fold::Fold},
    tensor::{Scalar, Tensor},
    types::TensorType,
};
use winze_mlir::{context::context_of, pass::RustPass, walk};

/// The pass.
pub struct PadInputs;

impl RustPass for PadInputs {
    const ARGUMENT: &'static str = "pad-inputs";
    const DESCRIPTION: &'static str = "Pad the inputs of windows and convolutions in front of them";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        for op in walk::find(func, |op| ReduceWindow::cast(op).is_some() || Conv::cast(op).is_some()) {
            if let Some(window) = ReduceWindow::cast(op) {
                pad_window(window)?;
            } else if let Some(conv) = Conv::cast(op) {
                pad_conv(conv)?;
            }
        }
        Ok(())
    }
}

fn pad_window(window: ReduceWindow) -> Result<(), String> {
    let op = window.op();
    let input = TensorType::of(window.input())?;
    let (low, high) = (window.low(), window.high());
    if !needs_padding(&low, &high) {
        return Ok(());
    }
    let neutral = Fold::parse(&window.kind(), input.element)?.neutral(input.element);
    let (around, rest) = split(&high);
    let padded = pad(op, window.input(), &input, neutral, [low.clone(), around, vec![0; input.rank()]])?;
    let zeros = vec![0; low.len()];
    let (kind, size, strides, dilation) = (window.kind().to_string(), window.window(), window.strides(), window.dilation());
    let new = ReduceWindow::create(context_of(op), op.location(), padded, kind, size, strides, zeros, rest, dilation)?;
    replace(PadInputs::ARGUMENT, op, new)
}

fn pad_conv(conv: Conv) -> Result<(), String> {
    let op = conv.op();
    let input = TensorType::of(conv.input())?;
    let (low, high) = (conv.low(), conv.high());
    let gaps: Vec<i64> = conv.input_dilation().iter().map(|distance| distance - 1).collect();
    let gaping = gaps.iter().any(|gap| *gap != 0) && low.iter().all(|amount| *amount >= 0);
    if !needs_padding(&low, &high) && !gaping {
        return Ok(());
    }
    let (around, rest) = split(&high);
    let of_axes = |amounts: &[i64]| match conv.channels_last() {
        true => [&[0][..], amounts, &[0]].concat(),
        false => [&[0, 0][..], amounts].concat(),
    };
    let padded = pad(op, conv.input(), &input, Scalar::of(input.element, 0), [of_axes(&low), of_axes(&around), of_axes(&gaps)])?;
    let zeros = vec![0; low.len()];
    let (strides, dense, dilation) = (conv.strides(), vec![1; low.len()], conv.filter_dilation());
    let (groups, last, accumulate) = (conv.groups(), conv.channels_last(), conv.accumulate());
    let new = Conv::create(
        context_of(op),
        op.location(),
        padded,
        conv.filter(),
        strides,
        zeros,
        rest,
        dense,
        dilation,
        groups,
        last,
        accumulate,
    )?;
    replace(PadInputs::ARGUMENT, op, new)
}

/// Is there padding that a `graph.pad` can do?
fn needs_padding(low: &[i64], high: &[i64]) -> bool {
    low.iter().all(|amount| *amount >= 0) && low.iter().chain(high).any(|amount| *amount > 0)
}

/// What of `high` is padding, and what is cropping.
fn split(high: &[i64]) -> (Vec<i64>, Vec<i64>) {
    high.iter().map(|amount| ((*amount).max(0), (*amount).min(0))).unzip()
}

/// `value` with elements `with` around it: low, high and interior amounts per axis.
pub fn pad<'c, 'a>(
    before: OperationRef<'c, 'a>,
    value: Value<'c, '_>,
    r#type: &TensorType,
    with: Scalar,
    [low, high, interior]: [Vec<i64>; 3],
) -> Result<Value<'c, 'a>, String> {
    let (context, location) = (context_of(before), before.location());
    let constant = write_constant(context, &Tensor::scalar(r#type.element, with));
    let scalar = TensorType::new(r#type.element, Vec::<Dim>::new()).to_type(context);
    let constant = insert(before, Constant::create(context, location, constant, &[scalar]));
    pad_with(before, value, constant, [low, high, interior])
}

/// The same with a 0-d value.
pub fn pad_with<'c, 'a>(
    before: OperationRef<'c, 'a>,
    value: Value<'c, '_>,
    with: Value<'c, '_>,
    [low, high, interior]: [Vec<i64>; 3],
) -> Result<Value<'c, 'a>, String> {
    Ok(insert(before, Pad::create(context_of(before), before.location(), value, with, low, high, interior)?))
}
