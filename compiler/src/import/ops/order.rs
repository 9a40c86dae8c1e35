//! Operators along an axis in which order counts: CumSum, CumProd, TopK.
//!
//! Each is a masked reduction over pairs of positions, which fuses into one kernel: an element's running sum folds those before it, its rank counts
//! those that come before it. Long static axes are scanned in blocks. Refuses a `k` that is symbolic.

use super::{OpResult, Row, index::positions, row};
use crate::{
    constants::Scalar,
    import::{
        error::Failure,
        node::{Compare, NodeContext, normalize_axis},
        value::Tensor,
    },
};
use winze_graph::{
    dialect::{Add, And, Bitcast, Eq, Ge, Gt, Le, Lt, Mul, Or, Shr, Xor},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[row("CumSum", |cx| cumulate(cx, "add")), row("CumProd", |cx| cumulate(cx, "mul")), row("TopK", top_k)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// Longest static axis that is scanned without blocks.
const SCAN_BLOCK: i64 = 128;

fn cumulate<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, kind: &str) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = match cx.ints_input(1, "axes")?[..] {
        [axis] => normalize_axis(axis, x.rank())?,
        _ => return Ok(Failure::invalid("its axis is not one number")?),
    };
    let (exclusive, reverse) = (cx.int_or("exclusive", 0)? != 0, cx.int_or("reverse", 0)? != 0);
    let wide = cx.widen(&x)?;
    let y = scan(cx, kind, &wide, axis, exclusive, reverse)?;
    Ok(vec![cx.convert(&y, x.element())?])
}

/// Folds the elements up to (or, in reverse, from) each position along an axis.
fn scan<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    kind: &str,
    x: &Tensor<'c, 'a>,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    if let Some(extent) = x.extent(axis).filter(|extent| *extent > SCAN_BLOCK) {
        return scan_blocks(cx, kind, x, (axis, extent), exclusive, reverse);
    }
    let extent = x.dims()[axis].clone();
    let mut dims = x.dims().to_vec();
    dims.insert(axis, extent.clone());
    let axes: Vec<usize> = (0..dims.len()).filter(|i| *i != axis).collect();
    let position = positions(cx, &extent, ElementType::I32)?;
    let to = cx.broadcast_along(&position, &[axis], &dims)?;
    let from = cx.broadcast_along(&position, &[axis + 1], &dims)?;
    let folded: Compare<'c> = match (exclusive, reverse) {
        (false, false) => Le::create,
        (true, false) => Lt::create,
        (false, true) => Ge::create,
        (true, true) => Gt::create,
    };
    let counts = cx.compare(folded, &from, &to)?;
    let elements = cx.broadcast_along(x, &axes, &dims)?;
    let neutral = neutral(cx, kind, x.element())?;
    let masked = cx.select(&counts, &elements, &neutral)?;
    cx.reduce(kind, &masked, &[axis + 1])
}

fn neutral<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, kind: &str, element: ElementType) -> Result<Tensor<'c, 'a>, Failure> {
    cx.scalar(element, if kind == "mul" { 1.0 } else { 0.0 })
}

/// Scans blocks about as long as there are many, and folds the totals of the blocks before into each.
fn scan_blocks<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    kind: &str,
    x: &Tensor<'c, 'a>,
    (axis, extent): (usize, i64),
    exclusive: bool,
    reverse: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    let block = extent.isqrt().max(2);
    let blocks = (extent as u64).div_ceil(block as u64) as i64;
    let mut dims = x.dims().to_vec();
    let padded = if blocks * block == extent {
        x.clone()
    } else {
        dims[axis] = Dim::from(blocks * block - extent);
        let neutral = neutral(cx, kind, x.element())?;
        let rest = cx.broadcast_to(&neutral, &dims)?;
        cx.concat(&[x.clone(), rest], axis)?
    };
    dims[axis] = Dim::from(block);
    dims.insert(axis, Dim::from(blocks));
    let cut = cx.reshape(&padded, dims.clone())?;
    let inside = scan(cx, kind, &cut, axis + 1, exclusive, reverse)?;
    let totals = cx.reduce(kind, &cut, &[axis + 1])?;
    let before = scan(cx, kind, &totals, axis, true, reverse)?;
    let axes: Vec<usize> = (0..dims.len()).filter(|i| *i != axis + 1).collect();
    let before = cx.broadcast_along(&before, &axes, &dims)?;
    let folded = cx.binary(if kind == "mul" { Mul::create } else { Add::create }, &before, &inside)?;
    dims.remove(axis);
    dims[axis] = Dim::from(blocks * block);
    let joined = cx.reshape(&folded, dims)?;
    if blocks * block == extent { Ok(joined) } else { cx.slice_axis(&joined, axis, 0, extent) }
}

/// Integers in the order of the elements: NaN is above infinity, and both zeros are equal.
fn sort_keys<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
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

/// Ranks each element among all of its row; the first of equals comes first. Result `r` is the element of rank `r`.
fn top_k<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", -1)?, x.rank())?;
    let k = match cx.int("k")?.filter(|_| cx.version < 10) {
        Some(k) => k,
        None => match cx.ints_input(1, "numbers of elements")?[..] {
            [k] => k,
            _ => return Ok(Failure::invalid("k is not one number")?),
        },
    };
    if k < 0 || x.extent(axis).is_some_and(|extent| k > extent) {
        return Ok(Failure::invalid(format!("k {k} of an axis of extent {}", x.dims()[axis]))?);
    }
    let extent = x.dims()[axis].clone();
    let key = sort_keys(cx, &x)?;
    // Axis `axis` is the element that is ranked, the one after it those that it is compared with.
    let mut pairs = x.dims().to_vec();
    pairs.insert(axis, extent.clone());
    let without = |axis: usize| -> Vec<usize> { (0..pairs.len()).filter(|i| *i != axis).collect() };
    let this = cx.broadcast_along(&key, &without(axis + 1), &pairs)?;
    let other = cx.broadcast_along(&key, &without(axis), &pairs)?;
    let position = positions(cx, &extent, ElementType::I32)?;
    let this_position = cx.broadcast_along(&position, &[axis], &pairs)?;
    let other_position = cx.broadcast_along(&position, &[axis + 1], &pairs)?;
    let better: Compare<'c> = if cx.int_or("largest", 1)? != 0 { Gt::create } else { Lt::create };
    let before = cx.compare(better, &other, &this)?;
    let equal = cx.compare(Eq::create, &other, &this)?;
    let first = cx.compare(Lt::create, &other_position, &this_position)?;
    let tie = cx.binary(And::create, &equal, &first)?;
    let counts = cx.binary(Or::create, &before, &tie)?;
    let counts = cx.convert(&counts, ElementType::I32)?;
    let rank = cx.reduce("add", &counts, &[axis + 1])?;

    let mut dims = x.dims().to_vec();
    dims.insert(axis, Dim::from(k));
    let axes: Vec<usize> = (0..dims.len()).filter(|i| *i != axis).collect();
    let wanted = positions(cx, &Dim::from(k), ElementType::I32)?;
    let wanted = cx.broadcast_along(&wanted, &[axis], &dims)?;
    let rank = cx.broadcast_along(&rank, &axes, &dims)?;
    let hit = cx.compare(Eq::create, &rank, &wanted)?;
    let mut pick = |elements: &Tensor<'c, 'a>, axes: &[usize]| -> Result<Tensor<'c, 'a>, Failure> {
        let elements = cx.broadcast_along(elements, axes, &dims)?;
        let zero = cx.scalar(elements.element(), 0.0)?;
        let picked = cx.select(&hit, &elements, &zero)?;
        cx.reduce("add", &picked, &[axis + 1])
    };
    let (values, indices) = (pick(&x, &axes)?, pick(&position, &[axis + 1])?);
    Ok(vec![values, cx.convert(&indices, ElementType::I64)?])
}
