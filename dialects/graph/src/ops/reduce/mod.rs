//! `graph.reduce`: folds axes away.

use crate::{
    dialect::Reduce,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role},
    ops::fold::{Fold, accumulate},
    tensor::{Scalar, Tensor},
    types::{TensorType, check_axes},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.reduce",
    role: Role::Reduction,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn kept(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !axes.contains(axis)).collect()
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let input = operand_type(cx, 0)?;
    Fold::parse(&attribute::<String>(cx, "kind")?, input.element)?;
    let axes = check_axes(&attribute::<Vec<i64>>(cx, "axes")?, input.rank())?;
    let dims = kept(input.rank(), &axes).into_iter().map(|axis| input.dims[axis].clone()).collect();
    Ok(vec![TensorType::new(input.element, dims).to_type(cx.context)])
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let fold = Fold::parse(&Reduce(op).kind(), result.element)?;
    let input = &inputs[0];
    let axes = check_axes(&Reduce(op).axes(), input.rank())?;
    let kept = kept(input.rank(), &axes);
    let mut folded = vec![fold.neutral(result.element); shape.iter().product()];
    // How far a step along an axis leads in the result.
    let mut strides = vec![0; input.rank()];
    kept.iter().rev().fold(1, |stride, axis| {
        strides[*axis] = stride;
        stride * input.shape[*axis]
    });
    // Visits every element once, in order, and folds it where it belongs.
    let (mut index, mut place) = (vec![0; input.rank()], 0);
    for i in 0..input.count() {
        folded[place] = fold.eval(folded[place], input.get(i));
        for axis in (0..input.rank()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < input.shape[axis] {
                break;
            }
            place -= strides[axis] * input.shape[axis];
            index[axis] = 0;
        }
    }
    Ok(vec![Tensor::from_fn(result.element, &shape, |i: usize| -> Scalar { folded[i] })])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let fold = Fold::parse(&Reduce(op).kind(), input.element)?;
    let axes = check_axes(&Reduce(op).axes(), input.rank())?;
    let kept = kept(input.rank(), &axes);
    let value = accumulate(
        cx,
        op,
        |element| fold.neutral(element),
        |cx, output| {
            // Kept axes are the outer loops, so that the result is walked in order.
            let mut map = cx.identity(input.rank());
            for (position, axis) in kept.iter().chain(&axes).enumerate() {
                map[*axis] = cx.loop_dim(position);
            }
            let reduction: Vec<bool> = (0..input.rank()).map(|position| position >= kept.len()).collect();
            let part = Part { tensor, element: input.element, map };
            let element = output.element;
            Ok(cx.generic(&[part], &[output], &reduction, |b, x| vec![fold.lower(b, element, x[1], b.widen(input.element, x[0]))])[0])
        },
    )?;
    Ok(vec![value])
}
