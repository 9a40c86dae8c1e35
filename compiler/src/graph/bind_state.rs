//! `bind-state`: inputs that `graph.bind` ties to results -> states, which stay in the session from one run to the next.
//!
//! A state that grows along one axis, whose symbol is bounded, is kept in a buffer with room for the bound. Where the result is put together from parts
//! of the input with rows appended to each, along any axis (`[layers, 2, batch, heads, past, 64]`) and in any order of axes, the function takes these parts of
//! the buffer as arguments, writes the new rows into them (`graph.append`) and reads the old and new rows where they are (`graph.symbolic_slice`): nothing
//! that is held is copied. Any other state has a buffer for its next value; a warning says so where that means copying what grows.
//! Assumes a simplified graph; refuses bindings of different types and growth without a bound.

use super::{chain::producer, prune_branches::erase_unused};
use crate::{kernels::insert::insert, vector::build::lasting};
use melior::{
    Context,
    ir::{
        Attribute, BlockLike, BlockRef, Module, OperationRef, Type, Value, ValueLike,
        attribute::{ArrayAttribute, StringAttribute, TypeAttribute},
        block::BlockArgument,
        operation::OperationLike,
        r#type::FunctionType,
    },
};
use winze_graph::{
    dialect::{AnyOp, Append, Reshape, SymbolicSlice, Transpose},
    dim::Dim,
    types::{NAME, SYMBOL_BOUNDS, TensorType, dims_attribute, dims_of_attribute},
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    context::context_of,
    locations,
    pass::RustPass,
    walk,
};

/// Attribute of a function: pairs of an argument and the result that is its next value.
pub const BIND: &str = "graph.bind";
/// Attribute of a function: its states, an array of dictionaries with `input` and `output` (names), `input_index` and `output_index` (where they stood),
/// `element`, `dims` and `next` (extents before and after a run) and, for those that grow, `axis` and `capacity`, and `in_place` where nothing is copied.
pub const STATES: &str = "graph.states";
/// Attribute of a function: pairs of an argument and the state that it is a part of.
pub const STATE_ARGUMENTS: &str = "graph.state_arguments";
/// Attribute of a function: for each of them the first element in the state's buffer, as one affine map.
pub const STATE_OFFSETS: &str = "graph.state_offsets";
/// Attribute of a function: triples of a result, its state and the argument that it is written into (-1: the state's next value).
pub const STATE_RESULTS: &str = "graph.state_results";
/// Attribute of a function: why states are copied as they grow.
pub const STATE_COPIES: &str = "graph.state_copies";

/// Bytes that offsets of parts of a state are multiples of, so that Vulkan can bind them.
const BINDING: i64 = 256;

/// The pass.
pub struct BindState;

impl RustPass for BindState {
    const ARGUMENT: &'static str = "bind-state";
    const DESCRIPTION: &'static str = "Keep bound inputs as states, and append to them in place";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        match attributes::get::<Vec<i64>>(func, BIND) {
            Some(pairs) => bind(func, &pairs),
            None => Ok(()),
        }
    }
}

/// Marks `OUTPUT=INPUT` on every function of a module. Names may contain `=`.
pub fn mark_bindings(module: &Module, words: &[String]) -> Result<(), String> {
    for func in walk::operations(module.body()).filter(|op| op.name().as_string_ref().as_str() == Ok("func.func")) {
        let (inputs, outputs) = (names(func, "arg_attrs"), names(func, "res_attrs"));
        let mut pairs: Vec<i64> = vec![];
        for word in words {
            let find = |(at, _): (usize, &str)| {
                let output = outputs.iter().position(|name| *name == word[..at])?;
                Some((inputs.iter().position(|name| *name == word[at + 1..])?, output))
            };
            let (input, output) = word.match_indices('=').find_map(find).ok_or_else(|| {
                format!("bind: \"{word}\" is no OUTPUT=INPUT of the model; outputs: {}; inputs: {}", outputs.join(", "), inputs.join(", "))
            })?;
            if let Some(taken) = pairs.chunks_exact(2).find(|pair| pair[0] == input as i64 || pair[1] == output as i64) {
                let (input, output) = (&inputs[taken[0] as usize], &outputs[taken[1] as usize]);
                return Err(format!("bind: \"{word}\" comes after \"{output}={input}\"; an input or output is bound once"));
            }
            let block = walk::blocks(func).into_iter().next().ok_or("bind: a function without a body")?;
            let types =
                (block.argument(input).map(|past| past.r#type()), block.terminator().map(|end| end.operand(output).map(|v| v.r#type())));
            let (Ok(from), Some(Ok(to))) = types else { return Err(format!("bind: \"{word}\" names what the function has not")) };
            growth_of(func, (&inputs[input], &TensorType::from_type(from)?), (&outputs[output], &TensorType::from_type(to)?))?;
            pairs.extend([input as i64, output as i64]);
        }
        if !pairs.is_empty() {
            attributes::set(func, BIND, pairs.to_attribute(context_of(func)));
        }
    }
    Ok(())
}

/// What `bind-state` had to leave to copies.
pub fn state_copies(module: &Module) -> Vec<String> {
    walk::operations(module.body()).flat_map(|func| attributes::get::<Vec<String>>(func, STATE_COPIES).unwrap_or_default()).collect()
}

/// `graph.name` of arguments or results.
fn names(func: OperationRef, list: &str) -> Vec<String> {
    let list = attributes::get::<Attribute>(func, list).and_then(|list| ArrayAttribute::try_from(list).ok());
    let Some(list) = list else { return vec![] };
    (0..list.len()).map(|i| list.element(i).ok().and_then(|entry| attributes::entry(entry, NAME)).unwrap_or_default()).collect()
}

/// Dictionaries of `count` arguments or results.
fn attribute_list<'c>(func: OperationRef<'c, '_>, list: &str, count: usize) -> Vec<Attribute<'c>> {
    let list = attributes::get::<Attribute>(func, list).and_then(|list| ArrayAttribute::try_from(list).ok());
    (0..count).map(|i| list.and_then(|list| list.element(i).ok()).unwrap_or_else(|| no_entries(context_of(func)))).collect()
}

fn no_entries(context: &Context) -> Attribute<'_> {
    // SAFETY: no entries.
    unsafe { Attribute::from_raw(mlir_sys::mlirDictionaryAttrGet(context.to_raw(), 0, std::ptr::null())) }
}

impl Growth<'_> {
    /// Elements of the buffer from one element along an axis to the next.
    fn step(&self, axis: usize) -> Dim {
        let capacity = |axis: usize| if axis == self.axis { Dim::from(self.capacity) } else { self.dims[axis].clone() };
        (axis + 1..self.dims.len()).fold(Dim::from(1), |step, axis| &step * &capacity(axis))
    }

    /// So many leading axes, of which a box of these extents has one element each, may be an offset that every device can bind.
    fn parts(&self, sizes: &[Dim]) -> Result<usize, String> {
        let bytes = TensorType::of(self.past)?.element.bytes() as i64;
        let unit = |dim: &Dim| dim.as_static() == Some(1);
        let bindable = |axis: &usize| unit(&self.dims[*axis]) || (&self.step(*axis) * &Dim::from(bytes)).is_multiple_of(BINDING);
        Ok((0..self.axis).take_while(|axis| unit(&sizes[*axis])).take_while(bindable).count())
    }
}

/// What is collected about the function's states.
#[derive(Default)]
struct Bound<'c> {
    /// Number of arguments that the function had.
    originals: usize,
    states: Vec<Attribute<'c>>,
    /// Arguments that are parts of a state's buffer: the state, its first element.
    arguments: Vec<(Value<'c, 'c>, i64, Dim)>,
    /// New results: value, state, argument that it is written into.
    appended: Vec<(Value<'c, 'c>, i64, Value<'c, 'c>)>,
    /// Old results that are the next value of a state: which, state.
    next: Vec<(usize, i64)>,
    /// Old results and arguments that are gone.
    dropped: Vec<(usize, Growth<'c>, i64)>,
    copies: Vec<String>,
}

/// Rows appended to a part of a state.
struct Leaf<'c> {
    /// Old and new rows.
    all: Value<'c, 'c>,
    rows: Value<'c, 'c>,
    /// First element and extent along each axis of the state.
    place: Vec<(i64, Dim)>,
    /// So many leading axes of the state, of which it has one element each, are an offset.
    left_out: usize,
    /// The axes of the state that the axes of the tensors are, where these do not have those behind `left_out` as they are.
    order: Option<Vec<Option<usize>>>,
}

/// A growing state.
struct Growth<'c> {
    past: Value<'c, 'c>,
    dims: Vec<Dim>,
    next: Vec<Dim>,
    axis: usize,
    capacity: i64,
}

fn bind<'c>(func: OperationRef<'c, '_>, pairs: &[i64]) -> Result<(), String> {
    let context = context_of(func);
    let block = walk::blocks(func).into_iter().next().ok_or("bind-state: a function without a body")?;
    // SAFETY: the block lives as long as the function.
    let block: BlockRef<'c, 'c> = unsafe { BlockRef::from_raw(block.to_raw()) };
    let end = block.terminator().ok_or("bind-state: a function without a terminator")?;
    let (inputs, outputs) = (names(func, "arg_attrs"), names(func, "res_attrs"));
    let name =
        |names: &[String], kind: &str, i: usize| names.get(i).cloned().filter(|name| !name.is_empty()).unwrap_or(format!("{kind}_{i}"));
    let mut bound = Bound { originals: block.argument_count(), ..Bound::default() };
    for pair in pairs.chunks_exact(2) {
        let [input, output] = [pair[0] as usize, pair[1] as usize];
        let past = block.argument(input).map_err(|_| format!("bind-state: there is no argument {input}"))?.into();
        let present = end.operand(output).map_err(|_| format!("bind-state: there is no result {output}"))?;
        let (past, present): (Value<'c, 'c>, Value<'c, 'c>) = (lasting(past), lasting(present));
        let (from, to) = (TensorType::of(past)?, TensorType::of(present)?);
        let (input_name, output_name) = (name(&inputs, "input", input), name(&outputs, "output", output));
        let state = bound.states.len() as i64;
        let (mut growing, mut in_place) = (String::new(), false);
        if let Some((axis, capacity)) = growth_of(func, (&input_name, &from), (&output_name, &to))? {
            growing = format!("axis = {axis} : i64, capacity = {capacity} : i64, ");
            let growth = Growth { past, dims: from.dims.clone(), next: to.dims.clone(), axis, capacity };
            match leaves(&growth, present) {
                Ok(leaves) => {
                    append(&mut bound, &growth, leaves, block)?;
                    bound.dropped.push((output, growth, state));
                    growing.push_str("in_place = 1 : i64, ");
                    in_place = true;
                }
                Err(why) => bound.copies.push(format!(
                    "the state \"{input_name}\" is copied in every run, up to its bound of {capacity} along axis {axis}: {why}"
                )),
            }
        }
        if !in_place {
            bound.next.push((output, state));
            bound.arguments.push((past, state, Dim::from(0)));
        }
        let (input_name, output_name) = (StringAttribute::new(context, &input_name), StringAttribute::new(context, &output_name));
        let (dims, next) = (dims_attribute(context, from.dims.iter()), dims_attribute(context, to.dims.iter()));
        let text = format!(
            "{{{growing}dims = {dims}, element = {}, input = {input_name}, input_index = {input} : i64, next = {next}, output = {output_name}, output_index = {output} : i64}}",
            from.element
        );
        bound.states.push(Attribute::parse(context, &text).ok_or_else(|| format!("bind-state: internal error: {text} does not parse"))?);
    }
    rewrite_signature(func, block, bound)
}

/// The axis along which a binding grows and the bound there; `None` where it keeps its extents, or changes in several. Refuses what cannot be fed back.
fn growth_of(
    func: OperationRef,
    (input, from): (&str, &TensorType),
    (output, to): (&str, &TensorType),
) -> Result<Option<(usize, i64)>, String> {
    if from.element != to.element || from.rank() != to.rank() {
        let text = |t: &TensorType| format!("{} of rank {}", t.element, t.rank());
        return Err(format!("bind: \"{output}\" is {} but \"{input}\" is {}", text(to), text(from)));
    }
    let changed: Vec<usize> = (0..from.rank()).filter(|axis| from.dims[*axis] != to.dims[*axis]).collect();
    if let Some(fixed) = changed.iter().find(|axis| from.dims[**axis].as_static().is_some()) {
        let (now, next) = (&from.dims[*fixed], &to.dims[*fixed]);
        return Err(format!("bind: axis {fixed} of \"{input}\" is {now}, that of \"{output}\" {next}: it cannot be fed back"));
    }
    match changed[..] {
        [axis] => capacity(func, input, axis, &from.dims[axis]).map(|capacity| Some((axis, capacity))),
        _ => Ok(None),
    }
}

/// The bound of the symbol along which a state grows.
fn capacity(func: OperationRef, input: &str, axis: usize, dim: &Dim) -> Result<i64, String> {
    let names = winze_graph::types::symbol_names(func);
    let symbol = dim.as_symbol().ok_or_else(|| {
        format!("bind: axis {axis} of \"{input}\", along which it grows, is {dim}; a state grows along an axis of its own size")
    })?;
    let name = names.get(symbol as usize).cloned().unwrap_or(format!("s{symbol}"));
    let bounds: Vec<i64> = attributes::get(func, SYMBOL_BOUNDS).unwrap_or_default();
    let bound = bounds.get(symbol as usize).copied().filter(|bound| *bound < i64::MAX);
    match bound {
        Some(0) => Err(format!("bind: \"{input}\" grows along axis {axis}, whose size {name} is at most 0; give a larger bound")),
        Some(bound) => Ok(bound),
        None => Err(format!(
            "bind: \"{input}\" grows along axis {axis}, whose size {name} has no bound; say how much it may hold: --dim '{name}<=1024'"
        )),
    }
}

/// Axes of a tensor in the state, for extents that differ from another form of it by axes of extent 1 only. Those that come or go have none.
fn realign(from: &[Dim], axes: &[Option<usize>], to: &[Dim]) -> Option<Vec<Option<usize>>> {
    let unit = |dim: &Dim| dim.as_static() == Some(1);
    let mut known = from.iter().zip(axes).filter(|(dim, _)| !unit(dim));
    let realigned = to.iter().map(|dim| {
        if unit(dim) {
            return Some(None);
        }
        known.next().filter(|(from, _)| *from == dim).map(|(_, axis)| *axis)
    });
    let realigned: Vec<Option<usize>> = realigned.collect::<Option<_>>()?;
    known.next().is_none().then_some(realigned)
}

/// Lets axes of extent 1 be axes of the state of which a box of these extents has one element, so that the box is read with them and not reshaped: any such axis
/// between those of their neighbours.
fn claim_units(axes: &[Option<usize>], sizes: &[Dim], left_out: usize) -> Vec<Option<usize>> {
    let mut claimed = axes.to_vec();
    for at in 0..claimed.len() {
        if claimed[at].is_none() {
            let first = claimed[..at].iter().flatten().next_back().map_or(left_out, |axis| axis + 1);
            let end = claimed[at..].iter().flatten().next().copied().unwrap_or(sizes.len());
            let free = |axis: &usize| sizes[*axis].as_static() == Some(1) && !claimed.contains(&Some(*axis));
            claimed[at] = (first..end).rev().find(free);
        }
    }
    claimed
}

/// Takes the next value of a state apart into parts of the old one with rows appended; says why it cannot.
fn leaves<'c>(growth: &Growth<'c>, present: Value<'c, 'c>) -> Result<Vec<Leaf<'c>>, String> {
    let mut found = vec![];
    let place = growth.next.iter().map(|dim| (0, dim.clone())).collect();
    let axes = (0..growth.dims.len()).map(Some).collect();
    take_apart(growth, present, place, axes, &mut found)?;
    Ok(found)
}

fn take_apart<'c>(
    growth: &Growth<'c>,
    value: Value<'c, 'c>,
    place: Vec<(i64, Dim)>,
    axes: Vec<Option<usize>>,
    found: &mut Vec<Leaf<'c>>,
) -> Result<(), String> {
    let dims = TensorType::of(value)?.dims;
    let other = || {
        let location = locations::of_value(value);
        let nodes = locations::node_names(location);
        let place = if nodes.is_empty() { location.to_string() } else { nodes.join(", ") };
        format!("its next value is not put together from its parts with rows behind them, at {place}")
    };
    match producer(value).and_then(AnyOp::cast) {
        Some(AnyOp::Reshape(reshape)) => {
            let source = TensorType::of(reshape.input())?.dims;
            let axes = realign(&dims, &axes, &source).ok_or_else(other)?;
            take_apart(growth, reshape.input(), place, axes, found)
        }
        Some(AnyOp::Transpose(transpose)) => {
            let mut source = axes.clone();
            transpose.permutation().into_iter().zip(axes).for_each(|(from, axis)| source[from as usize] = axis);
            take_apart(growth, transpose.input(), place, source, found)
        }
        Some(AnyOp::Concat(concat)) => {
            let operands: Vec<Value> = concat.op().operands().collect();
            let axis = axes[concat.axis() as usize].ok_or_else(other)?;
            if axis != growth.axis {
                let mut start = place[axis].0;
                for operand in operands {
                    let size = TensorType::of(operand)?.dims[concat.axis() as usize].clone();
                    let count = size.as_static().ok_or_else(other)?;
                    let mut part = place.clone();
                    part[axis] = (start, size);
                    start += count;
                    take_apart(growth, operand, part, axes.clone(), found)?;
                }
                return Ok(());
            }
            let [old, rows] = operands[..] else { return Err(other()) };
            let (source, source_axes) = part_of(growth, old).ok_or_else(other)?;
            let count = &TensorType::of(rows)?.dims[concat.axis() as usize];
            let same = |at: usize| match at == growth.axis {
                true => source[at] == (0, growth.dims[at].clone()) && &growth.dims[at] + count == place[at].1,
                false => source[at] == place[at],
            };
            let unit = |axis: usize| dims[axis].as_static() == Some(1);
            let aligned = (0..dims.len()).all(|axis| unit(axis) || axes[axis] == source_axes[axis]);
            if !aligned || !(0..place.len()).all(same) {
                return Err(other());
            }
            let sizes: Vec<Dim> = place.iter().map(|(_, size)| size.clone()).collect();
            let leading = growth.parts(&sizes)?;
            let axes: Vec<Option<usize>> = (0..dims.len()).map(|axis| axes[axis].filter(|_| !unit(axis))).collect();
            let as_is = axes.iter().flatten().is_sorted();
            let alike = (0..=leading).rev().find(|left_out| as_is && sizes[*left_out..] == dims[..]);
            let ordered = |left_out| (left_out, Some(claim_units(&axes, &sizes, left_out)));
            let complete = |(_, order): &(usize, Option<Vec<Option<usize>>>)| order.iter().flatten().all(Option::is_some);
            let (left_out, order) = match alike {
                Some(left_out) => (left_out, None),
                None => (0..=leading).rev().map(ordered).find(complete).unwrap_or_else(|| ordered(leading)),
            };
            found.push(Leaf { all: value, rows, place, left_out, order });
            Ok(())
        }
        _ => Err(other()),
    }
}

/// A box, per axis of a state, and where the axes of a tensor lie in it.
type Part = (Vec<(i64, Dim)>, Vec<Option<usize>>);

/// The box of the old state that a value is.
fn part_of<'c>(growth: &Growth<'c>, value: Value<'c, 'c>) -> Option<Part> {
    if value == growth.past {
        return Some((growth.dims.iter().map(|dim| (0, dim.clone())).collect(), (0..growth.dims.len()).map(Some).collect()));
    }
    let dims = TensorType::of(value).ok()?.dims;
    match AnyOp::cast(producer(value)?)? {
        AnyOp::Reshape(reshape) => {
            let (place, axes) = part_of(growth, reshape.input())?;
            let axes = realign(&TensorType::of(reshape.input()).ok()?.dims, &axes, &dims)?;
            Some((place, axes))
        }
        AnyOp::Transpose(transpose) => {
            let (place, axes) = part_of(growth, transpose.input())?;
            let axes = transpose.permutation().into_iter().map(|axis| axes[axis as usize]).collect();
            Some((place, axes))
        }
        AnyOp::Slice(slice) if slice.strides().iter().all(|stride| *stride == 1) => {
            let (mut place, axes) = part_of(growth, slice.input())?;
            let whole = TensorType::of(slice.input()).ok()?.dims;
            for (axis, start) in slice.starts().into_iter().enumerate() {
                if dims[axis] == whole[axis] && start == 0 {
                    continue;
                }
                let extent = whole[axis].as_static()?;
                let (first, size) = &mut place[axes[axis]?];
                *first += if start < 0 { extent + start } else { start };
                *size = dims[axis].clone();
            }
            Some((place, axes))
        }
        _ => None,
    }
}

/// The argument that is a part of the buffer of state number `state`: what `selected` selects along the leading axes, which the part does not have.
fn part_argument<'c>(
    bound: &mut Bound<'c>,
    growth: &Growth<'c>,
    state: i64,
    selected: &[i64],
    block: BlockRef<'c, 'c>,
) -> Result<Value<'c, 'c>, String> {
    let mut capacities = growth.dims.clone();
    capacities[growth.axis] = Dim::from(growth.capacity);
    let offset = (0..).zip(selected).fold(Dim::from(0), |offset, (axis, first)| &offset + &(&growth.step(axis) * &Dim::from(*first)));
    let part = TensorType::new(TensorType::of(growth.past)?.element, capacities[selected.len()..].to_vec());
    let known = bound.arguments.iter().find(|(argument, of, first)| {
        *of == state && *first == offset && TensorType::of(*argument).is_ok_and(|known| known.dims == part.dims)
    });
    if let Some((argument, ..)) = known {
        return Ok(*argument);
    }
    let context = context_of(block.parent_operation().ok_or("bind-state: a block without a function")?);
    let argument = lasting(block.add_argument(part.to_type(context), locations::of_value(growth.past)));
    bound.arguments.push((argument, state, offset));
    Ok(argument)
}

/// Writes the rows into parts of the state, and lets everything read from there.
fn append<'c>(bound: &mut Bound<'c>, growth: &Growth<'c>, leaves: Vec<Leaf<'c>>, block: BlockRef<'c, 'c>) -> Result<(), String> {
    let state = bound.states.len() as i64;
    for Leaf { all, rows, place, left_out, order } in leaves {
        let selected: Vec<i64> = place[..left_out].iter().map(|(first, _)| *first).collect();
        let argument = part_argument(bound, growth, state, &selected, block)?;
        // Rows that were written into the same part before are in the latest value of it.
        let latest = bound.appended.iter().rev().find(|(.., part)| *part == argument).map_or(argument, |(value, ..)| *value);
        let firsts = |growing: Dim| -> Vec<Dim> {
            let first = |axis: usize| if axis == growth.axis { growing.clone() } else { Dim::from(place[axis].0) };
            (left_out..place.len()).map(first).collect()
        };
        let concat = producer(all).ok_or("bind-state: a leaf is a concatenation")?;
        let context = context_of(concat);
        let starts = dims_attribute(context, firsts(growth.dims[growth.axis].clone()).iter());
        let rows = match &order {
            Some(order) => in_state_order(concat, rows, &place[left_out..], order, (growth.axis, left_out))?,
            None => rows,
        };
        let written = insert(concat, Append::create(context, concat.location(), latest, rows, starts, &[latest.r#type()]));
        let firsts = firsts(Dim::from(0));
        let read = match &order {
            Some(order) => read_reordered(concat, written, &firsts, &place[left_out..], order, (left_out, all))?,
            None => read(concat, written, &firsts, &[], all.r#type()),
        };
        walk::replace_all_uses(all, read);
        bound.appended.push((lasting(written), state, argument));
    }
    Ok(())
}

/// A box of a state without the axes `dropped`, in front of `before`.
fn read<'c, 'a>(before: OperationRef<'c, 'a>, state: Value<'c, 'a>, starts: &[Dim], dropped: &[i64], r#type: Type<'c>) -> Value<'c, 'a> {
    let context = context_of(before);
    let strides = vec![1; starts.len()];
    let starts = dims_attribute(context, starts.iter());
    let dropped = (!dropped.is_empty()).then(|| dropped.to_vec());
    insert(before, SymbolicSlice::create(context, before.location(), state, starts, strides, dropped, &[r#type]))
}

/// New rows with the axes of the box `place` of a state; `order`: axes of the state that their axes are.
fn in_state_order<'c: 'a, 'a>(
    before: OperationRef<'c, 'a>,
    rows: Value<'c, 'a>,
    place: &[(i64, Dim)],
    order: &[Option<usize>],
    (growing, left_out): (usize, usize),
) -> Result<Value<'c, 'a>, String> {
    let (context, r#type) = (context_of(before), TensorType::of(rows)?);
    let at = order.iter().position(|axis| *axis == Some(growing)).ok_or("bind-state: internal error: rows without a growing axis")?;
    let mut permutation: Vec<i64> = (0..order.len() as i64).collect();
    permutation.sort_by_key(|axis| order[*axis as usize]);
    let moved = match permutation.is_sorted() {
        true => rows,
        false => insert(before, Transpose::create(context, before.location(), rows, permutation)?),
    };
    let count = |(axis, (_, size)): (usize, &(i64, Dim))| if axis + left_out == growing { r#type.dims[at].clone() } else { size.clone() };
    let dims = place.iter().enumerate().map(count).collect();
    reshaped(before, moved, TensorType::new(r#type.element, dims))
}

/// The box `place` of a state from `starts` on, with the axes of `like`, which are the axes `order` of the state.
fn read_reordered<'c: 'a, 'a>(
    before: OperationRef<'c, 'a>,
    state: Value<'c, 'a>,
    starts: &[Dim],
    place: &[(i64, Dim)],
    order: &[Option<usize>],
    (left_out, like): (usize, Value<'c, 'a>),
) -> Result<Value<'c, 'a>, String> {
    let (context, r#type) = (context_of(before), TensorType::of(like)?);
    let (dropped, kept): (Vec<usize>, Vec<usize>) = (0..place.len()).partition(|axis| !order.contains(&Some(axis + left_out)));
    let dropped: Vec<i64> = dropped.into_iter().map(|axis| axis as i64).collect();
    let sizes: Vec<Dim> = kept.iter().map(|axis| place[*axis].1.clone()).collect();
    let part = read(before, state, starts, &dropped, TensorType::new(r#type.element, sizes.clone()).to_type(context));
    // Axes of extent 1 that the state lacks come first, until the transpose puts them where they belong.
    let added = order.len() - kept.len();
    let dims = std::iter::repeat_n(Dim::from(1), added).chain(sizes).collect();
    let whole = reshaped(before, part, TensorType::new(r#type.element, dims))?;
    let mut units = 0..added;
    let from = |axis: &Option<usize>| match axis {
        Some(axis) => kept.iter().position(|kept| kept + left_out == *axis).map(|at| at + added),
        None => units.next(),
    };
    let permutation: Option<Vec<i64>> = order.iter().map(from).map(|axis| axis.map(|axis| axis as i64)).collect();
    let permutation = permutation.ok_or("bind-state: internal error: an axis of rows is none of their state")?;
    Ok(if permutation.is_sorted() { whole } else { insert(before, Transpose::create(context, before.location(), whole, permutation)?) })
}

fn reshaped<'c: 'a, 'a>(before: OperationRef<'c, 'a>, value: Value<'c, 'a>, to: TensorType) -> Result<Value<'c, 'a>, String> {
    if TensorType::of(value)?.dims == to.dims {
        return Ok(value);
    }
    let context = context_of(before);
    Ok(insert(before, Reshape::create(context, before.location(), value, &[to.to_type(context)])))
}

/// Lets reshapes of boxes of states see them as boxes of reshaped states, so that nothing stands between them and what reads them.
fn reshape_states(block: BlockRef) -> Result<(), String> {
    for reshape in walk::operations(block).filter_map(Reshape::cast).collect::<Vec<_>>() {
        let Some(slice) = producer(reshape.input()).and_then(SymbolicSlice::cast).filter(|slice| slice.dropped().is_none()) else {
            continue;
        };
        let (state, part, to) = (TensorType::of(slice.input())?, TensorType::of(slice.result())?, TensorType::of(reshape.result())?);
        let starts = dims_of_attribute(slice.starts())?;
        let Some((dims, starts)) = reshaped_box(&state.dims, &part.dims, &starts, &to.dims) else { continue };
        let op = reshape.op();
        let whole = reshaped(op, slice.input(), TensorType::new(state.element, dims))?;
        let read = read(op, whole, &starts, &[], reshape.result().r#type());
        walk::replace_all_uses(reshape.result(), read);
    }
    Ok(())
}

/// Extents of a tensor `whole`, and the start of a box in it, seen so that the box of extents `part` at `starts` has the extents `to`.
fn reshaped_box(whole: &[Dim], part: &[Dim], starts: &[Dim], to: &[Dim]) -> Option<(Vec<Dim>, Vec<Dim>)> {
    let product = |dims: &[Dim]| dims.iter().fold(Dim::from(1), |product, dim| &product * dim);
    let (mut dims, mut firsts) = (vec![], vec![]);
    let (mut from, mut at) = (0, 0);
    while from < part.len() {
        let cut = part[from] != whole[from];
        // As few axes as have equally many elements on both sides.
        let ends = (from + 1..=part.len()).flat_map(|end| (at..=to.len()).map(move |to_end| (end, to_end)));
        let mut ends =
            ends.filter(|(end, to_end)| product(&part[from..*end]) == product(&to[at..*to_end]) && (*end == from + 1 || *to_end > at));
        let (end, to_end) = ends.next()?;
        if cut {
            // An axis of which the box is a part stays one axis.
            let place = (at..to_end).find(|axis| to[*axis] == part[from]).filter(|_| end == from + 1)?;
            dims.extend((at..to_end).map(|axis| if axis == place { whole[from].clone() } else { to[axis].clone() }));
            firsts.extend((at..to_end).map(|axis| if axis == place { starts[from].clone() } else { Dim::from(0) }));
        } else {
            if (from..end).any(|axis| part[axis] != whole[axis]) {
                return None;
            }
            dims.extend_from_slice(&to[at..to_end]);
            firsts.extend(std::iter::repeat_n(Dim::from(0), to_end - at));
        }
        (from, at) = (end, to_end);
    }
    if to[at..].iter().any(|dim| dim.as_static() != Some(1)) {
        return None;
    }
    firsts.extend(to[at..].iter().map(|_| Dim::from(0)));
    dims.extend_from_slice(&to[at..]);
    Some((dims, firsts))
}

/// Gives the function the arguments and results that states leave it, and the attributes that describe them.
fn rewrite_signature<'c>(func: OperationRef<'c, '_>, block: BlockRef<'c, 'c>, mut bound: Bound<'c>) -> Result<(), String> {
    let context = context_of(func);
    let end = block.terminator().ok_or("bind-state: a function without a terminator")?;
    let old: Vec<Value> = end.operands().collect();
    let kept: Vec<usize> = (0..old.len()).filter(|i| bound.dropped.iter().all(|(output, ..)| output != i)).collect();
    let results: Vec<Value> = kept.iter().map(|i| old[*i]).chain(bound.appended.iter().map(|(value, ..)| *value)).collect();
    let raw: Vec<_> = results.iter().map(|value| value.to_raw()).collect();
    // SAFETY: live values of the function's block; their number is that of the list.
    unsafe { mlir_sys::mlirOperationSetOperands(end.to_raw(), raw.len() as isize, raw.as_ptr()) }
    let types: Vec<Type> = results.iter().map(|value| value.r#type()).collect();
    erase_unused(block)?;

    let gone: Vec<(Growth, i64)> = std::mem::take(&mut bound.dropped).into_iter().map(|(_, growth, state)| (growth, state)).collect();
    for (growth, state) in &gone {
        // What else reads the old rows finds them in the buffer.
        if walk::users(growth.past).next().is_some() {
            let whole = part_argument(&mut bound, growth, *state, &[], block)?;
            let first = walk::operations(block).next().ok_or("bind-state: an empty function")?;
            let old = read(first, whole, &vec![Dim::from(0); growth.dims.len()], &[], growth.past.r#type());
            walk::replace_all_uses(growth.past, old);
        }
    }
    reshape_states(block)?;
    let mut inputs: Vec<Attribute> = attribute_list(func, "arg_attrs", bound.originals);
    let mut outputs: Vec<Attribute> = attribute_list(func, "res_attrs", old.len());
    let mut erased: Vec<usize> = gone
        .iter()
        .map(|(growth, _)| BlockArgument::try_from(growth.past).map(|past| past.argument_number()))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    erased.sort_unstable();
    for argument in erased.into_iter().rev() {
        // SAFETY: nothing uses the argument.
        unsafe { mlir_sys::mlirBlockEraseArgument(block.to_raw(), argument as u32) }
        inputs.remove(argument);
    }
    let empty = no_entries(context);
    inputs.resize(block.argument_count(), empty);
    outputs = kept.iter().map(|i| outputs[*i]).chain(bound.appended.iter().map(|_| empty)).collect();
    let arguments: Vec<Type> = (0..block.argument_count()).map(|i| block.argument(i).expect("in range").r#type()).collect();
    attributes::set(func, "function_type", TypeAttribute::new(FunctionType::new(context, &arguments, &types).into()).into());
    attributes::set(func, "arg_attrs", ArrayAttribute::new(context, &inputs).into());
    attributes::set(func, "res_attrs", ArrayAttribute::new(context, &outputs).into());

    let number = |argument: &Value| BlockArgument::try_from(*argument).map(|argument| argument.argument_number() as i64);
    let mut pairs = vec![];
    for (argument, state, _) in &bound.arguments {
        pairs.extend([number(argument).map_err(|e| e.to_string())?, *state]);
    }
    let mut triples = vec![];
    for (output, state) in &bound.next {
        let at = kept.iter().position(|kept| kept == output).ok_or("bind-state: the next value of a state is gone")?;
        triples.extend([at as i64, *state, -1]);
    }
    for ((_, state, argument), at) in bound.appended.iter().zip(kept.len()..) {
        triples.extend([at as i64, *state, number(argument).map_err(|e| e.to_string())?]);
    }
    attributes::set(func, STATES, ArrayAttribute::new(context, &bound.states).into());
    attributes::set(func, STATE_ARGUMENTS, pairs.to_attribute(context));
    attributes::set(func, STATE_OFFSETS, dims_attribute(context, bound.arguments.iter().map(|(.., offset)| offset)));
    attributes::set(func, STATE_RESULTS, triples.to_attribute(context));
    if !bound.copies.is_empty() {
        attributes::set(func, STATE_COPIES, bound.copies.to_attribute(context));
    }
    // SAFETY: the function is live.
    unsafe { mlir_sys::mlirOperationRemoveAttributeByName(func.to_raw(), melior::StringRef::new(BIND).to_raw()) };
    Ok(())
}
