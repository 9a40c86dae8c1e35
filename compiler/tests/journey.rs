//! Two small models at every stage, for a CPU and a Vulkan profile, as text to read side by side: `snapshots/journey__MODEL@STAGE.TARGET.snap`.
//!
//! A stage shows its kernels one after another, without locations. A kernel of more than 400 lines is named but not shown (LLVM dialect of
//! contractions); LLVM IR and assembly are left out. The artifact then runs and agrees with the reference evaluation.

#[allow(dead_code)]
mod pipeline;

use pipeline::{CPU, MIN, difference, evaluate, run, session};
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};
use winze_compiler::{
    compile::{CompileOptions, Emit, compile},
    constants::{ConstantStore, ConstantType, Source, side_file},
    context::new_context,
    stage::Stage,
};
use winze_graph::{tensor::Tensor, types::ElementType};
use winze_mlir::melior::ir::Module;

const MAX_LINES: usize = 400;

/// The model's text with every kernel file of one stage and target, sorted by name.
fn stage_text(folder: &Path) -> Option<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "mlir"));
    files.sort();
    let context = new_context();
    let mut text = String::new();
    for file in &files {
        let with_locations = fs::read_to_string(file).unwrap();
        let module = Module::parse(&context, &with_locations).unwrap_or_else(|| panic!("{} does not parse", file.display()));
        let printed = module.as_operation().to_string();
        let name = file.file_stem().unwrap().to_string_lossy();
        if printed.lines().count() > MAX_LINES {
            writeln!(text, "// {name}: more than {MAX_LINES} lines, not shown").unwrap();
        } else {
            writeln!(text, "// {name}\n{}", printed.trim_end()).unwrap();
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Values of both signs, exact in f32.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 29) as f32 / 16.0 - 0.875).collect()
}

fn store(weights: &[(&str, &[i64])]) -> ConstantStore {
    let mut store = ConstantStore::new();
    for (name, dims) in weights {
        let bytes: Vec<u8> = values(dims.iter().product::<i64>() as usize).iter().flat_map(|x| x.to_le_bytes()).collect();
        store.add(name, ConstantType::new(ElementType::F32, *dims), Source::Inline(bytes)).unwrap();
    }
    store
}

fn journey(name: &str, weights: &[(&str, &[i64])], input: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join(format!("{name}.mlir"));
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journey").join(format!("{name}.mlir"))).unwrap();
    fs::write(&model, &text).unwrap();
    let store = store(weights);
    side_file::write(&store, store.ids(), &model.with_extension("safetensors")).unwrap();
    let (out, stages) = (folder.path().join("model.wz"), folder.path().join("stages"));
    let options = CompileOptions {
        targets: [CPU, MIN].map(|target| target.parse().unwrap()).to_vec(),
        import: Default::default(),
        bind: vec![],
        jobs: 1,
        emit: Some(Emit { stage: None, kernel: None, folder: Some(stages.clone()) }),
    };
    compile(&model, Some(&out), &options).unwrap_or_else(|e| panic!("{e}"));

    let context = new_context();
    let module = Module::parse(&context, &text).unwrap();
    let x = Tensor::new(input, &values(input.iter().product()));
    let expected = evaluate(&module, &store, std::slice::from_ref(&x), &[input[0] as i64]).unwrap();
    let actual = run(&mut session(&fs::read(&out).unwrap(), Some(1)).unwrap(), &[x]).unwrap();
    assert_eq!(difference(&actual, &expected, 1e-5), None);

    let mut seen = vec![];
    for stage in Stage::ALL {
        let folder = stages.join(stage.name());
        for (target, path) in [("", folder.clone()), ("cpu", folder.join(CPU)), ("vulkan", folder.join(MIN))] {
            if let Some(text) = stage_text(&path) {
                let suffix = format!("{stage}.{target}");
                let suffix = suffix.trim_end_matches('.').to_string();
                insta::with_settings!({ snapshot_suffix => suffix.clone(), omit_expression => true }, {
                    insta::assert_snapshot!(name, text);
                });
                seen.push(suffix);
            }
        }
    }
    let all = "import graph kernels.cpu kernels.vulkan linalg.cpu linalg.vulkan schedule.cpu schedule.vulkan vector.cpu llvm.cpu gpu.vulkan \
               spirv.vulkan launch.cpu launch.vulkan";
    assert_eq!(seen.join(" "), all);
}

#[test]
fn mlp() {
    journey("mlp", &[("fc1.weight", &[4, 20]), ("fc2.weight", &[20, 2])], &[3, 4]);
}

#[test]
fn convnet() {
    journey("convnet", &[("conv.weight", &[2, 1, 3, 3])], &[2, 1, 6, 6]);
}
