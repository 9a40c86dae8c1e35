//! `graph.reduce_window`: folds sliding windows (pooling).

use crate::{
    dialect::ReduceWindow,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type, per_axis},
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role},
    ops::{
        fold::{Fold, accumulate, constant},
        window::Window,
    },
    tensor::Tensor,
    types::TensorType,
};
use winze_mlir::{
    melior::ir::{AffineExpr, OperationRef, Type},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.reduce_window",
    role: Role::Window,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn windows(rank: usize, list: impl Fn(&str) -> Result<Vec<i64>, String>) -> Result<Vec<Window>, String> {
    let list = |name: &str| per_axis(name, list(name)?, rank);
    let (size, stride, low, high, dilation) = (list("window")?, list("strides")?, list("low")?, list("high")?, list("dilation")?);
    let window =
        |i: usize| Window { size: size[i], stride: stride[i], low: low[i], high: high[i], input_dilation: 1, dilation: dilation[i] };
    Ok((0..rank).map(window).collect())
}

fn windows_of(op: OperationRef, rank: usize) -> Result<Vec<Window>, String> {
    let op = ReduceWindow(op);
    windows(rank, |name| {
        Ok(match name {
            "window" => op.window(),
            "strides" => op.strides(),
            "low" => op.low(),
            "high" => op.high(),
            _ => op.dilation(),
        })
    })
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let input = operand_type(cx, 0)?;
    Fold::parse(&attribute::<String>(cx, "kind")?, input.element)?;
    let windows = windows(input.rank(), |name| attribute(cx, name))?;
    let dims = windows.iter().enumerate().map(|(axis, window)| window.extent(&input.dims[axis], axis)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![TensorType::new(input.element, dims).to_type(cx.context)])
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let (input, fold) = (&inputs[0], Fold::parse(&ReduceWindow(op).kind(), result.element)?);
    let windows = windows_of(op, shape.len())?;
    let taps: Vec<usize> = windows.iter().map(|window| window.size as usize).collect();
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let mut folded = fold.neutral(result.element);
        Tensor::from_index_fn(crate::types::ElementType::Bool, &taps, |tap| {
            let source: Option<Vec<usize>> = (0..shape.len()).map(|i| windows[i].tap(index[i], tap[i], input.shape[i])).collect();
            if let Some(source) = source {
                folded = fold.eval(folded, input.at(&source));
            }
            crate::tensor::Scalar::Bool(true)
        });
        folded
    })])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let rank = input.rank();
    let fold = Fold::parse(&ReduceWindow(op).kind(), input.element)?;
    let windows = windows_of(op, rank)?;
    // Loops: positions, then the taps of axes whose window is wider than one element.
    let wide: Vec<usize> = (0..rank).filter(|axis| windows[*axis].size > 1).collect();
    let tap_of = |axis: usize| wide.iter().position(|wide| *wide == axis).map(|i| rank + i);
    let sizes: Vec<Dim> = wide.iter().map(|axis| Dim::from(windows[*axis].size)).collect();
    let reduction: Vec<bool> = (0..rank + wide.len()).map(|position| position >= rank).collect();
    let extents = input.dims.iter().map(|dim| cx.extent(dim)).collect::<Result<Vec<_>, _>>()?;
    let value = accumulate(
        cx,
        op,
        |element| fold.neutral(element),
        |cx, output| {
            let element = output.element;
            // Gives the tap loops their extents; never read.
            let taps = cx.empty(cx.storage(element), &sizes)?;
            let taps = Part { tensor: taps, element, map: (0..wide.len()).map(|i| cx.loop_dim(rank + i)).collect() };
            if windows.iter().all(Window::is_dense) {
                let number = |value| AffineExpr::constant(cx.context(), value);
                let map =
                    (0..rank).map(|axis| windows[axis].affine(cx.loop_dim(axis), tap_of(axis).map(|i| cx.loop_dim(i)), number)).collect();
                let part = Part { tensor, element: input.element, map };
                let body = |b: &crate::lower::Builder<'c>, x: &[Val<'c>]| vec![fold.lower(b, element, x[2], b.widen(input.element, x[0]))];
                return Ok(cx.generic(&[part, taps], &[output], &reduction, body)[0]);
            }
            let body = |b: &crate::lower::Builder<'c>, x: &[Val<'c>]| {
                let mut inside: Option<Val> = None;
                let mut source = vec![];
                for axis in 0..rank {
                    let (index, fits) =
                        windows[axis].lower_tap(b, b.loop_index(axis), tap_of(axis).map(|i| b.loop_index(i)), extents[axis]);
                    source.push(index);
                    inside = match (inside, fits) {
                        (Some(a), Some(fits)) => Some(b.same("arith.andi", &[a, fits])),
                        (a, fits) => a.or(fits),
                    };
                }
                let load = |b: &crate::lower::Builder<'c>| b.widen(input.element, b.load(input.element, b.extract(tensor, &source)));
                let x_or_neutral = match inside {
                    Some(inside) => b.if_else(inside, b.compute_type(element), load, |b| constant(b, element, fold.neutral(element))),
                    None => load(b),
                };
                vec![fold.lower(b, element, x[1], x_or_neutral)]
            };
            Ok(cx.generic(&[taps], &[output], &reduction, body)[0])
        },
    )?;
    Ok(vec![value])
}
