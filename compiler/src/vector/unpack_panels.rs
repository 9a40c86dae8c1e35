//! `linalg.unpack` of a single panel -> a slice of the panel, with the order of dims moved into the maps of its users.
//!
//! Without an epilogue to take it up, the panel is copied to the destination.
//! Runs on tensors, after the grid tile has cut the accumulator down to one panel. Refuses unpacks of several panels or several packed dims.

use super::build::{Builder, V, lasting};
use melior::{
    dialect::DialectHandle,
    ir::{
        AffineMap, Attribute, AttributeLike, BlockLike, OperationRef, Type, TypeLike, ValueLike,
        attribute::{ArrayAttribute, DenseI64ArrayAttribute},
        operation::{OperationLike, OperationMutLike, OperationRefMut},
        r#type::{RankedTensorType, ShapedTypeLike},
    },
};
use winze_mlir::{attributes, pass::RustPass, walk};

pub struct UnpackPanels;

impl RustPass for UnpackPanels {
    const ARGUMENT: &'static str = "unpack-panels";
    const DESCRIPTION: &'static str = "Turn the unpacking of one panel into a slice of it";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith(), DialectHandle::tensor(), DialectHandle::linalg()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        super::rewrite_each::<Self>(func, "linalg.unpack", rewrite)
    }
}

fn rewrite<'c>(op: OperationRef<'c, 'c>) -> Result<(), String> {
    let builder = Builder::before(op)?;
    let (source, dest) = (lasting(op.operand(0).map_err(|e| e.to_string())?), lasting(op.operand(1).map_err(|e| e.to_string())?));
    let packed = attributes::get::<Vec<i64>>(op, "inner_dims_pos").unwrap_or_default();
    let permuted = attributes::get::<Vec<i64>>(op, "outer_dims_perm").is_some_and(|p| !p.is_empty());
    let ([packed], false) = (&packed[..], permuted) else {
        return Err("linalg.unpack of several packed dims or of permuted outer dims; pack one dim only".to_owned());
    };
    let packed = *packed as usize;
    let source_type = RankedTensorType::try_from(source.r#type()).map_err(|e| e.to_string())?;
    let dest_type = RankedTensorType::try_from(dest.r#type()).map_err(|e| e.to_string())?;
    if tensor_size(source_type, packed) != Some(1) {
        return Err("linalg.unpack of several panels; make the tile of the packed dim as wide as the panel".to_owned());
    }

    // Slice dims: the source's outer dims without the packed one, then the panel.
    let order: Vec<_> = (0..dest_type.rank()).filter(|dim| *dim != packed).chain([packed]).collect();
    let (mut sizes, mut dynamic) = (vec![], vec![]);
    for dim in (0..dest_type.rank()).chain([packed]) {
        let is_outer_packed = dim == packed && sizes.len() == packed;
        let size = if is_outer_packed { Some(1) } else { tensor_size(dest_type, dim) };
        sizes.push(size.unwrap_or(i64::MIN));
        if size.is_none() {
            let index = builder.index(dim as i64)?;
            dynamic.push(builder.value("tensor.dim", &[dest, index], builder.index_type(), &[])?);
        }
    }
    let shape: Vec<_> = order.iter().map(|dim| tensor_size(dest_type, *dim).map_or("?".to_owned(), |size| size.to_string())).collect();
    let slice_type = builder.parse_type(&format!("tensor<{}x{}>", shape.join("x"), dest_type.element()))?;
    let array = |values: &[i64]| -> Attribute<'c> { DenseI64ArrayAttribute::new(builder.context(), values).into() };
    let rank = sizes.len();
    let slice = builder.value(
        "tensor.extract_slice",
        &[&[source], &dynamic[..]].concat(),
        slice_type,
        &[
            ("static_offsets", array(&vec![0; rank])),
            ("static_sizes", array(&sizes)),
            ("static_strides", array(&vec![1; rank])),
            ("operandSegmentSizes", attributes::segments(builder.context(), &[1, 0, dynamic.len() as i32, 0])),
        ],
    )?;

    let result = lasting(op.result(0).map_err(|e| e.to_string())?.into());
    let users = walk::uses(result).collect::<Vec<_>>();
    if !users.iter().all(|(user, _)| user.has_attribute("indexing_maps")) {
        let copied = copy_into(&builder, slice, dest, &order, dest_type)?;
        super::replace(op, &[copied]);
        return Ok(());
    }
    for (user, position) in users {
        let maps = user.attribute("indexing_maps").and_then(ArrayAttribute::try_from).map_err(|e| e.to_string())?;
        let mut list: Vec<_> = (0..maps.len()).map(|i| maps.element(i).map_err(|e| e.to_string())).collect::<Result<_, _>>()?;
        // SAFETY: indexing maps are affine map attributes, and so is the new one, which the context owns.
        list[position] = unsafe {
            let map = AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(list[position].to_raw()));
            Attribute::from_raw(mlir_sys::mlirAffineMapAttrGet(map.sub_map(&order).to_raw()))
        };
        // SAFETY: the user is live; only its operand and map change.
        let mut user = unsafe { OperationRefMut::from_raw(user.to_raw()) };
        user.set_operand(position, slice);
        user.set_attribute("indexing_maps", ArrayAttribute::new(builder.context(), &list).into());
    }
    walk::erase(op);
    Ok(())
}

/// Writes the panel to `dest`: for a kernel without an epilogue.
fn copy_into<'c>(builder: &Builder<'c>, slice: V<'c>, dest: V<'c>, order: &[usize], ty: RankedTensorType<'c>) -> Result<V<'c>, String> {
    let list = |dims: &mut dyn Iterator<Item = usize>| dims.map(|dim| format!("d{dim}")).collect::<Vec<_>>().join(", ");
    let domain = list(&mut (0..ty.rank()));
    let maps = format!("[affine_map<({domain}) -> ({})>, affine_map<({domain}) -> ({domain})>]", list(&mut order.iter().copied()));
    let iterators = vec!["#linalg.iterator_type<parallel>"; ty.rank()].join(", ");
    let (region, block) = builder.region(&[ty.element(), ty.element()]);
    let value = lasting(block.argument(0).map_err(|e| e.to_string())?.into());
    Builder::at_end(block, builder.location).op("linalg.yield", &[value], &[], &[])?;
    let attributes = [
        ("indexing_maps", builder.attribute(&maps)?),
        ("iterator_types", builder.attribute(&format!("[{iterators}]"))?),
        ("operandSegmentSizes", attributes::segments(builder.context(), &[1, 1])),
    ];
    let copy = builder.op_with_regions("linalg.generic", &[slice, dest], &[ty.into()], &attributes, vec![region])?;
    Ok(lasting(copy.result(0).map_err(|e| e.to_string())?.into()))
}

pub(super) fn tensor_size(tensor: RankedTensorType<'_>, dim: usize) -> Option<i64> {
    let tensor: Type = tensor.into();
    // SAFETY: `dim` is below the rank.
    let size = unsafe { mlir_sys::mlirShapedTypeGetDimSize(tensor.to_raw(), dim as isize) };
    (size >= 0).then_some(size)
}
