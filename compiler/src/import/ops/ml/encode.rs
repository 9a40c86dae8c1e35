//! Features into features: Scaler, Normalizer, Binarizer, Imputer, FeatureVectorizer, OneHotEncoder, LabelEncoder, ArrayFeatureExtractor.

use super::{Cx, constant_floats, features, rows, tensor_numbers};
use crate::import::{
    error::Failure,
    ops::{
        OpResult, Row,
        index::{array_feature_extractor, constants, positions, single, take},
        resize::floats,
        row,
    },
    value::Tensor,
};
use winze_graph::{
    dialect::{Abs, And, Div, Eq, Gt, IsNan, Mul, Or, Sqrt, Sub},
    types::ElementType,
};

pub const OPS: &[Row] = &[
    row("ArrayFeatureExtractor", array_feature_extractor),
    row("Binarizer", binarizer),
    row("FeatureVectorizer", feature_vectorizer),
    row("Imputer", imputer),
    row("LabelEncoder", label_encoder),
    row("Normalizer", normalizer),
    row("OneHotEncoder", one_hot_encoder),
    row("Scaler", scaler),
    row("ZipMap", |_| Ok(Failure::unsupported("a list of maps is no tensor; export the model without ZipMap (skl2onnx: zipmap=False)")?)),
];

/// `(x - offset) * scale`.
fn scaler<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut x = cx.input(0)?;
    x = cx.convert(&x, ElementType::F32)?;
    for (name, create) in [("offset", Sub::create as crate::import::node::Binary<'c>), ("scale", Mul::create)] {
        let Some(count) = cx.floats(name)?.map(|values| values.len() as i64).filter(|count| *count > 0) else { continue };
        if let Some(values) = constant_floats(cx, name, &[count])? {
            x = cx.binary(create, &x, &values)?;
        }
    }
    Ok(vec![x])
}

/// Divides each row by its norm; rows of zeros stay.
fn normalizer<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (given, x) = (cx.input(0)?, rows(cx, 0, ElementType::F32)?);
    let norm = match cx.string_or("norm", "MAX")?.as_str() {
        "MAX" => cx.reduce("max", &x, &[1])?,
        "L1" => {
            let size = cx.unary(Abs::create, &x)?;
            cx.reduce("add", &size, &[1])?
        }
        "L2" => {
            let square = cx.binary(Mul::create, &x, &x)?;
            let sum = cx.reduce("add", &square, &[1])?;
            cx.unary(Sqrt::create, &sum)?
        }
        other => return Ok(Failure::invalid(format!("norm `{other}`"))?),
    };
    let (zero, one) = (cx.scalar(ElementType::F32, 0.0)?, cx.scalar(ElementType::F32, 1.0)?);
    let none = cx.compare(Eq::create, &norm, &zero)?;
    let norm = cx.select(&none, &one, &norm)?;
    let norm = cx.broadcast_along(&norm, &[0], x.dims())?;
    let y = cx.binary(Div::create, &x, &norm)?;
    Ok(vec![cx.reshape(&y, given.dims().to_vec())?])
}

fn binarizer<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let threshold = cx.float_or("threshold", 0.0)?;
    let threshold = cx.scalar(x.element(), threshold)?;
    let above = cx.compare(Gt::create, &x, &threshold)?;
    Ok(vec![cx.convert(&above, x.element())?])
}

/// Puts values, one for all columns or one for each, in place of one that stands for what is missing.
fn imputer<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let (values, replaced) = if x.element().is_float() {
        (
            cx.floats("imputed_value_floats")?.map(|values| values.into_iter().map(f64::from).collect()),
            cx.float_or("replaced_value_float", 0.0)?,
        )
    } else {
        let values = cx.ints("imputed_value_int64s")?.map(|values| values.into_iter().map(|value| value as f64).collect());
        (values, cx.int_or("replaced_value_int64", 0)? as f64)
    };
    let Some(values) = values.filter(|values: &Vec<f64>| !values.is_empty()) else {
        return Ok(Failure::invalid("it has no values to put in")?);
    };
    let values = floats(cx, x.element(), vec![values.len() as i64], &values)?;
    let missing = if replaced.is_nan() {
        let value = cx.value(&x)?;
        cx.infer(|c, l| IsNan::create(c, l, value))?
    } else {
        let replaced = cx.scalar(x.element(), replaced)?;
        cx.compare(Eq::create, &x, &replaced)?
    };
    let values = cx.broadcast_to(&values, x.dims())?;
    Ok(vec![cx.select(&missing, &values, &x)?])
}

/// Columns of several inputs side by side, cut or filled with zeros to the given numbers.
fn feature_vectorizer<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let wanted = cx.ints("inputdimensions")?.unwrap_or_default();
    if wanted.len() != cx.inputs.len() {
        return Ok(Failure::invalid(format!("{} inputdimensions for {} inputs", wanted.len(), cx.inputs.len()))?);
    }
    let mut parts = vec![];
    for (i, wanted) in wanted.into_iter().enumerate() {
        let x = rows(cx, i, ElementType::F32)?;
        let missing = wanted - features(&x)?;
        let zero = cx.scalar(ElementType::F32, 0.0)?;
        parts.push(cx.pad(&x, &zero, vec![0, 0], vec![0, missing], vec![0, 0])?);
    }
    Ok(vec![cx.concat(&parts, 1)?])
}

/// Which of the keys each element is, as bools along a new last axis.
fn matches<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, keys: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let one = single(cx, x)?;
    let mut hit = cx.compare(Eq::create, &one, keys)?;
    if x.element().is_float() {
        let mut nan = |x: &Tensor<'c, 'a>| -> Result<Tensor<'c, 'a>, Failure> {
            let value = cx.value(x)?;
            cx.infer(|c, l| IsNan::create(c, l, value))
        };
        let (nan_one, nan_key) = (nan(&one)?, nan(keys)?);
        let both = cx.binary(And::create, &nan_one, &nan_key)?;
        hit = cx.binary(Or::create, &hit, &both)?;
    }
    Ok(hit)
}

fn one_hot_encoder<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let Some(categories) = cx.ints("cats_int64s")?.filter(|categories| !categories.is_empty()) else {
        return Ok(Failure::unsupported("categories that are strings")?);
    };
    let x = cx.input(0)?;
    let x = cx.convert(&x, ElementType::I64)?;
    let hit = matches(cx, &x, &constants(&categories))?;
    Ok(vec![cx.convert(&hit, ElementType::F32)?])
}

/// A list of keys, or of values, from the attribute that holds one.
fn listed<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, what: &str) -> Result<Tensor<'c, 'a>, Failure> {
    let name = |kind: &str| format!("{what}_{kind}");
    if let Some(values) = cx.ints(&name("int64s"))? {
        return Ok(constants(&values));
    }
    if let Some(values) = cx.floats(&name("floats"))? {
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        return floats(cx, ElementType::F32, vec![values.len() as i64], &values);
    }
    match cx.tensor_attribute(&name("tensor"))? {
        Some(tensor) => {
            let list = cx.importer.constant(tensor, what)?;
            if list.rank() == 1 { Ok(list) } else { Failure::invalid(format!("{what} of rank {}", list.rank())) }
        }
        None => Failure::unsupported(format!("{what} that are strings")),
    }
}

/// The value that belongs to each key, or the default.
fn label_encoder<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, keys, values) = (cx.input(0)?, listed(cx, "keys")?, listed(cx, "values")?);
    if keys.dims() != values.dims() || keys.element() != x.element() {
        let what = format!("{} keys of {}, {} values, an input of {}", keys.dims()[0], keys.element(), values.dims()[0], x.element());
        return Ok(Failure::invalid(what)?);
    }
    // Those of the other types are written too.
    cx.ignore(&["default_float", "default_int64", "default_string"]);
    let default = match tensor_numbers(cx, "default_tensor")? {
        Some(value) => value.first().copied().unwrap_or(0.0),
        None if values.element().is_float() => cx.float_or("default_float", -0.0)?,
        None => cx.int_or("default_int64", -1)? as f64,
    };
    // The default stands at the end, which position -1 names.
    let default = floats(cx, values.element(), vec![1], &[default])?;
    let table = cx.concat(&[values, default], 0)?;
    let hit = matches(cx, &x, &keys)?;
    let position = positions(cx, &keys.dims()[0], ElementType::I64)?;
    let none = cx.scalar(ElementType::I64, -1.0)?;
    let candidates = cx.select(&hit, &position, &none)?;
    let index = cx.reduce("max", &candidates, &[x.rank()])?;
    Ok(vec![take(cx, &table, &index, 0)?])
}
