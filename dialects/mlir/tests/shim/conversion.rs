//! Dialect conversion: types of functions, illegal ops, refusals, and what is freed.

use crate::{context, count, parse};
use std::sync::Arc;
use winze_mlir::{
    conversion::{Conversion, Converted},
    diagnostics::{Severity, collect},
    melior::{
        Context,
        ir::{
            Type, TypeLike, ValueLike,
            operation::{OperationBuilder, OperationLike},
        },
    },
    mlir_sys,
};

const TEXT: &str = r#"module {
  func.func @callee(%a: f64) -> f64 { return %a : f64 }
  func.func @f(%a: f64, %i: i32) -> f64 {
    %0 = func.call @callee(%a) : (f64) -> f64
    %1 = arith.addf %0, %a : f64 loc("sum")
    return %1 : f64
  }
}"#;

/// f64 becomes f32.
fn narrow<'c>(r#type: Type<'c>) -> Converted<'c> {
    // SAFETY: the type is live and so is its context.
    unsafe {
        if !mlir_sys::mlirTypeIsAF64(r#type.to_raw()) {
            return Converted::NotHandled;
        }
        Converted::To(Type::from_raw(mlir_sys::mlirF32TypeGet(mlir_sys::mlirTypeGetContext(r#type.to_raw()))))
    }
}

fn is_narrow(op: winze_mlir::melior::ir::OperationRef) -> bool {
    op.results().all(|result| result.r#type().to_string() != "f64")
}

fn narrowing(context: &Context) -> Conversion<'_> {
    Conversion::new(context).legal_by_default().convert_types(narrow).functions().legal_if("arith.addf", is_narrow)
}

#[test]
fn functions_calls_and_an_illegal_op_are_converted() {
    let context = context();
    let module = parse(&context, TEXT);
    let conversion = narrowing(&context).pattern("arith.addf", |op, operands, rewriter, convert| {
        let result = op.result(0).map_err(|e| e.to_string())?.r#type();
        let built = OperationBuilder::new("arith.addf", op.location())
            .add_operands(operands)
            .add_results(&[convert(result).ok_or("no legal form")?])
            .build()
            .map_err(|e| e.to_string())?;
        let sum = rewriter.insert(built);
        rewriter.replace_op_with_operation(op, sum);
        Ok(true)
    });
    let (result, messages) = collect(&context, || conversion.apply(module.as_operation(), false));
    result.unwrap_or_else(|e| panic!("{e}: {messages:?}"));
    let text = module.as_operation().to_string();
    assert_eq!(count(&text, "f64"), 0, "{text}");
    assert!(text.contains("@f(%arg0: f32, %arg1: i32) -> f32") && text.contains("call @callee(%arg0) : (f32) -> f32"), "{text}");
    assert!(text.contains("arith.addf %0, %arg0 : f32"), "{text}");
    assert!(module.as_operation().verify());
}

#[test]
fn what_no_pattern_takes_is_named() {
    let context = context();
    let module = parse(&context, TEXT);
    let before = module.as_operation().to_string();
    let (result, messages) = collect(&context, || narrowing(&context).apply(module.as_operation(), false));
    assert!(result.is_err());
    let error = messages.iter().find(|d| d.message.contains("failed to legalize operation 'arith.addf'"));
    let error = error.unwrap_or_else(|| panic!("{messages:?}"));
    assert_eq!((error.severity, error.location.as_str()), (Severity::Error, "loc(\"sum\")"));
    assert_eq!(module.as_operation().to_string(), before, "a failed conversion is rolled back");
}

#[test]
fn full_conversion_refuses_what_partial_conversion_leaves() {
    let context = context();
    let text = "func.func @f() { %0 = arith.constant 1 : i32 return }";
    for (full, expected) in [(false, true), (true, false)] {
        let module = parse(&context, text);
        let conversion = Conversion::new(&context).legal_dialect("builtin").legal_dialect("func");
        let (result, _) = collect(&context, || conversion.apply(module.as_operation(), full));
        assert_eq!(result.is_ok(), expected, "full: {full}");
    }
    let module = parse(&context, text);
    let (result, messages) = collect(&context, || Conversion::new(&context).illegal_dialect("arith").apply(module.as_operation(), false));
    assert!(result.is_err() && messages[0].message.contains("'arith.constant'"), "{messages:?}");
}

#[test]
fn errors_and_panics_of_a_pattern_are_reported() {
    let context = context();
    for panics in [false, true] {
        let module = parse(&context, TEXT);
        let conversion = narrowing(&context)
            .pattern("arith.addf", move |_, _, _, _| if panics { panic!("on purpose") } else { Err("no f64 sums here".into()) });
        let (result, messages) = collect(&context, || conversion.apply(module.as_operation(), false));
        assert!(result.is_err());
        let expected = if panics { "internal error: panic: on purpose" } else { "no f64 sums here" };
        assert!(messages.iter().any(|d| d.message == expected && d.location == "loc(\"sum\")"), "{messages:?}");
    }
}

#[test]
fn an_illegal_type_and_panicking_callbacks_fail_without_abort() {
    let context = context();
    let module = parse(&context, TEXT);
    let illegal = Conversion::new(&context).legal_by_default().convert_types(|t: Type| match narrow(t) {
        Converted::To(_) => Converted::Illegal,
        other => other,
    });
    assert!(collect(&context, || illegal.functions().apply(module.as_operation(), false)).0.is_err());
    let panicking = Conversion::new(&context).legal_by_default().convert_types(|_| panic!("on purpose")).functions();
    assert!(collect(&context, || panicking.apply(module.as_operation(), false)).0.is_err());
    let panicking = Conversion::new(&context).legal_by_default().legal_if("arith.addf", |_| panic!("on purpose"));
    assert!(collect(&context, || panicking.apply(module.as_operation(), false)).0.is_err());
}

#[test]
fn closures_are_dropped_applied_or_not() {
    let context = context();
    for apply in [true, false] {
        let held = Arc::new(());
        let (a, b, c) = (Arc::clone(&held), Arc::clone(&held), Arc::clone(&held));
        let conversion = Conversion::new(&context)
            .legal_by_default()
            .convert_types(move |r#type| {
                let _ = &a;
                narrow(r#type)
            })
            .legal_if("arith.addf", move |_| Arc::strong_count(&b) > 0)
            .pattern("arith.mulf", move |_, _, _, _| {
                let _ = &c;
                Ok(false)
            });
        assert_eq!(Arc::strong_count(&held), 4);
        if apply {
            conversion.apply(parse(&context, TEXT).as_operation(), false).expect("everything is legal");
        } else {
            drop(conversion);
        }
        assert_eq!(Arc::strong_count(&held), 1, "applied: {apply}");
    }
}
