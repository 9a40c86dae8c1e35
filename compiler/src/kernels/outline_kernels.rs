//! Host function with `graph.kernel` regions -> one independent module per distinct kernel.
//!
//! A kernel's module holds one function of graph ops over the symbols of the model's function. Kernels that differ only in locations are one kernel;
//! its name is its class and a hash of its contents. Each `graph.kernel` is marked with the name and with the symbols its dispatches pass.

use crate::{
    kernel_unit::KernelUnit,
    launch::{IN_PLACE_ATTRIBUTE, KERNEL_ATTRIBUTE, SYMBOLS_ATTRIBUTE},
};
use melior::{
    Context,
    ir::{
        BlockLike, Identifier, Location, Module, OperationRef, Region, RegionLike, Type, Value, ValueLike,
        attribute::{StringAttribute, TypeAttribute},
        block::BlockArgument,
        operation::{OperationBuilder, OperationLike, OperationPrintingFlags},
        r#type::FunctionType,
    },
};
use std::collections::{BTreeMap, BTreeSet};
use winze_graph::{
    dialect::{Append, Kernel},
    dim::Dim,
    types::{TensorType, starts_of},
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    context::context_of,
    walk,
};

/// A kernel, the (input argument, output argument) pairs that may be one buffer, and whether they have to be, because it appends to its input.
pub struct Outlined {
    pub unit: KernelUnit,
    pub in_place: Vec<(u32, u32)>,
    pub appends: bool,
}

/// Makes the modules, in order of first use.
pub fn outline_kernels(context: &Context, func: OperationRef) -> Result<Vec<Outlined>, String> {
    let mut units: BTreeMap<String, usize> = BTreeMap::new();
    let mut ordered = vec![];
    walk::walk(func, &mut |op| -> Result<(), String> {
        let Some(kernel) = Kernel::cast(op) else { return Ok(()) };
        let contents = module_of(context, kernel, "kernel")?.as_operation().to_string();
        let name = format!("{}_{}", kernel.kind(), &blake3::hash(contents.as_bytes()).to_hex()[..12]);
        let symbols = symbols_of(kernel)?;
        attributes::set(op, KERNEL_ATTRIBUTE, name.clone().to_attribute(context_of(op)));
        attributes::set(op, SYMBOLS_ATTRIBUTE, symbols.to_attribute(context_of(op)));
        let pairs: Vec<i64> = in_place(kernel).into_iter().flat_map(|(input, output)| [i64::from(input), i64::from(output)]).collect();
        if !pairs.is_empty() {
            attributes::set(op, IN_PLACE_ATTRIBUTE, pairs.to_attribute(context_of(op)));
        }
        units.entry(name.clone()).or_insert_with(|| {
            ordered.push((name.clone(), kernel.kind(), op));
            ordered.len() - 1
        });
        Ok(())
    })?;
    ordered
        .into_iter()
        .map(|(name, class, op)| {
            let kernel = Kernel::cast(op).expect("collected as kernels");
            let module = module_of(context, kernel, &name)?;
            let flags = OperationPrintingFlags::new().enable_debug_info(true, false);
            let text = module.as_operation().to_string_with_flags(flags).map_err(|e| format!("outline-kernels: {e}"))?;
            let appends = appended_state(kernel).is_some();
            Ok(Outlined { unit: KernelUnit { name, class, module: text.into_bytes() }, in_place: in_place(kernel), appends })
        })
        .collect()
}

/// Pairs of an elementwise kernel: inputs of the result's type are read at the index that is written. One that appends writes into its state.
fn in_place(kernel: Kernel) -> Vec<(u32, u32)> {
    let inputs = kernel.inputs();
    let op = kernel.op();
    if let Some(state) = appended_state(kernel) {
        return vec![(state, inputs.len() as u32)];
    }
    let (Ok(result), 1, "elementwise") = (op.result(0), op.result_count(), kernel.kind().as_str()) else { return vec![] };
    let alike = |input: &Value| input.r#type() == result.r#type();
    inputs.iter().enumerate().filter(|(_, input)| alike(input)).map(|(i, _)| (i as u32, inputs.len() as u32)).collect()
}

/// The input that a kernel appends to.
fn appended_state(kernel: Kernel) -> Option<u32> {
    let body = kernel.op().region(0).ok()?.first_block()?;
    let append = walk::operations(body).find_map(Append::cast)?;
    BlockArgument::try_from(append.state()).ok().map(|state| state.argument_number() as u32)
}

/// Symbols in the types of a kernel, ascending: what its dispatches pass as dims.
fn symbols_of(kernel: Kernel) -> Result<Vec<i64>, String> {
    let mut symbols = BTreeSet::new();
    let mut collect = |dims: Vec<Dim>| {
        for dim in dims {
            dim.substitute(&mut |symbol| {
                symbols.insert(i64::from(symbol));
                Dim::from(0)
            });
        }
    };
    for input in kernel.inputs() {
        collect(TensorType::of(input)?.dims);
    }
    walk::walk(kernel.op(), &mut |op| -> Result<(), String> {
        collect(starts_of(op));
        op.results().try_for_each(|result| TensorType::of(result.into()).map(|r#type| collect(r#type.dims)))
    })?;
    Ok(symbols.into_iter().collect())
}

/// A module with the kernel's body as function `name`.
fn module_of<'c>(context: &'c Context, kernel: Kernel, name: &str) -> Result<Module<'c>, String> {
    let copy = walk::copy(kernel.op());
    let source = copy.region(0).map_err(|e| format!("outline-kernels: {e}"))?;
    let body = source.first_block().ok_or("outline-kernels: a graph.kernel without a body")?;
    let location = unsafe { Location::from_raw(mlir_sys::mlirOperationGetLocation(copy.to_raw())) };

    let inputs: Vec<Type> = (0..body.argument_count()).map(|i| body.argument(i).expect("in range").r#type()).collect();
    let terminator = body.terminator().ok_or("outline-kernels: a graph.kernel without a terminator")?;
    let results: Vec<Value> = terminator.operands().collect();
    let types: Vec<Type> = results.iter().map(|result| result.r#type()).collect();
    let ret = OperationBuilder::new("func.return", location).add_operands(&results).build().map_err(|e| e.to_string())?;
    body.append_operation(ret);
    walk::erase(terminator);

    let function_type = FunctionType::new(context, &inputs, &types);
    let region = Region::new();
    // SAFETY: both regions are live; the body moves.
    unsafe { mlir_sys::mlirRegionTakeBody(region.to_raw(), source.to_raw()) };
    let func = OperationBuilder::new("func.func", location)
        .add_attributes(&[
            (Identifier::new(context, "sym_name"), StringAttribute::new(context, name).into()),
            (Identifier::new(context, "function_type"), TypeAttribute::new(function_type.into()).into()),
        ])
        .add_regions([region])
        .build()
        .map_err(|e| format!("outline-kernels: {e}"))?;
    let module = Module::new(location);
    module.body().append_operation(func);
    Ok(module)
}
