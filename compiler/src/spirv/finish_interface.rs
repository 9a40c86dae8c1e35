//! `spirv-finish-interface`: spirv.modules beside their gpu.modules -> inside them, ready for `gpu-module-to-binary`, with exact decorations.
//!
//! Takes binding and descriptor set off push constants (Vulkan forbids them there), marks buffers that are never written, and drops the gpu.func that the
//! SPIR-V came from.

use crate::gpu::builder::{Op, blocks_of, context_of, name_of, op_mut, op_ref, operands, operations_below, operations_in};
use melior::{
    dialect::DialectHandle,
    ir::{
        Attribute, OperationRef,
        attribute::{FlatSymbolRefAttribute, StringAttribute},
        operation::{OperationLike, OperationMutLike},
    },
};
use std::collections::HashSet;
use winze_mlir::{pass::RustPass, walk};

pub struct FinishInterface;

impl RustPass for FinishInterface {
    const ARGUMENT: &'static str = "spirv-finish-interface";
    const DESCRIPTION: &'static str = "Put SPIR-V modules into their gpu.module and complete the decorations of their interface";
    const ANCHOR: &'static str = "builtin.module";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::gpu(), crate::gpu::builder::spirv_dialect()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let module = op_ref(&op);
        let body = blocks_of(module).first().copied().ok_or("spirv-finish-interface: empty module")?;
        let operations = operations_in(body);
        for spirv in operations.iter().filter(|o| name_of(**o) == "spirv.module") {
            let name = symbol(*spirv);
            let gpu = operations
                .iter()
                .find(|o| name_of(**o) == "gpu.module" && name == format!("__spv__{}", symbol(**o)))
                .ok_or_else(|| format!("spirv-finish-interface: spirv.module @{name} has no gpu.module beside it"))?;
            decorate(*spirv)?;
            let target = blocks_of(*gpu).first().copied().ok_or("spirv-finish-interface: gpu.module without a body")?;
            for old in operations_in(target) {
                walk::erase(old); // SPIR-V has replaced it
            }
            walk::move_to_end(*spirv, target);
        }
        Ok(())
    }
}

fn decorate(module: Op<'_>) -> Result<(), String> {
    let context = context_of(module);
    let body = blocks_of(module).first().copied().ok_or("spirv-finish-interface: empty spirv.module")?;
    let written = variable_uses(module).written;
    for op in operations_in(body).into_iter().filter(|o| name_of(*o) == "spirv.GlobalVariable") {
        let class = op.attribute("type").map(|t| t.to_string()).unwrap_or_default();
        let mut variable = op_mut(op);
        if class.ends_with("PushConstant>") {
            // Both are absent on a second run.
            let _ = variable.remove_attribute("binding");
            let _ = variable.remove_attribute("descriptor_set");
        } else if class.ends_with("StorageBuffer>") && !written.contains(&symbol(op)) {
            variable.set_attribute("non_writable", Attribute::unit(context));
        }
    }
    Ok(())
}

/// Names of interface variables by how the code uses them.
#[derive(Default)]
pub struct VariableUses {
    pub read: HashSet<String>,
    pub written: HashSet<String>,
}

/// Which variables the code loads and stores, found by following access chains to `spirv.mlir.addressof`.
pub fn variable_uses(module: Op<'_>) -> VariableUses {
    let mut uses = VariableUses::default();
    for op in operations_below(module) {
        let name = name_of(op);
        let (read, written) = (name == "spirv.Load", name == "spirv.Store");
        let atomic = name.starts_with("spirv.Atomic");
        if !(read || written || atomic) {
            continue;
        }
        let mut pointer = operands(op).first().copied();
        while let Some((definition, _)) = pointer.and_then(crate::gpu::builder::defining_op) {
            if name_of(definition) == "spirv.mlir.addressof" {
                if let Ok(Ok(variable)) = definition.attribute("variable").map(FlatSymbolRefAttribute::try_from) {
                    let variable = variable.value().to_string();
                    if read || atomic {
                        uses.read.insert(variable.clone());
                    }
                    if written || atomic {
                        uses.written.insert(variable);
                    }
                }
                break;
            }
            pointer = operands(definition).first().copied();
        }
    }
    uses
}

pub fn symbol(op: Op<'_>) -> String {
    op.attribute("sym_name").ok().and_then(|a| StringAttribute::try_from(a).ok()).map(|a| a.value().to_string()).unwrap_or_default()
}
