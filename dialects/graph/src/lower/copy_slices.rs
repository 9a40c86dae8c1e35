//! `copy-slices`: results that are an operand or a part of one -> copies of them into their destinations, for the schedule to cut.
//!
//! Canonicalization takes such copies away, so this comes last. Assumes that every result has its destination as an argument, in order at the end.

use super::{
    builder::{Builder, Val, lasting, lasting_block, lasting_op},
    place::ROOT,
};
use crate::op::op_name;
use winze_mlir::{
    attributes,
    context::context_of,
    melior::{
        dialect::DialectHandle,
        ir::{
            AffineMap, Attribute, BlockLike, OperationRef, RegionLike, ShapedTypeLike, TypeLike, ValueLike,
            attribute::ArrayAttribute,
            operation::{OperationLike, OperationResult},
            r#type::RankedTensorType,
        },
    },
    mlir_sys,
    pass::RustPass,
};

pub struct CopySlices;

impl RustPass for CopySlices {
    const ARGUMENT: &'static str = "copy-slices";
    const DESCRIPTION: &'static str = "Copy results that are operands or parts of them into their destinations";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::linalg()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, function: OperationRef<'_, '_>) -> Result<(), String> {
        let Some(block) = function.region(0).ok().and_then(|region| region.first_block()).map(lasting_block) else { return Ok(()) };
        let Some(end) = block.terminator().map(lasting_op) else { return Ok(()) };
        let arguments = (0..block.argument_count()).map(|i| lasting(block.argument(i).expect("in range").into()));
        let tensors: Vec<Val> = arguments.filter(|a| !a.r#type().is_index()).collect();
        let first = tensors.len().checked_sub(end.operand_count()).ok_or("copy-slices: fewer destinations than results")?;
        for (i, destination) in tensors[first..].iter().enumerate() {
            let result = lasting(end.operand(i).map_err(|e| e.to_string())?);
            let location = match OperationResult::try_from(result) {
                Ok(part) if op_name(part.owner()) == "tensor.extract_slice" => part.owner().location(),
                Err(_) if result != *destination => function.location(),
                _ => continue,
            };
            let b = Builder { context: context_of(function), location, block };
            let copy = copy(&b, result, *destination)?;
            // SAFETY: both ops are live and in one block; the copy has one result.
            unsafe {
                mlir_sys::mlirOperationMoveBefore(copy.to_raw(), end.to_raw());
                mlir_sys::mlirOperationSetOperand(end.to_raw(), i as isize, mlir_sys::mlirOperationGetResult(copy.to_raw(), 0));
            }
            if i == 0 {
                attributes::set(copy, ROOT, Attribute::unit(b.context));
            }
        }
        Ok(())
    }
}

/// Every element of `source` goes to the same place of `destination`.
fn copy<'c>(b: &Builder<'c>, source: Val<'c>, destination: Val<'c>) -> Result<super::builder::Op<'c>, String> {
    let tensor = RankedTensorType::try_from(destination.r#type()).map_err(|e| e.to_string())?;
    let (element, rank) = (tensor.element(), tensor.rank());
    let map = b.map_attribute(AffineMap::multi_dim_identity(b.context, rank));
    let parallel = b.attribute("#linalg.iterator_type<parallel>");
    let region = b.region(&[element, element], |_, values| vec![values[0]], "linalg.yield");
    let attributes = [
        ("indexing_maps", ArrayAttribute::new(b.context, &[map, map]).into()),
        ("iterator_types", ArrayAttribute::new(b.context, &vec![parallel; rank]).into()),
        ("operandSegmentSizes", attributes::segments(b.context, &[1, 1])),
    ];
    Ok(b.build("linalg.generic", &[source, destination], &[destination.r#type()], &attributes, vec![region]))
}
