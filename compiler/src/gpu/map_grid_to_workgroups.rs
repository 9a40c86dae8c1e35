//! `map-grid-to-workgroups`: functions with one outer `scf.forall` -> `gpu.module` with a kernel, one invocation per iteration.
//!
//! The kernel computes `id = (group.y * num_workgroups.x + group.x) * workgroup_size + local`, ignores ids beyond the iterations, and reads dims from
//! push constants. Binding `i` is the i-th buffer argument, used or not. Assumes one-dimensional buffers (`linearize-memrefs`). Refuses functions
//! without such a loop, and more dims or buffers than the profile's limits allow.

use crate::gpu::{
    builder::{
        Op, Val, block_arguments, blocks_of, build, context_of, dynamic_size, i64_array, integer, is_memref, name_of, op_mut, op_ref,
        operands, operations_in, parse_attribute, segment_sizes, val,
    },
    distribute_elements::emitter::region_with,
    profile::VulkanProfile,
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        Attribute, BlockLike, BlockRef, Identifier, Location, Operation, OperationRef, Region, Type, ValueLike,
        attribute::{IntegerAttribute, StringAttribute, TypeAttribute},
        operation::{OperationBuilder, OperationLike},
        r#type::{FunctionType, MemRefType},
    },
};
use winze_mlir::{
    pass::{PassOption, RustPass},
    walk,
};

pub struct MapGridToWorkgroups {
    profile: &'static VulkanProfile,
    workgroup_size: u32,
}

impl RustPass for MapGridToWorkgroups {
    const ARGUMENT: &'static str = "map-grid-to-workgroups";
    const DESCRIPTION: &'static str = "Turn the outer scf.forall of each kernel into a grid of workgroups, one invocation per iteration";
    const ANCHOR: &'static str = "builtin.module";
    const OPTIONS: &'static [PassOption] = &[
        PassOption { name: "profile", description: "Vulkan profile", default: "vulkan1.1-min" },
        PassOption { name: "workgroup-size", description: "invocations per workgroup; 0 for the profile's", default: "0" },
    ];

    fn dialects() -> Vec<DialectHandle> {
        vec![
            DialectHandle::gpu(),
            DialectHandle::arith(),
            DialectHandle::scf(),
            DialectHandle::memref(),
            crate::gpu::builder::spirv_dialect(),
        ]
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        let profile = VulkanProfile::named(values[0])?;
        let workgroup_size: u32 = values[1].parse().map_err(|e| format!("option 'workgroup-size': {e}"))?;
        let workgroup_size = if workgroup_size == 0 { profile.workgroup_size } else { workgroup_size };
        if workgroup_size > profile.limits.max_workgroup_invocations {
            return Err(format!(
                "option 'workgroup-size': {workgroup_size} exceeds the {} of profile {}",
                profile.limits.max_workgroup_invocations, profile.name
            ));
        }
        Ok(Self { profile, workgroup_size })
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let module = op_ref(&op);
        let Some(body) = blocks_of(module).first().copied() else { return Ok(()) };
        for op in operations_in(body) {
            if name_of(op) == "func.func" && !blocks_of(op).is_empty() {
                self.map(op, body)?;
            }
        }
        let context = context_of(module);
        let mut module = op_mut(op_ref(&op));
        use melior::ir::operation::OperationMutLike;
        module.set_attribute("gpu.container_module", Attribute::unit(context));
        // convert-math-to-spirv looks for the target here and nowhere else.
        module.set_attribute("spirv.target_env", parse_attribute(context, &self.profile.target_env())?);
        Ok(())
    }
}

impl MapGridToWorkgroups {
    fn map<'c>(&self, function: Op<'c>, module: BlockRef<'c, 'c>) -> Result<(), String> {
        let context = context_of(function);
        let location = function.location();
        let name = StringAttribute::try_from(function.attribute("sym_name").map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        let refuse = |why: String| format!("map-grid-to-workgroups: kernel @{} at {location}: {why}", name.value());
        let old = blocks_of(function).first().copied().ok_or_else(|| refuse("no body".into()))?;
        let operations = operations_in(old);
        let forall = single_grid(&operations).map_err(refuse)?;

        let index = Type::index(context);
        let arguments = block_arguments(old);
        let buffers = arguments.iter().filter(|a| is_memref(a.r#type())).count();
        let dims = arguments.iter().filter(|a| a.r#type() == index).count();
        if buffers + dims != arguments.len() {
            return Err(refuse("arguments other than buffers and dims are not supported".into()));
        }
        let limits = &self.profile.limits;
        if dims * 4 > limits.max_push_constant_bytes as usize {
            return Err(refuse(format!(
                "{dims} dims exceed the {} bytes of push constants; split the kernel",
                limits.max_push_constant_bytes
            )));
        }
        if buffers > limits.max_storage_buffers as usize {
            return Err(refuse(format!(
                "{buffers} buffers exceed the {} of profile {}; split the kernel",
                limits.max_storage_buffers, self.profile.name
            )));
        }

        // Signature: buffers in order, then the dims as one block of push constants.
        let storage_buffer = parse_attribute(context, "#spirv.storage_class<StorageBuffer>")?;
        let mut types: Vec<Type<'c>> = vec![];
        for argument in arguments.iter().filter(|a| is_memref(a.r#type())) {
            let element = crate::gpu::builder::element_type(argument.r#type()).ok_or("no memref")?;
            types.push(MemRefType::new(element, &[dynamic_size()], None, Some(storage_buffer)).into());
        }
        let mut interface: Vec<String> =
            (0..buffers).map(|i| format!("{{spirv.interface_var_abi = #spirv.interface_var_abi<(0, {i})>}}")).collect();
        if dims > 0 {
            let push_constant = parse_attribute(context, "#spirv.storage_class<PushConstant>")?;
            types.push(MemRefType::new(integer(context, 32), &[dims as i64], None, Some(push_constant)).into());
            interface.push(format!("{{spirv.interface_var_abi = #spirv.interface_var_abi<(0, {buffers})>}}"));
        }
        let (region, entry) = region_with(&types.iter().map(|t| (*t, location)).collect::<Vec<_>>());
        let new_arguments = block_arguments(entry);
        let build_in = Inside { context, location, block: entry };

        let mut symbol = 0;
        let mut buffer = 0;
        for argument in &arguments {
            let new = if is_memref(argument.r#type()) {
                buffer += 1;
                new_arguments[buffer - 1]
            } else {
                let position = build_in.index(symbol)?;
                symbol += 1;
                let dim = build_in.one("memref.load", &[new_arguments[buffers], position], integer(context, 32), &[])?;
                build_in.one("arith.index_cast", &[dim], index, &[])?
            };
            walk::replace_all_uses(*argument, new);
        }
        for op in operations.iter().take_while(|o| **o != forall) {
            walk::move_to_end(*op, entry);
        }
        let id = self.invocation_id(&build_in)?;
        let bounds = bounds(&build_in, forall)?;
        let mut total = build_in.index(1)?;
        for bound in &bounds {
            total = build_in.one("arith.muli", &[total, *bound], index, &[])?;
        }
        let unsigned_less = IntegerAttribute::new(integer(context, 64), 6).into();
        let inside = build_in.one("arith.cmpi", &[id, total], integer(context, 1), &[("predicate", unsigned_less)])?;

        let (then_region, then_block) = region_with(&[]);
        let build_then = Inside { context, location, block: then_block };
        let loop_block = blocks_of(forall).first().copied().ok_or_else(|| refuse("empty grid".into()))?;
        let mut rest = id;
        for (d, iteration) in block_arguments(loop_block).into_iter().enumerate().rev() {
            let position = if d == 0 { rest } else { build_then.one("arith.remui", &[rest, bounds[d]], index, &[])? };
            if d > 0 {
                rest = build_then.one("arith.divui", &[rest, bounds[d]], index, &[])?;
            }
            walk::replace_all_uses(iteration, position);
        }
        for op in operations_in(loop_block) {
            if name_of(op) != "scf.forall.in_parallel" {
                walk::move_to_end(op, then_block);
            }
        }
        build_then.append(build("scf.yield", location, &[], &[], &[])?);
        let conditional =
            OperationBuilder::new("scf.if", location).add_operands(&[inside]).add_regions([then_region, Region::new()]).build();
        build_in.append(conditional.map_err(|e| e.to_string())?);
        build_in.append(build("gpu.return", location, &[], &[], &[])?);

        let size = self.workgroup_size;
        let attribute = |name: &str, value: Attribute<'c>| (Identifier::new(context, name), value);
        let kernel = OperationBuilder::new("gpu.func", location)
            .add_attributes(&[
                attribute("sym_name", name.into()),
                attribute("function_type", TypeAttribute::new(FunctionType::new(context, &types, &[]).into()).into()),
                attribute("gpu.kernel", Attribute::unit(context)),
                attribute("known_block_size", parse_attribute(context, &format!("array<i32: {size}, 1, 1>"))?),
                attribute(
                    "spirv.entry_point_abi",
                    parse_attribute(context, &format!("#spirv.entry_point_abi<workgroup_size = [{size}, 1, 1]>"))?,
                ),
                attribute("arg_attrs", parse_attribute(context, &format!("[{}]", interface.join(", ")))?),
            ])
            .add_regions([region])
            .build()
            .map_err(|e| format!("cannot build gpu.func: {e}"))?;
        let (module_region, module_block) = region_with(&[]);
        module_block.append_operation(kernel);
        let gpu_module = OperationBuilder::new("gpu.module", location)
            .add_attributes(&[
                attribute("sym_name", StringAttribute::new(context, &format!("{}_module", name.value())).into()),
                attribute("targets", parse_attribute(context, &format!("[{}]", self.profile.target_env()))?),
            ])
            .add_regions([module_region])
            .build()
            .map_err(|e| format!("cannot build gpu.module: {e}"))?;
        module.insert_operation_before(function, gpu_module);
        walk::erase(function); // its operations have moved out
        Ok(())
    }

    fn invocation_id<'c>(&self, inside: &Inside<'c>) -> Result<Val<'c>, String> {
        let index = Type::index(inside.context);
        let dimension = |d: &str| parse_attribute(inside.context, &format!("#gpu<dim {d}>"));
        let (x, y) = (dimension("x")?, dimension("y")?);
        let group_x = inside.one("gpu.block_id", &[], index, &[("dimension", x)])?;
        let group_y = inside.one("gpu.block_id", &[], index, &[("dimension", y)])?;
        let groups_x = inside.one("gpu.grid_dim", &[], index, &[("dimension", x)])?;
        let local = inside.one("gpu.thread_id", &[], index, &[("dimension", x)])?;
        let row = inside.one("arith.muli", &[group_y, groups_x], index, &[])?;
        let group = inside.one("arith.addi", &[row, group_x], index, &[])?;
        let size = inside.index(self.workgroup_size as i64)?;
        let first = inside.one("arith.muli", &[group, size], index, &[])?;
        inside.one("arith.addi", &[first, local], index, &[])
    }
}

/// Appends operations to a block.
struct Inside<'c> {
    context: &'c Context,
    location: Location<'c>,
    block: BlockRef<'c, 'c>,
}

impl<'c> Inside<'c> {
    fn append(&self, operation: Operation<'c>) -> Op<'c> {
        op_ref(&self.block.append_operation(operation))
    }

    fn one(&self, name: &str, operands: &[Val<'c>], result: Type<'c>, attributes: &[(&str, Attribute<'c>)]) -> Result<Val<'c>, String> {
        self.append(build(name, self.location, operands, &[result], attributes)?).result(0).map(val).map_err(|e| e.to_string())
    }

    fn index(&self, value: i64) -> Result<Val<'c>, String> {
        let r#type = Type::index(self.context);
        self.one("arith.constant", &[], r#type, &[("value", IntegerAttribute::new(r#type, value).into())])
    }
}

/// The kernel's grid: its one outer `scf.forall`, after which only the return stands.
pub fn single_grid<'c>(operations: &[Op<'c>]) -> Result<Op<'c>, String> {
    let mut grids = operations.iter().filter(|o| name_of(**o) == "scf.forall");
    match (grids.next(), grids.next(), operations) {
        (Some(grid), None, [.., before_last, _]) if before_last == grid => Ok(*grid),
        (Some(_), Some(_), _) => Err("more than one outer scf.forall; a kernel has one grid".into()),
        (Some(_), ..) => Err("operations stand after its outer scf.forall; move them into the grid".into()),
        (None, ..) => Err("no outer scf.forall; its schedule must make one".into()),
    }
}

/// Upper bounds of a forall that counts from 0 by 1.
fn bounds<'c>(inside: &Inside<'c>, forall: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    if i64_array(forall, "staticLowerBound").iter().any(|b| *b != 0) || i64_array(forall, "staticStep").iter().any(|s| *s != 1) {
        return Err("map-grid-to-workgroups: the grid must count from 0 by 1; normalize it".into());
    }
    let segments = segment_sizes(forall);
    let mut dynamic = operands(forall).into_iter().skip(segments.first().copied().unwrap_or(0));
    i64_array(forall, "staticUpperBound")
        .into_iter()
        .map(|b| if b == dynamic_size() { dynamic.next().ok_or("a bound is missing".to_string()) } else { inside.index(b) })
        .collect()
}
