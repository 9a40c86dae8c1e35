//! `merge-axes`: adjacent axes that everything in a kernel treats alike -> one axis, so that rows are long where axes are short.
//!
//! Operands and results are reshaped outside of the kernel, which moves nothing. Broadcasts inside a kernel keep axes apart that one operand has and
//! another lacks: `[n, c, h, w]` times `[n, c]` becomes `[n * c, h * w]` times `[n * c]`. Packed convolutions of one tap merge their spatial axes, products
//! with packed weights those of their rows.
//! Assumes what form-kernels makes; leaves kernels alone in which anything else stands than these, elementwise ops and broadcasts.

use super::{form_kernels::kernel_role, insert::insert};
use melior::ir::{BlockLike, BlockRef, OperationRef, RegionLike, Value, ValueLike, operation::OperationLike};
use std::{collections::HashMap, ffi::c_void};
use winze_graph::{
    dialect::{Broadcast, Constant, Kernel, PackedConv, PackedDot, Reshape, Yield},
    dim::Dim,
    op::Role,
    types::TensorType,
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    context::context_of,
    pass::RustPass,
    walk,
};

/// The pass.
pub struct MergeAxes;

impl RustPass for MergeAxes {
    const ARGUMENT: &'static str = "merge-axes";
    const DESCRIPTION: &'static str = "Merge adjacent axes that a kernel treats alike";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let merged = ["elementwise", "contraction"];
        let kernels = walk::find(func, |op| Kernel::cast(op).is_some_and(|kernel| merged.contains(&kernel.kind().as_str())));
        kernels.into_iter().filter_map(Kernel::cast).try_for_each(merge)
    }
}

/// Per axis of a tensor of a kernel: the axis of the kernel's result that it lies along, or [`OWN`].
type Axes = Vec<usize>;

/// An axis that the kernel's result lacks: input channels, what a product adds up.
const OWN: usize = usize::MAX;

/// The tensors of a kernel's body, by value.
type Tensors<'c, 'a> = HashMap<*const c_void, (Value<'c, 'a>, Axes)>;

fn merge(kernel: Kernel) -> Result<(), String> {
    let op = kernel.op();
    let body = op.region(0).map_err(|e| e.to_string())?.first_block().ok_or("merge-axes: a graph.kernel without a body")?;
    if op.result_count() != 1 {
        return Ok(());
    }
    let full = TensorType::of(op.result(0).map_err(|e| e.to_string())?.into())?.dims;
    let Some(tensors) = tensors(body, full.len())? else { return Ok(()) };
    let conv = walk::operations(body).find_map(PackedConv::cast);
    let kept = match conv {
        // A convolution keeps its batch and its channels, a product its columns.
        Some(conv) => vec![0, if conv.channels_last() { full.len() - 1 } else { 1 }],
        None if walk::operations(body).any(|op| PackedDot::cast(op).is_some()) => vec![full.len() - 1],
        None => vec![],
    };
    let groups = groups(&full, &tensors, &kept)?;
    if groups.len() == full.len() {
        return Ok(());
    }

    // Broadcasts are read before types change.
    for op in walk::operations(body) {
        if let Some(broadcast) = Broadcast::cast(op) {
            let [input, result] = [broadcast.input(), broadcast.result()].map(|value| &tensors[&key(value)].1);
            let [input, result] = [input, result].map(|axes| present(axes, &groups));
            let axes: Vec<i64> =
                input.iter().map(|group| result.iter().position(|other| other == group).map_or(-1, |i| i as i64)).collect();
            attributes::set(op, "axes", axes.to_attribute(context_of(op)));
        }
    }
    let context = context_of(op);
    if let Some(conv) = conv {
        for name in ["strides", "filter_dilation"] {
            attributes::set(conv.op(), name, vec![1_i64; groups.len() - 2].to_attribute(context));
        }
        // Of the taps, as many remain as spatial axes.
        let mut weights = TensorType::of(conv.weights())?;
        let first = if conv.channels_last() { 1 } else { 2 };
        weights.dims.drain(first..first + full.len() - groups.len());
        walk::set_type(conv.weights(), weights.to_type(context));
    }
    for (value, axes) in tensors.values() {
        let merged = merged(&TensorType::of(*value)?, axes, &groups);
        walk::set_type(*value, merged.to_type(context));
    }
    for (i, outer) in kernel.inputs().into_iter().enumerate() {
        let inner = body.argument(i).map_err(|e| e.to_string())?.r#type();
        if inner != outer.r#type() {
            walk::set_operand(op, i, insert(op, Reshape::create(context, op.location(), outer, &[inner])));
        }
    }
    let result: Value = op.result(0).map_err(|e| e.to_string())?.into();
    let (outer, inner) =
        (result.r#type(), body.terminator().and_then(|end| end.operand(0).ok()).ok_or("merge-axes: a kernel without a result")?);
    let users: Vec<_> = walk::uses(result).collect();
    walk::set_type(result, inner.r#type());
    let reshape = op.block().ok_or("merge-axes: a kernel outside of any block")?;
    let reshape = reshape.insert_operation_after(op, Reshape::create(context, op.location(), result, &[outer]));
    for (user, operand) in users {
        walk::set_operand(user, operand, reshape.result(0).map_err(|e| e.to_string())?.into());
    }
    Ok(())
}

fn key(value: Value) -> *const c_void {
    value.to_raw().ptr
}

/// Every tensor of a body with its axes, from its result of rank `rank` backwards; `None` if something else than elementwise ops and broadcasts is in it.
fn tensors<'c: 'a, 'a>(body: BlockRef<'c, 'a>, rank: usize) -> Result<Option<Tensors<'c, 'a>>, String> {
    let mut tensors = Tensors::new();
    // False if a tensor would lie along other axes than at another use.
    let put = |tensors: &mut Tensors<'c, 'a>, value: Value<'c, 'a>, axes: Axes| {
        let same = tensors.get(&key(value)).is_none_or(|(_, known)| *known == axes);
        tensors.insert(key(value), (value, axes));
        same
    };
    let ops: Vec<OperationRef<'c, 'a>> = walk::operations(body).collect();
    for op in ops.into_iter().rev() {
        if Yield::cast(op).is_some() {
            // SAFETY: the value lives as long as the block.
            let result = unsafe { Value::from_raw(op.operand(0).map_err(|e| e.to_string())?.to_raw()) };
            put(&mut tensors, result, (0..rank).collect());
            continue;
        }
        if op.result_count() != 1 {
            return Ok(None);
        }
        let Some((_, axes)) = tensors.get(&key(op.result(0).map_err(|e| e.to_string())?.into())).cloned() else { return Ok(None) };
        if Constant::cast(op).is_some() {
            // The attribute of a constant has its type, which one axis keeps.
            if axes.len() <= 1 { continue } else { return Ok(None) }
        }
        if let Some(conv) = PackedConv::cast(op) {
            let Some(inner) = around_one_tap(conv, &axes)? else { return Ok(None) };
            // SAFETY: as above.
            let input: Value<'c, 'a> = unsafe { Value::from_raw(conv.input().to_raw()) };
            if walk::users(conv.weights()).count() != 1
                || walk::block_argument(conv.weights()).is_none()
                || !put(&mut tensors, input, inner)
            {
                return Ok(None);
            }
            continue;
        }
        if let Some(dot) = PackedDot::cast(op) {
            let whole = axes.len() == rank && axes.iter().enumerate().all(|(i, axis)| i == *axis);
            // SAFETY: as above.
            let lhs: Value<'c, 'a> = unsafe { Value::from_raw(dot.lhs().to_raw()) };
            let rows = axes.iter().take(axes.len() - 1).copied();
            if !whole || walk::block_argument(dot.weights()).is_none() || !put(&mut tensors, lhs, rows.chain([OWN]).collect()) {
                return Ok(None);
            }
            continue;
        }
        let inner = match Broadcast::cast(op) {
            Some(broadcast) => broadcast.axes().into_iter().map(|axis| axes[axis as usize]).collect(),
            None if kernel_role(op)? == Some(Role::Elementwise) => axes,
            None => return Ok(None),
        };
        for i in 0..op.operand_count() {
            // SAFETY: as above.
            let operand: Value<'c, 'a> = unsafe { Value::from_raw(op.operand(i).map_err(|e| e.to_string())?.to_raw()) };
            if TensorType::of(operand)?.dims.len() != inner.len() || !put(&mut tensors, operand, inner.clone()) {
                return Ok(None);
            }
        }
    }
    Ok(Some(tensors))
}

/// Axes of the input of a convolution whose result has `axes`, if it has one tap and takes every element.
fn around_one_tap(conv: PackedConv, axes: &[usize]) -> Result<Option<Axes>, String> {
    let (input, weights, result) = (TensorType::of(conv.input())?, TensorType::of(conv.weights())?, TensorType::of(conv.result())?);
    let spatial = result.rank() - 2;
    let (channel, first_tap) = if conv.channels_last() { (spatial + 1, 1) } else { (1, 2) };
    let same = (0..result.rank()).all(|axis| axis == channel || input.dims[axis] == result.dims[axis]);
    let one = weights.dims[first_tap..first_tap + spatial].iter().all(|taps| *taps == Dim::from(1));
    let whole = axes.len() == spatial + 2 && axes.iter().enumerate().all(|(i, axis)| i == *axis);
    if !(same && one && whole) || conv.strides().iter().any(|stride| *stride != 1) {
        return Ok(None);
    }
    Ok(Some(axes.iter().map(|axis| if *axis == channel { OWN } else { *axis }).collect()))
}

/// Runs of axes of the result that every tensor has whole or not at all. Unit axes go with any other; those `kept` stay alone.
fn groups(full: &[Dim], tensors: &Tensors, kept: &[usize]) -> Result<Vec<Vec<usize>>, String> {
    let has = |axis: usize| -> Result<Vec<bool>, String> {
        let has = tensors.values().map(|(value, axes)| {
            let dims = TensorType::of(*value)?.dims;
            Ok(axes.iter().position(|other| *other == axis).is_some_and(|i| dims[i] == full[axis]))
        });
        has.collect()
    };
    let mut groups: Vec<Vec<usize>> = vec![];
    // Of the last axis that is not one element.
    let mut last = None;
    for (axis, extent) in full.iter().enumerate() {
        let own = if *extent == Dim::from(1) { None } else { Some(has(axis)?) };
        let alike = (own.is_none() || last.is_none() || own == last) && !kept.contains(&axis) && !(axis > 0 && kept.contains(&(axis - 1)));
        last = if alike { own.or(last) } else { own };
        match groups.last_mut() {
            Some(group) if alike => group.push(axis),
            _ => groups.push(vec![axis]),
        }
    }
    Ok(groups)
}

/// The groups of which a tensor has an axis.
fn present(axes: &[usize], groups: &[Vec<usize>]) -> Vec<usize> {
    (0..groups.len()).filter(|group| groups[*group].iter().any(|axis| axes.contains(axis))).collect()
}

/// Type of a tensor with one axis per group that it has axes of.
fn merged(tensor: &TensorType, axes: &[usize], groups: &[Vec<usize>]) -> TensorType {
    let group_of = |axis: &usize| groups.iter().position(|group| group.contains(axis));
    let mut dims: Vec<(Option<usize>, Dim)> = vec![];
    for (axis, extent) in axes.iter().zip(&tensor.dims) {
        match (group_of(axis), dims.last_mut()) {
            (Some(group), Some((Some(last), product))) if *last == group => *product = &*product * extent,
            (group, _) => dims.push((group, extent.clone())),
        }
    }
    TensorType::new(tensor.element, dims.into_iter().map(|(_, extent)| extent).collect::<Vec<_>>())
}
