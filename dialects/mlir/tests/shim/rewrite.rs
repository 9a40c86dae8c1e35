//! Greedy patterns: applied, dropped, and their failures reported.

use crate::{context, count, find, parse};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use winze_mlir::{
    diagnostics::{Severity, collect},
    melior::ir::{
        BlockLike, OperationRef, ValueLike,
        operation::{OperationBuilder, OperationLike},
    },
    rewrite::PatternSet,
};

const TEXT: &str = r#"func.func @f(%a: i32) -> i32 {
  %0 = arith.subi %a, %a : i32
  %1 = arith.subi %0, %a : i32 loc("second")
  return %1 : i32
}"#;

#[test]
fn a_pattern_replaces_every_match() {
    let context = context();
    let module = parse(&context, TEXT);
    let mut patterns = PatternSet::new(&context);
    patterns.add("arith.subi", 1, |op, rewriter| {
        let operands = [op.operand(0).map_err(|e| e.to_string())?, op.operand(1).map_err(|e| e.to_string())?];
        let built = OperationBuilder::new("arith.xori", op.location())
            .add_operands(&operands)
            .add_results(&[op.result(0).map_err(|e| e.to_string())?.r#type()])
            .build()
            .map_err(|e| e.to_string())?;
        rewriter.set_insertion_point_before(op);
        let replacement = rewriter.insert(built);
        rewriter.replace_op_with_operation(op, replacement);
        Ok(true)
    });
    let (result, messages) = collect(&context, || patterns.apply_greedily(module.as_operation()));
    result.expect("converges");
    assert!(messages.is_empty(), "{messages:?}");
    let text = module.as_operation().to_string();
    // The first one folds: x ^ x = 0.
    assert_eq!(count(&text, "arith.subi"), 0, "{text}");
    assert!(module.as_operation().verify());
}

#[test]
fn the_larger_benefit_is_tried_first_and_a_refusal_falls_through() {
    let context = context();
    let module = parse(&context, TEXT);
    let order = Arc::new(std::sync::Mutex::new(vec![]));
    let mut patterns = PatternSet::new(&context);
    for (benefit, name) in [(1, "low"), (9, "high")] {
        let order = Arc::clone(&order);
        patterns.add("func.func", benefit, move |_, _| {
            order.lock().unwrap().push(name);
            Ok(false)
        });
    }
    patterns.apply_greedily(module.as_operation()).expect("converges");
    assert_eq!(order.lock().unwrap()[..2], ["high", "low"]);
}

#[test]
fn closures_are_dropped_after_applying() {
    let context = context();
    let module = parse(&context, TEXT);
    let (held, calls) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
    let mut patterns = PatternSet::new(&context);
    for _ in 0..3 {
        let (held, calls) = (Arc::clone(&held), Arc::clone(&calls));
        patterns.add("func.return", 1, move |_, _| {
            let _ = &held;
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(false)
        });
    }
    assert_eq!(Arc::strong_count(&held), 4);
    patterns.apply_greedily(module.as_operation()).expect("converges");
    assert!(calls.load(Ordering::Relaxed) >= 3);
    assert_eq!((Arc::strong_count(&held), Arc::strong_count(&calls)), (1, 1));
}

#[test]
fn closures_of_a_set_that_is_never_applied_are_dropped() {
    let context = context();
    let held = Arc::new(());
    let mut patterns = PatternSet::new(&context);
    let inner = Arc::clone(&held);
    patterns.add("func.return", 1, move |_, _| {
        let _ = &inner;
        Ok(false)
    });
    drop(patterns);
    assert_eq!(Arc::strong_count(&held), 1);
}

fn fail(op: OperationRef) -> Result<bool, String> {
    let second = op.operand(0).map_err(|e| e.to_string())?.is_operation_result();
    if second { Err("cannot rewrite this one".into()) } else { Ok(false) }
}

#[test]
fn an_error_is_reported_where_the_op_is() {
    let context = context();
    let module = parse(&context, TEXT);
    let mut patterns = PatternSet::new(&context);
    patterns.add("arith.subi", 1, |op, _| fail(op));
    let (result, messages) = collect(&context, || patterns.apply_greedily(find(&module, "func.func")));
    let error = result.expect_err("a pattern failed");
    assert!(error.contains("cannot rewrite this one") || !messages.is_empty(), "{error}");
    assert!(
        messages.iter().any(|d| d.severity == Severity::Error && d.message == "cannot rewrite this one" && d.location == "loc(\"second\")"),
        "{messages:?}"
    );
}

#[test]
fn a_panic_is_reported_and_does_not_abort() {
    let context = context();
    let module = parse(&context, TEXT);
    let mut patterns = PatternSet::new(&context);
    patterns.add("func.return", 1, |_, _| panic!("on purpose {}", 1));
    let (result, messages) = collect(&context, || patterns.apply_greedily(module.as_operation()));
    assert!(result.is_err());
    assert!(messages.iter().any(|d| d.message == "internal error: panic: on purpose 1"), "{messages:?}");
    assert!(module.as_operation().verify());
    assert!(module.body().first_operation().is_some());
}
