//! The command `winze`, called as users call it, on hand-made artifacts: results, files, diagnostics, exit codes.

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;

use fixture::*;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;
use winze_runtime::artifact::{
    manifest::{ElementType, Function},
    program::{Instruction, Program},
};

struct Bench {
    folder: TempDir,
}

/// What a command printed and how it ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    #[track_caller]
    fn fails(&self, code: i32, needle: &str) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(self.stderr.contains(needle), "no \"{needle}\" in: {}", self.stderr);
        assert_eq!(self.stdout, "");
    }

    #[track_caller]
    fn succeeds(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
        self.stdout
    }
}

impl Bench {
    /// A folder with m.wz, `y = (a + b) * 2` over f32[rows x width], and `spin`, a loop of 1000 empty iterations.
    fn new() -> Self {
        let bench = Self { folder: TempDir::new().unwrap() };
        let mut model = add_scale(symbol("rows", 0, None), symbol("width", 1, Some(100)), 2.0);
        let spin = Program {
            registers: 2,
            buffers: vec![],
            arena: c(0),
            code: vec![
                Instruction::ConstInt { dst: 0, value: 1000 },
                Instruction::Loop { counter: 1, trip: 0, exit: 3 },
                Instruction::EndLoop { start: 1 },
                Instruction::Return,
            ],
        };
        model.function(Function { name: "spin".into(), ..Function::default() }, spin);
        model.write(&bench.path("m.wz")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn winze(&self, words: &str) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_winze"));
        command.args(words.split_whitespace()).current_dir(self.folder.path()).env_remove("NO_COLOR");
        command.output().unwrap().into()
    }

    /// Writes a .npy file by hand, header text and all.
    fn npy(&self, name: &str, header: &str, data: &[u8]) {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        fs::write(self.path(name), bytes).unwrap();
    }

    fn floats(&self, name: &str, shape: &str, values: &[f32]) {
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.npy(name, &format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"), &data);
    }

    /// a.npy, b.npy and the right answer y.npy, of two rows and two columns.
    fn with_inputs() -> Self {
        let bench = Self::new();
        bench.floats("a.npy", "(2, 2)", &[1.0, 2.0, 3.0, 4.0]);
        bench.floats("b.npy", "(2, 2)", &[10.0, 20.0, 30.0, 40.0]);
        bench.floats("y.npy", "(2, 2)", &[22.0, 44.0, 66.0, 88.0]);
        bench
    }
}

/// The data of a version 1 file.
fn data(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let start = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!(start % 64, 0);
    bytes[start..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn runs_and_shows_or_writes_outputs() {
    let bench = Bench::with_inputs();
    assert_eq!(bench.winze("run m.wz --input a.npy b.npy").succeeds(), "output_0 \"y\" f32[2 x 2] = [22, 44, 66, 88]\n");
    let said = bench.winze("run m.wz --input b=b.npy --input a.npy --output-dir deep/out --threads 2").succeeds();
    assert_eq!(said, "output_0 \"y\" f32[2 x 2] -> deep/out/output_0.npy\n");
    assert_eq!(data(&bench.path("deep/out/output_0.npy")), [22.0, 44.0, 66.0, 88.0]);
    assert_eq!(bench.winze("-q run m.wz --input a.npy b.npy --output-dir out").succeeds(), "");
}

#[test]
fn reads_fortran_order_and_big_endian() {
    let bench = Bench::with_inputs();
    let big: Vec<u8> = [1f32, 3.0, 2.0, 4.0].iter().flat_map(|x| x.to_be_bytes()).collect();
    bench.npy("a.npy", "{'descr': '>f4', 'fortran_order': True, 'shape': (2, 2), }", &big);
    bench.winze("run m.wz --input a.npy b.npy --expect y.npy").succeeds();
}

#[test]
fn runs_on_empty_inputs() {
    let bench = Bench::new();
    bench.floats("e.npy", "(0, 3)", &[]);
    assert_eq!(bench.winze("run m.wz --input e.npy e.npy").succeeds(), "output_0 \"y\" f32[0 x 3] = []\n");
}

#[test]
fn compares_with_expected_outputs() {
    let bench = Bench::with_inputs();
    let said = bench.winze("run m.wz --input a.npy b.npy --expect y.npy --rtol 0 --atol 0").succeeds();
    assert!(said.ends_with("output_0 \"y\" as expected; largest difference 0e0\n"), "{said}");
    bench.floats("y.npy", "(2, 2)", &[22.0, 44.0, 66.5, 80.0]);
    let ended = bench.winze("run m.wz --input a.npy b.npy --output-dir out --expect y.npy -q");
    ended.fails(1, "error: expect: output_0 \"y\": 2 of 4 elements differ; the worst at [1, 1]: got 88, expected 80;");
    bench.winze("-q run m.wz --input a.npy b.npy --output-dir out --expect y.npy --rtol 0.11").succeeds();
    bench.floats("y.npy", "(4,)", &[0.0; 4]);
    bench.winze("run m.wz -q --input a.npy b.npy --output-dir out --expect y.npy").fails(1, "got f32[2 x 2], expected f32[4]");
    bench.winze("run m.wz --input a.npy b.npy --expect y.npy y.npy").fails(1, "2 files are given, but the model has 1 outputs");
}

#[test]
fn random_inputs_are_the_same_for_a_seed() {
    let bench = Bench::new();
    let run = |words: &str| bench.winze(&format!("run m.wz --dim rows=2 --dim width=3 --random-inputs {words}")).succeeds();
    assert!(run("7").contains("f32[2 x 3]"));
    assert_eq!(run("7"), run("7 --threads 2"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn keeps_states_from_step_to_step() {
    let bench = Bench::with_inputs();
    let mut model = add_scale(symbol("rows", 0, None), symbol("width", 1, Some(100)), 2.0);
    keep_b(&mut model);
    model.write(&bench.path("kept.wz")).unwrap();
    // y = (1 + y) * 2 from 0: 2, 6, 14.
    bench.floats("one.npy", "(1, 1)", &[1.0]);
    assert!(bench.winze("run kept.wz --input a=one.npy --steps 3").succeeds().ends_with("output_0 \"y\" f32[1 x 1] = [14]\n"));
    // A part of a for each step: (1 + 0) * 2, (2 + 2) * 2, (3 + 8) * 2.
    bench.floats("each.npy", "(3, 1, 1)", &[1.0, 2.0, 3.0]);
    assert!(bench.winze("run kept.wz --input a=each.npy --steps 3").succeeds().ends_with("= [22]\n"));
    bench.winze("run kept.wz --input a=each.npy --steps 2").fails(1, "step 0: ");
    // From a file, which stays as it is.
    assert!(bench.winze("run kept.wz --input a=one.npy b=one.npy --steps 2").succeeds().ends_with("= [10]\n"));
    bench.winze("run kept.wz --input a=one.npy --bind y=b").fails(2, "--bind is for compiling, but kept.wz is compiled already");
    let listed = bench.winze("inspect kept.wz").succeeds();
    assert!(listed.contains("  state  b: f32[rows x width] -> y: f32[rows x width], exchanged\n"), "{listed}");
    bench.winze("bench kept.wz --input a=one.npy --runs 2").succeeds();
}

#[test]
fn a_state_grows_until_it_is_full() {
    let bench = Bench::new();
    growing().write(&bench.path("m.wz")).unwrap();
    bench.floats("x.npy", "(2, 1, 2)", &[1.0, 2.0, 3.0, 4.0]);
    let run = bench.winze("run m.wz --input x.npy --steps 4 --output-dir out").succeeds();
    assert!(run.contains("output_1 \"present\" f32[2 x 4 x 2] -> out/output_1.npy\n"), "{run}");
    assert_eq!(data(&bench.path("out/output_1.npy")), data(&bench.path("out/output_0.npy")));
    let full = "step 4: run: state \"past\" holds 4 of at most 4 along axis 1 and would grow to 5";
    bench.winze("run m.wz --input x.npy --steps 5").fails(1, full);
    bench.winze("run m.wz --input x.npy past=out/output_1.npy").fails(1, "holds 4 of at most 4");
    bench.winze("run m.wz --input x.npy past=x.npy --output-dir two --expect out/output_0.npy -q").fails(1, "f32[2 x 2 x 2]");
    bench.winze("bench m.wz --input x.npy past=x.npy --runs 9").succeeds();
    let listed = bench.winze("inspect m.wz").succeeds();
    assert!(
        listed.contains("  state  past: f32[2 x held x 2] -> present: f32[2 x n + held x 2], grows along axis 1 in place, up to 4\n"),
        "{listed}"
    );
}

#[test]
fn says_what_is_wrong_with_inputs() {
    let bench = Bench::with_inputs();
    bench
        .winze("run m.wz --input a.npy")
        .fails(1, "\"b\" is missing; give --input FILE.npy for each of \"a\", \"b\", or --random-inputs SEED");
    bench.winze("run m.wz --input a.npy no.npy").fails(1, "no.npy");
    bench.winze("run m.wz --input a.npy m.wz").fails(1, "not a .npy file");
    bench.floats("b.npy", "(3, 2)", &[0.0; 6]);
    bench.winze("run m.wz --input a.npy b.npy").fails(1, "input \"b\": expected f32[rows x width]");
    bench.npy("b.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", &[0; 32]);
    bench.winze("run m.wz --input a.npy b.npy").fails(1, "got f64[2 x 2]");
}

#[test]
fn bad_arguments_are_exit_two() {
    let bench = Bench::with_inputs();
    bench.winze("run").fails(2, "Usage");
    bench.winze("dance").fails(2, "dance");
    bench.winze("").fails(2, "Usage");
    bench.winze("run m.wz --threads 0").fails(2, "--threads");
    bench.winze("run m.wz --rtol 1").fails(2, "--expect");
    bench.winze("run m.wz --input a.npy --expect y.npy --rtol=-1").fails(2, "--rtol");
    bench.winze("run m.wz --device toaster --random-inputs 1").fails(2, "unknown device \"toaster\"");
    bench.winze("run m.wz --target cpu --random-inputs 1").fails(2, "compiled already");
    bench.winze("-v -q devices").fails(2, "--quiet");
}

#[test]
fn missing_and_damaged_artifacts_are_exit_one() {
    let bench = Bench::with_inputs();
    bench.winze("run no.wz").fails(1, "no.wz");
    bench.winze("inspect no.wz").fails(1, "no.wz");
    let mut bytes = fs::read(bench.path("m.wz")).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(bench.path("half.wz"), bytes).unwrap();
    bench.winze("run half.wz --random-inputs 1").fails(1, "error: artifact:");
    bench.winze("inspect half.wz").fails(1, "error: artifact:");
}

#[test]
fn never_changes_the_device_silently() {
    let bench = Bench::with_inputs();
    bench.winze("run m.wz --input a.npy b.npy --device vulkan:7777 --require-device").fails(1, "vulkan:7777");
    let ended = bench.winze("run m.wz --input a.npy b.npy --device vulkan:7777");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.starts_with("warning: device: ") && ended.stderr.contains("running on the cpu"), "{}", ended.stderr);
    assert!(bench.winze("run m.wz --input a.npy b.npy -v").stderr.contains("note: cpu"));
}

#[test]
fn bench_prints_its_keys() {
    let bench = Bench::new();
    let said = bench.winze("bench m.wz --random-inputs 1 --dim rows=4 --dim width=16 --runs 5 --threads 2 --json").succeeds();
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = "arena_bytes device first_run_ms load_ms median_ms min_ms peak_rss_mb runs threads weights_bytes";
    assert_eq!(keys.join(" "), expected);
    assert_eq!((object["runs"].as_u64(), object["threads"].as_u64()), (Some(5), Some(2)));
    // Rows as they are, and room for the width up to its bound of 100.
    assert_eq!((object["arena_bytes"].as_u64(), object["weights_bytes"].as_u64()), (Some(4 * 4 * 100), Some(4)));
    assert!(object["min_ms"].as_f64() <= object["median_ms"].as_f64() && object["min_ms"].as_f64() > Some(0.0));
    assert!(bench.winze("bench m.wz --random-inputs 1 --runs 2").succeeds().contains("median"));
}

#[test]
fn dims_that_the_artifact_has_not_are_refused() {
    let bench = Bench::new();
    for words in ["run m.wz --random-inputs 1 --dim nosuch=3", "bench m.wz --random-inputs 1 --dim nosuch=3", "inspect m.wz --dim nosuch=3"]
    {
        bench.winze(words).fails(2, "--dim nosuch=3: the artifact has no dim nosuch; it has: rows, width");
    }
    bench.winze("run m.wz --random-inputs 1 --dim nosuch<=3").fails(2, "the artifact has no dim nosuch");
    bench.winze("run m.wz --random-inputs 1 --dim rows=2 --dim width<=8").succeeds();
}

#[test]
fn limits_iterations_and_chooses_functions() {
    let bench = Bench::new();
    assert_eq!(bench.winze("run m.wz --function spin").succeeds(), "");
    bench.winze("run m.wz --function spin --max-iterations 10").fails(1, "error: run:");
    bench.winze("run m.wz --function turn").fails(1, "the artifact has no function \"turn\"; it has main, spin");
}

#[test]
fn traces_dispatches() {
    let bench = Bench::with_inputs();
    bench.winze("run m.wz --input a.npy b.npy --trace t.json").succeeds();
    let trace: serde_json::Value = serde_json::from_str(&fs::read_to_string(bench.path("t.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.iter().map(|e| e["name"].as_str().unwrap()).collect::<Vec<_>>(), ["add_rows", "scale_rows"]);
    assert_eq!(events[0]["args"]["nodes"][0], "node_add_rows");
}

#[test]
fn inspects_as_text_and_json() {
    let bench = Bench::new();
    let text = bench.winze("inspect m.wz").succeeds();
    for needle in ["function main", "symbol width 1 to 100", "input  a: f32[rows x width]", "variant cpu=test", "add_rows <- node_add_rows"]
    {
        assert!(text.contains(needle), "no \"{needle}\" in {text}");
    }
    let object: serde_json::Value = serde_json::from_str(&bench.winze("inspect m.wz --json").succeeds()).unwrap();
    assert_eq!(object["functions"][0]["inputs"][1]["dims"], serde_json::json!(["rows", "width"]));
    assert_eq!(object["variants"][0]["kernels"][1]["class"], "test");
    assert_eq!(object["variants"][0]["dispatches"][0]["nodes"], serde_json::json!(["node_add_rows"]));
    assert_eq!(object["variants"][0]["weights_bytes"], 4);
    assert_eq!(object["constants"][0]["element"], ElementType::F32.name());
    assert!(matches!(bench.path("m.wz").metadata().map(|m| m.len()), Ok(bytes) if object["file_bytes"] == bytes));
}

#[test]
fn lists_devices_and_prints_versions_help_and_completions() {
    let bench = Bench::new();
    assert!(bench.winze("devices").succeeds().starts_with("cpu"));
    let list: serde_json::Value = serde_json::from_str(&bench.winze("devices --json").succeeds()).unwrap();
    assert_eq!(list[0]["id"], "cpu");
    assert_eq!(bench.winze("--version").succeeds(), format!("winze {}\n", env!("CARGO_PKG_VERSION")));
    assert!(bench.winze("--help").succeeds().contains("Exit codes: 0 done;"));
    assert!(bench.winze("run --help").succeeds().contains("Examples:"));
    assert!(bench.winze("completions bash").succeeds().contains("winze"));
}

/// A copy of winze beside a script that stands in for the compiler.
struct WithCompiler {
    bench: Bench,
}

impl WithCompiler {
    fn new(script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let bench = Bench::with_inputs();
        fs::copy(env!("CARGO_BIN_EXE_winze"), bench.path("winze")).unwrap();
        fs::write(bench.path("winze-compiler"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bench.path("winze-compiler"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(bench.path("model.onnx"), "").unwrap();
        Self { bench }
    }

    fn winze(&self, words: &str) -> Ended {
        // A test that forks at the wrong moment keeps the copied file open for writing for an instant.
        loop {
            match Command::new(self.bench.path("winze")).args(words.split_whitespace()).current_dir(self.bench.folder.path()).output() {
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                output => return output.unwrap().into(),
            }
        }
    }
}

#[test]
fn hands_compiling_commands_over() {
    let with = WithCompiler::new("echo \"$@\"; exit 3");
    for words in
        ["compile m.onnx -o x.wz -O3 --help", "opt --cse --pass-pipeline=any(cse) f.mlir", "check m.onnx", "passes", "targets --json"]
    {
        let ended = with.winze(words);
        assert_eq!((ended.code, ended.stdout.trim_end(), ended.stderr.as_str()), (Some(3), words, ""));
    }
    assert_eq!(with.winze("-q compile m.onnx").stdout, "compile --quiet m.onnx\n");
}

#[test]
fn compiles_models_before_it_runs_them() {
    // $2 is the model, $4 the artifact to write.
    let with = WithCompiler::new("test \"$1 $2 $3\" = 'compile model.onnx -o' && echo \"$*\" >&2 && cp m.wz \"$4\"");
    let ended = with.winze("run model.onnx --input a.npy b.npy --expect y.npy -O2 --dim width=2");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for handed in ["--dim width=2", "-O2", "--input a.npy"] {
        assert!(ended.stderr.contains(handed), "{}", ended.stderr);
    }
    let ended = with.winze("bench model.onnx --input a.npy b.npy --runs 1 --device vulkan:7777");
    assert!(ended.stderr.contains("--target cpu --target vulkan"), "{}", ended.stderr);
    let ended = with.winze("run model.onnx --input a.npy b.npy --device vulkan:7777 --require-device");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--target vulkan"), "{}", ended.stderr);
}

/// Every line of every help that shows a command, run as it stands.
#[test]
fn the_examples_of_the_help_run() {
    // Stands in for the compiler: the word after -o is the artifact to write.
    let with = WithCompiler::new("while test $# -gt 0; do test \"$1\" = -o && cp m.wz \"$2\"; shift; done");
    fs::copy(with.bench.path("m.wz"), with.bench.path("model.wz")).unwrap();
    let mut count = 0;
    for command in ["", "run", "bench", "inspect", "devices", "completions"] {
        let help = with.winze(&format!("{command} --help")).succeeds();
        let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  winze ")).collect();
        assert!(!examples.is_empty(), "no examples in: winze {command} --help");
        for example in examples {
            // What is explained stands after two blanks.
            let line = example.trim_start().split("  ").next().unwrap();
            let script = format!("PATH=.:$PATH; {line}");
            let ended: Ended = Command::new("bash").args(["-c", &script]).current_dir(with.bench.folder.path()).output().unwrap().into();
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
            count += 1;
        }
    }
    assert!(count > 15, "only {count}");
}

#[test]
fn passes_on_what_the_compiler_says() {
    let unsupported = WithCompiler::new("echo 'unsupported: Foo at bar: why' >&2; exit 3");
    unsupported.winze("run model.onnx --random-inputs 1").fails(3, "unsupported: Foo at bar: why");
    WithCompiler::new("kill -SEGV $$").winze("compile model.onnx").fails(1, "ended abnormally");
    WithCompiler::new("exit 101").winze("run model.onnx").fails(1, "ended abnormally");
    let with = WithCompiler::new("");
    fs::remove_file(with.bench.path("winze-compiler")).unwrap();
    with.winze("compile model.onnx -o x.wz").fails(1, "install winze-compiler beside winze");
}

#[test]
fn survives_a_reader_that_leaves() {
    let bench = Bench::new();
    let command = format!("{} inspect m.wz --json | true; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_winze"));
    let ended: Ended = Command::new("bash").args(["-c", &command]).current_dir(bench.folder.path()).output().unwrap().into();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn runs_within_bounds_of_time_and_memory() {
    let bench = Bench::with_inputs();
    let said = bench.winze("bench m.wz --input a.npy b.npy --runs 1 --threads 1 --json").succeeds();
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(object["peak_rss_mb"].as_f64() < Some(20.0), "{said}");
}
