//! Attention, FlexAttention and RotaryEmbedding, decomposed.
//!
//! Scores have the shape [batch, heads, queries, keys]. A query that no key is allowed for gives zeros.

use super::{
    OpResult, Row,
    index::{positions, take_checked},
    row,
};
use crate::import::{error::Failure, node::NodeContext, tensor::element_type, value::Tensor};
use winze_graph::{
    dialect::{Add, And, Div, DotGeneral, Eq, Le, Lt, Mul, Softmax, Sub, Tanh},
    dim::Dim,
    types::ElementType,
};

pub const OPS: &[Row] = &[row("Attention", attention), row("RotaryEmbedding", rotary_embedding)];

/// Of the domain `ai.onnx.preview`.
pub const PREVIEW_OPS: &[Row] = &[row("FlexAttention", flex_attention)];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// [batch, length, heads * size] -> [batch, heads, length, size]; tensors of 4 axes are so already.
pub fn split_heads<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, heads: Option<i64>) -> Result<Tensor<'c, 'a>, Failure> {
    if x.rank() == 4 {
        return Ok(x.clone());
    }
    let (Some(heads), 3) = (heads.filter(|heads| *heads > 0), x.rank()) else {
        return Failure::invalid(format!("an input of rank {} without a number of heads", x.rank()));
    };
    let Some(size) = x.extent(2).filter(|extent| extent % heads == 0) else {
        return Failure::invalid(format!("{heads} heads of {} values", x.dims()[2]));
    };
    let apart = cx.reshape(x, vec![x.dims()[0].clone(), x.dims()[1].clone(), heads.into(), (size / heads).into()])?;
    cx.transpose(&apart, vec![0, 2, 1, 3])
}

/// [batch, heads, length, size] -> [batch, length, heads * size].
pub fn join_heads<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let y = cx.transpose(x, vec![0, 2, 1, 3])?;
    let width = &y.dims()[2] * &y.dims()[3];
    cx.reshape(&y, vec![y.dims()[0].clone(), y.dims()[1].clone(), width])
}

/// Product of the last axis of `a` with axis `contract` of `b`, both [batch, heads, ...]; the heads of `b` serve several of `a` each.
pub fn heads_product<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    a: &Tensor<'c, 'a>,
    b: &Tensor<'c, 'a>,
    contract: i64,
) -> Result<Tensor<'c, 'a>, Failure> {
    let (Some(many), Some(few)) = (a.extent(1), b.extent(1)) else { return Failure::unsupported("a symbolic number of heads") };
    if few < 1 || many % few != 0 {
        return Failure::invalid(format!("{many} heads of queries for {few} of keys"));
    }
    let (batch, rows, last) = (a.dims()[0].clone(), a.dims()[2].clone(), b.dims()[5 - contract as usize].clone());
    let groups = many / few;
    let lhs = if groups == 1 {
        a.clone()
    } else {
        // The queries of all heads that share keys stand one below the other.
        cx.reshape(a, vec![batch.clone(), few.into(), &Dim::from(groups) * &rows, a.dims()[3].clone()])?
    };
    let (x, y) = (cx.value(&lhs)?, cx.value(b)?);
    let product = cx.infer(|c, l| DotGeneral::create(c, l, x, y, vec![0, 1], vec![0, 1], vec![3], vec![contract], None))?;
    cx.reshape(&product, vec![batch, many.into(), rows, last])
}

/// How far a query sees: only up to its own place, and so many keys to either side; less than 0 is no limit.
#[derive(Clone, Copy)]
pub struct Reach {
    pub causal: bool,
    pub left: i64,
    pub right: i64,
}

/// Which keys a query may see, as a bool tensor that broadcasts to the scores; `None` if all.
pub fn visible<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    queries: &Dim,
    keys: &Dim,
    past: Option<&Dim>,
    lengths: Option<&Tensor<'c, 'a>>,
    Reach { causal, left, right }: Reach,
) -> Result<Option<Tensor<'c, 'a>>, Failure> {
    let all = |cx: &mut Cx<'_, '_, 'c, 'a>, count: &Dim, dims: Vec<Dim>| {
        let line = positions(cx, count, ElementType::I64)?;
        cx.reshape(&line, dims)
    };
    let one = Dim::from(1);
    let key = all(cx, keys, vec![one.clone(), one.clone(), one.clone(), keys.clone()])?;
    let lengths = match lengths {
        Some(lengths) => {
            let wide = cx.convert(lengths, ElementType::I64)?;
            Some(cx.reshape(&wide, vec![lengths.dims()[0].clone(), one.clone(), one.clone(), one.clone()])?)
        }
        None => None,
    };
    let mut parts = vec![];
    if let Some(lengths) = &lengths {
        parts.push(cx.compare(Lt::create, &key, lengths)?);
    }
    if causal || left >= 0 || right >= 0 {
        let row = all(cx, queries, vec![one.clone(), one.clone(), queries.clone(), one])?;
        let offset = match (past, &lengths) {
            (Some(past), _) => Some(cx.extent(past, ElementType::I64)?),
            (None, Some(lengths)) => {
                let own = cx.extent(queries, ElementType::I64)?;
                Some(cx.binary(Sub::create, lengths, &own)?)
            }
            (None, None) => None,
        };
        let at = match offset {
            Some(offset) => cx.binary(Add::create, &row, &offset)?,
            None => row,
        };
        let shifted = |cx: &mut Cx<'_, '_, 'c, 'a>, by: i64| {
            let by = Tensor::integers(ElementType::I64, &[], vec![by.into()]);
            cx.binary(Add::create, &at, &by)
        };
        if causal {
            parts.push(cx.compare(Le::create, &key, &at)?);
        }
        if right >= 0 {
            let last = shifted(cx, right)?;
            parts.push(cx.compare(Le::create, &key, &last)?);
        }
        if left >= 0 {
            let first = shifted(cx, -left)?;
            parts.push(cx.compare(Le::create, &first, &key)?);
        }
    }
    let mut parts = parts.into_iter();
    let Some(mut visible) = parts.next() else { return Ok(None) };
    for part in parts {
        visible = cx.binary(And::create, &visible, &part)?;
    }
    Ok(Some(visible))
}

/// What is added to the scores: the mask, and minus infinity where a key is not visible. `None` if nothing is.
fn bias<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    mask: Option<Tensor<'c, 'a>>,
    visible: Option<Tensor<'c, 'a>>,
    keys: &Dim,
    element: ElementType,
) -> Result<Option<Tensor<'c, 'a>>, Failure> {
    let (zero, never) = (cx.scalar(element, 0.0)?, cx.scalar(element, f64::NEG_INFINITY)?);
    let mask = match mask {
        Some(mask) => {
            let mask = if mask.element() == ElementType::Bool { cx.select(&mask, &zero, &never)? } else { cx.convert(&mask, element)? };
            // A mask may be shorter than the keys.
            let last = mask.rank().checked_sub(1).ok_or_else(|| Failure::Invalid("a mask of rank 0".into()))?;
            let (mut high, missing) = (vec![0; mask.rank()], (keys - &mask.dims()[last]).as_static().unwrap_or(0));
            high[last] = if mask.extent(last) == Some(1) { 0 } else { missing.max(0) };
            let zeros = vec![0; mask.rank()];
            Some(cx.pad(&mask, &never, zeros.clone(), high, zeros)?)
        }
        None => None,
    };
    Ok(match (mask, visible) {
        (mask, None) => mask,
        (None, Some(visible)) => Some(cx.select(&visible, &zero, &never)?),
        (Some(mask), Some(visible)) => {
            let dims = crate::import::node::common_dims(mask.dims(), visible.dims())?;
            let mask = cx.broadcast_to(&mask, &dims)?;
            Some(cx.select(&visible, &mask, &never)?)
        }
    })
}

fn attention<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (x, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (query_heads, key_heads) = (cx.int("q_num_heads")?, cx.int("kv_num_heads")?);
    let q = split_heads(cx, &x, query_heads)?;
    let (mut k, mut v) = (split_heads(cx, &k, key_heads)?, split_heads(cx, &v, key_heads)?);
    let past = match (cx.optional(4), cx.optional(5)) {
        (Some(keys), Some(values)) if keys.rank() == 4 && values.rank() == 4 => {
            (k, v) = (cx.concat(&[keys.clone(), k], 2)?, cx.concat(&[values, v], 2)?);
            Some(keys.dims()[2].clone())
        }
        (None, None) => None,
        _ => return Ok(Failure::invalid("past_key and past_value come together, with 4 axes")?),
    };
    let (element, queries, keys) = (q.element(), q.dims()[2].clone(), k.dims()[2].clone());
    let scale = match (cx.float("scale")?, q.extent(3)) {
        (Some(scale), _) => scale,
        (None, Some(size)) => 1.0 / (size as f64).sqrt(),
        (None, None) => return Ok(Failure::unsupported("a symbolic size of heads")?),
    };
    if scale < 0.0 {
        return Ok(Failure::unsupported(format!("the negative scale {scale}"))?);
    }
    let (a, b) = (cx.binary_scalar(Mul::create, &q, scale.sqrt())?, cx.binary_scalar(Mul::create, &k, scale.sqrt())?);
    let mut scores = heads_product(cx, &a, &b, 3)?;
    let mode = cx.int_or("qk_matmul_output_mode", 0)?;
    let mut shown = scores.clone();
    let cap = cx.float_or("softcap", 0.0)?;
    if cap != 0.0 {
        let scaled = cx.binary_scalar(Div::create, &scores, cap)?;
        let bent = cx.unary(Tanh::create, &scaled)?;
        scores = cx.binary_scalar(Mul::create, &bent, cap)?;
    }
    if mode == 1 {
        shown = scores.clone();
    }
    let lengths = cx.optional(6);
    let causal = cx.int_or("is_causal", 0)? != 0;
    let reach = Reach { causal, left: cx.int_since(25, "left_window_size", -1)?, right: cx.int_since(25, "right_window_size", -1)? };
    let visible = visible(cx, &queries, &keys, past.as_ref(), lengths.as_ref(), reach)?;
    let mask = cx.optional(3);
    let bias = bias(cx, mask, visible, &keys, element)?;
    if let Some(bias) = &bias {
        scores = cx.binary(Add::create, &scores, bias)?;
    }
    if mode == 2 {
        shown = scores.clone();
    }
    let precision = match cx.int("softmax_precision")?.filter(|precision| *precision != 0) {
        Some(precision) => element_type(precision as i32)?,
        None => element,
    };
    let exact = cx.convert(&scores, precision)?;
    let value = cx.value(&exact)?;
    let r#type = exact.r#type.to_type(cx.context());
    let weights = cx.emit(Softmax::create(cx.context(), cx.location, value, 3, &[r#type]))?;
    let mut weights = cx.convert(&weights, element)?;
    if let Some(bias) = &bias {
        let dims = [vec![Dim::from(1); 4usize.saturating_sub(bias.rank())], bias.dims().to_vec()].concat();
        let bias = cx.reshape(bias, dims)?;
        let most = cx.reduce("max", &bias, &[3])?;
        let kept = [&bias.dims()[..3], &[Dim::from(1)]].concat();
        let most = cx.reshape(&most, kept)?;
        let (never, zero) = (cx.scalar(element, f64::NEG_INFINITY)?, cx.scalar(element, 0.0)?);
        let blind = cx.compare(Eq::create, &most, &never)?;
        let blind = cx.broadcast_to(&blind, weights.dims())?;
        weights = cx.select(&blind, &zero, &weights)?;
    }
    if mode == 3 {
        shown = weights.clone();
    }
    let mut y = heads_product(cx, &weights, &v, 2)?;
    if x.rank() == 3 {
        y = join_heads(cx, &y)?;
    }
    Ok(vec![y, k, v, shown])
}

/// Attention whose scores and weights may be changed by subgraphs.
fn flex_attention<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if [&q, &k, &v].iter().any(|x| x.rank() != 4) {
        return Ok(Failure::invalid(format!("operands of rank {}, {} and {}; 4 axes are needed", q.rank(), k.rank(), v.rank()))?);
    }
    let Some(size) = q.extent(3) else { return Ok(Failure::unsupported("a symbolic size of heads")?) };
    let scale = cx.float("scale")?.unwrap_or(1.0 / (size as f64).sqrt());
    if scale < 0.0 {
        return Ok(Failure::unsupported(format!("the negative scale {scale}"))?);
    }
    let precision = match cx.int("softmax_precision")?.filter(|precision| *precision != 0) {
        Some(precision) => element_type(precision as i32)?,
        None if q.element() == ElementType::F64 => ElementType::F64,
        None => ElementType::F32,
    };
    let (a, b) = (cx.binary_scalar(Mul::create, &q, scale.sqrt())?, cx.binary_scalar(Mul::create, &k, scale.sqrt())?);
    let scores = heads_product(cx, &a, &b, 3)?;
    let mut scores = cx.convert(&scores, precision)?;
    for (i, name) in ["score_mod", "prob_mod"].into_iter().enumerate() {
        if i == 1 {
            let value = cx.value(&scores)?;
            let r#type = scores.r#type.to_type(cx.context());
            scores = cx.emit(Softmax::create(cx.context(), cx.location, value, 3, &[r#type]))?;
        }
        if !cx.has_attribute(name) {
            continue;
        }
        let (graph, block) = (cx.graph(name)?, cx.block);
        let Some(results) = cx.subgraph(graph, vec![scores.clone()], block)? else {
            return Ok(Failure::unsupported(format!("its {name} holds something that is"))?);
        };
        match &results[..] {
            [changed] if changed.r#type == scores.r#type => scores = changed.clone(),
            _ => return Ok(Failure::invalid(format!("its {name} does not return one tensor of the type it takes"))?),
        }
    }
    let values = cx.convert(&v, precision)?;
    let y = heads_product(cx, &scores, &values, 2)?;
    Ok(vec![cx.convert(&y, v.element())?])
}

/// Rotates pairs of values by angles whose cosines and sines are given per position.
fn rotary_embedding<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (input, mut cos, mut sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let heads = cx.int("num_heads")?;
    let x = split_heads(cx, &input, heads)?;
    let Some(size) = x.extent(3) else { return Ok(Failure::unsupported("a symbolic size of heads")?) };
    let rotated = match cx.int_or("rotary_embedding_dim", 0)? {
        0 => size,
        some if (0..=size).contains(&some) && some % 2 == 0 => some,
        other => return Ok(Failure::invalid(format!("rotary_embedding_dim {other} of {size}"))?),
    };
    if let Some(places) = cx.optional(3) {
        (cos, sin) = (take_checked(cx, &cos, &places, 0)?, take_checked(cx, &sin, &places, 0)?);
    }
    let interleaved = cx.int_or("interleaved", 0)? != 0;
    let mut y = rotate(cx, &x, [cos, sin], rotated, interleaved)?;
    if input.rank() == 3 {
        y = cx.transpose(&y, vec![0, 2, 1, 3])?;
        y = cx.reshape(&y, input.dims().to_vec())?;
    }
    Ok(vec![y])
}

/// `x`, [batch, heads, length, size], with the first `rotated` values of each head turned by angles of [batch or 1, length, rotated / 2].
pub fn rotate<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    x: &Tensor<'c, 'a>,
    [cos, sin]: [Tensor<'c, 'a>; 2],
    rotated: i64,
    interleaved: bool,
) -> Result<Tensor<'c, 'a>, Failure> {
    let half = rotated / 2;
    let mut angles = vec![];
    for cache in [cos, sin] {
        if cache.rank() != 3 || cache.extent(2) != Some(half) {
            return Failure::invalid(format!("a cache of the shape {:?} for {half} angles", cache.dims()));
        }
        let dims = vec![cache.dims()[0].clone(), 1.into(), cache.dims()[1].clone(), half.into()];
        angles.push(cx.reshape(&cache, dims)?);
    }
    let turned = cx.slice_axis(x, 3, 0, rotated)?;
    // Pairs are neighbours, or elements of both halves.
    let pair_axis = if interleaved { 4 } else { 3 };
    let mut apart = turned.dims()[..3].to_vec();
    apart.extend(if interleaved { [half.into(), 2.into()] } else { [Dim::from(2), half.into()] });
    let pairs = cx.reshape(&turned, apart)?;
    let single = [&turned.dims()[..3], &[half.into()]].concat();
    let mut member = |i: i64| {
        let part = cx.slice_axis(&pairs, pair_axis, i, i + 1)?;
        cx.reshape(&part, single.clone())
    };
    let (a, b) = (member(0)?, member(1)?);
    let mut product = |x: &Tensor<'c, 'a>, angle: usize| cx.binary(Mul::create, x, &angles[angle]);
    let (ac, bs, a_s, bc) = (product(&a, 0)?, product(&b, 1)?, product(&a, 1)?, product(&b, 0)?);
    let (real, imaginary) = (cx.binary(Sub::create, &ac, &bs)?, cx.binary(Add::create, &a_s, &bc)?);
    let mut single = single;
    single.insert(pair_axis, 1.into());
    let (real, imaginary) = (cx.reshape(&real, single.clone())?, cx.reshape(&imaginary, single)?);
    let joined = cx.concat(&[real, imaginary], pair_axis)?;
    let mut y = cx.reshape(&joined, turned.dims().to_vec())?;
    if let Some(size) = x.extent(3).filter(|size| rotated < *size) {
        let rest = cx.slice_axis(x, 3, rotated, size)?;
        y = cx.concat(&[y, rest], 3)?;
    }
    Ok(y)
}
