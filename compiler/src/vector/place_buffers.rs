//! `memref.alloc` of bounded size -> the stack, or a slice of the workspace. Kernels allocate nothing.
//!
//! A buffer of at most `stack-bytes` becomes a static slot in the entry block. Larger ones become arguments `memref<Nxi8>` marked with their offset in
//! the workspace (`winze.workspace_offset`), and the function is marked with the total (`winze.workspace`). Refuses sizes without a bound.

use super::{
    bounds::interval,
    build::{Builder, V, lasting, lasting_op},
};
use melior::{
    dialect::DialectHandle,
    ir::{
        BlockLike, OperationRef, RegionLike, TypeLike, ValueLike,
        attribute::TypeAttribute,
        operation::{OperationLike, OperationMutLike, OperationRefMut},
        r#type::{FunctionType, MemRefType, ShapedTypeLike},
    },
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    pass::{PassOption, RustPass},
    walk,
};

/// Function attribute: bytes of workspace per call.
pub const WORKSPACE: &str = "winze.workspace";
/// Argument attribute: where the argument stands in the workspace.
pub const WORKSPACE_OFFSET: &str = "winze.workspace_offset";
const ALIGNMENT: i64 = 64;

pub struct PlaceBuffers {
    stack_bytes: i64,
}

impl RustPass for PlaceBuffers {
    const ARGUMENT: &'static str = "place-buffers";
    const DESCRIPTION: &'static str = "Put local buffers on the stack or into the workspace";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] =
        &[PassOption { name: "stack-bytes", description: "largest buffer on the stack", default: "1024" }];

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith(), DialectHandle::memref()]
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { stack_bytes: values[0].parse().map_err(|e| format!("option 'stack-bytes': {e}"))? })
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let func = lasting_op(func);
        let mut allocations = vec![];
        walk::walk::<String>(func, &mut |op| {
            match op.name().as_string_ref().as_str().unwrap_or_default() {
                "memref.alloc" => allocations.push(lasting_op(op)),
                "memref.alloca" => return Err("place-buffers: a stack buffer stands here already; run this pass once".to_owned()),
                // Buffers of a kernel live until it returns.
                "memref.dealloc" => {
                    return Err("place-buffers: a buffer is freed; do not run the deallocation pipeline on kernels".to_owned());
                }
                _ => {}
            }
            Ok(())
        })?;
        let mut workspace = attributes::get::<i64>(func, WORKSPACE).unwrap_or(0);
        for op in allocations {
            let bytes = bound(op)?;
            if bytes <= self.stack_bytes {
                place_on_stack(func, op, bytes)?;
            } else {
                place_in_workspace(func, op, workspace, bytes)?;
                workspace += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            }
        }
        // SAFETY: the function is live; only its attribute changes.
        let mut func = unsafe { OperationRefMut::from_raw(func.to_raw()) };
        let holder = func.context();
        // SAFETY: melior's reference points into `holder`.
        let value = workspace.to_attribute(unsafe { holder.to_ref() });
        func.set_attribute(WORKSPACE, value);
        Ok(())
    }
}

/// Largest number of bytes the allocation can need.
fn bound(op: OperationRef<'_, '_>) -> Result<i64, String> {
    let ty = op.result(0).map_err(|e| e.to_string())?.r#type();
    let memref = MemRefType::try_from(ty).map_err(|e| e.to_string())?;
    let unbounded = || {
        format!("place-buffers: a local buffer of type {ty} has no bounded size; tile or fuse its producer so that a tile of it suffices")
    };
    let bits = if memref.element().is_index() { Some(64) } else { attributes::bit_width(memref.element()) };
    let mut bytes = i64::from(bits.ok_or_else(unbounded)?.div_ceil(8));
    let mut dynamic = op.operands();
    for dim in 0..memref.rank() {
        let size = match super::generic::static_size(memref, dim) {
            Some(size) => size,
            None => dynamic.next().and_then(|value| interval(value).high).ok_or_else(unbounded)?,
        };
        bytes = bytes.checked_mul(size.max(0)).ok_or_else(unbounded)?;
    }
    Ok(bytes)
}

fn place_on_stack<'c>(func: OperationRef<'c, 'c>, op: OperationRef<'c, 'c>, bytes: i64) -> Result<(), String> {
    let entry = func.region(0).ok().and_then(|region| region.first_block()).and_then(|block| block.first_operation().map(lasting_op));
    let builder = Builder::before(entry.ok_or("place-buffers: function without a body")?)?;
    let ty = builder.parse_type(&format!("memref<{bytes}xi8>"))?;
    let attributes = [
        ("alignment", ALIGNMENT.to_attribute(builder.context())),
        ("operandSegmentSizes", attributes::segments(builder.context(), &[0, 0])),
    ];
    let slot = builder.value("memref.alloca", &[], ty, &attributes)?;
    view(op, slot)
}

fn place_in_workspace<'c>(func: OperationRef<'c, 'c>, op: OperationRef<'c, 'c>, offset: i64, bytes: i64) -> Result<(), String> {
    let builder = Builder::before(op)?;
    let ty = builder.parse_type(&format!("memref<{bytes}xi8>"))?;
    let block = func.region(0).ok().and_then(|region| region.first_block()).ok_or("place-buffers: function without a body")?;
    let position = block.argument_count();
    let argument = lasting(block.add_argument(ty, func.location()));
    let types: Vec<_> =
        (0..=position).map(|i| block.argument(i).map(|a| a.r#type())).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    // SAFETY: the function is live; its type and argument attributes change together with its block.
    unsafe {
        let mut func = OperationRefMut::from_raw(func.to_raw());
        let function_type = FunctionType::new(builder.context(), &types, &[]);
        func.set_attribute("function_type", TypeAttribute::new(function_type.into()).into());
    }
    let mark = builder.attribute(&format!("{{{WORKSPACE_OFFSET} = {offset} : i64}}"))?;
    super::set_argument_attributes(func, position, types.len(), mark)?;
    view(op, argument)
}

/// Replaces the allocation by a view of `bytes`.
fn view<'c>(op: OperationRef<'c, 'c>, bytes: V<'c>) -> Result<(), String> {
    let builder = Builder::before(op)?;
    let result = lasting(op.result(0).map_err(|e| e.to_string())?.into());
    let zero = builder.index(0)?;
    let operands: Vec<_> = [bytes, zero].into_iter().chain(op.operands().map(lasting)).collect();
    let view = builder.value("memref.view", &operands, result.r#type(), &[])?;
    super::replace(op, &[view]);
    Ok(())
}
