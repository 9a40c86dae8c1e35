//! Operators that pick elements by their values, so that only the run tells how many: NonZero, Compress, Unique, NonMaxSuppression.
//!
//! The chosen elements are counted, the count becomes a symbol (`graph.size`), and running sums tell each element its place in the result.

use super::{
    OpResult, Row,
    index::{Places, gather_places, positions, scatter_places, single, take},
    order::{ranks, scan, sort_keys},
    row,
};
use crate::import::{
    error::Failure,
    node::{Binary, NodeContext, normalize_axis},
    repeat::Turns,
    value::Tensor,
};
use winze_graph::{
    dialect::{Add, And, Div, Eq, Gt, Le, Lt, Maximum, Minimum, Mod, Mul, Ne, Not, Sub, Xor},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] =
    &[row("NonZero", non_zero), row("Compress", compress), row("Unique", unique), row("NonMaxSuppression", non_max_suppression)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// Positions of the true elements of a 1-d mask, ascending. Their number is a symbol called `what`.
fn chosen<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, mask: &Tensor<'c, 'a>, what: &str) -> Result<Tensor<'c, 'a>, Failure> {
    let length = mask.dims()[0].clone();
    let ones = cx.convert(mask, ElementType::I64)?;
    let count = cx.reduce("add", &ones, &[0])?;
    let count = cx.size(&count, what, "", Some(length.clone()))?;
    let running = scan(cx, "add", &ones, 0, false, false)?;
    let one = cx.scalar(ElementType::I64, 1.0)?;
    let place = cx.binary(Sub::create, &running, &one)?;
    // No place is as large as the number of elements: there nothing is written.
    let outside = cx.extent(&length, ElementType::I64)?;
    let place = cx.select(mask, &place, &outside)?;
    let place = single(cx, &place)?;
    let zero = cx.scalar(ElementType::I64, 0.0)?;
    let empty = cx.broadcast_to(&zero, &[count])?;
    let index = positions(cx, &length, ElementType::I64)?;
    scatter_places(cx, "set", &empty, &place, &index, &Places { axes: vec![0], batch: vec![], position: 0, checked: false })
}

/// Where an element differs from zero.
fn is_set<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    if x.element() == ElementType::Bool {
        return Ok(x.clone());
    }
    let zero = cx.scalar(x.element(), 0.0)?;
    cx.compare(Ne::create, x, &zero)
}

/// Coordinates along each axis of linear positions, the last axis counting fastest.
fn coordinates<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, linear: &Tensor<'c, 'a>, dims: &[Dim]) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
    let mut coordinates = vec![];
    for axis in 0..dims.len() {
        let mut index = linear.clone();
        let below = dims[axis + 1..].iter().fold(Dim::from(1), |product, dim| &product * dim);
        if below != Dim::from(1) {
            let below = cx.extent(&below, ElementType::I64)?;
            index = cx.binary(Div::create, &index, &below)?;
        }
        if axis > 0 {
            let extent = cx.extent(&dims[axis], ElementType::I64)?;
            index = cx.binary(Mod::create, &index, &extent)?;
        }
        coordinates.push(index);
    }
    Ok(coordinates)
}

/// 1-d tensors as the rows (axis 0) or columns (axis 1) of one.
fn line_up<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, lines: &[Tensor<'c, 'a>], axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let mut parts = vec![];
    for line in lines {
        let mut dims = line.dims().to_vec();
        dims.insert(axis, Dim::from(1));
        parts.push(cx.reshape(line, dims)?);
    }
    cx.concat(&parts, axis)
}

fn flat<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let count = x.r#type.count();
    cx.reshape(x, vec![count])
}

/// A scalar counts as one axis of one element.
fn non_zero<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let line = flat(cx, &x)?;
    let mask = is_set(cx, &line)?;
    let found = chosen(cx, &mask, "non-zero elements")?;
    let dims = if x.rank() == 0 { line.dims() } else { x.dims() };
    let rows = coordinates(cx, &found, dims)?;
    Ok(vec![line_up(cx, &rows, 0)?])
}

/// A condition shorter than the axis leaves out the rest of it.
fn compress<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (mut x, condition) = (cx.input(0)?, cx.input(1)?);
    let axis = match cx.int("axis")? {
        Some(axis) => normalize_axis(axis, x.rank())?,
        None => {
            x = flat(cx, &x)?;
            0
        }
    };
    if condition.rank() != 1 {
        return Ok(Failure::invalid(format!("a condition of rank {}", condition.rank()))?);
    }
    let known: Option<Vec<i64>> = cx.integers(&condition).and_then(|items| items.iter().map(Dim::as_static).collect());
    let kept = match known {
        Some(known) => {
            let kept = known.iter().enumerate().filter(|(_, keep)| **keep != 0).map(|(i, _)| i as i64);
            super::index::constants(&kept.collect::<Vec<_>>())
        }
        None => chosen(cx, &condition, "kept elements")?,
    };
    Ok(vec![take(cx, &x, &kept, axis)?])
}

/// Rows are compared with each other: each has the number of its group, in order of the groups' first rows or of their values.
fn unique<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    // The axis in front, and all others as one: rows of elements.
    let axis = cx.int("axis")?.map(|axis| normalize_axis(axis, x.rank())).transpose()?;
    let front = match axis {
        Some(axis) => {
            let order = std::iter::once(axis).chain((0..x.rank()).filter(|i| *i != axis)).map(|i| i as i64).collect();
            cx.transpose(&x, order)?
        }
        None => flat(cx, &x)?,
    };
    let (count, width) = (front.dims()[0].clone(), front.dims()[1..].iter().fold(Dim::from(1), |product, dim| &product * dim));
    let rows = cx.reshape(&front, vec![count.clone(), width.clone()])?;
    let key = if x.element() == ElementType::Bool { cx.convert(&rows, ElementType::I32)? } else { sort_keys(cx, &rows)? };

    let cube = [count.clone(), count.clone(), width.clone()];
    let (this, other) = (cx.broadcast_along(&key, &[0, 2], &cube)?, cx.broadcast_along(&key, &[1, 2], &cube)?);
    let differs = cx.compare(Ne::create, &this, &other)?;
    let column = positions(cx, &width, ElementType::I64)?;
    let column = cx.broadcast_along(&column, &[2], &cube)?;
    let beyond = cx.extent(&width, ElementType::I64)?;
    let at = cx.select(&differs, &column, &beyond)?;
    let first_difference = cx.reduce("min", &at, &[2])?;
    let deciding = cx.broadcast_along(&first_difference, &[0, 1], &cube)?;
    let deciding = cx.compare(Eq::create, &deciding, &column)?;
    let smaller = cx.compare(Lt::create, &other, &this)?;
    let smaller = cx.binary(And::create, &smaller, &deciding)?;
    let other_is_smaller = cx.reduce("or", &smaller, &[2])?;
    let differs = cx.reduce("or", &differs, &[2])?;
    let equal = cx.unary(Not::create, &differs)?;

    // The first row of each group leads it.
    let square = [count.clone(), count.clone()];
    let place = positions(cx, &count, ElementType::I64)?;
    let other_place = cx.broadcast_along(&place, &[1], &square)?;
    let outside = cx.extent(&count, ElementType::I64)?;
    let leader = cx.select(&equal, &other_place, &outside)?;
    let leader = cx.reduce("min", &leader, &[1])?;
    let leads = cx.compare(Eq::create, &leader, &place)?;
    let other_leads = cx.broadcast_along(&leads, &[1], &square)?;
    let before = if cx.int_or("sorted", 1)? != 0 {
        other_is_smaller
    } else {
        let leader = cx.broadcast_along(&leader, &[0], &square)?;
        cx.compare(Lt::create, &other_place, &leader)?
    };
    let before = cx.binary(And::create, &before, &other_leads)?;
    let before = cx.convert(&before, ElementType::I64)?;
    let group = cx.reduce("add", &before, &[1])?;

    let ones = cx.convert(&leads, ElementType::I64)?;
    let groups = cx.reduce("add", &ones, &[0])?;
    let groups = cx.size(&groups, "different elements", "", Some(count))?;
    let own = cx.select(&leads, &group, &outside)?;
    let (own, all) = (single(cx, &own)?, single(cx, &group)?);
    let places = Places { axes: vec![0], batch: vec![], position: 0, checked: false };
    let empty = cx.scalar(x.element(), 0.0)?;
    let empty = cx.broadcast_to(&empty, &[groups.clone(), width])?;
    let picked = scatter_places(cx, "set", &empty, &own, &rows, &places)?;
    let none = cx.scalar(ElementType::I64, 0.0)?;
    let none = cx.broadcast_to(&none, std::slice::from_ref(&groups))?;
    let indices = scatter_places(cx, "set", &none, &own, &place, &places)?;
    let one = cx.scalar(ElementType::I64, 1.0)?;
    let one = cx.broadcast_to(&one, place.dims())?;
    let counts = scatter_places(cx, "add", &none, &all, &one, &places)?;

    let dims = [&[groups], &front.dims()[1..]].concat();
    let picked = cx.reshape(&picked, dims)?;
    let picked = match axis {
        Some(axis) => {
            let back = (0..x.rank())
                .map(|i| {
                    if i == axis {
                        0
                    } else if i < axis {
                        i as i64 + 1
                    } else {
                        i as i64
                    }
                })
                .collect();
            cx.transpose(&picked, back)?
        }
        None => picked,
    };
    Ok(vec![picked, indices, group, counts])
}

/// A scalar operand, or a default.
fn scalar_or<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, i: usize, element: ElementType, default: f64) -> Result<Tensor<'c, 'a>, Failure> {
    match cx.optional(i) {
        Some(x) => {
            let x = cx.convert(&x, element)?;
            cx.reshape(&x, vec![])
        }
        None => cx.scalar(element, default),
    }
}

/// Corners and area of boxes `[batch, class, box, 4]`, each `[batch, class, box]`.
struct Boxes<'c, 'a> {
    /// Lower and upper end along each of the two directions.
    ends: [[Tensor<'c, 'a>; 2]; 2],
    area: Tensor<'c, 'a>,
}

impl<'c, 'a> Boxes<'c, 'a> {
    fn new(cx: &mut Cx<'_, '_, 'c, 'a>, boxes: &Tensor<'c, 'a>, centered: bool) -> Result<Self, Failure> {
        let mut column = |i: i64| {
            let column = cx.slice_axis(boxes, 3, i, i + 1)?;
            cx.reshape(&column, boxes.dims()[..3].to_vec())
        };
        let (a, b, c, d) = (column(0)?, column(1)?, column(2)?, column(3)?);
        let ends = if centered {
            [Self::around(cx, &a, &c)?, Self::around(cx, &b, &d)?]
        } else {
            [Self::sorted(cx, &a, &c)?, Self::sorted(cx, &b, &d)?]
        };
        let [first, second] = &ends;
        let first = cx.binary(Sub::create, &first[1], &first[0])?;
        let second = cx.binary(Sub::create, &second[1], &second[0])?;
        let area = cx.binary(Mul::create, &first, &second)?;
        Ok(Self { ends, area })
    }

    fn around(cx: &mut Cx<'_, '_, 'c, 'a>, center: &Tensor<'c, 'a>, size: &Tensor<'c, 'a>) -> Result<[Tensor<'c, 'a>; 2], Failure> {
        let half = cx.binary_scalar(Mul::create, size, 0.5)?;
        Ok([cx.binary(Sub::create, center, &half)?, cx.binary(Add::create, center, &half)?])
    }

    fn sorted(cx: &mut Cx<'_, '_, 'c, 'a>, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>) -> Result<[Tensor<'c, 'a>; 2], Failure> {
        Ok([cx.binary(Minimum::create, a, b)?, cx.binary(Maximum::create, a, b)?])
    }

    /// Where the overlap of boxes i (axis 2) and j (axis 3), over their union, is above a threshold.
    fn overlap(&self, cx: &mut Cx<'_, '_, 'c, 'a>, pairs: &[Dim], threshold: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let (i, j) = (&[0, 1, 2][..], &[0, 1, 3][..]);
        let mut meet = |create: Binary<'c>, x: &Tensor<'c, 'a>| {
            let (a, b) = (cx.broadcast_along(x, i, pairs)?, cx.broadcast_along(x, j, pairs)?);
            cx.binary(create, &a, &b)
        };
        let mut sides = vec![];
        for [low, high] in &self.ends {
            sides.push((meet(Maximum::create, low)?, meet(Minimum::create, high)?));
        }
        let total = meet(Add::create, &self.area)?;
        let smaller = meet(Minimum::create, &self.area)?;
        let mut common: Option<Tensor<'c, 'a>> = None;
        for (low, high) in &sides {
            let side = cx.binary(Sub::create, high, low)?;
            let side = cx.binary_scalar(Maximum::create, &side, 0.0)?;
            common = Some(match common {
                Some(other) => cx.binary(Mul::create, &other, &side)?,
                None => side,
            });
        }
        let common = common.ok_or_else(|| Failure::Invalid("boxes without sides".into()))?;
        let union = cx.binary(Sub::create, &total, &common)?;
        let ratio = cx.binary(Div::create, &common, &union)?;
        let above = cx.compare(Gt::create, &ratio, threshold)?;
        // Boxes without an area overlap nothing.
        let zero = cx.scalar(smaller.element(), 0.0)?;
        let solid = cx.compare(Gt::create, &smaller, &zero)?;
        cx.binary(And::create, &above, &solid)
    }
}

/// Boxes in order of their scores; one is kept if no kept one before it overlaps it too much. That recurrence has one solution, and repeating it from any
/// start reaches it: after n rounds at least the first n boxes are right. Rounds end when nothing changes.
fn non_max_suppression<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (boxes, scores) = (cx.input(0)?, cx.input(1)?);
    let ([batch, count, _], [_, classes, _]) = (boxes.dims(), scores.dims()) else {
        return Ok(Failure::invalid(format!("boxes of rank {} and scores of rank {}", boxes.rank(), scores.rank()))?);
    };
    let dims = vec![batch.clone(), classes.clone(), count.clone()];
    if scores.dims() != dims || boxes.dims()[2] != Dim::from(4) {
        return Ok(Failure::invalid(format!("boxes of shape {:?} and scores of shape {:?}", boxes.dims(), scores.dims()))?);
    }
    let most = scalar_or(cx, 2, ElementType::I64, 0.0)?;
    let threshold = scalar_or(cx, 3, boxes.element(), 0.0)?;

    let rank = ranks(cx, &scores, 2, true)?;
    let rank = single(cx, &rank)?;
    let last = Places { axes: vec![2], batch: vec![(0, 0), (1, 1)], position: 0, checked: false };
    let index = positions(cx, count, ElementType::I64)?;
    let index = cx.broadcast_along(&index, &[2], &dims)?;
    let order = scatter_places(cx, "set", &index, &rank, &index, &last)?;
    let by_order = single(cx, &order)?;
    let sorted = gather_places(cx, &boxes, &by_order, &Places { axes: vec![1], batch: vec![(0, 0)], position: 0, checked: false })?;
    let sorted = Boxes::new(cx, &sorted, cx.int_or("center_point_box", 0)? != 0)?;
    let valid = match cx.optional(4) {
        Some(least) => {
            let least = cx.reshape(&least, vec![])?;
            let scores = gather_places(cx, &scores, &by_order, &last)?;
            cx.compare(Gt::create, &scores, &least)?
        }
        None => {
            let all = cx.scalar(ElementType::Bool, 1.0)?;
            cx.broadcast_to(&all, &dims)?
        }
    };

    let kept = settle(cx, &sorted, &valid, &dims, &threshold)?;
    let ones = cx.convert(&kept, ElementType::I64)?;
    let running = scan(cx, "add", &ones, 2, false, false)?;
    let first = cx.compare(Le::create, &running, &most)?;
    let kept = cx.binary(And::create, &kept, &first)?;
    let kept = flat(cx, &kept)?;
    let found = chosen(cx, &kept, "selected boxes")?;
    let mut columns = coordinates(cx, &found, &dims)?;
    let order = flat(cx, &order)?;
    columns[2] = take(cx, &order, &found, 0)?;
    Ok(vec![line_up(cx, &columns, 1)?])
}

/// The boxes that are kept, in order of the scores.
fn settle<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    boxes: &Boxes<'c, 'a>,
    valid: &Tensor<'c, 'a>,
    dims: &[Dim],
    threshold: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let pairs = [dims, &dims[2..]].concat();
    let changed = cx.scalar(ElementType::Bool, 1.0)?;
    // Made in front of the loop, which uses it.
    let threshold = cx.value(threshold)?;
    let threshold = cx.wrap(threshold)?;
    let mut turns = Turns::begin(cx)?;
    let kept = turns.carry(cx, valid)?;
    turns.carry(cx, &changed)?;
    let next = turns.turn(cx, |cx| {
        let overlaps = boxes.overlap(cx, &pairs, &threshold)?;
        let index = positions(cx, &pairs[2], ElementType::I32)?;
        let (this, other) = (cx.broadcast_along(&index, &[2], &pairs)?, cx.broadcast_along(&index, &[3], &pairs)?);
        let earlier = cx.compare(Lt::create, &other, &this)?;
        let suppresses = cx.broadcast_along(&kept, &[0, 1, 3], &pairs)?;
        let hit = cx.binary(And::create, &overlaps, &earlier)?;
        let hit = cx.binary(And::create, &hit, &suppresses)?;
        let hit = cx.reduce("or", &hit, &[3])?;
        let free = cx.unary(Not::create, &hit)?;
        let next = cx.binary(And::create, &free, valid)?;
        let differs = cx.binary(Xor::create, &next, &kept)?;
        let changed = cx.reduce("or", &differs, &[0, 1, 2])?;
        Ok::<_, Failure>([next, changed])
    })?;
    let results = turns.end(cx, &next, |_, carried| Ok(carried[2].clone()))?;
    Ok(results[1].clone())
}
