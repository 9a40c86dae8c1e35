//! The op and the pass in Winze's pipeline: recognised, evaluated, lowered; and in a compiler that makes an artifact which runs.

use std::{path::Path, process::Command};
use winze_graph::{
    eval::{EvalContext, eval_function},
    lower,
    tensor::Tensor,
};
use winze_mlir::{
    melior::{
        Context,
        dialect::DialectRegistry,
        ir::{BlockLike, Module},
        utility::{register_all_dialects, register_all_passes},
    },
    pass_manager::PassManager,
};
use winze_runtime::{DeviceChoice, Program, Session, SessionOptions, TensorView};

const SOURCE: &str = r#"
func.func @main(%x: tensor<2x3xf32>, %y: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = graph.mul %x, %x : tensor<2x3xf32>
  %1 = graph.mul %0, %y : tensor<2x3xf32>
  return %1 : tensor<2x3xf32>
}
"#;

fn context() -> Context {
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    register_all_passes();
    winze_graph::register(&registry);
    custom_op::register(&registry);
    let context = Context::new_with_registry(&registry, false);
    context.load_all_available_dialects();
    context
}

fn run<'c>(context: &'c Context, module: &mut Module<'c>, pipeline: &str) -> String {
    PassManager::parse(context, pipeline).and_then(|manager| manager.run(module)).unwrap_or_else(|error| panic!("{error:?}"));
    module.as_operation().to_string()
}

fn evaluate(module: &Module) -> Tensor {
    let inputs = [Tensor::new(&[2, 3], &[1f32, -2.0, 3.0, 0.5, 0.0, f32::NAN]), Tensor::new(&[2, 3], &[2f32; 6])];
    let function = module.body().first_operation().expect("the module has a function");
    eval_function(&EvalContext::new(&[]), function, &inputs).unwrap().remove(0)
}

#[test]
fn the_pass_finds_squares_and_keeps_the_meaning() {
    let context = context();
    let mut module = Module::parse(&context, SOURCE).unwrap();
    let before = evaluate(&module);
    let text = run(&context, &mut module, "builtin.module(func.func(custom-recognize-square))");
    assert_eq!((text.matches("custom.square").count(), text.matches("graph.mul").count()), (1, 1), "{text}");
    assert_eq!(evaluate(&module).to_bytes(), before.to_bytes());
    assert_eq!(before.to_bytes()[..4], 2f32.to_le_bytes());
}

#[test]
fn the_op_lowers_and_fuses_like_one_of_winze() {
    let context = context();
    let mut module = Module::parse(&context, SOURCE).unwrap();
    run(&context, &mut module, "builtin.module(func.func(custom-recognize-square))");
    let text = run(&context, &mut module, &lower::pipeline(8));
    assert_eq!((text.matches("linalg.generic").count(), text.matches("arith.mulf").count()), (1, 2), "{text}");
    assert!(!text.contains("custom.") && !text.contains("graph."), "{text}");
}

#[test]
fn the_verifier_comes_from_the_td_file() {
    let context = context();
    assert!(
        Module::parse(
            &context,
            r#"func.func @f(%x: tensor<2xi32>) { %0 = "custom.square"(%x) : (tensor<2xi32>) -> tensor<2xi32> return }"#
        )
        .is_none()
    );
}

fn custom_compiler(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_custom-compiler")).args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_compiler_knows_both() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mul.mlir"), SOURCE).unwrap();
    let text = custom_compiler(folder.path(), &["opt", "--pass-pipeline=builtin.module(func.func(custom-recognize-square))", "mul.mlir"]);
    assert!(text.contains("custom.square %arg0 : tensor<2x3xf32>"), "{text}");
    std::fs::write(folder.path().join("square.mlir"), text).unwrap();
    custom_compiler(folder.path(), &["compile", "square.mlir", "-o", "square.wz"]);

    let program = Program::open(folder.path().join("square.wz")).unwrap();
    let mut session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions::default()).unwrap();
    let (x, y) = ([1f32, -2.0, 3.0, 0.5, 0.0, -0.25], [2f32; 6]);
    let outputs = session.run(&[TensorView::of(&[2, 3], &x), TensorView::of(&[2, 3], &y)]).unwrap();
    assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap(), [2.0, 8.0, 18.0, 0.5, 0.0, 0.125]);
}
