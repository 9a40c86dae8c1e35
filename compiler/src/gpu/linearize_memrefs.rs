//! `linearize-memrefs`: loads and stores on memref arguments of any rank -> on one-dimensional memrefs of the profile's storage types.
//!
//! SPIR-V arrays of run-time length have one dynamic dimension and only the element types that the device can store. Sizes come from `winze.dims`.
//! Refuses uses of an argument other than load and store, and element types that the profile cannot store.

use crate::gpu::{
    builder::{
        Before, Op, Val, block_ref, context_of, dynamic_size, element_type, integer, is_memref, name_of, op_mut, op_ref, operands, val,
    },
    distribute_elements::argument_dims,
    profile::{Storage, VulkanProfile},
    sizes,
};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        BlockLike, OperationRef, RegionLike, Type, ValueLike,
        attribute::{IntegerAttribute, TypeAttribute},
        block::BlockArgument,
        operation::{OperationLike, OperationMutLike},
        r#type::{FunctionType, MemRefType},
    },
};
use winze_mlir::{
    pass::{PassOption, RustPass},
    walk,
};
use winze_runtime::artifact::expr::{Expr, ExprOp};

pub struct LinearizeMemrefs {
    profile: &'static VulkanProfile,
}

impl RustPass for LinearizeMemrefs {
    const ARGUMENT: &'static str = "linearize-memrefs";
    const DESCRIPTION: &'static str = "Make every memref argument one-dimensional, of a type the Vulkan profile can store";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[PassOption { name: "profile", description: "Vulkan profile", default: "vulkan1.1-min" }];

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith(), DialectHandle::memref(), crate::gpu::builder::vector_dialect()]
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { profile: VulkanProfile::named(values[0])? })
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let function = op_ref(&op);
        let Some(entry) = function.region(0).ok().and_then(|r| r.first_block()).map(|b| block_ref(b)) else { return Ok(()) };
        let context = context_of(function);
        let arguments: Vec<Val<'_>> = (0..entry.argument_count()).filter_map(|i| entry.argument(i).ok()).map(val).collect();
        let dims = argument_dims(function, &arguments)?;
        let symbols: Vec<Val<'_>> = arguments.iter().copied().filter(|a| a.r#type() == Type::index(context)).collect();
        let mut types = vec![];
        for (argument, dims) in arguments.iter().zip(dims) {
            if !is_memref(argument.r#type()) {
                types.push(argument.r#type());
                continue;
            }
            let element = element_type(argument.r#type()).ok_or("argument is no memref")?;
            let storage = self.profile.storage_of(&element.to_string()).map_err(|e| format!("{e} (kernel {})", function.location()))?;
            for access in accesses(*argument)? {
                rewrite(context, access, element, storage, dims.as_deref().unwrap_or_default(), &symbols)?;
            }
            let dynamic = dynamic_size();
            let r#type: Type<'_> = MemRefType::new(storage_type(context, storage), &[dynamic], None, None).into();
            BlockArgument::try_from(*argument).map_err(|e| e.to_string())?.set_type(r#type);
            types.push(r#type);
        }
        let mut function = op_mut(function);
        function.set_attribute("function_type", TypeAttribute::new(FunctionType::new(context, &types, &[]).into()).into());
        Ok(())
    }
}

pub fn storage_type(context: &Context, storage: Storage) -> Type<'_> {
    match storage {
        Storage::F16 => Type::float16(context),
        Storage::F32 => Type::float32(context),
        Storage::F64 => Type::float64(context),
        Storage::I8 => integer(context, 8),
        Storage::I16 => integer(context, 16),
        Storage::I32 => integer(context, 32),
        Storage::I64 => integer(context, 64),
        Storage::Words => Type::vector(&[2], integer(context, 32)),
    }
}

/// The loads and stores of an argument.
fn accesses<'c>(argument: Val<'c>) -> Result<Vec<Op<'c>>, String> {
    let users: Vec<_> = walk::users(argument).collect();
    for op in &users {
        let name = name_of(*op);
        if name != "memref.load" && name != "memref.store" {
            return Err(format!(
                "linearize-memrefs: {name} at {}: only loads and stores of a buffer become SPIR-V; fold it into them",
                op.location()
            ));
        }
    }
    Ok(users)
}

/// The value of a size expression, computed before an operation.
fn size_value<'c>(before: &Before<'c>, size: &Expr, symbols: &[Val<'c>]) -> Result<Val<'c>, String> {
    let index = Type::index(before.context);
    let mut stack = vec![];
    for op in &size.0 {
        let value = match op {
            ExprOp::Const(c) => before.constant(index, *c)?,
            ExprOp::Symbol(s) => *symbols.get(*s as usize).ok_or("winze.dims uses an index argument that the kernel does not have")?,
            op => {
                let (Some(rhs), Some(lhs)) = (stack.pop(), stack.pop()) else { return Err("malformed size".into()) };
                before.one(sizes::arith_name(op), &[lhs, rhs], index, &[])?
            }
        };
        stack.push(value);
    }
    stack.pop().ok_or("empty size".into())
}

fn rewrite<'c>(
    context: &'c Context,
    access: Op<'c>,
    element: Type<'c>,
    storage: Storage,
    shape: &[Expr],
    symbols: &[Val<'c>],
) -> Result<(), String> {
    let before = Before::new(context, access);
    let index = Type::index(context);
    let inputs = operands(access);
    let store = name_of(access) == "memref.store";
    let (memref, indices) = if store { (inputs[1], &inputs[2..]) } else { (inputs[0], &inputs[1..]) };
    let mut linear: Option<Val<'c>> = None;
    for (i, size) in indices.iter().zip(shape) {
        linear = Some(match linear {
            None => *i,
            Some(so_far) => {
                let size = size_value(&before, size, symbols)?;
                let scaled = before.one("arith.muli", &[so_far, size], index, &[])?;
                before.one("arith.addi", &[scaled, *i], index, &[])?
            }
        });
    }
    let linear = linear.map_or_else(|| before.constant(index, 0), Ok)?;
    let stored = storage_type(context, storage);
    if store {
        let value = to_storage(&before, inputs[0], element, storage)?;
        before.insert("memref.store", &[value, memref, linear], &[], &[])?;
    } else {
        let raw = before.one("memref.load", &[memref, linear], stored, &[])?;
        let value = from_storage(&before, raw, element, storage)?;
        let old = access.result(0).map(val).map_err(|e| e.to_string())?;
        walk::replace_all_uses(old, value);
    }
    walk::erase(access);
    Ok(())
}

fn from_storage<'c>(before: &Before<'c>, raw: Val<'c>, element: Type<'c>, storage: Storage) -> Result<Val<'c>, String> {
    let context = before.context;
    let (i32, i64) = (integer(context, 32), integer(context, 64));
    if raw.r#type() == element {
        return Ok(raw);
    }
    match storage {
        Storage::Words => {
            let word = |i: i64| -> Result<Val<'c>, String> {
                let position = melior::ir::attribute::DenseI64ArrayAttribute::new(context, &[i]);
                let word = before.one("vector.extract", &[raw], i32, &[("static_position", position.into())])?;
                before.one("arith.extui", &[word], i64, &[])
            };
            let (low, high) = (word(0)?, word(1)?);
            let shift = before.constant(i64, 32)?;
            let high = before.one("arith.shli", &[high, shift], i64, &[])?;
            before.one("arith.ori", &[low, high], i64, &[])
        }
        Storage::I32 if element == integer(context, 1) => {
            let zero = before.constant(i32, 0)?;
            before.one("arith.cmpi", &[raw, zero], element, &[("predicate", IntegerAttribute::new(i64, 1).into())])
        }
        Storage::I32 => before.one("arith.trunci", &[raw], element, &[]),
        Storage::I16 => before.one("arith.bitcast", &[raw], element, &[]),
        _ => Err(format!("linearize-memrefs: element type {element} has no conversion from its storage")),
    }
}

fn to_storage<'c>(before: &Before<'c>, value: Val<'c>, element: Type<'c>, storage: Storage) -> Result<Val<'c>, String> {
    let context = before.context;
    let (i32, i64) = (integer(context, 32), integer(context, 64));
    let stored = storage_type(context, storage);
    if stored == element {
        return Ok(value);
    }
    match storage {
        Storage::Words => {
            let low = before.one("arith.trunci", &[value], i32, &[])?;
            let shift = before.constant(i64, 32)?;
            let high = before.one("arith.shrui", &[value, shift], i64, &[])?;
            let high = before.one("arith.trunci", &[high], i32, &[])?;
            before.one("vector.from_elements", &[low, high], stored, &[])
        }
        Storage::I32 => before.one("arith.extui", &[value], stored, &[]),
        Storage::I16 => before.one("arith.bitcast", &[value], stored, &[]),
        _ => Err(format!("linearize-memrefs: element type {element} has no conversion to its storage")),
    }
}
