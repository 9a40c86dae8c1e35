//! Kernel on memrefs -> an internal body on `noalias` pointers and the C entry `i32 @NAME(!llvm.ptr, i32, i32)` of the kernel ABI.
//!
//! Assumes that `drop-results`, `place-buffers` and `lower-grid` ran, and that memrefs have identity layout. Sizes of dynamic dims come from
//! `winze.dims` (ARCHITECTURE.md section 4). Pairs in `winze.in_place` lose `noalias`.

use super::{
    build::{Builder, V, lasting, lasting_op},
    lower_grid::{GRID_LOWERED, entry_block},
    place_buffers::WORKSPACE_OFFSET,
};
use melior::{
    dialect::DialectHandle,
    ir::{
        AffineMap, Attribute, AttributeLike, BlockLike, OperationRef, Type, TypeLike, ValueLike,
        attribute::{ArrayAttribute, IntegerAttribute, StringAttribute, TypeAttribute},
        operation::OperationLike,
        r#type::{FunctionType, IntegerType, MemRefType, ShapedTypeLike},
    },
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    pass::RustPass,
    walk,
};

/// Function attribute: list of `array<i64: input, output>` that may be the same buffer.
pub const IN_PLACE: &str = "winze.in_place";
/// Byte offsets of the fields of `WzArgs`.
const BUFFERS: i32 = 0;
const DIMS: i32 = 8;
const WORKSPACE: i32 = 24;
const CANCEL: i32 = 40;
/// Tiles between two looks at the cancel flag: few enough to stop soon, enough to hide the call.
const PIECE: i64 = 8;

pub struct LowerKernelAbi;

impl RustPass for LowerKernelAbi {
    const ARGUMENT: &'static str = "lower-kernel-abi";
    const DESCRIPTION: &'static str = "Give kernels the C entry of the kernel ABI and a body on pointers";
    const ANCHOR: &'static str = "builtin.module";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::affine(), DialectHandle::arith(), DialectHandle::func(), DialectHandle::llvm()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, module: OperationRef<'_, '_>) -> Result<(), String> {
        let module = lasting_op(module);
        let kernels: Vec<_> = walk::operations(entry_block(module)?).filter(|op| op.has_attribute(GRID_LOWERED)).map(lasting_op).collect();
        if kernels.is_empty() {
            return Err("lower-kernel-abi: no kernel with a lowered grid; run lower-grid first".to_owned());
        }
        kernels.into_iter().try_for_each(|func| rewrite(func).map_err(|e| format!("lower-kernel-abi: {e}")))
    }
}

/// What an argument of the kernel is to the ABI.
enum Role<'c> {
    Buffer {
        ty: MemRefType<'c>,
        dims: Option<AffineMap<'c>>,
        noalias: bool,
    },
    Dim,
    /// Offset in bytes over the kernel's dims.
    Workspace {
        ty: MemRefType<'c>,
        offset: AffineMap<'c>,
    },
    TileRange,
}

fn rewrite<'c>(func: OperationRef<'c, 'c>) -> Result<(), String> {
    let builder = Builder::before(func)?;
    let context = builder.context();
    let name = attributes::get::<String>(func, "sym_name").ok_or("a kernel needs a name")?;
    let old = entry_block(func)?;
    let roles = read_roles(func)?;

    // The body: the kernel's operations behind descriptors made from pointers.
    let pointer = builder.parse_type("!llvm.ptr")?;
    let (i32_type, i64_type) = (Type::from(IntegerType::new(context, 32)), Type::from(IntegerType::new(context, 64)));
    let types: Vec<_> =
        roles.iter().map(|role| if matches!(role, Role::Buffer { .. } | Role::Workspace { .. }) { pointer } else { i64_type }).collect();
    let body_name = format!("{name}.body");
    let argument_attributes: Vec<_> = roles.iter().map(|role| builder.attribute(&argument_attributes(role))).collect::<Result<_, _>>()?;
    let (region, block) = builder.region(&types);
    let inner = Builder::at_end(block, func.location());
    let arguments: Vec<V<'c>> = (0..types.len()).map(|i| lasting(block.argument(i).expect("made above").into())).collect();
    let mut dims = vec![];
    let mut values: Vec<Option<V<'c>>> = vec![None; roles.len()];
    for (i, role) in roles.iter().enumerate() {
        if matches!(role, Role::Dim | Role::TileRange) {
            let value = inner.value("arith.index_cast", &[arguments[i]], inner.index_type(), &[])?;
            values[i] = Some(value);
            if matches!(role, Role::Dim) {
                dims.push(value);
            }
        }
    }
    for (i, role) in roles.iter().enumerate() {
        match role {
            Role::Buffer { ty, dims: map, .. } => values[i] = Some(descriptor(&inner, *ty, *map, &dims, arguments[i])?),
            Role::Workspace { ty, .. } => {
                // Views of the workspace do not look at its size.
                let size = AffineMap::constant(context, i64::MAX);
                values[i] = Some(descriptor(&inner, *ty, Some(size), &dims, arguments[i])?);
            }
            _ => {}
        }
    }
    for (i, value) in values.into_iter().enumerate() {
        walk::replace_all_uses(lasting(old.argument(i).map_err(|e| e.to_string())?.into()), value.expect("every role makes a value"));
    }
    let checks = walk::named(func, "cf.assert");
    let code = ErrorCode::new(&inner, !checks.is_empty())?;
    inner.take_operations(old, |name| name != "func.return");
    for (site, check) in checks.into_iter().enumerate() {
        code.set_unless(check, site)?;
    }
    inner.op("func.return", &[code.read(&inner)?], &[], &[])?;
    builder.op_with_regions(
        "func.func",
        &[],
        &[],
        &[
            ("sym_name", StringAttribute::new(context, &body_name).into()),
            ("function_type", TypeAttribute::new(FunctionType::new(context, &types, &[i32_type]).into()).into()),
            ("sym_visibility", StringAttribute::new(context, "private").into()),
            ("arg_attrs", ArrayAttribute::new(context, &argument_attributes).into()),
            ("llvm.linkage", builder.attribute("#llvm.linkage<internal>")?),
            ("passthrough", builder.attribute("[\"noinline\", \"nounwind\"]")?),
        ],
        vec![region],
    )?;
    emit_entry(&builder, func, &name, &body_name, &roles, i32_type, i64_type)?;
    walk::erase(func);
    Ok(())
}

/// What the body returns: 0, or the number of a check that failed, counted from 1.
struct ErrorCode<'c> {
    r#type: Type<'c>,
    /// Where checks leave their numbers, if there are any.
    slot: Option<V<'c>>,
}

impl<'c> ErrorCode<'c> {
    fn new(builder: &Builder<'c>, needed: bool) -> Result<Self, String> {
        let r#type = Type::from(IntegerType::new(builder.context(), 32));
        let mut code = Self { r#type, slot: None };
        if needed {
            let pointer = builder.parse_type("!llvm.ptr")?;
            let one = code.constant(builder, 1)?;
            let slot = builder.value("llvm.alloca", &[one], pointer, &[("elem_type", TypeAttribute::new(r#type).into())])?;
            builder.op("llvm.store", &[code.constant(builder, 0)?, slot], &[], &[])?;
            code.slot = Some(slot);
        }
        Ok(code)
    }

    fn constant(&self, builder: &Builder<'c>, value: i64) -> Result<V<'c>, String> {
        builder.value("arith.constant", &[], self.r#type, &[("value", IntegerAttribute::new(self.r#type, value).into())])
    }

    fn read(&self, builder: &Builder<'c>) -> Result<V<'c>, String> {
        match self.slot {
            Some(slot) => builder.value("llvm.load", &[slot], self.r#type, &[]),
            None => self.constant(builder, 0),
        }
    }

    /// Replaces a `cf.assert`. The kernel goes on, as loops cannot be left.
    fn set_unless(&self, check: OperationRef<'c, 'c>, site: usize) -> Result<(), String> {
        let builder = Builder::before(check)?;
        let slot = self.slot.ok_or("a check without a place for its code")?;
        let condition = lasting(check.operand(0).map_err(|e| e.to_string())?);
        let (old, new) = (self.read(&builder)?, self.constant(&builder, site as i64 + 1)?);
        let code = builder.value("arith.select", &[condition, old, new], self.r#type, &[])?;
        builder.op("llvm.store", &[code, slot], &[], &[])?;
        walk::erase(check);
        Ok(())
    }
}

fn read_roles<'c>(func: OperationRef<'c, 'c>) -> Result<Vec<Role<'c>>, String> {
    let block = entry_block(func)?;
    let count = block.argument_count();
    let shared: Vec<i64> = match func.attribute(IN_PLACE).ok().and_then(|a| ArrayAttribute::try_from(a).ok()) {
        Some(pairs) => (0..pairs.len()).filter_map(|i| Vec::<i64>::from_attribute(pairs.element(i).ok()?)).flatten().collect(),
        None => vec![],
    };
    (0..count)
        .map(|i| {
            let ty = block.argument(i).map_err(|e| e.to_string())?.r#type();
            if i + 2 >= count {
                return Ok(Role::TileRange);
            }
            let Ok(memref) = MemRefType::try_from(ty) else {
                return if ty.is_index() {
                    Ok(Role::Dim)
                } else {
                    Err(format!("argument {i} is of type {ty}; kernels take tensors and sizes"))
                };
            };
            let attribute = |name: &str| attributes::port_entry::<Attribute>(func, "arg_attrs", i, name);
            // SAFETY: the attribute is checked to be an affine map.
            let map = |a: Attribute<'c>| unsafe { AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(a.to_raw())) };
            let is_map = |a: &Attribute<'c>| unsafe { mlir_sys::mlirAttributeIsAAffineMap(a.to_raw()) };
            if let Some(offset) = attribute(WORKSPACE_OFFSET).filter(is_map).map(map) {
                return Ok(Role::Workspace { ty: memref, offset });
            }
            let dims = attribute("winze.dims").filter(is_map).map(map);
            Ok(Role::Buffer { ty: memref, dims, noalias: !shared.contains(&(i as i64)) })
        })
        .collect()
}

fn argument_attributes(role: &Role<'_>) -> String {
    match role {
        Role::Buffer { ty, noalias, .. } => {
            let bytes = attributes::bit_width(ty.element()).unwrap_or(8).div_ceil(8);
            let noalias = if *noalias { "llvm.noalias, " } else { "" };
            format!("{{{noalias}llvm.nonnull, llvm.noundef, llvm.align = {bytes} : i64}}")
        }
        Role::Workspace { .. } => "{llvm.noalias, llvm.noundef, llvm.align = 64 : i64}".to_owned(),
        Role::Dim | Role::TileRange => "{llvm.noundef}".to_owned(),
    }
}

/// A memref over `pointer`: sizes from the type and from `dims` evaluated at `symbols`, row-major strides.
fn descriptor<'c>(
    builder: &Builder<'c>,
    ty: MemRefType<'c>,
    dims: Option<AffineMap<'c>>,
    symbols: &[V<'c>],
    pointer: V<'c>,
) -> Result<V<'c>, String> {
    let i64_type = Type::from(IntegerType::new(builder.context(), 64));
    let constant =
        |value: i64| builder.value("llvm.mlir.constant", &[], i64_type, &[("value", IntegerAttribute::new(i64_type, value).into())]);
    let rank = ty.rank();
    let arrays = if rank == 0 { String::new() } else { format!(", array<{rank} x i64>, array<{rank} x i64>") };
    let record = builder.parse_type(&format!("!llvm.struct<(ptr, ptr, i64{arrays})>"))?;
    let mut value = builder.value("llvm.mlir.poison", &[], record, &[])?;
    let insert = |value: V<'c>, field: V<'c>, position: &str| {
        builder.value("llvm.insertvalue", &[value, field], record, &[("position", builder.attribute(&format!("array<i64: {position}>"))?)])
    };
    value = insert(value, pointer, "0")?;
    value = insert(value, pointer, "1")?;
    value = insert(value, constant(0)?, "2")?;

    let mut sizes = vec![];
    for dim in 0..rank {
        let next = sizes.iter().filter(|size: &&(Option<i64>, _)| size.0.is_none()).count();
        sizes.push(match super::generic::static_size(ty, dim) {
            Some(size) => (Some(size), constant(size)?),
            None => {
                let map = dims.filter(|map| next < map.result_count() && map.dim_count() == 0 && map.symbol_count() <= symbols.len());
                let map = map.ok_or_else(|| format!("a {ty} argument lacks a 'winze.dims' that gives its {}. dynamic size", next + 1))?;
                let size = builder.apply(map.sub_map(&[next]), &symbols[..map.symbol_count()])?;
                (None, builder.value("arith.index_cast", &[size], i64_type, &[])?)
            }
        });
    }
    let mut stride = (Some(1i64), constant(1)?);
    for dim in (0..rank).rev() {
        value = insert(value, sizes[dim].1, &format!("3, {dim}"))?;
        value = insert(value, stride.1, &format!("4, {dim}"))?;
        stride = match (stride.0, sizes[dim].0) {
            (Some(a), Some(b)) => {
                let product = a.checked_mul(b).ok_or_else(|| format!("a {ty} argument is larger than memory"))?;
                (Some(product), constant(product)?)
            }
            _ => (None, builder.binary("arith.muli", stride.1, sizes[dim].1)?),
        };
    }
    builder.value("builtin.unrealized_conversion_cast", &[value], ty.into(), &[])
}

/// Loads the arguments from `WzArgs` and calls the body.
fn emit_entry<'c>(
    builder: &Builder<'c>,
    func: OperationRef<'c, 'c>,
    name: &str,
    body: &str,
    roles: &[Role<'c>],
    i32_type: Type<'c>,
    i64_type: Type<'c>,
) -> Result<(), String> {
    let context = builder.context();
    let pointer = builder.parse_type("!llvm.ptr")?;
    let byte = Type::from(IntegerType::new(context, 8));
    let (region, block) = builder.region(&[pointer, i32_type, i32_type]);
    let inner = Builder::at_end(block, func.location());
    let [args, begin, end] = [0, 1, 2].map(|i| lasting(block.argument(i).expect("made above").into()));
    let at = |base: V<'c>, bytes: i32| {
        let indices = inner.attribute(&format!("array<i32: {bytes}>"))?;
        inner.value(
            "llvm.getelementptr",
            &[base],
            pointer,
            &[("rawConstantIndices", indices), ("elem_type", TypeAttribute::new(byte).into())],
        )
    };
    let load = |base: V<'c>, bytes: i32, ty: Type<'c>| inner.value("llvm.load", &[at(base, bytes)?], ty, &[]);
    let buffers = load(args, BUFFERS, pointer)?;
    let has = |wanted: fn(&Role<'_>) -> bool| roles.iter().any(wanted);
    let dims = if has(|r| matches!(r, Role::Dim)) { Some(load(args, DIMS, pointer)?) } else { None };
    let workspace = if has(|r| matches!(r, Role::Workspace { .. })) { Some(load(args, WORKSPACE, pointer)?) } else { None };
    let (mut next_buffer, mut next_dim, mut range) = (0, 0, [begin, end].into_iter());
    // Dims come before the workspace, which stands where they say.
    let (mut operands, mut symbols) = (vec![], vec![]);
    for role in roles {
        operands.push(match role {
            Role::Buffer { .. } => {
                next_buffer += 8;
                load(buffers, next_buffer - 8, pointer)?
            }
            Role::Dim => {
                next_dim += 8;
                let dim = load(dims.expect("loaded above"), next_dim - 8, i64_type)?;
                symbols.push(inner.value("arith.index_cast", &[dim], inner.index_type(), &[])?);
                dim
            }
            Role::Workspace { offset, .. } => {
                let offset = inner.apply(*offset, &symbols)?;
                let offset = inner.value("arith.index_cast", &[offset], i64_type, &[])?;
                let dynamic = inner.attribute(&format!("array<i32: {}>", i32::MIN))?;
                let attributes = [("rawConstantIndices", dynamic), ("elem_type", TypeAttribute::new(byte).into())];
                inner.value("llvm.getelementptr", &[workspace.expect("loaded above"), offset], pointer, &attributes)?
            }
            Role::TileRange => inner.value("arith.extui", &[range.next().expect("two of them")], i64_type, &[])?,
        });
    }
    let callee = builder.attribute(&format!("@\"{body}\""))?;
    let call = |inner: &Builder<'c>, operands: &[V<'c>]| inner.value("func.call", operands, i32_type, &[("callee", callee)]);
    let result = call_in_pieces(&inner, load(args, CANCEL, pointer)?, operands, call)?;
    inner.op("func.return", &[result], &[], &[])?;
    let function_type = FunctionType::new(context, &[pointer, i32_type, i32_type], &[i32_type]);
    builder.op_with_regions(
        "func.func",
        &[],
        &[],
        &[
            ("sym_name", StringAttribute::new(context, name).into()),
            ("function_type", TypeAttribute::new(function_type.into()).into()),
            ("passthrough", builder.attribute("[\"nounwind\"]")?),
        ],
        vec![region],
    )?;
    Ok(())
}

/// Calls the body for a few tiles at a time, until one returns a code or the flag behind `cancel` is set. The last two operands are the range.
fn call_in_pieces<'c>(
    builder: &Builder<'c>,
    cancel: V<'c>,
    mut operands: Vec<V<'c>>,
    call: impl Fn(&Builder<'c>, &[V<'c>]) -> Result<V<'c>, String>,
) -> Result<V<'c>, String> {
    let context = builder.context();
    let (i32_type, i64_type) = (Type::from(IntegerType::new(context, 32)), Type::from(IntegerType::new(context, 64)));
    let pointer = builder.parse_type("!llvm.ptr")?;
    let constant = |value: i64| builder.value("arith.constant", &[], i32_type, &[("value", IntegerAttribute::new(i32_type, value).into())]);
    let (Some(end), Some(begin)) = (operands.pop(), operands.pop()) else { return Err("an entry needs a range".to_owned()) };
    let (zero, one) = (constant(0)?, constant(1)?);
    // Without a flag, a local one that is never set.
    let unset = builder.value("llvm.alloca", &[one], pointer, &[("elem_type", TypeAttribute::new(i32_type).into())])?;
    builder.op("llvm.store", &[zero, unset], &[], &[])?;
    let null = builder.value("llvm.mlir.zero", &[], pointer, &[])?;
    let equal = |bits: u32| IntegerAttribute::new(IntegerType::new(context, bits).into(), 0);
    let bool_type = Type::from(IntegerType::new(context, 1));
    let missing = builder.value("llvm.icmp", &[cancel, null], bool_type, &[("predicate", equal(64).into())])?;
    let flag = builder.value("llvm.select", &[missing, unset, cancel], pointer, &[])?;

    let index = |value| builder.value("arith.index_cast", &[value], builder.index_type(), &[]);
    let (first, last, piece) = (index(begin)?, index(end)?, builder.index(PIECE)?);
    let codes = builder.for_loop(first, last, piece, &[zero], |inner, tile, codes| {
        let set = inner.value("llvm.load", &[flag], i32_type, &[("volatile_", Attribute::unit(context))])?;
        let stopped = inner.binary("arith.ori", set, codes[0])?;
        let go = inner.value("arith.cmpi", &[stopped, zero], bool_type, &[("predicate", equal(64).into())])?;
        let ((run, run_block), (skip, skip_block)) = (inner.region(&[]), inner.region(&[]));
        let then = Builder::at_end(run_block, inner.location());
        let until = then.binary("arith.addi", tile, piece)?;
        let until = then.binary("arith.minui", until, last)?;
        for bound in [tile, until] {
            operands.push(then.value("arith.index_cast", &[bound], i64_type, &[])?);
        }
        let code = call(&then, &operands)?;
        then.op("scf.yield", &[code], &[], &[])?;
        Builder::at_end(skip_block, inner.location()).op("scf.yield", &[codes[0]], &[], &[])?;
        let op = inner.op_with_regions("scf.if", &[go], &[i32_type], &[], vec![run, skip])?;
        Ok(vec![lasting(op.result(0).map_err(|e| e.to_string())?.into())])
    })?;
    Ok(codes[0])
}
