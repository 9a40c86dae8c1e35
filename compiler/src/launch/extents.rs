//! Extents of tensors and buffers as affine-map attributes: one result per dim, over the symbols of the function.

use melior::{
    Context,
    ir::{AffineMap, Attribute, AttributeLike, Type, TypeLike},
};
use winze_graph::{
    dim::Dim,
    types::{TensorType, dims_attribute},
};

/// `affine_map<()[s0, ...] -> (...)>` of these extents.
pub fn to_attribute<'c>(context: &'c Context, dims: &[Dim]) -> Attribute<'c> {
    dims_attribute(context, dims.iter())
}

/// Extents in such an attribute.
pub fn from_attribute(attribute: Attribute) -> Result<Vec<Dim>, String> {
    // SAFETY: guarded by the check of the attribute's kind.
    let map = unsafe {
        if !mlir_sys::mlirAttributeIsAAffineMap(attribute.to_raw()) {
            return Err(format!("{attribute} is no affine map"));
        }
        AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(attribute.to_raw()))
    };
    (0..map.result_count()).map(|i| Dim::from_affine(map.result(i).map_err(|e| e.to_string())?)).collect()
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
