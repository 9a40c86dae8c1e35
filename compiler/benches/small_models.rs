//! Compile time and run time of small models, with criterion: `cargo bench -p winze-compiler --bench small_models [-- FILTER]`.
//!
//! `compile/NAME/TARGET` is a model's text to its artifact, caches off, on one thread. `run/NAME` is one run of the CPU artifact on one thread, inputs
//! bound, nothing allocated; criterion's throughput counts floating-point operations of products, bytes of everything else. cpu_kernels.rs compares
//! kernels with the peak of a core, benches/whole_models.py whole models with ONNX Runtime.

#[path = "../tests/pipeline/mod.rs"]
#[allow(dead_code)]
mod pipeline;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use pipeline::{CPU, MIN, compile_model, mlir_file, session};
use winze_runtime::{Tensor, TensorView};

struct Model {
    name: &'static str,
    text: String,
    /// Shapes of its f32 inputs.
    inputs: &'static [&'static [i64]],
    throughput: Throughput,
}

/// A function of f32 tensors that returns `%y`.
fn function(arguments: &[&str], body: &str, result: &str) -> String {
    let arguments: Vec<String> = arguments.iter().enumerate().map(|(i, shape)| format!("%a{i}: tensor<{shape}xf32>")).collect();
    format!("func.func @main({}) -> tensor<{result}xf32> {{\n{body}\n  return %y : tensor<{result}xf32>\n}}", arguments.join(", "))
}

fn models() -> Vec<Model> {
    let product = "  %y = graph.dot_general %a0, %a1 batch [] x [] contract [1] x [0] : tensor<256x512xf32>, tensor<512x512xf32>";
    let windows = "graph.conv %a0, %a1 strides [1, 1] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 1";
    let conv = format!("  %y = {windows} : tensor<1x64x56x56xf32>, tensor<64x64x3x3xf32>");
    let chain = "  %e = graph.exp %a0 : tensor<1024x1024xf32>
  %m = graph.mul %e, %a1 : tensor<1024x1024xf32>
  %y = graph.tanh %m : tensor<1024x1024xf32>";
    let softmax = "  %y = graph.softmax %a0 axis 1 : tensor<1024x1024xf32>";
    let sums = "  %y = graph.reduce \"add\" %a0 axes [1] : tensor<1024x1024xf32>";
    let transpose = "  %y = graph.transpose %a0 permutation [1, 0] : tensor<1024x1024xf32>";
    let words = |count: u64| Throughput::Bytes(4 * count);
    vec![
        Model {
            name: "matmul_256x512x512",
            text: function(&["256x512", "512x512"], product, "256x512"),
            inputs: &[&[256, 512], &[512, 512]],
            throughput: Throughput::Elements(2 * 256 * 512 * 512),
        },
        Model {
            name: "conv_3x3_64_56x56",
            text: function(&["1x64x56x56", "64x64x3x3"], &conv, "1x64x56x56"),
            inputs: &[&[1, 64, 56, 56], &[64, 64, 3, 3]],
            throughput: Throughput::Elements(2 * 9 * 64 * 64 * 56 * 56),
        },
        Model {
            name: "elementwise_1024x1024",
            text: function(&["1024x1024"; 2], chain, "1024x1024"),
            inputs: &[&[1024, 1024], &[1024, 1024]],
            throughput: words(3 << 20),
        },
        Model {
            name: "softmax_1024x1024",
            text: function(&["1024x1024"], softmax, "1024x1024"),
            inputs: &[&[1024, 1024]],
            throughput: words(2 << 20),
        },
        Model {
            name: "sum_rows_1024x1024",
            text: function(&["1024x1024"], sums, "1024"),
            inputs: &[&[1024, 1024]],
            throughput: words(1 << 20),
        },
        Model {
            name: "transpose_1024x1024",
            text: function(&["1024x1024"], transpose, "1024x1024"),
            inputs: &[&[1024, 1024]],
            throughput: words(2 << 20),
        },
    ]
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for model in models() {
        let (_folder, path) = mlir_file(&model.text);
        for target in [CPU, MIN] {
            group.bench_function(format!("{}/{target}", model.name), |bencher| bencher.iter(|| compile_model(&path, &[target], 1)));
        }
    }
}

fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run");
    for model in models() {
        let (_folder, path) = mlir_file(&model.text);
        let mut session = session(&compile_model(&path, &["cpu=native"], 1), Some(1)).expect("this machine runs its own artifacts");
        let fill = |shape: &&[i64]| {
            let count = shape.iter().product::<i64>();
            let values: Vec<f32> = (0..count).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
            Tensor::from_view(&TensorView::of(shape, &values)).expect("values fit their shape")
        };
        let inputs: Vec<Tensor> = model.inputs.iter().map(fill).collect();
        let views: Vec<TensorView> = inputs.iter().map(Tensor::view).collect();
        group.throughput(model.throughput.clone());
        group.bench_function(model.name, |bencher| bencher.iter(|| session.run(&views).map(drop).expect("it runs")));
    }
}

criterion_group!(benches, compile, run);
criterion_main!(benches);
