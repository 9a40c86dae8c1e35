//! Einsum: diagonals and sums of single operands, then products of two at a time, then a transpose.

use super::{OpResult, Row, index::positions, row};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{DotGeneral, Eq},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[row("Einsum", einsum)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// An index of the equation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    /// Axis of an ellipsis, counted from its end.
    Ellipsis(usize),
    Letter(char),
}

/// A tensor whose axes have labels.
struct Term<'c, 'a> {
    tensor: Tensor<'c, 'a>,
    labels: Vec<Label>,
}

/// Labels of one side's term for a tensor of `rank`; without a tensor, an ellipsis stands for `ellipsis` axes.
fn labels(text: &str, rank: Option<usize>, ellipsis: usize) -> Result<Vec<Label>, Failure> {
    let letters = |part: &str| -> Result<Vec<Label>, Failure> {
        match part.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(other) => Failure::invalid(format!("`{other}` in the term `{text}`")),
            None => Ok(part.chars().map(Label::Letter).collect()),
        }
    };
    let labels = match text.split_once("...") {
        None => letters(text)?,
        Some((before, after)) => {
            let (before, after) = (letters(before)?, letters(after)?);
            let between = match rank {
                Some(rank) => rank.checked_sub(before.len() + after.len()),
                None => Some(ellipsis),
            };
            let Some(between) = between else { return Failure::invalid(format!("the term `{text}` has more axes than its operand")) };
            before.into_iter().chain((0..between).rev().map(Label::Ellipsis)).chain(after).collect()
        }
    };
    match rank {
        Some(rank) if rank != labels.len() => Failure::invalid(format!("the term `{text}` for an operand of rank {rank}")),
        _ => Ok(labels),
    }
}

fn einsum<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let operands = cx.all_inputs()?;
    let equation: String = cx.string_or("equation", "")?.split_whitespace().collect();
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (&equation[..], None),
    };
    let texts: Vec<&str> = inputs.split(',').collect();
    if texts.len() != operands.len() {
        return Ok(Failure::invalid(format!("{} terms for {} operands", texts.len(), operands.len()))?);
    }
    let mut terms = vec![];
    for (text, tensor) in texts.iter().zip(operands) {
        terms.push(Term { labels: labels(text, Some(tensor.rank()), 0)?, tensor });
    }
    let all: Vec<Label> = terms.iter().flat_map(|term| term.labels.iter().copied()).collect();
    let ellipsis = all.iter().filter_map(|label| if let Label::Ellipsis(i) = label { Some(i + 1) } else { None }).max().unwrap_or(0);
    let result = match output {
        Some(output) => labels(output, None, ellipsis)?,
        None => {
            let mut once: Vec<Label> =
                all.iter().copied().filter(|label| all.iter().filter(|other| *other == label).count() == 1).collect();
            once.retain(|label| matches!(label, Label::Letter(_)));
            once.sort();
            (0..ellipsis).rev().map(Label::Ellipsis).chain(once).collect()
        }
    };
    for (i, label) in result.iter().enumerate() {
        if !all.contains(label) || result[..i].contains(label) {
            return Ok(Failure::invalid(format!("the result of `{equation}` names an index twice, or one that no operand has"))?);
        }
    }
    let mut terms = terms.into_iter().map(|term| diagonal(cx, term)).collect::<Result<Vec<_>, _>>()?;
    drop_unit_axes(cx, &mut terms)?;
    let mut terms = terms.into_iter();
    let mut product = terms.next().expect("an op has operands");
    let mut rest: Vec<Term> = terms.collect();
    while !rest.is_empty() {
        let next = rest.remove(0);
        let needed = |label: &Label| result.contains(label) || rest.iter().any(|term| term.labels.contains(label));
        let left = sum_out(cx, product, |label| needed(label) || next.labels.contains(label))?;
        let right = sum_out(cx, next, |label| needed(label) || left.labels.contains(label))?;
        product = multiply(cx, left, right, needed)?;
    }
    let product = sum_out(cx, product, |label| result.contains(label))?;
    let place = |label: &Label| product.labels.iter().position(|other| other == label).map(|i| i as i64);
    let Some(permutation) = result.iter().map(place).collect::<Option<Vec<_>>>() else {
        return Ok(Failure::invalid(format!("the result of `{equation}` has an index that vanished"))?);
    };
    Ok(vec![cx.transpose(&product.tensor, permutation)?])
}

/// Labels that a term names twice become one axis: their diagonal.
fn diagonal<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, term: Term<'c, 'a>) -> Result<Term<'c, 'a>, Failure> {
    let Term { mut tensor, mut labels } = term;
    while let Some((a, b)) = (0..labels.len()).find_map(|b| labels[..b].iter().position(|label| *label == labels[b]).map(|a| (a, b))) {
        let dims = tensor.dims().to_vec();
        if dims[a] != dims[b] {
            return Failure::invalid(format!("a diagonal of the extents {} and {}", dims[a], dims[b]));
        }
        let position = positions(cx, &dims[a], ElementType::I32)?;
        let (row, column) = (cx.broadcast_along(&position, &[a], &dims)?, cx.broadcast_along(&position, &[b], &dims)?);
        let same = cx.compare(Eq::create, &row, &column)?;
        let zero = cx.scalar(tensor.element(), 0.0)?;
        let masked = cx.select(&same, &tensor, &zero)?;
        tensor = cx.reduce("add", &masked, &[b])?;
        labels.remove(b);
    }
    Ok(Term { tensor, labels })
}

/// Axes of extent 1 that other operands broadcast vanish.
fn drop_unit_axes<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, terms: &mut [Term<'c, 'a>]) -> Result<(), Failure> {
    let one = Dim::from(1);
    let wide: Vec<Label> = terms
        .iter()
        .flat_map(|term| term.labels.iter().zip(term.tensor.dims()))
        .filter(|(_, dim)| **dim != one)
        .map(|(label, _)| *label)
        .collect();
    for term in terms {
        let kept: Vec<usize> =
            (0..term.labels.len()).filter(|i| term.tensor.dims()[*i] != one || !wide.contains(&term.labels[*i])).collect();
        let dims = kept.iter().map(|i| term.tensor.dims()[*i].clone()).collect();
        term.tensor = cx.reshape(&term.tensor, dims)?;
        term.labels = kept.iter().map(|i| term.labels[*i]).collect();
    }
    Ok(())
}

/// Sums over axes that nothing needs.
fn sum_out<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, term: Term<'c, 'a>, needed: impl Fn(&Label) -> bool) -> Result<Term<'c, 'a>, Failure> {
    let (kept, summed): (Vec<usize>, Vec<usize>) = (0..term.labels.len()).partition(|i| needed(&term.labels[*i]));
    if summed.is_empty() {
        return Ok(term);
    }
    let tensor = cx.reduce("add", &term.tensor, &summed)?;
    Ok(Term { tensor, labels: kept.iter().map(|i| term.labels[*i]).collect() })
}

/// Shared labels are batches where they are needed later, else they are contracted.
fn multiply<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    left: Term<'c, 'a>,
    mut right: Term<'c, 'a>,
    needed: impl Fn(&Label) -> bool,
) -> Result<Term<'c, 'a>, Failure> {
    let (mut batch, mut contract) = ((vec![], vec![]), (vec![], vec![]));
    let mut labels = vec![];
    for (i, label) in left.labels.iter().enumerate() {
        let Some(j) = right.labels.iter().position(|other| other == label) else { continue };
        let mut dims = right.tensor.dims().to_vec();
        dims[j] = left.tensor.dims()[i].clone();
        right.tensor = cx.with_dims(&right.tensor, dims, "equal extents of one index")?;
        let pairs = if needed(label) { &mut batch } else { &mut contract };
        pairs.0.push(i as i64);
        pairs.1.push(j as i64);
        if needed(label) {
            labels.push(*label);
        }
    }
    labels.extend(left.labels.iter().filter(|label| !right.labels.contains(label)));
    labels.extend(right.labels.iter().filter(|label| !left.labels.contains(label)));
    let (a, b) = (cx.value(&left.tensor)?, cx.value(&right.tensor)?);
    let tensor = cx.infer(|c, l| DotGeneral::create(c, l, a, b, batch.0, batch.1, contract.0, contract.1, None))?;
    Ok(Term { tensor, labels })
}
