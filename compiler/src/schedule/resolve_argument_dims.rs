//! `tensor.dim` of a kernel argument -> an `affine.apply` of the kernel's `index` arguments, as `winze.dims` says.
//!
//! Afterwards the sizes of the grid, of tiles and of local buffers are expressions over the kernel's dims.

use crate::vector::{
    build::{Builder, lasting, lasting_op},
    lower_grid::entry_block,
    replace,
};
use melior::{
    dialect::DialectHandle,
    ir::{
        AffineMap, Attribute, AttributeLike, BlockLike, OperationRef, TypeLike, ValueLike,
        attribute::IntegerAttribute,
        operation::{OperationLike, OperationResult},
    },
};
use winze_mlir::{attributes, pass::RustPass};

pub struct ResolveArgumentDims;

impl RustPass for ResolveArgumentDims {
    const ARGUMENT: &'static str = "resolve-argument-dims";
    const DESCRIPTION: &'static str = "Express sizes of kernel arguments by the kernel's dims";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::affine(), DialectHandle::arith()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let func = lasting_op(func);
        crate::vector::rewrite_each::<Self>(func, "tensor.dim", |op| rewrite(func, op))
    }
}

fn rewrite<'c>(func: OperationRef<'c, 'c>, op: OperationRef<'c, 'c>) -> Result<(), String> {
    let block = entry_block(func)?;
    let arguments: Vec<_> = (0..block.argument_count()).map(|i| lasting(block.argument(i).expect("in range").into())).collect();
    let tensor = lasting(op.operand(0).map_err(|e| e.to_string())?);
    let Some(position) = arguments.iter().position(|argument| *argument == tensor) else {
        return Ok(());
    };
    let constant = OperationResult::try_from(op.operand(1).map_err(|e| e.to_string())?).ok().map(|result| result.owner());
    let dim = constant.and_then(|c| c.attribute("value").ok()).and_then(|a| IntegerAttribute::try_from(a).ok());
    let Some(dim) = dim.map(|dim| dim.value() as isize) else {
        return Ok(());
    };
    let ty = tensor.r#type().to_raw();
    // SAFETY: tensor.dim takes ranked tensors here, and its verifier has checked the dim.
    let is_dynamic = |dim| unsafe { mlir_sys::mlirShapedTypeIsDynamicDim(ty, dim) };
    if !is_dynamic(dim) {
        return Ok(());
    }
    let result = (0..dim).filter(|dim| is_dynamic(*dim)).count();
    let map = attributes::port_entry::<Attribute>(func, "arg_attrs", position, "winze.dims")
        // SAFETY: the attribute is checked to be an affine map.
        .filter(|a| unsafe { mlir_sys::mlirAttributeIsAAffineMap(a.to_raw()) })
        .map(|a| unsafe { AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(a.to_raw())) });
    let symbols: Vec<_> = arguments.into_iter().filter(|argument| argument.r#type().is_index()).collect();
    let map = map
        .filter(|map| map.dim_count() == 0 && result < map.result_count() && map.symbol_count() <= symbols.len())
        .ok_or_else(|| format!("argument {position} lacks a 'winze.dims' that gives dynamic size {result}"))?;
    let size = Builder::before(op)?.apply(map.sub_map(&[result]), &symbols[..map.symbol_count()])?;
    replace(op, &[size]);
    Ok(())
}
