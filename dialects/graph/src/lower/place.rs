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
            AffineMap, Attribute, AttributeLike, BlockLike, OperationRef, RegionLike, TypeLike, Value, ValueLike,
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

/// Attribute of the last piece put into a result (pad, concat): the dims along which pieces do not fill the result, so that a schedule leaves them whole.
pub const PIECES: &str = "winze.pieces";

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
        let arguments: Vec<Val> = (0..block.argument_count()).map(|i| lasting(block.argument(i).expect("in range").into())).collect();
        let tensors: Vec<Val> = arguments.into_iter().filter(|a| !a.r#type().is_index()).collect();
        let results: Vec<Val> = end.operands().map(lasting).collect();
        let first = tensors.len().checked_sub(results.len()).ok_or("place-in-destinations: fewer destinations than results")?;
        for (i, result) in results.into_iter().enumerate() {
            place_result(result, tensors[first + i]);
            let Some(root) = defining(result).filter(|op| matches!(op_name(*op).as_str(), "linalg.generic" | "linalg.unpack")) else {
                continue;
            };
            update_in_place(root)?;
            // Updating replaces the op.
            let root = end.operand(i).ok().and_then(|operand| defining(lasting(operand)));
            if let (0, Some(root)) = (i, root) {
                attributes::set(root, ROOT, Attribute::unit(winze_mlir::context::context_of(root)));
            }
        }
        Ok(())
    }
}

/// The operand that an op writes over, for ops whose result replaces it.
fn init_position(op: Op) -> Option<usize> {
    match op_name(op).as_str() {
        "linalg.fill" | "linalg.generic" => match segment_sizes(op)[..] {
            [inputs, 1] => Some(inputs),
            _ => None,
        },
        "tensor.insert_slice" | "linalg.unpack" => Some(1),
        _ => None,
    }
}

/// Where the buffer of `value` begins: the op that first writes it and the position of what it overwrites.
fn first_write<'c>(value: Val<'c>) -> Option<(Op<'c>, usize)> {
    let op = defining(value)?;
    let position = init_position(op)?;
    let init = lasting(op.operand(position).ok()?);
    first_write(init).or(Some((op, position)))
}

fn is_empty(value: Val) -> bool {
    defining(value).is_some_and(|op| op_name(op) == "tensor.empty")
}

fn set_operand<'c>(op: Op<'c>, position: usize, value: Val<'c>) {
    // SAFETY: op and value are live and the value dominates the op.
    unsafe { mlir_sys::mlirOperationSetOperand(op.to_raw(), position as isize, value.to_raw()) }
}

/// Fusion leaves results in fresh tensors; this brings them back into the destination, and slices of results into slices of it.
fn place_result<'c>(result: Val<'c>, destination: Val<'c>) {
    if let Some((op, position)) = first_write(result)
        && op.operand(position).is_ok_and(|init| is_empty(lasting(init)) && init.r#type() == destination.r#type())
    {
        set_operand(op, position, destination);
    }
    let mut link = defining(result);
    while let Some(op) = link
        && let Some(position) = init_position(op)
    {
        if op_name(op) == "tensor.insert_slice" {
            place_slice(op);
        }
        link = op.operand(position).ok().and_then(|init| defining(lasting(init)));
    }
}

/// Lets the source of an insertion be computed in the slice that it is inserted into.
fn place_slice(insert: Op) {
    let (Ok(source), Ok(destination)) = (insert.operand(0).map(lasting), insert.operand(1).map(lasting)) else { return };
    let Some((op, position)) = first_write(source) else { return };
    let dominates = match defining(destination) {
        Some(before) => before.is_before_in_block(op),
        None => true,
    };
    let Some(block) = op.block().map(lasting_block) else { return };
    if !dominates || !has_one_use(source) || !op.operand(position).is_ok_and(|init| is_empty(lasting(init))) {
        return;
    }
    let context = winze_mlir::context::context_of(insert);
    let b = Builder { context, location: insert.location(), block };
    let names = ["static_offsets", "static_sizes", "static_strides"];
    let Ok(mut attributes) = names.iter().map(|name| insert.attribute(name).map(|a| (*name, a))).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let sizes = segment_sizes(insert);
    let segments: Vec<i32> = std::iter::once(1).chain(sizes[2..].iter().map(|size| *size as i32)).collect();
    attributes.push(("operandSegmentSizes", attributes::segments(context, &segments)));
    let operands: Vec<Val> = insert.operands().skip(1).map(lasting).collect();
    // Extents of the slice are computed before the source is.
    if operands[1..].iter().any(|v| defining(*v).is_some_and(|def| !def.is_before_in_block(op))) {
        return;
    }
    let slice = b.op("tensor.extract_slice", &operands, &[source.r#type()], &attributes);
    // SAFETY: both ops are live and in one block.
    unsafe { mlir_sys::mlirOperationMoveBefore(slice.to_raw(), op.to_raw()) }
    set_operand(op, position, lasting(slice.result(0).expect("one result").into()));
}

fn defining<'c>(value: Val<'c>) -> Option<Op<'c>> {
    OperationResult::try_from(value).ok().map(|result| lasting_op(result.owner()))
}

/// True if one operation uses the contents of `value`; its extents may be asked for anywhere.
fn has_one_writer(value: Val) -> bool {
    walk::users(value).filter(|user| op_name(*user) != "tensor.dim").count() == 1
}

fn has_one_use(value: Value) -> bool {
    walk::users(value).count() == 1
}

/// If `op` computes its only output from an input of the same form, lets it update that input; then looks at the producer of its new output.
fn update_in_place(op: Op<'_>) -> Result<(), String> {
    if op_name(op) != "linalg.generic" {
        return Ok(());
    }
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
    let output_read = walk::users(output_argument.into()).next().is_some();
    if !parallel || !identity(output_map) || output_read || !destination.is_block_argument() || !has_one_writer(destination) {
        return Ok(());
    }
    for i in 0..inputs {
        let input = lasting(op.operand(i).map_err(|e| e.to_string())?);
        let Some(producer) = defining(input).filter(|p| matches!(op_name(*p).as_str(), "linalg.generic" | "linalg.fill")) else { continue };
        let Some((writer, position)) = first_write(input) else { continue };
        let fresh = writer.operand(position).is_ok_and(|init| is_empty(lasting(init)));
        if map(i)? != output_map || input.r#type() != destination.r#type() || !fresh || !is_private(input) {
            continue;
        }
        // The chain of `input` starts at the destination instead of an empty tensor, and `op` goes on where it ends.
        set_operand(writer, position, destination);
        rebuild(op, i, inputs, &maps)?;
        return update_in_place(producer);
    }
    Ok(())
}

/// Each link of the chain that writes `value` is used once, so nothing else sees the buffer.
fn is_private(mut value: Val) -> bool {
    while let Some(op) = defining(value)
        && let Some(position) = init_position(op)
    {
        if !has_one_use(value) {
            return false;
        }
        let Ok(next) = op.operand(position) else { return false };
        value = lasting(next);
    }
    true
}

/// `op` without input `i`, which becomes its output.
fn rebuild<'c>(op: Op<'c>, i: usize, inputs: usize, maps: &ArrayAttribute<'c>) -> Result<(), String> {
    let context = winze_mlir::context::context_of(op);
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
                walk::replace_all_uses(argument.into(), replacement(k));
            }
            for moved in walk::operations(old_body).map(lasting_op) {
                if op_name(moved) == "linalg.yield" {
                    yielded = moved.operands().map(lasting).collect();
                    continue;
                }
                walk::move_to_end(moved, inner.block);
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
    // SAFETY: both are live and in blocks.
    unsafe { mlir_sys::mlirOperationMoveBefore(new.to_raw(), op.to_raw()) };
    let (old_result, new_result) = (op.result(0).expect("one result"), new.result(0).expect("one result"));
    walk::replace_all_uses(old_result.into(), new_result.into());
    walk::erase(op);
    Ok(())
}

fn scalar_type<'c>(tensor: Val<'c>) -> winze_mlir::melior::ir::Type<'c> {
    use winze_mlir::melior::ir::r#type::{RankedTensorType, ShapedTypeLike};
    RankedTensorType::try_from(tensor.r#type()).expect("a linalg operand on tensors").element()
}
