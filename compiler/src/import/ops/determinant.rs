//! Det: Gaussian elimination with row pivots, one step after the other. Refuses matrices of symbolic or large size.

use super::{OpResult, Row, index::positions, row};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Abs, Div, Eq, Ge, Mul, Ne, Neg, Sub},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[row("Det", det)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// Largest matrix whose elimination is written out.
const LARGEST: i64 = 32;

fn det<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let Some(batch) = x.rank().checked_sub(2) else { return Ok(Failure::invalid("an operand without rows and columns")?) };
    let size = match (x.extent(batch), x.extent(batch + 1)) {
        (Some(rows), Some(columns)) if rows != columns => return Ok(Failure::invalid(format!("a matrix of {rows} by {columns}"))?),
        (Some(size), Some(_)) if size <= LARGEST => size,
        _ => return Ok(Failure::unsupported(format!("matrices of symbolic size, or larger than {LARGEST} by {LARGEST}"))?),
    };
    let mut matrix = cx.widen(&x)?;
    let one = cx.scalar(matrix.element(), 1.0)?;
    let mut product = cx.broadcast_to(&one, &x.dims()[..batch])?;
    for rows in (1..=size).rev() {
        let (pivot, rest) = eliminate(cx, &matrix, batch, rows)?;
        product = cx.binary(Mul::create, &product, &pivot)?;
        matrix = rest;
    }
    Ok(vec![cx.convert(&product, x.element())?])
}

/// The signed pivot of a matrix with `rows` rows, and what is left of the others without their first column.
fn eliminate<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    matrix: &Tensor<'c, 'a>,
    batch: usize,
    rows: i64,
) -> Result<(Tensor<'c, 'a>, Tensor<'c, 'a>), Failure> {
    let outer: Vec<usize> = (0..batch).collect();
    let by_row: Vec<usize> = (0..=batch).collect();
    let by_column: Vec<usize> = outer.iter().copied().chain([batch + 1]).collect();
    let column = cx.slice_axis(matrix, batch + 1, 0, 1)?;
    let column_dims = matrix.dims()[..=batch].to_vec();
    let column = cx.reshape(&column, column_dims.clone())?;
    if rows == 1 {
        return Ok((cx.reshape(&column, column_dims[..batch].to_vec())?, matrix.clone()));
    }
    // The first row with the largest element in the column.
    let size = cx.unary(Abs::create, &column)?;
    let largest = cx.reduce("max", &size, &[batch])?;
    let largest = cx.broadcast_along(&largest, &outer, &column_dims)?;
    let candidate = cx.compare(Ge::create, &size, &largest)?;
    let position = positions(cx, &Dim::from(rows), ElementType::I32)?;
    let position = cx.broadcast_along(&position, &[batch], &column_dims)?;
    // NaN everywhere leaves no candidate; the last row then carries it on.
    let beyond = cx.scalar(ElementType::I32, (rows - 1) as f64)?;
    let candidates = cx.select(&candidate, &position, &beyond)?;
    let chosen = cx.reduce("min", &candidates, &[batch])?;
    let along = cx.broadcast_along(&chosen, &outer, &column_dims)?;
    let is_pivot = cx.compare(Eq::create, &position, &along)?;
    let zero = cx.scalar(matrix.element(), 0.0)?;
    let in_pivot_row = cx.broadcast_along(&is_pivot, &by_row, matrix.dims())?;
    let masked = cx.select(&in_pivot_row, matrix, &zero)?;
    let pivot_row = cx.reduce("add", &masked, &[batch])?;
    let masked = cx.select(&is_pivot, &column, &zero)?;
    let pivot = cx.reduce("add", &masked, &[batch])?;

    // The first row takes the pivot's place, and the rows behind it remain.
    let first = cx.slice_axis(matrix, batch, 0, 1)?;
    let swapped = cx.select(&in_pivot_row, &first, matrix)?;
    let below = cx.slice_axis(&swapped, batch, 1, rows)?;
    let heads = cx.slice_axis(&below, batch + 1, 0, 1)?;
    let rest = cx.slice_axis(&below, batch + 1, 1, rows)?;
    let tail = cx.slice_axis(&pivot_row, batch, 1, rows)?;
    let tail = cx.broadcast_along(&tail, &by_column, rest.dims())?;
    let divisor = cx.broadcast_along(&pivot, &outer, rest.dims())?;
    let factor = cx.binary(Div::create, &heads, &divisor)?;
    let scaled = cx.binary(Mul::create, &factor, &tail)?;
    let reduced = cx.binary(Sub::create, &rest, &scaled)?;
    // A zero pivot makes the product zero, whatever remains.
    let regular = cx.compare(Ne::create, &divisor, &zero)?;
    let rest = cx.select(&regular, &reduced, &zero)?;

    let none = cx.scalar(ElementType::I32, 0.0)?;
    let unmoved = cx.compare(Eq::create, &chosen, &none)?;
    let negative = cx.unary(Neg::create, &pivot)?;
    Ok((cx.select(&unmoved, &pivot, &negative)?, rest))
}
