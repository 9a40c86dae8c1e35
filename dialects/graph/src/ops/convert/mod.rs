//! `graph.convert` and `graph.bitcast`: element type conversions.
//!
//! f64 and integers reach f16 and bf16 by way of f32.

use crate::{
    dialect::Convert,
    eval::EvalContext,
    infer::unary_types,
    lower::{LowerContext, Op, ScalarBuilder, Val},
    op::{OpDefinition, Role, ScalarForm},
    ops::elementwise,
    tensor::{Scalar, Tensor},
    types::{Class, ElementType, TensorType},
};
use winze_mlir::{
    melior::ir::{OperationRef, ValueLike, operation::OperationLike},
    op_hooks::OpHooks,
    rewrite::PatternSet,
};

pub const CONVERT: OpDefinition = OpDefinition {
    name: "graph.convert",
    role: Role::Elementwise,
    hooks: OpHooks { verify: None, infer: None, canonicalize: Some(canonicalize) },
    eval: eval_convert,
    lower: lower_convert,
    scalar: Some(ScalarForm { eval: |_, x| x[0], lower: lower_convert_scalar }),
};

pub const BITCAST: OpDefinition = OpDefinition {
    name: "graph.bitcast",
    role: Role::Elementwise,
    hooks: OpHooks { verify: Some(verify_bitcast), infer: None, canonicalize: None },
    eval: eval_bitcast,
    lower: lower_bitcast,
    scalar: None,
};

fn canonicalize(patterns: &mut PatternSet) {
    patterns.add("graph.convert", 1, |op, rewriter| {
        let input = op.operand(0).map_err(|e| e.to_string())?;
        let same = input.r#type() == op.result(0).map_err(|e| e.to_string())?.r#type();
        if same {
            rewriter.replace_op_with_values(op, &[input]);
        }
        Ok(same)
    });
}

/// Smallest and largest value of an integer type.
fn range(element: ElementType) -> (i128, i128) {
    let bits = element.bits();
    if element.class() == Class::Signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) }
}

/// The value of an element after conversion.
pub fn eval_scalar(from: ElementType, to: ElementType, saturate: bool, x: Scalar) -> Scalar {
    let integer = |x: Scalar| match x {
        Scalar::Signed(v) => i128::from(v),
        other => i128::from(other.u64()),
    };
    match (from.class(), to.class()) {
        (_, Class::Bool) => Scalar::Bool(x.bool()),
        (Class::Float, Class::Float) => match to {
            ElementType::F16 | ElementType::BF16 => Scalar::Float((x.f64() as f32).into()),
            _ => x,
        },
        (_, Class::Float) => Scalar::Float(match (to, x) {
            (ElementType::F64, x) => x.f64(),
            // Rounded once, from the integer.
            (_, Scalar::Signed(v)) => (v as f32).into(),
            (_, x) => (x.u64() as f32).into(),
        }),
        (Class::Float, _) => {
            let (low, high) = range(to);
            // `as` truncates, saturates and makes NaN 0.
            let v = (x.f64() as i128).clamp(low, high);
            if to.class() == Class::Signed { Scalar::Signed(v as i64) } else { Scalar::Unsigned(v as u64) }
        }
        _ => {
            let (low, high) = range(to);
            let v = if saturate { integer(x).clamp(low, high) } else { integer(x) };
            if to.class() == Class::Signed { Scalar::Signed(v as i64) } else { Scalar::Unsigned(v as u64) }
        }
    }
}

fn eval_convert(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (to, shape) = cx.result_type(op, 0)?;
    let (from, saturate) = (inputs[0].element(), Convert(op).saturate());
    Ok(vec![Tensor::from_fn(to.element, &shape, |i| eval_scalar(from, to.element, saturate, inputs[0].get(i)))])
}

fn lower_convert<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    elementwise::lower(cx, op)
}

fn lower_convert_scalar<'c>(b: &ScalarBuilder<'c>, op: Op<'c>, from: ElementType, x: &[Val<'c>]) -> Val<'c> {
    let to = TensorType::of(Convert(op).result()).expect("verified").element;
    convert_scalar(b, from, to, Convert(op).saturate(), x[0])
}

/// Converts a scalar. f16 and bf16 come and go as f32, bool as i1.
pub fn convert_scalar<'c>(b: &ScalarBuilder<'c>, from: ElementType, to: ElementType, saturate: bool, x: Val<'c>) -> Val<'c> {
    let target = b.compute_type(to);
    match (from.class(), to.class()) {
        (Class::Float, Class::Bool) => b.cmpf("une", x, b.number(from, 0.0)),
        (Class::Bool, Class::Bool) => x,
        (_, Class::Bool) => b.cmpi("ne", x, b.number(from, 0.0)),
        (Class::Float, Class::Float) => {
            let wide = |element: ElementType| element == ElementType::F64;
            match (wide(from), wide(to)) {
                (false, true) => b.value("arith.extf", &[x], target, &[]),
                (true, false) => b.value("arith.truncf", &[x], target, &[]),
                _ => x,
            }
        }
        (Class::Signed, Class::Float) => b.value("arith.sitofp", &[x], target, &[]),
        (_, Class::Float) => b.value("arith.uitofp", &[x], target, &[]),
        (Class::Float, _) => float_to_integer(b, from, to, x),
        _ => {
            let x = if saturate { clamp(b, from, to, x) } else { x };
            resize(b, from, to, x)
        }
    }
}

fn resize<'c>(b: &ScalarBuilder<'c>, from: ElementType, to: ElementType, x: Val<'c>) -> Val<'c> {
    let target = to.to_scalar_type(b.context);
    match from.bits().cmp(&to.bits()) {
        std::cmp::Ordering::Equal => x,
        std::cmp::Ordering::Greater => b.value("arith.trunci", &[x], target, &[]),
        std::cmp::Ordering::Less if from.class() == Class::Signed => b.value("arith.extsi", &[x], target, &[]),
        std::cmp::Ordering::Less => b.value("arith.extui", &[x], target, &[]),
    }
}

/// Brings an integer into the range of `to`, as far as `from` exceeds it.
fn clamp<'c>(b: &ScalarBuilder<'c>, from: ElementType, to: ElementType, mut x: Val<'c>) -> Val<'c> {
    let ((from_low, from_high), (low, high)) = (range(from), range(to));
    let signed = from.class() == Class::Signed;
    let bound = |value: i128| b.constant_int(x.r#type(), value as i64);
    let (low, high) = ((low > from_low).then(|| bound(low)), (high < from_high).then(|| bound(high)));
    if let Some(low) = low {
        x = b.same(if signed { "arith.maxsi" } else { "arith.maxui" }, &[x, low]);
    }
    if let Some(high) = high {
        x = b.same(if signed { "arith.minsi" } else { "arith.minui" }, &[x, high]);
    }
    x
}

/// Truncates toward zero; too large values saturate, NaN gives 0.
fn float_to_integer<'c>(b: &ScalarBuilder<'c>, from: ElementType, to: ElementType, x: Val<'c>) -> Val<'c> {
    let (low, high) = range(to);
    let target = to.to_scalar_type(b.context);
    // Powers of two, exact in every float that is computed in.
    let too_high = b.cmpf("oge", x, b.number(from, (high + 1) as f64));
    let too_low = b.cmpf("olt", x, b.number(from, low as f64));
    let nan = b.cmpf("uno", x, x);
    let outside = b.same("arith.ori", &[nan, b.same("arith.ori", &[too_high, too_low])]);
    let inside = b.select(outside, b.number(from, 0.0), x);
    let converted = b.value(if to.class() == Class::Signed { "arith.fptosi" } else { "arith.fptoui" }, &[inside], target, &[]);
    let capped = b.select(too_high, b.constant_int(target, high as i64), converted);
    b.select(too_low, b.constant_int(target, low as i64), capped)
}

fn verify_bitcast(op: OperationRef) -> Result<(), String> {
    let (input, result) = unary_types(op)?;
    if input.element.bits() != result.element.bits() {
        return Err(format!(
            "{} has {} bits and {} has {}; bitcast keeps the width",
            input.element,
            input.element.bits(),
            result.element,
            result.element.bits()
        ));
    }
    Ok(())
}

fn eval_bitcast(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    Ok(vec![Tensor::from_bytes(result.element, &shape, &inputs[0].to_bytes())?])
}

fn lower_bitcast<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let result = cx.result_type(op, 0)?;
    let destination = cx.destination(op, 0)?;
    let target = result.element.to_scalar_type(cx.context());
    let part = crate::lower::Part { tensor, element: input.element, map: cx.identity(result.rank()) };
    let value = cx.map(&[part], destination, result.element, |b, x| {
        if x[0].r#type() == target { x[0] } else { b.value("arith.bitcast", &[x[0]], target, &[]) }
    });
    Ok(vec![value])
}
