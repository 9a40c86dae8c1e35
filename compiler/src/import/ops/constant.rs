//! Constant, ConstantOfShape, Identity, Dropout, EyeLike, Range.

use super::{OpResult, Row, index::positions, row};
use crate::{
    constants::{ConstantType, Scalar, Source},
    import::{
        error::Failure,
        node::NodeContext,
        value::{Data, Tensor},
    },
};
use winze_graph::{
    dialect::{Add, And, Ceil, Div, Gt, Maximum, Mul, Sign, Sub},
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[
    row("Constant", constant),
    row("ConstantOfShape", constant_of_shape),
    row("Identity", identity),
    row("Dropout", dropout),
    row("EyeLike", eye_like),
    row("Range", range),
];

/// More elements than any known range has.
const MAX_RANGE: f64 = (1u64 << 28) as f64;

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn store<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, element: ElementType, dims: Vec<i64>, bytes: Vec<u8>) -> OpResult<'c, 'a> {
    let name = cx.node.output.first().cloned().unwrap_or_default();
    let r#type = TensorType::fixed(element, &dims);
    let added = cx.importer.store.add(&name, ConstantType::new(element, dims), Source::Inline(bytes));
    let id = added.map_err(|error| Failure::Invalid(error.to_string()))?;
    Ok(vec![Tensor::new(r#type, Data::Constant(id))])
}

fn constant<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    if let Some(tensor) = cx.tensor_attribute("value")? {
        let name = cx.node.output.first().cloned().unwrap_or_default();
        return Ok(vec![cx.importer.constant(tensor, &name)?]);
    }
    if let Some(value) = cx.int("value_int")? {
        return store(cx, ElementType::I64, vec![], value.to_le_bytes().to_vec());
    }
    if let Some(value) = cx.float("value_float")? {
        return store(cx, ElementType::F32, vec![], (value as f32).to_le_bytes().to_vec());
    }
    if let Some(values) = cx.ints("value_ints")? {
        return store(cx, ElementType::I64, vec![values.len() as i64], values.iter().flat_map(|x| x.to_le_bytes()).collect());
    }
    if let Some(values) = cx.floats("value_floats")? {
        return store(cx, ElementType::F32, vec![values.len() as i64], values.iter().flat_map(|x| x.to_le_bytes()).collect());
    }
    for other in ["sparse_value", "value_string", "value_strings"] {
        if cx.has_attribute(other) {
            return Ok(Failure::unsupported(format!("the attribute `{other}`"))?);
        }
    }
    Ok(Failure::invalid("it has no value")?)
}

fn constant_of_shape<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let dims = cx.sizes_input(0, "extents of the shape", |_| None)?;
    if dims.iter().any(|dim| dim.as_static().is_some_and(|dim| dim < 0)) {
        return Ok(Failure::invalid(format!("the shape {dims:?}"))?);
    }
    let value = match cx.tensor_attribute("value")? {
        Some(tensor) => {
            let value = cx.importer.constant(tensor, "value")?;
            Tensor { narrow: value.narrow, ..cx.reshape(&value, vec![])? }
        }
        None => cx.scalar(ElementType::F32, 0.0)?,
    };
    Ok(vec![Tensor { narrow: value.narrow, ..cx.broadcast_to(&value, &dims)? }])
}

fn identity<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    Ok(vec![cx.input(0)?])
}

/// The identity at inference; the mask is all true.
fn dropout<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    if cx.version >= 12 {
        cx.ignore(&["seed"]);
    }
    let training = match cx.optional(2) {
        Some(_) if cx.open_operand(2).is_some() => return dropout_while_running(cx, x),
        Some(_) => !matches!(cx.scalar_input(2, "modes")?, Scalar::Unsigned(0) | Scalar::Signed(0)),
        None => cx.version < 7 && cx.int_or("is_test", 0)? == 0 && cx.has_attribute("is_test"),
    };
    // With ratio 0 nothing is dropped.
    let ratio = match cx.optional(1) {
        Some(_) if training => cx.scalar_input(1, "ratios")?.to_f64(),
        _ if cx.version < 12 => cx.float_or("ratio", 0.5)?,
        _ => 0.5,
    };
    if training && ratio != 0.0 {
        return Ok(Failure::unsupported("training; export the model for inference")?);
    }
    keep_all(cx, x)
}

/// Nothing is dropped.
fn keep_all<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    if cx.node.output.len() < 2 {
        return Ok(vec![x]);
    }
    let all = cx.scalar(ElementType::Bool, 1.0)?;
    let mask = cx.broadcast_to(&all, x.dims())?;
    Ok(vec![x, mask])
}

/// A mode that only the run knows: a run that would drop something stops.
fn dropout_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let mode = cx.input(2)?;
    let mode = cx.reshape(&mode, vec![])?;
    let ratio = match cx.optional(1) {
        Some(ratio) => cx.reshape(&ratio, vec![])?,
        None => cx.scalar(ElementType::F32, 0.5)?,
    };
    let zero = cx.scalar(ratio.element(), 0.0)?;
    let some = cx.compare(Gt::create, &ratio, &zero)?;
    let drops = cx.binary(And::create, &mode, &some)?;
    let none = Dim::from(0);
    cx.check_size(&drops, "training mode, which is not supported,", &none, &none)?;
    keep_all(cx, x)
}

fn eye_like<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    if x.rank() != 2 {
        return Ok(Failure::invalid(format!("an input of rank {}", x.rank()))?);
    }
    let element = match cx.int("dtype")? {
        Some(dtype) => crate::import::tensor::element_type(i32::try_from(dtype).unwrap_or(-1))?,
        None => x.element(),
    };
    let k = cx.int_or("k", 0)?;
    let column = positions(cx, &x.dims()[1], ElementType::I64)?;
    let row = positions(cx, &x.dims()[0], ElementType::I64)?;
    let row = cx.reshape(&row, vec![x.dims()[0].clone(), Dim::from(1)])?;
    let offset = cx.scalar_of(ElementType::I64, Scalar::Signed(k))?;
    let diagonal = cx.binary(winze_graph::dialect::Add::create, &row, &offset)?;
    let hit = cx.compare(winze_graph::dialect::Eq::create, &diagonal, &column)?;
    Ok(vec![cx.convert(&hit, element)?])
}

/// `start + i * delta`; known floats are computed in f64.
fn range<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (start, limit, delta) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    // Of sums of f16 and bf16; elements are products, which are rounded once.
    cx.ignore(&["stash_type"]);
    let element = start.element();
    let known = |x: &Tensor<'c, 'a>| cx.scalar_constant(x);
    if let (Some(start), Some(limit), Some(delta)) = (known(&start), known(&limit), known(&delta)) {
        let count = match (element.is_float(), start.to_i64(), limit.to_i64(), delta.to_i64()) {
            (false, Some(start), Some(limit), Some(delta)) if delta != 0 => {
                let (distance, delta) = (i128::from(limit) - i128::from(start), i128::from(delta));
                ((distance + delta - delta.signum()) / delta).max(0) as f64
            }
            _ => ((limit.to_f64() - start.to_f64()) / delta.to_f64()).ceil().max(0.0),
        };
        if !(0.0..MAX_RANGE).contains(&count) {
            return Ok(Failure::invalid(format!("{count} elements from {} to {} by {}", start.to_f64(), limit.to_f64(), delta.to_f64()))?);
        }
        let mut bytes = vec![];
        for i in 0..count as i64 {
            let value = match (start.to_i64(), delta.to_i64()) {
                (Some(start), Some(delta)) if !element.is_float() => Scalar::Signed(start.wrapping_add(i.wrapping_mul(delta))),
                _ => Scalar::Float(start.to_f64() + i as f64 * delta.to_f64()),
            };
            value.write(element, &mut bytes);
        }
        return store(cx, element, vec![count as i64], bytes);
    }
    let ints = |x: &Tensor<'c, 'a>| match cx.scalar_constant(x) {
        Some(Scalar::Float(value)) if value.fract() == 0.0 && value.abs() < MAX_RANGE => Some(Dim::from(value as i64)),
        _ => cx.integers(x).and_then(|items| items.first().cloned()),
    };
    if (0..3).any(|i| cx.open_operand(i).is_some()) {
        return range_while_running(cx, &[start, limit, delta]);
    }
    let (Some(first), Some(limit), Some(by)) = (ints(&start), ints(&limit), ints(&delta)) else {
        // The first that is unknown says which inputs would make it known.
        (0..3).try_for_each(|i| cx.scalar_input(i, "bounds").map(drop))?;
        return Ok(Failure::unsupported("symbolic bounds of another type than integers")?);
    };
    if by.as_static().is_none_or(|by| by <= 0) {
        return Ok(Failure::unsupported(format!("steps of {by} between symbolic bounds"))?);
    }
    let count = (&limit - &first).ceil_div(&by);
    let place = positions(cx, &count, element)?;
    let scaled = cx.binary(Mul::create, &place, &delta)?;
    Ok(vec![cx.binary(Add::create, &scaled, &start)?])
}

/// Limits or a step that only the run knows.
fn range_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, [start, limit, delta]: &[Tensor<'c, 'a>; 3]) -> OpResult<'c, 'a> {
    let element = start.element();
    let mut scalar = |x: &Tensor<'c, 'a>| cx.reshape(x, vec![]);
    let (start, limit, delta) = (scalar(start)?, scalar(limit)?, scalar(delta)?);
    let count = if element.is_float() {
        let distance = cx.binary(Sub::create, &limit, &start)?;
        let steps = cx.binary(Div::create, &distance, &delta)?;
        let steps = cx.unary(Ceil::create, &steps)?;
        cx.convert(&steps, ElementType::I64)?
    } else {
        // Rounded up: the distance is taken from just before the limit.
        let zero = cx.number(&Dim::from(0));
        let (from, to) = (cx.convert(&start, ElementType::I64)?, cx.convert(&limit, ElementType::I64)?);
        let by = cx.convert(&delta, ElementType::I64)?;
        let sign = cx.unary(Sign::create, &by)?;
        let distance = cx.binary(Sub::create, &to, &from)?;
        let distance = cx.binary(Mul::create, &distance, &sign)?;
        let stride = cx.binary(Mul::create, &by, &sign)?;
        cx.check_size(&stride, "size of the step", &Dim::from(1), &Dim::from(i64::MAX))?;
        let one = cx.number(&Dim::from(1));
        let distance = cx.binary(Maximum::create, &distance, &zero)?;
        let before = cx.binary(Sub::create, &stride, &one)?;
        let distance = cx.binary(Add::create, &distance, &before)?;
        cx.binary(Div::create, &distance, &stride)?
    };
    let zero = cx.number(&Dim::from(0));
    let count = cx.binary(Maximum::create, &count, &zero)?;
    // The limit says most about the number; a user may name any of the operands.
    let from = (0..3).rev().find(|i| cx.open_operand(*i).is_some() && *i != 2).unwrap_or(2);
    let from = cx.operand_name(from).to_string();
    let count = cx.size(&count, "numbers", &from, None)?;
    let place = positions(cx, &count, element)?;
    let scaled = cx.binary(Mul::create, &place, &delta)?;
    Ok(vec![cx.binary(Add::create, &scaled, &start)?])
}
