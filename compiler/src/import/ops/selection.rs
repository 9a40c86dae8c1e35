//! Operators that pick elements by their values, so that only the run tells how many: NonZero, Compress, Unique, NonMaxSuppression.
//!
//! The chosen elements are counted, the count becomes a symbol (`graph.size`), and running sums tell each element its place in the result.

use super::{
    OpResult, Row,
    index::{Places, gather_places, positions, scatter_places, single, take},
    order::{best, scan, sort_keys},
    row,
};
use crate::{
    constants::Scalar,
    import::{
        error::Failure,
        node::{Binary, NodeContext, normalize_axis},
        repeat::Turns,
        value::Tensor,
    },
};
use winze_graph::{
    dialect::{Add, And, Div, Eq, Gt, Lt, Maximum, Minimum, Mod, Mul, Ne, Not, Or, Sub},
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

/// Rows are sorted; where one differs from the one before it a group begins, which the first of its rows leads.
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

    let place = positions(cx, &count, ElementType::I64)?;
    let order = sorted_rows(cx, &key, &place)?;
    let sorted = take(cx, &key, &order, 0)?;
    let (zero, one) = (cx.scalar(ElementType::I64, 0.0)?, cx.scalar(ElementType::I64, 1.0)?);
    let before = cx.binary(Sub::create, &place, &one)?;
    let before = cx.binary(Maximum::create, &before, &zero)?;
    let previous = take(cx, &sorted, &before, 0)?;
    let differs = cx.compare(Ne::create, &sorted, &previous)?;
    let differs = cx.reduce("or", &differs, &[1])?;
    let first = cx.compare(Eq::create, &place, &zero)?;
    let leads = cx.binary(Or::create, &differs, &first)?;
    let ones = cx.convert(&leads, ElementType::I64)?;
    let groups = cx.reduce("add", &ones, &[0])?;
    let groups = cx.size(&groups, "different elements", "", Some(count.clone()))?;
    let running = scan(cx, "add", &ones, 0, false, false)?;
    let mut group = cx.binary(Sub::create, &running, &one)?;

    let places = Places { axes: vec![0], batch: vec![], position: 0, checked: false };
    let outside = cx.extent(&count, ElementType::I64)?;
    let none = cx.broadcast_to(&zero, std::slice::from_ref(&groups))?;
    let own = cx.select(&leads, &group, &outside)?;
    let own = single(cx, &own)?;
    let mut indices = scatter_places(cx, "set", &none, &own, &order, &places)?;
    if cx.int_or("sorted", 1)? == 0 {
        // Groups in order of the rows that lead them.
        let by_row = best(cx, &indices, &groups, false)?;
        let by_row = cx.convert(&by_row, ElementType::I64)?;
        let number = positions(cx, &groups, ElementType::I64)?;
        let to = single(cx, &by_row)?;
        let renumbered = scatter_places(cx, "set", &none, &to, &number, &places)?;
        (group, indices) = (take(cx, &renumbered, &group, 0)?, take(cx, &indices, &by_row, 0)?);
    }
    let picked = take(cx, &rows, &indices, 0)?;
    let all = single(cx, &group)?;
    let ones = cx.broadcast_to(&one, place.dims())?;
    let counts = scatter_places(cx, "add", &none, &all, &ones, &places)?;
    let empty = cx.broadcast_to(&zero, place.dims())?;
    let to = single(cx, &order)?;
    let group = scatter_places(cx, "set", &empty, &to, &group, &places)?;

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

/// Positions of rows of integers in ascending order, equal ones in the order in which they stand: sorted by each column from the last to the first.
fn sorted_rows<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, rows: &Tensor<'c, 'a>, place: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let (count, width) = (rows.dims()[0].clone(), rows.dims()[1].clone());
    let rows = cx.value(rows)?;
    let rows = cx.wrap(rows)?;
    let last = cx.extent(&(&width - &Dim::from(1)), ElementType::I64)?;
    let order = cx.repeat(&width, std::slice::from_ref(place), |cx, step, order| {
        let column = cx.binary(Sub::create, &last, step)?;
        let column = cx.window(&rows, 1, &column, Dim::from(1))?;
        let column = cx.reshape(&column, vec![count.clone()])?;
        let column = take(cx, &column, &order[0], 0)?;
        let ascending = best(cx, &column, &count, false)?;
        Ok(vec![take(cx, &order[0], &ascending, 0)?])
    })?;
    Ok(order[0].clone())
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

/// Ends and areas of boxes, without the axis of their four numbers.
struct Boxes<'c, 'a> {
    /// Lower and upper end along each of the two directions.
    ends: [[Tensor<'c, 'a>; 2]; 2],
    area: Tensor<'c, 'a>,
}

impl<'c, 'a> Boxes<'c, 'a> {
    fn new(cx: &mut Cx<'_, '_, 'c, 'a>, boxes: &Tensor<'c, 'a>, centered: bool) -> Result<Self, Failure> {
        let last = boxes.rank() - 1;
        let mut column = |i: i64| {
            let column = cx.slice_axis(boxes, last, i, i + 1)?;
            cx.reshape(&column, boxes.dims()[..last].to_vec())
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

    /// Where the overlap of these boxes `[batch, class]` and others `[batch, box]`, over their union, is above a threshold: `[batch, class, box]`.
    fn overlap(
        &self,
        cx: &mut Cx<'_, '_, 'c, 'a>,
        others: &Self,
        dims: &[Dim],
        threshold: &Tensor<'c, 'a>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let mut meet = |create: Binary<'c>, x: &Tensor<'c, 'a>, y: &Tensor<'c, 'a>| {
            let (a, b) = (cx.broadcast_along(x, &[0, 1], dims)?, cx.broadcast_along(y, &[0, 2], dims)?);
            cx.binary(create, &a, &b)
        };
        let mut sides = vec![];
        for (own, other) in self.ends.iter().zip(&others.ends) {
            sides.push((meet(Maximum::create, &own[0], &other[0])?, meet(Minimum::create, &own[1], &other[1])?));
        }
        let total = meet(Add::create, &self.area, &others.area)?;
        let smaller = meet(Minimum::create, &self.area, &others.area)?;
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

/// Turn by turn each class picks the best box that is left, and drops those that overlap it too much; all classes at once, until none has any left.
fn non_max_suppression<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (boxes, scores) = (cx.input(0)?, cx.input(1)?);
    let ([batch, count, _], [_, classes, _]) = (boxes.dims(), scores.dims()) else {
        return Ok(Failure::invalid(format!("boxes of rank {} and scores of rank {}", boxes.rank(), scores.rank()))?);
    };
    let (batch, count, classes) = (batch.clone(), count.clone(), classes.clone());
    let dims = vec![batch.clone(), classes.clone(), count.clone()];
    let boxes = cx.with_dims(&boxes, vec![batch.clone(), count.clone(), Dim::from(4)], "boxes of four numbers")?;
    let scores = cx.with_dims(&scores, dims.clone(), "a score for each box and class")?;
    let most = scalar_or(cx, 2, ElementType::I64, 0.0)?;
    let known = cx.integers(&most).and_then(|most| most.first()?.as_static());
    // No class picks more boxes than there are.
    let room = match (known, count.as_static()) {
        (Some(most), Some(count)) => Dim::from(most.clamp(0, count)),
        _ => count.clone(),
    };
    let threshold = scalar_or(cx, 3, boxes.element(), 0.0)?;
    let left = match cx.optional(4) {
        Some(least) => {
            let least = cx.reshape(&least, vec![])?;
            cx.compare(Gt::create, &scores, &least)?
        }
        None => {
            let all = cx.scalar(ElementType::Bool, 1.0)?;
            cx.broadcast_to(&all, &dims)?
        }
    };
    let picks = picks(cx, (&boxes, &scores), &left, &room, [&most, &threshold])?;

    let picks = flat(cx, &picks)?;
    let zero = cx.scalar(ElementType::I64, 0.0)?;
    let picked = cx.compare(Gt::create, &picks, &zero)?;
    let found = chosen(cx, &picked, "selected boxes")?;
    let mut columns = coordinates(cx, &found, &[batch.clone(), classes.clone(), room])?;
    let number = take(cx, &picks, &found, 0)?;
    let one = cx.scalar(ElementType::I64, 1.0)?;
    columns[2] = cx.binary(Sub::create, &number, &one)?;
    Ok(vec![line_up(cx, &columns, 1)?])
}

/// What each class picks of the boxes that are `left`, `[batch, class, room]`: numbers of boxes from 1 on in the order in which they are picked, then zeros.
fn picks<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    (boxes, scores): (&Tensor<'c, 'a>, &Tensor<'c, 'a>),
    left: &Tensor<'c, 'a>,
    room: &Dim,
    [most, threshold]: [&Tensor<'c, 'a>; 2],
) -> Result<Tensor<'c, 'a>, Failure> {
    let (dims, centered) = (scores.dims().to_vec(), cx.int_or("center_point_box", 0)? != 0);
    let all = Boxes::new(cx, boxes, centered)?;
    let key = sort_keys(cx, scores)?;
    let lowest = cx.scalar_of(key.element(), Scalar::Signed(i64::MIN >> (64 - key.element().bits())))?;
    // Made in front of the loop, which uses them.
    let mut outside = |x: &Tensor<'c, 'a>| {
        let value = cx.value(x)?;
        cx.wrap(value)
    };
    let (boxes, most, threshold) = (outside(boxes)?, outside(most)?, outside(threshold)?);
    let index = positions(cx, &dims[2], ElementType::I64)?;
    let index = cx.broadcast_along(&index, &[2], &dims)?;
    let (none, one) = (cx.extent(&dims[2], ElementType::I64)?, cx.scalar(ElementType::I64, 1.0)?);
    let any = cx.reduce("or", left, &[0, 1, 2])?;

    let mut turns = Turns::begin(cx)?;
    let left = turns.carry(cx, left)?;
    turns.carry(cx, &any)?;
    let (next, any, number) = turns.turn(cx, |cx| {
        let keys = cx.select(&left, &key, &lowest)?;
        let best = cx.reduce("max", &keys, &[2])?;
        let best = cx.broadcast_along(&best, &[0, 1], &dims)?;
        let is_best = cx.compare(Eq::create, &key, &best)?;
        let is_best = cx.binary(And::create, &is_best, &left)?;
        let place = cx.select(&is_best, &index, &none)?;
        let pick = cx.reduce("min", &place, &[2])?;
        // A class that has none left takes any box, which changes nothing.
        let last = cx.binary(Sub::create, &none, &one)?;
        let inside = cx.binary(Minimum::create, &pick, &last)?;
        let inside = single(cx, &inside)?;
        let picked = gather_places(cx, &boxes, &inside, &Places { axes: vec![1], batch: vec![(0, 0)], position: 0, checked: false })?;
        let picked = Boxes::new(cx, &picked, centered)?;
        let drops = picked.overlap(cx, &all, &dims, &threshold)?;
        let spread = cx.broadcast_along(&pick, &[0, 1], &dims)?;
        let own = cx.compare(Eq::create, &index, &spread)?;
        let drops = cx.binary(Or::create, &drops, &own)?;
        let stays = cx.unary(Not::create, &drops)?;
        let next = cx.binary(And::create, &left, &stays)?;
        let any = cx.reduce("or", &next, &[0, 1, 2])?;
        let number = cx.binary(Add::create, &pick, &one)?;
        let has_picked = cx.compare(Lt::create, &pick, &none)?;
        let zero = cx.scalar(ElementType::I64, 0.0)?;
        Ok::<_, Failure>((next, any, cx.select(&has_picked, &number, &zero)?))
    })?;
    let counter = turns.counter.clone();
    let picks = turns.collect(cx, &number, (2, room), &counter)?;
    let results = turns.end(cx, &[next, any, picks], |cx, carried| {
        let more = cx.compare(Lt::create, &carried[0], &most)?;
        cx.binary(And::create, &carried[2], &more)
    })?;
    Ok(results[3].clone())
}
