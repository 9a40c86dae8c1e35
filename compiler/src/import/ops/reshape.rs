//! Operators that only move or repeat elements: Reshape, Transpose, Concat, Expand, Tile and the like.

use super::{
    OpResult, Row,
    index::{positions, take},
    row, row_since,
    slice::names_axis,
};
use crate::import::{
    error::Failure,
    node::{NodeContext, common_dims, made_by, normalize_axes, normalize_axis},
    value::Tensor,
};
use winze_graph::{
    dialect::{Add, And, Div, Eq, Lt, Minimum, Mul, Not, Or},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[
    row("Reshape", reshape),
    row("Flatten", flatten),
    row("Squeeze", squeeze),
    row("Unsqueeze", unsqueeze),
    row("Transpose", transpose),
    row_since("Concat", 4, concat),
    row("Expand", expand),
    row_since("Tile", 6, tile),
    row("DepthToSpace", depth_to_space),
    row("SpaceToDepth", space_to_depth),
    row("Shape", shape),
    row("Size", size),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::from(1), |product, dim| &product * dim)
}

fn reshape<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let wanted = match cx.ints("shape")? {
        Some(shape) if cx.version < 5 => shape.into_iter().map(Dim::from).collect(),
        _ if cx.open_operand(1).is_some() => return reshape_while_running(cx, &x),
        _ => cx.dims_input(1, "shapes")?,
    };
    let keeps_zero = cx.int_since(14, "allowzero", 0)? == 0;
    let mut dims: Vec<Dim> = vec![];
    let mut free = None;
    for (axis, dim) in wanted.into_iter().enumerate() {
        match dim.as_static() {
            Some(-1) if free.is_none() => {
                free = Some(axis);
                dims.push(Dim::from(1));
            }
            Some(0) if keeps_zero => match x.dims().get(axis) {
                Some(dim) => dims.push(dim.clone()),
                None => return Ok(Failure::invalid(format!("the shape's axis {axis} copies an axis that the input lacks"))?),
            },
            Some(value) if value < 0 => return Ok(Failure::invalid(format!("the extent {value} in the shape"))?),
            _ => dims.push(dim),
        }
    }
    if let Some(axis) = free {
        let (all, rest) = (x.r#type.count(), product(&dims));
        dims[axis] = match (all.as_static(), rest.as_static()) {
            (Some(all), Some(rest)) if rest != 0 && all % rest == 0 => Dim::from(all / rest),
            (Some(_), Some(_)) => return Ok(Failure::invalid(format!("{all} elements do not fit the shape {dims:?} with one free axis"))?),
            _ => match all.exact_div(&rest) {
                Some(dim) => dim,
                // A run must find that it comes out even.
                None => all.floor_div(&rest),
            },
        };
    }
    Ok(vec![cx.reshape(&x, dims)?])
}

/// A shape that only the run knows; it is checked to have as many elements.
fn reshape_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let (list, keeps_zero) = (cx.input(1)?, cx.int_since(14, "allowzero", 0)? == 0);
    let (zero, one, all) = (cx.number(&Dim::from(0)), cx.number(&Dim::from(1)), x.r#type.count());
    let mut extents = vec![];
    for (axis, given) in cx.elements(&list)?.into_iter().enumerate() {
        extents.push(match x.dims().get(axis).filter(|_| keeps_zero) {
            Some(own) => {
                let (copies, own) = (cx.compare(Eq::create, &given, &zero)?, cx.number(own));
                cx.select(&copies, &own, &given)?
            }
            None => given,
        });
    }
    let mut named = one.clone();
    let mut frees = vec![];
    for extent in &extents {
        let free = cx.compare(Lt::create, extent, &zero)?;
        let factor = cx.select(&free, &one, extent)?;
        named = cx.binary(Mul::create, &named, &factor)?;
        frees.push(free);
    }
    let rest = cx.binary(Div::create, &cx.number(&all), &named)?;
    let mut dims = vec![];
    for (extent, free) in extents.iter().zip(&frees) {
        let extent = cx.select(free, &rest, extent)?;
        dims.push(cx.factor(&extent, "extents of the shape")?);
    }
    let total = cx.number(&product(&dims));
    cx.check_size(&total, "number of elements of the shape", &all, &all)?;
    Ok(vec![cx.reshape_to(x, dims)?])
}

fn flatten<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = cx.int_or("axis", 1)?;
    let axis = if axis == x.rank() as i64 { x.rank() } else { normalize_axis(axis, x.rank().max(1))? };
    let (outer, inner) = x.dims().split_at(axis.min(x.rank()));
    let dims = vec![product(outer), product(inner)];
    Ok(vec![cx.reshape(&x, dims)?])
}

/// Axes: an attribute before version 13, an operand since.
fn axes(cx: &Cx) -> Result<Option<Vec<i64>>, Failure> {
    if cx.version < 13 { cx.ints("axes") } else { cx.optional_ints(1, "axes") }
}

fn squeeze<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut x = cx.input(0)?;
    let one = Dim::from(1);
    if let Some(named) = cx.open_operand(1).filter(|_| cx.version >= 13) {
        return squeeze_while_running(cx, &x, &named);
    }
    let axes = match axes(cx)? {
        Some(axes) => normalize_axes(&axes, x.rank())?,
        None => {
            // Another extent than 1 keeps its axis, so the rank is that of runs where symbolic ones are larger.
            for dim in x.dims().to_vec().iter().filter(|dim| dim.as_static().is_none()) {
                let what = "extents of 2 and more where its `axes` are left out; fix those that are 1 with --dim";
                x = cx.require_at_most(&x, &Dim::from(2), dim, what)?;
            }
            (0..x.rank()).filter(|axis| x.dims()[*axis] == one).collect()
        }
    };
    let mut squeezed = x.dims().to_vec();
    axes.iter().for_each(|axis| squeezed[*axis] = one.clone());
    let x = cx.with_dims(&x, squeezed, &format!("the axes {axes:?} of {} to have the extent 1", made_by(&x)))?;
    let dims = x.dims().iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| dim.clone()).collect();
    Ok(vec![cx.reshape(&x, dims)?])
}

/// For each axis whether one of these names it, 0-d bools.
pub fn axes_named<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, named: &[Tensor<'c, 'a>], rank: usize) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
    let mut hits = vec![];
    for axis in 0..rank {
        let mut hit = cx.scalar(ElementType::Bool, 0.0)?;
        for named in named {
            let this = names_axis(cx, named, axis, rank)?;
            hit = cx.binary(Or::create, &hit, &this)?;
        }
        hits.push(hit);
    }
    Ok(hits)
}

/// The extents without those that are hit: `count` of them, by their places among the kept ones.
pub fn kept_extents<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    extents: &[Dim],
    hits: &[Tensor<'c, 'a>],
    count: usize,
) -> Result<Vec<Dim>, Failure> {
    let (zero, one) = (cx.number(&Dim::from(0)), cx.number(&Dim::from(1)));
    let mut kept = vec![zero.clone(); count];
    let mut place = zero.clone();
    for (extent, hit) in extents.iter().zip(hits) {
        let free = cx.unary(Not::create, hit)?;
        for (i, kept) in kept.iter_mut().enumerate() {
            let here = cx.compare(Eq::create, &place, &cx.number(&Dim::from(i as i64)))?;
            let here = cx.binary(And::create, &here, &free)?;
            *kept = cx.select(&here, &cx.number(extent), kept)?;
        }
        let next = cx.binary(Add::create, &place, &one)?;
        place = cx.select(&free, &next, &place)?;
    }
    kept.iter().map(|extent| cx.factor(extent, "kept extents")).collect()
}

fn squeeze_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, named: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let named = cx.elements(named)?;
    let Some(count) = x.rank().checked_sub(named.len()) else { return Ok(Failure::invalid("more axes than the input has")?) };
    let hits = axes_named(cx, &named, x.rank())?;
    let dims = kept_extents(cx, x.dims(), &hits, count)?;
    let (all, total) = (x.r#type.count(), cx.number(&product(&dims)));
    cx.check_size(&total, "number of elements without the axes", &all, &all)?;
    Ok(vec![cx.reshape_to(x, dims)?])
}

/// Axis i of the result is 1 if named, else the next of the input.
fn unsqueeze_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, named: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let named = cx.elements(named)?;
    let rank = x.rank() + named.len();
    let hits = axes_named(cx, &named, rank)?;
    let (one, mut place) = (cx.number(&Dim::from(1)), cx.number(&Dim::from(0)));
    let mut dims = vec![];
    for hit in &hits {
        let mut own = one.clone();
        for (axis, dim) in x.dims().iter().enumerate() {
            let here = cx.compare(Eq::create, &place, &cx.number(&Dim::from(axis as i64)))?;
            own = cx.select(&here, &cx.number(dim), &own)?;
        }
        let extent = cx.select(hit, &one, &own)?;
        dims.push(cx.factor(&extent, "extents with the axes")?);
        let next = cx.binary(Add::create, &place, &one)?;
        place = cx.select(hit, &place, &next)?;
    }
    let (all, total) = (x.r#type.count(), cx.number(&product(&dims)));
    cx.check_size(&total, "number of elements with the axes", &all, &all)?;
    Ok(vec![cx.reshape_to(x, dims)?])
}

fn unsqueeze<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    if let Some(named) = cx.open_operand(1).filter(|_| cx.version >= 13) {
        return unsqueeze_while_running(cx, &x, &named);
    }
    let Some(axes) = axes(cx)? else { return Ok(Failure::invalid("axes are missing")?) };
    let mut dims = x.dims().to_vec();
    for axis in normalize_axes(&axes, x.rank() + axes.len())? {
        dims.insert(axis, Dim::from(1));
    }
    Ok(vec![cx.reshape(&x, dims)?])
}

fn transpose<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let permutation = cx.ints("perm")?.unwrap_or_else(|| (0..x.rank() as i64).rev().collect());
    let mut sorted = permutation.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.rank() as i64) {
        return Ok(Failure::invalid(format!("perm {permutation:?} is no permutation of {} axes", x.rank()))?);
    }
    Ok(vec![cx.transpose(&x, permutation)?])
}

fn concat<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let inputs = cx.all_inputs()?;
    let Some(axis) = cx.int("axis")? else { return Ok(Failure::invalid("axis is missing")?) };
    let axis = normalize_axis(axis, inputs[0].rank())?;
    if inputs.iter().any(|x| x.rank() != inputs[0].rank() || x.element() != inputs[0].element()) {
        return Ok(Failure::invalid("inputs of different ranks or element types")?);
    }
    Ok(vec![cx.concat(&inputs, axis)?])
}

fn expand<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    if cx.open_operand(1).is_some() {
        return expand_while_running(cx, x);
    }
    let shape = cx.dims_input(1, "shapes")?;
    if shape.iter().any(|dim| dim.as_static().is_some_and(|dim| dim < 0)) {
        return Ok(Failure::invalid(format!("the shape {shape:?}"))?);
    }
    let dims = common_dims(x.dims(), &shape)?;
    Ok(vec![cx.broadcast_to(&x, &dims)?])
}

/// A shape that only the run knows. Where an axis of the input has one element, the shape decides; else its extent, and the shape has it or 1.
fn expand_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let list = cx.input(1)?;
    let from = cx.operand_name(1).to_string();
    let wanted = cx.elements(&list)?;
    let (one, unit) = (Dim::from(1), cx.number(&Dim::from(1)));
    let rank = x.rank().max(wanted.len());
    let mut dims = [vec![one.clone(); rank - x.rank()], x.dims().to_vec()].concat();
    let mut x = cx.reshape(&x, dims.clone())?;
    for (i, wanted) in wanted.iter().enumerate() {
        let axis = rank - list.r#type.count().as_static().unwrap_or(0) as usize + i;
        let own = dims[axis].clone();
        if own == one {
            dims[axis] = cx.size(wanted, "extents of the shape", &from, None)?;
            continue;
        }
        let repeats = cx.compare(Eq::create, wanted, &unit)?;
        let extent = cx.select(&repeats, &cx.number(&own), wanted)?;
        if own.as_static().is_some() {
            cx.check_size(&extent, "extents of the shape", &own, &own)?;
            continue;
        }
        // The axis may turn out to have one element, which is repeated then.
        let total = cx.size(&extent, "extents of the shape", &from, None)?;
        let index = positions(cx, &total, ElementType::I64)?;
        let last = cx.number(&(&own - &one));
        let index = cx.binary(Minimum::create, &index, &last)?;
        x = take(cx, &x, &index, axis)?;
        dims[axis] = total;
    }
    Ok(vec![cx.broadcast_to(&x, &dims)?])
}

fn tile<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let repeats = cx.sizes_input(1, "repeats", |_| None)?;
    if repeats.len() != x.rank() || repeats.iter().any(|n| n.as_static().is_some_and(|n| n < 0)) {
        return Ok(Failure::invalid(format!("repeats {repeats:?} of {} axes", x.rank()))?);
    }
    let one = Dim::from(1);
    // Axes that are repeated get a new axis before them; both are merged again.
    let (mut wide, mut places, mut dims) = (vec![], vec![], vec![]);
    for (dim, n) in x.dims().iter().zip(&repeats) {
        if *n != one {
            wide.push(n.clone());
        }
        places.push(wide.len());
        wide.push(dim.clone());
        dims.push(n * dim);
    }
    let spread = cx.broadcast_along(&x, &places, &wide)?;
    Ok(vec![cx.reshape(&spread, dims)?])
}

/// Batch, channels, height, width and the block size.
fn image<'c, 'a>(cx: &Cx<'_, '_, 'c, 'a>) -> Result<(Tensor<'c, 'a>, i64), Failure> {
    let x = cx.input(0)?;
    let block = cx.int_or("blocksize", 0)?;
    if x.rank() != 4 || !(1..1 << 31).contains(&block) {
        return Failure::invalid(format!("a blocksize of {block} and an input of rank {}", x.rank()));
    }
    Ok((x, block))
}

/// `dim / by`, which must be whole: a run fails in the reshape where it is not.
fn divide(dim: &Dim, by: i64) -> Result<Dim, Failure> {
    if dim.as_static().is_some_and(|dim| dim % by != 0) {
        return Failure::invalid(format!("the extent {dim} is no multiple of {by}"));
    }
    Ok(dim.floor_div(&Dim::from(by)))
}

fn depth_to_space<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, block) = image(cx)?;
    let [n, c, h, w] = x.dims() else { unreachable!("`image` has checked the rank") };
    let (b, depth) = (Dim::from(block), divide(c, block.saturating_mul(block))?);
    let (split, permutation) = match cx.string_or("mode", "DCR")?.as_str() {
        "DCR" => (vec![n.clone(), b.clone(), b.clone(), depth.clone(), h.clone(), w.clone()], vec![0, 3, 4, 1, 5, 2]),
        "CRD" => (vec![n.clone(), depth.clone(), b.clone(), b.clone(), h.clone(), w.clone()], vec![0, 1, 4, 2, 5, 3]),
        other => return Ok(Failure::invalid(format!("mode `{other}`"))?),
    };
    let merged = vec![n.clone(), depth, h * &b, w * &b];
    let x = cx.reshape(&x, split)?;
    let x = cx.transpose(&x, permutation)?;
    Ok(vec![cx.reshape(&x, merged)?])
}

fn space_to_depth<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, block) = image(cx)?;
    let [n, c, h, w] = x.dims() else { unreachable!("`image` has checked the rank") };
    let (b, h, w) = (Dim::from(block), divide(h, block)?, divide(w, block)?);
    let split = vec![n.clone(), c.clone(), h.clone(), b.clone(), w.clone(), b.clone()];
    let merged = vec![n.clone(), &(c * &b) * &b, h, w];
    let x = cx.reshape(&x, split)?;
    let permutation = match cx.string_or("mode", "DCR")?.as_str() {
        "DCR" => vec![0, 3, 5, 1, 2, 4],
        "CRD" => vec![0, 1, 3, 5, 2, 4],
        other => return Err(Failure::Invalid(format!("the mode is '{other}'; it is DCR or CRD")).into()),
    };
    let x = cx.transpose(&x, permutation)?;
    Ok(vec![cx.reshape(&x, merged)?])
}

/// Usually answered by the evaluation of shape values; here for calls whose attributes come from a function's caller.
fn shape<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let rank = x.rank() as i64;
    let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (clamp(cx.int_since(15, "start", 0)?), clamp(cx.int_since(15, "end", i64::MAX)?));
    let items = x.dims()[start..end.max(start)].to_vec();
    Ok(vec![Tensor::integers(ElementType::I64, &[items.len() as i64], items)])
}

fn size<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    Ok(vec![Tensor::integers(ElementType::I64, &[], vec![x.r#type.count()])])
}
