//! Sequences and optionals. Their lengths are known while importing, so they are lists of tensors that never reach the IR.

use super::{OpResult, Row, row};
use crate::import::{
    error::Failure,
    node::{NodeContext, normalize_axis},
    value::{Data, Tensor},
};
use winze_graph::{
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[
    row("SequenceEmpty", |cx| {
        // Its elements say their type.
        cx.ignore(&["dtype"]);
        Ok(vec![of(vec![])])
    }),
    row("SequenceConstruct", |cx| {
        let items = cx.all_inputs()?;
        Ok(vec![of(items)])
    }),
    row("SequenceInsert", insert),
    row("SequenceErase", erase),
    row("SequenceAt", at),
    row("SequenceLength", |cx| {
        let length = items(cx, 0)?.len() as i64;
        Ok(vec![Tensor::integers(ElementType::I64, &[], vec![length.into()])])
    }),
    row("SplitToSequence", split),
    row("ConcatFromSequence", concat),
    row("Optional", |cx| Ok(vec![cx.input(0)?])),
    row("OptionalGetElement", |cx| Ok(vec![cx.input(0)?])),
    row("OptionalHasElement", |cx| {
        let has = i64::from(cx.optional(0).is_some());
        Ok(vec![Tensor::integers(ElementType::Bool, &[], vec![has.into()])])
    }),
];

/// More parts than a model names.
const MAX_ITEMS: i64 = 1 << 12;

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn of<'c, 'a>(items: Vec<Tensor<'c, 'a>>) -> Tensor<'c, 'a> {
    let element = items.first().map_or(ElementType::F32, Tensor::element);
    Tensor::new(TensorType::fixed(element, &[]), Data::Sequence(items))
}

fn items<'c, 'a>(cx: &Cx<'_, '_, 'c, 'a>, i: usize) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
    match cx.input(i)?.data {
        Data::Sequence(items) => Ok(items),
        _ => Failure::invalid("its operand is no sequence"),
    }
}

/// A position among `length` places, from the back if negative.
fn position(cx: &Cx, i: usize, length: usize) -> Result<usize, Failure> {
    let at = cx.ints_input(i, "positions")?;
    let [at] = at[..] else { return Failure::invalid("a position that is no scalar") };
    normalize_axis(at, length).map_err(|_| Failure::Invalid(format!("position {at} in a sequence of {length} places")))
}

fn insert<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (mut items, item) = (items(cx, 0)?, cx.input(1)?);
    let place = match cx.optional(2) {
        // One may insert behind the last; -1 is before the last.
        Some(_) if cx.ints_input(2, "positions")? == [items.len() as i64] => items.len(),
        Some(_) => position(cx, 2, items.len())?,
        None => items.len(),
    };
    items.insert(place, item);
    Ok(vec![of(items)])
}

fn erase<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut items = items(cx, 0)?;
    let place = match cx.optional(1) {
        Some(_) => position(cx, 1, items.len())?,
        None => items.len().checked_sub(1).ok_or_else(|| Failure::Invalid("an empty sequence has no last element".into()))?,
    };
    items.remove(place);
    Ok(vec![of(items)])
}

fn at<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let items = items(cx, 0)?;
    Ok(vec![items[position(cx, 1, items.len())?].clone()])
}

fn split<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", 0)?, x.rank())?;
    let Some(extent) = x.extent(axis) else {
        return Ok(Failure::unsupported(format!("parts of the symbolic extent {}; fix it with --dim", x.dims()[axis]))?);
    };
    let equal = |size: i64| (0..extent).step_by(size as usize).map(|start| size.min(extent - start)).collect::<Vec<_>>();
    // Counts where all parts are of one element.
    let keep = cx.int_or("keepdims", 1)? != 0;
    let (sizes, keep) = match cx.optional(1) {
        None => (equal(1), keep),
        Some(sizes) if sizes.rank() == 0 => match cx.ints_input(1, "sizes")?[..] {
            [size] if size > 0 => (equal(size), true),
            _ => return Ok(Failure::invalid("parts of a size that is not positive")?),
        },
        Some(_) => (cx.ints_input(1, "sizes")?, true),
    };
    let total = sizes.iter().try_fold(0i64, |total, size| total.checked_add(*size).filter(|_| *size >= 0));
    if total != Some(extent) || sizes.len() as i64 > MAX_ITEMS {
        return Ok(Failure::invalid(format!("parts of {sizes:?} of the extent {extent}"))?);
    }
    let (mut items, mut start) = (vec![], 0);
    for size in sizes {
        let part = cx.slice_axis(&x, axis, start, start + size)?;
        let dims = part.dims().iter().enumerate().filter(|(i, _)| keep || *i != axis).map(|(_, dim)| dim.clone()).collect();
        items.push(cx.reshape(&part, dims)?);
        start += size;
    }
    Ok(vec![of(items)])
}

fn concat<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let items = items(cx, 0)?;
    let Some(first) = items.first() else { return Ok(Failure::invalid("an empty sequence")?) };
    let stacks = cx.int_or("new_axis", 0)? != 0;
    let axis = normalize_axis(cx.int_or("axis", 0)?, first.rank() + usize::from(stacks))?;
    if items.iter().any(|item| item.rank() != first.rank() || item.element() != first.element()) {
        return Ok(Failure::invalid("elements of different ranks or element types")?);
    }
    Ok(vec![if stacks { stack(cx, &items, axis)? } else { cx.concat(&items, axis)? }])
}

/// Joins tensors of one shape along a new axis.
pub fn stack<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, items: &[Tensor<'c, 'a>], axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let mut parts = vec![];
    for item in items {
        let mut dims = item.dims().to_vec();
        dims.insert(axis, Dim::from(1));
        parts.push(cx.reshape(item, dims)?);
    }
    Ok(Tensor { narrow: items.first().and_then(|item| item.narrow), ..cx.concat(&parts, axis)? })
}
