//! Constant, ConstantOfShape, Identity, Dropout, Range of known length.

use super::{OpResult, Row, row};
use crate::{
    constants::{ConstantType, Scalar, Source},
    import::{
        error::Failure,
        node::NodeContext,
        value::{Data, Tensor},
    },
};
use winze_graph::types::{ElementType, TensorType};

pub const OPS: &[Row] = &[
    row("Constant", constant),
    row("ConstantOfShape", constant_of_shape),
    row("Identity", identity),
    row("Dropout", dropout),
    row("EyeLike", eye_like),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn store<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, element: ElementType, dims: Vec<i64>, bytes: Vec<u8>) -> OpResult<'c, 'a> {
    let name = cx.node.output.first().cloned().unwrap_or_default();
    let r#type = TensorType::fixed(element, &dims);
    let added = cx.importer.store.add(&name, ConstantType::new(element, dims), Source::Inline(bytes));
    let id = added.map_err(|error| Failure::Invalid(error.to_string()))?;
    Ok(vec![Tensor { r#type, data: Data::Constant(id) }])
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
    let dims = cx.dims_input(0, "shapes")?;
    if dims.iter().any(|dim| dim.as_static().is_some_and(|dim| dim < 0)) {
        return Ok(Failure::invalid(format!("the shape {dims:?}"))?);
    }
    let value = match cx.tensor_attribute("value")? {
        Some(tensor) => {
            let value = cx.importer.constant(tensor, "value")?;
            cx.reshape(&value, vec![])?
        }
        None => cx.scalar(ElementType::F32, 0.0)?,
    };
    Ok(vec![cx.broadcast_to(&value, &dims)?])
}

fn identity<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    Ok(vec![cx.input(0)?])
}

/// The identity at inference; the mask is all true.
fn dropout<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let training = match cx.optional(2) {
        Some(mode) => !matches!(cx.scalar_constant(&mode), Some(Scalar::Unsigned(0) | Scalar::Signed(0))),
        None => cx.version < 7 && cx.int_or("is_test", 0)? == 0 && cx.has_attribute("is_test"),
    };
    if training {
        return Ok(Failure::unsupported("training; export the model for inference")?);
    }
    if cx.node.output.len() < 2 {
        return Ok(vec![x]);
    }
    let all = cx.scalar(ElementType::Bool, 1.0)?;
    let mask = cx.broadcast_to(&all, x.dims())?;
    Ok(vec![x, mask])
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
    let (row, column) = (super::activation::iota(cx, &x, 0)?, super::activation::iota(cx, &x, 1)?);
    let offset = cx.scalar_of(ElementType::I64, Scalar::Signed(k))?;
    let diagonal = cx.binary(winze_graph::dialect::Add::create, &row, &offset)?;
    let hit = cx.compare(winze_graph::dialect::Eq::create, &diagonal, &column)?;
    Ok(vec![cx.convert(&hit, element)?])
}
