//! `spirv-finish-interface`: spirv.modules beside their gpu.modules -> inside them, ready for `gpu-module-to-binary`, with exact decorations.
//!
//! Takes binding and descriptor set off push constants (Vulkan forbids them there), marks buffers that are never written, and drops the gpu.func that the
//! SPIR-V came from.

use crate::gpu::builder::{Op, block_ref, name_of, op_ref, operands};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        Attribute, BlockLike, BlockRef, OperationRef, RegionLike,
        attribute::{FlatSymbolRefAttribute, StringAttribute},
        operation::{OperationLike, OperationMutLike, OperationRefMut},
    },
};
use std::collections::HashSet;
use winze_mlir::pass::RustPass;

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
        let body = body_of(module).ok_or("spirv-finish-interface: empty module")?;
        let operations = operations_of(body);
        for spirv in operations.iter().filter(|o| name_of(**o) == "spirv.module") {
            let name = symbol(*spirv);
            let gpu = operations
                .iter()
                .find(|o| name_of(**o) == "gpu.module" && name == format!("__spv__{}", symbol(**o)))
                .ok_or_else(|| format!("spirv-finish-interface: spirv.module @{name} has no gpu.module beside it"))?;
            decorate(*spirv)?;
            let target = body_of(*gpu).ok_or("spirv-finish-interface: gpu.module without a body")?;
            for old in operations_of(target) {
                // SAFETY: SPIR-V has replaced it; nothing refers to it.
                unsafe { mlir_sys::mlirOperationDestroy(old.to_raw()) };
            }
            // SAFETY: the module leaves its block and is owned by the other one at once.
            unsafe {
                mlir_sys::mlirOperationRemoveFromParent(spirv.to_raw());
                mlir_sys::mlirBlockAppendOwnedOperation(target.to_raw(), spirv.to_raw());
            }
        }
        Ok(())
    }
}

fn decorate(module: Op<'_>) -> Result<(), String> {
    let context: &Context = unsafe { module.context().to_ref() };
    let body = body_of(module).ok_or("spirv-finish-interface: empty spirv.module")?;
    let written = variable_uses(body).written;
    for op in operations_of(body).into_iter().filter(|o| name_of(*o) == "spirv.GlobalVariable") {
        let class = op.attribute("type").map(|t| t.to_string()).unwrap_or_default();
        let mut variable = unsafe { OperationRefMut::from_raw(op.to_raw()) };
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
pub fn variable_uses(block: BlockRef<'_, '_>) -> VariableUses {
    let mut uses = VariableUses::default();
    collect_uses(block, &mut uses);
    uses
}

fn collect_uses(block: BlockRef<'_, '_>, uses: &mut VariableUses) {
    for op in operations_of(block_ref(block)) {
        for region in 0..op.region_count() {
            let mut next = op.region(region).ok().and_then(|r| r.first_block()).map(|b| block_ref(b));
            while let Some(block) = next {
                collect_uses(block, uses);
                next = block.next_in_region().map(|b| block_ref(b));
            }
        }
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
}

pub fn symbol(op: Op<'_>) -> String {
    op.attribute("sym_name").ok().and_then(|a| StringAttribute::try_from(a).ok()).map(|a| a.value().to_string()).unwrap_or_default()
}

fn body_of<'c>(op: Op<'c>) -> Option<BlockRef<'c, 'c>> {
    op.region(0).ok().and_then(|r| r.first_block()).map(|b| block_ref(b))
}

fn operations_of<'c>(block: BlockRef<'c, 'c>) -> Vec<Op<'c>> {
    std::iter::successors(block.first_operation().map(|o| op_ref(&o)), |o| o.next_in_block().map(|o| op_ref(&o))).collect()
}
