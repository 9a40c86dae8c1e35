//! Parts of tensors: Slice, Split, Pad, CenterCropPad.

use super::{
    OpResult, Row,
    index::{constants, positions, take},
    row,
};
use crate::import::{
    error::Failure,
    node::{NodeContext, made_by, normalize_axes, normalize_axis},
    value::Tensor,
};
use winze_graph::{
    dialect::{Add, And, Div, Eq, Ge, Gt, Lt, Maximum, Minimum, Mod, Mul, Or, Pad, Reverse, Sub},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[row("Slice", slice), row("Split", split), row("Pad", pad), row("CenterCropPad", center_crop_pad)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

fn slice<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut x = cx.input(0)?;
    let statics = |list: Vec<i64>| -> Vec<Dim> { list.into_iter().map(Dim::from).collect() };
    let (starts, ends, axes, steps) = if cx.version < 10 {
        let (Some(starts), Some(ends)) = (cx.ints("starts")?, cx.ints("ends")?) else {
            return Ok(Failure::invalid("starts or ends are missing")?);
        };
        (statics(starts), statics(ends), cx.ints("axes")?, None)
    } else if (1..5).any(|i| cx.open_operand(i).is_some()) {
        return slice_while_running(cx);
    } else {
        (cx.dims_input(1, "starts")?, cx.dims_input(2, "ends")?, cx.optional_ints(3, "axes")?, cx.optional_ints(4, "steps")?)
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    normalize_axes(&axes, x.rank())?;
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Ok(Failure::invalid("starts, ends, axes and steps of different lengths")?);
    }
    for (((axis, start), end), step) in axes.iter().zip(&starts).zip(&ends).zip(&steps) {
        x = slice_one(cx, &x, normalize_axis(*axis, x.rank())?, start, end, *step)?;
    }
    Ok(vec![x])
}

/// Numbers of one slice, each a 0-d i64 tensor.
struct Bounds<'c, 'a> {
    start: Tensor<'c, 'a>,
    end: Tensor<'c, 'a>,
    step: Tensor<'c, 'a>,
}

/// Starts, ends, axes or steps that only the run knows. Axes that it chooses make every axis one that may be cut.
fn slice_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut x = cx.input(0)?;
    let (starts, ends) = (cx.input(1)?, cx.input(2)?);
    let (starts, ends) = (cx.elements(&starts)?, cx.elements(&ends)?);
    let steps = match cx.optional(4) {
        Some(steps) => cx.elements(&steps)?,
        None => vec![cx.number(&Dim::from(1)); starts.len()],
    };
    if ends.len() != starts.len() || steps.len() != starts.len() {
        return Ok(Failure::invalid("starts, ends and steps of different lengths")?);
    }
    let slices = starts.into_iter().zip(ends).zip(steps).map(|((start, end), step)| Bounds { start, end, step });
    let Some(axes) = cx.open_operand(3) else {
        let axes = cx.optional_ints(3, "axes")?.unwrap_or_else(|| (0..slices.len() as i64).collect());
        normalize_axes(&axes, x.rank())?;
        if axes.len() != slices.len() {
            return Ok(Failure::invalid("starts and axes of different lengths")?);
        }
        for (axis, bounds) in axes.into_iter().zip(slices) {
            x = slice_axis_while_running(cx, &x, normalize_axis(axis, x.rank())?, &bounds)?;
        }
        return Ok(vec![x]);
    };
    let (axes, slices) = (cx.elements(&axes)?, slices.collect::<Vec<_>>());
    for axis in 0..x.rank() {
        let whole = |value| cx.number(&Dim::from(value));
        let mut bounds = Bounds { start: whole(0), end: whole(i64::MAX), step: whole(1) };
        for (named, slice) in axes.iter().zip(&slices) {
            let hit = names_axis(cx, named, axis, x.rank())?;
            bounds = Bounds {
                start: cx.select(&hit, &slice.start, &bounds.start)?,
                end: cx.select(&hit, &slice.end, &bounds.end)?,
                step: cx.select(&hit, &slice.step, &bounds.step)?,
            };
        }
        x = slice_axis_while_running(cx, &x, axis, &bounds)?;
    }
    Ok(vec![x])
}

/// Whether a 0-d i64 tensor names an axis, from the front or from the back.
pub fn names_axis<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    named: &Tensor<'c, 'a>,
    axis: usize,
    rank: usize,
) -> Result<Tensor<'c, 'a>, Failure> {
    let (front, back) = (cx.number(&Dim::from(axis as i64)), cx.number(&Dim::from(axis as i64 - rank as i64)));
    let (front, back) = (cx.compare(Eq::create, named, &front)?, cx.compare(Eq::create, named, &back)?);
    cx.binary(Or::create, &front, &back)
}

fn slice_axis_while_running<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    axis: usize,
    bounds: &Bounds<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let number = |value| Tensor::integers(ElementType::I64, &[], vec![Dim::from(value)]);
    let dim = x.dims()[axis].clone();
    let (zero, one, extent) = (number(0), number(1), cx.number(&dim));
    let back = cx.compare(Lt::create, &bounds.step, &zero)?;
    let before = number(-1);
    let last = cx.binary(Sub::create, &extent, &one)?;
    let (low, high) = (cx.select(&back, &before, &zero)?, cx.select(&back, &last, &extent)?);
    let mut place = |at: &Tensor<'c, 'a>| {
        let from_end = cx.compare(Lt::create, at, &zero)?;
        let wrapped = cx.binary(Add::create, at, &extent)?;
        let at = cx.select(&from_end, &wrapped, at)?;
        let at = cx.binary(Maximum::create, &at, &low)?;
        cx.binary(Minimum::create, &at, &high)
    };
    let (start, end) = (place(&bounds.start)?, place(&bounds.end)?);
    let (forth, back_distance) = (cx.binary(Sub::create, &end, &start)?, cx.binary(Sub::create, &start, &end)?);
    let distance = cx.select(&back, &back_distance, &forth)?;
    let negated = cx.binary(Sub::create, &zero, &bounds.step)?;
    let stride = cx.select(&back, &negated, &bounds.step)?;
    let known_step = cx.integers(&bounds.step).and_then(|step| step[0].as_static());
    if known_step.is_none() {
        cx.check_size(&stride, "size of the step", &Dim::from(1), &Dim::from(i64::MAX))?;
    }
    // Rounded up, without overflow for the largest steps.
    let before_last = cx.binary(Sub::create, &distance, &one)?;
    let whole = cx.binary(Div::create, &before_last, &stride)?;
    let count = cx.binary(Add::create, &whole, &one)?;
    let some = cx.compare(Gt::create, &distance, &zero)?;
    let count = cx.select(&some, &count, &zero)?;
    let count = cx.size(&count, "slice length", "", Some(dim))?;
    if known_step == Some(1) {
        return cx.window(x, axis, &start, count);
    }
    let index = positions(cx, &count, ElementType::I64)?;
    let index = cx.binary(Mul::create, &index, &bounds.step)?;
    let index = cx.binary(Add::create, &index, &start)?;
    take(cx, x, &index, axis)
}

/// Ends from here on mean "to the end" where the extent is symbolic: exporters write numbers such as a billion, and nobody takes the first billion.
const NO_END: i64 = 1 << 20;

/// A position on an axis from its front, where negative ones count from the end.
fn position(at: &Dim, extent: &Dim) -> Dim {
    match (at.as_static(), extent.as_static()) {
        (Some(at), _) if at >= i64::from(i32::MAX) => extent.clone(),
        (Some(at), _) if at <= i64::from(i32::MIN) => Dim::from(0),
        (Some(at), Some(extent)) if at >= 0 => Dim::from(at.min(extent)),
        (Some(at), _) if at < 0 => extent + &Dim::from(at),
        // Slices end with the axis.
        (None, _) if (extent - at).as_static().is_some_and(|rest| rest < 0) => extent.clone(),
        (None, _) if (&Dim::from(0) - at).is_never_negative() => extent + at,
        _ => at.clone(),
    }
}

fn slice_one<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    axis: usize,
    start: &Dim,
    end: &Dim,
    step: i64,
) -> Result<Tensor<'c, 'a>, Failure> {
    if step == 0 {
        return Failure::invalid("a step of 0");
    }
    let dim = x.dims()[axis].clone();
    if let (Some(extent), Some(start), Some(end)) = (dim.as_static(), start.as_static(), end.as_static()) {
        let clamp = |at: i64, low: i64, high: i64| (if at < 0 { at.saturating_add(extent) } else { at }).max(low).min(high);
        if step > 0 {
            let (start, end) = (clamp(start, 0, extent), clamp(end, 0, extent));
            return strided(cx, x, axis, start, end.max(start), step);
        }
        // Backwards: the same elements of the reversed axis.
        let (start, end) = (clamp(start, -1, extent - 1), clamp(end, -1, extent - 1));
        let reversed = reverse(cx, x, axis)?;
        let (start, end) = (extent - 1 - start, extent - 1 - end);
        return strided(cx, &reversed, axis, start, end.max(start), step.checked_neg().unwrap_or(i64::MAX));
    }
    let (mut x, mut end) = (x.clone(), end.clone());
    if end.as_static().is_some_and(|at| (NO_END..i64::from(i32::MAX)).contains(&at)) {
        x = cx.require_at_most(&x, &dim, &end, &format!("axis {axis} of {} to end where its slice does", made_by(&x)))?;
        end = dim.clone();
    }
    let (x, end, one) = (&x, &end, Dim::from(1));
    if step < 0 {
        // The same elements of the reversed axis.
        let last = &dim - &one;
        let first = position(start, &dim);
        let first = if first == dim { Dim::from(0) } else { &last - &first };
        let to_front = end.as_static().is_some_and(|end| end <= i64::from(i32::MIN));
        let end = if to_front { dim.clone() } else { &last - &position(end, &dim) };
        let reversed = reverse(cx, x, axis)?;
        return between(cx, &reversed, axis, &first, &end, step.checked_neg().unwrap_or(i64::MAX));
    }
    between(cx, x, axis, &position(start, &dim), &position(end, &dim), step)
}

/// Every `step`-th element of `start..end`, which a run must find inside the axis.
fn between<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    axis: usize,
    start: &Dim,
    end: &Dim,
    step: i64,
) -> Result<Tensor<'c, 'a>, Failure> {
    let (zero, extent) = (Dim::from(0), x.dims()[axis].clone());
    if *start == zero && *end == extent && step == 1 {
        return Ok(x.clone());
    }
    let end = if (end - start).as_static().is_some_and(|count| count < 0) { start } else { end };
    let what = format!("the slice {start}..{end} to lie inside axis {axis} of {} and its end not before its start", made_by(x));
    let mut inside = x.clone();
    for (a, b) in [(&zero, start), (start, end), (end, &extent)] {
        inside = cx.require_at_most(&inside, a, b, &what)?;
    }
    let count = (end - start).ceil_div(&Dim::from(step));
    cx.symbolic_slice(&inside, axis, start, &count, step)
}

fn strided<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    axis: usize,
    start: i64,
    limit: i64,
    step: i64,
) -> Result<Tensor<'c, 'a>, Failure> {
    if start == 0 && step == 1 && x.extent(axis).is_some_and(|extent| limit >= extent) {
        return Ok(x.clone());
    }
    let (mut starts, mut limits, mut strides) = (vec![0; x.rank()], vec![i64::MAX; x.rank()], vec![1; x.rank()]);
    for (axis, limit) in limits.iter_mut().enumerate() {
        *limit = x.extent(axis).unwrap_or(i64::MAX);
    }
    (starts[axis], limits[axis], strides[axis]) = (start, limit, step);
    cx.slice(x, starts, limits, strides)
}

fn reverse<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
    let value = cx.value(x)?;
    let op = Reverse::create(cx.context(), cx.location, value, vec![axis as i64], &[x.r#type.to_type(cx.context())]);
    cx.emit(op)
}

fn pad_by<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    fill: &Tensor<'c, 'a>,
    low: Vec<i64>,
    high: Vec<i64>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let (value, fill, interior) = (cx.value(x)?, cx.value(fill)?, vec![0; x.rank()]);
    cx.infer(|c, l| Pad::create(c, l, value, fill, low, high, interior))
}

fn split<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.int_or("axis", 0)?, x.rank())?;
    if cx.version >= 13 && cx.open_operand(1).is_some() {
        return split_while_running(cx, &x, axis);
    }
    let sizes = match (cx.version < 13, cx.optional(1)) {
        (true, _) => cx.ints("split")?.map(|sizes| sizes.into_iter().map(Dim::from).collect()),
        (false, Some(_)) => Some(cx.dims_input(1, "sizes")?),
        (false, None) => None,
    };
    let parts = cx.int("num_outputs")?.unwrap_or(cx.node.output.len() as i64);
    let extent = x.dims()[axis].clone();
    let sizes = match sizes {
        Some(sizes) => sizes,
        None => {
            if !(1..=1 << 16).contains(&parts) || extent.as_static().is_some_and(|extent| parts > extent.max(1)) {
                return Ok(Failure::invalid(format!("{parts} parts of the extent {extent}"))?);
            }
            // The last part is smaller if it does not come out even.
            let size = extent.ceil_div(&Dim::from(parts));
            match (extent.as_static(), size.as_static()) {
                (Some(extent), Some(size)) => (0..parts).map(|i| Dim::from((extent - i * size).clamp(0, size))).collect(),
                _ => (0..parts).map(|i| if i + 1 < parts { size.clone() } else { &extent - &(&size * &Dim::from(parts - 1)) }).collect(),
            }
        }
    };
    let total = sizes.iter().fold(Dim::from(0), |total, size| &total + size);
    if sizes.iter().any(|size| size.as_static().is_some_and(|size| !(0..1 << 40).contains(&size)))
        || (&total - &extent).as_static().is_some_and(|rest| rest != 0)
    {
        return Ok(Failure::invalid(format!("parts of {sizes:?} of the extent {extent}"))?);
    }
    let mut x = cx.require_equal(&x, &total, &extent, &format!("parts that make up the extent of axis {axis} of {}", made_by(&x)))?;
    for size in &sizes {
        x = cx.require_at_most(&x, &Dim::from(0), size, "parts of at least 0 elements")?;
    }
    let mut start = Dim::from(0);
    let mut outputs = vec![];
    for size in sizes {
        outputs.push(match (start.as_static(), size.as_static()) {
            (Some(start), Some(size)) => cx.slice_axis(&x, axis, start, start + size)?,
            _ => cx.symbolic_slice(&x, axis, &start, &size, 1)?,
        });
        start = &start + &size;
    }
    Ok(outputs)
}

fn split_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, axis: usize) -> OpResult<'c, 'a> {
    let dim = x.dims()[axis].clone();
    let sizes = cx.sizes_input(1, "sizes of the parts", |_| Some(dim.clone()))?;
    let total = sizes.iter().fold(Dim::default(), |total, size| &total + size);
    cx.check_size(&cx.number(&total), "total of the parts", &dim, &dim)?;
    let mut start = Dim::default();
    let mut outputs = vec![];
    for size in sizes {
        let from = cx.number(&start);
        start = &start + &size;
        outputs.push(cx.window(x, axis, &from, size)?);
    }
    Ok(outputs)
}

fn pad<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let mode = cx.string_or("mode", "constant")?;
    if !["constant", "edge", "reflect", "wrap"].contains(&mode.as_str()) {
        return Ok(Failure::invalid(format!("mode `{mode}`"))?);
    }
    let (pads, fill, axes) = if cx.version < 11 {
        let pads = cx.ints(if cx.version < 2 { "paddings" } else { "pads" })?;
        let value = cx.float_or("value", 0.0)?;
        let pads = pads.ok_or_else(|| Failure::Invalid("pads are missing".into()))?;
        (pads.into_iter().map(Dim::from).collect(), cx.scalar(x.element(), value)?, None)
    } else {
        let fill = match cx.optional(2) {
            Some(fill) => cx.reshape(&fill, vec![])?,
            None => cx.scalar(x.element(), 0.0)?,
        };
        if cx.open_operand(1).is_some() || cx.open_operand(3).is_some() {
            return pad_while_running(cx, x, &mode, &fill);
        }
        (cx.dims_input(1, "pads")?, fill, cx.optional_ints(3, "axes")?)
    };
    let axes = axes.unwrap_or_else(|| (0..x.rank() as i64).collect());
    normalize_axes(&axes, x.rank())?;
    if pads.len() != 2 * axes.len() || pads.iter().any(|pad| pad.as_static().is_some_and(|pad| !(-(1 << 40)..1 << 40).contains(&pad))) {
        return Ok(Failure::invalid(format!("pads {pads:?} of {} axes", axes.len()))?);
    }
    let (mut low, mut high) = (vec![Dim::from(0); x.rank()], vec![Dim::from(0); x.rank()]);
    for (i, axis) in axes.iter().enumerate() {
        let axis = normalize_axis(*axis, x.rank())?;
        (low[axis], high[axis]) = (pads[i].clone(), pads[axes.len() + i].clone());
        let padded = &(&x.dims()[axis] + &low[axis]) + &high[axis];
        if padded.as_static().is_some_and(|extent| extent < 0) {
            return Ok(Failure::invalid(format!("pads {pads:?} crop more than there is"))?);
        }
    }
    if low.iter().chain(&high).all(|pad| pad.as_static() == Some(0)) {
        return Ok(vec![x]);
    }
    let fixed = |pads: &[Dim]| pads.iter().map(Dim::as_static).collect::<Option<Vec<i64>>>();
    if let ("constant", Some(low), Some(high)) = (mode.as_str(), fixed(&low), fixed(&high)) {
        return Ok(vec![pad_by(cx, &x, &fill, low, high)?]);
    }
    let mut padded = x;
    for axis in 0..padded.rank() {
        padded = match mode.as_str() {
            "constant" => join_axis(cx, &padded, &fill, axis, &low[axis], &high[axis])?,
            _ => pad_axis(cx, &padded, &mode, axis, &low[axis], &high[axis])?,
        };
    }
    Ok(vec![padded])
}

/// Pads or axes that only the run knows.
fn pad_while_running<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, mut x: Tensor<'c, 'a>, mode: &str, fill: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let pads = cx.input(1)?;
    let pads = cx.elements(&pads)?;
    let (low, high) = pads.split_at(pads.len() / 2);
    let named = match cx.optional(3) {
        Some(axes) => cx.elements(&axes)?,
        None => (0..x.rank()).map(|axis| cx.number(&Dim::from(axis as i64))).collect(),
    };
    if low.len() != named.len() || high.len() != named.len() {
        return Ok(Failure::invalid(format!("{} pads of {} axes", pads.len(), named.len()))?);
    }
    for axis in 0..x.rank() {
        let zero = cx.number(&Dim::from(0));
        let mut own = (zero.clone(), zero);
        for ((named, low), high) in named.iter().zip(low).zip(high) {
            own = match known(cx, named).map(|named| normalize_axis(named, x.rank())).transpose()? {
                Some(named) if named == axis => (low.clone(), high.clone()),
                Some(_) => own,
                None => {
                    let hit = names_axis(cx, named, axis, x.rank())?;
                    (cx.select(&hit, low, &own.0)?, cx.select(&hit, high, &own.1)?)
                }
            };
        }
        x = pad_axis_while_running(cx, &x, mode, axis, &own, fill)?;
    }
    Ok(vec![x])
}

fn pad_axis_while_running<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    mode: &str,
    axis: usize,
    (low, high): &(Tensor<'c, 'a>, Tensor<'c, 'a>),
    fill: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let extent = cx.number(&x.dims()[axis]);
    if [low, high].map(|pad| known(cx, pad)) == [Some(0), Some(0)] {
        return Ok(x.clone());
    }
    let total = cx.binary(Add::create, &extent, low)?;
    let total = cx.binary(Add::create, &total, high)?;
    pad_axis_to(cx, x, mode, axis, low, &total, fill)
}

/// `total` elements of an axis, of which its own begin at `low`: a padded axis, or a cropped one. Operand 1 decides.
pub fn pad_axis_to<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    mode: &str,
    axis: usize,
    low: &Tensor<'c, 'a>,
    total: &Tensor<'c, 'a>,
    fill: &Tensor<'c, 'a>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let extent = cx.number(&x.dims()[axis]);
    let from = cx.operand_name(1).to_string();
    let total = cx.size(total, "padded extents", &from, None)?;
    let places = positions(cx, &total, ElementType::I64)?;
    let places = cx.binary(Sub::create, &places, low)?;
    if mode != "constant" {
        let source = own_elements(cx, &x.dims()[axis].clone(), mode, &places)?;
        return take(cx, x, &source, axis);
    }
    let zero = cx.number(&Dim::from(0));
    let (from_front, to_back) = (cx.compare(Ge::create, &places, &zero)?, cx.compare(Lt::create, &places, &extent)?);
    let inside = cx.binary(And::create, &from_front, &to_back)?;
    let taken = take(cx, x, &places, axis)?;
    let inside = cx.broadcast_along(&inside, &[axis], taken.dims())?;
    cx.select(&inside, &taken, fill)
}

/// What a 0-d integer tensor holds, if it is a number.
fn known<'c, 'a>(cx: &Cx<'_, '_, 'c, 'a>, tensor: &Tensor<'c, 'a>) -> Option<i64> {
    cx.integers(tensor)?.first()?.as_static()
}

/// Surrounds an axis with as many copies of a value as follow from symbols.
fn join_axis<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    fill: &Tensor<'c, 'a>,
    axis: usize,
    low: &Dim,
    high: &Dim,
) -> Result<Tensor<'c, 'a>, Failure> {
    let surround = |cx: &mut Cx<'_, '_, 'c, 'a>, count: &Dim| -> Result<Option<Tensor<'c, 'a>>, Failure> {
        if count.as_static() == Some(0) {
            return Ok(None);
        }
        let mut dims = x.dims().to_vec();
        dims[axis] = count.clone();
        cx.require_at_most(fill, &Dim::from(0), count, "padding of at least 0 elements where it depends on symbolic dims")
            .and_then(|fill| cx.broadcast_to(&fill, &dims))
            .map(Some)
    };
    let parts = [surround(cx, low)?, Some(x.clone()), surround(cx, high)?];
    cx.concat(&parts.into_iter().flatten().collect::<Vec<_>>(), axis)
}

/// Surrounds an axis with copies of its own elements.
fn pad_axis<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    mode: &str,
    axis: usize,
    low: &Dim,
    high: &Dim,
) -> Result<Tensor<'c, 'a>, Failure> {
    if low.as_static() == Some(0) && high.as_static() == Some(0) {
        return Ok(x.clone());
    }
    if x.extent(axis) == Some(0) {
        return Failure::invalid(format!("mode `{mode}` on an axis without elements"));
    }
    let extent = x.dims()[axis].clone();
    let x = cx.require_at_most(x, &Dim::from(1), &extent, &format!("an axis with elements for the mode `{mode}`"))?;
    // The elements from place `from` on, wherever they stand.
    let elements = |cx: &mut Cx<'_, '_, 'c, 'a>, from: &Dim, count: &Dim| -> Result<Tensor<'c, 'a>, Failure> {
        if let (Some(extent), Some(from), Some(count)) = (x.extent(axis), from.as_static(), count.as_static()) {
            // Reflection repeats there and back, without the elements at the ends twice.
            let period = (2 * (extent - 1)).max(1);
            let source = |place: i64| match mode {
                "edge" => place.clamp(0, extent - 1),
                "wrap" => place.rem_euclid(extent),
                _ => place.rem_euclid(period).min(period - place.rem_euclid(period)).min(extent - 1),
            };
            let places: Vec<i64> = (from..from + count).map(source).collect();
            return take(cx, &x, &constants(&places), axis);
        }
        let (places, from) = (positions(cx, count, ElementType::I64)?, cx.extent(from, ElementType::I64)?);
        let places = cx.binary(Add::create, &places, &from)?;
        let source = own_elements(cx, &extent, mode, &places)?;
        take(cx, &x, &source, axis)
    };
    let before = &Dim::from(0) - low;
    match (low.as_static(), high.as_static()) {
        // Only what is put around the axis is looked up.
        (Some(low @ 0..), Some(high @ 0..)) => {
            let mut parts = vec![];
            if low > 0 {
                parts.push(elements(cx, &before, &Dim::from(low))?);
            }
            parts.push(x.clone());
            if high > 0 {
                parts.push(elements(cx, &extent, &Dim::from(high))?);
            }
            cx.concat(&parts, axis)
        }
        _ => elements(cx, &before, &(&(&extent + low) + high)),
    }
}

/// Which element of an axis stands at each place before, on and behind it.
fn own_elements<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, extent: &Dim, mode: &str, places: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let count = cx.extent(extent, ElementType::I64)?;
    Ok(match mode {
        // Beyond the end, gathering takes the nearest element, but negative places count from the end.
        "edge" => cx.binary_scalar(Maximum::create, places, 0.0)?,
        "wrap" => cx.binary(Mod::create, places, &count)?,
        _ => {
            let last = cx.binary_scalar(Sub::create, &count, 1.0)?;
            let period = cx.binary(Add::create, &last, &last)?;
            let period = cx.binary_scalar(Maximum::create, &period, 1.0)?;
            let there = cx.binary(Mod::create, places, &period)?;
            let back = cx.binary(Sub::create, &period, &there)?;
            cx.binary(Minimum::create, &there, &back)?
        }
    })
}

/// Crops axes that are too long, and pads those that are too short with zeros, at both ends alike.
fn center_crop_pad<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let mut x = cx.input(0)?;
    let shape = match cx.open_operand(1) {
        Some(shape) => cx.elements(&shape)?,
        None => cx.dims_input(1, "shapes")?.iter().map(|extent| cx.number(extent)).collect(),
    };
    let axes = cx.ints("axes")?.unwrap_or_else(|| (0..x.rank() as i64).collect());
    if axes.len() != shape.len() || shape.iter().filter_map(|wanted| known(cx, wanted)).any(|extent| !(0..1 << 31).contains(&extent)) {
        return Ok(Failure::invalid(format!("a shape of {} extents for {} axes", shape.len(), axes.len()))?);
    }
    let zero = cx.scalar(x.element(), 0.0)?;
    for (axis, wanted) in axes.iter().zip(shape) {
        let axis = normalize_axis(*axis, x.rank())?;
        // The odd element is cropped, or added, at the end.
        if let (Some(extent), Some(wanted)) = (x.extent(axis), known(cx, &wanted)) {
            let missing = wanted - extent;
            let (mut low, mut high) = (vec![0; x.rank()], vec![0; x.rank()]);
            low[axis] = missing / 2;
            high[axis] = missing - low[axis];
            x = pad_by(cx, &x, &zero, low, high)?;
            continue;
        }
        let extent = cx.number(&x.dims()[axis]);
        let half_of_positive = |cx: &mut Cx<'_, '_, 'c, 'a>, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>| {
            let difference = cx.binary(Sub::create, a, b)?;
            let positive = cx.binary_scalar(Maximum::create, &difference, 0.0)?;
            cx.binary_scalar(Div::create, &positive, 2.0)
        };
        let (added, cropped) = (half_of_positive(cx, &wanted, &extent)?, half_of_positive(cx, &extent, &wanted)?);
        let low = cx.binary(Sub::create, &added, &cropped)?;
        x = pad_axis_to(cx, &x, "constant", axis, &low, &wanted, &zero)?;
    }
    Ok(vec![x])
}
