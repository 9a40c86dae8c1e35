//! `graph.reshape`: the same elements in row-major order under another shape.

use crate::{
    dialect::Reshape,
    dim::Dim,
    eval::EvalContext,
    infer::unary_types,
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role, op_name},
    tensor::Tensor,
    types::TensorType,
};
use winze_mlir::{
    attributes::AttributeValue,
    melior::ir::{
        Attribute, OperationRef, Type, ValueLike,
        attribute::{ArrayAttribute, DenseI64ArrayAttribute},
        operation::{OperationLike, OperationResult},
    },
    mlir_sys::mlirShapedTypeGetDynamicSize,
    op_hooks::OpHooks,
    rewrite::PatternSet,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.reshape",
    role: Role::View,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: Some(canonicalize) },
    eval,
    lower,
    scalar: None,
};

fn verify(op: OperationRef) -> Result<(), String> {
    let (input, result) = unary_types(op)?;
    if input.element != result.element {
        return Err(format!("changes the element type from {} to {}; use graph.convert", input.element, result.element));
    }
    // Extents that differ in form may still be equal at run time (a floor division that leaves no rest).
    match (&result.count() - &input.count()).as_static() {
        Some(0) | None => Ok(()),
        Some(_) => Err(format!("has {} elements and would have {}; a reshape keeps their number", input.count(), result.count())),
    }
}

fn canonicalize(patterns: &mut PatternSet) {
    patterns.add("graph.reshape", 1, |op, rewriter| {
        let input = op.operand(0).map_err(|e| e.to_string())?;
        let result_type = op.result(0).map_err(|e| e.to_string())?.r#type();
        if input.r#type() == result_type {
            rewriter.replace_op_with_values(op, &[input]);
            return Ok(true);
        }
        let Ok(producer) = OperationResult::try_from(input) else { return Ok(false) };
        let producer = producer.owner();
        if op_name(producer) != "graph.reshape" {
            return Ok(false);
        }
        let context = winze_mlir::context::context_of(op);
        let source = producer.operand(0).map_err(|e| e.to_string())?;
        let joined = rewriter.insert(Reshape::create(context, op.location(), source, &[result_type]));
        rewriter.replace_op_with_operation(op, joined);
        Ok(true)
    });
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (_, shape) = cx.result_type(op, 0)?;
    Ok(vec![inputs[0].reshaped(&shape)?])
}

/// A run of input axes that hold the same elements as a run of result axes.
#[derive(Debug, PartialEq)]
struct Group {
    inputs: Vec<usize>,
    results: Vec<usize>,
}

/// The finest groups, or one of everything where extents do not tell.
fn groups(input: &[Dim], result: &[Dim]) -> Vec<Group> {
    let whole = || vec![Group { inputs: (0..input.len()).collect(), results: (0..result.len()).collect() }];
    let (mut groups, mut i, mut j) = (vec![], 0, 0);
    while i < input.len() && j < result.len() {
        let mut group = Group { inputs: vec![i], results: vec![j] };
        let (mut a, mut b) = (input[i].clone(), result[j].clone());
        (i, j) = (i + 1, j + 1);
        while a != b {
            if a.as_static() == Some(0) || b.as_static() == Some(0) {
                return whole();
            }
            if i < input.len() && b.exact_div(&a).is_some() {
                a = &a * &input[i];
                group.inputs.push(i);
                i += 1;
            } else if j < result.len() && a.exact_div(&b).is_some() {
                b = &b * &result[j];
                group.results.push(j);
                j += 1;
            } else {
                return whole();
            }
        }
        groups.push(group);
    }
    // Only unit axes remain on either side.
    if input[i..].iter().chain(&result[j..]).any(|dim| *dim != Dim::from(1)) {
        return whole();
    }
    match groups.last_mut() {
        Some(last) => {
            last.inputs.extend(i..input.len());
            last.results.extend(j..result.len());
            groups
        }
        None => whole(),
    }
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let result = cx.result_type(op, 0)?;
    if tensor.r#type() == cx.stored_type(&result) {
        return Ok(vec![tensor]);
    }
    let groups = groups(&input.dims, &result.dims);
    let storage = cx.storage(result.element);
    let product = |dims: &[Dim], axes: &[usize]| axes.iter().fold(Dim::from(1), |p, axis| &p * &dims[*axis]);
    // A group of several axes on both sides goes through one axis of their product.
    let middle: Vec<Dim> = groups.iter().map(|group| product(&input.dims, &group.inputs)).collect();
    let end: Vec<Dim> = groups.iter().map(|group| product(&result.dims, &group.results)).collect();
    if middle.iter().zip(&end).any(|(a, b)| a.as_static().is_some() != b.as_static().is_some()) {
        return Err(format!(
            "cannot tell that {:?} and {:?} hold equally many elements; give the symbols as multiples",
            input.dims, result.dims
        ));
    }
    let runs = |side: fn(&Group) -> &Vec<usize>, from: &[Dim]| {
        let lists: Vec<Vec<usize>> = groups.iter().map(|group| side(group).clone()).collect();
        // A scalar has no axes to be grouped.
        if from.is_empty() { vec![] } else { lists }
    };
    let scalar = input.dims.is_empty() || result.dims.is_empty();
    let middle = if scalar { vec![] } else { middle };
    let mut value = tensor;
    if input.rank() != middle.len() {
        let reassociation = reassociation(cx, &if scalar { vec![] } else { runs(|g| &g.inputs, &input.dims) });
        value = cx.builder.value("tensor.collapse_shape", &[value], cx.tensor_type(storage, &middle), &[("reassociation", reassociation)]);
    }
    if result.rank() != middle.len() {
        let reassociation = reassociation(cx, &if scalar { vec![] } else { runs(|g| &g.results, &result.dims) });
        value = expand(cx, value, storage, &result, reassociation)?;
    }
    // Equal extents written differently leave only the static ones to agree.
    let expected = cx.stored_type(&result);
    if value.r#type() != expected {
        value = cx.builder.value("tensor.cast", &[value], expected, &[]);
    }
    Ok(vec![value])
}

fn reassociation<'c>(cx: &LowerContext<'c>, groups: &[Vec<usize>]) -> Attribute<'c> {
    let lists: Vec<Attribute> = groups
        .iter()
        .map(|group| {
            let axes: Vec<Attribute> = group.iter().map(|axis| (*axis as i64).to_attribute(cx.context())).collect();
            ArrayAttribute::new(cx.context(), &axes).into()
        })
        .collect();
    ArrayAttribute::new(cx.context(), &lists).into()
}

fn expand<'c>(
    cx: &LowerContext<'c>,
    value: Val<'c>,
    storage: Type<'c>,
    result: &TensorType,
    reassociation: Attribute<'c>,
) -> Result<Val<'c>, String> {
    // SAFETY: no arguments.
    let dynamic = unsafe { mlirShapedTypeGetDynamicSize() };
    let statics: Vec<i64> = result.dims.iter().map(|dim| dim.as_static().unwrap_or(dynamic)).collect();
    let operands = [vec![value], cx.dynamic_extents(&result.dims)?].concat();
    let attributes =
        [("reassociation", reassociation), ("static_output_shape", DenseI64ArrayAttribute::new(cx.context(), &statics).into())];
    Ok(cx.builder.value("tensor.expand_shape", &operands, cx.tensor_type(storage, &result.dims), &attributes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[Dim], result: &[Dim], expected: &[(&[usize], &[usize])]) {
        let expected: Vec<Group> = expected.iter().map(|(i, r)| Group { inputs: i.to_vec(), results: r.to_vec() }).collect();
        assert_eq!(groups(input, result), expected);
    }

    #[test]
    fn axes_are_grouped_as_finely_as_extents_tell() {
        let d = |value: i64| Dim::from(value);
        let s = Dim::symbol(0);
        check(&[d(2), d(3), d(4)], &[d(6), d(4)], &[(&[0, 1], &[0]), (&[2], &[1])]);
        check(&[s.clone(), d(12)], &[s.clone(), d(3), d(4)], &[(&[0], &[0]), (&[1], &[1, 2])]);
        check(&[s.clone(), d(8)], &[&s * &d(8)], &[(&[0, 1], &[0])]);
        check(&[d(4), d(6)], &[d(6), d(4)], &[(&[0, 1], &[0, 1])]);
        check(&[d(3)], &[d(3), d(1)], &[(&[0], &[0, 1])]);
        check(&[d(0), d(3)], &[d(3), d(0)], &[(&[0, 1], &[0, 1])]);
        check(&[], &[d(1)], &[(&[], &[0])]);
    }
}
