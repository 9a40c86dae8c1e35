//! `place-in-destinations`: tags the op that a schedule tiles and lets temporaries of a result's size live in the result's destination.
//!
//! A parallel `linalg.generic` that reads a tensor only it uses, element for element, and writes elsewhere, comes to update that tensor in place:
//! contraction and epilogue then share one buffer. Assumes the output of `convert-graph-to-linalg`, fused.

use super::builder::{Builder, Op, Val, lasting, lasting_block, lasting_op};
use crate::op::op_name;
use winze_mlir::{
    attributes::{self, segment_sizes},
    melior::{
        dialect::DialectHandle,
        ir::{
            AffineMap, Attribute, AttributeLike, BlockLike, OperationRef, RegionLike, Value, ValueLike,
            attribute::ArrayAttribute,
            operation::{OperationLike, OperationResult},
        },
    },
    mlir_sys,
    pass::RustPass,
    walk,
};

/// Attribute of the op that the schedule tiles.
pub const ROOT: &str = "winze.root";

pub struct PlaceInDestinations;

impl RustPass for PlaceInDestinations {
    const ARGUMENT: &'static str = "place-in-destinations";
    const DESCRIPTION: &'static str = "Let temporaries of a kernel live in its destinations; tag the op to be tiled";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::linalg(), DialectHandle::tensor()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, function: OperationRef<'_, '_>) -> Result<(), String> {
        let Some(block) = function.region(0).ok().and_then(|region| region.first_block()).map(lasting_block) else { return Ok(()) };
        let Some(end) = block.terminator().map(lasting_op) else { return Ok(()) };
        let results: Vec<Val> = end.operands().map(lasting).collect();
        for (i, result) in results.into_iter().enumerate() {
            let Some(root) = defining(result).filter(|op| op_name(*op) == "linalg.generic") else { continue };
            update_in_place(root)?;
            // Updating replaces the op.
            let root = end.operand(i).ok().and_then(|operand| defining(lasting(operand)));
            if let (0, Some(root)) = (i, root) {
                // SAFETY: the context outlives the pass.
                attributes::set(root, ROOT, Attribute::unit(unsafe { root.context().to_ref() }));
            }
        }
        Ok(())
    }
}

fn defining<'c>(value: Val<'c>) -> Option<Op<'c>> {
    OperationResult::try_from(value).ok().map(|result| lasting_op(result.owner()))
}

fn has_one_use(value: Value) -> bool {
    // SAFETY: reads the use list of a live value.
    unsafe {
        let first = mlir_sys::mlirValueGetFirstUse(value.to_raw());
        !mlir_sys::mlirOpOperandIsNull(first) && mlir_sys::mlirOpOperandIsNull(mlir_sys::mlirOpOperandGetNextUse(first))
    }
}

/// What the destination of `op` is, followed through the ops that fill and update it.
fn initial<'c>(mut value: Val<'c>) -> Val<'c> {
    while let Some(op) = defining(value)
        && matches!(op_name(op).as_str(), "linalg.fill" | "linalg.generic")
        && let [inputs, 1] = segment_sizes(op)[..]
        && let Ok(next) = op.operand(inputs)
    {
        value = lasting(next);
    }
    value
}

/// If `op` computes its only output from an input of the same form, lets it update that input; then looks at the producer of its new output.
fn update_in_place(op: Op<'_>) -> Result<(), String> {
    let [inputs, 1] = segment_sizes(op)[..] else { return Ok(()) };
    let array = |name: &str| attributes::get::<Attribute>(op, name).and_then(|a| ArrayAttribute::try_from(a).ok());
    let (Some(maps), Some(iterators)) = (array("indexing_maps"), array("iterator_types")) else { return Ok(()) };
    let map = |i: usize| maps.element(i).map_err(|e| e.to_string());
    let parallel = (0..iterators.len()).all(|i| iterators.element(i).is_ok_and(|it| it.to_string().contains("parallel")));
    // SAFETY: indexing maps are affine maps.
    let identity = |map: Attribute| unsafe { AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(map.to_raw())) }.is_identity();
    let output_map = map(inputs)?;
    let destination = lasting(op.operand(inputs).map_err(|e| e.to_string())?);
    let body = op.region(0).ok().and_then(|region| region.first_block()).ok_or("place-in-destinations: linalg.generic without a body")?;
    let output_argument = body.argument(inputs).map_err(|e| e.to_string())?;
    // SAFETY: reads the use list of a live value.
    let output_read = unsafe { !mlir_sys::mlirOpOperandIsNull(mlir_sys::mlirValueGetFirstUse(output_argument.to_raw())) };
    if !parallel || !identity(output_map) || output_read || !destination.is_block_argument() || !has_one_use(destination) {
        return Ok(());
    }
    for i in 0..inputs {
        let input = lasting(op.operand(i).map_err(|e| e.to_string())?);
        let Some(producer) = defining(input).filter(|p| matches!(op_name(*p).as_str(), "linalg.generic" | "linalg.fill")) else { continue };
        let start = initial(input);
        let fresh = defining(start).is_some_and(|op| op_name(op) == "tensor.empty");
        if map(i)? != output_map
            || input.r#type() != destination.r#type()
            || !has_one_use(input)
            || !fresh
            || !chain_is_private(input, start)
        {
            continue;
        }
        // The chain of `input` starts at the destination instead of an empty tensor, and `op` goes on where it ends.
        // SAFETY: all values are live; the old op is erased after its result was replaced.
        unsafe {
            let first = mlir_sys::mlirValueGetFirstUse(start.to_raw());
            let (user, position) = (mlir_sys::mlirOpOperandGetOwner(first), mlir_sys::mlirOpOperandGetOperandNumber(first));
            mlir_sys::mlirOperationSetOperand(user, position as isize, destination.to_raw());
        }
        rebuild(op, i, inputs, &maps)?;
        return update_in_place(producer);
    }
    Ok(())
}

/// Each link from `value` down to `start` is used once, so nothing else sees the buffer.
fn chain_is_private<'c>(mut value: Val<'c>, start: Val<'c>) -> bool {
    while value != start {
        let Some(op) = defining(value) else { return false };
        let [inputs, 1] = segment_sizes(op)[..] else { return false };
        let Ok(next) = op.operand(inputs) else { return false };
        if !has_one_use(value) {
            return false;
        }
        value = lasting(next);
    }
    has_one_use(start)
}

/// `op` without input `i`, which becomes its output.
fn rebuild<'c>(op: Op<'c>, i: usize, inputs: usize, maps: &ArrayAttribute<'c>) -> Result<(), String> {
    // SAFETY: the context outlives the pass.
    let context = unsafe { op.context().to_ref() };
    let block = lasting_block(op.block().ok_or("place-in-destinations: op outside a block")?);
    let input = lasting(op.operand(i).map_err(|e| e.to_string())?);
    let kept: Vec<usize> = (0..inputs).filter(|k| *k != i).collect();
    let mut operands: Vec<Val> = kept.iter().map(|k| lasting(op.operand(*k).expect("in range"))).collect();
    operands.push(input);
    let new_maps: Vec<Attribute> = kept.iter().chain([&inputs]).map(|k| maps.element(*k).expect("one per operand")).collect();
    let b = Builder { context, location: op.location(), block };
    let iterators = op.attribute("iterator_types").map_err(|e| e.to_string())?;
    let types: Vec<_> = operands.iter().map(|v| scalar_type(*v)).collect();
    let old_body = lasting_block(op.region(0).expect("has a body").first_block().expect("has a block"));
    let region = b.region(
        &types,
        |inner, values| {
            // The new output stands for input `i`; the old output is not read.
            let replacement = |k: usize| match kept.iter().position(|kept| *kept == k) {
                Some(position) => values[position],
                None => values[kept.len()],
            };
            let mut yielded = vec![];
            for k in 0..=inputs {
                let argument = old_body.argument(k).expect("one per operand");
                // SAFETY: both values are live.
                unsafe { mlir_sys::mlirValueReplaceAllUsesOfWith(argument.to_raw(), replacement(k).to_raw()) }
            }
            for moved in walk::operations(old_body).map(lasting_op) {
                if op_name(moved) == "linalg.yield" {
                    yielded = moved.operands().map(lasting).collect();
                    continue;
                }
                // SAFETY: moves a live operation to the end of the new block.
                unsafe {
                    mlir_sys::mlirOperationRemoveFromParent(moved.to_raw());
                    mlir_sys::mlirBlockAppendOwnedOperation(inner.block.to_raw(), moved.to_raw());
                }
            }
            yielded
        },
        "linalg.yield",
    );
    let attributes = [
        ("indexing_maps", ArrayAttribute::new(context, &new_maps).into()),
        ("iterator_types", iterators),
        ("operandSegmentSizes", attributes::segments(context, &[kept.len() as i32, 1])),
    ];
    let new = b.build("linalg.generic", &operands, &[input.r#type()], &attributes, vec![region]);
    // SAFETY: the new op takes the old one's place and uses; then the old one is erased.
    unsafe {
        mlir_sys::mlirOperationMoveBefore(new.to_raw(), op.to_raw());
        let (old_result, new_result) = (op.result(0).expect("one result"), new.result(0).expect("one result"));
        mlir_sys::mlirValueReplaceAllUsesOfWith(old_result.to_raw(), new_result.to_raw());
        mlir_sys::mlirOperationDestroy(op.to_raw());
    }
    Ok(())
}

fn scalar_type<'c>(tensor: Val<'c>) -> winze_mlir::melior::ir::Type<'c> {
    use winze_mlir::melior::ir::r#type::{RankedTensorType, ShapedTypeLike};
    RankedTensorType::try_from(tensor.r#type()).expect("a linalg operand on tensors").element()
}
