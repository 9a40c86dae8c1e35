//! Kernels at the `linalg` stage -> code of a Vulkan variant.

use super::{CompileError, artifact::Compiled};
use crate::{
    gpu::{VulkanProfile, compile_kernels_observed},
    kernel_unit::{KernelUnit, StageObserver},
};
use std::collections::BTreeSet;
use winze_runtime::artifact::{
    expr::Expr,
    manifest::{Code, Kernel},
};

/// Compiles all kernels; their modules stand one after the other.
pub fn compile(units: &[KernelUnit], profile: &VulkanProfile, jobs: usize, observer: &dyn StageObserver) -> Result<Compiled, CompileError> {
    let kernels = compile_kernels_observed(units, profile, jobs, observer).map_err(|errors| {
        // What a profile lacks is said as `unsupported: <what>: <why>` somewhere in the message; the reasons stand for themselves.
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let reasons: Option<Vec<String>> = lines.iter().map(|line| line.find("unsupported: ").map(|at| line[at..].to_string())).collect();
        reasons.map_or_else(|| CompileError::Failed(lines.join("\n")), CompileError::Unsupported)
    })?;
    let (mut modules, mut features) = (vec![], BTreeSet::new());
    let kernels = kernels
        .into_iter()
        .zip(units)
        .map(|(kernel, unit)| {
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
                in_place: vec![],
                code: Code::Spirv { offset, bytes, entry: kernel.entry, workgroup_size: kernel.workgroup_size },
            }
        })
        .collect();
    Ok(Compiled { kernels, image: modules, features: features.into_iter().collect() })
}
