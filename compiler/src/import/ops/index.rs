//! Elements by position: Gather, GatherElements, GatherND, OneHot, Trilu, ReverseSequence, ArrayFeatureExtractor,
//! Scatter, ScatterElements, ScatterND, TensorScatter.

use super::{OpResult, Row, row};
use crate::import::{
    error::Failure,
    node::{NodeContext, normalize_axis},
    value::Tensor,
};
use winze_graph::{
    dialect::{self as graph, Add, Eq, Ge, Iota, Le, Lt, Sub},
    dim::Dim,
    types::{Class, ElementType, TensorType},
};

pub const OPS: &[Row] = &[
    row("Gather", gather),
    row("GatherElements", gather_elements),
    row("GatherND", gather_nd),
    row("OneHot", one_hot),
    row("Trilu", trilu),
    row("ReverseSequence", reverse_sequence),
    row("Scatter", scatter_elements),
    row("ScatterElements", scatter_elements),
    row("ScatterND", scatter_nd),
    row("TensorScatter", tensor_scatter),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// 0, 1, 2, ... as a tensor of one axis.
pub fn positions<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, count: &Dim, element: ElementType) -> Result<Tensor<'c, 'a>, Failure> {
    let r#type = TensorType::new(element, vec![count.clone()]).to_type(cx.context());
    let op = Iota::create(cx.context(), cx.location, 0, &[r#type]);
    cx.emit(op)
}

/// Constant integers of one axis.
pub fn constants<'c, 'a>(items: &[i64]) -> Tensor<'c, 'a> {
    Tensor::integers(ElementType::I64, &[items.len() as i64], items.iter().copied().map(Dim::from).collect())
}

/// Which axes of the input positions address, which pairs of axes of input and indices are walked together, and where the axes of the indices go.
pub struct Places {
    pub axes: Vec<usize>,
    pub batch: Vec<(usize, usize)>,
    pub position: usize,
    /// Whether a place outside ends the run, where the target can tell; else the nearest element is taken, and nothing is written.
    pub checked: bool,
}

impl Places {
    fn lists(&self) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
        let of = |axes: Vec<usize>| axes.into_iter().map(|axis| axis as i64).collect();
        (of(self.axes.clone()), of(self.batch.iter().map(|b| b.0).collect()), of(self.batch.iter().map(|b| b.1).collect()))
    }
}

/// `graph.gather`; the last axis of the indices holds positions.
pub fn gather_places<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    indices: &Tensor<'c, 'a>,
    places: &Places,
) -> Result<Tensor<'c, 'a>, Failure> {
    if indices.element().class() != Class::Signed {
        return Failure::invalid(format!("indices of element type {}", indices.element()));
    }
    let (input, indices) = (cx.value(x)?, cx.value(indices)?);
    let (axes, of_input, of_indices) = places.lists();
    cx.infer(|c, l| graph::Gather::create(c, l, input, indices, axes, of_input, of_indices, places.position as i64, places.checked))
}

/// A last axis of extent 1: one position per element.
pub fn single<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, indices: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let dims = [indices.dims(), &[Dim::from(1)]].concat();
    cx.reshape(indices, dims)
}

/// Slices along one axis, at places that were computed: the axes of the indices take its place.
pub fn take<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    indices: &Tensor<'c, 'a>,
    axis: usize,
) -> Result<Tensor<'c, 'a>, Failure> {
    take_places(cx, x, indices, axis, false)
}

/// [`take`] at places that the model's user gives.
pub fn take_checked<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    indices: &Tensor<'c, 'a>,
    axis: usize,
) -> Result<Tensor<'c, 'a>, Failure> {
    take_places(cx, x, indices, axis, true)
}

fn take_places<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    indices: &Tensor<'c, 'a>,
    axis: usize,
    checked: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    if let Some(range) = known_range(cx, x, indices, axis)? {
        let part = cx.slice_axis(x, axis, range.start, range.end)?;
        let dims = [&x.dims()[..axis], indices.dims(), &x.dims()[axis + 1..]].concat();
        return cx.reshape(&part, dims);
    }
    let indices = single(cx, indices)?;
    gather_places(cx, x, &indices, &Places { axes: vec![axis], batch: vec![], position: axis, checked })
}

/// Constant indices that are neighbours, in order, and known to lie inside. Constant indices that lie outside are an error.
fn known_range<'c, 'a>(
    cx: &Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    indices: &Tensor<'c, 'a>,
    axis: usize,
) -> Result<Option<std::ops::Range<i64>>, Failure> {
    let known: Option<Vec<i64>> = cx.integers(indices).and_then(|items| items.iter().map(Dim::as_static).collect());
    let (Some(known), Some(extent)) = (known, x.extent(axis)) else { return Ok(None) };
    if let Some(outside) = known.iter().find(|index| !(-extent..extent).contains(index)) {
        return Failure::invalid(format!("the index {outside} is outside the extent {extent}"));
    }
    let mut places = known.iter().map(|index| if *index < 0 { index + extent } else { *index });
    let Some(start) = places.next() else { return Ok(Some(0..0)) };
    let neighbours = (start + 1..).zip(places).all(|(expected, place)| expected == place);
    Ok(neighbours.then(|| start..start + known.len() as i64))
}

fn gather<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = normalize_axis(cx.int_or("axis", 0)?, x.rank())?;
    Ok(vec![take_checked(cx, &x, &indices, axis)?])
}

/// All axes but one, walked together.
pub fn all_but(axis: usize, rank: usize) -> Places {
    Places { axes: vec![axis], batch: (0..rank).filter(|i| *i != axis).map(|i| (i, i)).collect(), position: 0, checked: true }
}

fn gather_elements<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = normalize_axis(cx.int_or("axis", 0)?, x.rank())?;
    if indices.rank() != x.rank() {
        return Ok(Failure::invalid(format!("indices of rank {} for an input of rank {}", indices.rank(), x.rank()))?);
    }
    let indices = single(cx, &indices)?;
    Ok(vec![gather_places(cx, &x, &indices, &all_but(axis, x.rank()))?])
}

/// The number of positions in each tuple of indices.
fn tuple(indices: &Tensor, rank: usize) -> Result<usize, Failure> {
    match indices.dims().last().map(Dim::as_static) {
        Some(Some(count)) if (0..=rank as i64).contains(&count) => Ok(count as usize),
        Some(None) => Failure::unsupported("index tuples of symbolic length"),
        _ => Failure::invalid(format!("indices of shape {:?} into {rank} axes", indices.dims())),
    }
}

fn gather_nd<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let batch = cx.int_since(12, "batch_dims", 0)?;
    let Some(batch) = usize::try_from(batch).ok().filter(|batch| *batch < x.rank().min(indices.rank())) else {
        return Ok(Failure::invalid(format!("batch_dims {batch} of {} axes", x.rank()))?);
    };
    let count = tuple(&indices, x.rank() - batch)?;
    let places = Places { axes: (batch..batch + count).collect(), batch: (0..batch).map(|i| (i, i)).collect(), position: 0, checked: true };
    Ok(vec![gather_places(cx, &x, &indices, &places)?])
}

/// The only element of a known integer or float.
fn known_scalar<'c, 'a>(cx: &Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, what: &str) -> Result<Dim, Failure> {
    if let Some([only]) = cx.integers(x).as_deref() {
        return Ok(only.clone());
    }
    match cx.scalar_constant(x) {
        Some(value) => Ok(Dim::from(value.to_f64() as i64)),
        None => Err(cx.importer.unknown(x, what)),
    }
}

/// Where the position along the new axis is the index; indices outside the depth give no hit.
fn one_hot<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (indices, values) = (cx.input(0)?, cx.input(2)?);
    let depth = match cx.open_operand(1) {
        Some(depth) => {
            let from = cx.operand_name(1).to_string();
            cx.size(&depth, "depths", &from, None)?
        }
        None => known_scalar(cx, &cx.input(1)?, "a depth")?,
    };
    let axis = normalize_axis(cx.int_or("axis", -1)?, indices.rank() + 1)?;
    if values.dims() != [Dim::from(2)] {
        return Ok(Failure::invalid(format!("values of shape {:?}; they are the off and the on value", values.dims()))?);
    }
    let indices = cx.convert(&indices, ElementType::I64)?;
    let (zero, depth_value) = (cx.scalar(ElementType::I64, 0.0)?, cx.extent(&depth, ElementType::I64)?);
    let negative = cx.compare(Lt::create, &indices, &zero)?;
    let from_end = cx.binary(Add::create, &indices, &depth_value)?;
    let index = cx.select(&negative, &from_end, &indices)?;
    let mut dims = indices.dims().to_vec();
    dims.insert(axis, depth.clone());
    let others: Vec<usize> = (0..dims.len()).filter(|i| *i != axis).collect();
    let index = cx.broadcast_along(&index, &others, &dims)?;
    let place = positions(cx, &depth, ElementType::I64)?;
    let place = cx.broadcast_along(&place, &[axis], &dims)?;
    let hit = cx.compare(Eq::create, &index, &place)?;
    let value = |cx: &mut Cx<'_, '_, 'c, 'a>, i: i64| {
        let value = cx.slice_axis(&values, 0, i, i + 1)?;
        cx.reshape(&value, vec![])
    };
    let (off, on) = (value(cx, 0)?, value(cx, 1)?);
    Ok(vec![cx.select(&hit, &on, &off)?])
}

fn trilu<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let [.., height, width] = x.dims() else { return Ok(Failure::invalid(format!("an input of rank {}", x.rank()))?) };
    let (row, column) = (positions(cx, height, ElementType::I64)?, positions(cx, width, ElementType::I64)?);
    let mut row = cx.reshape(&row, vec![height.clone(), Dim::from(1)])?;
    if let Some(k) = cx.optional(1) {
        let k = cx.reshape(&k, vec![])?;
        row = cx.binary(Add::create, &row, &k)?;
    }
    let upper = cx.int_or("upper", 1)? != 0;
    let kept = cx.compare(if upper { Ge::create } else { Le::create }, &column, &row)?;
    let zero = cx.scalar(x.element(), 0.0)?;
    Ok(vec![cx.select(&kept, &x, &zero)?])
}

/// Reverses the first elements along the time axis, as many as each batch says.
fn reverse_sequence<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, lengths) = (cx.input(0)?, cx.input(1)?);
    let (time, batch) = (normalize_axis(cx.int_or("time_axis", 0)?, x.rank())?, normalize_axis(cx.int_or("batch_axis", 1)?, x.rank())?);
    if time + batch != 1 {
        return Ok(Failure::invalid(format!("time axis {time} and batch axis {batch}; they are 0 and 1"))?);
    }
    let lengths = cx.with_dims(&lengths, vec![x.dims()[batch].clone()], "a length for each sequence")?;
    let dims = x.dims()[..2].to_vec();
    let at = positions(cx, &dims[time], ElementType::I64)?;
    let at = cx.broadcast_along(&at, &[time], &dims)?;
    let lengths = cx.convert(&lengths, ElementType::I64)?;
    let lengths = cx.broadcast_along(&lengths, &[batch], &dims)?;
    let one = cx.scalar(ElementType::I64, 1.0)?;
    let last = cx.binary(Sub::create, &lengths, &one)?;
    let reversed = cx.binary(Sub::create, &last, &at)?;
    let inside = cx.compare(Lt::create, &at, &lengths)?;
    let from = cx.select(&inside, &reversed, &at)?;
    let from = single(cx, &from)?;
    Ok(vec![gather_places(cx, &x, &from, &Places { axes: vec![time], batch: vec![(batch, batch)], position: 0, checked: false })?])
}

/// Chosen columns; a vector counts as one row.
pub fn array_feature_extractor<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (mut x, indices) = (cx.input(0)?, cx.input(1)?);
    if x.rank() == 1 {
        let dims = [&[Dim::from(1)], x.dims()].concat();
        x = cx.reshape(&x, dims)?;
    }
    let Some(axis) = x.rank().checked_sub(1) else { return Ok(Failure::invalid("a 0-d input")?) };
    let count = indices.r#type.count();
    let indices = cx.reshape(&indices, vec![count])?;
    Ok(vec![take_checked(cx, &x, &indices, axis)?])
}

/// `graph.scatter`.
pub fn scatter_places<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    kind: &str,
    x: &Tensor<'c, 'a>,
    indices: &Tensor<'c, 'a>,
    updates: &Tensor<'c, 'a>,
    places: &Places,
) -> Result<Tensor<'c, 'a>, Failure> {
    if indices.element().class() != Class::Signed || x.element() != updates.element() {
        let (of_updates, of_x) = (updates.element(), x.element());
        return Failure::invalid(format!("indices of {}, updates of {of_updates} and data of {of_x}", indices.element()));
    }
    let (axes, of_input, of_indices) = places.lists();
    let written = winze_graph::ops::gather::Places::new(&x.r#type, &indices.r#type, &axes, &of_input, &of_indices, places.position as i64)
        .map_err(Failure::Invalid)?;
    let updates = cx.with_dims(updates, written.dims(&x.r#type, &indices.r#type), "one update for each of its positions")?;
    let (input, indices, updates) = (cx.value(x)?, cx.value(indices)?, cx.value(&updates)?);
    let kind = kind.to_string();
    cx.infer(|c, l| {
        graph::Scatter::create(c, l, input, indices, updates, kind, axes, of_input, of_indices, places.position as i64, places.checked)
    })
}

fn reduction(cx: &Cx) -> Result<&'static str, Failure> {
    if cx.version < 16 {
        return Ok("set");
    }
    Ok(match cx.string_or("reduction", "none")?.as_str() {
        "none" => "set",
        "add" => "add",
        "mul" => "mul",
        "max" => "max",
        "min" => "min",
        other => return Failure::invalid(format!("the reduction `{other}`")),
    })
}

fn scatter_elements<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, indices, updates, kind) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, reduction(cx)?);
    let axis = normalize_axis(cx.int_or("axis", 0)?, x.rank())?;
    if indices.rank() != x.rank() {
        return Ok(Failure::invalid(format!("indices of rank {} for an input of rank {}", indices.rank(), x.rank()))?);
    }
    let indices = single(cx, &indices)?;
    Ok(vec![scatter_places(cx, kind, &x, &indices, &updates, &all_but(axis, x.rank()))?])
}

fn scatter_nd<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, indices, updates, kind) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, reduction(cx)?);
    let count = tuple(&indices, x.rank())?;
    let places = Places { axes: (0..count).collect(), batch: vec![], position: 0, checked: true };
    Ok(vec![scatter_places(cx, kind, &x, &indices, &updates, &places)?])
}

/// Writes a stretch of one axis, which begins where `write_indices` says for each batch; around the end when circular.
fn tensor_scatter<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (cache, update) = (cx.input(0)?, cx.input(1)?);
    let axis = normalize_axis(cx.int_or("axis", -2)?, cache.rank())?;
    if axis == 0 || update.rank() != cache.rank() {
        return Ok(Failure::invalid(format!("axis {axis} and an update of rank {} to a cache of rank {}", update.rank(), cache.rank()))?);
    }
    let dims = vec![update.dims()[0].clone(), update.dims()[axis].clone()];
    let at = positions(cx, &dims[1], ElementType::I64)?;
    let mut at = cx.broadcast_to(&at, &dims)?;
    if let Some(start) = cx.optional(2) {
        let start = cx.convert(&start, ElementType::I64)?;
        let start = cx.broadcast_along(&start, &[0], &dims)?;
        at = cx.binary(Add::create, &at, &start)?;
    }
    if cx.string_or("mode", "linear")? == "circular" {
        let length = cx.extent(&cache.dims()[axis], ElementType::I64)?;
        at = cx.binary(graph::Mod::create, &at, &length)?;
    }
    let at = single(cx, &at)?;
    let others = (1..update.rank()).filter(|i| *i != axis).map(|i| i as i64);
    let update = cx.transpose(&update, [0, axis as i64].into_iter().chain(others).collect())?;
    Ok(vec![scatter_places(
        cx,
        "set",
        &cache,
        &at,
        &update,
        &Places { axes: vec![axis], batch: vec![(0, 0)], position: 0, checked: true },
    )?])
}
