//! A pass that fails, panics or crashes ends the process with exit code 1, and says where; the reproducer fails the same way.
//!
//! Crashes need a process of their own: this test runs itself again.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use winze_compiler::{
    context,
    stage::Stage,
    steps::{self, Step, run_pipeline},
};
use winze_mlir::{
    attributes,
    melior::ir::{Module, OperationRef},
    pass::{PassOption, RustPass, register},
};

/// Crashes in the way that its option says.
struct Crash(String);

impl RustPass for Crash {
    const ARGUMENT: &'static str = "test-crash";
    const DESCRIPTION: &'static str = "Crash";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[PassOption { name: "how", description: "the way", default: "abort" }];

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self(values[0].into()))
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        match self.0.as_str() {
            "abort" => std::process::abort(),
            // SAFETY: not at all, on purpose.
            "fault" => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
            "overflow" => drop(endless(&[0; 1 << 16])),
            "fail" => {}
            _ => panic!("on purpose"),
        }
        Err(format!("{} fails", attributes::get::<String>(op, "sym_name").unwrap_or_default()))
    }
}

#[allow(unconditional_recursion)]
fn endless(block: &[u8; 1 << 16]) -> u8 {
    let mut next = *std::hint::black_box(block);
    next[0] = next[0].wrapping_add(1);
    endless(&next).wrapping_add(next[1])
}

const KERNEL: &str = r#"func.func @k() { return loc("conv1"("model.onnx":3:0)) } loc("conv1"("model.onnx":3:0))"#;

/// The process that crashes.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let how = std::env::args().next_back().expect("the way to crash");
    steps::keep_reproducers(&std::env::current_dir().expect("a folder"));
    steps::crash::install();
    register::<Crash>();
    let context = context::new_context();
    let mut module = Module::parse(&context, KERNEL).expect("parses");
    let step = Step { stage: Stage::Vector, kernel: Some("k") };
    let error = run_pipeline(&context, &mut module, step, &format!("builtin.module(cse,func.func(test-crash{{how={how}}}))"));
    eprintln!("error: {}", error.expect_err("the pass fails"));
    std::process::exit(1);
}

fn crash(how: &str, folder: &Path) -> Output {
    let child = std::env::current_exe().expect("this test");
    Command::new(child).args(["--ignored", "--exact", "child", "--nocapture", "--skip", how]).current_dir(folder).output().expect("starts")
}

#[test]
fn crashes_name_pass_kernel_node_and_reproducer() {
    for (how, what) in [
        ("abort", "crashed (abort)"),
        ("fault", "crashed (segmentation fault)"),
        ("overflow", "crashed (segmentation fault)"),
        ("panic", "on purpose"),
        ("fail", "k fails"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = crash(how, folder.path());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{how}: {message}");
        for part in [what, "`test-crash`", "conv1", "reproducer: "] {
            assert!(message.contains(part), "{how}: no {part:?} in {message}");
        }
        let file = fs::read_dir(folder.path()).unwrap().next().expect("a reproducer").unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        assert!(file.to_string_lossy().ends_with("-k-vector.mlir") && message.contains(&*file.file_name().unwrap().to_string_lossy()));
        assert!(text.contains("mlir_reproducer") && text.contains("test-crash") && text.contains("func.func @k()"), "{text}");
        let context = context::new_context();
        assert!(Module::parse(&context, &text).is_some(), "{text}");
    }
}
