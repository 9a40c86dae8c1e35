//! `memref.copy` -> `linalg.generic`, so that copies become vector loops like everything else. (MLIR's own lowering calls a library for strided ones.)

use super::build::{Builder, lasting};
use melior::{
    dialect::DialectHandle,
    ir::{
        BlockLike, OperationRef, ValueLike,
        operation::OperationLike,
        r#type::{MemRefType, ShapedTypeLike},
    },
};
use winze_mlir::{attributes, pass::RustPass, walk};

pub struct ExpandCopies;

impl RustPass for ExpandCopies {
    const ARGUMENT: &'static str = "expand-copies";
    const DESCRIPTION: &'static str = "Turn copies of buffers into linalg.generic";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::linalg()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        super::rewrite_each::<Self>(func, "memref.copy", rewrite)
    }
}

fn rewrite<'c>(op: OperationRef<'c, 'c>) -> Result<(), String> {
    let builder = Builder::before(op)?;
    let operands: Vec<_> = op.operands().map(lasting).collect();
    let target = MemRefType::try_from(operands[1].r#type()).map_err(|e| e.to_string())?;
    let (element, rank) = (target.element(), target.rank());
    let dims: Vec<_> = (0..rank).map(|dim| format!("d{dim}")).collect();
    let map = format!("affine_map<({0}) -> ({0})>", dims.join(", "));
    let iterators = vec!["#linalg.iterator_type<parallel>"; rank].join(", ");
    let (region, block) = builder.region(&[element, element]);
    let value = lasting(block.argument(0).map_err(|e| e.to_string())?.into());
    Builder::at_end(block, op.location()).op("linalg.yield", &[value], &[], &[])?;
    let attributes = [
        ("indexing_maps", builder.attribute(&format!("[{map}, {map}]"))?),
        ("iterator_types", builder.attribute(&format!("[{iterators}]"))?),
        ("operandSegmentSizes", attributes::segments(builder.context(), &[1, 1])),
    ];
    builder.op_with_regions("linalg.generic", &operands, &[], &attributes, vec![region])?;
    walk::erase(op);
    Ok(())
}
