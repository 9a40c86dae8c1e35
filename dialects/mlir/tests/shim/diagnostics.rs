//! Diagnostics as values.

use crate::{context, parse};
use std::panic::{AssertUnwindSafe, catch_unwind};
use winze_mlir::{
    diagnostics::{Severity, collect, emit, emit_error},
    melior::{
        Context,
        ir::{Location, Module, operation::OperationLike},
    },
};

fn at<'c>(context: &'c Context, node: &str, line: usize) -> Location<'c> {
    Location::name(context, node, Location::new(context, "model.onnx", line, 7))
}

#[test]
fn severity_message_location_and_notes() {
    let context = context();
    let (result, found) = collect(&context, || {
        emit(at(&context, "conv", 1), Severity::Error, "no schedule", Some((at(&context, "relu", 2), "fused here")));
        emit(at(&context, "pad", 3), Severity::Warning, "slow", None);
        emit(at(&context, "add", 4), Severity::Remark, "vectorized", None);
        7
    });
    assert_eq!(result, 7);
    let severities: Vec<_> = found.iter().map(|d| d.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning, Severity::Remark]);
    assert_eq!(found[0].message, "no schedule");
    assert_eq!(found[0].location, "loc(\"conv\"(\"model.onnx\":1:7))");
    let [note] = &found[0].notes[..] else { panic!("{found:?}") };
    assert_eq!((note.severity, note.message.as_str()), (Severity::Note, "fused here"));
    assert_eq!(note.location, "loc(\"relu\"(\"model.onnx\":2:7))");
    assert!(found[1].notes.is_empty() && found[2].notes.is_empty());
    assert_eq!(
        found[0].to_string(),
        "no schedule at loc(\"conv\"(\"model.onnx\":1:7))\n  note: fused here at loc(\"relu\"(\"model.onnx\":2:7))"
    );
}

#[test]
fn the_innermost_collector_gets_a_diagnostic() {
    let context = context();
    let error = |text: &str| emit_error(Location::unknown(&context), text);
    let (inner, outer) = collect(&context, || {
        error("before");
        let ((), inner) = collect(&context, || error("inside"));
        error("after");
        inner
    });
    assert_eq!(inner.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), ["inside"]);
    assert_eq!(outer.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), ["before", "after"]);
}

#[test]
fn a_panicking_action_leaves_no_collector_behind() {
    let context = context();
    let ((), outer) = collect(&context, || {
        let panicked = catch_unwind(AssertUnwindSafe(|| collect(&context, || panic!("on purpose"))));
        assert!(panicked.is_err());
        emit_error(Location::unknown(&context), "still heard");
    });
    assert_eq!(outer.len(), 1, "{outer:?}");
}

#[test]
fn parser_and_verifier_report_through_the_collector() {
    let context = context();
    let (module, found) = collect(&context, || Module::parse(&context, "func.func @f() -> i32 {\n  return\n}"));
    assert!(module.is_none());
    let [error] = &found[..] else { panic!("{found:?}") };
    assert!(error.message.contains("'func.return' op has 0 operands"), "{error}");
    assert!(error.location.contains(":2:3"), "{error}");
    let module = parse(&context, "module {}");
    let (valid, found) = collect(&context, || module.as_operation().verify());
    assert!(valid && found.is_empty());
}
