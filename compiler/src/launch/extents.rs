//! Extents of tensors and buffers as affine-map attributes: one result per dim, over the symbols of the function.

use melior::{
    Context,
    ir::{Attribute, Type, TypeLike},
};
pub use winze_graph::types::dims_of_attribute as from_attribute;
use winze_graph::{
    dim::Dim,
    types::{TensorType, dims_attribute},
};

/// `affine_map<()[s0, ...] -> (...)>` of these extents.
pub fn to_attribute<'c>(context: &'c Context, dims: &[Dim]) -> Attribute<'c> {
    dims_attribute(context, dims.iter())
}

/// Element type of a shaped type.
pub fn element_of(r#type: Type) -> Type {
    // SAFETY: callers pass tensors and memrefs.
    unsafe { Type::from_raw(mlir_sys::mlirShapedTypeGetElementType(r#type.to_raw())) }
}

/// The extents of a tensor and its buffer type: same dims and elements, no encoding.
pub fn buffer_of<'c>(context: &'c Context, tensor: Type<'c>) -> Result<(Vec<Dim>, Type<'c>), String> {
    let TensorType { element, dims } = TensorType::from_type(tensor)?;
    let extents: String = dims.iter().map(|dim| dim.as_static().map_or("?x".into(), |extent| format!("{extent}x"))).collect();
    let text = format!("memref<{extents}{element}>");
    let memref = Type::parse(context, &text).ok_or_else(|| format!("there is no buffer of type {text}"))?;
    Ok((dims, memref))
}
