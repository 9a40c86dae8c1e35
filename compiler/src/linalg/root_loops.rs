//! Kernel at the `linalg` stage -> the loops of its root, as `select_schedule` wants them.

use crate::{
    launch::{encode::expr_of, extents},
    schedule::{LoopRole, OpClass, RootLoop},
    vector::vectorize_contractions::CONTRACTION,
};
use melior::ir::{
    AffineMap, Attribute, AttributeLike, BlockLike, Module, OperationRef, Type, TypeLike, Value, ValueLike,
    attribute::ArrayAttribute,
    operation::{OperationLike, OperationResult},
};
use winze_graph::{
    dim::Dim,
    lower::{DIMS, PIECES, ROOT},
};
use winze_mlir::{attributes, walk};
use winze_runtime::artifact::expr::Expr;

/// What the schedule of a kernel depends on.
pub struct RootInfo {
    pub class: OpClass,
    pub loops: Vec<RootLoop>,
    /// The loop along which the root writes and its largest input is read, element by element.
    pub run: Option<usize>,
    /// Bits of the widest element among the kernel's tensors.
    pub element_bits: u32,
    /// Lanes of the panels that are unpacked.
    pub panel: Option<i64>,
    /// A right side is packed while the kernel runs.
    pub packs: bool,
    /// Extents of the reductions among the loops of a contraction; 0 for other loops, and for extents that only a run knows.
    pub reductions: Vec<i64>,
}

/// Reads the root of a kernel of class `class` (as form-kernels names it).
pub fn read_root(module: &Module, class: &str) -> Result<RootInfo, String> {
    let func = crate::schedule::kernel(module)?;
    let block = walk::blocks(func).into_iter().next().ok_or("linalg: a kernel without a body")?;
    let mut element_bits = 8;
    for i in 0..block.argument_count() {
        let r#type = block.argument(i).expect("in range").r#type();
        if is_tensor(r#type) {
            element_bits = element_bits.max(attributes::bit_width(extents::element_of(r#type)).unwrap_or(8));
        }
    }
    let ops: Vec<OperationRef> = walk::operations(block).collect();
    let sequential =
        RootInfo { class: OpClass::Sequential, loops: vec![], run: None, element_bits, panel: None, packs: false, reductions: vec![] };
    if let Some(loops) = pieces(func, &ops)? {
        return Ok(RootInfo { class: OpClass::Pieces, run: Some(loops.len() - 1), loops, ..sequential });
    }
    let Some(root) = ops.iter().copied().find(|op| op.has_attribute(ROOT)) else { return Ok(sequential) };
    let Some((extents, reductions)) = loops_of(func, root)? else { return Ok(sequential) };
    if extents.is_empty() {
        return Ok(sequential);
    }

    let unpack = ops.iter().find(|op| name_of(**op) == "linalg.unpack");
    let first = |name: &str| attributes::get::<Vec<i64>>(*unpack?, name)?.first().copied();
    let packed = first("inner_dims_pos").map(|axis| axis as usize);
    let panel = first("static_inner_tiles");
    // What is accumulated may be wider than all that is read and written.
    let accumulated = unpack.and_then(|op| op.operand(0).ok()).and_then(|v| attributes::bit_width(extents::element_of(v.r#type())));
    element_bits = element_bits.max(accumulated.unwrap_or(0));
    let packs = ops.iter().any(|op| name_of(*op) == "linalg.pack");
    let has_pad = ops.iter().any(|op| name_of(*op) == "tensor.pad");
    let class = match class {
        "contraction" if packed.is_some() => OpClass::Contraction,
        "contraction" | "reduction" => OpClass::Reduction,
        "window" => OpClass::Pooling,
        "softmax" => OpClass::Normalization,
        _ if has_pad => OpClass::Pad,
        "copy" => OpClass::Copy,
        _ => OpClass::Elementwise,
    };
    let mut whole = reductions;
    for op in &ops {
        // A dim that a producer with the same loops reduces must be whole in every tile.
        if op.to_raw().ptr != root.to_raw().ptr && class != OpClass::Contraction {
            let inner = iterators(*op);
            if inner.len() == whole.len() {
                for (whole, inner) in whole.iter_mut().zip(inner) {
                    *whole |= inner;
                }
            }
        }
    }
    let loops = extents
        .into_iter()
        .zip(whole)
        .enumerate()
        .map(|(i, (extent, whole))| {
            let role = match () {
                () if class == OpClass::Contraction && packed == Some(i) => LoopRole::Panel,
                () if whole => LoopRole::Whole,
                () => LoopRole::Free,
            };
            RootLoop { extent, role }
        })
        .collect();
    let contraction = ops.iter().find(|op| op.has_attribute(CONTRACTION)).map(|op| reductions_of(*op)).transpose()?;
    Ok(RootInfo { class, loops, run: run_of(root)?, element_bits, panel, packs, reductions: contraction.unwrap_or_default() })
}

/// Dims of a result that is put together from pieces, if it has any and they are known.
fn pieces(func: OperationRef, ops: &[OperationRef]) -> Result<Option<Vec<RootLoop>>, String> {
    let Some((last, axes)) = ops.iter().find_map(|op| Some((*op, attributes::get::<Vec<i64>>(*op, PIECES)?))) else { return Ok(None) };
    let Some(dims) = known_dims(func, last.operand(1).map_err(|e| e.to_string())?)? else { return Ok(None) };
    let dims: Option<Vec<Dim>> = dims.into_iter().collect();
    let role = |axis: usize| if axes.contains(&(axis as i64)) { LoopRole::Whole } else { LoopRole::Free };
    let loops = |dims: Vec<Dim>| dims.iter().enumerate().map(|(axis, dim)| RootLoop { extent: expr_of(dim), role: role(axis) }).collect();
    Ok(dims.filter(|dims| !dims.is_empty()).map(loops))
}

fn name_of(op: OperationRef) -> String {
    op.name().as_string_ref().as_str().unwrap_or("").to_string()
}

fn is_tensor(r#type: Type) -> bool {
    // SAFETY: a live type.
    unsafe { mlir_sys::mlirTypeIsARankedTensor(r#type.to_raw()) }
}

/// Which loops of a `linalg.generic` are reductions; empty for other ops.
fn iterators(op: OperationRef) -> Vec<bool> {
    let Some(array) = attributes::get::<Attribute>(op, "iterator_types").and_then(|a| ArrayAttribute::try_from(a).ok()) else {
        return vec![];
    };
    (0..array.len()).map(|i| array.element(i).is_ok_and(|iterator| iterator.to_string().contains("reduction"))).collect()
}

/// Static extents of the reductions of a contraction, from its weights; 0 for other loops.
fn reductions_of(contraction: OperationRef) -> Result<Vec<i64>, String> {
    let mut extents = vec![0; iterators(contraction).len()];
    let (weights, map) = (contraction.operand(1).map_err(|e| e.to_string())?.r#type(), indexing_maps(contraction)?.swap_remove(1));
    for axis in 0..map.result_count() {
        let expr = map.result(axis).map_err(|e| e.to_string())?;
        // SAFETY: weights are ranked tensors, with an axis per result of their map.
        let extent = unsafe { mlir_sys::mlirShapedTypeGetDimSize(weights.to_raw(), axis as isize) };
        if expr.is_dim() && iterators(contraction)[expr.dim_position()] {
            extents[expr.dim_position()] = extent.max(0);
        }
    }
    Ok(extents)
}

/// The loop that both the result of a `linalg.generic` and its input of the highest rank have as their last dim.
fn run_of(root: OperationRef) -> Result<Option<usize>, String> {
    let last = |map: AffineMap| Some(map.result(map.result_count().checked_sub(1)?).ok().filter(|e| e.is_dim())?.dim_position());
    let maps = indexing_maps(root)?;
    let Some((output, inputs)) = maps.split_last() else { return Ok(None) };
    // The first of equals.
    let largest = inputs.iter().rev().max_by_key(|map| map.result_count());
    Ok(last(*output).filter(|run| largest.is_none_or(|map| last(*map) == Some(*run))))
}

fn indexing_maps<'c>(op: OperationRef<'c, '_>) -> Result<Vec<AffineMap<'c>>, String> {
    let Some(maps) = attributes::get::<Attribute>(op, "indexing_maps").and_then(|a| ArrayAttribute::try_from(a).ok()) else {
        return Ok(vec![]);
    };
    let map = |i| {
        let attribute = maps.element(i).map_err(|e| e.to_string())?;
        // SAFETY: indexing maps are affine maps.
        Ok(unsafe { AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(attribute.to_raw())) })
    };
    (0..maps.len()).map(map).collect()
}

/// Extents and reductions of the root's loops; `None` if it is no op with loops or an extent is not known from the arguments.
fn loops_of(func: OperationRef, root: OperationRef) -> Result<Option<(Vec<Expr>, Vec<bool>)>, String> {
    if name_of(root) == "linalg.unpack" {
        let target = root.operand(root.operand_count() - 1).map_err(|e| e.to_string())?;
        let Some(dims) = known_dims(func, target)? else { return Ok(None) };
        let extents: Option<Vec<Expr>> = dims.iter().map(|dim| dim.as_ref().map(expr_of)).collect();
        return Ok(extents.map(|extents| (vec![false; extents.len()], extents)).map(|(reductions, extents)| (extents, reductions)));
    }
    let reductions = iterators(root);
    let maps = indexing_maps(root)?;
    if maps.is_empty() {
        return Ok(None);
    }
    let mut extents: Vec<Option<Expr>> = vec![None; reductions.len()];
    for (i, map) in maps.into_iter().enumerate().rev() {
        let Some(dims) = known_dims(func, root.operand(i).map_err(|e| e.to_string())?)? else { continue };
        for (axis, dim) in dims.iter().enumerate() {
            let expr = map.result(axis).map_err(|e| e.to_string())?;
            if expr.is_dim()
                && let Some(dim) = dim
            {
                extents[expr.dim_position()].get_or_insert_with(|| expr_of(dim));
            }
        }
    }
    Ok(extents.into_iter().collect::<Option<Vec<_>>>().map(|extents| (extents, reductions)))
}

/// Extents of a tensor over the kernel's dims, as far as they are known: static ones always, others for arguments and what is made in their place.
fn known_dims(func: OperationRef, mut tensor: Value) -> Result<Option<Vec<Option<Dim>>>, String> {
    if !is_tensor(tensor.r#type()) {
        return Ok(None);
    }
    let r#type = tensor.r#type();
    // SAFETY: a live tensor type; axes are below its rank.
    let extents: Vec<i64> = unsafe {
        (0..mlir_sys::mlirShapedTypeGetRank(r#type.to_raw()))
            .map(|i| mlir_sys::mlirShapedTypeGetDimSize(r#type.to_raw(), i as isize))
            .collect()
    };
    // A linalg op's result has the shape of its last operand, its destination.
    while let Ok(result) = OperationResult::try_from(tensor) {
        let owner = result.owner();
        let count = match (name_of(owner).as_str(), owner.operand_count()) {
            ("tensor.insert_slice", _) => 2,
            (name, count) if count > 0 && name.starts_with("linalg.") => count,
            _ => break,
        };
        // SAFETY: operands live as long as the function.
        tensor = unsafe { Value::from_raw(owner.operand(count - 1).map_err(|e| e.to_string())?.to_raw()) };
    }
    let mut dynamic = match walk::block_argument(tensor) {
        Some(argument) => argument_dims(func, argument.argument_number())?.map(Vec::into_iter),
        None => None,
    };
    Ok(Some(
        extents
            .into_iter()
            .map(|extent| if extent >= 0 { Some(Dim::from(extent)) } else { dynamic.as_mut().and_then(Iterator::next) })
            .collect(),
    ))
}

/// Dynamic extents of a kernel argument.
fn argument_dims(func: OperationRef, argument: usize) -> Result<Option<Vec<Dim>>, String> {
    attributes::port_entry::<Attribute>(func, "arg_attrs", argument, DIMS).map(extents::from_attribute).transpose()
}
