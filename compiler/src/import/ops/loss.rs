//! Losses: NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss.

use super::{OpResult, Row, activation::log_softmax, index::positions, row};
use crate::{
    constants::Scalar,
    import::{error::Failure, node::NodeContext, value::Tensor},
};
use winze_graph::dialect::{Div, Eq, Mul, Ne, Neg};

pub const OPS: &[Row] = &[row("NegativeLogLikelihoodLoss", negative_log_likelihood), row("SoftmaxCrossEntropyLoss", cross_entropy)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn negative_log_likelihood<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let wide = cx.widen(&x)?;
    let loss = loss(cx, &wide)?;
    Ok(vec![cx.convert(&loss, x.element())?])
}

fn cross_entropy<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let scores = cx.input(0)?;
    if scores.rank() < 2 {
        return Ok(Failure::invalid(format!("scores of rank {}; batch and classes are needed", scores.rank()))?);
    }
    let wide = cx.widen(&scores)?;
    let logarithms = log_softmax(cx, &wide, 1)?;
    let loss = loss(cx, &logarithms)?;
    Ok(vec![cx.convert(&loss, scores.element())?, cx.convert(&logarithms, scores.element())?])
}

/// The negative logarithms of the target classes (axis 1), weighted by class and reduced. Targets are input 1, weights input 2.
fn loss<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let target = cx.input(1)?;
    if x.rank() < 2 || target.rank() + 1 != x.rank() || target.element().is_float() {
        return Failure::invalid(format!("targets {} of rank {} for an input of rank {}", target.element(), target.rank(), x.rank()));
    }
    let kept: Vec<usize> = (0..x.rank()).filter(|axis| *axis != 1).collect();
    let zero = cx.scalar(x.element(), 0.0)?;
    let classes = positions(cx, &x.dims()[1], target.element())?;
    let class = cx.broadcast_along(&classes, &[1], x.dims())?;
    let along = cx.broadcast_along(&target, &kept, x.dims())?;
    let hit = cx.compare(Eq::create, &class, &along)?;
    let pick = |cx: &mut Cx<'_, '_, 'c, 'a>, values: &Tensor<'c, 'a>| -> Result<Tensor<'c, 'a>, Failure> {
        let picked = cx.select(&hit, values, &zero)?;
        cx.reduce("add", &picked, &[1])
    };
    let picked = pick(cx, x)?;
    let mut loss = cx.unary(Neg::create, &picked)?;
    let mut weight = match cx.optional(2) {
        Some(weight) => {
            let weight = cx.convert(&weight, x.element())?;
            let along = cx.broadcast_along(&weight, &[1], x.dims())?;
            Some(pick(cx, &along)?)
        }
        None => None,
    };
    if let Some(ignored) = cx.int("ignore_index")? {
        let ignored = cx.scalar_of(target.element(), Scalar::Signed(ignored))?;
        let counts = cx.compare(Ne::create, &target, &ignored)?;
        loss = cx.select(&counts, &loss, &zero)?;
        let given = match weight {
            Some(weight) => weight,
            None => {
                let one = cx.scalar(x.element(), 1.0)?;
                cx.broadcast_to(&one, target.dims())?
            }
        };
        weight = Some(cx.select(&counts, &given, &zero)?);
    }
    if let Some(weight) = &weight {
        loss = cx.binary(Mul::create, &loss, weight)?;
    }
    let all: Vec<usize> = (0..loss.rank()).collect();
    match cx.string_or("reduction", "mean")?.as_str() {
        "none" => Ok(loss),
        "sum" => cx.reduce("add", &loss, &all),
        "mean" => match weight {
            Some(weight) => {
                let (sum, weights) = (cx.reduce("add", &loss, &all)?, cx.reduce("add", &weight, &all)?);
                cx.binary(Div::create, &sum, &weights)
            }
            None => cx.mean(&loss, &all),
        },
        other => Failure::invalid(format!("reduction `{other}`")),
    }
}
