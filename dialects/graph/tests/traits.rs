//! Traits that C++ passes of libMLIR see on graph ops, and that canonicalization keeps distinct constants apart.

use winze_graph::testing::context;
use winze_mlir::{
    diagnostics::collect,
    melior::{
        Context,
        ir::{Module, operation::OperationLike},
    },
    pass_manager::PassManager,
};

fn parse<'c>(context: &'c Context, text: &str) -> Module<'c> {
    let (module, messages) = collect(context, || Module::parse(context, text));
    module.unwrap_or_else(|| panic!("{text}\n{messages:?}"))
}

/// The module after `passes`, with results numbered by the printer.
fn run(passes: &str, text: &str) -> String {
    let context = context();
    let mut module = parse(&context, text);
    let manager = PassManager::parse(&context, &format!("builtin.module({passes})")).expect("upstream passes");
    manager.run(&mut module).unwrap_or_else(|e| panic!("{text}\n{e}"));
    module.as_operation().to_string()
}

/// The first message that refuses `text`.
fn refuse(text: &str) -> String {
    let context = context();
    let (module, messages) = collect(&context, || Module::parse(&context, text));
    assert!(module.is_none(), "{text}");
    messages.first().expect("a refusal says why").message.clone()
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

const IF: &str = r#"func.func @f(%c: tensor<i1>, %a: tensor<2xf32>) -> tensor<2xf32> {
  %0 = graph.if %c : tensor<i1> -> tensor<2xf32> {
    %1 = graph.neg %a : tensor<2xf32>
    graph.yield %1 : tensor<2xf32>
  } else {
    graph.yield %a : tensor<2xf32>
  }
  return %0 : tensor<2xf32>
}"#;

const WHILE: &str = r#"func.func @f(%a: tensor<i64>, %n: tensor<i64>) -> tensor<i64> {
  %0 = graph.while %a : tensor<i64> while {
  ^bb0(%i: tensor<i64>):
    %more = graph.lt %i, %n : tensor<i64>
    graph.yield %more : tensor<i1>
  } do {
  ^bb0(%i: tensor<i64>):
    %next = graph.add %i, %i : tensor<i64>
    graph.yield %next : tensor<i64>
  } -> tensor<i64>
  return %0 : tensor<i64>
}"#;

const KERNEL: &str = r#"func.func @f(%a: tensor<2xf32>, %b: tensor<2xf32>) -> tensor<2xf32> {
  %0 = graph.kernel "elementwise"(%a, %b) attributes {nodes = ["add"]} : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32> {
  ^bb0(%x: tensor<2xf32>, %y: tensor<2xf32>):
    %1 = graph.add %x, %y : tensor<2xf32>
    graph.yield %1 : tensor<2xf32>
  }
  return %0 : tensor<2xf32>
}"#;

#[test]
fn region_ops_print_what_they_parse() {
    let context = context();
    for (text, yields) in [(IF, 2), (WHILE, 2), (KERNEL, 1)] {
        let once = parse(&context, text).as_operation().to_string();
        assert_eq!(count(&once, "graph.yield"), yields, "{once}");
        assert!(!once.contains("\"graph."), "custom syntax: {once}");
        let again = parse(&context, &once);
        assert_eq!(again.as_operation().to_string(), once);
        assert!(again.as_operation().verify());
        // The generic form holds the same ops.
        let generic = parse(&context, text);
        let flags = winze_mlir::melior::ir::operation::OperationPrintingFlags::new().print_generic_operation_form();
        let generic = generic.as_operation().to_string_with_flags(flags).expect("prints");
        assert!(generic.contains("\"graph.yield\"(%"), "{generic}");
        assert_eq!(parse(&context, &generic).as_operation().to_string(), once);
    }
}

#[test]
fn nothing_follows_a_terminator() {
    let after = IF.replace(
        "graph.yield %1 : tensor<2xf32>",
        "graph.yield %1 : tensor<2xf32>\n    %2 = graph.neg %1 : tensor<2xf32>\n    graph.yield %2 : tensor<2xf32>",
    );
    let message = refuse(&after);
    assert!(message.contains("must be the last operation in the parent block"), "{message}");
}

#[test]
fn a_region_without_results_needs_no_written_yield() {
    let context = context();
    let module = parse(&context, "func.func @f(%c: tensor<i1>) { graph.if %c : tensor<i1> { } else { } return }");
    assert!(module.as_operation().verify());
    let flags = winze_mlir::melior::ir::operation::OperationPrintingFlags::new().print_generic_operation_form();
    let generic = module.as_operation().to_string_with_flags(flags).expect("prints");
    assert_eq!(count(&generic, "\"graph.yield\""), 2, "{generic}");
}

#[test]
fn a_kernel_is_isolated_from_above() {
    let message = refuse(&KERNEL.replace("graph.add %x, %y", "graph.add %x, %b"));
    assert!(message.contains("using value defined outside the region") || message.contains("undeclared SSA value"), "{message}");
    // Neither CSE nor canonicalization replaces a constant inside by an equal one outside.
    let text = r#"func.func @f(%a: tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>) {
  %one = graph.constant dense<1.0> : tensor<2xf32>
  %0 = graph.kernel "elementwise"(%a) attributes {nodes = ["add"]} : (tensor<2xf32>) -> tensor<2xf32> {
  ^bb0(%x: tensor<2xf32>):
    %inside = graph.constant dense<1.0> : tensor<2xf32>
    %1 = graph.add %x, %inside : tensor<2xf32>
    graph.yield %1 : tensor<2xf32>
  }
  return %0, %one : tensor<2xf32>, tensor<2xf32>
}"#;
    for passes in ["cse", "canonicalize", "func.func(cse,canonicalize,cse)", "loop-invariant-code-motion"] {
        let out = run(passes, text);
        assert_eq!(count(&out, "graph.constant"), 2, "{passes}: {out}");
    }
}

#[test]
fn cse_merges_commuted_operands_only_where_order_does_not_matter() {
    let text = |op: &str, result: &str| {
        format!(
            "func.func @f(%a: tensor<2xi32>, %b: tensor<2xi32>) -> ({result}, {result}) {{\n  %0 = graph.{op} %a, %b : tensor<2xi32>\n  \
             %1 = graph.{op} %b, %a : tensor<2xi32>\n  return %0, %1 : {result}, {result}\n}}"
        )
    };
    for (op, result) in
        [("add", "tensor<2xi32>"), ("mul", "tensor<2xi32>"), ("maximum", "tensor<2xi32>"), ("xor", "tensor<2xi32>"), ("eq", "tensor<2xi1>")]
    {
        let out = run("cse", &text(op, result));
        assert_eq!(count(&out, &format!("graph.{op} ")), 1, "{out}");
    }
    for (op, result) in [("sub", "tensor<2xi32>"), ("lt", "tensor<2xi1>")] {
        let out = run("cse,canonicalize,cse", &text(op, result));
        assert_eq!(count(&out, &format!("graph.{op} ")), 2, "{out}");
    }
}

#[test]
fn dead_ops_and_equal_constants_go() {
    let text = r#"func.func @f(%a: tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>) {
  %dead = graph.exp %a : tensor<2xf32>
  %0 = graph.constant dense<1.0> : tensor<2xf32>
  %1 = graph.constant dense<1.0> : tensor<2xf32>
  return %0, %1 : tensor<2xf32>, tensor<2xf32>
}"#;
    let out = run("canonicalize,cse", text);
    assert_eq!((count(&out, "graph.exp"), count(&out, "graph.constant")), (0, 1), "{out}");
}

#[test]
fn distinct_constants_of_one_type_stay_distinct() {
    let constants =
        ["dense<0.0>", "dense<-0.0>", "dense<[1.0, 2.0]>", "dense<[2.0, 1.0]>", "dense<1.0>", "dense<0x7FC00000>", "dense<0x7FC00001>"];
    let names: Vec<String> = (0..constants.len()).map(|i| format!("%c{i}")).collect();
    let types = vec!["tensor<2xf32>"; constants.len()].join(", ");
    let body: String =
        constants.iter().zip(&names).map(|(value, name)| format!("  {name} = graph.constant {value} : tensor<2xf32>\n")).collect();
    let text = format!("func.func @f() -> ({types}) {{\n{body}  return {} : {types}\n}}", names.join(", "));
    for passes in ["canonicalize", "func.func(canonicalize)", "cse", "canonicalize,cse,canonicalize", "sccp"] {
        let out = run(passes, &text);
        assert_eq!(count(&out, "graph.constant"), constants.len(), "{passes}: {out}");
        // Each returned value is still the constant that the source returned there.
        let returned = out.lines().find(|line| line.trim().starts_with("return")).expect("returns").to_string();
        let operands = returned.trim().trim_start_matches("return ").split(" : ").next().expect("operands").split(", ");
        for (operand, value) in operands.zip(&constants) {
            let definition = out.lines().find(|line| line.trim().starts_with(&format!("{operand} = "))).expect("defined");
            let value = value.replace(".0", ".000000e+00");
            assert!(definition.contains(&value), "{passes}: {definition} is not {value}");
        }
    }
}
