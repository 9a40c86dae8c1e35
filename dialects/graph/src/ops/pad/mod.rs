//! `graph.pad`: surrounds a tensor with a value; negative padding crops.

use crate::{
    dialect::Pad,
    dim::Dim,
    eval::EvalContext,
    infer::{at_least, attribute, operand_type, per_axis},
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
    types::TensorType,
};
use winze_mlir::{
    melior::ir::{OperationRef, Type},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.pad",
    role: Role::DataMovement,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (input, value) = (operand_type(cx, 0)?, operand_type(cx, 1)?);
    if value.rank() != 0 || value.element != input.element {
        return Err(format!("the padding value is {} of rank {}; give a 0-d tensor of {}", value.element, value.rank(), input.element));
    }
    let list = |name: &str| per_axis(name, attribute(cx, name)?, input.rank());
    let (low, high, interior) = (list("low")?, list("high")?, list("interior")?);
    at_least("interior", &interior, 0)?;
    let mut dims = vec![];
    for axis in 0..input.rank() {
        let extent = &spread(&input.dims[axis], interior[axis]) + &Dim::from(low[axis] + high[axis]);
        if extent.as_static().is_some_and(|extent| extent < 0) {
            return Err(format!("axis {axis} of extent {} would have extent {extent}; crop less", input.dims[axis]));
        }
        dims.push(extent);
    }
    Ok(vec![TensorType::new(input.element, dims).to_type(cx.context)])
}

/// Extent with `interior` elements between neighbours.
fn spread(extent: &Dim, interior: i64) -> Dim {
    match extent.as_static() {
        Some(0) => Dim::from(0),
        _ => extent + &(&(extent - &Dim::from(1)) * &Dim::from(interior)),
    }
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let (low, interior) = (Pad(op).low(), Pad(op).interior());
    let (input, value) = (&inputs[0], inputs[1].get(0));
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let source: Option<Vec<usize>> = (0..shape.len())
            .map(|axis| {
                let (position, step) = (index[axis] as i64 - low[axis], interior[axis] + 1);
                let inside = position >= 0 && position % step == 0 && position / step < input.shape[axis] as i64;
                inside.then_some((position / step) as usize)
            })
            .collect();
        source.map_or(value, |source| input.at(&source))
    })])
}

/// Without cropping: fill, then copy the input into its slice, with steps where there is padding between elements. Otherwise each element is chosen by its index.
fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((tensor, input), (value, _)) = (cx.operand(op, 0)?, cx.operand(op, 1)?);
    let (low, high, interior) = (Pad(op).low(), Pad(op).high(), Pad(op).interior());
    let result = cx.result_type(op, 0)?;
    let destination = cx.destination(op, 0)?;
    if low.iter().chain(&high).all(|edge| *edge >= 0) {
        let filled = cx.fill(cx.builder.extract(value, &[]), destination);
        let offsets: Vec<Dim> = low.iter().map(|edge| Dim::from(*edge)).collect();
        let strides: Vec<i64> = interior.iter().map(|gap| gap + 1).collect();
        let slice = cx.slice(filled, None, &offsets, &input.dims, &strides)?;
        let copied = cx.copy(tensor, slice, input.element);
        let padded = cx.slice(copied, Some(filled), &offsets, &input.dims, &strides)?;
        let axes: Vec<usize> = (0..input.rank()).filter(|axis| low[*axis] != 0 || high[*axis] != 0 || interior[*axis] != 0).collect();
        cx.mark_pieces(padded, &axes)?;
        return Ok(vec![padded]);
    }
    let extents = input.dims.iter().map(|dim| cx.extent(dim)).collect::<Result<Vec<_>, _>>()?;
    let part = Part { tensor: value, element: input.element, map: vec![] };
    let scalar = input.element.to_scalar_type(cx.context());
    let padded = cx.map(&[part], destination, result.element, |b, x| {
        let mut inside = b.constant_int(b.integer(1), 1);
        let mut source = vec![];
        for axis in 0..input.rank() {
            let position = b.same("arith.subi", &[b.loop_index(axis), b.index(low[axis])]);
            let (mut index, step) = (position, b.index(interior[axis] + 1));
            let mut fits = b.cmpi("sge", position, b.index(0));
            if interior[axis] > 0 {
                index = b.same("arith.divsi", &[position, step]);
                let on_element = b.cmpi("eq", b.same("arith.remsi", &[position, step]), b.index(0));
                fits = b.same("arith.andi", &[fits, on_element]);
            }
            fits = b.same("arith.andi", &[fits, b.cmpi("slt", index, extents[axis])]);
            inside = b.same("arith.andi", &[inside, fits]);
            source.push(index);
        }
        b.if_else(inside, scalar, |b| b.load(input.element, b.extract(tensor, &source)), |_| x[0])
    });
    Ok(vec![padded])
}
