//! `context_of`: the right context, for long, and for many.

use crate::{context, find, parse};
use winze_mlir::{
    context::context_of,
    melior::{
        Context,
        ir::{Location, Type, TypeLike},
    },
};

const TEXT: &str = "func.func @f() { return }";

#[test]
fn each_op_names_its_own_context() {
    let (one, two) = (context(), context());
    let (module_one, module_two) = (parse(&one, TEXT), parse(&two, TEXT));
    let handle_one = context_of(find(&module_one, "func.func"));
    let handle_two = context_of(find(&module_two, "func.func"));
    // Overwrites what a handle to a temporary would point at.
    for i in 0..1000 {
        assert!(std::ptr::eq(context_of(find(&module_two, "func.return")), handle_two));
        std::hint::black_box([i; 64]);
    }
    assert_eq!(handle_one.to_raw().ptr, one.to_raw().ptr);
    assert_eq!(handle_two.to_raw().ptr, two.to_raw().ptr);
    assert_ne!(handle_one.to_raw().ptr, handle_two.to_raw().ptr);
    let index = Type::index(handle_one);
    assert_eq!(index, Type::index(&one));
    assert_ne!(index.to_raw().ptr, Type::index(&two).to_raw().ptr);
    assert_eq!(Location::name(handle_one, "n", Location::unknown(handle_one)).to_string(), "loc(\"n\")");
}

#[test]
fn contexts_that_come_and_go_at_reused_addresses() {
    for _ in 0..50 {
        let context = Context::new();
        let module = parse(&context, "module {}");
        let handle = context_of(module.as_operation());
        assert_eq!(handle.to_raw().ptr, context.to_raw().ptr);
        assert_eq!(Type::float32(handle), Type::float32(&context));
    }
}
