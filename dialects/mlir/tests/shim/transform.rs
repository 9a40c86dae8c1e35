//! Schedules: applied, missing, failing.

use crate::{context, count, parse};
use winze_mlir::transform::{TransformError, apply_named_sequence};

const PAYLOAD: &str = "func.func @f(%a: i32) -> i32 { %0 = arith.addi %a, %a : i32 return %0 : i32 }";

const SCHEDULE: &str = r#"module attributes {transform.with_named_sequence} {
  transform.named_sequence @annotate(%root: !transform.any_op) {
    %add = transform.structured.match ops{["arith.addi"]} in %root : (!transform.any_op) -> !transform.any_op
    transform.annotate %add "seen" : !transform.any_op
    transform.yield
  }
  transform.named_sequence @tile_an_add(%root: !transform.any_op) {
    %add = transform.structured.match ops{["arith.addi"]} in %root : (!transform.any_op) -> !transform.any_op
    %tiled, %loop = transform.structured.tile_using_for %add tile_sizes [4] : (!transform.any_op) -> (!transform.any_op, !transform.any_op) loc("tiling step")
    transform.yield
  }
  transform.named_sequence @stale(%root: !transform.any_op {transform.readonly}) {
    %f = transform.structured.match ops{["func.func"]} in %root : (!transform.any_op) -> !transform.any_op
    %add = transform.structured.match ops{["arith.addi"]} in %f : (!transform.any_op) -> !transform.any_op
    %applied = transform.apply_registered_pass "canonicalize" to %f : (!transform.any_op) -> !transform.any_op
    transform.annotate %add "seen" : !transform.any_op loc("stale use")
    transform.yield
  }
}"#;

#[test]
fn a_sequence_changes_the_payload() {
    let context = context();
    let (payload, schedule) = (parse(&context, PAYLOAD), parse(&context, SCHEDULE));
    apply_named_sequence(&context, payload.as_operation(), &schedule, "annotate").expect("annotates");
    assert_eq!(count(&payload.as_operation().to_string(), "arith.addi %arg0, %arg0 {seen}"), 1, "{}", payload.as_operation());
}

#[test]
fn a_missing_sequence_is_named() {
    let context = context();
    let (payload, schedule) = (parse(&context, PAYLOAD), parse(&context, SCHEDULE));
    let error = apply_named_sequence(&context, payload.as_operation(), &schedule, "absent").expect_err("no such sequence");
    assert!(matches!(&error, TransformError::NoSequence(name) if name == "absent"), "{error}");
    assert_eq!(error.to_string(), "schedule has no sequence @absent");
}

#[test]
fn a_failure_says_where_in_the_schedule() {
    let context = context();
    let (payload, schedule) = (parse(&context, PAYLOAD), parse(&context, SCHEDULE));
    let error = apply_named_sequence(&context, payload.as_operation(), &schedule, "tile_an_add").expect_err("an add has no loops");
    let TransformError::Failed { sequence, diagnostics } = &error else { panic!("{error}") };
    assert_eq!(sequence, "tile_an_add");
    assert!(diagnostics.iter().any(|d| d.location.contains("tiling step")), "{diagnostics:#?}");
    let text = error.to_string();
    assert!(text.starts_with("schedule @tile_an_add failed: ") && text.contains("tiling step"), "{text}");
}

#[test]
fn a_stale_handle_is_an_error() {
    let context = context();
    let (payload, schedule) = (parse(&context, PAYLOAD), parse(&context, SCHEDULE));
    let error = apply_named_sequence(&context, payload.as_operation(), &schedule, "stale").expect_err("handle was invalidated");
    assert!(error.to_string().contains("stale use"), "{error}");
}
