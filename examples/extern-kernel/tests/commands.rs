//! A model with two operators of a custom domain, compiled and run: kernels in C and Rust from libraries, in a host in Rust, and linked into a C program.

use extern_kernel::rank;
use prost::Message;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};
use winze_compiler::import::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, TypeValue, ValueInfoProto, attribute_type, data_type,
};
use winze_runtime::{DeviceChoice, Program, Session, SessionOptions, TensorView, npy};

const DOMAIN: &str = "com.example";

fn port(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |name: &&str| DimensionProto { value: Some(DimensionValue::Param(name.to_string())) };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value: Some(TypeValue::Tensor(TensorTypeProto { elem_type, shape })) }) }
}

fn node(domain: &str, op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(ToString::to_string).collect();
    NodeProto { domain: domain.into(), op_type: op_type.into(), input, output: vec![output.into()], ..Default::default() }
}

/// smooth = Smooth(|x|, [1, 2, 1]; gain 0.25); ranks = RankRows(smooth).
fn model() -> Vec<u8> {
    let gain = AttributeProto { name: "gain".into(), r#type: attribute_type::FLOAT, f: Some(0.25), ..Default::default() };
    let mut smooth = node(DOMAIN, "Smooth", &["a", "taps"], "smooth");
    smooth.attribute.push(gain);
    let taps = [1f32, 2.0, 1.0].iter().flat_map(|tap| tap.to_le_bytes()).collect::<Vec<u8>>();
    let taps =
        TensorProto { name: "taps".into(), dims: vec![3], data_type: data_type::FLOAT, raw_data: Some(taps.into()), ..Default::default() };
    let graph = GraphProto {
        name: "g".into(),
        node: vec![node("", "Abs", &["x"], "a"), smooth, node(DOMAIN, "RankRows", &["smooth"], "ranks")],
        input: vec![port("x", data_type::FLOAT, &["rows", "width"])],
        output: vec![port("smooth", data_type::FLOAT, &["rows", "rest"]), port("ranks", data_type::INT64, &["rows", "rest"])],
        initializer: vec![taps],
        ..Default::default()
    };
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    ModelProto { ir_version: 10, opset_import: vec![opset("", 21), opset(DOMAIN, 1)], graph: Some(graph), functions: vec![] }
        .encode_to_vec()
}

const X: [f32; 10] = [4., 0., -8., 0., 4., 0., 0., 0., 0., 8.];
/// By hand: 0.25 times (1, 2, 1) over |x|.
const SMOOTH: [f32; 6] = [3., 4., 3., 0., 0., 2.];
const RANKS: [i64; 6] = [0, 2, 1, 0, 1, 2];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

struct Bench(tempfile::TempDir);

impl Bench {
    /// A folder with model.onnx, x.npy and expected outputs.
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        fs::write(bench.path("model.onnx"), model()).unwrap();
        npy::write(&bench.path("x.npy"), &TensorView::of(&[2, 5], &X)).unwrap();
        npy::write(&bench.path("smooth.npy"), &TensorView::of(&[2, 3], &SMOOTH)).unwrap();
        npy::write(&bench.path("ranks.npy"), &TensorView::of(&[2, 3], &RANKS)).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `winze`, which is built beside this test, in the folder.
    fn winze(&self, words: &[&str]) -> Output {
        let folder = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_path_buf();
        Command::new(folder.join("winze")).args(words).current_dir(self.0.path()).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, words: &[&str]) -> String {
        let output = self.winze(words);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, words: &[&str], code: i32, needle: &str) {
        let output = self.winze(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(needle), "{:?}: {said}", output.status.code());
    }

    fn compile(&self) {
        let declarations = example("kernels.toml");
        self.succeeds(&["compile", "model.onnx", "-o", "model.wz", "--no-cache", "--extern", declarations.to_str().unwrap()]);
    }

    /// libsmooth.so, from C.
    fn build_c(&self) {
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"]).arg(example("../../runtime/include"));
        let built = cc.arg(example("smooth.c")).arg("-o").arg(self.path("libsmooth.so")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }

    /// The library that cargo makes of this crate.
    fn rust_library() -> String {
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
        let library = folder.join(format!("{}extern_kernel{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
        library.to_str().unwrap().to_owned()
    }
}

#[test]
fn kernels_in_libraries() {
    let (bench, rust) = (Bench::new(), Bench::rust_library());
    bench.compile();
    bench.build_c();
    let expect = ["--input", "x.npy", "--expect", "smooth.npy", "ranks.npy"];
    let with = |externs: &[&str]| -> Vec<String> {
        let externs = externs.iter().flat_map(|file| ["--extern".to_string(), file.to_string()]);
        ["run", "model.wz"].iter().chain(&expect).map(ToString::to_string).chain(externs).collect()
    };
    let run = with(&["libsmooth.so", &rust]);
    let said = bench.succeeds(&run.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("output_0 \"smooth\" as expected"), "{said}");
    let fails = |externs: &[&str], needle: &str| {
        let run = with(externs);
        bench.fails(&run.iter().map(String::as_str).collect::<Vec<_>>(), 1, needle);
    };
    fails(
        &[],
        "extern: the model calls the kernel \"smooth\", (f32[rows, width], f32[taps], gain: float) -> (f32[rows, width - taps + 1]); give the",
    );
    fails(&["libsmooth.so"], "extern: the model calls the kernel \"rank_rows\"");
    fails(&["missing.so"], "extern: the library missing.so cannot be loaded: No such file");
    fails(&["x.npy"], "extern: the library x.npy cannot be loaded");
    // A kernel that takes something else than the model was compiled for.
    let source = fs::read_to_string(example("smooth.c")).unwrap().replace("gain: float", "gain: int");
    fs::write(bench.path("other.c"), source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "other.c", "-o", "libother.so", "-I"]).arg(example("../../runtime/include")).current_dir(bench.0.path());
    assert!(cc.status().unwrap().success());
    fails(
        &["libother.so", &rust],
        "extern: the external kernel \"smooth\" is (f32[rows, width], f32[taps], gain: int) -> (f32[rows, width - taps + 1]), but",
    );
    let text = bench.succeeds(&["inspect", "model.wz"]);
    assert!(text.contains("calls   rank_rows(f32[rows, width]) -> (i64[rows, width]), which the host brings"), "{text}");
}

#[test]
fn a_model_with_its_kernels_in_one_command() {
    let (bench, declarations) = (Bench::new(), example("kernels.toml"));
    bench.build_c();
    let rust = Bench::rust_library();
    let mut words = vec!["run", "model.onnx", "--no-cache", "--input", "x.npy", "--expect", "smooth.npy", "ranks.npy"];
    words.extend(["--extern", declarations.to_str().unwrap(), "--extern", "libsmooth.so", "--extern", &rust]);
    bench.succeeds(&words);
    bench.fails(&["compile", "model.onnx", "-o", "model.wz"], 3, "unsupported: com.example.Smooth at");
    bench.fails(
        &["check", "model.onnx", "--target", "vulkan", "--extern", declarations.to_str().unwrap()],
        3,
        "these run on CPU targets only",
    );
}

#[test]
fn a_host_in_rust() {
    let bench = Bench::new();
    bench.compile();
    let program = Program::open(bench.path("model.wz")).unwrap();
    let mut session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions::default()).unwrap();
    let x = X.map(f32::abs);
    let error = session.run(&[TensorView::of(&[2, 5], &x)]).err().unwrap().to_string();
    assert!(error.starts_with("run: no external kernel is registered as \"smooth\""), "{error}");
    session.register_extern(
        "smooth",
        Arc::new(|call| {
            assert_eq!((call.dims, f64::from_bits(call.scalars[0])), (&[2, 5, 3][..], 0.25));
            call.slice_mut::<f32>(2).ok_or("output")?.copy_from_slice(&SMOOTH);
            Ok(())
        }),
    );
    session.register_extern("rank_rows", Arc::new(rank));
    let outputs = session.run(&[TensorView::of(&[2, 5], &x)]).unwrap();
    assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap(), SMOOTH);
    assert_eq!(outputs.get(1).unwrap().as_slice::<i64>().unwrap(), RANKS);
}

#[test]
fn a_c_program_with_model_and_kernels_inside() {
    let (bench, declarations) = (Bench::new(), example("kernels.toml"));
    let words =
        ["compile", "model.onnx", "--no-cache", "--emit", "static-lib", "-o", "libmodel.a", "--extern", declarations.to_str().unwrap()];
    bench.succeeds(&words);
    let main = r#"#include <stdio.h>
#include "model.h"
int32_t rank_rows(void *user, const wz_call *call) {
  (void)user;
  int64_t *y = call->buffers[1].data;
  for (int64_t i = 0; i < call->dims[0] * call->dims[1]; ++i) y[i] = 7;
  return 0;
}
int main(void) {
  wz_program *program; wz_session *session;
  const float x[] = {4, 0, -8, 0, 4};
  const int64_t dims[] = {1, 5};
  const wz_tensor input = {.element = WZ_F32, .rank = 2, .dims = dims, .data = x, .bytes = sizeof x};
  wz_tensor smooth, ranks;
  if (winze_model_open(&program) || wz_session_create(program, "cpu", 1, &session) || winze_model_register(session)) return 1;
  if (wz_session_set_input(session, 0, &input) || wz_session_run(session, 0)) return puts(wz_last_error()), 1;
  if (wz_session_output(session, 0, &smooth) || wz_session_output(session, 1, &ranks)) return 1;
  printf("%g %d\n", ((const float *)smooth.data)[0], (int)((const int64_t *)ranks.data)[2]);
  return 0;
}
"#;
    fs::write(bench.path("main.c"), main).unwrap();
    let runtime = std::env::current_exe().unwrap().parent().unwrap().join("libwinze_runtime.a");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I.", "-I"]).arg(example("../../runtime/include")).args(["main.c"]);
    cc.arg(example("smooth.c")).arg("libmodel.a").arg(runtime).args(["-lpthread", "-ldl", "-lm", "-o", "main"]).current_dir(bench.0.path());
    let built = cc.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(bench.path("main")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "3 7\n");
}
