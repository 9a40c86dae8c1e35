//! `graph.transpose`: permutes axes.

use crate::{
    dialect::Transpose,
    eval::EvalContext,
    infer::{attribute, operand_type, per_axis},
    lower::{LowerContext, Op, Part, Val},
    op::{OpDefinition, Role, op_name},
    tensor::Tensor,
    types::{TensorType, check_axes},
};
use winze_mlir::{
    melior::ir::{
        OperationRef, Type,
        operation::{OperationLike, OperationResult},
    },
    op_hooks::{InferContext, OpHooks},
    rewrite::PatternSet,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.transpose",
    role: Role::View,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: Some(canonicalize) },
    eval,
    lower,
    scalar: None,
};

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let input = operand_type(cx, 0)?;
    let permutation = check_axes(&per_axis("permutation", attribute(cx, "permutation")?, input.rank())?, input.rank())?;
    let dims = permutation.iter().map(|axis| input.dims[*axis].clone()).collect();
    Ok(vec![TensorType::new(input.element, dims).to_type(cx.context)])
}

fn canonicalize(patterns: &mut PatternSet) {
    patterns.add("graph.transpose", 1, |op, rewriter| {
        let (permutation, input) = (Transpose(op).permutation(), op.operand(0).map_err(|e| e.to_string())?);
        if permutation.is_sorted() {
            rewriter.replace_op_with_values(op, &[input]);
            return Ok(true);
        }
        let Ok(producer) = OperationResult::try_from(input) else { return Ok(false) };
        let producer = producer.owner();
        if op_name(producer) != "graph.transpose" {
            return Ok(false);
        }
        let inner = Transpose(producer).permutation();
        let joined = permutation.iter().map(|axis| inner[*axis as usize]).collect();
        let context = winze_mlir::context::context_of(op);
        let source = producer.operand(0).map_err(|e| e.to_string())?;
        let joined = rewriter.insert(Transpose::create(context, op.location(), source, joined)?);
        rewriter.replace_op_with_operation(op, joined);
        Ok(true)
    });
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let permutation = check_axes(&Transpose(op).permutation(), shape.len())?;
    let mut source = vec![0; shape.len()];
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        permutation.iter().zip(index).for_each(|(axis, i)| source[*axis] = *i);
        inputs[0].at(&source)
    })])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (tensor, input) = cx.operand(op, 0)?;
    let permutation = check_axes(&Transpose(op).permutation(), input.rank())?;
    let destination = cx.destination(op, 0)?;
    let mut map = cx.identity(input.rank());
    for (i, axis) in permutation.into_iter().enumerate() {
        map[axis] = cx.loop_dim(i);
    }
    Ok(vec![cx.map(&[Part { tensor, element: input.element, map }], destination, input.element, |_, x| x[0])])
}
