//! The op and the pass in Winze's pipeline: recognised, evaluated, lowered; and on the command line.

use std::process::Command;
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

#[test]
fn the_tool_runs_both() {
    let folder = std::env::temp_dir().join(format!("custom-op-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("square.mlir");
    std::fs::write(&file, SOURCE).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_custom-opt"))
        .arg("--pass-pipeline=builtin.module(func.func(custom-recognize-square))")
        .arg(&file)
        .output();
    let output = output.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("custom.square %arg0 : tensor<2x3xf32>"));
}
