//! Kernels at the `linalg` stage -> code of a Vulkan variant.

use super::{
    CompileError,
    artifact::{Compiled, storage_of},
};
use crate::{
    gpu::{self, VulkanProfile, compile_kernels_observed},
    import::Unsupported,
    kernel_unit::{KernelUnit, StageObserver},
    launch::{KERNEL_ATTRIBUTE, extents},
};
use melior::ir::{BlockLike, Module, OperationRef, Value, ValueLike, operation::OperationLike};
use std::collections::BTreeSet;
use winze_graph::{
    dialect::CallExtern,
    types::{ElementType, NAME},
};
use winze_mlir::{attributes, locations, walk};
use winze_runtime::artifact::{
    expr::Expr,
    manifest::{Code, Kernel},
};

/// Compiles all kernels of `host`, which is at stage `kernels`; their modules stand one after the other. `in_place` has a list of argument pairs per kernel.
pub fn compile(
    host: &Module,
    units: &[KernelUnit],
    in_place: &[Vec<(u32, u32)>],
    profile: &VulkanProfile,
    jobs: usize,
    observer: &dyn StageObserver,
) -> Result<Compiled, CompileError> {
    let mut gaps = calls(host);
    let kernels = compile_kernels_observed(units, profile, jobs, observer).map_err(|errors| explain(&errors, host));
    if kernels.is_ok() {
        gaps.extend(not_stored(host.as_operation(), profile));
    }
    let kernels = match kernels {
        Ok(kernels) if gaps.is_empty() => kernels,
        Ok(_) => return Err(CompileError::Unsupported(gaps)),
        Err(CompileError::Unsupported(more)) => {
            gaps.extend(more);
            return Err(CompileError::Unsupported(gaps));
        }
        Err(other) => return Err(other),
    };
    let (mut modules, mut features) = (vec![], BTreeSet::new());
    let kernels = kernels
        .into_iter()
        .zip(units.iter().zip(in_place))
        .map(|(kernel, (unit, in_place))| {
            let offset = modules.len() as u64;
            let bytes = kernel.spirv.len() as u64;
            modules.extend(kernel.spirv);
            features.extend(kernel.features);
            Kernel {
                name: kernel.name,
                class: unit.class.clone(),
                buffers: kernel.access,
                dims: kernel.dims,
                scalars: 0,
                grid: kernel.grid,
                workspace: Expr::constant(0),
                in_place: in_place.clone(),
                code: Code::Spirv { offset, bytes, entry: kernel.entry, workgroup_size: kernel.workgroup_size, turns: kernel.turns },
            }
        })
        .collect();
    Ok(Compiled { kernels, image: modules, features: features.into_iter().collect() })
}

/// Calls of the user's kernels: they take memory of the host.
fn calls(host: &Module) -> Vec<Unsupported> {
    let gap = |call: CallExtern| Unsupported {
        op: "call_extern".into(),
        opset: None,
        node: locations::node_names(call.op().location()).join(", "),
        why: format!("the kernel \"{}\" is the user's, and these run on CPU targets only", call.name()),
    };
    walk::named(host.as_operation(), CallExtern::NAME).into_iter().filter_map(CallExtern::cast).map(gap).collect()
}

/// Tensors between kernels that the profile cannot store, such as constants that are results.
fn not_stored(op: OperationRef, profile: &VulkanProfile) -> Vec<Unsupported> {
    let why = |value: Value| {
        let element = ElementType::from_type(extents::element_of(value.r#type())).ok()?;
        profile.storage(storage_of(element)).err().map(|why| why.trim_start_matches("unsupported: ").to_owned())
    };
    let mut gaps = vec![];
    for block in walk::blocks(op) {
        let arguments = (0..block.argument_count()).filter_map(|i| Some((i, why(block.argument(i).ok()?.into())?)));
        gaps.extend(arguments.map(|(i, why)| Unsupported {
            op: "input".into(),
            opset: None,
            node: attributes::port_entry(op, "arg_attrs", i, NAME).unwrap_or_else(|| nodes(op).join(", ")),
            why,
        }));
        for inner in walk::operations(block) {
            if let Some(why) = inner.results().find_map(|result| why(result.into())) {
                gaps.push(Unsupported { op: operator(inner), opset: None, node: nodes(inner).join(", "), why });
            }
            // What is inside a kernel is the kernel's.
            if !inner.has_attribute(KERNEL_ATTRIBUTE) {
                gaps.extend(not_stored(inner, profile));
            }
        }
    }
    gaps
}

/// What the profile lacks, for each use of a kernel that needs it; all messages where anything else went wrong.
fn explain(errors: &[gpu::CompileError], host: &Module) -> CompileError {
    let mut gaps = vec![];
    for error in errors {
        let gpu::CompileError::Unsupported { kernel, why, .. } = error else {
            return CompileError::Failed(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        };
        let is_use = |op: OperationRef| attributes::get::<String>(op, KERNEL_ATTRIBUTE).as_ref() == Some(kernel);
        for kernel in walk::find(host.as_operation(), is_use) {
            let (ops, nodes) = contents(kernel);
            gaps.push(Unsupported { op: ops.join(", "), opset: None, node: nodes.join(", "), why: why.clone() });
        }
    }
    CompileError::Unsupported(gaps)
}

/// Operators of the graph dialect that a kernel computes, and the model's nodes that they come from, or the places in the file where nodes have no names.
fn contents(kernel: OperationRef) -> (Vec<String>, Vec<String>) {
    let (mut ops, mut all_nodes) = (vec![], vec![]);
    let add = |list: &mut Vec<String>, text: String| {
        if !list.contains(&text) {
            list.push(text);
        }
    };
    for op in walk::find(kernel, |op| op.result_count() > 0) {
        add(&mut ops, operator(op));
        nodes(op).into_iter().for_each(|node| add(&mut all_nodes, node));
    }
    (ops, all_nodes)
}

/// The name of an operation without its dialect.
fn operator(op: OperationRef) -> String {
    op.name().as_string_ref().as_str().unwrap_or_default().trim_start_matches("graph.").to_owned()
}

/// The model's nodes that an operation comes from, or the place in the file where they have no names.
fn nodes(op: OperationRef) -> Vec<String> {
    match locations::node_names(op.location()) {
        names if names.is_empty() => vec![op.location().to_string().trim_start_matches("loc(").trim_end_matches(')').to_owned()],
        names => names,
    }
}
