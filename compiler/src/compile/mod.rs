//! A model file -> a `.wz` file: all stages, one variant per target.

mod artifact;
mod cpu;
mod dump;
mod error;
pub mod static_library;
mod target;
mod verify;
mod vulkan;

pub use artifact::storage_of;
pub use dump::{Dump, Emit};
pub use error::CompileError;
pub use target::Target;

use crate::{
    constants::ConstantStore,
    context::new_context,
    graph::bind_state::{mark_bindings, state_copies},
    import::{ImportOptions, import_onnx},
    kernel_unit::KernelUnit,
    kernels::outline_kernels::outline_kernels,
    linalg::lower_kernels,
    stage::Stage,
    steps::{Step, progress::announce_kernels, run_pipeline},
};
use melior::{
    Context, StringRef,
    ir::{
        Module,
        operation::{OperationLike, OperationPrintingFlags},
    },
};
use std::path::Path;
use winze_mlir::walk;
use winze_runtime::artifact::{
    manifest::{Manifest, Variant},
    writer::Writer,
};

/// What the user asks for.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    pub targets: Vec<Target>,
    pub import: ImportOptions,
    /// `OUTPUT=INPUT`: inputs that stay in the session, and the outputs that are their next values.
    pub bind: Vec<String>,
    pub jobs: usize,
    /// Stages to write out.
    pub emit: Option<Emit>,
}

/// Whether kernels may write what they read. Vulkan kernels declare what they only read, which must not be what they write; those that append to a state
/// read nothing of it.
fn writes_in_place(target: &Target) -> bool {
    matches!(target, Target::Cpu(_))
}

/// `launch` stage, after kernels are outlined.
fn launch_pipeline(target: &Target) -> String {
    let (align, min_bytes) = (target.arena_alignment(), target.bool_bits() / 8);
    let in_place = writes_in_place(target);
    format!(
        "builtin.module(convert-graph-to-launch{{in-place={in_place}}},launch.program(plan-arena{{align={align} min-bytes={min_bytes} in-place={in_place}}}))"
    )
}

/// Compiles `model` (`.onnx`, or `.mlir` of the graph dialect with its side file) to `out`. Returns warnings.
pub fn compile(model: &Path, out: Option<&Path>, options: &CompileOptions) -> Result<Vec<String>, CompileError> {
    let mut dump = Dump::new(options.emit.clone())?;
    let result = compile_stages(model, out, options, &mut dump);
    // What was written before a failure shows where it came from.
    dump.check()?;
    result
}

fn compile_stages(model: &Path, out: Option<&Path>, options: &CompileOptions, dump: &mut Dump) -> Result<Vec<String>, CompileError> {
    let context = new_context();
    let (mut module, mut store, warnings) = load(&context, model, options)?;
    dump.module(Stage::Import, None, &module)?;
    verify::locations(&module, Stage::Import)?;
    if dump.done_after(Stage::Import) {
        return Ok(warnings);
    }
    mark_bindings(&module, &options.bind).map_err(CompileError::failed)?;
    crate::graph::simplify(&context, &mut module, &mut store).map_err(|e| CompileError::failed(format!("{}: {e}", Stage::Graph)))?;
    dump.module(Stage::Graph, None, &module)?;
    verify::locations(&module, Stage::Graph)?;
    if dump.done_after(Stage::Graph) {
        return Ok(warnings);
    }

    let functions = artifact::functions(&module)?;
    let mut warnings = warnings;
    warnings.extend(state_copies(&module));
    let mut writer = out.map(Writer::create).transpose()?;
    let mut variants = vec![];
    for target in &options.targets {
        let variant = compile_variant(&context, &module, &mut store, target, options, dump, writer.as_mut())?;
        variants.extend(variant);
    }
    if let Some(writer) = writer {
        let manifest = Manifest {
            version: winze_runtime::artifact::manifest::MANIFEST_VERSION,
            producer: format!("winze {}", env!("CARGO_PKG_VERSION")),
            functions,
            constants: vec![],
            variants,
        };
        writer.finish(manifest)?;
    }
    Ok(warnings)
}

/// The model as a graph module.
fn load<'c>(
    context: &'c Context,
    model: &Path,
    options: &CompileOptions,
) -> Result<(Module<'c>, ConstantStore, Vec<String>), CompileError> {
    if model.extension().is_some_and(|extension| extension == "mlir") {
        std::fs::File::open(model).map_err(|e| CompileError::failed(format!("import: {}: {e}", model.display())))?;
        let name = model.to_str().ok_or_else(|| CompileError::failed(format!("import: {}: the path is not UTF-8", model.display())))?;
        // Unlike parsing a text, this names the file in locations.
        let (module, diagnostics) = winze_mlir::diagnostics::collect(context, || {
            // SAFETY: the context and the name outlive the call; a null module is a parse error.
            unsafe { Module::from_option_raw(mlir_sys::mlirModuleCreateParseFromFile(context.to_raw(), StringRef::new(name).to_raw())) }
        });
        let module = module.ok_or_else(|| {
            let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
            CompileError::failed(format!("import: {} does not parse: {}", model.display(), lines.join("; ")))
        })?;
        let mut store = ConstantStore::new();
        let side = model.with_extension("safetensors");
        if side.exists() {
            crate::constants::side_file::read(&mut store, &side).map_err(|e| CompileError::failed(e.to_string()))?;
        }
        return Ok((module, store, vec![]));
    }
    let imported = import_onnx(context, model, &options.import)?;
    Ok((imported.module, imported.store, imported.warnings))
}

fn compile_variant(
    context: &Context,
    module: &Module,
    store: &mut ConstantStore,
    target: &Target,
    options: &CompileOptions,
    dump: &mut Dump,
    writer: Option<&mut Writer>,
) -> Result<Option<Variant>, CompileError> {
    let name = target.to_string();
    let mut host =
        Module::from_operation(walk::copy(module.as_operation())).ok_or_else(|| CompileError::internal("the module has no copy"))?;
    run(context, &mut host, Stage::Kernels, &target.kernels_pipeline())?;
    let (mut units, mut in_place): (Vec<KernelUnit>, Vec<Vec<(u32, u32)>>) = (vec![], vec![]);
    for func in walk::operations(host.body()) {
        for outlined in outline_kernels(context, func).map_err(CompileError::failed)? {
            if !units.iter().any(|known| known.name == outlined.unit.name) {
                units.push(outlined.unit);
                in_place.push(if outlined.appends || writes_in_place(target) { outlined.in_place } else { vec![] });
            }
        }
    }
    dump.module(Stage::Kernels, Some(&name), &host)?;
    verify::locations(&host, Stage::Kernels)?;
    if dump.done_after(Stage::Kernels) {
        return Ok(None);
    }
    announce_kernels(&name, units.len());
    let units = lower_kernels(&units, target.bool_bits(), options.jobs).map_err(CompileError::failed)?;
    let compiled = match target {
        Target::Cpu(cpu) => cpu::compile(&units, &in_place, cpu, options.jobs, &dump.observer(&name))?,
        Target::Vulkan(profile) => vulkan::compile(&host, &units, &in_place, profile, options.jobs, &dump.observer(&name))?,
    };
    run(context, &mut host, Stage::Launch, &launch_pipeline(target))?;
    dump.module(Stage::Launch, Some(&name), &host)?;
    verify::locations(&host, Stage::Launch)?;
    dump.check()?;
    match writer {
        Some(writer) => artifact::variant(&host, store, target, compiled, writer).map(Some),
        None => Ok(None),
    }
}

/// Runs a pipeline; errors name the stage.
fn run<'c>(context: &'c Context, module: &mut Module<'c>, stage: Stage, pipeline: &str) -> Result<(), CompileError> {
    run_pipeline(context, module, Step { stage, kernel: None }, pipeline).map_err(|e| CompileError::failed(format!("{stage}: {e}")))
}

/// A module as text with locations.
fn text_of(module: &Module) -> Result<String, CompileError> {
    let flags = OperationPrintingFlags::new().enable_debug_info(true, false);
    module.as_operation().to_string_with_flags(flags).map_err(|e| CompileError::failed(e.to_string()))
}
