//! `memref.alloc` -> the stack, or a slice of the workspace. Kernels allocate nothing.
//!
//! A buffer of at most `stack-bytes` becomes a static slot in the entry block. Larger ones become arguments `memref<?xi8>` marked with their offset in
//! the workspace (`winze.workspace_offset`), and the function is marked with the total (`winze.workspace`): both are affine maps of the kernel's
//! `index` arguments. Refuses sizes that have no bound and are no expression over these arguments.

use super::{
    bounds::interval,
    build::{Builder, V, lasting, lasting_op},
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        AffineExpr, AffineMap, AttributeLike, BlockLike, OperationRef, RegionLike, TypeLike, ValueLike,
        attribute::TypeAttribute,
        operation::{OperationLike, OperationMutLike, OperationRefMut, OperationResult},
        r#type::{FunctionType, MemRefType, ShapedTypeLike},
    },
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    pass::{PassOption, RustPass},
    walk,
};

/// Function attribute: bytes of workspace per call, an affine map of the `index` arguments.
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
        let builder =
            Builder::before(super::lower_grid::entry_block(func)?.first_operation().ok_or("place-buffers: function without a body")?)?;
        let context = builder.context();
        let symbols = index_arguments(func)?;
        let mut workspace = AffineExpr::constant(context, 0);
        for op in allocations {
            let bytes = size(&builder, op, &symbols)?;
            if bytes.is_constant() && bytes.constant_value() <= self.stack_bytes {
                place_on_stack(func, op, bytes.constant_value())?;
                continue;
            }
            place_in_workspace(func, op, &map_text(context, symbols.len(), workspace))?;
            let alignment = AffineExpr::constant(context, ALIGNMENT);
            let slots = AffineExpr::floor_div(bytes + AffineExpr::constant(context, ALIGNMENT - 1), alignment);
            workspace = workspace + slots * alignment;
        }
        let total = builder.attribute(&map_text(context, symbols.len(), workspace))?;
        // SAFETY: the function is live; only its attribute changes.
        unsafe { OperationRefMut::from_raw(func.to_raw()) }.set_attribute(WORKSPACE, total);
        Ok(())
    }
}

fn map_text<'c>(context: &'c Context, symbols: usize, expr: AffineExpr<'c>) -> String {
    format!("affine_map<{}>", AffineMap::new(context, 0, symbols, &[expr]))
}

fn index_arguments<'c>(func: OperationRef<'c, 'c>) -> Result<Vec<V<'c>>, String> {
    let block = super::lower_grid::entry_block(func)?;
    let arguments = (0..block.argument_count()).map(|i| lasting(block.argument(i).expect("in range").into()));
    Ok(arguments.filter(|argument| argument.r#type().is_index()).collect())
}

/// Number of bytes that the allocation can need, over the kernel's dims.
fn size<'c>(builder: &Builder<'c>, op: OperationRef<'c, 'c>, symbols: &[V<'c>]) -> Result<AffineExpr<'c>, String> {
    let ty = op.result(0).map_err(|e| e.to_string())?.r#type();
    let memref = MemRefType::try_from(ty).map_err(|e| e.to_string())?;
    let unbounded = || {
        format!("place-buffers: a local buffer of type {ty} has no bounded size; tile or fuse its producer so that a tile of it suffices")
    };
    let bits = if memref.element().is_index() { Some(64) } else { attributes::bit_width(memref.element()) };
    let context = builder.context();
    let mut known = i64::from(bits.ok_or_else(unbounded)?.div_ceil(8));
    let mut bytes: Option<AffineExpr<'c>> = None;
    let mut dynamic = op.operands();
    for dim in 0..memref.rank() {
        if let Some(size) = super::generic::static_size(memref, dim) {
            known = known.checked_mul(size).ok_or_else(unbounded)?;
            continue;
        }
        let value = lasting(dynamic.next().ok_or_else(unbounded)?);
        match interval(value).high {
            Some(size) => known = known.checked_mul(size.max(0)).ok_or_else(unbounded)?,
            None => {
                let size = symbolic(context, value, symbols).ok_or_else(unbounded)?;
                // Products of unknown sizes are fine: the expression is only evaluated.
                bytes = Some(bytes.map_or(size, |bytes| bytes * size));
            }
        }
    }
    let known = AffineExpr::constant(context, known);
    Ok(bytes.map_or(known, |bytes| bytes * known))
}

/// `value` over the kernel's `index` arguments.
fn symbolic<'c>(context: &'c Context, value: V<'c>, symbols: &[V<'c>]) -> Option<AffineExpr<'c>> {
    if let Some(symbol) = symbols.iter().position(|symbol| *symbol == value) {
        return Some(AffineExpr::symbol(context, symbol));
    }
    let op = OperationResult::try_from(value).ok()?.owner();
    if op.name().as_string_ref().as_str() != Ok("affine.apply") {
        return None;
    }
    // SAFETY: affine.apply has an affine map.
    let map = unsafe { AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(op.attribute("map").ok()?.to_raw())) };
    let operands = op.operands().map(|operand| symbolic(context, lasting(operand), symbols)).collect::<Option<Vec<_>>>()?;
    substitute(context, map.result(0).ok()?, &operands, map.dim_count())
}

fn substitute<'c>(context: &'c Context, expr: AffineExpr<'c>, operands: &[AffineExpr<'c>], dims: usize) -> Option<AffineExpr<'c>> {
    if expr.is_constant() {
        return Some(AffineExpr::constant(context, expr.constant_value()));
    }
    if expr.is_dim() {
        return operands.get(expr.dim_position()).copied();
    }
    if expr.is_symbol() {
        return operands.get(dims + expr.symbol_position()).copied();
    }
    let (lhs, rhs) = (substitute(context, expr.lhs(), operands, dims)?, substitute(context, expr.rhs(), operands, dims)?);
    Some(match () {
        () if expr.is_add() => lhs + rhs,
        () if expr.is_mul() => lhs * rhs,
        () if expr.is_mod() => AffineExpr::modulo(lhs, rhs),
        () if expr.is_floor_div() => AffineExpr::floor_div(lhs, rhs),
        () if expr.is_ceil_div() => AffineExpr::ceil_div(lhs, rhs),
        () => return None,
    })
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

fn place_in_workspace<'c>(func: OperationRef<'c, 'c>, op: OperationRef<'c, 'c>, offset: &str) -> Result<(), String> {
    let builder = Builder::before(op)?;
    let ty = builder.parse_type("memref<?xi8>")?;
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
    let mark = builder.attribute(&format!("{{{WORKSPACE_OFFSET} = {offset}}}"))?;
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
