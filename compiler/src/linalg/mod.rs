//! The `linalg` stage: kernel functions of graph ops -> linalg on tensors in destination-passing form (ARCHITECTURE.md section 4).

mod root_loops;

pub use root_loops::{RootInfo, read_root};

use crate::{
    context::new_context,
    kernel_unit::KernelUnit,
    parallel::map_with,
    stage::Stage,
    steps::{Step, run_pipeline},
};
use melior::ir::{
    Module,
    operation::{OperationLike, OperationPrintingFlags},
};

/// Lowers every kernel, on `jobs` threads. `bool_bits` is how the target stores bools.
pub fn lower_kernels(units: &[KernelUnit], bool_bits: u32, jobs: usize) -> Result<Vec<KernelUnit>, String> {
    let pipeline = winze_graph::lower::pipeline(bool_bits);
    let lowered = map_with(units, jobs, new_context, |context, unit| {
        let text = std::str::from_utf8(&unit.module).map_err(|e| format!("linalg: kernel @{}: {e}", unit.name))?;
        let mut module = Module::parse(context, text)
            .ok_or_else(|| format!("linalg: kernel @{} does not parse; this is a fault of the compiler", unit.name))?;
        let step = Step { stage: Stage::Linalg, kernel: Some(&unit.name) };
        run_pipeline(context, &mut module, step, &pipeline).map_err(|e| format!("{step}: {e}"))?;
        let flags = OperationPrintingFlags::new().enable_debug_info(true, false);
        let text = module.as_operation().to_string_with_flags(flags).map_err(|e| format!("linalg: kernel @{}: {e}", unit.name))?;
        Ok(KernelUnit { module: text.into_bytes(), ..unit.clone() })
    });
    lowered.into_iter().collect()
}
