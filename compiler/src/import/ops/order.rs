//! Operators along an axis in which order counts: CumSum, CumProd, TopK.
//!
//! `graph.cumulative` folds in order; `graph.top_k` finds the best of a row, and sorts.

use super::{
    OpResult, Row,
    index::{all_but, gather_places, single},
    row,
};
use crate::{
    constants::Scalar,
    import::{
        error::Failure,
        node::{NodeContext, normalize_axis},
        value::Tensor,
    },
};
use winze_graph::{
    dialect::{Add, And, Bitcast, Cumulative, Shr, TopK, Xor},
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[row("CumSum", |cx| cumulate(cx, "add")), row("CumProd", |cx| cumulate(cx, "mul")), row("TopK", top_k)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn cumulate<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, kind: &str) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let (exclusive, reverse) = (cx.int_or("exclusive", 0)? != 0, cx.int_or("reverse", 0)? != 0);
    if let Some(named) = cx.open_operand(1) {
        // Only the run knows the axis: along each, and then the one that is named.
        let named = cx.reshape(&named, vec![])?;
        let (named, wide) = (cx.convert(&named, ElementType::I64)?, cx.widen(&x)?);
        let mut y = wide.clone();
        for axis in 0..x.rank() {
            let hit = super::slice::names_axis(cx, &named, axis, x.rank())?;
            let along = scan(cx, kind, &wide, axis, exclusive, reverse)?;
            y = cx.select(&hit, &along, &y)?;
        }
        return Ok(vec![cx.convert(&y, x.element())?]);
    }
    let axis = match cx.ints_input(1, "axes")?[..] {
        [axis] => normalize_axis(axis, x.rank())?,
        _ => return Ok(Failure::invalid("its axis is not one number")?),
    };
    let wide = cx.widen(&x)?;
    let y = scan(cx, kind, &wide, axis, exclusive, reverse)?;
    Ok(vec![cx.convert(&y, x.element())?])
}

/// Folds the elements up to (or, in reverse, from) each position along an axis.
pub fn scan<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    kind: &str,
    x: &Tensor<'c, 'a>,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    let value = cx.value(x)?;
    let op = Cumulative::create(
        cx.context(),
        cx.location,
        value,
        kind.into(),
        axis as i64,
        exclusive,
        reverse,
        &[x.r#type.to_type(cx.context())],
    );
    cx.emit(op)
}

/// Integers in the order of the elements: NaN is above infinity, and both zeros are equal.
pub fn sort_keys<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    if !x.element().is_float() {
        return Ok(x.clone());
    }
    let x = cx.widen(x)?;
    let integer = if x.element() == ElementType::F64 { ElementType::I64 } else { ElementType::I32 };
    // Adding 0 makes the negative zero positive.
    let x = cx.binary_scalar(Add::create, &x, 0.0)?;
    let bits = bitcast(cx, &x, integer)?;
    // Negative numbers order the other way round.
    let width = i64::from(integer.bits());
    let amount = cx.scalar_of(integer, Scalar::Signed(width - 1))?;
    let sign = cx.binary(Shr::create, &bits, &amount)?;
    let all_but_sign = cx.scalar_of(integer, Scalar::Signed(i64::MAX >> (64 - width)))?;
    let flip = cx.binary(And::create, &sign, &all_but_sign)?;
    cx.binary(Xor::create, &bits, &flip)
}

/// The same bits as another element type of equal width.
pub fn bitcast<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, element: ElementType) -> Result<Tensor<'c, 'a>, Failure> {
    let value = cx.value(x)?;
    let op = Bitcast::create(cx.context(), cx.location, value, &[x.r#type.with_element(element).to_type(cx.context())]);
    cx.emit(op)
}

/// The positions of the `k` largest or smallest elements along the last axis, best first; the first of equals comes first.
pub fn best<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, k: &Dim, largest: bool) -> Result<Tensor<'c, 'a>, Failure> {
    let key = sort_keys(cx, x)?;
    let mut dims = x.dims().to_vec();
    *dims.last_mut().ok_or_else(|| Failure::Invalid("a scalar has no order".into()))? = k.clone();
    let value = cx.value(&key)?;
    let op = TopK::create(cx.context(), cx.location, value, !largest, &[TensorType::new(ElementType::I32, dims).to_type(cx.context())]);
    cx.emit(op)
}

fn top_k<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", -1)?, x.rank())?;
    let k = match cx.int("k")?.filter(|_| cx.version < 10) {
        Some(k) => Dim::from(k),
        None => match &cx.sizes_input(1, "numbers of elements", |_| Some(x.dims()[axis].clone()))?[..] {
            [k] => k.clone(),
            _ => return Ok(Failure::invalid("k is not one number")?),
        },
    };
    if k.as_static().is_some_and(|k| k < 0 || x.extent(axis).is_some_and(|extent| k > extent)) {
        return Ok(Failure::invalid(format!("k {k} of an axis of extent {}", x.dims()[axis]))?);
    }
    let largest = cx.int_since(11, "largest", 1)? != 0;
    // Sorted results serve where any order will do.
    cx.ignore(&["sorted"]);
    let last = x.rank() - 1;
    let swapped: Vec<i64> = (0..=last as i64).filter(|i| *i != axis as i64).chain([axis as i64]).collect();
    let back: Vec<i64> = (0..=last).map(|i| if i < axis { i } else if i == axis { last } else { i - 1 } as i64).collect();
    let rows = cx.transpose(&x, swapped)?;
    let index = best(cx, &rows, &k, largest)?;
    let places = single(cx, &index)?;
    let values = gather_places(cx, &rows, &places, &all_but(last, x.rank()))?;
    let (values, index) = (cx.transpose(&values, back.clone())?, cx.transpose(&index, back)?);
    Ok(vec![values, cx.convert(&index, ElementType::I64)?])
}
