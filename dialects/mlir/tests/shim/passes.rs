//! Passes written in Rust, in textual pipelines.

use crate::{context, context_with, count, parse};
use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use winze_mlir::{
    attributes::{self, AttributeValue},
    context::context_of,
    diagnostics::Severity,
    melior::{
        Context,
        ir::{OperationRef, operation::OperationLike},
    },
    pass::{self, PassOption, RustPass},
    pass_manager::{PassManager, PipelineError, When},
};

/// Writes its options as attributes of a function.
struct Mark {
    count: i64,
    label: String,
}

impl RustPass for Mark {
    const ARGUMENT: &'static str = "test-mark";
    const DESCRIPTION: &'static str = "Write options as attributes";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[
        PassOption { name: "count", description: "a number", default: "3" },
        PassOption { name: "label", description: "a text", default: "none" },
    ];

    fn from_options(values: &[&str]) -> Result<Self, String> {
        let count = values[0].parse().map_err(|_| format!("test-mark: count is `{}`; give an integer", values[0]))?;
        Ok(Self { count, label: values[1].to_string() })
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let context = context_of(op);
        attributes::set(op, "test.count", self.count.to_attribute(context));
        attributes::set(op, "test.label", self.label.clone().to_attribute(context));
        Ok(())
    }
}

/// Fails at functions with the attribute `test.bad`; panics at those with `test.worse`.
struct Fail;

impl RustPass for Fail {
    const ARGUMENT: &'static str = "test-fail";
    const DESCRIPTION: &'static str = "Fail where the IR says so";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        assert!(op.attribute("test.worse").is_err(), "on purpose");
        if op.attribute("test.bad").is_ok() { Err("test-fail: bad function".into()) } else { Ok(()) }
    }
}

static THREADS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Counts its runs and the threads that ran it.
struct CountThreads;

impl RustPass for CountThreads {
    const ARGUMENT: &'static str = "test-count-threads";
    const DESCRIPTION: &'static str = "Count runs and threads";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        RUNS.fetch_add(1, Ordering::Relaxed);
        THREADS.lock().map_err(|e| e.to_string())?.insert(format!("{:?}", thread::current().id()));
        // Long enough that one thread cannot take every function.
        thread::sleep(Duration::from_millis(2));
        attributes::set(op, "test.seen", true_attribute(op));
        Ok(())
    }
}

fn true_attribute<'c>(op: OperationRef<'c, '_>) -> winze_mlir::melior::ir::Attribute<'c> {
    1i64.to_attribute(context_of(op))
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        pass::register::<Mark>();
        pass::register::<Fail>();
        pass::register::<CountThreads>();
        pass::register::<CountThreads>();
    });
}

/// Runs a pipeline on a module and returns the module as text.
fn run(context: &Context, pipeline: &str, text: &str) -> Result<String, PipelineError> {
    register();
    let manager = PassManager::parse(context, pipeline)?;
    let mut module = parse(context, text);
    manager.run(&mut module)?;
    Ok(module.as_operation().to_string())
}

fn parse_error(pipeline: &str) -> String {
    match run(&context(), pipeline, "module {}") {
        Err(PipelineError::Parse { pipeline: named, message }) => {
            assert_eq!(named, pipeline);
            message
        }
        other => panic!("{pipeline}: expected a parse error, got {other:?}"),
    }
}

const EMPTY: &str = "func.func @f() { return }";
const BAD: &str = "module {\n  func.func @good() { return }\n  func.func @bad() attributes {test.bad} { return } loc(\"node\")\n}";

#[test]
fn options_reach_the_pass() {
    let context = context();
    let text = run(&context, "builtin.module(func.func(test-mark{count=-12 label=wide}))", EMPTY).expect("runs");
    assert!(text.contains("test.count = -12 : i64") && text.contains("test.label = \"wide\""), "{text}");
    let text = run(&context, "builtin.module(func.func(test-mark))", EMPTY).expect("runs");
    assert!(text.contains("test.count = 3 : i64") && text.contains("test.label = \"none\""), "{text}");
}

#[test]
fn a_pass_twice_keeps_two_sets_of_options() {
    let text = run(&context(), "builtin.module(func.func(test-mark{count=1 label=a},cse,test-mark{count=2}))", EMPTY).expect("runs");
    assert!(text.contains("test.count = 2 : i64") && text.contains("test.label = \"none\""), "{text}");
}

#[test]
fn bad_options_are_parse_errors() {
    let message = parse_error("builtin.module(func.func(test-mark{count=many}))");
    assert!(message.contains("test-mark: count is `many`; give an integer"), "{message}");
    let message = parse_error("builtin.module(func.func(test-mark{size=1}))");
    assert!(message.contains("no such option size"), "{message}");
    let message = parse_error("builtin.module(func.func(test-absent))");
    assert!(message.contains("test-absent"), "{message}");
}

#[test]
fn wrong_nesting_is_a_parse_error() {
    let message = parse_error("builtin.module(test-mark)");
    assert!(message.contains("func.func") && message.contains("did you intend to nest"), "{message}");
    // A pipeline runs on modules.
    let message = parse_error("func.func(test-mark)");
    assert!(message.contains("builtin.module"), "{message}");
    parse_error("builtin.module(func.func(test-mark)");
}

#[test]
fn an_error_names_the_pass_and_the_place() {
    let error = run(&context(), "builtin.module(func.func(test-mark,test-fail,cse))", BAD).expect_err("a function is bad");
    let PipelineError::Run { pass, diagnostics } = &error else { panic!("{error}") };
    assert_eq!(pass, "test-fail");
    let found = diagnostics.iter().find(|d| d.message == "test-fail: bad function").unwrap_or_else(|| panic!("{diagnostics:?}"));
    assert_eq!((found.severity, found.location.as_str()), (Severity::Error, "loc(\"node\")"));
    assert!(error.to_string().contains("pass `test-fail` failed: test-fail: bad function at loc(\"node\")"), "{error}");
}

#[test]
fn a_panic_is_an_error_on_every_thread() {
    let text: String = (0..32).map(|i| format!("func.func @f{i}() attributes {{test.worse}} {{ return }}\n")).collect();
    let error = run(&context_with(true), "builtin.module(func.func(test-fail))", &text).expect_err("panics");
    let PipelineError::Run { pass, diagnostics } = &error else { panic!("{error}") };
    assert_eq!(pass, "test-fail");
    assert!(diagnostics.iter().any(|d| d.message.contains("internal error: panic: on purpose")), "{diagnostics:?}");
}

#[test]
fn functions_are_processed_by_several_threads() {
    let text: String = (0..200).map(|i| format!("func.func @f{i}() {{ return }}\n")).collect();
    let context = context_with(true);
    let out = run(&context, "builtin.module(func.func(test-count-threads))", &text).expect("runs");
    assert_eq!(count(&out, "test.seen"), 200);
    assert_eq!(RUNS.load(Ordering::Relaxed), 200);
    if context.thread_count() > 1 {
        assert!(THREADS.lock().unwrap().len() > 1);
    }
}

#[test]
fn registered_passes_are_listed_once() {
    register();
    let ours: Vec<_> = pass::registered().into_iter().filter(|(name, _)| name.starts_with("test-")).collect();
    assert_eq!(
        ours,
        [
            ("test-count-threads", "Count runs and threads"),
            ("test-fail", "Fail where the IR says so"),
            ("test-mark", "Write options as attributes")
        ]
    );
}

#[test]
fn hooks_see_every_pass_and_may_panic() {
    register();
    let context = context();
    let seen = Arc::new(Mutex::new(vec![]));
    let manager = PassManager::parse(&context, "builtin.module(func.func(test-mark,test-fail))").expect("parses");
    let sink = Arc::clone(&seen);
    manager.add_hook(move |when, _, argument, op| {
        if argument.starts_with("test-") {
            let name = op.attribute("sym_name").expect("functions have names").to_string();
            sink.lock().unwrap().push((when, argument.to_string(), name));
        }
    });
    manager.add_hook(|_, _, _, _| panic!("hooks only observe"));
    let error = manager.run(&mut parse(&context, BAD)).expect_err("a function is bad");
    assert!(matches!(&error, PipelineError::Run { pass, .. } if pass == "test-fail"), "{error}");
    let event = |when, pass: &str, function: &str| (when, pass.to_string(), format!("{function:?}"));
    let seen_now = seen.lock().unwrap().clone();
    for expected in [
        event(When::Before, "test-mark", "good"),
        event(When::After, "test-mark", "good"),
        event(When::Before, "test-fail", "good"),
        event(When::After, "test-fail", "good"),
        event(When::Before, "test-fail", "bad"),
        event(When::Failed, "test-fail", "bad"),
    ] {
        assert_eq!(seen_now.iter().filter(|e| **e == expected).count(), 1, "{expected:?} in {seen_now:?}");
    }
    assert!(!seen_now.contains(&event(When::After, "test-fail", "bad")));
    drop(manager);
    assert_eq!(Arc::strong_count(&seen), 1, "the hook is freed with its manager");
}

#[test]
fn a_manager_reports_each_run_anew() {
    register();
    let context = context();
    let manager = PassManager::parse(&context, "builtin.module(func.func(test-fail))").expect("parses");
    for _ in 0..2 {
        let error = manager.run(&mut parse(&context, BAD)).expect_err("a function is bad");
        assert!(matches!(&error, PipelineError::Run { pass, diagnostics } if pass == "test-fail" && diagnostics.len() == 1), "{error}");
        assert!(manager.run(&mut parse(&context, EMPTY)).expect("nothing is bad").is_empty());
    }
}

#[test]
fn a_reproducer_is_written_and_parses_back() {
    register();
    let context = context();
    let file = std::env::temp_dir().join(format!("winze-reproducer-{}.mlir", std::process::id()));
    let manager = PassManager::parse(&context, "builtin.module(func.func(test-mark{count=5},test-fail))").expect("parses");
    manager.enable_crash_reproducer(&file, false);
    let error = manager.run(&mut parse(&context, BAD)).expect_err("a function is bad");
    assert!(matches!(error, PipelineError::Run { .. }), "{error}");
    let text = fs::read_to_string(&file).expect("the reproducer was written");
    let _ = fs::remove_file(&file);
    assert!(text.contains("test-mark{count=5 label=none},test-fail"), "{text}");
    assert!(text.contains("test.bad") && !text.contains("test.count"), "the input of the pipeline: {text}");
    let module = parse(&context, &text);
    assert!(module.as_operation().verify());
}

#[test]
fn timing_and_no_verifier_run() {
    register();
    let context = context();
    let manager = PassManager::parse(&context, "builtin.module(func.func(test-mark),canonicalize)").expect("parses");
    manager.enable_timing();
    manager.enable_verifier(false);
    assert!(manager.run(&mut parse(&context, EMPTY)).expect("runs").is_empty());
}
