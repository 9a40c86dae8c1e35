//! Bufferized kernel that returns its destinations -> kernel without results.
//!
//! Assumes the signature of the `linalg` stage: one destination per result, the last tensor arguments. A result that did not bufferize onto its
//! destination is copied there.

use super::build::{Builder, lasting, lasting_op};
use melior::{
    dialect::DialectHandle,
    ir::{
        BlockLike, OperationRef, RegionLike, ValueLike,
        attribute::TypeAttribute,
        operation::{OperationLike, OperationMutLike, OperationRefMut},
        r#type::{FunctionType, MemRefType},
    },
};
use winze_mlir::{pass::RustPass, walk};

pub struct DropResults;

impl RustPass for DropResults {
    const ARGUMENT: &'static str = "drop-results";
    const DESCRIPTION: &'static str = "Return nothing from a kernel whose results stand in its destinations";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::memref()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let func = lasting_op(func);
        let block = func.region(0).ok().and_then(|region| region.first_block()).ok_or("drop-results: function without a body")?;
        let end = lasting_op(block.terminator().ok_or("drop-results: function without a terminator")?);
        let builder = Builder::before(end)?;
        let arguments: Vec<_> = (0..block.argument_count()).map(|i| lasting(block.argument(i).expect("in range").into())).collect();
        let types: Vec<_> = arguments.iter().map(|a| a.r#type()).collect();
        let buffers: Vec<_> = arguments.into_iter().filter(|a| MemRefType::try_from(a.r#type()).is_ok()).collect();
        let results: Vec<_> = end.operands().map(lasting).collect();
        let first = buffers.len().checked_sub(results.len()).ok_or("drop-results: more results than destinations")?;
        for (result, destination) in results.into_iter().zip(&buffers[first..]) {
            if result != *destination {
                builder.op("memref.copy", &[result, *destination], &[], &[])?;
            }
        }
        builder.op("func.return", &[], &[], &[])?;
        walk::erase(end);
        // SAFETY: the function is live and changes its type together with its terminator.
        unsafe {
            let mut func = OperationRefMut::from_raw(func.to_raw());
            let function_type = FunctionType::new(builder.context(), &types, &[]);
            func.set_attribute("function_type", TypeAttribute::new(function_type.into()).into());
            // Absent where results have no attributes.
            let _ = func.remove_attribute("res_attrs");
        }
        Ok(())
    }
}
