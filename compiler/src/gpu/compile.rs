//! Kernel units -> SPIR-V, in parallel, each in a worker with its own context. The result does not depend on the number of workers.

use crate::{
    context::new_context,
    gpu::{
        self, VulkanProfile,
        builder::{block_ref, blocks_of, context_of, dynamic_size, i64_array, name_of, operands, operations_in},
        map_grid_to_workgroups::single_grid,
        sizes, unroll_long_loops,
    },
    kernel_unit::{KernelUnit, NoObserver, StageObserver},
    parallel::map_with,
    spirv,
    stage::Stage,
    steps::{Step, run_action, run_pipeline},
};
use melior::{
    Context,
    ir::{BlockLike, Module, Type, ValueLike, operation::OperationLike},
};
use std::collections::HashMap;
use winze_mlir::pass_manager::PassManager;
use winze_runtime::artifact::{
    expr::Expr,
    manifest::{Access, ElementType},
};

/// A kernel as SPIR-V.
#[derive(Clone, Debug, PartialEq)]
pub struct VulkanKernel {
    pub name: String,
    pub spirv: Vec<u8>,
    /// Name of the entry point.
    pub entry: String,
    pub workgroup_size: [u32; 3],
    /// Number of workgroups, over the kernel's dims.
    pub grid: Expr,
    /// The most turns that one invocation takes in all its loops, over the kernel's dims.
    pub turns: Expr,
    /// How each buffer argument is stored. Signless: the caller knows which 8-, 16-, 32- and 64-bit integers are unsigned.
    pub storage: Vec<ElementType>,
    /// How each buffer argument is used.
    pub access: Vec<Access>,
    /// Number of dims, each an i32 in the push constants.
    pub dims: u32,
    /// Device features that its code needs, sorted, by the names of the manifest.
    pub features: Vec<String>,
}

/// Why a kernel could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("{stage}: kernel @{kernel}: {message}")]
    Failed { stage: Stage, kernel: String, message: String },
    /// The kernel needs what the profile lacks.
    #[error("{stage}: kernel @{kernel}: unsupported: {why}")]
    Unsupported { stage: Stage, kernel: String, why: String },
}

impl CompileError {
    /// What a profile lacks is said as `unsupported: <why>`, after the pass that noticed.
    fn new(stage: Stage, kernel: &str, message: String) -> Self {
        let kernel = kernel.to_owned();
        match message.split_once("unsupported: ") {
            Some((_, why)) => Self::Unsupported { stage, kernel, why: why.to_owned() },
            None => Self::Failed { stage, kernel, message },
        }
    }
}

/// Compiles every unit for a profile with up to `jobs` workers. All failures are reported, in order.
pub fn compile_kernels(units: &[KernelUnit], profile: &VulkanProfile, jobs: usize) -> Result<Vec<VulkanKernel>, Vec<CompileError>> {
    compile_kernels_observed(units, profile, jobs, &NoObserver)
}

/// The same, showing each kernel to `observer` at stages `linalg`, `schedule`, `gpu` and `spirv`.
pub fn compile_kernels_observed(
    units: &[KernelUnit],
    profile: &VulkanProfile,
    jobs: usize,
    observer: &dyn StageObserver,
) -> Result<Vec<VulkanKernel>, Vec<CompileError>> {
    let (mut kernels, mut errors) = (vec![], vec![]);
    for result in map_with(units, jobs, new_context, |context, unit| compile(context, unit, profile, observer)) {
        match result {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(kernels) } else { Err(errors) }
}

fn compile<'c>(
    context: &'c Context,
    unit: &KernelUnit,
    profile: &VulkanProfile,
    observer: &dyn StageObserver,
) -> Result<VulkanKernel, CompileError> {
    let failed = |stage: Stage| move |message: String| CompileError::new(stage, &unit.name, message);
    let show = |stage: Stage, module: &Module<'c>| {
        if observer.wants(stage, &unit.name) {
            observer.observe(stage, &unit.name, &module.as_operation().to_string());
        }
    };
    let run = |stage: Stage, pipeline: &str, module: &mut Module<'c>| -> Result<(), CompileError> {
        run_pipeline(context, module, Step { stage, kernel: Some(&unit.name) }, pipeline).map_err(failed(stage))?;
        show(stage, module);
        Ok(())
    };

    let mut module = parse(context, unit).map_err(failed(Stage::Linalg))?;
    show(Stage::Linalg, &module);
    run(Stage::Schedule, &gpu::schedule_pipeline(), &mut module)?;
    let interface = Interface::read(&module, unit, profile).map_err(failed(Stage::Schedule))?;
    run(Stage::Gpu, &gpu::gpu_pipeline(profile), &mut module)?;
    let turns = unroll_long_loops::turns(&module, interface.dims).map_err(failed(Stage::Gpu))?;
    run(Stage::Spirv, &gpu::spirv_pipeline(), &mut module)?;
    let access = spirv::buffer_access(&module, interface.storage.len()).map_err(failed(Stage::Spirv))?;
    let step = Step { stage: Stage::Spirv, kernel: Some(&unit.name) };
    let binary = run_action(&mut module, step, "serialization", |module| {
        let manager = PassManager::parse(context, "builtin.module(gpu-module-to-binary)").map_err(|e| e.to_string())?;
        manager.run(module).map_err(|e| e.to_string())?;
        spirv::binary(module)
    });
    let binary = binary.map_err(failed(Stage::Spirv))?;
    let features = spirv::required_features(&binary, profile).map_err(failed(Stage::Spirv))?;
    Ok(VulkanKernel {
        name: unit.name.clone(),
        spirv: binary,
        entry: unit.name.clone(),
        workgroup_size: [profile.workgroup_size, 1, 1],
        grid: sizes::ceil_div(&interface.iterations, profile.workgroup_size as i64),
        turns,
        storage: interface.storage,
        access,
        dims: interface.dims,
        features,
    })
}

fn parse<'c>(context: &'c Context, unit: &KernelUnit) -> Result<Module<'c>, String> {
    let (module, diagnostics) = winze_mlir::diagnostics::collect(context, || unsafe {
        // SAFETY: the source lives during the call. Text and bytecode alike; bytecode may hold zero bytes.
        let source = mlir_sys::MlirStringRef { data: unit.module.as_ptr().cast(), length: unit.module.len() };
        Module::from_option_raw(mlir_sys::mlirModuleCreateParse(context.to_raw(), source))
    });
    module.ok_or_else(|| {
        let messages: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        format!("its module does not parse: {}", messages.join("; "))
    })
}

/// What the caller has to know of a kernel, read from its function at the `schedule` stage.
struct Interface {
    iterations: Expr,
    storage: Vec<ElementType>,
    dims: u32,
}

impl Interface {
    fn read(module: &Module<'_>, unit: &KernelUnit, profile: &VulkanProfile) -> Result<Self, String> {
        let body = block_ref(module.body());
        let mut functions = operations_in(body).into_iter().filter(|o| name_of(*o) == "func.func" && !blocks_of(*o).is_empty());
        let (Some(function), None) = (functions.next(), functions.next()) else {
            return Err("its module must have one function".into());
        };
        let symbol = function.attribute("sym_name").map(|a| a.to_string()).unwrap_or_default();
        if symbol.trim_matches('"') != unit.name {
            return Err(format!("its function is called {symbol}"));
        }
        let entry = blocks_of(function).first().copied().ok_or("its function has no body")?;
        let context = context_of(function);
        let (mut storage, mut symbols) = (vec![], HashMap::new());
        for i in 0..entry.argument_count() {
            let argument = entry.argument(i).map(gpu::builder::val).map_err(|e| e.to_string())?;
            if argument.r#type() == Type::index(context) {
                let position = symbols.len() as u32;
                symbols.insert(gpu::builder::key(argument), Expr::symbol(position));
            } else {
                let element = gpu::builder::element_type(argument.r#type()).ok_or("an argument is neither buffer nor dim")?.to_string();
                check_size(argument.r#type(), i, profile)?;
                storage.push(profile.storage(signed_element(&element)?)?);
            }
        }
        let grid = single_grid(&operations_in(entry))?;
        let mut dynamic = operands(grid).into_iter();
        let mut bounds = vec![];
        let marker = dynamic_size();
        for bound in i64_array(grid, "staticUpperBound") {
            bounds.push(if bound == marker {
                let value = dynamic.next().ok_or("its grid lacks a bound")?;
                sizes::from_value(value, &|v| symbols.get(&gpu::builder::key(v)).cloned().map(Ok))?
            } else {
                Expr::constant(bound)
            });
        }
        Ok(Self { iterations: sizes::product(&bounds), storage, dims: symbols.len() as u32 })
    }
}

fn signed_element(name: &str) -> Result<ElementType, String> {
    Ok(match name {
        "i1" => ElementType::Bool,
        "i8" => ElementType::I8,
        "i16" => ElementType::I16,
        "i32" => ElementType::I32,
        "i64" => ElementType::I64,
        "f16" => ElementType::F16,
        "bf16" => ElementType::BF16,
        "f32" => ElementType::F32,
        "f64" => ElementType::F64,
        other => return Err(format!("unsupported: element type {other}: kernels cannot store it; convert it first")),
    })
}

/// Static buffers must fit 32-bit indices and what one descriptor can reach; dynamic ones are checked when their dims are bound.
fn check_size(r#type: Type<'_>, argument: usize, profile: &VulkanProfile) -> Result<(), String> {
    let extents = gpu::builder::extents(r#type).unwrap_or_default();
    let Some(elements) = extents.into_iter().try_fold(1i64, |n, e| e.and_then(|e| n.checked_mul(e))) else { return Ok(()) };
    let element = gpu::builder::element_type(r#type).ok_or("an argument is no buffer")?.to_string();
    let bytes = elements as u128 * profile.storage(signed_element(&element)?)?.bytes() as u128;
    if bytes > profile.limits.max_storage_buffer_bytes as u128 || elements > i32::MAX as i64 {
        return Err(format!(
            "unsupported: buffer argument {argument} of {bytes} bytes: profile {} allows {} per buffer; split the tensor",
            profile.name, profile.limits.max_storage_buffer_bytes
        ));
    }
    Ok(())
}
