//! Attention with a recurrent state, and the convolution in front of it: LinearAttention, CausalConvWithState.
//!
//! The state has the shape [batch, heads, keys, values] and is computed in f32, step by step.

use super::{OpResult, Row, conv::add_bias, row};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Add, Conv, DotGeneral, DynamicSlice, DynamicUpdateSlice, Exp, Logistic, Mul, Sub},
    dim::Dim,
    types::{ElementType, TensorType},
};

pub const OPS: &[Row] = &[row("LinearAttention", linear_attention), row("CausalConvWithState", causal_conv_with_state)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// The operands of all steps: [steps, batch, heads, size], in f32.
struct Steps<'c, 'a> {
    query: Tensor<'c, 'a>,
    key: Tensor<'c, 'a>,
    value: Tensor<'c, 'a>,
    /// Logarithms of what the state is scaled by before each step; the size may be 1.
    decay: Option<Tensor<'c, 'a>>,
    /// How much of the difference to the value that the state holds is written; heads and size may be 1.
    rate: Option<Tensor<'c, 'a>>,
    scale: f64,
}

/// [batch, steps, heads * size] -> [steps, batch, heads, size].
fn by_step<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, heads: i64, what: &str) -> Result<Tensor<'c, 'a>, Failure> {
    let size = if x.rank() == 3 { x.extent(2).filter(|extent| heads > 0 && extent % heads == 0) } else { None };
    let Some(size) = size.map(|extent| extent / heads) else {
        return Failure::invalid(format!("{what} of shape {:?} for {heads} heads", x.dims()));
    };
    let apart = cx.reshape(x, vec![x.dims()[0].clone(), x.dims()[1].clone(), heads.into(), size.into()])?;
    let moved = cx.transpose(&apart, vec![1, 0, 2, 3])?;
    cx.convert(&moved, ElementType::F32)
}

/// `a` times `b` over axis 2 of `b`, both [batch, heads, ...].
fn product<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let (lhs, rhs, last) = (cx.value(a)?, cx.value(b)?, a.rank() as i64 - 1);
    cx.infer(|c, l| DotGeneral::create(c, l, lhs, rhs, vec![0, 1], vec![0, 1], vec![last], vec![2], None))
}

impl<'c, 'a> Steps<'c, 'a> {
    /// One step of an operand, [batch, heads, size].
    fn at(cx: &mut Cx<'_, '_, 'c, 'a>, all: &Tensor<'c, 'a>, step: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let dims = all.dims()[1..].to_vec();
        if all.extent(0) == Some(1) {
            return cx.reshape(all, dims);
        }
        let (value, at) = (cx.value(all)?, cx.value(step)?);
        let row = TensorType::new(all.element(), [&[Dim::from(1)], &dims[..]].concat()).to_type(cx.context());
        let row = cx.emit(DynamicSlice::create(cx.context(), cx.location, value, &[at], vec![0], &[row]))?;
        cx.reshape(&row, dims)
    }

    /// The step's result, [batch, query heads, values], and the next state.
    fn step(&self, cx: &mut Cx<'_, '_, 'c, 'a>, step: &Tensor<'c, 'a>, state: &Tensor<'c, 'a>) -> Result<[Tensor<'c, 'a>; 2], Failure> {
        let (query, key) = (Self::at(cx, &self.query, step)?, Self::at(cx, &self.key, step)?);
        let mut value = Self::at(cx, &self.value, step)?;
        let dims = state.dims().to_vec();
        let mut state = state.clone();
        if let Some(decay) = &self.decay {
            let decay = Self::at(cx, decay, step)?;
            let factor = cx.unary(Exp::create, &decay)?;
            let factor = cx.broadcast_along(&factor, &[0, 1, 2], &dims)?;
            state = cx.binary(Mul::create, &state, &factor)?;
        }
        if let Some(rate) = &self.rate {
            let rate = Self::at(cx, rate, step)?;
            let held = product(cx, &key, &state)?;
            let difference = cx.binary(Sub::create, &value, &held)?;
            value = cx.binary(Mul::create, &rate, &difference)?;
        }
        let (wide_key, wide_value) = (cx.broadcast_along(&key, &[0, 1, 2], &dims)?, cx.broadcast_along(&value, &[0, 1, 3], &dims)?);
        let written = cx.binary(Mul::create, &wide_key, &wide_value)?;
        let state = cx.binary(Add::create, &state, &written)?;
        // Query heads that share a state stand one below the other.
        let (Some(many), Some(few)) = (query.extent(1), key.extent(1)) else { return Failure::unsupported("a symbolic number of heads") };
        let grouped = cx.reshape(&query, vec![dims[0].clone(), few.into(), (many / few).into(), dims[2].clone()])?;
        let read = product(cx, &grouped, &state)?;
        let read = cx.binary_scalar(Mul::create, &read, self.scale)?;
        Ok([cx.reshape(&read, vec![dims[0].clone(), many.into(), dims[3].clone()])?, state])
    }
}

fn linear_attention<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (query, key, value) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    // How the work is divided.
    cx.ignore(&["chunk_size"]);
    let (many, few) = (cx.int_or("q_num_heads", 0)?, cx.int_or("kv_num_heads", 0)?);
    if few < 1 || many % few != 0 {
        return Ok(Failure::invalid(format!("{many} heads of queries for {few} of keys"))?);
    }
    let (gated, delta) = match cx.string_or("update_rule", "gated_delta")?.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Ok(Failure::invalid(format!("update_rule `{other}`"))?),
    };
    let (decay, rate) = (cx.optional(4), cx.optional(5));
    if decay.is_some() != gated || rate.is_some() != delta {
        return Ok(Failure::invalid("its update_rule does not fit its decay and beta")?);
    }
    let (element, batch, steps) = (query.element(), query.dims()[0].clone(), query.dims()[1].clone());
    let (query, key, value) = (by_step(cx, &query, many, "queries")?, by_step(cx, &key, few, "keys")?, by_step(cx, &value, few, "values")?);
    let decay = decay.map(|decay| by_step(cx, &decay, few, "a decay")).transpose()?;
    let rate = match rate {
        Some(rate) => {
            let heads = rate.extent(rate.rank() - 1).filter(|heads| *heads == 1).unwrap_or(few);
            Some(by_step(cx, &rate, heads, "a beta")?)
        }
        None => None,
    };
    let (Some(keys), Some(values)) = (key.extent(3), value.extent(3)) else { return Ok(Failure::unsupported("a symbolic size of heads")?) };
    // They are laid out by step, then batch, head and size.
    let (steps_and_batch, few_heads) = (query.dims()[..2].to_vec(), key.dims()[2].clone());
    let shape = |heads: &Dim, size: i64| [&steps_and_batch[..], &[heads.clone(), Dim::from(size)]].concat();
    let query = cx.with_dims(&query, shape(&query.dims()[2], keys), "queries as long as keys")?;
    let key = cx.with_dims(&key, shape(&few_heads, keys), "keys of the queries' batch and steps")?;
    let value = cx.with_dims(&value, shape(&few_heads, values), "values of the queries' batch and steps")?;
    let scale = Some(cx.float_or("scale", 0.0)?).filter(|scale| *scale != 0.0).unwrap_or(1.0 / (keys as f64).sqrt());
    let all = Steps { query, key, value, decay, rate, scale };
    let dims = [batch.clone(), few.into(), keys.into(), values.into()];
    let (kept, state) = match cx.optional(3) {
        Some(state) if state.dims() == dims => (state.element(), cx.convert(&state, ElementType::F32)?),
        Some(state) => return Ok(Failure::invalid(format!("a state of shape {:?}, {dims:?} is needed", state.dims()))?),
        None => {
            let zero = cx.scalar(ElementType::F32, 0.0)?;
            (element, cx.broadcast_to(&zero, &dims)?)
        }
    };
    let row = vec![Dim::from(1), batch.clone(), many.into(), values.into()];
    let [outputs, state] = if steps.as_static() == Some(1) {
        let zero = Tensor::integers(ElementType::I64, &[], vec![0.into()]);
        let [output, state] = all.step(cx, &zero, &state)?;
        [cx.reshape(&output, row)?, state]
    } else {
        let zero = cx.scalar(ElementType::F32, 0.0)?;
        let outputs = cx.broadcast_to(&zero, &[std::slice::from_ref(&steps), &row[1..]].concat())?;
        let results = cx.repeat(&steps, &[outputs, state], |cx, step, carried| {
            let [output, state] = all.step(cx, step, &carried[1])?;
            let output = cx.reshape(&output, row)?;
            let (outputs, output, at) = (cx.value(&carried[0])?, cx.value(&output)?, cx.value(step)?);
            let r#type = carried[0].r#type.to_type(cx.context());
            let outputs = cx.emit(DynamicUpdateSlice::create(cx.context(), cx.location, outputs, output, &[at], vec![0], &[r#type]))?;
            Ok(vec![outputs, state])
        })?;
        <[_; 2]>::try_from(results).expect("as many results as carried values")
    };
    let outputs = cx.transpose(&outputs, vec![1, 0, 2, 3])?;
    let outputs = cx.reshape(&outputs, vec![batch, steps, (many * values).into()])?;
    Ok(vec![cx.convert(&outputs, element)?, cx.convert(&state, kept)?])
}

/// A depthwise convolution over what came before and the input; the last elements are the next state.
fn causal_conv_with_state<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, filter) = (cx.input(0)?, cx.input(1)?);
    let (Some(channels), Some(taps)) = (x.dims().get(1).and_then(Dim::as_static), filter.dims().get(2).and_then(Dim::as_static)) else {
        return Ok(Failure::unsupported(format!("an input of shape {:?} and a filter of shape {:?}", x.dims(), filter.dims()))?);
    };
    if x.rank() != 3 || filter.dims() != [channels.into(), 1.into(), taps.into()] || taps < 1 {
        return Ok(Failure::invalid(format!("an input of shape {:?} and a filter of shape {:?}", x.dims(), filter.dims()))?);
    }
    let silu = match cx.string_or("activation", "none")?.as_str() {
        "none" => false,
        "silu" | "swish" => true,
        other => return Ok(Failure::invalid(format!("activation `{other}`"))?),
    };
    let dims = [x.dims()[0].clone(), channels.into(), (taps - 1).into()];
    let past = match cx.optional(3) {
        Some(past) if past.dims() == dims => past,
        Some(past) => return Ok(Failure::invalid(format!("a state of shape {:?}, {dims:?} is needed", past.dims()))?),
        None => {
            let zero = cx.scalar(x.element(), 0.0)?;
            cx.broadcast_to(&zero, &dims)?
        }
    };
    let all = if taps == 1 { x.clone() } else { cx.concat(&[past.clone(), x.clone()], 2)? };
    let (input, weights) = (cx.value(&all)?, cx.value(&filter)?);
    let y = cx.infer(|c, l| Conv::create(c, l, input, weights, vec![1], vec![0], vec![0], vec![1], vec![1], channels, false, None))?;
    let mut y = add_bias(cx, y, 2)?;
    if silu {
        let wide = cx.widen(&y)?;
        let gate = cx.unary(Logistic::create, &wide)?;
        let product = cx.binary(Mul::create, &wide, &gate)?;
        y = cx.convert(&product, x.element())?;
    }
    if taps == 1 {
        return Ok(vec![y, past]);
    }
    let Some(length) = x.extent(2) else { return Ok(Failure::unsupported("a symbolic length; fix it with --dim")?) };
    let state = cx.slice_axis(&all, 2, length, length + taps - 1)?;
    Ok(vec![y, state])
}
