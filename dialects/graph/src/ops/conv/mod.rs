//! `graph.conv`: convolution over 1 to 3 spatial axes.

use crate::{
    dialect::Conv,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type, per_axis},
    lower::{LowerContext, Op, Part, ScalarBuilder, Val},
    op::{OpDefinition, Role},
    ops::{
        dot_general::{eval_multiply_add, lower_multiply_add, result_element},
        fold::accumulate,
        window::Window,
    },
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType},
};
use winze_mlir::{
    melior::ir::{AffineExpr, OperationRef, Type},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.conv",
    role: Role::Contraction,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// Numbers of a convolution; input and result axes are (N, C, spatial...) or (N, spatial..., C).
pub struct Shape {
    pub windows: Vec<Window>,
    pub groups: i64,
    pub channels_last: bool,
}

impl Shape {
    /// Axis of the channels in input and result.
    pub fn channel_axis(&self) -> usize {
        if self.channels_last { self.windows.len() + 1 } else { 1 }
    }

    /// Axis of spatial axis `i` in input and result.
    pub fn spatial_axis(&self, i: usize) -> usize {
        if self.channels_last { i + 1 } else { i + 2 }
    }

    pub fn of(op: OperationRef) -> Result<Self, String> {
        let conv = Conv(op);
        let filter = TensorType::of(conv.filter())?;
        let list = |name: &str| {
            Ok(match name {
                "strides" => conv.strides(),
                "low" => conv.low(),
                "high" => conv.high(),
                "input_dilation" => conv.input_dilation(),
                _ => conv.filter_dilation(),
            })
        };
        Self::new(&filter, list, conv.groups(), conv.channels_last())
    }

    fn new(filter: &TensorType, list: impl Fn(&str) -> Result<Vec<i64>, String>, groups: i64, channels_last: bool) -> Result<Self, String> {
        let spatial = filter.rank().checked_sub(2).filter(|spatial| (1..=3).contains(spatial));
        let spatial = spatial.ok_or_else(|| format!("filter of rank {}; convolutions have 1 to 3 spatial axes", filter.rank()))?;
        let list = |name: &str| per_axis(name, list(name)?, spatial);
        let (stride, low, high) = (list("strides")?, list("low")?, list("high")?);
        let (input_dilation, dilation) = (list("input_dilation")?, list("filter_dilation")?);
        let window = |i: usize| {
            let size = filter.dims[i + 2].as_static().ok_or_else(|| format!("filter extent {} is not static", filter.dims[i + 2]))?;
            Ok(Window { size, stride: stride[i], low: low[i], high: high[i], input_dilation: input_dilation[i], dilation: dilation[i] })
        };
        Ok(Self { windows: (0..spatial).map(window).collect::<Result<_, String>>()?, groups, channels_last })
    }
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (input, filter) = (operand_type(cx, 0)?, operand_type(cx, 1)?);
    let channels_last = cx.attribute("channels_last").is_some();
    let shape = Shape::new(&filter, |name| attribute(cx, name), attribute(cx, "groups")?, channels_last)?;
    if input.rank() != filter.rank() {
        return Err(format!(
            "input of rank {} and filter of rank {}; both have a batch or output axis, channels, and spatial axes",
            input.rank(),
            filter.rank()
        ));
    }
    let (channels, outputs) = (&input.dims[shape.channel_axis()], &filter.dims[0]);
    if shape.groups < 1 || !outputs.is_multiple_of(shape.groups) {
        return Err(format!("{} groups do not divide {outputs} output channels", shape.groups));
    }
    if *channels != &filter.dims[1] * &Dim::from(shape.groups) {
        return Err(format!("{channels} input channels, but the filter takes {} in each of {} groups", filter.dims[1], shape.groups));
    }
    let mut dims = input.dims.clone();
    dims[shape.channel_axis()] = outputs.clone();
    for (i, window) in shape.windows.iter().enumerate() {
        let axis = shape.spatial_axis(i);
        dims[axis] = window.extent(&input.dims[axis], axis)?;
    }
    let element = result_element(input.element, filter.element, cx.attribute("accumulate"))?;
    Ok(vec![TensorType::new(element, dims).to_type(cx.context)])
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, result_shape) = cx.result_type(op, 0)?;
    let shape = Shape::of(op)?;
    let (input, filter) = (&inputs[0], &inputs[1]);
    let (channel_axis, spatial) = (shape.channel_axis(), shape.windows.len());
    let outputs_per_group = filter.shape[0] / shape.groups as usize;
    Ok(vec![Tensor::from_index_fn(result.element, &result_shape, |index| {
        let output = index[channel_axis];
        let first_channel = output / outputs_per_group * filter.shape[1];
        let mut sum = Scalar::of(result.element, 0);
        Tensor::from_index_fn(ElementType::Bool, &filter.shape[1..], |tap| {
            let mut source = index.to_vec();
            source[channel_axis] = first_channel + tap[0];
            let inside = (0..spatial).all(|i| {
                let axis = shape.spatial_axis(i);
                let at = shape.windows[i].tap(index[axis], tap[i + 1], input.shape[axis]);
                at.inspect(|at| source[axis] = *at).is_some()
            });
            if inside {
                let tap: Vec<usize> = std::iter::once(output).chain(tap.iter().copied()).collect();
                sum = eval_multiply_add(sum, input.at(&source), filter.at(&tap));
            }
            Scalar::Bool(true)
        });
        sum
    })])
}

/// Loops: the result's axes, then input channels of a group, then taps. Where every tap is on an element and groups are one or one channel each, input
/// positions are affine; otherwise they are computed and taps outside read as zero.
fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((tensor, input), (filter_tensor, filter)) = (cx.operand(op, 0)?, cx.operand(op, 1)?);
    let shape = Shape::of(op)?;
    let (rank, spatial, channel_axis) = (input.rank(), shape.windows.len(), shape.channel_axis());
    let reduction: Vec<bool> = (0..2 * rank - 1).map(|position| position >= rank).collect();
    let depthwise = filter.dims[1] == Dim::from(1) && filter.dims[0] == Dim::from(shape.groups);
    let affine = shape.windows.iter().all(Window::is_dense) && (shape.groups == 1 || depthwise);
    let extents = input.dims.iter().map(|dim| cx.extent(dim)).collect::<Result<Vec<_>, _>>()?;
    let outputs_per_group = cx.extent(&filter.dims[0].floor_div(&Dim::from(shape.groups)))?;
    let channels_per_group = cx.extent(&filter.dims[1])?;
    let elements = [input.element, filter.element];
    let value = accumulate(
        cx,
        op,
        |element| Scalar::of(element, 0),
        |cx, output| {
            let element = output.element;
            let mut map = vec![cx.loop_dim(channel_axis)];
            map.extend((0..=spatial).map(|i| cx.loop_dim(rank + i)));
            let filter_part = Part { tensor: filter_tensor, element: filter.element, map };
            if affine {
                let number = |value| AffineExpr::constant(cx.context(), value);
                let mut map = cx.identity(rank);
                if !depthwise {
                    map[channel_axis] = cx.loop_dim(rank);
                }
                for (i, window) in shape.windows.iter().enumerate() {
                    let axis = shape.spatial_axis(i);
                    map[axis] = window.affine(cx.loop_dim(axis), Some(cx.loop_dim(rank + 1 + i)), number);
                }
                let part = Part { tensor, element: input.element, map };
                let body = |b: &ScalarBuilder<'c>, x: &[Val<'c>]| {
                    vec![lower_multiply_add(b, element, x[2], [(elements[0], x[0]), (elements[1], x[1])])]
                };
                return Ok(cx.generic(&[part, filter_part], &[output], &reduction, body)[0]);
            }
            let body = |b: &ScalarBuilder<'c>, x: &[Val<'c>]| {
                let mut source: Vec<Val> = (0..rank).map(|i| b.loop_index(i)).collect();
                source[channel_axis] = match shape.groups {
                    1 => b.loop_index(rank),
                    _ => {
                        let group = b.same("arith.divui", &[source[channel_axis], outputs_per_group]);
                        let first = b.same("arith.muli", &[group, channels_per_group]);
                        b.same("arith.addi", &[first, b.loop_index(rank)])
                    }
                };
                let mut inside: Option<Val> = None;
                for (i, window) in shape.windows.iter().enumerate() {
                    let axis = shape.spatial_axis(i);
                    let (index, fits) = window.lower_tap(b, source[axis], Some(b.loop_index(rank + 1 + i)), extents[axis]);
                    source[axis] = index;
                    inside = match (inside, fits) {
                        (Some(a), Some(fits)) => Some(b.same("arith.andi", &[a, fits])),
                        (a, fits) => a.or(fits),
                    };
                }
                let load = |b: &ScalarBuilder<'c>| b.extract(tensor, &source);
                let stored = input.element.to_scalar_type(b.context);
                let value = match inside {
                    Some(inside) => b.if_else(inside, stored, load, |b| b.constant(stored, 0.0)),
                    None => load(b),
                };
                vec![lower_multiply_add(b, element, x[1], [(elements[0], value), (elements[1], x[0])])]
            };
            Ok(cx.generic(&[filter_part], &[output], &reduction, body)[0])
        },
    )?;
    Ok(vec![value])
}
