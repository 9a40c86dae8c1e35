//! Nodes over small constants -> constants, so that import knows the shapes and indices that nodes compute.
//!
//! A node whose operands are all known is imported like any other; then what it made is evaluated and taken out of the block again. What
//! cannot be evaluated stays as it is. Constants that no later node needs to know are left to the `graph` stage (`fold-constants`).

use super::{
    importer::Importer,
    value::{Data, Tensor},
};
use crate::graph::fold_constants::MAX_ELEMENTS;
use winze_graph::{
    dim::Dim,
    eval::{EvalContext, eval_values},
    types::TensorType,
};
use winze_mlir::{
    melior::ir::{BlockLike, BlockRef, OperationRef, Value, operation::OperationLike},
    walk,
};

/// Whether all operands of a node are small constants.
pub fn applies(inputs: &[Option<Tensor>]) -> bool {
    let known = |tensor: &Tensor| match &tensor.data {
        Data::Value(_) | Data::Sequence(_) => false,
        Data::Constant(_) => is_small(&tensor.r#type),
        Data::Integers(items) => items.iter().all(|item| item.as_static().is_some()),
    };
    !inputs.is_empty() && inputs.iter().flatten().all(known)
}

fn is_small(r#type: &TensorType) -> bool {
    Dim::as_static(&r#type.count()).is_some_and(|count| count <= MAX_ELEMENTS)
}

/// The last operation of a block that is being filled.
pub fn last_operation<'c, 'a>(block: BlockRef<'c, 'a>) -> Option<OperationRef<'c, 'a>> {
    walk::operations(block).last()
}

/// Those behind `before`, in order.
pub fn operations_behind<'c, 'a>(block: BlockRef<'c, 'a>, before: Option<OperationRef<'c, 'a>>) -> Vec<OperationRef<'c, 'a>> {
    let mut ops: Vec<OperationRef<'c, 'a>> = vec![];
    // SAFETY: the operation lives as long as its block.
    let mut next = match before {
        Some(op) => op.next_in_block().map(|op| unsafe { OperationRef::from_raw(op.to_raw()) }),
        None => block.first_operation().map(|op| unsafe { OperationRef::from_raw(op.to_raw()) }),
    };
    while let Some(op) = next {
        // SAFETY: as above.
        next = op.next_in_block().map(|op| unsafe { OperationRef::from_raw(op.to_raw()) });
        ops.push(op);
    }
    ops
}

/// Replaces `outputs` that ops behind `before` compute, and erases those ops. The function had `symbols` symbols before them.
pub fn fold<'c: 'a, 'a>(
    importer: &mut Importer<'_, 'c, 'a>,
    block: BlockRef<'c, 'a>,
    (before, symbols): (Option<OperationRef<'c, 'a>>, usize),
    outputs: &mut [Tensor<'c, 'a>],
    name: &str,
) {
    let ops = operations_behind(block, before);
    let largest = |r#type: TensorType| TensorType::new(r#type.element, r#type.dims.iter().map(|dim| importer.sizes.range(dim).1).collect());
    let small = |op: &OperationRef| op.results().all(|result| TensorType::of(result.into()).is_ok_and(|r#type| is_small(&largest(r#type))));
    let wanted: Vec<Value<'c, 'a>> =
        outputs.iter().filter_map(|tensor| if let Data::Value(value) = tensor.data { Some(value) } else { None }).collect();
    if wanted.is_empty() || !ops.iter().all(small) {
        return;
    }
    let weights = |id: &str| importer.store.tensor(id);
    // Only sizes that these ops compute matter; theirs follow those of the inputs.
    let unused = vec![-1; symbols];
    let cx = EvalContext { weights: &weights, ..EvalContext::new(&unused) };
    let Ok(results) = eval_values(&cx, &ops, &wanted) else { return };
    let mut constants = vec![];
    for result in results {
        let Ok(id) = importer.store.add_tensor(name, &result) else { return };
        constants.push((id, result.tensor_type()));
    }
    let values = outputs.iter_mut().filter(|tensor| matches!(tensor.data, Data::Value(_)));
    values.zip(constants).for_each(|(tensor, (id, r#type))| *tensor = Tensor { r#type, data: Data::Constant(id), ..*tensor });
    ops.into_iter().rev().for_each(walk::erase);
    importer.forget_symbols(symbols);
}
