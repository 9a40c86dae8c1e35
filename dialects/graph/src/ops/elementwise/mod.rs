//! Elementwise ops: one row each in [`table`], from which evaluation and lowering follow.

pub mod integer;
pub mod special;
pub mod table;

use crate::{
    eval::EvalContext,
    lower::{LowerContext, Op, Part, ScalarBuilder, Val},
    op::{self, ScalarForm, op_name},
    ops::constant::splat_of,
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type, operation::OperationLike},
    op_hooks::{Infer, InferContext},
    rewrite::PatternSet,
};

fn form(op: OperationRef) -> Result<ScalarForm, String> {
    op::find_for(op).and_then(|definition| definition.scalar).ok_or_else(|| format!("{} has no scalar form", op_name(op)))
}

/// Evaluates an elementwise op by its scalar form.
pub fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let form = form(op)?;
    let (result, shape) = cx.result_type(op, 0)?;
    let element = inputs.last().ok_or("an elementwise op has operands")?.element();
    let mut operands: Vec<Scalar> = vec![];
    let value = Tensor::from_fn(result.element, &shape, |i| {
        operands.clear();
        operands.extend(inputs.iter().map(|input| input.get(i)));
        (form.eval)(element, &operands)
    });
    Ok(vec![value])
}

/// Lowers an elementwise op to a `linalg.generic` with its scalar form as body.
pub fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    form(op)?;
    let result = cx.result_type(op, 0)?;
    let destination = cx.destination(op, 0)?;
    let mut parts = vec![];
    for i in 0..op.operand_count() {
        let (tensor, r#type) = cx.operand(op, i)?;
        parts.push(Part { tensor, element: r#type.element, map: cx.identity(result.rank()) });
    }
    let mut failure = None;
    let value = cx.map(&parts, destination, result.element, |b, scalars| {
        lower_scalar(b, op, scalars).unwrap_or_else(|message| {
            failure = Some(message);
            scalars[0]
        })
    });
    failure.map_or(Ok(vec![value]), Err)
}

/// Lowers one element of an elementwise op, inside the body of a kernel operation. Operands and result are in the element types of the graph op
/// (bool as i1, integers signless).
pub fn lower_scalar<'c>(b: &ScalarBuilder<'c>, op: Op<'c>, operands: &[Val<'c>]) -> Result<Val<'c>, String> {
    let form = form(op)?;
    let elements = op.operands().map(|operand| TensorType::of(operand).map(|t| t.element)).collect::<Result<Vec<ElementType>, _>>()?;
    let element = *elements.last().ok_or("an elementwise op has operands")?;
    let result = TensorType::of(op.result(0).map_err(|e| e.to_string())?.into())?.element;
    let wide: Vec<_> = operands.iter().zip(&elements).map(|(value, element)| b.widen(*element, *value)).collect();
    Ok(b.narrow(result, (form.lower)(b, op, element, &wide)))
}

/// Adds the pattern for op `name` that has an operand, at one of `sides`, whose elements are all neutral: it is its other operand.
pub fn drop_neutral(patterns: &mut PatternSet, name: &str, neutral: fn(Scalar) -> bool, sides: &'static [usize]) {
    patterns.add(name, 1, move |op, rewriter| {
        for side in sides {
            let operand = |i: usize| op.operand(i).map_err(|e| e.to_string());
            if splat_of(operand(*side)?).is_some_and(neutral) {
                rewriter.replace_op_with_values(op, &[operand(1 - side)?]);
                return Ok(true);
            }
        }
        Ok(false)
    });
}

/// Result of a predicate or comparison: bool of the operands' shape.
pub const INFER_BOOL: Infer = infer_bool;

fn infer_bool<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let operand = cx.operands.first().ok_or("needs an operand")?;
    Ok(vec![TensorType::of(*operand)?.with_element(ElementType::Bool).to_type(cx.context)])
}
