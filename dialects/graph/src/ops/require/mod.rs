//! `graph.require`: a tensor whose extents relate as stated, which only a run can tell.

use crate::{
    dialect::Require,
    dim::Dim,
    eval::EvalContext,
    infer::unary_types,
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::Tensor,
    types::dims_of_attribute,
};
use winze_mlir::{
    melior::ir::{OperationRef, ValueLike},
    op_hooks::OpHooks,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.require",
    role: Role::View,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// The pairs of extents that an op relates.
pub fn pairs(op: Require) -> Result<Vec<(Dim, Dim)>, String> {
    let (lhs, rhs) = (dims_of_attribute(op.lhs())?, dims_of_attribute(op.rhs())?);
    if lhs.len() != rhs.len() {
        return Err(format!("'lhs' has {} extents and 'rhs' {}; give one per pair", lhs.len(), rhs.len()));
    }
    Ok(lhs.into_iter().zip(rhs).collect())
}

fn verify(op: OperationRef) -> Result<(), String> {
    let (input, result) = unary_types(op)?;
    let (require, pairs) = (Require(op), pairs(Require(op))?);
    let relation = require.relation();
    if !["eq", "le"].contains(&relation.as_str()) {
        return Err(format!("the relation '{relation}' is unknown; use eq or le"));
    }
    if input.element != result.element || input.rank() != result.rank() {
        return Err("changes the element type or the rank; only the form of extents may differ".into());
    }
    let stated = |a: &Dim, b: &Dim| relation == "eq" && pairs.iter().any(|(x, y)| (x, y) == (a, b) || (y, x) == (a, b));
    match input.dims.iter().zip(&result.dims).find(|(a, b)| a != b && !stated(a, b)) {
        Some((a, b)) => Err(format!("makes the extent {b} of {a}, which are not required to be equal")),
        None => Ok(()),
    }
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let require = Require(op);
    let equal = require.relation() == "eq";
    for (lhs, rhs) in pairs(require)? {
        let values = lhs.eval(cx.symbols).zip(rhs.eval(cx.symbols));
        if !values.is_some_and(|(a, b)| if equal { a == b } else { a <= b }) {
            return Err(format!("{}: {lhs} and {rhs} for symbols {:?}", require.why(), cx.symbols));
        }
    }
    Ok(inputs.to_vec())
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, _) = cx.operand(op, 0)?;
    let expected = cx.stored_type(&cx.result_type(op, 0)?);
    // Only static extents show in the types of kernels.
    Ok(vec![if tensor.r#type() == expected { tensor } else { cx.builder.value("tensor.cast", &[tensor], expected, &[]) }])
}
