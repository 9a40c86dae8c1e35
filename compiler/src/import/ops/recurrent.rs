//! RNN, GRU and LSTM: the input's products for all steps as one contraction, then a loop over the steps.
//!
//! State has the shape [batch, hidden]. Sequences shorter than the others keep their state after their end, and before it in reverse.

use super::{OpResult, Row, quantize, row};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{
        Abs, Add, Div, DotGeneral, DynamicSlice, DynamicUpdateSlice, Exp, Expm1, Gt, Log1p, Logistic, Lt, Maximum, Minimum, Mul, Neg, Sub,
        Tanh,
    },
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[
    row("RNN", |cx| recurrent(cx, Cell::Rnn)),
    row("GRU", |cx| {
        let cell = Cell::Gru { linear_before_reset: cx.int_or("linear_before_reset", 0)? != 0 };
        recurrent(cx, cell)
    }),
    row("LSTM", |cx| {
        let cell = Cell::Lstm { coupled: cx.int_or("input_forget", 0)? != 0 };
        recurrent(cx, cell)
    }),
];

pub const CONTRIB_OPS: &[Row] =
    &[row("DynamicQuantizeLSTM", |cx| recurrent(cx, Cell::Lstm { coupled: cx.int_or("input_forget", 0)? != 0 }))];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

#[derive(Clone, Copy)]
enum Cell {
    Rnn,
    Gru { linear_before_reset: bool },
    Lstm { coupled: bool },
}

impl Cell {
    fn gates(self) -> i64 {
        match self {
            Self::Rnn => 1,
            Self::Gru { .. } => 3,
            Self::Lstm { .. } => 4,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["Tanh"],
            Self::Gru { .. } => &["Sigmoid", "Tanh"],
            Self::Lstm { .. } => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// An activation function with its parameters.
#[derive(Clone)]
struct Activation {
    name: String,
    alpha: f64,
    beta: f64,
}

impl Activation {
    /// Those of all directions. Parameters are listed for the functions that take them, in order.
    fn read(cx: &NodeContext, cell: Cell, directions: usize) -> Result<Vec<Self>, Failure> {
        let defaults = cell.activations();
        let names = cx.strings("activations")?.filter(|names| !names.is_empty());
        let names = names.unwrap_or_else(|| (0..directions).flat_map(|_| defaults.iter().map(ToString::to_string)).collect());
        if names.len() != directions * defaults.len() {
            return Failure::invalid(format!("{} activations for {directions} directions", names.len()));
        }
        let mut alphas = cx.floats("activation_alpha")?.unwrap_or_default().into_iter();
        let mut betas = cx.floats("activation_beta")?.unwrap_or_default().into_iter();
        names
            .into_iter()
            .map(|name| {
                let name = name.to_lowercase();
                let (alpha, beta): (Option<f32>, Option<f32>) = match name.as_str() {
                    "affine" => (Some(1.0), Some(0.0)),
                    "leakyrelu" => (Some(0.01), None),
                    "thresholdedrelu" | "elu" => (Some(1.0), None),
                    "scaledtanh" => (Some(1.0), Some(1.0)),
                    "hardsigmoid" => (Some(0.2), Some(0.5)),
                    "relu" | "tanh" | "sigmoid" | "softsign" | "softplus" => (None, None),
                    _ => return Failure::invalid(format!("the activation `{name}`")),
                };
                let alpha = alpha.map_or(0.0, |default| alphas.next().unwrap_or(default));
                let beta = beta.map_or(0.0, |default| betas.next().unwrap_or(default));
                Ok(Self { name, alpha: f64::from(alpha), beta: f64::from(beta) })
            })
            .collect()
    }

    fn apply<'c, 'a>(&self, cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let scaled = |cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, alpha: f64, beta: f64| {
            let product = cx.binary_scalar(Mul::create, x, alpha)?;
            cx.binary_scalar(Add::create, &product, beta)
        };
        let zero = cx.scalar(x.element(), 0.0)?;
        match self.name.as_str() {
            "tanh" => cx.unary(Tanh::create, x),
            "sigmoid" => cx.unary(Logistic::create, x),
            "relu" => cx.binary(Maximum::create, x, &zero),
            "affine" => scaled(cx, x, self.alpha, self.beta),
            "hardsigmoid" => {
                let line = scaled(cx, x, self.alpha, self.beta)?;
                let low = cx.binary(Maximum::create, &line, &zero)?;
                cx.binary_scalar(Minimum::create, &low, 1.0)
            }
            "scaledtanh" => {
                let inner = cx.binary_scalar(Mul::create, x, self.beta)?;
                let bent = cx.unary(Tanh::create, &inner)?;
                cx.binary_scalar(Mul::create, &bent, self.alpha)
            }
            "thresholdedrelu" => {
                let threshold = cx.scalar(x.element(), self.alpha)?;
                let above = cx.compare(Gt::create, x, &threshold)?;
                cx.select(&above, x, &zero)
            }
            "leakyrelu" | "elu" => {
                let below = if self.name == "elu" { cx.unary(Expm1::create, x)? } else { x.clone() };
                let below = cx.binary_scalar(Mul::create, &below, self.alpha)?;
                let negative = cx.compare(Lt::create, x, &zero)?;
                cx.select(&negative, &below, x)
            }
            "softsign" => {
                let size = cx.unary(Abs::create, x)?;
                let divisor = cx.binary_scalar(Add::create, &size, 1.0)?;
                cx.binary(Div::create, x, &divisor)
            }
            // Softplus: `max(x, 0) + log1p(exp(-|x|))`, which does not overflow.
            _ => {
                let size = cx.unary(Abs::create, x)?;
                let negative = cx.unary(Neg::create, &size)?;
                let power = cx.unary(Exp::create, &negative)?;
                let rest = cx.unary(Log1p::create, &power)?;
                let positive = cx.binary(Maximum::create, x, &zero)?;
                cx.binary(Add::create, &positive, &rest)
            }
        }
    }
}

/// The weights of one direction.
struct Direction<'c, 'a> {
    cell: Cell,
    activations: Vec<Activation>,
    clip: Option<f64>,
    hidden: i64,
    recurrent: Weights<'c, 'a>,
    /// [gates * hidden], of the recurrent products.
    recurrent_bias: Option<Tensor<'c, 'a>>,
    /// Weights of the cell state in the input, output and forget gate, [hidden] each.
    peepholes: Option<[Tensor<'c, 'a>; 3]>,
}

/// What rows are multiplied by.
enum Weights<'c, 'a> {
    /// [columns, width].
    Real(Tensor<'c, 'a>),
    /// [width, columns], of bytes that stand for `(q - zero) * scale`; both are scalars, or [columns]. Rows are quantized as they come, all together.
    Quantized { values: Tensor<'c, 'a>, scale: Tensor<'c, 'a>, zero: Tensor<'c, 'a> },
}

impl<'c, 'a> Weights<'c, 'a> {
    /// Columns `first..last`.
    fn columns(&self, cx: &mut Cx<'_, '_, 'c, 'a>, first: i64, last: i64) -> Result<Self, Failure> {
        match self {
            Self::Real(weights) => Ok(Self::Real(cx.arrange_slice(weights, 0, first, last)?)),
            Self::Quantized { .. } => Failure::unsupported("quantized weights of a GRU"),
        }
    }
}

/// Products of the rows along the last axis of `x`.
fn product<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, weights: &Weights<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    match weights {
        Weights::Real(weights) => {
            let (lhs, rhs, last) = (cx.value(x)?, cx.value(weights)?, x.rank() as i64 - 1);
            cx.infer(|c, l| DotGeneral::create(c, l, lhs, rhs, vec![], vec![], vec![last], vec![1], None))
        }
        Weights::Quantized { values, scale, zero } => quantize::dynamic_product(cx, x, (values, scale, Some(zero))),
    }
}

/// What an operator gives, through the activation function that its attributes name.
pub fn then_activation<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, op: super::ImportOp) -> OpResult<'c, 'a> {
    let y = op(cx)?.remove(0);
    let name = cx.string_or("activation", "")?.to_lowercase();
    let listed = cx.floats("activation_params")?.unwrap_or_default();
    let parameter = |i: usize, name: &str, default: f64| -> Result<f64, Failure> {
        let listed = listed.get(i).map(|value| f64::from(*value));
        Ok(listed.or(cx.float(&format!("activation_{name}"))?).unwrap_or(default))
    };
    if name == "clip" {
        let (low, high) = (parameter(0, "min", f64::from(f32::MIN))?, parameter(1, "max", f64::from(f32::MAX))?);
        let low = cx.binary_scalar(Maximum::create, &y, low)?;
        return Ok(vec![cx.binary_scalar(Minimum::create, &low, high)?]);
    }
    let (alpha, beta) = match name.as_str() {
        "" => return Ok(vec![y]),
        "relu" | "tanh" | "sigmoid" => (0.0, 0.0),
        "leakyrelu" => (parameter(0, "alpha", 0.01)?, 0.0),
        "hardsigmoid" => (parameter(0, "alpha", 0.2)?, parameter(1, "beta", 0.5)?),
        _ => return Ok(Failure::unsupported(format!("the activation `{name}`"))?),
    };
    Ok(vec![Activation { name, alpha, beta }.apply(cx, &y)?])
}

impl<'c, 'a> Direction<'c, 'a> {
    fn clipped(&self, cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let Some(clip) = self.clip else { return Ok(x.clone()) };
        let low = cx.binary_scalar(Maximum::create, x, -clip)?;
        cx.binary_scalar(Minimum::create, &low, clip)
    }

    fn activate(&self, cx: &mut Cx<'_, '_, 'c, 'a>, function: usize, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let x = self.clipped(cx, x)?;
        self.activations[function].apply(cx, &x)
    }

    fn gate(&self, cx: &mut Cx<'_, '_, 'c, 'a>, all: &Tensor<'c, 'a>, gate: i64) -> Result<Tensor<'c, 'a>, Failure> {
        cx.slice_axis(all, 1, gate * self.hidden, (gate + 1) * self.hidden)
    }

    /// Adds a part of the recurrent bias, if there is one.
    fn biased(&self, cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, gates: (i64, i64)) -> Result<Tensor<'c, 'a>, Failure> {
        let Some(bias) = &self.recurrent_bias else { return Ok(x.clone()) };
        let bias = cx.arrange_slice(bias, 0, gates.0 * self.hidden, gates.1 * self.hidden)?;
        cx.binary(Add::create, x, &bias)
    }

    /// The next state from the input's products, [batch, gates * hidden], and the state: hidden, and the cell's of an LSTM.
    fn step(&self, cx: &mut Cx<'_, '_, 'c, 'a>, input: &Tensor<'c, 'a>, state: &[Tensor<'c, 'a>]) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
        let h = &state[0];
        match self.cell {
            Cell::Rnn => {
                let own = product(cx, h, &self.recurrent)?;
                let sum = cx.binary(Add::create, &own, input)?;
                let sum = self.biased(cx, &sum, (0, 1))?;
                Ok(vec![self.activate(cx, 0, &sum)?])
            }
            Cell::Gru { linear_before_reset } => {
                let gates = if linear_before_reset { 3 } else { 2 };
                let weight = self.recurrent.columns(cx, 0, gates * self.hidden)?;
                let own = product(cx, h, &weight)?;
                let own = self.biased(cx, &own, (0, gates))?;
                let mut open = vec![];
                for gate in 0..2 {
                    let (a, b) = (self.gate(cx, input, gate)?, self.gate(cx, &own, gate)?);
                    let sum = cx.binary(Add::create, &a, &b)?;
                    open.push(self.activate(cx, 0, &sum)?);
                }
                let (update, reset) = (&open[0], &open[1]);
                let kept = if linear_before_reset {
                    let own = self.gate(cx, &own, 2)?;
                    cx.binary(Mul::create, reset, &own)?
                } else {
                    let weight = self.recurrent.columns(cx, 2 * self.hidden, 3 * self.hidden)?;
                    let kept = cx.binary(Mul::create, reset, h)?;
                    let own = product(cx, &kept, &weight)?;
                    self.biased(cx, &own, (2, 3))?
                };
                let input = self.gate(cx, input, 2)?;
                let sum = cx.binary(Add::create, &input, &kept)?;
                let new = self.activate(cx, 1, &sum)?;
                // (1 - z) * new + z * h.
                let difference = cx.binary(Sub::create, h, &new)?;
                let scaled = cx.binary(Mul::create, update, &difference)?;
                Ok(vec![cx.binary(Add::create, &new, &scaled)?])
            }
            Cell::Lstm { coupled } => {
                let c = &state[1];
                let own = product(cx, h, &self.recurrent)?;
                let all = cx.binary(Add::create, &own, input)?;
                let all = self.biased(cx, &all, (0, 4))?;
                let open = |cx: &mut Cx<'_, '_, 'c, 'a>, gate: i64, peephole: usize, c: &Tensor<'c, 'a>| {
                    let mut x = self.gate(cx, &all, gate)?;
                    if let Some(peepholes) = &self.peepholes {
                        let seen = cx.binary(Mul::create, c, &peepholes[peephole])?;
                        x = cx.binary(Add::create, &x, &seen)?;
                    }
                    self.activate(cx, 0, &x)
                };
                let input = open(cx, 0, 0, c)?;
                let forget = if coupled {
                    let one = cx.scalar(input.element(), 1.0)?;
                    cx.binary(Sub::create, &one, &input)?
                } else {
                    open(cx, 2, 2, c)?
                };
                let candidate = self.gate(cx, &all, 3)?;
                let candidate = self.activate(cx, 1, &candidate)?;
                let (kept, new) = (cx.binary(Mul::create, &forget, c)?, cx.binary(Mul::create, &input, &candidate)?);
                let next = cx.binary(Add::create, &kept, &new)?;
                let output = open(cx, 1, 1, &next)?;
                let shown = self.activate(cx, 2, &next)?;
                Ok(vec![cx.binary(Mul::create, &output, &shown)?, next])
            }
        }
    }
}

/// Element `index` of the first axis, which vanishes.
fn part<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, index: i64) -> Result<Tensor<'c, 'a>, Failure> {
    let part = cx.arrange_slice(x, 0, index, index + 1)?;
    match part.r#type.static_shape() {
        Some(shape) => cx.arrange_reshape(&part, &shape[1..]),
        None => cx.reshape(&part, part.dims()[1..].to_vec()),
    }
}

fn check_shape(what: &str, tensor: &Tensor, dims: &[Dim]) -> Result<(), Failure> {
    if tensor.dims() == dims { Ok(()) } else { Failure::invalid(format!("{what} has the shape {:?}, {dims:?} is needed", tensor.dims())) }
}

fn recurrent<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, cell: Cell) -> OpResult<'c, 'a> {
    let (mut x, w, r) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if x.rank() != 3 || w.rank() != 3 || r.rank() != 3 {
        return Ok(Failure::invalid("the input and its weights have 3 axes each")?);
    }
    let reverse: &[bool] = match cx.string_or("direction", "forward")?.as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Ok(Failure::invalid(format!("direction `{other}`"))?),
    };
    // Quantized weights are stored transposed.
    let quantized = !w.element().is_float();
    let Some(hidden) = r.extent(if quantized { 1 } else { 2 }) else { return Ok(Failure::unsupported("a symbolic hidden size")?) };
    if cx.int("hidden_size")?.is_some_and(|declared| declared != hidden) {
        return Ok(Failure::invalid("hidden_size differs from the shape of the recurrent weights")?);
    }
    cx.ignore(&["output_sequence"]);
    let batch_first = cx.int_since(14, "layout", 0)? != 0;
    if batch_first {
        x = cx.transpose(&x, vec![1, 0, 2])?;
    }
    let lstm = matches!(cell, Cell::Lstm { .. });
    // States have the batch too; one that says more about it counts.
    let states: Vec<usize> = (5..if lstm { 7 } else { 6 }).collect();
    let batches = states.iter().filter_map(|i| cx.optional(*i)?.dims().get(usize::from(!batch_first)).cloned());
    let batch = std::iter::once(x.dims()[1].clone()).chain(batches).min_by_key(Dim::complexity).expect("one of them is the input's");
    let (directions, rows) = (reverse.len() as i64, cell.gates() * hidden);
    let steps = x.dims()[0].clone();
    let width = w.dims()[if quantized { 1 } else { 2 }].clone();
    x = cx.with_dims(&x, vec![steps, batch.clone(), width.clone()], "the batch of its states and the width of its weights")?;
    let of_weights = |columns: Dim| match quantized {
        true => [directions.into(), columns, rows.into()],
        false => [directions.into(), rows.into(), columns],
    };
    check_shape("W", &w, &of_weights(width))?;
    check_shape("R", &r, &of_weights(hidden.into()))?;
    let bias = cx.optional(3);
    if let Some(bias) = &bias {
        check_shape("B", bias, &[directions.into(), (2 * rows).into()])?;
    }
    let lengths = match cx.optional(4) {
        Some(lengths) => {
            if lengths.rank() != 1 {
                return Ok(Failure::invalid("sequence_lens has one axis")?);
            }
            Some(cx.with_dims(&lengths, vec![batch.clone()], "a length for each sequence of the batch")?)
        }
        None => None,
    };
    let mut initial = vec![];
    for i in states {
        initial.push(match cx.optional(i) {
            Some(state) => {
                let state = if batch_first { cx.transpose(&state, vec![1, 0, 2])? } else { state };
                if state.rank() != 3 {
                    return Ok(Failure::invalid("a state has 3 axes")?);
                }
                cx.with_dims(
                    &state,
                    vec![directions.into(), batch.clone(), hidden.into()],
                    "states of its directions, batch and hidden size",
                )?
            }
            None => {
                let zero = cx.scalar(x.element(), 0.0)?;
                cx.broadcast_to(&zero, &[directions.into(), batch.clone(), hidden.into()])?
            }
        });
    }
    let peepholes = if lstm { cx.optional(7) } else { None };
    if let Some(peepholes) = &peepholes {
        check_shape("P", peepholes, &[directions.into(), (3 * hidden).into()])?;
    }
    let activations = Activation::read(cx, cell, reverse.len())?;
    let clip = cx.float("clip")?.filter(|clip| *clip > 0.0);
    let sequence = cx.node.output.first().is_some_and(|output| !output.is_empty());

    let mut per_direction = vec![];
    for (i, reverse) in reverse.iter().enumerate() {
        let at = i as i64;
        let mut weights = |all: &Tensor<'c, 'a>, scale: usize| -> Result<Weights<'c, 'a>, Failure> {
            let values = part(cx, all, at)?;
            if !quantized {
                return Ok(Weights::Real(values));
            }
            let (scale, zero) = (cx.input(scale)?, cx.input(scale + 1)?);
            let known = |x: &Tensor| x.extent(0) == Some(directions) && (x.rank() == 1 || x.rank() == 2 && x.extent(1) == Some(rows));
            if !known(&scale) || !known(&zero) {
                return Failure::invalid("scales and zero points are one per direction, or one per gate and hidden element");
            }
            Ok(Weights::Quantized { values, scale: part(cx, &scale, at)?, zero: part(cx, &zero, at)? })
        };
        let (weight, recurrent) = (weights(&w, 8)?, weights(&r, 10)?);
        let mut input = product(cx, &x, &weight)?;
        let mut recurrent_bias = None;
        if let Some(bias) = &bias {
            let bias = part(cx, bias, at)?;
            let own = cx.arrange_slice(&bias, 0, 0, rows)?;
            input = cx.binary(Add::create, &input, &own)?;
            recurrent_bias = Some(cx.arrange_slice(&bias, 0, rows, 2 * rows)?);
        }
        // Where nothing comes between both biases, they are added for all steps at once.
        if !matches!(cell, Cell::Gru { linear_before_reset: true })
            && let Some(bias) = recurrent_bias.take()
        {
            input = cx.binary(Add::create, &input, &bias)?;
        }
        let peepholes = match &peepholes {
            Some(all) => {
                let all = part(cx, all, at)?;
                let mut slice = |i: i64| cx.arrange_slice(&all, 0, i * hidden, (i + 1) * hidden);
                Some([slice(0)?, slice(1)?, slice(2)?])
            }
            None => None,
        };
        let count = cell.activations().len();
        let activations = activations[i * count..(i + 1) * count].to_vec();
        let direction = Direction { cell, activations, clip, hidden, recurrent, recurrent_bias, peepholes };
        let mut state = initial.iter().map(|state| part(cx, state, at)).collect::<Result<Vec<_>, _>>()?;
        per_direction.push(run(cx, &direction, &input, &mut state, lengths.as_ref(), *reverse, sequence)?);
    }

    // Y is [steps, directions, batch, hidden], states are [directions, batch, hidden].
    let mut outputs = vec![];
    for (i, axis) in std::iter::once((0, 1)).chain((0..initial.len()).map(|i| (i + 1, 0))) {
        let mut parts = vec![];
        for results in &per_direction {
            let mut dims = results[i].dims().to_vec();
            dims.insert(axis, Dim::from(1));
            parts.push(cx.reshape(&results[i], dims)?);
        }
        let joined = cx.concat(&parts, axis)?;
        let permutation = if i == 0 { vec![2, 0, 1, 3] } else { vec![1, 0, 2] };
        outputs.push(if batch_first { cx.transpose(&joined, permutation)? } else { joined });
    }
    Ok(outputs)
}

/// Goes through all steps. Results: the hidden state of each step (the last one alone where `sequence` is false), then the last state.
fn run<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    direction: &Direction<'c, 'a>,
    input: &Tensor<'c, 'a>,
    state: &mut Vec<Tensor<'c, 'a>>,
    lengths: Option<&Tensor<'c, 'a>>,
    reverse: bool,
    sequence: bool,
) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
    let (steps, batch, hidden) = (input.dims()[0].clone(), input.dims()[1].clone(), Dim::from(direction.hidden));
    let mut carried = std::mem::take(state);
    let states = carried.len();
    let zero = cx.scalar(input.element(), 0.0)?;
    if sequence {
        carried.push(cx.broadcast_to(&zero, &[steps.clone(), batch.clone(), hidden.clone()])?);
    }
    let last = cx.extent(&(&steps - &Dim::from(1)), ElementType::I64)?;
    let results = cx.repeat(&steps, &carried, |cx, step, carried| {
        let at = if reverse { cx.binary(Sub::create, &last, step)? } else { step.clone() };
        let at_value = cx.value(&at)?;
        let value = cx.value(input)?;
        let row = TensorType::new(input.element(), vec![Dim::from(1), batch.clone(), input.dims()[2].clone()]).to_type(cx.context());
        let row = cx.emit(DynamicSlice::create(cx.context(), cx.location, value, &[at_value], vec![0], &[row]))?;
        let row = cx.reshape(&row, vec![batch.clone(), input.dims()[2].clone()])?;
        let mut next = direction.step(cx, &row, &carried[..states])?;
        let mut shown = next[0].clone();
        if let Some(lengths) = lengths {
            let at = cx.convert(&at, lengths.element())?;
            let running = cx.compare(Lt::create, &at, lengths)?;
            let running = cx.broadcast_along(&running, &[0], next[0].dims())?;
            shown = cx.select(&running, &shown, &zero)?;
            for (next, old) in next.iter_mut().zip(carried) {
                *next = cx.select(&running, next, old)?;
            }
        }
        if sequence {
            let shown = cx.reshape(&shown, vec![Dim::from(1), batch.clone(), hidden.clone()])?;
            let (all, part) = (cx.value(&carried[states])?, cx.value(&shown)?);
            let r#type = carried[states].r#type.to_type(cx.context());
            next.push(cx.emit(DynamicUpdateSlice::create(cx.context(), cx.location, all, part, &[at_value], vec![0], &[r#type]))?);
        }
        Ok(next)
    })?;
    let (last, all) = results.split_at(states);
    let all = match all {
        [all] => all.clone(),
        _ => cx.reshape(&last[0], vec![Dim::from(1), batch, hidden])?,
    };
    Ok([&[all], last].concat())
}
