//! Contractions on right sides in panels, as the CPU schedules expect them: a `linalg.generic` into accumulators with the panel last, and
//! `linalg.unpack`. Weights come in panels; `linalg.pack` makes them of a right side that is known at run time only.

use super::{
    builder::{Op, Val, first_result},
    context::{LowerContext, Part},
};
use crate::{dim::Dim, ops::dot_general::lower_multiply_add, types::TensorType};
use winze_mlir::{
    attributes::{self, AttributeValue},
    melior::ir::{AffineExpr, Attribute, ValueLike, attribute::DenseI64ArrayAttribute, operation::OperationResult},
};

/// Attribute of the contraction among the operations of a kernel.
const CONTRACTION: &str = "winze.contraction";

/// Contracts `inputs` (activations, weights) into accumulators of extents `dims`, whose last axis is the panel's lanes and whose axis `packed` counts
/// panels, and unpacks them to the op's result. `map` says where an accumulator stands over the loops.
pub fn contract_panels<'c>(
    cx: &mut LowerContext<'c>,
    op: Op<'c>,
    inputs: [Part<'c>; 2],
    dims: &[Dim],
    map: Vec<AffineExpr<'c>>,
    reduction: &[bool],
    packed: usize,
) -> Result<Val<'c>, String> {
    let elements = [inputs[0].element, inputs[1].element];
    let element = cx.result_type(op, 0)?.element;
    let accumulator = cx.builder.compute_type(element);
    let empty = cx.empty(accumulator, dims)?;
    let filled = cx.fill(cx.builder.constant(accumulator, 0.0), empty);
    let output = Part { tensor: filled, element, map };
    let contracted = cx.generic(&inputs, &[output], reduction, |b, values| {
        vec![lower_multiply_add(b, element, values[2], [(elements[0], values[0]), (elements[1], values[1])])]
    })[0];
    let contraction = OperationResult::try_from(contracted).map_err(|e| e.to_string())?.owner();
    attributes::set(contraction, CONTRACTION, Attribute::unit(cx.context()));

    let result = cx.result_type(op, 0)?;
    let narrow = accumulator == cx.storage(element);
    let target = if narrow { cx.destination(op, 0)? } else { cx.empty(accumulator, &result.dims)? };
    let panel = dims.last().and_then(Dim::as_static).ok_or("panels have a static width")?;
    let context = cx.context();
    let named = [
        ("inner_dims_pos", DenseI64ArrayAttribute::new(context, &[packed as i64]).into()),
        ("static_inner_tiles", DenseI64ArrayAttribute::new(context, &[panel]).into()),
        ("outer_dims_perm", Vec::<i64>::new().to_attribute(context)),
    ];
    let unpacked = cx.builder.op("linalg.unpack", &[contracted, target], &[target.r#type()], &named);
    let value = first_result(unpacked);
    if narrow {
        return Ok(value);
    }
    let destination = cx.destination(op, 0)?;
    let part = Part { tensor: value, element, map: cx.identity(result.rank()) };
    Ok(cx.map(&[part], destination, element, |b, values| b.narrow(element, values[0])))
}

/// Packs `tensor` in panels of `panel` along axis `packed`. The outer axes of the result are those of `order`, with the number of panels in place of
/// the extent of `packed`; the lanes are its last axis.
pub fn pack_panels<'c>(
    cx: &LowerContext<'c>,
    (tensor, r#type): (Val<'c>, &TensorType),
    order: &[usize],
    packed: usize,
    panel: i64,
) -> Result<Val<'c>, String> {
    let storage = cx.storage(r#type.element);
    let panels = |axis: usize| if axis == packed { r#type.dims[axis].ceil_div(&Dim::from(panel)) } else { r#type.dims[axis].clone() };
    let mut dims: Vec<Dim> = order.iter().map(|axis| panels(*axis)).collect();
    dims.push(Dim::from(panel));
    let target = cx.empty(storage, &dims)?;
    let zero = cx.builder.constant(storage, 0.0);
    let context = cx.context();
    let order: Vec<i64> = order.iter().map(|axis| *axis as i64).collect();
    let named = [
        ("inner_dims_pos", DenseI64ArrayAttribute::new(context, &[packed as i64]).into()),
        ("static_inner_tiles", DenseI64ArrayAttribute::new(context, &[panel]).into()),
        ("outer_dims_perm", DenseI64ArrayAttribute::new(context, &order).into()),
        ("operandSegmentSizes", attributes::segments(context, &[1, 1, 1, 0])),
    ];
    Ok(cx.builder.value("linalg.pack", &[tensor, target, zero], target.r#type(), &named))
}
