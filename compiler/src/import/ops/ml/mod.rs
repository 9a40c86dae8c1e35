//! The domain `ai.onnx.ml` as far as it is about numbers: what converters of tabular models use.
//!
//! Rows are samples, columns features. Class labels and categories that are strings are refused.

mod encode;
mod linear;
mod svm;
mod trees;

use super::{
    Row,
    index::constants,
    index::take,
    reduce::extreme_position,
    resize::{floats, known_floats},
};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Abs, Add, Div, Eq, ErfInv, Exp, Gt, Logistic, Mul, Neg, Softmax, Sub},
    dim::Dim,
    types::ElementType,
};

pub const TABLES: &[&[Row]] = &[encode::OPS, linear::OPS, svm::OPS, trees::OPS];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// Input `i` as rows of features; a vector is one row.
fn rows<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, i: usize, element: ElementType) -> Result<Tensor<'c, 'a>, Failure> {
    let x = cx.input(i)?;
    let x = match x.rank() {
        1 => cx.reshape(&x, vec![Dim::from(1), x.dims()[0].clone()])?,
        2 => x,
        rank => return Failure::invalid(format!("an input of rank {rank}; rows of features are needed")),
    };
    cx.convert(&x, element)
}

/// The number of features, which must be known.
fn features(x: &Tensor) -> Result<i64, Failure> {
    x.extent(1).filter(|count| *count > 0).ok_or_else(|| Failure::Unsupported(format!("{} features", x.dims()[1])))
}

/// Numbers of an attribute as a constant of the given shape; none if the attribute is left out.
fn constant_floats<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, name: &str, dims: &[i64]) -> Result<Option<Tensor<'c, 'a>>, Failure> {
    let Some(values) = cx.floats(name)?.filter(|values| !values.is_empty()) else { return Ok(None) };
    if values.len() as i64 != dims.iter().product::<i64>() {
        return Failure::invalid(format!("{name} has {} entries, {dims:?} are needed", values.len()));
    }
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    floats(cx, ElementType::F32, dims.to_vec(), &values).map(Some)
}

/// Numbers of a float list or of the tensor that may stand in its place.
fn numbers(cx: &mut Cx, name: &str) -> Result<Option<Vec<f64>>, Failure> {
    if let Some(values) = cx.floats(name)?.filter(|values| !values.is_empty()) {
        return Ok(Some(values.into_iter().map(f64::from).collect()));
    }
    tensor_numbers(cx, &format!("{name}_as_tensor"))
}

/// Numbers of a tensor attribute.
fn tensor_numbers(cx: &mut Cx, name: &str) -> Result<Option<Vec<f64>>, Failure> {
    let Some(tensor) = cx.tensor_attribute(name)? else { return Ok(None) };
    let tensor = cx.importer.constant(tensor, name)?;
    known_floats(cx, &tensor)
}

/// Whole-number labels of the classes; `attribute` lists them.
fn class_labels(cx: &Cx, attribute: &str) -> Result<Vec<i64>, Failure> {
    if cx.strings("classlabels_strings")?.is_some_and(|labels| !labels.is_empty()) {
        return Failure::unsupported("class labels that are strings");
    }
    match cx.ints(attribute)?.filter(|labels| !labels.is_empty()) {
        Some(labels) => Ok(labels),
        None => Failure::invalid("it has no class labels"),
    }
}

/// The labels of the classes with the highest scores, the first of equals.
fn best<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, scores: &Tensor<'c, 'a>, labels: &[i64]) -> Result<Tensor<'c, 'a>, Failure> {
    let index = extreme_position(cx, scores, "max", 1, false)?;
    if labels.iter().copied().eq(0..labels.len() as i64) { Ok(index) } else { take(cx, &constants(labels), &index, 0) }
}

/// Label 1 where a column of scores is above a threshold, else label 0.
fn above<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, score: &Tensor<'c, 'a>, threshold: f64, labels: [i64; 2]) -> Result<Tensor<'c, 'a>, Failure> {
    let threshold = cx.scalar(score.element(), threshold)?;
    let positive = cx.compare(Gt::create, score, &threshold)?;
    let positive = cx.reshape(&positive, score.dims()[..1].to_vec())?;
    let mut label = |label: i64| cx.scalar_of(ElementType::I64, crate::constants::Scalar::Signed(label));
    let (negative, chosen) = (label(labels[0])?, label(labels[1])?);
    cx.select(&positive, &chosen, &negative)
}

/// Scores of two classes from those of the second: `[1 - s, s]` for probabilities, else `[-s, s]`.
fn two_classes<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, score: &Tensor<'c, 'a>, probability: bool) -> Result<Tensor<'c, 'a>, Failure> {
    let other = if probability {
        let one = cx.scalar(score.element(), 1.0)?;
        cx.binary(Sub::create, &one, score)?
    } else {
        cx.unary(Neg::create, score)?
    };
    cx.concat(&[other, score.clone()], 1)
}

/// What `post_transform` makes of scores, row by row.
fn transformed<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, scores: &Tensor<'c, 'a>, how: &str) -> Result<Tensor<'c, 'a>, Failure> {
    match how {
        "NONE" => Ok(scores.clone()),
        "LOGISTIC" => cx.unary(Logistic::create, scores),
        "SOFTMAX" => {
            let value = cx.value(scores)?;
            let r#type = scores.r#type.to_type(cx.context());
            cx.emit(Softmax::create(cx.context(), cx.location, value, 1, &[r#type]))
        }
        "SOFTMAX_ZERO" => softmax_zero(cx, scores),
        "PROBIT" => {
            let doubled = cx.binary_scalar(Mul::create, scores, 2.0)?;
            let centered = cx.binary_scalar(Sub::create, &doubled, 1.0)?;
            let inverse = cx.unary(ErfInv::create, &centered)?;
            cx.binary_scalar(Mul::create, &inverse, std::f64::consts::SQRT_2)
        }
        other => Failure::invalid(format!("post_transform `{other}`")),
    }
}

/// Softmax in which a score of zero stays zero.
fn softmax_zero<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, scores: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let along = |cx: &mut Cx<'_, '_, 'c, 'a>, folded: &Tensor<'c, 'a>| cx.broadcast_along(folded, &[0], scores.dims());
    let most = cx.reduce("max", scores, &[1])?;
    let shift = along(cx, &most)?;
    let shifted = cx.binary(Sub::create, scores, &shift)?;
    let power = cx.unary(Exp::create, &shifted)?;
    let size = cx.unary(Abs::create, scores)?;
    let (tiny, half, zero) = (cx.scalar(scores.element(), 1e-7)?, cx.scalar(scores.element(), 0.5)?, cx.scalar(scores.element(), 0.0)?);
    let counts = cx.compare(Gt::create, &size, &tiny)?;
    let unshifted = cx.unary(Neg::create, &shift)?;
    let scale = cx.unary(Exp::create, &unshifted)?;
    let small = cx.binary(Mul::create, scores, &scale)?;
    let parts = cx.select(&counts, &power, &small)?;
    let sum = cx.reduce("add", &parts, &[1])?;
    let sum = along(cx, &sum)?;
    let none = cx.compare(Eq::create, &sum, &zero)?;
    let quotient = cx.binary(Div::create, &parts, &sum)?;
    cx.select(&none, &half, &quotient)
}

/// Adds a constant row, if there is one.
fn add_row<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, row: Option<Tensor<'c, 'a>>) -> Result<Tensor<'c, 'a>, Failure> {
    row.map_or_else(|| Ok(x.clone()), |row| cx.binary(Add::create, x, &row))
}
