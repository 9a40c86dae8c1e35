//! `graph.packed_dot`: matrix product with constant weights stored in panels.

use crate::{
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{LowerContext, Op, Part, Val, contract_panels},
    op::{OpDefinition, Role},
    ops::dot_general::{eval_multiply_add, result_element},
    tensor::{Scalar, Tensor},
    types::TensorType,
};
use winze_mlir::{
    melior::ir::{AffineExpr, OperationRef, Type},
    op_hooks::{InferContext, OpHooks},
};

/// Adjacent steps of a contraction that stand together in panels of 8-bit weights.
pub const FOUR: i64 = 4;

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.packed_dot",
    role: Role::Contraction,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (lhs, weights) = (operand_type(cx, 0)?, operand_type(cx, 1)?);
    let width: i64 = attribute(cx, "width")?;
    let (panels, depth, panel) = match &weights.dims[..] {
        [panels, depth, panel] => (panels, depth.clone(), panel),
        [panels, fours, panel, four] if four.as_static() == Some(FOUR) => (panels, fours * four, panel),
        _ => return Err(format!("weights have {} axes; panels have 3, or 4 of which the last has {FOUR} elements", weights.rank())),
    };
    check_panels(panels, panel, width)?;
    let Some((last, rows)) = lhs.dims.split_last() else { return Err("the left side is a scalar; it needs an axis to contract".into()) };
    if *last != depth {
        return Err(format!("the left side ends in {last} {}s, the panels are {depth} {}s deep", lhs.element, weights.element));
    }
    let mut dims = rows.to_vec();
    dims.push(Dim::from(width));
    let element = result_element(lhs.element, weights.element, cx.attribute("accumulate"))?;
    Ok(vec![TensorType::new(element, dims).to_type(cx.context)])
}

/// Whether `panels` panels are what `width` columns need.
pub fn check_panels(panels: &Dim, panel: &Dim, width: i64) -> Result<(), String> {
    match (panels.as_static(), panel.as_static()) {
        (Some(panels), Some(panel)) if panel > 0 && width > 0 && (width + panel - 1) / panel == panels => Ok(()),
        _ => Err(format!("{panels} panels of {panel} columns do not hold a width of {width}")),
    }
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let [lhs, weights] = inputs else { return Err("needs two operands".into()) };
    let panel = weights.shape[2];
    let together = weights.shape.get(3).copied().unwrap_or(1);
    let depth = weights.shape[1] * together;
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let column = index[index.len() - 1];
        let mut at = index.to_vec();
        (0..depth).fold(Scalar::of(result.element, 0), |sum, k| {
            *at.last_mut().expect("the result has a column axis") = k;
            let weight = [column / panel, k / together, column % panel, k % together];
            eval_multiply_add(sum, lhs.at(&at), weights.at(&weight[..weights.shape.len()]))
        })
    })])
}

/// Step `four * 4 + within` of a contraction whose weights stand in fours, `four` itself otherwise.
pub fn in_four<'c>(cx: &LowerContext<'c>, four: AffineExpr<'c>, within: Option<AffineExpr<'c>>) -> AffineExpr<'c> {
    match within {
        Some(within) => four * AffineExpr::constant(cx.context(), FOUR) + within,
        None => four,
    }
}

/// Loops: rows of the left side, panel, depth, lane; and which of a four.
fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((lhs, lhs_type), (weights, weights_type)) = (cx.operand(op, 0)?, cx.operand(op, 1)?);
    let rows = lhs_type.rank() - 1;
    let (panel, depth, lane) = (cx.loop_dim(rows), cx.loop_dim(rows + 1), cx.loop_dim(rows + 2));
    let row_loops = cx.identity(rows);
    let fours = weights_type.rank() == 4;
    let (step, mut weight_map) = (in_four(cx, depth, fours.then(|| cx.loop_dim(rows + 3))), vec![panel, depth, lane]);
    weight_map.extend(fours.then(|| cx.loop_dim(rows + 3)));
    let left = Part { tensor: lhs, element: lhs_type.element, map: [&row_loops[..], &[step]].concat() };
    let right = Part { tensor: weights, element: weights_type.element, map: weight_map };
    let mut dims = lhs_type.dims[..rows].to_vec();
    dims.extend([weights_type.dims[0].clone(), weights_type.dims[2].clone()]);
    let map = [&row_loops[..], &[panel, lane]].concat();
    let mut reduction = vec![false; rows + 3];
    reduction[rows + 1] = true;
    reduction.extend(fours.then_some(true));
    Ok(vec![contract_panels(cx, op, [left, right], &dims, map, &reduction, rows)?])
}
