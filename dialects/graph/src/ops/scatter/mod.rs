//! `graph.scatter`: the input with elements at run-time positions replaced or folded with updates.

use super::{
    fold::{Fold, accumulator},
    gather::{Places, check_inside, outside_of},
};
use crate::{
    dialect::Scatter,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{Builder, LowerContext, Op, Part, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
    types::{ElementType, TensorType},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type, ValueLike},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.scatter",
    role: Role::DataMovement,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// `None` replaces.
fn parse_kind(kind: &str, element: ElementType) -> Result<Option<Fold>, String> {
    if kind == "set" { Ok(None) } else { Fold::parse(kind, element).map(Some) }
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (input, indices, updates) = (operand_type(cx, 0)?, operand_type(cx, 1)?, operand_type(cx, 2)?);
    parse_kind(&attribute::<String>(cx, "kind")?, input.element)?;
    let list = |name: &str| attribute::<Vec<i64>>(cx, name);
    let (axes, input_batch, indices_batch) = (list("axes")?, list("input_batch")?, list("indices_batch")?);
    let dims = Places::new(&input, &indices, &axes, &input_batch, &indices_batch, attribute(cx, "position")?)?.dims(&input, &indices);
    if updates.element != input.element || updates.dims != dims {
        let (element, given) = (input.element, &updates.dims);
        return Err(format!("the updates are {} {given:?}; these positions take {element} {dims:?}", updates.element));
    }
    Ok(vec![input.to_type(cx.context)])
}

fn places(op: OperationRef) -> Result<Places, String> {
    let scatter = Scatter(op);
    let (input, indices) = (TensorType::of(scatter.input())?, TensorType::of(scatter.indices())?);
    Places::new(&input, &indices, &scatter.axes(), &scatter.input_batch(), &scatter.indices_batch(), scatter.position())
}

fn eval(_: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (places, [input, indices, updates]) = (places(op)?, inputs) else { return Err("needs three operands".into()) };
    let kind = parse_kind(&Scatter(op).kind(), input.element())?;
    let mut result = input.clone();
    let mut outside = None;
    // Walks the updates in row-major order.
    Tensor::from_index_fn(updates.element(), &updates.shape, |index| {
        let (at, update) = (places.eval(indices, &input.shape, index), updates.at(index));
        if at.iter().zip(&input.shape).all(|(at, extent)| (0..*extent as i64).contains(at)) {
            let linear = at.iter().zip(&input.shape).fold(0, |linear, (at, extent)| linear * extent + *at as usize);
            result.set(linear, kind.map_or(update, |fold| fold.eval(result.get(linear), update)));
        }
        outside = outside.take().or_else(|| outside_of(&at, &input.shape));
        update
    });
    match outside.filter(|_| Scatter(op).checked()) {
        Some(what) => Err(what),
        None => Ok(vec![result]),
    }
}

/// What a kernel folds, and with what.
struct Updates<'c> {
    places: Places,
    kind: Option<Fold>,
    input: TensorType,
    of_indices: TensorType,
    indices: Val<'c>,
    updates: Val<'c>,
    /// Extents of the input.
    extents: Vec<Val<'c>>,
    /// Extents of the updates.
    counts: Vec<Val<'c>>,
    checked: bool,
}

impl<'c> Updates<'c> {
    /// `old` folded with the update at `index`.
    fn fold(&self, b: &Builder<'c>, old: impl FnOnce(&Builder<'c>) -> Val<'c>, index: &[Val<'c>]) -> Val<'c> {
        let element = self.input.element;
        let update = b.load(element, b.extract(self.updates, index));
        match self.kind {
            None => update,
            Some(fold) => {
                let folded = fold.lower(b, accumulator(element), b.widen(element, old(b)), b.widen(element, update));
                b.narrow(element, folded)
            }
        }
    }
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((tensor, input), (indices, of_indices), (updates, of_updates)) = (cx.operand(op, 0)?, cx.operand(op, 1)?, cx.operand(op, 2)?);
    let extents = |dims: &[crate::dim::Dim]| dims.iter().map(|dim| cx.extent(dim)).collect::<Result<Vec<_>, _>>();
    let updates = Updates {
        places: places(op)?,
        kind: parse_kind(&Scatter(op).kind(), input.element)?,
        extents: extents(&input.dims)?,
        counts: extents(&of_updates.dims)?,
        checked: Scatter(op).checked(),
        input,
        of_indices,
        indices,
        updates,
    };
    let destination = cx.destination(op, 0)?;
    let value =
        if cx.has_tensor_loops() { in_order(cx, &updates, tensor, destination) } else { per_element(cx, &updates, tensor, destination) };
    Ok(vec![value])
}

/// A copy of the input, and then one update after the other.
fn in_order<'c>(cx: &LowerContext<'c>, updates: &Updates<'c>, input: Val<'c>, destination: Val<'c>) -> Val<'c> {
    let element = updates.input.element;
    let storage = cx.storage(element);
    // A copy as linalg would be folded away, and the input be written.
    let copied = cx.builder.value("bufferization.materialize_in_destination", &[input, destination], destination.r#type(), &[]);
    nest(&cx.builder, &updates.counts, &mut vec![], copied, &mut |b, index, result| {
        let places = updates.places.lower(b, &updates.input, &updates.extents, (updates.indices, &updates.of_indices), index);
        let at: Vec<Val> = places.iter().map(|(at, _)| *at).collect();
        if updates.checked {
            places
                .iter()
                .zip(&updates.extents)
                .filter(|((_, unsure), _)| *unsure)
                .for_each(|((at, _), extent)| check_inside(b, *at, *extent));
        }
        // One unsigned comparison covers both ends.
        let tests = places.iter().zip(&updates.extents).filter(|((_, unsure), _)| *unsure);
        let inside = all(b, tests.map(|((at, _), extent)| b.cmpi("ult", *at, *extent)).collect());
        let write = |b: &Builder<'c>| {
            let folded = updates.fold(b, |b| b.load(element, b.extract(result, &at)), index);
            b.value("tensor.insert", &[&[b.store(folded, storage), result], &at[..]].concat(), result.r#type(), &[])
        };
        match inside {
            Some(inside) => b.if_else(inside, result.r#type(), write, |_| result),
            None => write(b),
        }
    })
}

/// Each element looks for its own updates: parallel, and as many comparisons as there are positions that could address it.
fn per_element<'c>(cx: &LowerContext<'c>, updates: &Updates<'c>, input: Val<'c>, destination: Val<'c>) -> Val<'c> {
    let element = updates.input.element;
    let part = Part { tensor: input, element, map: cx.identity(updates.input.rank()) };
    cx.map(&[part], destination, element, |b, x| {
        let own: Vec<Val> = (0..updates.input.rank()).map(|i| b.loop_index(i)).collect();
        let walked = updates.places.of_element(&own);
        let tests = walked.iter().zip(&updates.counts).filter_map(|(own, count)| own.map(|own| b.cmpi("slt", own, *count)));
        let within = all(b, tests.collect());
        let search = |b: &Builder<'c>| {
            let free: Vec<Val> = walked.iter().zip(&updates.counts).filter(|(own, _)| own.is_none()).map(|(_, count)| *count).collect();
            nest(b, &free, &mut vec![], x[0], &mut |b, found, value| {
                let mut found = found.iter();
                let index: Vec<Val> = walked.iter().map(|own| own.unwrap_or_else(|| *found.next().expect("one per free axis"))).collect();
                let places = updates.places.lower(b, &updates.input, &updates.extents, (updates.indices, &updates.of_indices), &index);
                let tests = places.iter().zip(&own).filter(|((_, unsure), _)| *unsure);
                let hit = all(b, tests.map(|((at, _), own)| b.cmpi("eq", *at, *own)).collect());
                let fold = |b: &Builder<'c>| updates.fold(b, |_| value, &index);
                match hit {
                    Some(hit) => b.if_else(hit, value.r#type(), fold, |_| value),
                    None => fold(b),
                }
            })
        };
        match within {
            Some(within) => b.if_else(within, x[0].r#type(), search, |_| x[0]),
            None => search(b),
        }
    })
}

/// Loops over `counts`, outermost first, that carry one value.
fn nest<'c>(
    b: &Builder<'c>,
    counts: &[Val<'c>],
    index: &mut Vec<Val<'c>>,
    carried: Val<'c>,
    body: &mut dyn FnMut(&Builder<'c>, &[Val<'c>], Val<'c>) -> Val<'c>,
) -> Val<'c> {
    let Some(count) = counts.get(index.len()) else { return body(b, index, carried) };
    let results = b.count_to(*count, &[carried], |b, i, carried| {
        index.push(i);
        let next = nest(b, counts, index, carried[0], body);
        index.pop();
        vec![next]
    });
    results[0]
}

fn all<'c>(b: &Builder<'c>, conditions: Vec<Val<'c>>) -> Option<Val<'c>> {
    conditions.into_iter().reduce(|all, condition| b.same("arith.andi", &[all, condition]))
}
