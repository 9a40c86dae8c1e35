//! If and Loop -> graph.if and graph.while.
//!
//! A Loop carries its counter (0-d i64), its condition (0-d bool), the model's values and its scan outputs, which have room for the most iterations and
//! are cut afterwards. Short loops with scan outputs, and those with sequences or values that change their shape, are unrolled when their trip count is known.

use super::{OpError, OpResult, Row, row, row_since, row_until, sequence::stack};
use crate::import::{
    error::{Failure, ImportError, Unsupported},
    fold,
    node::{NodeContext, normalize_axis},
    proto::{DimensionProto, DimensionValue, GraphProto, TypeValue, ValueInfoProto},
    repeat::{Turns, new_region, within},
    value::{Data, Tensor},
    value_range::larger,
};
use winze_graph::{
    dialect::{Add, And, DynamicUpdateSlice, Fail, If, Lt, Maximum, Sub, Yield},
    dim::Dim,
    types::ElementType,
};
use winze_mlir::{
    melior::ir::{BlockLike, BlockRef, OperationRef, Type, Value, ValueLike, operation::OperationLike},
    walk,
};

pub const OPS: &[Row] = &[row("If", if_), row("Loop", loop_), row_until("Scan", 8, scan_batch), row_since("Scan", 9, scan)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// A 0-d bool that `tensor` holds.
fn condition<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, tensor: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    if tensor.element() != ElementType::Bool {
        return Failure::invalid(format!("a condition of element type {}", tensor.element()));
    }
    cx.reshape(tensor, vec![])
}

/// Values of `tensors` at the end of `block`.
fn values_in<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    tensors: &[Tensor<'c, 'a>],
    block: BlockRef<'c, 'a>,
) -> Result<Vec<Value<'c, 'a>>, Failure> {
    tensors.iter().map(|tensor| cx.importer.materialize(tensor, block, cx.location)).collect()
}

fn branch<'p, 'c, 'a>(
    cx: &mut Cx<'_, 'p, 'c, 'a>,
    graph: &'p GraphProto,
    block: BlockRef<'c, 'a>,
) -> Result<Option<Vec<Tensor<'c, 'a>>>, ImportError> {
    cx.subgraph(graph, vec![], block)
}

/// A branch that may turn out to contradict itself: what it lacks counts only if it does not.
fn attempt<'p, 'c, 'a>(
    cx: &mut Cx<'_, 'p, 'c, 'a>,
    graph: &'p GraphProto,
    block: BlockRef<'c, 'a>,
) -> Result<Option<Vec<Tensor<'c, 'a>>>, ImportError> {
    let (recorded, symbols) = (cx.importer.unsupported.len(), cx.importer.symbols.len());
    let outputs = branch(cx, graph, block);
    if outputs.is_err() {
        cx.importer.unsupported.truncate(recorded);
        cx.importer.forget_symbols(symbols);
    }
    outputs
}

/// Stops the run in place of a branch, whose outputs would be of the types of `outputs`: over symbols below number `outside`.
fn fail<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    outputs: &[Tensor<'c, 'a>],
    what: &str,
    at: &str,
    (block, outside): (BlockRef<'c, 'a>, u32),
) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
    if outputs.iter().flat_map(|output| output.dims()).any(|dim| dim.symbol_count() > outside) {
        return Failure::unsupported("a branch computes the sizes of its results, and the other one fails");
    }
    let types: Vec<Type<'c>> = outputs.iter().map(|tensor| tensor.r#type.to_type(cx.context())).collect();
    let message = format!("the condition of node `{}` chose a branch that does not fit these sizes: {what} at {at}", cx.name);
    let op = block.append_operation(Fail::create(cx.context(), cx.location, message, &types));
    let results: Vec<Value<'c, 'a>> = op.results().map(Into::into).collect();
    // The contents are unknown, whatever those of the other branch are.
    results.into_iter().zip(outputs).map(|(value, output)| Ok(Tensor { narrow: output.narrow, ..cx.wrap(value)? })).collect()
}

/// The reason is recorded with the node inside.
fn missing<T>() -> Result<T, Failure> {
    Failure::unsupported("its body has unsupported nodes")
}

fn if_<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let input = cx.input(0)?;
    let (then_graph, else_graph) = (cx.graph("then_branch")?, cx.graph("else_branch")?);
    if then_graph.output.len() != else_graph.output.len() {
        return Ok(Failure::invalid("its branches have different numbers of outputs")?);
    }
    // A condition that is known leaves one branch.
    if let Some([known]) = cx.integers(&input).as_deref()
        && let Some(known) = known.as_static()
    {
        let block = cx.block;
        return match branch(cx, if known != 0 { then_graph } else { else_graph }, block)? {
            Some(outputs) => Ok(outputs),
            None => Ok(missing()?),
        };
    }
    let condition = condition(cx, &input)?;
    let ((mut then_region, mut then_block), (mut else_region, mut else_block)) = (new_region(), new_region());
    let outside = cx.importer.symbols.len() as u32;
    let then_outputs = attempt(cx, then_graph, then_block);
    let symbols = cx.importer.symbols.len();
    let else_outputs = attempt(cx, else_graph, else_block);
    let name = cx.name;
    // A branch that contradicts itself is for other sizes, so it fails when it is taken. One branch must be sound.
    let (then_outputs, else_outputs) = match (then_outputs, else_outputs) {
        (Ok(Some(outputs)), Err(ImportError::Invalid { what, at, .. })) => {
            (else_region, else_block) = new_region();
            let failed = fail(cx, &outputs, &what, &at, (else_block, outside))?;
            (Some(outputs), Some(failed))
        }
        (Err(ImportError::Invalid { what, at, .. }), Ok(Some(outputs))) => {
            (then_region, then_block) = new_region();
            let failed = fail(cx, &outputs, &what, &at, (then_block, outside))?;
            (Some(failed), Some(outputs))
        }
        // Where the sizes alone decide between results of different ranks, the first branch gives the shapes of everything that follows.
        (Ok(Some(outputs)), Ok(Some(others)))
            if outputs.iter().zip(&others).any(|(a, b)| a.rank() != b.rank()) && cx.importer.follows_from_sizes(&input) =>
        {
            (else_region, else_block) = new_region();
            cx.importer.forget_symbols(symbols);
            let failed = fail(cx, &outputs, "it gives results of another rank", name, (else_block, outside))?;
            (Some(outputs), Some(failed))
        }
        (then_outputs, else_outputs) => (then_outputs?, else_outputs?),
    };
    let (Some(then_outputs), Some(else_outputs)) = (then_outputs, else_outputs) else { return Ok(missing()?) };
    let blocks = [then_block, else_block];
    let mut joined = Joined {
        condition: condition.clone(),
        outside,
        blocks,
        results: Default::default(),
        counts: Default::default(),
        counted: vec![],
        open: vec![],
    };
    let narrow: Vec<_> = then_outputs.iter().map(|output| output.narrow).collect();
    for (i, (mut a, mut b)) in then_outputs.into_iter().zip(else_outputs).enumerate() {
        if a.rank() != b.rank() && [&a, &b].iter().all(|x| x.r#type.count().as_static() == Some(1)) {
            // One element each: exporters write numbers with an axis of extent 1 or without.
            let dims = vec![Dim::from(1); a.rank().min(b.rank())];
            a = Tensor { narrow: a.narrow, ..within(cx, blocks[0], |cx| cx.reshape(&a, dims.clone()))? };
            b = Tensor { narrow: b.narrow, ..within(cx, blocks[1], |cx| cx.reshape(&b, dims))? };
        }
        if a.model_type() != b.model_type() || a.rank() != b.rank() {
            let why = format!("output {i} has the type {} in one branch and {} in the other", show(&a), show(&b));
            return Ok(Failure::unsupported(why)?);
        }
        joined.add(cx, [a, b])?;
    }
    let mut types: Vec<Type<'c>> = vec![];
    for ((results, counts), block) in joined.results.iter().zip(&joined.counts).zip(blocks) {
        let values = values_in(cx, &[results.as_slice(), counts].concat(), block)?;
        types = values.iter().map(|value| value.r#type()).collect();
        block.append_operation(Yield::create(cx.context(), cx.location, &values));
    }
    let condition = cx.value(&condition)?;
    let op = cx.block.append_operation(If::create(cx.context(), cx.location, condition, [then_region, else_region], &types));
    let results: Vec<Value<'c, 'a>> = op.results().map(Into::into).collect();
    let mut results = results.into_iter().map(|value| cx.wrap(value)).collect::<Result<Vec<_>, _>>()?;
    let counts = results.split_off(joined.results[0].len());
    for ((result, axis), count) in joined.counted.into_iter().zip(counts) {
        if let Some(open) = joined.open.iter().find(|open| results[result].dims()[axis] == **open) {
            cx.size_again(open, &count)?;
            continue;
        }
        let most = results[result].dims()[axis].clone();
        let count = cx.size(&count, "extents of a branch", "", Some(most))?;
        results[result] = cx.symbolic_slice(&results[result], axis, &Dim::from(0), &count, 1)?;
    }
    results.iter_mut().zip(narrow).for_each(|(result, narrow)| result.narrow = narrow);
    Ok(results)
}

/// The results of both branches of an `If`, brought to equal types.
struct Joined<'c, 'a> {
    condition: Tensor<'c, 'a>,
    /// Symbols from this number on are those of the branches.
    outside: u32,
    blocks: [BlockRef<'c, 'a>; 2],
    results: [Vec<Tensor<'c, 'a>>; 2],
    /// Extents that the branches compute, which they yield too, and of which result and axis they are.
    counts: [Vec<Tensor<'c, 'a>>; 2],
    counted: Vec<(usize, usize)>,
    /// Those that nothing bounds: symbols with the extent of the branch that is taken.
    open: Vec<Dim>,
}

impl<'c, 'a> Joined<'c, 'a> {
    /// Extents that differ become sizes, chosen by the condition. Where a branch computes its own, the result has room for the most; where nothing says how
    /// much that is, either branch gives one symbol its extent.
    fn add(&mut self, cx: &mut Cx<'_, '_, 'c, 'a>, pair: [Tensor<'c, 'a>; 2]) -> Result<(), Failure> {
        let mut dims = pair[0].dims().to_vec();
        let (mut computed, mut open) = (vec![], vec![]);
        for (axis, dim) in dims.iter_mut().enumerate() {
            let other = &pair[1].dims()[axis];
            let inside = [&*dim, other].iter().any(|dim| dim.symbol_count() > self.outside);
            if *dim == *other && !inside {
                continue;
            }
            let sizes = &cx.importer.sizes;
            let most = larger(sizes.range(dim).1, sizes.range(other).1);
            *dim = if most.symbol_count() > self.outside {
                open.push(axis);
                let (a, b) = (cx.number(dim), cx.number(other));
                let size = cx.size_in_blocks([(self.blocks[0], &a), (self.blocks[1], &b)], "extents of the branches")?;
                self.open.push(size.clone());
                size
            } else if inside {
                computed.push(axis);
                most
            } else {
                let (a, b) = (cx.number(dim), cx.number(other));
                let extent = cx.select(&self.condition, &a, &b)?;
                cx.size(&extent, "extents of the branches", "", Some(most))?
            };
        }
        for (branch, part) in pair.into_iter().enumerate() {
            let counts: Vec<Tensor<'c, 'a>> = computed.iter().chain(&open).map(|axis| cx.number(&part.dims()[*axis])).collect();
            let mut own = dims.clone();
            computed.iter().for_each(|axis| own[*axis] = part.dims()[*axis].clone());
            let part = within(cx, self.blocks[branch], |cx| {
                let part = cx.with_dims(&part, own, "extents of the branch that is taken")?;
                if computed.is_empty() { Ok(part) } else { in_front(cx, &part, &computed, &dims) }
            })?;
            self.results[branch].push(part);
            self.counts[branch].extend(counts);
        }
        let result = self.results[0].len() - 1;
        self.counted.extend(computed.into_iter().chain(open).map(|axis| (result, axis)));
        Ok(())
    }
}

/// `x` in a tensor of zeros that is longer along `axes`.
fn in_front<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axes: &[usize], dims: &[Dim]) -> Result<Tensor<'c, 'a>, Failure> {
    let zero = cx.scalar(x.element(), 0.0)?;
    let room = cx.broadcast_to(&zero, dims)?;
    let start = cx.number(&Dim::from(0));
    let (room, x, start) = (cx.value(&room)?, cx.value(x)?, cx.value(&start)?);
    let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
    let starts = vec![start; axes.len()];
    cx.emit(DynamicUpdateSlice::create(cx.context(), cx.location, room, x, &starts, axes, &[room.r#type()]))
}

fn show(tensor: &Tensor) -> String {
    format!("{}{:?}", tensor.model_type(), tensor.dims())
}

fn loop_<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let body = cx.graph("body")?;
    let initial = cx.inputs.get(2..).unwrap_or_default().iter().cloned().collect::<Option<Vec<_>>>();
    let Some(initial) = initial else { return Ok(Failure::invalid("an initial value is missing")?) };
    let carried = initial.len();
    if body.input.len() != carried + 2 || body.output.len() <= carried {
        return Ok(Failure::invalid(format!(
            "a body of {} inputs and {} outputs for {carried} values",
            body.input.len(),
            body.output.len()
        ))?);
    }
    let scans = body.output.len() > carried + 1;
    if initial.iter().any(|tensor| matches!(tensor.data, Data::Sequence(_))) {
        return unrolled_loop(cx, body, initial);
    }
    // Contents that decide are not left to the run where they are on offer.
    if scans && cx.open_operand(0).is_none() && cx.optional(0).is_some() {
        cx.dims_input(0, "trip counts")?;
    }
    let trips = cx.optional(0).and_then(|trips| cx.integers(&trips)?.first()?.as_static());
    let short = scans && trips.is_some_and(|trips| trips.max(0).saturating_mul(body.node.len() as i64) <= MAX_SHORT);
    let (known, peeled, before) = (initial.clone(), initial.clone(), Attempt::begin(cx));
    let whole = either(cx, !short, |cx| looped(cx, body, Start { turn: 0, running: None, initial }), |cx| unrolled_loop(cx, body, known));
    // Values that get their types in the first turn: it stands in front of the loop, if it is known to happen.
    let running = cx.optional(1).is_none_or(|running| cx.integers(&running).is_some_and(|items| items == [Dim::from(1)]));
    let happens = running && (cx.optional(0).is_none() || trips.is_some_and(|trips| trips > 0));
    if scans || !happens || !matches!(whole, Err(OpError::Failure(Failure::Unsupported(_)))) {
        return whole;
    }
    let inside = before.give_up(cx);
    let after_first = after_first_turn(cx, body, peeled);
    if matches!(after_first, Err(OpError::Failure(Failure::Unsupported(_)))) {
        before.give_up(cx);
        cx.importer.unsupported.extend(inside);
        return whole;
    }
    after_first
}

/// Where the import of a node stood, to go back to when one way of doing it is given up.
struct Attempt<'c, 'a> {
    last: Option<OperationRef<'c, 'a>>,
    symbols: usize,
    unsupported: usize,
}

impl<'c: 'a, 'a> Attempt<'c, 'a> {
    fn begin(cx: &Cx<'_, '_, 'c, 'a>) -> Self {
        Self { last: fold::last_operation(cx.block), symbols: cx.importer.symbols.len(), unsupported: cx.importer.unsupported.len() }
    }

    /// Takes back the ops and symbols made since. What was recorded as unsupported: for when nothing else works either.
    fn give_up(&self, cx: &mut Cx<'_, '_, 'c, 'a>) -> Vec<Unsupported> {
        fold::operations_behind(cx.block, self.last).into_iter().rev().for_each(walk::erase);
        cx.importer.forget_symbols(self.symbols);
        cx.importer.unsupported.split_off(self.unsupported)
    }
}

/// A loop behind a copy of its first turn.
fn after_first_turn<'p, 'c, 'a>(cx: &mut Cx<'_, 'p, 'c, 'a>, body: &'p GraphProto, initial: Vec<Tensor<'c, 'a>>) -> OpResult<'c, 'a> {
    let always = Tensor::integers(ElementType::Bool, &[], vec![1.into()]);
    let inputs = [cx.number(&Dim::from(0)), always].into_iter().chain(initial).collect();
    let block = cx.block;
    let Some(mut outputs) = cx.subgraph(body, inputs, block)? else { return Ok(missing()?) };
    let running = condition(cx, &outputs.remove(0))?;
    looped(cx, body, Start { turn: 1, running: Some(running), initial: outputs })
}

/// A loop as a loop, or unrolled: which one first, and the other where that is unsupported.
fn either<'x, 'p, 'c, 'a>(
    cx: &mut Cx<'x, 'p, 'c, 'a>,
    loop_first: bool,
    looped: impl FnOnce(&mut Cx<'x, 'p, 'c, 'a>) -> OpResult<'c, 'a>,
    unrolled: impl FnOnce(&mut Cx<'x, 'p, 'c, 'a>) -> OpResult<'c, 'a>,
) -> OpResult<'c, 'a> {
    let before = Attempt::begin(cx);
    if loop_first {
        let first = looped(cx);
        if !matches!(first, Err(OpError::Failure(Failure::Unsupported(_)))) {
            return first;
        }
        let inside = before.give_up(cx);
        let second = unrolled(cx);
        if matches!(second, Err(OpError::Failure(Failure::Unsupported(_)))) {
            before.give_up(cx);
            cx.importer.unsupported.extend(inside);
            return first;
        }
        return second;
    }
    let first = unrolled(cx);
    if !matches!(first, Err(OpError::Failure(Failure::Unsupported(_)))) {
        return first;
    }
    before.give_up(cx);
    looped(cx)
}

/// Values for the next turn under the types of the initial ones. What only a run can tell about their extents it checks.
fn kept<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    turns: &Turns<'c, 'a>,
    initial: &[Tensor<'c, 'a>],
    next: &[Tensor<'c, 'a>],
) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
    let mut kept = vec![];
    for (i, (now, then)) in initial.iter().zip(next).enumerate() {
        let apart = now.dims().iter().zip(then.dims()).any(|(a, b)| a != b && (a - b).as_static().is_some());
        if now.model_type() != then.model_type() || now.rank() != then.rank() || apart {
            let (from, to) = (show(now), show(then));
            return Failure::unsupported(format!("the carried value {i} changes its type from {from} to {to}"));
        }
        let what = format!("the carried value {i} to keep its extents");
        kept.push(turns.turn(cx, |cx| cx.with_dims(then, now.dims().to_vec(), &what))?);
    }
    Ok(kept)
}

/// The most iterations of a loop with scan outputs, whose room follows from it, and whether it makes as many if nothing ends it.
fn most_trips<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, trips: Option<&Tensor<'c, 'a>>) -> Result<Dim, Failure> {
    let known = trips.and_then(|trips| cx.integers(trips)?.first().cloned());
    match (known, trips) {
        // So many that it means no limit.
        (Some(count), _) if count.as_static().is_some_and(|count| count > i64::from(i32::MAX)) => {}
        (Some(count), _) if count.is_never_negative() => return Ok(count),
        (Some(count), _) if count.as_static().is_some() => return Ok(Dim::from(0)),
        (_, Some(trips)) => {
            let zero = Tensor::integers(ElementType::I64, &[], vec![0.into()]);
            let count = cx.binary(Maximum::create, trips, &zero)?;
            let from = cx.operand_name(0).to_string();
            return cx.size(&count, "trip counts of a loop with scan outputs", &from, None);
        }
        _ => {}
    }
    let (node, from) = (cx.node, cx.node.output.last().cloned().unwrap_or_default());
    match node.output.iter().rev().chain([&from]).find_map(|name| cx.importer.max_size(name)) {
        Some(most) => Ok(Dim::from(most)),
        None => {
            Failure::unsupported(format!("scan outputs of a loop without a trip count; give their largest extent with --max-size {from}=N"))
        }
    }
}

/// Where a loop begins.
struct Start<'c, 'a> {
    /// Turns that have been made already.
    turn: i64,
    /// Whether there is another one; `None` as the node says.
    running: Option<Tensor<'c, 'a>>,
    initial: Vec<Tensor<'c, 'a>>,
}

fn looped<'p, 'c, 'a>(cx: &mut Cx<'_, 'p, 'c, 'a>, body: &'p GraphProto, start: Start<'c, 'a>) -> OpResult<'c, 'a> {
    let initial = start.initial;
    // Both are optional: no trip count means no limit, no condition means true.
    let trips = match cx.optional(0) {
        Some(trips) => Some(cx.reshape(&trips, vec![])?),
        None => None,
    };
    let running = match start.running.or_else(|| cx.optional(1)) {
        Some(running) => condition(cx, &running)?,
        None => Tensor::integers(ElementType::Bool, &[], vec![1.into()]),
    };
    let most = if body.output.len() > initial.len() + 1 { Some(most_trips(cx, trips.as_ref())?) } else { None };
    // Made in front of the loop, which uses it.
    let limit = match &trips {
        Some(trips) => {
            let left = if start.turn == 0 { trips.clone() } else { cx.binary(Sub::create, trips, &cx.number(&Dim::from(start.turn)))? };
            let value = cx.value(&left)?;
            Some(cx.wrap(value)?)
        }
        None => None,
    };
    let outside = cx.importer.symbols.len() as u32;
    let mut turns = Turns::begin(cx)?;
    let number = match start.turn {
        0 => turns.counter.clone(),
        made => turns.turn(cx, |cx| cx.binary(Add::create, &turns.counter, &cx.number(&Dim::from(made))))?,
    };
    let mut inputs = vec![number, turns.carry(cx, &running)?];
    for value in &initial {
        inputs.push(turns.carry(cx, value)?);
    }
    let (counter, going) = (turns.counter.clone(), inputs[1].clone());
    let Some(outputs) = cx.subgraph(body, inputs, turns.block)? else { return Ok(missing()?) };
    let goes_on = turns.turn(cx, |cx| condition(cx, &outputs[0]))?;
    let (states, parts) = outputs[1..].split_at(initial.len());
    let mut next = vec![goes_on.clone()];
    next.extend(kept(cx, &turns, &initial, states)?);
    for (part, declared) in parts.iter().zip(&body.output[initial.len() + 1..]) {
        let Some(most) = &most else { continue };
        next.push(scanned(cx, &mut turns, (part, declared), (0, most), &counter, outside)?);
    }
    let results = turns.end(cx, &next, |cx, carried| {
        let Some(limit) = &limit else { return Ok(carried[1].clone()) };
        let below = cx.compare(Lt::create, &carried[0], limit)?;
        cx.binary(And::create, &carried[1], &below)
    })?;
    let mut results_after = results[2..].to_vec();
    // A loop that nothing ends early makes all its turns.
    let always = |cx: &Cx<'_, '_, 'c, 'a>, tensor: &Tensor<'c, 'a>| cx.integers(tensor).is_some_and(|items| items == [Dim::from(1)]);
    let same = |a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>| matches!((&a.data, &b.data), (Data::Value(a), Data::Value(b)) if a == b);
    let whole = always(cx, &running) && (always(cx, &outputs[0]) || same(&goes_on, &going));
    if let Some(most) = &most
        && !(whole && trips.is_some())
    {
        let from = cx.node.output.last().cloned().unwrap_or_default();
        let count = cx.size(&results[0], "iterations", &from, Some(most.clone()))?;
        for all in &mut results_after[initial.len()..] {
            *all = cx.symbolic_slice(all, 0, &Dim::from(0), &count, 1)?;
        }
    }
    Ok(results_after)
}

/// A scan output of a loop: the part that a turn makes, put into the tensor of all. Extents that the loop computes are as the model declares them.
fn scanned<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    turns: &mut Turns<'c, 'a>,
    (part, declared): (&Tensor<'c, 'a>, &ValueInfoProto),
    along: (usize, &Dim),
    at: &Tensor<'c, 'a>,
    outside: u32,
) -> Result<Tensor<'c, 'a>, Failure> {
    let declared = declared_extents(declared).unwrap_or_default();
    let mut dims = part.dims().to_vec();
    for (axis, dim) in dims.iter_mut().enumerate().filter(|(_, dim)| dim.symbol_count() > outside) {
        match declared.get(axis).copied().flatten() {
            Some(extent) => *dim = Dim::from(extent),
            None => return Failure::unsupported("a loop computes the sizes of what it scans"),
        }
    }
    let part = turns.turn(cx, |cx| cx.with_dims(part, dims, "scan outputs of the declared shape"))?;
    turns.collect(cx, &part, along, at)
}

/// Extents that a model declares for a value, as far as they are numbers.
fn declared_extents(info: &ValueInfoProto) -> Option<Vec<Option<i64>>> {
    let Some(TypeValue::Tensor(tensor)) = info.r#type.as_ref()?.value.as_ref() else { return None };
    let extent = |dim: &DimensionProto| match dim.value {
        Some(DimensionValue::Value(value)) if value >= 0 => Some(value),
        _ => None,
    };
    Some(tensor.shape.as_ref()?.dim.iter().map(extent).collect())
}

/// Copies of nodes up to which a loop with scan outputs is unrolled at first: its values then fold.
const MAX_SHORT: i64 = 1 << 8;
/// More copies of a body's nodes than are worth their code.
const MAX_UNROLLED: i64 = 1 << 13;

fn check_unrolled(body: &GraphProto, trips: i64) -> Result<(), Failure> {
    let nodes = trips.max(0).saturating_mul(body.node.len().max(1) as i64);
    if nodes > MAX_UNROLLED {
        return Failure::unsupported(format!("{trips} iterations, unrolled to {nodes} nodes; at most {MAX_UNROLLED} are"));
    }
    Ok(())
}

/// A Loop with scan outputs or sequences: one copy of its body per iteration, which must be known to happen.
fn unrolled_loop<'p, 'c, 'a>(cx: &mut Cx<'_, 'p, 'c, 'a>, body: &'p GraphProto, mut carried: Vec<Tensor<'c, 'a>>) -> OpResult<'c, 'a> {
    let trips = match cx.optional_ints(0, "trip counts")? {
        Some(trips) => trips.first().copied().unwrap_or(0),
        None => i64::MAX,
    };
    if trips < i64::MAX {
        check_unrolled(body, trips)?;
    }
    let mut running = match cx.optional(1) {
        Some(running) => condition(cx, &running)?,
        None => Tensor::integers(ElementType::Bool, &[], vec![1.into()]),
    };
    let mut scanned: Vec<Vec<Tensor<'c, 'a>>> = vec![vec![]; body.output.len() - carried.len() - 1];
    let (block, mut turn) = (cx.block, 0);
    while turn < trips {
        match cx.integers(&running).as_deref().map(|items| items.first().and_then(winze_graph::dim::Dim::as_static)) {
            Some(Some(0)) => break,
            Some(Some(_)) => {}
            _ => return Err(cx.importer.unknown(&running, "conditions of a loop with scan outputs").into()),
        }
        check_unrolled(body, turn + 1)?;
        let counter = Tensor::integers(ElementType::I64, &[], vec![turn.into()]);
        let inputs = [counter, running].into_iter().chain(carried.iter().cloned()).collect();
        let Some(outputs) = cx.subgraph(body, inputs, block)? else { return Ok(missing()?) };
        let mut outputs = outputs.into_iter();
        running = outputs.next().ok_or_else(|| Failure::Invalid("the body has no condition".into()))?;
        carried.iter_mut().zip(&mut outputs).for_each(|(value, next)| *value = next);
        scanned.iter_mut().zip(outputs).for_each(|(list, output)| list.push(output));
        turn += 1;
    }
    for list in scanned {
        if list.is_empty() {
            return Ok(Failure::unsupported("scan outputs of a loop without iterations")?);
        }
        carried.push(stack(cx, &list, 0)?);
    }
    Ok(carried)
}

/// What a Scan goes over, and how.
struct Scan<'p> {
    body: &'p GraphProto,
    /// Of each scanned input: its axis, and whether it is read from the back.
    inputs: Vec<(usize, bool)>,
    /// Of each scan output: its axis as written, and whether it is written from the back.
    outputs: Vec<(i64, bool)>,
}

impl<'p> Scan<'p> {
    /// `all`: initial states, then scanned inputs.
    fn read<'c, 'a>(cx: &Cx<'_, 'p, 'c, 'a>, all: &[Tensor<'c, 'a>]) -> Result<Self, Failure> {
        let body = cx.graph("body")?;
        let count = usize::try_from(cx.int_or("num_scan_inputs", 0)?).ok().filter(|count| (1..=all.len()).contains(count));
        let Some(count) = count else { return Failure::invalid("num_scan_inputs does not fit its operands") };
        let states = all.len() - count;
        let Some(outputs) = body.output.len().checked_sub(states) else { return Failure::invalid("its body has too few outputs") };
        let list = |name: &str, length: usize| -> Result<Vec<i64>, Failure> {
            let list = cx.ints(name)?.unwrap_or_else(|| vec![0; length]);
            if list.len() == length { Ok(list) } else { Failure::invalid(format!("`{name}` has {} entries, not {length}", list.len())) }
        };
        // Version 8 has `directions` of the inputs alone.
        let directions = list(if cx.version < 9 { "directions" } else { "scan_input_directions" }, count)?;
        let axes = list("scan_input_axes", count)?.into_iter().zip(&all[states..]).map(|(axis, x)| normalize_axis(axis, x.rank()));
        let inputs = axes.zip(directions).map(|(axis, direction)| Ok((axis?, direction != 0))).collect::<Result<_, Failure>>()?;
        let (out_axes, out_directions) = (list("scan_output_axes", outputs)?, list("scan_output_directions", outputs)?);
        let outputs = out_axes.into_iter().zip(out_directions).map(|(axis, direction)| (axis, direction != 0)).collect();
        Ok(Self { body, inputs, outputs })
    }

    /// Final states, then scan outputs.
    fn run<'c, 'a>(&self, cx: &mut Cx<'_, 'p, 'c, 'a>, mut all: Vec<Tensor<'c, 'a>>) -> OpResult<'c, 'a> {
        // Their extents come together.
        let states = all.len() - self.inputs.len();
        let extents = all[states..].iter().zip(&self.inputs).map(|(x, (axis, _))| x.dims()[*axis].clone());
        let Some(trips) = extents.min_by_key(Dim::complexity) else { return Ok(Failure::invalid("nothing to scan")?) };
        for (x, (axis, _)) in all[states..].iter_mut().zip(&self.inputs) {
            let mut dims = x.dims().to_vec();
            dims[*axis] = trips.clone();
            *x = cx.with_dims(x, dims, "scanned axes of equal extents")?;
        }
        let short = trips.as_static().is_some_and(|trips| trips > 0 && trips.saturating_mul(self.body.node.len() as i64) <= MAX_SHORT);
        let again = (all.clone(), trips.clone());
        either(cx, !short, |cx| self.looped(cx, all, &trips), |cx| self.unrolled(cx, again.0, &again.1))
    }

    fn looped<'c, 'a>(&self, cx: &mut Cx<'_, 'p, 'c, 'a>, all: Vec<Tensor<'c, 'a>>, trips: &Dim) -> OpResult<'c, 'a> {
        let (initial, inputs) = all.split_at(all.len() - self.inputs.len());
        let (limit, last) = (cx.extent(trips, ElementType::I64)?, cx.extent(&(trips - &Dim::from(1)), ElementType::I64)?);
        let inputs = inputs.iter().map(|x| cx.value(x).and_then(|x| cx.wrap(x))).collect::<Result<Vec<_>, _>>()?;
        let outside = cx.importer.symbols.len() as u32;
        let mut turns = Turns::begin(cx)?;
        let mut arguments = initial.iter().map(|state| turns.carry(cx, state)).collect::<Result<Vec<_>, _>>()?;
        let back = turns.turn(cx, |cx| cx.binary(Sub::create, &last, &turns.counter))?;
        let place = |backwards: bool| if backwards { back.clone() } else { turns.counter.clone() };
        for (x, (axis, backwards)) in inputs.iter().zip(&self.inputs) {
            arguments.push(turns.turn(cx, |cx| element_at(cx, x, *axis, &place(*backwards)))?);
        }
        let places: Vec<Tensor<'c, 'a>> = self.outputs.iter().map(|(_, backwards)| place(*backwards)).collect();
        let Some(results) = cx.subgraph(self.body, arguments, turns.block)? else { return Ok(missing()?) };
        let (states, parts) = results.split_at(initial.len());
        let mut next = kept(cx, &turns, initial, states)?;
        let declared = &self.body.output[initial.len()..];
        for (((part, (axis, _)), at), declared) in parts.iter().zip(&self.outputs).zip(&places).zip(declared) {
            let axis = normalize_axis(*axis, part.rank() + 1)?;
            next.push(scanned(cx, &mut turns, (part, declared), (axis, trips), at, outside)?);
        }
        let mut results = turns.end(cx, &next, |cx, carried| cx.compare(Lt::create, &carried[0], &limit))?;
        results.remove(0);
        Ok(results)
    }

    /// One copy of the body per element of the scanned axis.
    fn unrolled<'c, 'a>(&self, cx: &mut Cx<'_, 'p, 'c, 'a>, mut all: Vec<Tensor<'c, 'a>>, trips: &Dim) -> OpResult<'c, 'a> {
        let Some(trips) = trips.as_static() else {
            return Ok(Failure::unsupported(format!("a scan over the symbolic extent {trips}; fix it with --dim"))?);
        };
        check_unrolled(self.body, trips)?;
        let inputs = all.split_off(all.len() - self.inputs.len());
        let (block, mut scanned) = (cx.block, vec![vec![]; self.outputs.len()]);
        for turn in 0..trips {
            let mut arguments = all.clone();
            for (x, (axis, backwards)) in inputs.iter().zip(&self.inputs) {
                let at = if *backwards { trips - 1 - turn } else { turn };
                let part = cx.slice_axis(x, *axis, at, at + 1)?;
                let mut dims = part.dims().to_vec();
                dims.remove(*axis);
                arguments.push(cx.reshape(&part, dims)?);
            }
            let Some(results) = cx.subgraph(self.body, arguments, block)? else { return Ok(missing()?) };
            let mut results = results.into_iter();
            all.iter_mut().zip(&mut results).for_each(|(value, next)| *value = next);
            scanned.iter_mut().zip(results).for_each(|(list, output)| list.push(output));
        }
        for (mut list, (axis, backwards)) in scanned.into_iter().zip(&self.outputs) {
            let Some(first) = list.first() else { return Ok(Failure::unsupported("a scan over an empty axis")?) };
            let axis = normalize_axis(*axis, first.rank() + 1)?;
            if *backwards {
                list.reverse();
            }
            all.push(stack(cx, &list, axis)?);
        }
        Ok(all)
    }
}

/// What stands at a place of an axis, without the axis.
fn element_at<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    axis: usize,
    at: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let part = cx.window(x, axis, at, Dim::from(1))?;
    let mut dims = part.dims().to_vec();
    dims.remove(axis);
    cx.reshape(&part, dims)
}

fn scan<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let all = cx.all_inputs()?;
    Scan::read(cx, &all)?.run(cx, all)
}

/// Version 8 has a batch as the first axis of all: the scan of each element in turn.
fn scan_batch<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    if cx.optional(0).is_some() {
        return Ok(Failure::unsupported("sequences of different lengths")?);
    }
    let all = cx.inputs.get(1..).unwrap_or_default().iter().cloned().collect::<Option<Vec<_>>>().unwrap_or_default();
    let batch = all.iter().filter_map(|x| x.dims().first().cloned()).min_by_key(Dim::complexity);
    let Some(batch) = batch.filter(|_| all.iter().all(|x| x.rank() > 0)) else {
        return Ok(Failure::invalid("an input has no batch")?);
    };
    let mut inputs = vec![];
    for x in &all {
        let dims = [std::slice::from_ref(&batch), &x.dims()[1..]].concat();
        let x = cx.with_dims(x, dims, "batches of equal extents")?;
        let value = cx.value(&x)?;
        inputs.push(cx.wrap(value)?);
    }
    let limit = cx.extent(&batch, ElementType::I64)?;
    let outside = cx.importer.symbols.len() as u32;
    let mut turns = Turns::begin(cx)?;
    let results = turns.turn(cx, |cx| {
        let mut parts = vec![];
        for x in &inputs {
            parts.push(element_at(cx, x, 0, &turns.counter)?);
        }
        Scan::read(cx, &parts)?.run(cx, parts)
    })?;
    let (mut next, counter) = (vec![], turns.counter.clone());
    for part in results.iter().zip(&cx.graph("body")?.output) {
        next.push(scanned(cx, &mut turns, part, (0, &batch), &counter, outside)?);
    }
    let mut results = turns.end(cx, &next, |cx, carried| cx.compare(Lt::create, &carried[0], &limit))?;
    results.remove(0);
    Ok(results)
}
