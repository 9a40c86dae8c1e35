//! Pooling: windows and whole spatial axes.

use super::{
    OpResult, Row,
    conv::Window,
    index::{Places, positions, scatter_places},
    row,
    slice::pad_axis_to,
};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Abs, Add, And, Div, Eq, Ge, Mul, Pad, Pow, ReduceWindow},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[
    row("MaxPool", max_pool),
    row("AveragePool", average_pool),
    row("LpPool", lp_pool),
    row("MaxUnpool", max_unpool),
    row("GlobalMaxPool", global_max_pool),
    row("GlobalAveragePool", global_average_pool),
    row("GlobalLpPool", global_lp_pool),
];

/// A pooling window; `extra` is the padding that ceil_mode adds after `high`.
struct Pool {
    kernel: Vec<i64>,
    window: Window,
    extra: Vec<i64>,
}

impl Pool {
    fn of(cx: &NodeContext, x: &Tensor) -> Result<Self, Failure> {
        if x.rank() < 3 {
            return Failure::invalid(format!("an input of rank {}; batch, channels and spatial axes are needed", x.rank()));
        }
        let Some(kernel) = cx.ints("kernel_shape")? else { return Failure::invalid("kernel_shape is missing") };
        let window = Window::of(cx, &x.dims()[2..], &kernel)?;
        if window.low.iter().chain(&window.high).any(|pad| *pad < 0) {
            return Failure::unsupported("negative padding");
        }
        let mut extra = vec![0; kernel.len()];
        if cx.int_or("ceil_mode", 0)? != 0 {
            for (axis, extra) in extra.iter_mut().enumerate() {
                let (stride, low, high) = (window.strides[axis], window.low[axis], window.high[axis]);
                let size = (kernel[axis] - 1) * window.dilations[axis] + 1;
                *extra = match x.extent(axis + 2) {
                    Some(extent) => {
                        let rest = extent.saturating_add(low + high - size).max(0);
                        let mut steps = (rest as u64).div_ceil(stride as u64) as i64;
                        // No window starts in the padding after the input.
                        if steps.saturating_mul(stride) >= extent.saturating_add(low) {
                            steps -= 1;
                        }
                        (steps.saturating_mul(stride) - rest).max(0)
                    }
                    None if stride == 1 => 0,
                    None if high + stride <= size => stride - 1,
                    None => return Failure::unsupported(format!("ceil_mode on the symbolic extent {}", x.dims()[axis + 2])),
                };
            }
        }
        Ok(Self { kernel, window, extra })
    }

    /// Folds windows; the padding counts as neutral.
    fn reduce<'c, 'a>(&self, cx: &mut NodeContext<'_, '_, 'c, 'a>, kind: &str, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let high: Vec<i64> = self.window.high.iter().zip(&self.extra).map(|(high, extra)| high + extra).collect();
        self.reduce_padded(cx, kind, x, &self.window.low, &high)
    }

    fn reduce_padded<'c, 'a>(
        &self,
        cx: &mut NodeContext<'_, '_, 'c, 'a>,
        kind: &str,
        x: &Tensor<'c, 'a>,
        low: &[i64],
        high: &[i64],
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let all_axes = |first: i64, list: &[i64]| [&[first, first], list].concat();
        let (window, strides, dilations) =
            (all_axes(1, &self.kernel), all_axes(1, &self.window.strides), all_axes(1, &self.window.dilations));
        let (low, high) = (all_axes(0, low), all_axes(0, high));
        let value = cx.value(x)?;
        cx.infer(|c, l| ReduceWindow::create(c, l, value, kind.into(), window, strides, low, high, dilations))
    }
}

/// Largest window whose positions are looked for one tap after the other.
const LARGEST_WINDOW: i64 = 256;

impl Pool {
    /// Where in the whole input the first of the largest elements of each window stands; `storage_order` 1 counts the first spatial axis fastest.
    fn positions<'c, 'a>(
        &self,
        cx: &mut NodeContext<'_, '_, 'c, 'a>,
        x: &Tensor<'c, 'a>,
        largest: &Tensor<'c, 'a>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let taps: i64 = self.kernel.iter().product();
        let (Some(_), Some(extents)) = (x.extent(1), x.r#type.dims[1..].iter().map(Dim::as_static).collect::<Option<Vec<i64>>>()) else {
            return Failure::unsupported("positions in an input of symbolic size; fix it with --dim");
        };
        if taps > LARGEST_WINDOW {
            return Failure::unsupported(format!("positions in windows of {taps} elements; up to {LARGEST_WINDOW} are compared"));
        }
        let by_column = cx.int_or("storage_order", 0)? != 0;
        let spatial = self.kernel.len();
        // Positions of the input's elements, as a sum over axes.
        let mut position = cx.scalar(ElementType::I64, 0.0)?;
        for axis in 0..x.rank() {
            let inside: i64 = match axis {
                0 | 1 => extents[axis..].iter().product(),
                _ if by_column => extents[1..axis - 1].iter().product(),
                _ => extents[axis..].iter().product(),
            };
            let along = positions(cx, &x.dims()[axis], ElementType::I64)?;
            let along = cx.binary_scalar(Mul::create, &along, inside as f64)?;
            let mut dims = vec![Dim::from(1); x.rank()];
            dims[axis] = x.dims()[axis].clone();
            let along = cx.reshape(&along, dims)?;
            position = cx.binary(Add::create, &position, &along)?;
        }
        let high: Vec<i64> = self.window.high.iter().zip(&self.extra).map(|(high, extra)| high + extra).collect();
        let (low, high) = ([&[0, 0], &self.window.low[..]].concat(), [&[0, 0], &high[..]].concat());
        let outside = cx.scalar(ElementType::I64, -1.0)?;
        let zero = cx.scalar(x.element(), 0.0)?;
        let mut surround = |x: &Tensor<'c, 'a>, value: &Tensor<'c, 'a>| -> Result<Tensor<'c, 'a>, Failure> {
            let (x, value) = (cx.value(x)?, cx.value(value)?);
            cx.infer(|c, l| Pad::create(c, l, x, value, low.clone(), high.clone(), vec![0; spatial + 2]))
        };
        let (elements, position) = (surround(x, &zero)?, surround(&position, &outside)?);
        let none = cx.scalar(ElementType::I64, -1.0)?;
        let mut found = cx.broadcast_to(&none, largest.dims())?;
        for tap in (0..taps).rev() {
            let (mut starts, mut limits, mut strides) = (vec![0; spatial + 2], vec![i64::MAX; spatial + 2], vec![1; spatial + 2]);
            let mut rest = tap;
            for axis in (0..spatial).rev() {
                let Some(count) = largest.extent(axis + 2) else { return Failure::unsupported("positions in a symbolic extent") };
                starts[axis + 2] = rest % self.kernel[axis] * self.window.dilations[axis];
                strides[axis + 2] = self.window.strides[axis];
                limits[axis + 2] = starts[axis + 2] + (count - 1) * self.window.strides[axis] + 1;
                rest /= self.kernel[axis];
            }
            limits[1] = extents[0];
            limits[0] = x.extent(0).unwrap_or(i64::MAX);
            let element = cx.slice(&elements, starts.clone(), limits.clone(), strides.clone())?;
            let at = cx.slice(&position, starts, limits, strides)?;
            // Taps are visited last to first, so that the first of equals remains.
            let equal = cx.compare(Eq::create, &element, largest)?;
            let first = cx.scalar(ElementType::I64, 0.0)?;
            let inside = cx.compare(Ge::create, &at, &first)?;
            let hit = cx.binary(And::create, &equal, &inside)?;
            found = cx.select(&hit, &at, &found)?;
        }
        Ok(found)
    }
}

fn max_pool<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let pool = Pool::of(cx, &x)?;
    let largest = pool.reduce(cx, "max", &x)?;
    // About positions alone.
    cx.ignore(&["storage_order"]);
    // Positions are computed where the node names its second output.
    if cx.node.output.get(1).is_none_or(String::is_empty) {
        return Ok(vec![largest]);
    }
    let positions = pool.positions(cx, &x, &largest)?;
    Ok(vec![largest, positions])
}

/// Puts elements back where MaxPool found them, among zeros.
fn max_unpool<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    if x.rank() < 3 {
        return Ok(Failure::invalid(format!("an input of rank {}; batch, channels and spatial axes are needed", x.rank()))?);
    }
    let indices = cx.with_dims(&indices, x.dims().to_vec(), "an index for each element")?;
    let Some(kernel) = cx.ints("kernel_shape")? else { return Ok(Failure::invalid("kernel_shape is missing")?) };
    let window = Window::of(cx, &x.dims()[2..], &kernel)?;
    let mut dims = x.dims().to_vec();
    for (axis, dim) in dims[2..].iter_mut().enumerate() {
        let more = kernel[axis] - window.strides[axis] - window.low[axis] - window.high[axis];
        *dim = &(&*dim * &Dim::from(window.strides[axis])) + &Dim::from(more);
    }
    if dims.iter().any(|dim| dim.as_static().is_some_and(|extent| extent < 0)) {
        return Ok(Failure::invalid(format!("a result of shape {dims:?}"))?);
    }
    let all = dims.iter().fold(Dim::from(1), |count, dim| &count * dim);
    let zero = cx.scalar(x.element(), 0.0)?;
    let zeros = cx.broadcast_to(&zero, std::slice::from_ref(&all))?;
    let count = x.r#type.count();
    let indices = cx.reshape(&indices, vec![count.clone(), Dim::from(1)])?;
    let updates = cx.reshape(&x, vec![count])?;
    let y = scatter_places(cx, "set", &zeros, &indices, &updates, &Places { axes: vec![0], batch: vec![], position: 0, checked: false })?;
    let y = cx.reshape(&y, dims.clone())?;
    if let Some(shape) = cx.open_operand(2) {
        let (mut y, mut wanted) = (y, cx.elements(&shape)?);
        if wanted.len() != dims.len() {
            return Ok(Failure::invalid(format!("output_shape has {} extents for a result of shape {dims:?}", wanted.len()))?);
        }
        let none = cx.number(&Dim::from(0));
        for (axis, wanted) in wanted.drain(..).enumerate() {
            cx.check_size(&wanted, "an extent of output_shape", &dims[axis], &Dim::from(i64::MAX))?;
            y = pad_axis_to(cx, &y, "constant", axis, &none, &wanted, &zero)?;
        }
        return Ok(vec![y]);
    }
    let Some(shape) = cx.optional_ints(2, "shapes")? else { return Ok(vec![y]) };
    let missing = |(wanted, dim): (&i64, &Dim)| Some(wanted - dim.as_static()?).filter(|missing| *missing >= 0);
    let high = shape.iter().zip(&dims).map(missing).collect::<Option<Vec<i64>>>().filter(|high| high.len() == dims.len());
    let Some(high) = high else { return Ok(Failure::unsupported(format!("output_shape {shape:?} for a result of shape {dims:?}"))?) };
    let none = vec![0; dims.len()];
    Ok(vec![cx.pad(&y, &zero, none.clone(), high, none)?])
}

fn average_pool<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let pool = Pool::of(cx, &x)?;
    let wide = cx.widen(&x)?;
    let sum = pool.reduce(cx, "add", &wide)?;
    let padded = pool.window.low.iter().chain(&pool.window.high).any(|pad| *pad != 0);
    let extended = pool.extra.iter().any(|extra| *extra != 0);
    let include = cx.int_or("count_include_pad", 0)? != 0;
    let count = if !extended && (include || !padded) {
        let size = pool.kernel.iter().map(|k| *k as f64).product();
        cx.scalar(wide.element(), size)?
    } else {
        // Counts by summing ones over the windows; what ceil_mode adds never counts.
        let one = cx.scalar(wide.element(), 1.0)?;
        let shape: Vec<Dim> = [Dim::from(1), Dim::from(1)].into_iter().chain(x.dims()[2..].iter().cloned()).collect();
        let ones = cx.broadcast_to(&one, &shape)?;
        let counts = if include {
            let (low, high): (Vec<i64>, Vec<i64>) = ([&[0, 0], &pool.window.low[..]].concat(), [&[0, 0], &pool.window.high[..]].concat());
            let (value, fill, interior) = (cx.value(&ones)?, cx.value(&one)?, vec![0; x.rank()]);
            let ones = cx.infer(|c, l| Pad::create(c, l, value, fill, low, high, interior))?;
            pool.reduce_padded(cx, "add", &ones, &vec![0; pool.kernel.len()], &pool.extra)?
        } else {
            pool.reduce(cx, "add", &ones)?
        };
        cx.broadcast_to(&counts, sum.dims())?
    };
    let mean = cx.binary(Div::create, &sum, &count)?;
    Ok(vec![cx.convert(&mean, x.element())?])
}

fn lp_pool<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let pool = Pool::of(cx, &x)?;
    let p = cx.int_or("p", 2)? as f64;
    let powers = powers(cx, &x, p)?;
    let sum = pool.reduce(cx, "add", &powers)?;
    Ok(vec![root(cx, &sum, p, x.element())?])
}

fn spatial_axes(x: &Tensor) -> Result<Vec<usize>, Failure> {
    if x.rank() < 3 {
        return Failure::invalid(format!("an input of rank {}; batch, channels and spatial axes are needed", x.rank()));
    }
    Ok((2..x.rank()).collect())
}

/// Brings the spatial axes back, of extent 1.
fn unit_axes<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, folded: &Tensor<'c, 'a>, x: &Tensor<'c, 'a>) -> OpResult<'c, 'a> {
    let dims = (0..x.rank()).map(|axis| if axis < 2 { x.dims()[axis].clone() } else { Dim::from(1) }).collect();
    let folded = cx.convert(folded, x.element())?;
    Ok(vec![cx.reshape(&folded, dims)?])
}

fn global_max_pool<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let folded = cx.reduce("max", &x, &spatial_axes(&x)?)?;
    unit_axes(cx, &folded, &x)
}

fn global_average_pool<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let folded = cx.mean(&x, &spatial_axes(&x)?)?;
    unit_axes(cx, &folded, &x)
}

fn global_lp_pool<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let x = cx.input(0)?;
    let p = cx.int_or("p", 2)? as f64;
    let powers = powers(cx, &x, p)?;
    let sum = cx.reduce("add", &powers, &spatial_axes(&x)?)?;
    let norm = root(cx, &sum, p, x.element())?;
    unit_axes(cx, &norm, &x)
}

/// `|x| ** p`, wide.
pub fn powers<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, p: f64) -> Result<Tensor<'c, 'a>, Failure> {
    let wide = cx.widen(x)?;
    let size = cx.unary(Abs::create, &wide)?;
    cx.binary_scalar(Pow::create, &size, p)
}

/// `sum ** (1 / p)` as `element`.
pub fn root<'c, 'a>(
    cx: &mut NodeContext<'_, '_, 'c, 'a>,
    sum: &Tensor<'c, 'a>,
    p: f64,
    element: ElementType,
) -> Result<Tensor<'c, 'a>, Failure> {
    let norm = cx.binary_scalar(Pow::create, sum, 1.0 / p)?;
    cx.convert(&norm, element)
}
