//! Kernels at the `linalg` stage -> the image of a CPU variant: schedule, vector and llvm stages per kernel, on worker threads, then the link.

use super::{CpuImage, CpuTarget, LlvmModule, image::link_image};
use crate::{
    context::new_context,
    kernel_unit::{KernelUnit, StageObserver},
    parallel::map_with,
    schedule::{self, SCHEDULED_PIPELINE, Schedule, apply_schedule, grid_of},
    stage::Stage,
    steps::{Step, run_action, run_pipeline},
    vector::{ABI_PIPELINE, VECTOR_PIPELINE, lower_kernel_abi::IN_PLACE, place_buffers::WORKSPACE},
};
use melior::{
    Context,
    ir::{
        AffineMap, Attribute, AttributeLike, Module,
        operation::{OperationLike, OperationMutLike, OperationRefMut},
    },
    utility::register_all_llvm_translations,
};
use winze_runtime::artifact::expr::Expr;

/// MLIR's and ours, from the kernel ABI to the LLVM dialect.
pub const LLVM_PIPELINE: &str = "builtin.module(\
    convert-vector-to-scf{full-unroll=1},func.func(lower-vector-multi-reduction),\
    fold-memref-alias-ops,expand-strided-metadata,lower-affine,canonicalize,cse,\
    arith-expand{include-bf16=1},\
    convert-scf-to-cf,convert-vector-to-llvm,convert-math-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,\
    convert-arith-to-llvm,convert-index-to-llvm,convert-cf-to-llvm,convert-ub-to-llvm,reconcile-unrealized-casts,canonicalize,cse)";

/// A kernel with the way it is to be computed.
#[derive(Clone, Debug)]
pub struct CpuUnit {
    pub kernel: KernelUnit,
    pub schedule: Schedule,
    /// (input argument, output argument) pairs that may be the same buffer.
    pub in_place: Vec<(u32, u32)>,
}

/// A compiled kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuKernel {
    pub name: String,
    pub object: Vec<u8>,
    /// Number of tiles, over the kernel's dims.
    pub grid: Expr,
    /// Bytes of workspace per concurrent call, over the kernel's dims.
    pub workspace: Expr,
}

/// A context that can lower kernels to LLVM IR. One per thread.
pub fn kernel_context() -> Context {
    let context = new_context();
    register_all_llvm_translations(&context);
    context
}

/// Lowers one kernel to an object file. The `llvm` stage is observed three times: as LLVM dialect, as LLVM IR and as assembly.
pub fn lower_cpu(context: &Context, unit: &CpuUnit, target: &CpuTarget, observer: &dyn StageObserver) -> Result<CpuKernel, String> {
    lower(context, unit, target, observer).map_err(|e| format!("kernel @{}: {e}", unit.kernel.name))
}

fn lower<'c>(context: &'c Context, unit: &CpuUnit, target: &CpuTarget, observer: &dyn StageObserver) -> Result<CpuKernel, String> {
    let name = &unit.kernel.name;
    let observe = |stage: Stage, text: &dyn Fn() -> String| {
        if observer.wants(stage, name) {
            observer.observe(stage, name, &text());
        }
    };
    let at = |stage| Step { stage, kernel: Some(name) };
    let run = |module: &mut Module<'c>, stage: Stage, pipeline: &str| {
        run_pipeline(context, module, at(stage), pipeline).map_err(|e| format!("{stage}: {e}"))
    };
    let (module, diagnostics) = winze_mlir::diagnostics::collect(context, || {
        let source = mlir_sys::MlirStringRef { data: unit.kernel.module.as_ptr().cast(), length: unit.kernel.module.len() };
        // SAFETY: the source lives during the call. Text and bytecode alike; bytecode may hold zero bytes.
        unsafe { Module::from_option_raw(mlir_sys::mlirModuleCreateParse(context.to_raw(), source)) }
    });
    let mut module = module.ok_or_else(|| {
        let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        format!("linalg: the module does not parse: {}", lines.join("; "))
    })?;
    observe(Stage::Linalg, &|| module.as_operation().to_string());

    run_action(&mut module, at(Stage::Schedule), "apply-schedule", |module| apply_schedule(context, module, &unit.schedule))?;
    run(&mut module, Stage::Schedule, SCHEDULED_PIPELINE)?;
    let grid = grid_of(&module)?;
    if let Some(announced) = &unit.schedule.grid {
        verify_grid(announced, &grid)?;
    }
    observe(Stage::Schedule, &|| module.as_operation().to_string());

    run(&mut module, Stage::Vector, &schedule::fill(VECTOR_PIPELINE, &unit.schedule.params)?)?;
    let func = schedule::kernel(&module)?;
    let workspace = func.attribute(WORKSPACE).map_err(|_| "vector: local buffers are not placed".to_owned())?;
    // SAFETY: place-buffers sets an affine map.
    let workspace = unsafe { AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(workspace.to_raw())) };
    let workspace = schedule::expr_of_map(workspace).ok_or("vector: the workspace is no expression over the kernel's dims")?;
    if !unit.in_place.is_empty() {
        let pairs: Vec<_> = unit.in_place.iter().map(|(input, output)| format!("array<i64: {input}, {output}>")).collect();
        let pairs = Attribute::parse(context, &format!("[{}]", pairs.join(", "))).ok_or("llvm: in-place pairs do not parse")?;
        // SAFETY: the function is live; only its attribute changes.
        unsafe { OperationRefMut::from_raw(func.to_raw()) }.set_attribute(IN_PLACE, pairs);
    }
    observe(Stage::Vector, &|| module.as_operation().to_string());

    run(&mut module, Stage::Llvm, ABI_PIPELINE)?;
    run(&mut module, Stage::Llvm, LLVM_PIPELINE)?;
    observe(Stage::Llvm, &|| module.as_operation().to_string());
    let object = run_action(&mut module, at(Stage::Llvm), "code generation", |module| {
        let llvm = LlvmModule::from_mlir(module.as_operation(), target)?;
        llvm.optimize()?;
        observe(Stage::Llvm, &|| llvm.ir());
        if observer.wants(Stage::Llvm, name) {
            observer.observe(Stage::Llvm, name, &llvm.assembly()?);
        }
        llvm.object()
    })?;
    Ok(CpuKernel { name: name.clone(), object, grid, workspace })
}

/// The announced and the derived grid are written differently, so they are compared at a few sizes.
fn verify_grid(announced: &Expr, derived: &Expr) -> Result<(), String> {
    for sample in [1, 2, 7, 12, 64, 97, 1000, 4096] {
        let symbols = [sample; 16];
        let (announced, derived) = (announced.eval(&symbols), derived.eval(&symbols));
        if announced != derived {
            return Err(format!("schedule: the script makes {derived:?} tiles where {announced:?} are announced (every dim {sample})"));
        }
    }
    Ok(())
}

/// Compiles kernels on `jobs` threads and links them. The result does not depend on `jobs`.
pub fn compile_kernels(
    units: &[CpuUnit],
    target: &CpuTarget,
    jobs: usize,
    observer: &dyn StageObserver,
) -> Result<(CpuImage, Vec<CpuKernel>), String> {
    let kernels = map_with(units, jobs, kernel_context, |context, unit| lower_cpu(context, unit, target, observer));
    let kernels = kernels.into_iter().collect::<Result<Vec<_>, _>>()?;
    let objects: Vec<_> = kernels.iter().map(|kernel| (kernel.name.clone(), kernel.object.clone())).collect();
    Ok((link_image(&objects, target)?, kernels))
}
