//! Expressions over constants -> contents, streamed.
//!
//! Every layout change is written as rows: a row is a run of elements at a constant distance in the operand, with zeros or a fill value
//! before and after. Nothing but the operand (unless it is mapped) and one buffer is held.

use super::{ConstantError, ConstantStore, ConstantType, Scalar, cast_bytes};
use std::{borrow::Cow, fmt, io::Write};
use winze_graph::{op::ScalarForm, types::ElementType};

type Evaluate = Box<dyn Fn(&ConstantStore) -> Result<Vec<u8>, String> + Send + Sync>;

/// An operand of an elementwise expression, repeated along the axes of the result that it lacks.
#[derive(Clone, Debug)]
pub struct Repeated {
    pub input: String,
    /// The axis of the result that each axis of the input goes along, ascending; an axis of extent 1 is repeated.
    pub axes: Vec<usize>,
}

/// A constant computed from constants named by id.
pub enum Expression {
    /// Axis i of the result is axis `permutation[i]` of the input.
    Transpose { input: String, permutation: Vec<usize> },
    /// The same elements in C order.
    Reshape { input: String, dims: Vec<i64> },
    /// Another element type, as graph.convert.
    Cast { input: String, element: ElementType },
    /// Elements of `bits` bits that stand packed in a vector of bytes, from the lowest bit of the first on, each as a byte.
    Unpack { input: String, bits: u32, signed: bool, dims: Vec<i64> },
    /// Surrounds with `value` (one element's bytes).
    Pad { input: String, low: Vec<i64>, high: Vec<i64>, value: Vec<u8> },
    /// The elements `starts[i]..limits[i]` of each axis.
    Slice { input: String, starts: Vec<i64>, limits: Vec<i64> },
    /// Elements in reverse order along `axes`.
    Reverse { input: String, axes: Vec<usize> },
    /// `[batch..][K][N]` -> `[batch..][ceil(N / panel)][K][panel]`, zeros beyond N.
    PackMatrix { input: String, panel: i64 },
    /// `[O][I][spatial..]` -> `[ceil(O / panel)][I][spatial..][panel]`, or with `channels_last` `[ceil(O / panel)][spatial..][I][panel]`; zeros beyond O.
    PackFilter { input: String, panel: i64, channels_last: bool },
    /// `[O][I][spatial..]` of `groups` groups of outputs -> `[O][merged * I][spatial..]`: the filters of groups that see the inputs of `merged` groups, zero for
    /// those of the others.
    MergeGroups { input: String, groups: i64, merged: i64 },
    /// The inputs one behind the other along an axis.
    Concat { inputs: Vec<String>, axis: usize },
    /// An elementwise op, whose name is only for messages, on operands repeated to the extents of `type`.
    Elementwise { name: String, form: ScalarForm, operands: Vec<Repeated>, r#type: ConstantType },
    /// Whatever the closure returns, as `type`.
    Fold { r#type: ConstantType, evaluate: Evaluate },
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Transpose { input, permutation } => write!(f, "transpose({input}, {permutation:?})"),
            Self::Reshape { input, dims } => write!(f, "reshape({input}, {dims:?})"),
            Self::Cast { input, element } => write!(f, "cast({input}, {element})"),
            Self::Unpack { input, bits, dims, .. } => write!(f, "unpack({input}, {bits}, {dims:?})"),
            Self::Pad { input, low, high, .. } => write!(f, "pad({input}, {low:?}, {high:?})"),
            Self::Slice { input, starts, limits } => write!(f, "slice({input}, {starts:?}, {limits:?})"),
            Self::Reverse { input, axes } => write!(f, "reverse({input}, {axes:?})"),
            Self::PackMatrix { input, panel } => write!(f, "pack_matrix({input}, {panel})"),
            Self::PackFilter { input, panel, channels_last } => write!(f, "pack_filter({input}, {panel}, {channels_last})"),
            Self::MergeGroups { input, groups, merged } => write!(f, "merge_groups({input}, {groups}, {merged})"),
            Self::Concat { inputs, axis } => write!(f, "concat({inputs:?}, {axis})"),
            Self::Elementwise { name, operands, r#type, .. } => write!(f, "{name}({operands:?}, {type})"),
            Self::Fold { r#type, .. } => write!(f, "fold({type})"),
        }
    }
}

fn type_error(what: &'static str, why: String) -> ConstantError {
    ConstantError::Type { id: String::new(), what, why }
}

impl Expression {
    /// Type of the result; errors say what does not fit (the id is filled in by the store).
    pub(super) fn infer_type(&self, store: &ConstantStore) -> Result<ConstantType, ConstantError> {
        match self {
            Self::Transpose { input, permutation } => {
                let from = store.type_of(input)?;
                let mut sorted = permutation.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..from.dims.len()) {
                    return Err(type_error("transposed", format!("{permutation:?} is no permutation of the axes of {from}")));
                }
                Ok(ConstantType::new(from.element, permutation.iter().map(|&axis| from.dims[axis]).collect::<Vec<_>>()))
            }
            Self::Reshape { input, dims } => {
                let (from, to) = (store.type_of(input)?, ConstantType::new(store.type_of(input)?.element, dims.clone()));
                if to.checked_elements() != from.checked_elements() {
                    return Err(type_error("reshaped", format!("{from} and {to} differ in their number of elements")));
                }
                Ok(to)
            }
            Self::Cast { input, element } => Ok(ConstantType::new(*element, store.type_of(input)?.dims.clone())),
            Self::Unpack { input, bits, signed, dims } => {
                let from = store.type_of(input)?;
                let to = ConstantType::new(if *signed { ElementType::I8 } else { ElementType::U8 }, dims.clone());
                let needed = to.checked_elements().filter(|_| (1..8).contains(bits)).map(|elements| packed_bytes(elements, *bits));
                if from.element != ElementType::U8 || needed.is_none_or(|needed| from.dims != [needed as i64]) {
                    return Err(type_error("unpacked", format!("{from} does not hold {to} in {bits} bits")));
                }
                Ok(to)
            }
            Self::Pad { input, low, high, value } => {
                let from = store.type_of(input)?;
                let padded = |((dim, low), high): ((&i64, &i64), &i64)| {
                    (*low >= 0 && *high >= 0).then(|| dim.checked_add(*low)?.checked_add(*high)).flatten()
                };
                let dims: Option<Vec<i64>> = from.dims.iter().zip(low).zip(high).map(padded).collect();
                match dims.filter(|dims| dims.len() == low.len() && dims.len() == high.len() && value.len() == from.element.bytes()) {
                    Some(dims) => Ok(ConstantType::new(from.element, dims)),
                    None => Err(type_error("padded", format!("low {low:?}, high {high:?} and {} bytes do not fit {from}", value.len()))),
                }
            }
            Self::Slice { input, starts, limits } => {
                let from = store.type_of(input)?;
                let inside = |((dim, start), limit): ((&i64, &i64), &i64)| 0 <= *start && start <= limit && limit <= dim;
                let rank = from.dims.len();
                if starts.len() != rank || limits.len() != rank || !from.dims.iter().zip(starts).zip(limits).all(inside) {
                    return Err(type_error("sliced", format!("{starts:?} to {limits:?} are outside {from}")));
                }
                Ok(ConstantType::new(from.element, limits.iter().zip(starts).map(|(limit, start)| limit - start).collect::<Vec<_>>()))
            }
            Self::Reverse { input, axes } => {
                let from = store.type_of(input)?;
                match axes.iter().find(|axis| **axis >= from.dims.len()) {
                    Some(axis) => Err(type_error("reversed", format!("{from} has no axis {axis}"))),
                    None => Ok(from.clone()),
                }
            }
            Self::PackMatrix { input, panel } => {
                let from = store.type_of(input)?;
                let [batch @ .., k, n] = &from.dims[..] else { return Err(type_error("packed", format!("{from} is no matrix"))) };
                let panels = count_panels(*n, *panel)?;
                Ok(ConstantType::new(from.element, [batch, &[panels, *k, *panel]].concat()))
            }
            Self::PackFilter { input, panel, channels_last } => {
                let from = store.type_of(input)?;
                let [o, i, spatial @ ..] = &from.dims[..] else { return Err(type_error("packed", format!("{from} is no filter"))) };
                let panels = count_panels(*o, *panel)?;
                let dims = if *channels_last { [&[panels], spatial, &[*i, *panel]] } else { [&[panels, *i], spatial, &[*panel]] };
                Ok(ConstantType::new(from.element, dims.concat()))
            }
            Self::MergeGroups { input, groups, merged } => {
                let from = store.type_of(input)?;
                match &from.dims[..] {
                    [o, i, spatial @ ..] if *groups > 0 && *merged > 0 && o % groups == 0 && groups % merged == 0 => {
                        Ok(ConstantType::new(from.element, [&[*o, merged * i], spatial].concat()))
                    }
                    _ => Err(type_error("merged", format!("{from} is no filter of {groups} groups, {merged} of which make one"))),
                }
            }
            Self::Concat { inputs, axis } => {
                let types = inputs.iter().map(|input| store.type_of(input)).collect::<Result<Vec<_>, _>>()?;
                let Some(first) = types.first().filter(|first| *axis < first.dims.len()) else {
                    return Err(type_error("joined", format!("there is no input with an axis {axis}")));
                };
                let mut joined = ConstantType::clone(first);
                joined.dims[*axis] = 0;
                for from in &types {
                    let agree = from.element == first.element && from.dims.len() == first.dims.len();
                    if !agree || (0..first.dims.len()).any(|i| i != *axis && from.dims[i] != first.dims[i]) {
                        return Err(type_error("joined", format!("{from} does not fit behind {first} along axis {axis}")));
                    }
                    joined.dims[*axis] += from.dims[*axis];
                }
                Ok(joined)
            }
            Self::Elementwise { operands, r#type, .. } => {
                for Repeated { input, axes } in operands {
                    let from = store.type_of(input)?;
                    let fits = |(axis, dim): (&usize, &i64)| r#type.dims.get(*axis).is_some_and(|extent| extent == dim || *dim == 1);
                    if axes.len() != from.dims.len() || !axes.is_sorted() || !axes.iter().zip(&from.dims).all(fits) {
                        return Err(type_error("repeated", format!("{from} does not go along the axes {axes:?} of {type}")));
                    }
                }
                Ok(r#type.clone())
            }
            Self::Fold { r#type, .. } => Ok(r#type.clone()),
        }
    }

    /// Writes the contents of this expression, whose inferred type is `to`.
    pub(super) fn write(&self, store: &ConstantStore, id: &str, to: &ConstantType, out: &mut dyn Write) -> Result<(), ConstantError> {
        match self {
            Self::Reshape { input, .. } => store.write(input, out),
            Self::Cast { input, element } => {
                let (from, data) = (store.type_of(input)?.element, store.read(input)?);
                let mut buffer = Vec::new();
                for chunk in data.chunks(from.bytes() * 8192) {
                    buffer.clear();
                    cast_bytes(from, *element, chunk, &mut buffer);
                    out.write_all(&buffer)?;
                }
                Ok(())
            }
            Self::Unpack { input, bits, signed, .. } => write_unpacked(&store.read(input)?, (to.elements(), *bits, *signed), out),
            Self::Fold { evaluate, .. } => {
                let data = evaluate(store).map_err(|why| ConstantError::Fold { id: id.into(), why })?;
                if data.len() != to.bytes() {
                    return Err(ConstantError::Size { id: id.into(), expected: to.clone(), found: data.len(), needed: to.bytes() });
                }
                Ok(out.write_all(&data)?)
            }
            Self::Concat { inputs, axis } => {
                let datas = inputs.iter().map(|input| store.read(input)).collect::<Result<Vec<_>, _>>()?;
                let outer = &to.dims[..*axis];
                let rows: usize = outer.iter().product::<i64>() as usize;
                for row in 0..rows {
                    for data in &datas {
                        let size = data.len() / rows;
                        out.write_all(&data[row * size..(row + 1) * size])?;
                    }
                }
                Ok(())
            }
            Self::Elementwise { form, operands, .. } => write_elementwise(store, *form, operands, to, out),
            Self::Transpose { input, permutation } => {
                let strides = strides(&store.type_of(input)?.dims);
                let strides: Vec<i64> = permutation.iter().map(|&axis| strides[axis]).collect();
                let Some((count, outer)) = to.dims.split_last() else { return store.write(input, out) };
                let stride = strides[outer.len()];
                let mut rows = Rows::new(store.read(input)?, to.element, vec![0; to.element.bytes()]);
                each_index(outer, |index| {
                    let start: i64 = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
                    rows.write(Row { before: 0, start, stride, count: *count, after: 0 }, out)
                })?;
                rows.flush(out)
            }
            Self::Pad { input, low, high, value } => {
                let from = &store.type_of(input)?.dims;
                let (Some((width, outer_from)), Some((_, outer))) = (from.split_last(), to.dims.split_last()) else {
                    return store.write(input, out);
                };
                let (strides, last) = (strides(from), outer.len());
                let mut rows = Rows::new(store.read(input)?, to.element, value.clone());
                each_index(outer, |index| {
                    let source: Vec<i64> = index.iter().zip(low).map(|(i, low)| i - low).collect();
                    let inside = source.iter().zip(outer_from).all(|(i, dim)| (0..*dim).contains(i));
                    let start = if inside { source.iter().zip(&strides).map(|(i, s)| i * s).sum() } else { 0 };
                    let (count, after) = if inside { (*width, high[last]) } else { (0, width + high[last]) };
                    rows.write(Row { before: low[last], start, stride: 1, count, after }, out)
                })?;
                rows.flush(out)
            }
            Self::Slice { input, starts, .. } => {
                let strides = strides(&store.type_of(input)?.dims);
                let Some((count, outer)) = to.dims.split_last() else { return store.write(input, out) };
                let mut rows = Rows::new(store.read(input)?, to.element, vec![0; to.element.bytes()]);
                each_index(outer, |index| {
                    let start = index.iter().zip(starts).zip(&strides).map(|((i, first), s)| (i + first) * s).sum::<i64>();
                    rows.write(Row { before: 0, start: start + starts[outer.len()], stride: 1, count: *count, after: 0 }, out)
                })?;
                rows.flush(out)
            }
            Self::Reverse { input, axes } => {
                let strides = strides(&to.dims);
                let Some((count, outer)) = to.dims.split_last() else { return store.write(input, out) };
                let at = |axis: usize, i: i64| if axes.contains(&axis) { to.dims[axis] - 1 - i } else { i };
                let stride = if axes.contains(&outer.len()) { -1 } else { 1 };
                let mut rows = Rows::new(store.read(input)?, to.element, vec![0; to.element.bytes()]);
                each_index(outer, |index| {
                    let start: i64 = index.iter().enumerate().map(|(axis, i)| at(axis, *i) * strides[axis]).sum();
                    rows.write(Row { before: 0, start: start + at(outer.len(), 0), stride, count: *count, after: 0 }, out)
                })?;
                rows.flush(out)
            }
            Self::PackMatrix { input, panel } => {
                let from = &store.type_of(input)?.dims;
                let (n, outer) = (from[from.len() - 1], &to.dims[..to.dims.len() - 1]);
                let strides = strides(from);
                let batch = from.len() - 2;
                let mut rows = Rows::new(store.read(input)?, to.element, vec![0; to.element.bytes()]);
                each_index(outer, |index| {
                    let (p, k) = (index[batch], index[batch + 1]);
                    let start = index[..batch].iter().zip(&strides).map(|(i, s)| i * s).sum::<i64>() + k * n + p * panel;
                    let count = (n - p * panel).min(*panel);
                    rows.write(Row { before: 0, start, stride: 1, count, after: panel - count }, out)
                })?;
                rows.flush(out)
            }
            Self::MergeGroups { input, groups, merged } => {
                let from = &store.type_of(input)?.dims;
                let (filters, size) = (from[0], from[1..].iter().product::<i64>());
                let mut rows = Rows::new(store.read(input)?, to.element, vec![0; to.element.bytes()]);
                for filter in 0..filters {
                    let place = filter / (filters / groups) % merged;
                    let (before, after) = (place * size, (merged - 1 - place) * size);
                    rows.write(Row { before, start: filter * size, stride: 1, count: size, after }, out)?;
                }
                rows.flush(out)
            }
            Self::PackFilter { input, panel, channels_last } => {
                let from = &store.type_of(input)?.dims;
                let (strides, outer) = (strides(from), &to.dims[..to.dims.len() - 1]);
                let mut rows = Rows::new(store.read(input)?, to.element, vec![0; to.element.bytes()]);
                each_index(outer, |index| {
                    let (p, spatial, i) = match channels_last {
                        true => (index[0], &index[1..index.len() - 1], index[index.len() - 1]),
                        false => (index[0], &index[2..], index[1]),
                    };
                    let at = spatial.iter().zip(&strides[2..]).map(|(i, s)| i * s).sum::<i64>() + i * strides[1];
                    let count = (from[0] - p * panel).min(*panel);
                    rows.write(Row { before: 0, start: p * panel * strides[0] + at, stride: strides[0], count, after: panel - count }, out)
                })?;
                rows.flush(out)
            }
        }
    }
}

/// One operand while it is read along the result's axes.
struct Stepped<'a> {
    data: Cow<'a, [u8]>,
    element: ElementType,
    /// Per axis of the result, in elements; 0 where the operand is repeated.
    strides: Vec<i64>,
}

impl Stepped<'_> {
    fn at(&self, position: i64) -> winze_graph::tensor::Scalar {
        let size = self.element.bytes();
        let start = position as usize * size;
        Scalar::read(self.element, &self.data[start..start + size]).to_graph(self.element)
    }
}

fn write_elementwise(
    store: &ConstantStore,
    form: ScalarForm,
    operands: &[Repeated],
    to: &ConstantType,
    out: &mut dyn Write,
) -> Result<(), ConstantError> {
    let mut stepped = vec![];
    for Repeated { input, axes } in operands {
        let from = store.type_of(input)?;
        let mut along = vec![0; to.dims.len()];
        for ((axis, dim), stride) in axes.iter().zip(&from.dims).zip(strides(&from.dims)) {
            along[*axis] = if *dim == 1 { 0 } else { stride };
        }
        stepped.push(Stepped { data: store.read(input)?, element: from.element, strides: along });
    }
    let Some(element) = stepped.last().map(|operand| operand.element) else {
        return Err(type_error("computed", "an elementwise op has operands".into()));
    };
    let (count, outer) = to.dims.split_last().map_or((1, &[][..]), |(count, outer)| (*count, outer));
    let (mut scalars, mut buffer) = (vec![], Vec::with_capacity(Rows::CAPACITY));
    each_index(outer, |index| {
        let starts: Vec<i64> = stepped.iter().map(|operand| index.iter().zip(&operand.strides).map(|(i, s)| i * s).sum()).collect();
        for i in 0..count {
            scalars.clear();
            for (operand, start) in stepped.iter().zip(&starts) {
                scalars.push(operand.at(start + i * operand.strides.last().copied().unwrap_or(0)));
            }
            Scalar::from_graph((form.eval)(element, &scalars)).write(to.element, &mut buffer);
            if buffer.len() >= Rows::CAPACITY {
                out.write_all(&buffer)?;
                buffer.clear();
            }
        }
        Ok(())
    })?;
    Ok(out.write_all(&buffer)?)
}

/// Size of so many elements of `bits` bits.
pub fn packed_bytes(elements: usize, bits: u32) -> usize {
    let bits = bits as usize;
    // Elements fit 64 bits as bytes of their own.
    elements / 8 * bits + (elements % 8 * bits).div_ceil(8)
}

fn write_unpacked(packed: &[u8], (elements, bits, signed): (usize, u32, bool), out: &mut dyn Write) -> Result<(), ConstantError> {
    let mut buffer = Vec::with_capacity(Rows::CAPACITY);
    let above = 8 - bits;
    for i in 0..elements {
        // A group of 8 elements begins with a byte.
        let (group, at) = (i / 8 * bits as usize, i % 8 * bits as usize);
        let low = packed[group + at / 8];
        let high = packed.get(group + at / 8 + 1).copied().unwrap_or(0);
        let byte = (u16::from_le_bytes([low, high]) >> (at % 8)) as u8;
        let top = byte << above;
        buffer.push(if signed { ((top as i8) >> above) as u8 } else { top >> above });
        if buffer.len() == Rows::CAPACITY {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    Ok(out.write_all(&buffer)?)
}

fn count_panels(extent: i64, panel: i64) -> Result<i64, ConstantError> {
    if panel <= 0 {
        return Err(type_error("packed", format!("a panel of {panel} is not positive")));
    }
    Ok((extent as u64).div_ceil(panel as u64) as i64)
}

/// Strides of C order, in elements. Extents fit, as the store has checked; a zero extent makes them irrelevant.
fn strides(dims: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(dims[axis]);
    }
    strides
}

/// Calls `visit` with every index in C order; once with an empty index for no dims.
fn each_index(dims: &[i64], mut visit: impl FnMut(&[i64]) -> Result<(), ConstantError>) -> Result<(), ConstantError> {
    if dims.contains(&0) {
        return Ok(());
    }
    let mut index = vec![0; dims.len()];
    loop {
        visit(&index)?;
        let Some(axis) = (0..dims.len()).rev().find(|&axis| index[axis] + 1 < dims[axis]) else { return Ok(()) };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// `before` fill elements, `count` elements of the operand from `start` at distance `stride`, `after` fill elements.
struct Row {
    before: i64,
    start: i64,
    stride: i64,
    count: i64,
    after: i64,
}

struct Rows<'a> {
    data: Cow<'a, [u8]>,
    size: usize,
    fill: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a> Rows<'a> {
    const CAPACITY: usize = 1 << 16;

    fn new(data: Cow<'a, [u8]>, element: ElementType, fill: Vec<u8>) -> Self {
        Self { data, size: element.bytes(), fill, buffer: Vec::with_capacity(Self::CAPACITY) }
    }

    fn write(&mut self, row: Row, out: &mut dyn Write) -> Result<(), ConstantError> {
        self.fill(row.before, out)?;
        if row.stride == 1 {
            let start = row.start as usize * self.size;
            let run = &self.data[start..start + row.count as usize * self.size];
            if run.len() >= Self::CAPACITY {
                out.write_all(&self.buffer)?;
                self.buffer.clear();
                out.write_all(run)?;
            } else {
                self.buffer.extend_from_slice(run);
            }
        } else {
            for i in 0..row.count {
                let start = (row.start + i * row.stride) as usize * self.size;
                self.buffer.extend_from_slice(&self.data[start..start + self.size]);
                self.drain(out)?;
            }
        }
        self.fill(row.after, out)?;
        self.drain(out)
    }

    fn fill(&mut self, count: i64, out: &mut dyn Write) -> Result<(), ConstantError> {
        for _ in 0..count {
            self.buffer.extend_from_slice(&self.fill);
            self.drain(out)?;
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut dyn Write) -> Result<(), ConstantError> {
        if self.buffer.len() >= Self::CAPACITY {
            self.flush(out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut dyn Write) -> Result<(), ConstantError> {
        out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
