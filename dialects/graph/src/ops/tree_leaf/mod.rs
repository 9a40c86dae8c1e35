//! `graph.tree_leaf`: descent of decision trees. Rows and trees are independent, so each is an element of the result; nothing is duplicated.

use crate::{
    dialect::TreeLeaf,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{Builder, LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type, ValueLike},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.tree_leaf",
    role: Role::DataMovement,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// Columns of the nodes.
const FEATURE: usize = 0;
const AT_MOST: usize = 1;
const LARGER: usize = 2;
const NOT_A_NUMBER: usize = 3;

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let [input, thresholds, nodes, roots] = [operand_type(cx, 0)?, operand_type(cx, 1)?, operand_type(cx, 2)?, operand_type(cx, 3)?];
    if input.rank() != 2 || thresholds.rank() != 1 || nodes.rank() != 2 || roots.rank() != 1 {
        return Err("it takes rows of features, a list of thresholds, a table of nodes and a list of roots".into());
    }
    if nodes.dims[1] != Dim::from(4) || nodes.dims[0] != thresholds.dims[0] {
        return Err(format!(
            "the table of nodes is {} x {}; each of {} thresholds has 4 entries",
            nodes.dims[0], nodes.dims[1], thresholds.dims[0]
        ));
    }
    if input.element != thresholds.element {
        return Err(format!("features of {} are compared with thresholds of {}", input.element, thresholds.element));
    }
    if nodes.dims[0] == Dim::from(0) || input.dims[1] == Dim::from(0) {
        return Err("there is no node, or no feature".into());
    }
    if attribute::<i64>(cx, "depth")? < 0 {
        return Err("the depth is negative".into());
    }
    let dims = vec![input.dims[0].clone(), roots.dims[0].clone()];
    Ok(vec![TensorType::new(ElementType::I32, dims).to_type(cx.context)])
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let [input, thresholds, nodes, roots] = inputs else { return Err(format!("{} operands", inputs.len())) };
    let (depth, (result, shape)) = (TreeLeaf(op).depth(), cx.result_type(op, 0)?);
    let (count, features) = (nodes.shape[0] as i64, input.shape[1] as i64);
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let mut node = roots.at(&index[1..]).i64().clamp(0, count - 1);
        for _ in 0..depth {
            let entry = |column: usize| nodes.at(&[node as usize, column]).i64();
            if entry(FEATURE) < 0 {
                break;
            }
            let x = input.at(&[index[0], entry(FEATURE).min(features - 1) as usize]).f64();
            let column = match x.partial_cmp(&thresholds.at(&[node as usize]).f64()) {
                None if x.is_nan() => NOT_A_NUMBER,
                Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal) => AT_MOST,
                _ => LARGER,
            };
            node = entry(column).clamp(0, count - 1);
        }
        Scalar::of(ElementType::I32, node)
    })])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let ((input, of_input), (thresholds, _), (nodes, of_nodes), (roots, _)) =
        (cx.operand(op, 0)?, cx.operand(op, 1)?, cx.operand(op, 2)?, cx.operand(op, 3)?);
    let element = of_input.element;
    let (count, features) = (cx.extent(&of_nodes.dims[0])?, cx.extent(&of_input.dims[1])?);
    let depth = TreeLeaf(op).depth();
    let destination = cx.destination(op, 0)?;
    let value = cx.map(&[], destination, ElementType::I32, |b, _| {
        let (row, tree) = (b.loop_index(0), b.loop_index(1));
        let last = |b: &Builder<'c>, count: Val<'c>| b.same("arith.subi", &[count, b.index(1)]);
        let inside = |b: &Builder<'c>, entry: Val<'c>, count: Val<'c>| {
            let index = b.value("arith.index_cast", &[entry], b.index_type(), &[]);
            let low = b.same("arith.maxsi", &[index, b.index(0)]);
            b.same("arith.minsi", &[low, last(b, count)])
        };
        let root = inside(b, b.extract(roots, &[tree]), count);
        let reached = b.count_to(b.index(depth), &[root], |b, _, node| {
            let node = node[0];
            let entry = |b: &Builder<'c>, column: Val<'c>| b.extract(nodes, &[node, column]);
            let feature = entry(b, b.index(FEATURE as i64));
            let is_leaf = b.cmpi("slt", feature, b.constant_int(feature.r#type(), 0));
            let next = |b: &Builder<'c>| {
                let x = b.widen(element, b.extract(input, &[row, inside(b, feature, features)]));
                let threshold = b.widen(element, b.extract(thresholds, &[node]));
                let (at_most, no_number) = (b.cmpf("ole", x, threshold), b.cmpf("uno", x, x));
                let otherwise = b.select(no_number, b.index(NOT_A_NUMBER as i64), b.index(LARGER as i64));
                inside(b, entry(b, b.select(at_most, b.index(AT_MOST as i64), otherwise)), count)
            };
            vec![b.if_else(is_leaf, b.index_type(), |_| node, next)]
        });
        b.value("arith.index_cast", &[reached[0]], ElementType::I32.to_scalar_type(b.context), &[])
    });
    Ok(vec![value])
}
