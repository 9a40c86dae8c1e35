//! What is refused, and that output does not depend on the number of workers.

use crate::harness::{DESKTOP, MIN, compile_error, unit};
use std::sync::Mutex;
use winze_compiler::{
    gpu::{VulkanProfile, compile_kernels, compile_kernels_observed},
    kernel_unit::StageObserver,
    stage::Stage,
};

fn copy(name: &str, arguments: &str, r#type: &str) -> String {
    format!(
        "func.func @{name}(%x: {type}, %out: {type} {{bufferization.writable = true}}{arguments}) -> {type} {{\n  return %x : {type}\n}}"
    )
}

#[test]
fn half_storage_without_the_capability() {
    let error = compile_error(&copy("half", "", "tensor<8xf16>"), MIN);
    assert!(error.contains("unsupported: element type f16: profile vulkan1.1-min has no storage for it"), "{error}");
    let error = compile_error(&copy("double", "", "tensor<8xf64>"), MIN);
    assert!(error.contains("unsupported: element type f64"), "{error}");
}

#[test]
fn half_arithmetic_without_the_capability() {
    let text = "func.func @inner(%x: tensor<8xf32>, %out: tensor<8xf32> {bufferization.writable = true}) -> tensor<8xf32> {
      %h = arith.truncf %x : tensor<8xf32> to tensor<8xf16>
      %w = arith.extf %h : tensor<8xf16> to tensor<8xf32>
      return %w : tensor<8xf32>
    }";
    let error = compile_error(text, MIN);
    assert!(error.contains("f16"), "{error}");
}

#[test]
fn buffers_beyond_one_descriptor() {
    let error = compile_error(&copy("large", "", "tensor<40000000xf32>"), DESKTOP);
    assert!(error.contains("unsupported: buffer argument 0 of 160000000 bytes") && error.contains("134217728"), "{error}");
}

#[test]
fn more_dims_than_push_constants() {
    let dims: String = (0..33).map(|i| format!(", %d{i}: index")).collect();
    let error = compile_error(&copy("dims", &dims, "tensor<4xf32>"), MIN);
    assert!(error.contains("33 dims exceed the 128 bytes of push constants"), "{error}");
}

#[test]
fn dynamic_dims_without_an_expression() {
    let error = compile_error(&copy("unknown", "", "tensor<?xf32>"), MIN);
    assert!(error.contains("dynamic dims without an expression") && error.contains("winze.dims"), "{error}");
}

#[test]
fn loops_over_whole_tensors() {
    let text = "func.func @scan(%x: tensor<8xf32>, %out: tensor<8xf32> {bufferization.writable = true}) -> tensor<8xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c8 = arith.constant 8 : index
      %r = scf.for %i = %c0 to %c8 step %c1 iter_args(%t = %out) -> tensor<8xf32> {
        %v = tensor.extract %x[%i] : tensor<8xf32>
        %n = tensor.insert %v into %t[%i] : tensor<8xf32>
        scf.yield %n : tensor<8xf32>
      }
      return %r : tensor<8xf32>
    }";
    let error = compile_error(text, MIN);
    assert!(error.contains("scf.for at") && error.contains("not distributed"), "{error}");
}

#[test]
fn text_that_does_not_parse() {
    let error = compile_error("func.func @broken(%x: tensor<8xf32>) -> nonsense", MIN);
    assert!(error.starts_with("linalg: kernel @broken: its module does not parse: "), "{error}");
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let units: Vec<_> = (1..8).map(|i| unit(&copy(&format!("copy{i}"), "", &format!("tensor<{i}x3xf32>")))).collect();
    let profile = VulkanProfile::named(DESKTOP).unwrap();
    let one = compile_kernels(&units, profile, 1).unwrap();
    assert_eq!(one, compile_kernels(&units, profile, 3).unwrap());
    assert_eq!(one.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>());
}

#[test]
fn every_stage_can_be_seen() {
    struct Dumps(Mutex<Vec<(Stage, String)>>);
    impl StageObserver for Dumps {
        fn wants(&self, _: Stage, kernel: &str) -> bool {
            kernel == "seen"
        }

        fn observe(&self, stage: Stage, _: &str, text: &str) {
            self.0.lock().unwrap().push((stage, text.into()));
        }
    }
    let dumps = Dumps(Mutex::default());
    let units = [unit(&copy("seen", "", "tensor<4xf32>")), unit(&copy("unseen", "", "tensor<4xf32>"))];
    compile_kernels_observed(&units, VulkanProfile::named(MIN).unwrap(), 1, &dumps).unwrap();
    let seen = dumps.0.into_inner().unwrap();
    let stages: Vec<Stage> = seen.iter().map(|(s, _)| *s).collect();
    assert_eq!(stages, [Stage::Linalg, Stage::Schedule, Stage::Gpu, Stage::Spirv]);
    for ((_, text), marker) in seen.iter().zip(["tensor<4xf32>", "scf.forall", "gpu.func", "spirv.func"]) {
        assert!(text.contains(marker), "{text}");
    }
}
