//! `linalg.pack` of a single panel -> a copy into it.
//!
//! Lanes beyond the width keep what the buffer held: each lane is accumulated by itself, and unpacking leaves out those that have no column.
//! Runs on tensors, after the grid tile has cut the right side down to one panel. Refuses packs of several panels or several packed dims.

use super::{
    build::{Builder, lasting},
    unpack_panels::tensor_size,
};
use melior::{
    dialect::DialectHandle,
    ir::{
        Attribute, BlockLike, OperationRef, ValueLike,
        attribute::DenseI64ArrayAttribute,
        operation::OperationLike,
        r#type::{RankedTensorType, ShapedTypeLike},
    },
};
use winze_mlir::{attributes, pass::RustPass};

pub struct PackPanels;

impl RustPass for PackPanels {
    const ARGUMENT: &'static str = "pack-panels";
    const DESCRIPTION: &'static str = "Turn the packing of one panel into a copy";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith(), DialectHandle::tensor(), DialectHandle::linalg()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        super::rewrite_each::<Self>(func, "linalg.pack", rewrite)
    }
}

fn rewrite<'c>(op: OperationRef<'c, 'c>) -> Result<(), String> {
    let builder = Builder::before(op)?;
    let (source, panel) = (lasting(op.operand(0).map_err(|e| e.to_string())?), lasting(op.operand(1).map_err(|e| e.to_string())?));
    let packed = attributes::get::<Vec<i64>>(op, "inner_dims_pos").unwrap_or_default();
    let [packed] = packed[..] else {
        return Err("linalg.pack of several packed dims; pack one dim only".to_owned());
    };
    let packed = packed as usize;
    let source_type = RankedTensorType::try_from(source.r#type()).map_err(|e| e.to_string())?;
    let panel_type = RankedTensorType::try_from(panel.r#type()).map_err(|e| e.to_string())?;
    let mut order: Vec<usize> =
        attributes::get::<Vec<i64>>(op, "outer_dims_perm").unwrap_or_default().into_iter().map(|axis| axis as usize).collect();
    if order.is_empty() {
        order = (0..source_type.rank()).collect();
    }
    let number = order.iter().position(|axis| *axis == packed).ok_or("linalg.pack whose packed dim is none of its outer dims")?;
    if tensor_size(panel_type, number) != Some(1) {
        return Err("linalg.pack of several panels; make the tile of the packed dim as wide as the panel".to_owned());
    }

    // Slice dims: the panel's outer dims without its number, then as many lanes as the source has columns.
    order.remove(number);
    order.push(packed);
    let (mut sizes, mut dynamic, mut shape) = (vec![], vec![], vec![]);
    for (i, axis) in order.iter().enumerate() {
        if i == number {
            sizes.push(1);
        }
        let size = tensor_size(source_type, *axis);
        sizes.push(size.unwrap_or(i64::MIN));
        shape.push(size.map_or("?".to_owned(), |size| size.to_string()));
        if size.is_none() {
            let axis = builder.index(*axis as i64)?;
            dynamic.push(builder.value("tensor.dim", &[source, axis], builder.index_type(), &[])?);
        }
    }
    let element = source_type.element();
    let slice_type = builder.parse_type(&format!("tensor<{}x{element}>", shape.join("x")))?;
    let array = |values: &[i64]| -> Attribute<'c> { DenseI64ArrayAttribute::new(builder.context(), values).into() };
    let rank = sizes.len();
    let slice_attributes = |first: &[i32]| {
        [
            ("static_offsets", array(&vec![0; rank])),
            ("static_sizes", array(&sizes)),
            ("static_strides", array(&vec![1; rank])),
            ("operandSegmentSizes", attributes::segments(builder.context(), &[first, &[0, dynamic.len() as i32, 0]].concat())),
        ]
    };
    let slice = builder.value("tensor.extract_slice", &[&[panel], &dynamic[..]].concat(), slice_type, &slice_attributes(&[1]))?;

    let list = |dims: &mut dyn Iterator<Item = usize>| dims.map(|dim| format!("d{dim}")).collect::<Vec<_>>().join(", ");
    let domain = list(&mut (0..order.len()));
    // Loops follow the panel, so that it is written front to back.
    let position = |axis: usize| order.iter().position(|other| *other == axis).unwrap_or_default();
    let read = list(&mut (0..order.len()).map(position));
    let maps = format!("[affine_map<({domain}) -> ({read})>, affine_map<({domain}) -> ({domain})>]");
    let iterators = vec!["#linalg.iterator_type<parallel>"; order.len()].join(", ");
    let (region, block) = builder.region(&[element, element]);
    let value = lasting(block.argument(0).map_err(|e| e.to_string())?.into());
    Builder::at_end(block, builder.location).op("linalg.yield", &[value], &[], &[])?;
    let attributes = [
        ("indexing_maps", builder.attribute(&maps)?),
        ("iterator_types", builder.attribute(&format!("[{iterators}]"))?),
        ("operandSegmentSizes", attributes::segments(builder.context(), &[1, 1])),
    ];
    let copy = builder.op_with_regions("linalg.generic", &[source, slice], &[slice_type], &attributes, vec![region])?;
    let copied = lasting(copy.result(0).map_err(|e| e.to_string())?.into());
    let filled =
        builder.value("tensor.insert_slice", &[&[copied, panel], &dynamic[..]].concat(), panel_type.into(), &slice_attributes(&[1, 1]))?;
    super::replace(op, &[filled]);
    Ok(())
}
