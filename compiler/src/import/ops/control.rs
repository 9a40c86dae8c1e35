//! If and Loop -> graph.if and graph.while.
//!
//! A Loop carries its counter (0-d i64), its condition (0-d bool) and the model's values. Loops with scan
//! outputs or sequences, and Scan, are unrolled when their trip count is known. Refuses values that change shape.

use super::{OpResult, Row, row, row_since, sequence::stack};
use crate::import::{
    error::{Failure, ImportError},
    node::{NodeContext, normalize_axis},
    proto::GraphProto,
    value::{Data, Tensor},
};
use winze_graph::{
    dialect::{Add, And, Fail, If, Lt, While, Yield},
    types::{ElementType, TensorType},
};
use winze_mlir::melior::ir::{Block, BlockLike, BlockRef, Location, Region, RegionLike, Type, Value, ValueLike, operation::OperationLike};

pub const OPS: &[Row] = &[row("If", if_), row("Loop", loop_), row_since("Scan", 9, scan)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// A region with one block, and a reference to the block that outlives the borrow of the region.
pub fn new_region<'c, 'a>(arguments: &[(Type<'c>, Location<'c>)]) -> (Region<'c>, BlockRef<'c, 'a>) {
    let region = Region::new();
    // SAFETY: the region owns the block and goes into an op of the function that is being built, or is dropped with an error.
    let block = unsafe { BlockRef::from_raw(region.append_block(Block::new(arguments)).to_raw()) };
    (region, block)
}

/// A 0-d bool that `tensor` holds.
fn condition<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, tensor: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    if tensor.element() != ElementType::Bool {
        return Failure::invalid(format!("a condition of element type {}", tensor.element()));
    }
    cx.reshape(tensor, vec![])
}

/// Values of `tensors` at the end of `block`.
pub fn values_in<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    tensors: &[Tensor<'c, 'a>],
    block: BlockRef<'c, 'a>,
) -> Result<Vec<Value<'c, 'a>>, Failure> {
    tensors.iter().map(|tensor| cx.importer.materialize(tensor, block, cx.location)).collect()
}

/// Runs `action` with ops going to another block.
pub fn within<'x, 'p, 'c, 'a, R>(
    cx: &mut Cx<'x, 'p, 'c, 'a>,
    block: BlockRef<'c, 'a>,
    action: impl FnOnce(&mut Cx<'x, 'p, 'c, 'a>) -> R,
) -> R {
    let outer = std::mem::replace(&mut cx.block, block);
    let result = action(cx);
    cx.block = outer;
    result
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

/// Stops the run in place of a branch, whose outputs would be of the types of `outputs`.
fn fail<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    outputs: &[Tensor<'c, 'a>],
    what: &str,
    at: &str,
    block: BlockRef<'c, 'a>,
) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
    let types: Vec<Type<'c>> = outputs.iter().map(|tensor| tensor.r#type.to_type(cx.context())).collect();
    let message = format!("the condition of node `{}` chose a branch that does not fit these sizes: {what} at {at}", cx.name);
    let op = block.append_operation(Fail::create(cx.context(), cx.location, message, &types));
    let results: Vec<Value<'c, 'a>> = op.results().map(Into::into).collect();
    // The contents are unknown, whatever those of the other branch are.
    results.into_iter().map(|value| Ok(Tensor { data: Data::Value(value), ..cx.wrap(value)? })).collect()
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
    let ((mut then_region, mut then_block), (mut else_region, mut else_block)) = (new_region(&[]), new_region(&[]));
    let outside = cx.importer.symbols.len() as u32;
    let then_outputs = attempt(cx, then_graph, then_block);
    let symbols = cx.importer.symbols.len();
    let else_outputs = attempt(cx, else_graph, else_block);
    let name = cx.name;
    // A branch that contradicts itself is for other sizes, so it fails when it is taken. One branch must be sound.
    let (then_outputs, else_outputs) = match (then_outputs, else_outputs) {
        (Ok(Some(outputs)), Err(ImportError::Invalid { what, at, .. })) => {
            (else_region, else_block) = new_region(&[]);
            let failed = fail(cx, &outputs, &what, &at, else_block)?;
            (Some(outputs), Some(failed))
        }
        (Err(ImportError::Invalid { what, at, .. }), Ok(Some(outputs))) => {
            (then_region, then_block) = new_region(&[]);
            let failed = fail(cx, &outputs, &what, &at, then_block)?;
            (Some(failed), Some(outputs))
        }
        // Where the sizes alone decide between results of different shapes, the first branch gives the shapes of everything that follows.
        (Ok(Some(outputs)), Ok(Some(others)))
            if outputs.iter().zip(&others).any(|(a, b)| a.r#type != b.r#type) && cx.importer.follows_from_sizes(&input) =>
        {
            (else_region, else_block) = new_region(&[]);
            cx.importer.forget_symbols(symbols);
            let failed = fail(cx, &outputs, "it gives results of other shapes", name, else_block)?;
            (Some(outputs), Some(failed))
        }
        (then_outputs, else_outputs) => (then_outputs?, else_outputs?),
    };
    let (Some(then_outputs), Some(else_outputs)) = (then_outputs, else_outputs) else { return Ok(missing()?) };
    if then_outputs.iter().flat_map(|output| output.dims()).any(|dim| dim.symbol_count() > outside) {
        return Ok(Failure::unsupported("a branch computes the sizes of its results")?);
    }
    for (i, (a, b)) in then_outputs.iter().zip(&else_outputs).enumerate() {
        if a.r#type != b.r#type {
            let why = format!("output {i} has the type {} in one branch and {} in the other", show(&a.r#type), show(&b.r#type));
            return Ok(Failure::unsupported(why)?);
        }
    }
    for (outputs, block) in [(&then_outputs, then_block), (&else_outputs, else_block)] {
        let values = values_in(cx, outputs, block)?;
        block.append_operation(Yield::create(cx.context(), cx.location, &values));
    }
    let types: Vec<Type<'c>> = then_outputs.iter().map(|tensor| tensor.r#type.to_type(cx.context())).collect();
    let condition = cx.value(&condition)?;
    let op = cx.block.append_operation(If::create(cx.context(), cx.location, condition, [then_region, else_region], &types));
    let results: Vec<Value<'c, 'a>> = op.results().map(Into::into).collect();
    Ok(results.into_iter().map(|value| cx.wrap(value)).collect::<Result<_, _>>()?)
}

fn show(r#type: &TensorType) -> String {
    format!("{}{:?}", r#type.element, r#type.dims)
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
    if body.output.len() > carried + 1 || initial.iter().any(|tensor| matches!(tensor.data, Data::Sequence(_))) {
        return unrolled_loop(cx, body, initial);
    }
    // Both are optional: no trip count means no limit, no condition means true.
    let trips = match cx.optional(0) {
        Some(trips) => Some(cx.reshape(&trips, vec![])?),
        None => None,
    };
    let running = match cx.optional(1) {
        Some(running) => condition(cx, &running)?,
        None => cx.scalar(ElementType::Bool, 1.0)?,
    };
    let zero = Tensor::integers(ElementType::I64, &[], vec![0.into()]);
    let all: Vec<Tensor<'c, 'a>> = [zero, running].into_iter().chain(initial).collect();
    let block = cx.block;
    let trips = match trips {
        Some(trips) => Some(cx.value(&trips)?),
        None => None,
    };
    let start = values_in(cx, &all, block)?;
    let types: Vec<Type<'c>> = start.iter().map(|value| value.r#type()).collect();
    let arguments: Vec<(Type<'c>, Location<'c>)> = types.iter().map(|r#type| (*r#type, cx.location)).collect();

    let (before, before_block) = new_region(&arguments);
    let go_on = within(cx, before_block, |cx| {
        let running = argument(cx, before_block, 1)?;
        let Some(trips) = trips else { return Ok(running) };
        let (counter, trips) = (argument(cx, before_block, 0)?, cx.wrap(trips)?);
        let below = cx.compare(Lt::create, &counter, &trips)?;
        cx.binary(And::create, &running, &below)
    })?;
    let go_on = values_in(cx, &[go_on], before_block)?;
    before_block.append_operation(Yield::create(cx.context(), cx.location, &go_on));

    let (region, body_block) = new_region(&arguments);
    let inputs = (0..types.len()).map(|i| argument(cx, body_block, i)).collect::<Result<Vec<_>, Failure>>()?;
    let Some(outputs) = cx.subgraph(body, inputs, body_block)? else { return Ok(missing()?) };
    let next = within(cx, body_block, |cx| {
        let counter = argument(cx, body_block, 0)?;
        let one = Tensor::integers(ElementType::I64, &[], vec![1.into()]);
        let counter = cx.binary(Add::create, &counter, &one)?;
        let running = condition(cx, &outputs[0])?;
        Ok::<_, Failure>([counter, running].into_iter().chain(outputs[1..].iter().cloned()).collect::<Vec<_>>())
    })?;
    for (i, (now, then)) in all.iter().zip(&next).enumerate().skip(2) {
        if now.r#type != then.r#type {
            let why = format!("the carried value {} changes its type from {} to {}", i - 2, show(&now.r#type), show(&then.r#type));
            return Ok(Failure::unsupported(why)?);
        }
    }
    let values = values_in(cx, &next, body_block)?;
    body_block.append_operation(Yield::create(cx.context(), cx.location, &values));

    let op = cx.block.append_operation(While::create(cx.context(), cx.location, &start, [before, region], &types));
    let results: Vec<Value<'c, 'a>> = op.results().skip(2).map(Into::into).collect();
    Ok(results.into_iter().map(|value| cx.wrap(value)).collect::<Result<_, _>>()?)
}

/// More copies of a body's nodes than are worth their code.
const MAX_UNROLLED: i64 = 1 << 13;

fn check_unrolled(body: &GraphProto, trips: i64) -> Result<(), Failure> {
    let nodes = trips.max(0).saturating_mul(body.node.len().max(1) as i64);
    if nodes > MAX_UNROLLED {
        return Failure::unsupported(format!(
            "{trips} iterations with scan outputs, unrolled to {nodes} nodes; at most {MAX_UNROLLED} are"
        ));
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

/// One copy of the body per element of the scanned axis.
fn scan<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let body = cx.graph("body")?;
    let all = cx.all_inputs()?;
    let count = usize::try_from(cx.int_or("num_scan_inputs", 0)?).ok().filter(|count| (1..=all.len()).contains(count));
    let Some(count) = count else { return Ok(Failure::invalid("num_scan_inputs does not fit its operands")?) };
    let states = all.len() - count;
    let Some(outputs) = body.output.len().checked_sub(states) else { return Ok(Failure::invalid("its body has too few outputs")?) };
    let (mut carried, inputs) = (all[..states].to_vec(), &all[states..]);
    let list = |cx: &Cx<'_, '_, 'c, 'a>, name: &str, length: usize| -> Result<Vec<i64>, Failure> {
        let list = cx.ints(name)?.unwrap_or_else(|| vec![0; length]);
        if list.len() == length { Ok(list) } else { Failure::invalid(format!("`{name}` has {} entries, not {length}", list.len())) }
    };
    let (axes, directions) = (list(cx, "scan_input_axes", count)?, list(cx, "scan_input_directions", count)?);
    let (out_axes, out_directions) = (list(cx, "scan_output_axes", outputs)?, list(cx, "scan_output_directions", outputs)?);
    let axes = axes.iter().zip(inputs).map(|(axis, x)| normalize_axis(*axis, x.rank())).collect::<Result<Vec<_>, _>>()?;
    let Some(trips) = inputs[0].extent(axes[0]) else {
        return Ok(Failure::unsupported(format!("a scan over the symbolic extent {}; fix it with --dim", inputs[0].dims()[axes[0]]))?);
    };
    if inputs.iter().zip(&axes).any(|(x, axis)| x.extent(*axis) != Some(trips)) {
        return Ok(Failure::invalid("scanned axes of different extents")?);
    }
    check_unrolled(body, trips)?;
    let (block, mut scanned) = (cx.block, vec![vec![]; outputs]);
    for turn in 0..trips {
        let mut arguments = carried.clone();
        for ((x, axis), direction) in inputs.iter().zip(&axes).zip(&directions) {
            let at = if *direction == 0 { turn } else { trips - 1 - turn };
            let part = cx.slice_axis(x, *axis, at, at + 1)?;
            let dims = part.dims().iter().enumerate().filter(|(i, _)| i != axis).map(|(_, dim)| dim.clone()).collect();
            arguments.push(cx.reshape(&part, dims)?);
        }
        let Some(results) = cx.subgraph(body, arguments, block)? else { return Ok(missing()?) };
        let mut results = results.into_iter();
        carried.iter_mut().zip(&mut results).for_each(|(value, next)| *value = next);
        scanned.iter_mut().zip(results).for_each(|(list, output)| list.push(output));
    }
    for ((mut list, axis), direction) in scanned.into_iter().zip(out_axes).zip(out_directions) {
        let Some(first) = list.first() else { return Ok(Failure::unsupported("a scan over an empty axis")?) };
        let axis = normalize_axis(axis, first.rank() + 1)?;
        if direction != 0 {
            list.reverse();
        }
        carried.push(stack(cx, &list, axis)?);
    }
    Ok(carried)
}

pub fn argument<'c, 'a>(cx: &Cx<'_, '_, 'c, 'a>, block: BlockRef<'c, 'a>, i: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let argument = block.argument(i).map_err(|_| Failure::Invalid("the body has too few inputs".into()))?;
    let value: Value<'c, 'a> = argument.into();
    cx.wrap(value).map(|tensor| Tensor { data: Data::Value(value), ..tensor })
}
