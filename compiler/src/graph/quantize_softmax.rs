//! `quantize-softmax`: a softmax of dequantized bytes in front of a quantization by `s` -> one times `floor(1 / s)`, as ONNX Runtime computes it.
//!
//! Its QLinearSoftmax multiplies by the whole number of steps that 1 has, where a quantization by itself divides by the size of a step: results of 1
//! differ by up to one step. Assumes a scale that the IR holds, of at most 1; leaves everything else alone.

use super::{
    chain::{only_user, producer, result},
    narrow_products::Maker,
    quantize_products::{dequantized, scalar_behind},
};
use melior::ir::{OperationRef, operation::OperationLike};
use winze_graph::{
    dialect::{Constant, Div, Mul, Round, Softmax},
    ops::constant::read_constant,
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType},
};
use winze_mlir::{pass::RustPass, walk};

/// The pass.
pub struct QuantizeSoftmax;

impl RustPass for QuantizeSoftmax {
    const ARGUMENT: &'static str = "quantize-softmax";
    const DESCRIPTION: &'static str = "Quantize a softmax of dequantized bytes by whole steps";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        walk::find(func, |op| Softmax::cast(op).is_some()).into_iter().try_for_each(quantize)
    }
}

fn quantize<'c: 'a, 'a>(op: OperationRef<'c, 'a>) -> Result<(), String> {
    let input = op.operand(0).map_err(|e| e.to_string())?;
    let Some(div) = only_user(op).and_then(Div::cast).filter(|div| div.lhs() == result(op)) else { return Ok(()) };
    let rounds = only_user(div.op()).is_some_and(|next| Round::cast(next).is_some());
    let scale = scalar_behind(div.rhs()).and_then(producer).and_then(Constant::cast);
    let Some(scale) = scale.and_then(|constant| read_constant(constant.value()).ok()).filter(|_| rounds) else { return Ok(()) };
    let maker = Maker::before(div.op());
    let steps = (1.0 / scale.get(0).f64() as f32).floor();
    if !(steps >= 1.0 && steps.is_finite()) || dequantized(&maker, input)?.is_none() {
        return Ok(());
    }
    let steps = maker.constant(&Tensor::scalar(ElementType::F32, Scalar::Float(steps.into())));
    let scaled = maker.binary(Mul::create, result(op), maker.along(steps, &[], &TensorType::of(result(op))?));
    walk::replace_all_uses(result(div.op()), scaled);
    walk::erase(div.op());
    Ok(())
}
