//! `graph.softmax`: exp(x - max) / sum(exp(x - max)) along an axis.

use crate::{
    dialect::Softmax,
    eval::EvalContext,
    infer::unary_types,
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role},
    ops::fold::{Fold, accumulator, constant},
    tensor::{Scalar, Tensor},
    types::check_axis,
};
use winze_mlir::{melior::ir::OperationRef, op_hooks::OpHooks};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.softmax",
    role: Role::Softmax,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn verify(op: OperationRef) -> Result<(), String> {
    check_axis(Softmax(op).axis(), unary_types(op)?.0.rank()).map(|_| ())
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let axis = check_axis(Softmax(op).axis(), shape.len())?;
    let input = &inputs[0];
    let row = |index: &[usize]| -> Vec<f64> {
        let mut index = index.to_vec();
        (0..shape[axis])
            .map(|i| {
                index[axis] = i;
                input.at(&index).f64()
            })
            .collect()
    };
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let row = row(index);
        let max = row.iter().fold(f64::NEG_INFINITY, |max, x| if max.is_nan() || x.is_nan() { f64::NAN } else { max.max(*x) });
        let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
        Scalar::Float((row[index[axis]] - max).exp() / sum)
    })])
}

/// Three passes over each row: maximum, exponentials, their sum and quotients. The exponentials are a tensor of the result's size, of which a tile of
/// rows keeps its rows.
fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let axis = check_axis(Softmax(op).axis(), input.rank())?;
    let element = accumulator(input.element);
    let storage = cx.storage(element);
    let outer: Vec<usize> = (0..input.rank()).filter(|i| *i != axis).collect();
    let outer_dims: Vec<_> = outer.iter().map(|i| input.dims[*i].clone()).collect();

    // All passes have the same loops, in the order of the axes.
    let row_map: Vec<_> = outer.iter().map(|i| cx.loop_dim(*i)).collect();
    let part = Part { tensor, element: input.element, map: cx.identity(input.rank()) };
    let reduction: Vec<bool> = (0..input.rank()).map(|i| i == axis).collect();
    let start = |fold: Fold| -> Result<Part<'c>, String> {
        let neutral = constant(&cx.builder, element, fold.neutral(element));
        let tensor = cx.fill(neutral, cx.empty(storage, &outer_dims)?);
        Ok(Part { tensor, element, map: row_map.clone() })
    };

    let maximum = start(Fold::Max)?;
    let max = cx.generic(&[part], &[maximum], &reduction, |b, x| vec![Fold::Max.lower(b, element, x[1], b.widen(input.element, x[0]))])[0];
    let whole = Part { tensor, element: input.element, map: cx.identity(input.rank()) };
    let max = Part { tensor: max, element, map: row_map.clone() };
    let exponentials = cx.map(&[whole, max], cx.empty(storage, &input.dims)?, element, |b, x| {
        b.same("math.exp", &[b.same("arith.subf", &[b.widen(input.element, x[0]), x[1]])])
    });

    let total = start(Fold::Add)?;
    let part = Part { tensor: exponentials, element, map: cx.identity(input.rank()) };
    let sum = cx.generic(&[part], &[total], &reduction, |b, x| vec![Fold::Add.lower(b, element, x[1], x[0])])[0];
    let whole = Part { tensor: exponentials, element, map: cx.identity(input.rank()) };
    let sum = Part { tensor: sum, element, map: row_map.clone() };
    let destination = cx.destination(op, 0)?;
    let value = cx.map(&[whole, sum], destination, input.element, |b, x| {
        // The reciprocal is one per row.
        let scale = b.same("arith.divf", &[b.number(element, 1.0), x[1]]);
        b.narrow(input.element, b.same("arith.mulf", &[x[0], scale]))
    });
    Ok(vec![value])
}
