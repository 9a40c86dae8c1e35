//! A model file -> an artifact -> outputs on the CPU and on whatever Vulkan device there is (a software renderer will do).

pub mod onnx;

use std::{io::Write, path::Path, sync::LazyLock};
use winze_compiler::{
    compile::{CompileOptions, Target, compile},
    constants::ConstantStore,
    context::new_context,
    llvm::CpuTarget,
};
use winze_graph::{
    eval::{EvalContext, eval_function},
    tensor::{Scalar, Tensor},
    types::ElementType,
};
use winze_mlir::melior::ir::{BlockLike, Module};
use winze_runtime::{
    DeviceChoice, ElementType as Storage, Program, Session, SessionOptions, TensorView,
    device::VulkanSelector,
    vulkan::{Messages, VulkanOptions},
};

pub const CPU: &str = "cpu=x86-64-v3";
pub const MIN: &str = "vulkan=vulkan1.1-min";
pub const DESKTOP: &str = "vulkan=vulkan1.3-desktop";

/// Not captured by the test harness, unlike `eprintln!`.
pub fn report(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

pub fn try_compile(model: &Path, targets: &[&str], jobs: usize, out: &Path) -> Result<(), String> {
    let targets: Vec<Target> = targets.iter().map(|target| target.parse()).collect::<Result<_, _>>()?;
    compile_for(model, &CompileOptions { targets, import: Default::default(), bind: vec![], jobs, emit: None }, out).map(drop)
}

/// Returns what the compiler warns of.
pub fn compile_for(model: &Path, options: &CompileOptions, out: &Path) -> Result<Vec<String>, String> {
    compile(model, Some(out), options).map_err(|e| e.to_string())
}

/// The artifact's bytes.
pub fn compile_model(model: &Path, targets: &[&str], jobs: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.wz");
    try_compile(model, targets, jobs, &out).unwrap_or_else(|e| panic!("{targets:?}: {e}"));
    std::fs::read(out).unwrap()
}

/// The artifact's bytes, for the CPU with LLVM's optimizations at a level.
pub fn compile_at_level(model: &Path, level: u8) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.wz");
    let Target::Cpu(cpu) = CPU.parse().unwrap() else { panic!("{CPU} names a CPU") };
    let targets = vec![Target::Cpu(CpuTarget { level, ..cpu })];
    let options = CompileOptions { targets, import: Default::default(), bind: vec![], jobs: 2, emit: None };
    compile_for(model, &options, &out).unwrap_or_else(|e| panic!("level {level}: {e}"));
    std::fs::read(out).unwrap()
}

/// Whether this machine has a Vulkan device; says so if it has none.
pub fn has_vulkan(test: &str) -> bool {
    let found = winze_runtime::devices().iter().any(|device| device.id.starts_with("vulkan"));
    if !found {
        report(&format!("{test}: skipped on Vulkan: this machine has no Vulkan device"));
    }
    found
}

/// A session on the CPU with its own threads, or on the best Vulkan device.
pub fn session(artifact: &[u8], threads: Option<usize>) -> Result<Session, String> {
    let program = Program::from_bytes(artifact).map_err(|e| e.to_string())?;
    let choice = if threads.is_some() { DeviceChoice::Cpu } else { DeviceChoice::Vulkan(VulkanSelector::Best) };
    let open = |validation: Option<Messages>| {
        let vulkan = VulkanOptions { validation, ..VulkanOptions::default() };
        // A device that fails must not be replaced by the CPU here.
        Session::new(&program, &choice, SessionOptions { threads, fall_back: false, vulkan, ..SessionOptions::default() })
            .map_err(|e| e.to_string())
    };
    match open(Some(VALIDATION.clone())) {
        Err(error) if error.contains("VK_LAYER_KHRONOS_validation") => {
            report(&format!("not validated: {error}"));
            open(None)
        }
        other => other,
    }
}

/// What the validation layers said of all sessions so far.
static VALIDATION: LazyLock<Messages> = LazyLock::new(Messages::default);

/// Fails if the validation layers (synchronization validation included) had anything to say.
pub fn expect_valid() {
    assert_eq!(VALIDATION.all(), [""; 0], "messages of the validation layers");
}

const ELEMENTS: [(ElementType, Storage); 13] = [
    (ElementType::Bool, Storage::Bool),
    (ElementType::I8, Storage::I8),
    (ElementType::I16, Storage::I16),
    (ElementType::I32, Storage::I32),
    (ElementType::I64, Storage::I64),
    (ElementType::U8, Storage::U8),
    (ElementType::U16, Storage::U16),
    (ElementType::U32, Storage::U32),
    (ElementType::U64, Storage::U64),
    (ElementType::F16, Storage::F16),
    (ElementType::BF16, Storage::BF16),
    (ElementType::F32, Storage::F32),
    (ElementType::F64, Storage::F64),
];

/// Every output of one run.
pub fn run(session: &mut Session, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let parts: Vec<(Storage, Vec<i64>, Vec<u8>)> = inputs
        .iter()
        .map(|tensor| {
            let storage = ELEMENTS.iter().find(|(element, _)| *element == tensor.element()).expect("every element type is listed").1;
            (storage, tensor.shape.iter().map(|extent| *extent as i64).collect(), tensor.to_bytes())
        })
        .collect();
    let views: Vec<TensorView> = parts.iter().map(|(storage, dims, bytes)| TensorView::new(*storage, dims, bytes)).collect();
    let outputs = session.run(&views).map_err(|e| e.to_string())?;
    outputs
        .iter()
        .map(|view| {
            let element = ELEMENTS.iter().find(|(_, storage)| *storage == view.element).expect("every element type is listed").0;
            let shape: Vec<usize> = view.dims.iter().map(|extent| *extent as usize).collect();
            Tensor::from_bytes(element, &shape, view.data)
        })
        .collect()
}

/// What the reference evaluation of the first function of a module gives.
pub fn evaluate(module: &Module, store: &ConstantStore, inputs: &[Tensor], symbols: &[i64]) -> Result<Vec<Tensor>, String> {
    let weights = |id: &str| {
        let r#type = store.type_of(id).map_err(|e| e.to_string())?;
        let shape: Vec<usize> = r#type.dims.iter().map(|extent| *extent as usize).collect();
        Tensor::from_bytes(r#type.element, &shape, &store.read(id).map_err(|e| e.to_string())?)
    };
    let function = module.body().first_operation().expect("a function");
    eval_function(&EvalContext { weights: &weights, ..EvalContext::new(symbols) }, function, inputs)
}

/// The same for a module given as text.
pub fn evaluate_text(text: &str, inputs: &[Tensor], symbols: &[i64]) -> Vec<Tensor> {
    let context = new_context();
    let module = Module::parse(&context, text).unwrap_or_else(|| panic!("does not parse:\n{text}"));
    evaluate(&module, &ConstantStore::new(), inputs, symbols).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The first difference beyond `tolerance`, relative to the larger of 1 and the expected value.
pub fn difference(actual: &[Tensor], expected: &[Tensor], tolerance: f64) -> Option<String> {
    if actual.len() != expected.len() {
        return Some(format!("{} outputs, expected {}", actual.len(), expected.len()));
    }
    for (output, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        if actual.element() != expected.element() || actual.shape != expected.shape {
            let (a, e) = (actual.tensor_type(), expected.tensor_type());
            return Some(format!("output {output} is {a:?}, expected {e:?}"));
        }
        for i in 0..expected.count() {
            let (a, e) = (actual.get(i), expected.get(i));
            let close = match (a, e) {
                (Scalar::Float(a), Scalar::Float(e)) => {
                    a == e || (a - e).abs() <= tolerance * e.abs().max(1.0) || (a.is_nan() && e.is_nan())
                }
                _ => a == e,
            };
            if !close {
                return Some(format!("output {output}, element {i} is {a:?}, expected {e:?}"));
            }
        }
    }
    None
}

/// A file with `text` whose folder lives as long as the result.
pub fn mlir_file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.mlir");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}
