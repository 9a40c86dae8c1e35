//! `graph.packed_conv`: convolution of an already padded input with constant filters stored in panels.

use super::{
    dot_general::{eval_multiply_add, result_element},
    packed_dot::{FOUR, check_panels, in_four},
};
use crate::{
    dialect::PackedConv,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{LowerContext, Op, Part, Val, contract_panels},
    op::{OpDefinition, Role},
    tensor::{Scalar, Tensor},
    types::TensorType,
};
use winze_mlir::{
    melior::ir::{AffineExpr, OperationRef, Type},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.packed_conv",
    role: Role::Contraction,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (input, weights) = (operand_type(cx, 0)?, operand_type(cx, 1)?);
    let spatial = input.rank().checked_sub(2).filter(|n| *n > 0).ok_or("the input needs a batch, a channel and a spatial axis")?;
    let fours = weights.rank() == spatial + 4 && weights.dims[spatial + 3].as_static() == Some(FOUR);
    if weights.rank() != spatial + 3 && !fours {
        return Err(format!("weights have {} axes; {spatial} spatial axes need {}, and {FOUR} more in fours", weights.rank(), spatial + 3));
    }
    let (strides, dilation): (Vec<i64>, Vec<i64>) = (attribute(cx, "strides")?, attribute(cx, "filter_dilation")?);
    if strides.len() != spatial || dilation.len() != spatial || strides.iter().chain(&dilation).any(|n| *n < 1) {
        return Err(format!("strides and dilation need {spatial} entries of at least 1"));
    }
    let width: i64 = attribute(cx, "width")?;
    check_panels(&weights.dims[0], &weights.dims[spatial + 2], width)?;
    let last = cx.attribute("channels_last").is_some();
    let (channel, first) = axes(last, spatial);
    let groups: i64 = attribute(cx, "groups")?;
    let whole = &weights.dims[0] * &weights.dims[spatial + 2] == Dim::from(width);
    if groups < 1 || (groups > 1 && !(whole && weights.dims[0].is_multiple_of(groups))) {
        return Err(format!("{groups} groups of {width} output channels do not fill the same number of panels"));
    }
    let (first_tap, steps) = weight_axes(last, spatial);
    let per_group = if fours { &weights.dims[steps] * &Dim::from(FOUR) } else { weights.dims[steps].clone() };
    if input.dims[channel] != &per_group * &Dim::from(groups) {
        return Err(format!("the input has {} channels, the filters {per_group} in each of {groups} groups", input.dims[channel]));
    }
    let mut dims = input.dims.clone();
    dims[channel] = Dim::from(width);
    for i in 0..spatial {
        let taps = weights.dims[first_tap + i].as_static().ok_or("weights have static extents")?;
        let reach = (taps - 1) * dilation[i] + 1;
        let room = &input.dims[first + i] - &Dim::from(reach);
        if room.as_static().is_some_and(|room| room < 0) {
            return Err(format!("spatial axis {i} has {} elements, the filter reaches over {reach}", input.dims[first + i]));
        }
        dims[first + i] = &room.floor_div(&Dim::from(strides[i])) + &Dim::from(1);
    }
    let element = result_element(input.element, weights.element, cx.attribute("accumulate"))?;
    Ok(vec![TensorType::new(element, dims).to_type(cx.context)])
}

/// Channel axis and first spatial axis.
fn axes(channels_last: bool, spatial: usize) -> (usize, usize) {
    if channels_last { (spatial + 1, 1) } else { (1, 2) }
}

/// First tap axis and channel axis of the weights: channels that stand far apart in the input come outside the taps, so that those of one are read
/// together.
fn weight_axes(channels_last: bool, spatial: usize) -> (usize, usize) {
    if channels_last { (1, spatial + 1) } else { (2, 1) }
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let [input, weights] = inputs else { return Err("needs two operands".into()) };
    let op = PackedConv(op);
    let spatial = shape.len() - 2;
    let (channel, first) = axes(op.channels_last(), spatial);
    let (strides, dilation, panel) = (op.strides(), op.filter_dilation(), weights.shape[spatial + 2]);
    let together = weights.shape.get(spatial + 3).copied().unwrap_or(1);
    let (first_tap, steps) = weight_axes(op.channels_last(), spatial);
    let (taps, channels) = (&weights.shape[first_tap..first_tap + spatial], weights.shape[steps] * together);
    let positions: usize = taps.iter().product();
    let panels_per_group = weights.shape[0] / op.groups() as usize;
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let out = index[channel];
        let mut sum = Scalar::of(result.element, 0);
        for position in 0..positions {
            let (mut tap, mut rest) = (vec![0; spatial], position);
            for i in (0..spatial).rev() {
                (tap[i], rest) = (rest % taps[i], rest / taps[i]);
            }
            let mut at = index.to_vec();
            for i in 0..spatial {
                at[first + i] = index[first + i] * strides[i] as usize + tap[i] * dilation[i] as usize;
            }
            for c in 0..channels {
                at[channel] = out / panel / panels_per_group * channels + c;
                let mut weight: Vec<usize> = [&[out / panel, c / together][..], &tap, &[out % panel, c % together]].concat();
                // The channel behind the taps.
                weight[1..steps + 1].rotate_left(1);
                sum = eval_multiply_add(sum, input.at(&at), weights.at(&weight[..weights.shape.len()]));
            }
        }
        sum
    })])
}

/// Loops: result axes with the panel in the channel's place, taps and input channel as in the weights, lane; and which of a four.
fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((input, input_type), (weights, weights_type)) = (cx.operand(op, 0)?, cx.operand(op, 1)?);
    let result = cx.result_type(op, 0)?;
    let conv = PackedConv(op);
    let (rank, spatial) = (result.rank(), result.rank() - 2);
    let (channel, first) = axes(conv.channels_last(), spatial);
    let (strides, dilation) = (conv.strides(), conv.filter_dilation());
    // Loops stand as the axes of the weights, behind the panel's.
    let (first_tap, steps) = weight_axes(conv.channels_last(), spatial);
    let tap = |i: usize| cx.loop_dim(rank + first_tap - 1 + i);
    let (in_channel, lane) = (cx.loop_dim(rank + steps - 1), cx.loop_dim(rank + spatial + 1));
    let constant = |value| AffineExpr::constant(cx.context(), value);
    let fours = weights_type.rank() == spatial + 4;
    let within = fours.then(|| cx.loop_dim(rank + spatial + 2));
    let mut input_map = cx.identity(rank);
    let step = in_four(cx, in_channel, within);
    input_map[channel] = match conv.groups() {
        1 => step,
        groups => {
            let extent = |axis: usize| weights_type.dims[axis].as_static().ok_or("weights have static extents");
            let group = AffineExpr::floor_div(cx.loop_dim(channel), constant(extent(0)? / groups));
            let per_group = extent(steps)? * if fours { FOUR } else { 1 };
            group * constant(per_group) + step
        }
    };
    for i in 0..spatial {
        input_map[first + i] = cx.loop_dim(first + i) * constant(strides[i]) + tap(i) * constant(dilation[i]);
    }
    let inner: Vec<AffineExpr> = (0..=spatial).map(|i| cx.loop_dim(rank + i)).collect();
    let mut weight_map = [&[cx.loop_dim(channel)][..], &inner, &[lane]].concat();
    weight_map.extend(within);
    let mut dims = result.dims.clone();
    dims[channel] = weights_type.dims[0].clone();
    dims.push(weights_type.dims[spatial + 2].clone());
    let map = [&cx.identity(rank)[..], &[lane]].concat();
    let mut reduction = vec![false; rank + spatial + 2];
    reduction[rank..=rank + spatial].fill(true);
    reduction.extend(fours.then_some(true));
    let left = Part { tensor: input, element: input_type.element, map: input_map };
    let right = Part { tensor: weights, element: weights_type.element, map: weight_map };
    Ok(vec![contract_panels(cx, op, [left, right], &dims, map, &reduction, channel)?])
}
