//! Uses, erasing while walking, and the model nodes behind a location.

use crate::{context, count, find, parse};
use winze_mlir::{
    locations::{fuse, is_unknown, node_names, of_value},
    melior::{
        Context,
        ir::{BlockLike, Location, ValueLike, operation::OperationLike},
    },
    walk,
};

const TEXT: &str = r#"func.func @f(%a: i32, %b: i32) -> i32 {
  %0 = arith.addi %a, %a : i32
  %1 = arith.muli %a, %0 : i32
  return %1 : i32
}"#;

#[test]
fn users_come_once_per_use() {
    let context = context();
    let module = parse(&context, TEXT);
    let body = walk::blocks(find(&module, "func.func"))[0];
    let users = |index: usize| {
        let argument = body.argument(index).expect("two arguments");
        let mut names: Vec<String> =
            walk::users(argument.into()).map(|op| op.name().as_string_ref().as_str().unwrap().to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(users(0), ["arith.addi", "arith.addi", "arith.muli"]);
    assert!(users(1).is_empty());
    walk::replace_all_uses(body.argument(0).unwrap().into(), body.argument(1).unwrap().into());
    assert!(users(0).is_empty());
    assert_eq!(users(1), ["arith.addi", "arith.addi", "arith.muli"]);
    walk::set_operand(find(&module, "arith.muli"), 1, body.argument(0).unwrap().into());
    assert_eq!(users(0), ["arith.muli"]);
    assert!(module.as_operation().verify());
}

#[test]
fn the_current_op_may_be_erased() {
    let context = context();
    let module =
        parse(&context, "func.func @f() { %0 = arith.constant 1 : i32 %1 = arith.constant 2 : i32 %2 = arith.constant 3 : i32 return }");
    let body = walk::blocks(find(&module, "func.func"))[0];
    let mut seen = 0;
    for op in walk::operations(body) {
        seen += 1;
        if op.name().as_string_ref().as_str() == Ok("arith.constant") {
            walk::erase(op);
        }
    }
    assert_eq!(seen, 4);
    assert_eq!(count(&module.as_operation().to_string(), "arith.constant"), 0);
    assert!(module.as_operation().verify());
}

#[test]
fn walking_is_outer_first_and_stops_at_an_error() {
    let context = context();
    let module = parse(&context, TEXT);
    let mut names = vec![];
    let result = walk::walk(module.as_operation(), &mut |op| {
        names.push(op.name().as_string_ref().as_str().unwrap().to_string());
        if names.len() == 3 { Err("enough") } else { Ok(()) }
    });
    assert_eq!(result, Err("enough"));
    assert_eq!(names, ["func.func", "arith.addi", "arith.muli"]);
}

#[test]
fn a_copy_is_independent() {
    let context = context();
    let module = parse(&context, TEXT);
    let function = find(&module, "func.func");
    let copy = walk::copy(function);
    assert_eq!(copy.to_string().trim_end(), function.to_string());
    walk::replace_all_uses(find(&module, "arith.addi").result(0).unwrap().into(), walk::blocks(function)[0].argument(1).unwrap().into());
    assert_ne!(copy.to_string().trim_end(), function.to_string());
}

fn node<'c>(context: &'c Context, name: &str) -> Location<'c> {
    Location::name(context, name, Location::new(context, "model.onnx", 1, 0))
}

#[test]
fn fusing_drops_repetitions() {
    let context = context();
    let (a, b) = (node(&context, "a"), node(&context, "b"));
    assert_eq!(fuse(&context, &[]), Location::unknown(&context));
    assert_eq!(fuse(&context, &[a, a]), a);
    let both = fuse(&context, &[a, b, a]);
    assert_eq!(both.fused_num_locations(), 2);
    assert_eq!(node_names(both), ["a", "b"]);
    assert!(is_unknown(fuse(&context, &[Location::unknown(&context)])));
    assert!(!is_unknown(both));
}

#[test]
fn node_names_through_every_kind_of_location() {
    let context = context();
    let (a, b, c) = (node(&context, "a"), node(&context, "b"), node(&context, "c"));
    assert_eq!(node_names(a), ["a"]);
    assert_eq!(node_names(Location::call_site(a, b)), ["a"]);
    let nested = fuse(&context, &[fuse(&context, &[b, a]), Location::call_site(fuse(&context, &[c, b]), a)]);
    assert_eq!(node_names(nested), ["b", "a", "c"]);
    assert!(node_names(Location::unknown(&context)).is_empty());
    assert!(node_names(Location::new(&context, "model.onnx", 1, 0)).is_empty());
}

#[test]
fn a_value_is_where_its_op_is() {
    let context = context();
    let module = parse(&context, "func.func @f() -> i32 { %0 = arith.constant 1 : i32 loc(\"n\") return %0 : i32 }");
    let value = find(&module, "arith.constant").result(0).unwrap();
    assert_eq!(value.r#type().to_string(), "i32");
    assert_eq!(node_names(of_value(value.into())), ["n"]);
}
