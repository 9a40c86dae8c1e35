//! Attention, MultiHeadAttention, GroupQueryAttention, EmbedLayerNormalization of ONNX Runtime (`com.microsoft`), decomposed.
//!
//! Past keys and values are those of all positions before, and what is computed is appended to them. Refused: packed queries, keys and values, padding that is
//! taken out, past and present in one buffer, caches of integers, beams.

use super::{
    OpResult, Row,
    attention::{Reach, heads_product, join_heads, rotate, split_heads, visible},
    index::{positions, take_checked},
    linear::product,
    normalization::layer_normalized,
    row,
};
use crate::import::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Add, Div, Eq, Gt, Lt, Mul, Softmax, Sub, Tanh},
    dim::Dim,
    types::ElementType,
};

pub const CONTRIB_OPS: &[Row] = &[
    row("Attention", attention),
    row("MultiHeadAttention", multi_head_attention),
    row("GroupQueryAttention", group_query_attention),
    row("EmbedLayerNormalization", embed_layer_normalization),
];

type Cx<'x, 'p, 'c, 'a> = NodeContext<'x, 'p, 'c, 'a>;

/// Queries, keys and values, [batch, heads, length, size].
type Heads<'c, 'a> = [Tensor<'c, 'a>; 3];

/// Refuses operands that are given, by number and name.
fn refuse(cx: &Cx, operands: &[(usize, &str)]) -> Result<(), Failure> {
    match operands.iter().find(|(i, _)| cx.optional(*i).is_some()) {
        Some((i, what)) => Failure::unsupported(format!("its input {i}, {what}")),
        None => Ok(()),
    }
}

/// `1 / sqrt(size)` unless the node says otherwise.
fn scale(cx: &Cx, q: &Tensor) -> Result<f64, Failure> {
    match (cx.float_or("scale", 0.0)?, q.extent(3)) {
        (0.0, Some(size)) => Ok(1.0 / (size as f64).sqrt()),
        (0.0, None) => Failure::unsupported("a symbolic size of heads"),
        (scale, _) => Ok(scale),
    }
}

/// `softmax(q k^T * scale + added) v` as [batch, queries, heads * size]; keys that are not visible do not count. Computed in f32 at least.
fn attend<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    [q, k, v]: &Heads<'c, 'a>,
    cap: f64,
    added: &[Tensor<'c, 'a>],
    visible: Option<&Tensor<'c, 'a>>,
) -> Result<Tensor<'c, 'a>, Failure> {
    let (element, by) = (q.element(), scale(cx, q)?);
    let (q, k, v) = (cx.widen(q)?, cx.widen(k)?, cx.widen(v)?);
    let scaled = cx.binary_scalar(Mul::create, &q, by)?;
    let mut scores = heads_product(cx, &scaled, &k, 3)?;
    if cap != 0.0 {
        let bent = cx.binary_scalar(Div::create, &scores, cap)?;
        let bent = cx.unary(Tanh::create, &bent)?;
        scores = cx.binary_scalar(Mul::create, &bent, cap)?;
    }
    for more in added {
        let more = cx.convert(more, scores.element())?;
        scores = cx.binary(Add::create, &scores, &more)?;
    }
    if let Some(visible) = visible {
        let never = cx.scalar(scores.element(), f64::NEG_INFINITY)?;
        scores = cx.select(visible, &scores, &never)?;
    }
    let value = cx.value(&scores)?;
    let r#type = scores.r#type.to_type(cx.context());
    let weights = cx.emit(Softmax::create(cx.context(), cx.location, value, 3, &[r#type]))?;
    let y = heads_product(cx, &weights, &v, 2)?;
    let y = join_heads(cx, &y)?;
    cx.convert(&y, element)
}

/// What a mask adds to the scores: its filter value where it says 0. [batch] are numbers of keys, [batch, keys] and [batch, queries, keys] say it for each.
fn mask_bias<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, mask: &Tensor<'c, 'a>, batch: &Dim, keys: &Dim) -> Result<Tensor<'c, 'a>, Failure> {
    let one = Dim::from(1);
    let mask = cx.convert(mask, ElementType::I64)?;
    let counts = match mask.dims() {
        [count] if count == batch => {
            let lengths = cx.reshape(&mask, vec![batch.clone(), one.clone(), one.clone(), one.clone()])?;
            let place = positions(cx, keys, ElementType::I64)?;
            let place = cx.reshape(&place, vec![one.clone(), one.clone(), one, keys.clone()])?;
            cx.compare(Lt::create, &place, &lengths)?
        }
        [rows, columns] => {
            let dims = vec![rows.clone(), one.clone(), one, columns.clone()];
            let mask = cx.reshape(&mask, dims)?;
            let zero = cx.scalar(ElementType::I64, 0.0)?;
            cx.compare(Gt::create, &mask, &zero)?
        }
        [rows, queries, columns] => {
            let dims = vec![rows.clone(), one, queries.clone(), columns.clone()];
            let mask = cx.reshape(&mask, dims)?;
            let zero = cx.scalar(ElementType::I64, 0.0)?;
            cx.compare(Gt::create, &mask, &zero)?
        }
        other => return Failure::unsupported(format!("a mask of shape {other:?}")),
    };
    let (none, filter) = (cx.scalar(ElementType::F32, 0.0)?, cx.float_or("mask_filter_value", -10000.0)?);
    let filter = cx.scalar(ElementType::F32, filter)?;
    cx.select(&counts, &none, &filter)
}

/// Appends keys or values to those before.
fn after_past<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, past: &Tensor<'c, 'a>, now: Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    if past.rank() != 4 {
        return Failure::invalid(format!("past keys or values of shape {:?}", past.dims()));
    }
    cx.concat(&[past.clone(), now], 2)
}

/// Attention over what `heads` hold; `past` is how many keys stand before the first query's own.
fn masked<'c, 'a>(
    cx: &mut Cx<'_, '_, 'c, 'a>,
    heads: &Heads<'c, 'a>,
    past: Option<&Dim>,
    (mask, bias): (Option<Tensor<'c, 'a>>, Option<Tensor<'c, 'a>>),
) -> Result<Tensor<'c, 'a>, Failure> {
    let (batch, queries, keys) = (heads[0].dims()[0].clone(), heads[0].dims()[2].clone(), heads[1].dims()[2].clone());
    cx.ignore(&["mask_filter_value"]);
    let mut added: Vec<Tensor<'c, 'a>> = bias.into_iter().collect();
    if let Some(mask) = mask {
        added.push(mask_bias(cx, &mask, &batch, &keys)?);
    }
    let reach = Reach { causal: cx.int_or("unidirectional", 0)? != 0, left: -1, right: -1 };
    let visible = visible(cx, &queries, &keys, past, None, reach)?;
    attend(cx, heads, 0.0, &added, visible.as_ref())
}

/// Heads that the node has, and that fit.
fn heads(cx: &Cx, name: &str) -> Result<i64, Failure> {
    match cx.int_or(name, 0)? {
        heads if heads > 0 => Ok(heads),
        other => Failure::invalid(format!("{name} {other}")),
    }
}

/// Parts of the last axis, one behind the other.
fn parts<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, x: &Tensor<'c, 'a>, widths: [i64; 3]) -> Result<Heads<'c, 'a>, Failure> {
    let Some(last) = x.rank().checked_sub(1).filter(|last| x.extent(*last) == Some(widths.iter().sum())) else {
        return Failure::invalid(format!("a shape {:?} for parts of {widths:?}", x.dims()));
    };
    let [a, b, _] = widths;
    Ok([cx.slice_axis(x, last, 0, a)?, cx.slice_axis(x, last, a, a + b)?, cx.slice_axis(x, last, a + b, widths.iter().sum())?])
}

/// Queries, keys and values are one product of the input. Results: that, and keys and values one behind the other, [2, batch, heads, keys, size].
fn attention<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    refuse(cx, &[(6, "a length of past in one buffer with present")])?;
    if cx.int_or("do_rotary", 0)? != 0 || cx.int_or("past_present_share_buffer", 0)? != 0 {
        return Ok(Failure::unsupported("do_rotary or past_present_share_buffer")?);
    }
    cx.ignore(&["rotary_embedding_dim"]);
    let (x, weights, heads) = (cx.input(0)?, cx.input(1)?, heads(cx, "num_heads")?);
    let widths = match (cx.ints("qkv_hidden_sizes")?.as_deref(), weights.extent(1)) {
        (Some([q, k, v]), _) => [*q, *k, *v],
        (None, Some(width)) if width % 3 == 0 => [width / 3; 3],
        _ => return Ok(Failure::invalid(format!("weights of shape {:?}", weights.dims()))?),
    };
    let mut all = product(cx, &x, &weights)?;
    if let Some(bias) = cx.optional(2) {
        all = cx.binary(Add::create, &all, &bias)?;
    }
    let [q, k, v] = parts(cx, &all, widths)?;
    let (q, mut k, mut v) = (split_heads(cx, &q, Some(heads))?, split_heads(cx, &k, Some(heads))?, split_heads(cx, &v, Some(heads))?);
    let past = match cx.optional(4) {
        Some(past) if past.rank() == 5 && past.extent(0) == Some(2) => {
            let mut half = |i: i64| {
                let half = cx.slice_axis(&past, 0, i, i + 1)?;
                cx.reshape(&half, past.dims()[1..].to_vec())
            };
            let (keys, values) = (half(0)?, half(1)?);
            (k, v) = (after_past(cx, &keys, k)?, after_past(cx, &values, v)?);
            Some(past.dims()[3].clone())
        }
        Some(past) => return Ok(Failure::invalid(format!("past of shape {:?}", past.dims()))?),
        None => None,
    };
    let operands = (cx.optional(3), cx.optional(5));
    let y = masked(cx, &[q, k.clone(), v.clone()], past.as_ref(), operands)?;
    if cx.node.output.get(1).is_none_or(String::is_empty) {
        return Ok(vec![y]);
    }
    let mut stacked = vec![];
    for part in [k, v] {
        let dims = [&[Dim::from(1)], part.dims()].concat();
        stacked.push(cx.reshape(&part, dims)?);
    }
    Ok(vec![y, cx.concat(&stacked, 0)?])
}

/// Queries, keys and values of 3 axes; keys and values of 4 axes are laid out by heads already. Results: that, and all keys and values.
fn multi_head_attention<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    refuse(cx, &[(8, "a length of past in one buffer with present"), (9, "which beams keys and values come from")])?;
    let (Some(key), Some(value)) = (cx.optional(1), cx.optional(2)) else {
        return Ok(Failure::unsupported("queries, keys and values in one operand")?);
    };
    let (mut all, heads) = ([cx.input(0)?, key, value], heads(cx, "num_heads")?);
    if all[0].rank() != 3 || all[1..].iter().any(|x| !(3..=4).contains(&x.rank())) {
        return Ok(Failure::unsupported("queries, keys or values in one operand")?);
    }
    if let Some(bias) = cx.optional(3) {
        let widths = all.each_ref().map(|x| x.extent(2).filter(|_| x.rank() == 3));
        let [Some(q), Some(k), Some(v)] = widths else {
            return Ok(Failure::unsupported("a bias of keys and values that are laid out by heads")?);
        };
        let biases = parts(cx, &bias, [q, k, v])?;
        for (x, bias) in all.iter_mut().zip(&biases) {
            *x = cx.binary(Add::create, x, bias)?;
        }
    }
    let [q, k, v] = &all;
    let (q, mut k, mut v) = (split_heads(cx, q, Some(heads))?, split_heads(cx, k, Some(heads))?, split_heads(cx, v, Some(heads))?);
    let past = match (cx.optional(6), cx.optional(7)) {
        (Some(keys), Some(values)) => {
            (k, v) = (after_past(cx, &keys, k)?, after_past(cx, &values, v)?);
            Some(keys.dims()[2].clone())
        }
        (None, None) => None,
        _ => return Ok(Failure::invalid("past_key and past_value come together")?),
    };
    let operands = (cx.optional(4), cx.optional(5));
    let y = masked(cx, &[q, k.clone(), v.clone()], past.as_ref(), operands)?;
    Ok(vec![y, k, v])
}

/// Fewer heads of keys and values than of queries, each query sees the keys up to its own.
fn group_query_attention<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    refuse(cx, &[(11, "a sink of attention per head"), (12, "a scale of keys"), (13, "a scale of values")])?;
    let (many, few) = (heads(cx, "num_heads")?, heads(cx, "kv_num_heads")?);
    if cx.int_or("smooth_softmax", 0)? > 0 || cx.int_or("qk_output", 0)? != 0 {
        return Ok(Failure::unsupported("smooth_softmax or qk_output")?);
    }
    if ["k_quant_type", "v_quant_type"].iter().any(|name| cx.string_or(name, "NONE").as_deref() != Ok("NONE")) {
        return Ok(Failure::unsupported("keys and values of integers")?);
    }
    cx.ignore(&["kv_cache_bit_width"]);
    let x = cx.input(0)?;
    let all = match (cx.optional(1), cx.optional(2)) {
        (Some(key), Some(value)) => [x, key, value],
        _ => {
            // One operand holds all, as many values for each head.
            let Some(size) = x.extent(2).filter(|_| x.rank() == 3).map(|width| width / (many + 2 * few)) else {
                return Ok(Failure::invalid(format!("queries, keys and values of shape {:?}", x.dims()))?);
            };
            parts(cx, &x, [many * size, few * size, few * size])?
        }
    };
    let [q, k, v] = &all;
    let (mut q, mut k, mut v) = (split_heads(cx, q, Some(many))?, split_heads(cx, k, Some(few))?, split_heads(cx, v, Some(few))?);
    let queries = q.dims()[2].clone();
    let past = cx.optional(3).map_or(Dim::from(0), |past| past.dims().get(2).cloned().unwrap_or_default());
    check_lengths(cx, &past, &queries)?;

    let interleaved = cx.int_or("rotary_interleaved", 0)? != 0;
    if cx.int_or("do_rotary", 0)? != 0 {
        let (cos, sin) = (cx.input(7)?, cx.input(8)?);
        let places = match cx.optional(9) {
            Some(places) => places,
            None => {
                let (line, before) = (positions(cx, &queries, ElementType::I64)?, cx.extent(&past, ElementType::I64)?);
                let places = cx.binary(Add::create, &line, &before)?;
                cx.reshape(&places, vec![Dim::from(1), queries.clone()])?
            }
        };
        let Some(half) = cos.extent(1).filter(|_| cos.rank() == 2) else {
            return Ok(Failure::invalid(format!("a cache of cosines of shape {:?}", cos.dims()))?);
        };
        let angles = [take_checked(cx, &cos, &places, 0)?, take_checked(cx, &sin, &places, 0)?];
        (q, k) = (rotate(cx, &q, angles.clone(), 2 * half, interleaved)?, rotate(cx, &k, angles, 2 * half, interleaved)?);
    }
    if let (Some(keys), Some(values)) = (cx.optional(3), cx.optional(4)) {
        (k, v) = (after_past(cx, &keys, k)?, after_past(cx, &values, v)?);
    }
    let window = cx.int_or("local_window_size", -1)?;
    let reach = Reach { causal: true, left: if window > 0 { window - 1 } else { -1 }, right: -1 };
    let keys = k.dims()[2].clone();
    let visible = visible(cx, &queries, &keys, Some(&past), None, reach)?;
    let (cap, bias) = (cx.float_or("softcap", 0.0)?, cx.optional(10));
    let y = attend(cx, &[q, k.clone(), v.clone()], cap, bias.as_slice(), visible.as_ref())?;
    Ok(vec![y, k, v])
}

/// Sequences must have as many keys as stand before and come new: keys go behind all of the past. At first, where there is no past, shorter ones are padded at
/// their end, which none of their own queries sees.
fn check_lengths<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>, past: &Dim, queries: &Dim) -> Result<(), Failure> {
    if past.as_static() == Some(0) {
        return Ok(());
    }
    let lengths = cx.convert(&cx.input(5)?, ElementType::I64)?;
    let all: Vec<usize> = (0..lengths.rank()).collect();
    // They count from 0.
    let (before, zero, whole) =
        (cx.extent(past, ElementType::I64)?, cx.scalar(ElementType::I64, -1.0)?, cx.extent(queries, ElementType::I64)?);
    for kind in ["min", "max"] {
        let length = cx.reduce(kind, &lengths, &all)?;
        let length = cx.binary(Sub::create, &length, &zero)?;
        let new = cx.binary(Sub::create, &length, &before)?;
        let nothing = cx.scalar(ElementType::I64, 0.0)?;
        let first = cx.compare(Eq::create, &before, &nothing)?;
        let new = cx.select(&first, &whole, &new)?;
        cx.check_size(&new, "keys behind the past", queries, queries)?;
    }
    Ok(())
}

/// The sum of the embeddings of words, positions and segments, normalized. Results: that, how many words each mask has, the sum.
fn embed_layer_normalization<'c, 'a>(cx: &mut Cx<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (words, table) = (cx.input(0)?, cx.input(2)?);
    let [batch, length] = words.dims() else { return Ok(Failure::invalid(format!("words of shape {:?}", words.dims()))?) };
    let (batch, length) = (batch.clone(), length.clone());
    let mut sum = take_checked(cx, &table, &words, 0)?;
    let places = match cx.optional(8) {
        Some(places) => places,
        None => {
            let line = positions(cx, &length, ElementType::I64)?;
            cx.reshape(&line, vec![Dim::from(1), length])?
        }
    };
    let along = take_checked(cx, &cx.input(3)?, &places, 0)?;
    sum = cx.binary(Add::create, &sum, &along)?;
    if let (Some(segments), Some(table)) = (cx.optional(1), cx.optional(4)) {
        let segments = take_checked(cx, &table, &segments, 0)?;
        sum = cx.binary(Add::create, &sum, &segments)?;
    }
    let (scale, bias, epsilon) = (cx.input(5)?, cx.input(6)?, cx.float_or("epsilon", 1e-12)?);
    let y = layer_normalized(cx, &sum, &scale, Some(&bias), epsilon)?;
    cx.ignore(&["mask_index_type"]);
    let counts = match cx.optional(7) {
        Some(mask) => {
            let mask = cx.convert(&mask, ElementType::I32)?;
            cx.reduce("add", &mask, &[1])?
        }
        None => {
            let zero = cx.scalar(ElementType::I32, 0.0)?;
            cx.broadcast_to(&zero, &[batch])?
        }
    };
    Ok(vec![y, counts, sum])
}
