//! LinearRegressor, LinearClassifier.

use super::{Cx, above, add_row, best, class_labels, constant_floats, features, rows, transformed, two_classes};
use crate::import::{
    error::Failure,
    ops::{OpResult, Row, linear::product, row},
    value::Tensor,
};
use winze_graph::types::ElementType;

pub const OPS: &[Row] = &[row("LinearRegressor", linear_regressor), row("LinearClassifier", linear_classifier)];

/// `x * coefficients^T + intercepts`, for as many results as fit the coefficients.
fn scores<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let x = rows(cx, 0, ElementType::F32)?;
    let width = features(&x)?;
    let results = cx.floats("coefficients")?.unwrap_or_default().len() as i64 / width;
    let Some(coefficients) = constant_floats(cx, "coefficients", &[results, width])? else {
        return Failure::invalid("it has no coefficients");
    };
    let coefficients = cx.arrange_transpose(&coefficients, &[1, 0])?;
    let y = product(cx, &x, &coefficients)?;
    let intercepts = constant_floats(cx, "intercepts", &[results])?;
    add_row(cx, &y, intercepts)
}

fn linear_regressor<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let scores = scores(cx)?;
    let how = cx.string_or("post_transform", "NONE")?;
    if scores.extent(1) != Some(cx.int_or("targets", 1)?) {
        return Ok(Failure::invalid(format!("coefficients for {} targets", scores.dims()[1]))?);
    }
    Ok(vec![transformed(cx, &scores, &how)?])
}

/// Labels and scores. One row of coefficients tells two classes apart.
fn linear_classifier<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let scores = scores(cx)?;
    let how = cx.string_or("post_transform", "NONE")?;
    // The post transform follows from it.
    cx.ignore(&["multi_class"]);
    let labels = class_labels(cx, "classlabels_ints")?;
    match (scores.extent(1), &labels[..]) {
        (Some(1), [negative, positive]) => {
            let label = above(cx, &scores, 0.0, [*negative, *positive])?;
            let both = two_classes(cx, &scores, how == "NONE")?;
            Ok(vec![label, transformed(cx, &both, &how)?])
        }
        (Some(classes), _) if classes as usize == labels.len() && classes > 1 => {
            let label = best(cx, &scores, &labels)?;
            Ok(vec![label, transformed(cx, &scores, &how)?])
        }
        _ => Ok(Failure::invalid(format!("{} labels for {} scores", labels.len(), scores.dims()[1]))?),
    }
}
