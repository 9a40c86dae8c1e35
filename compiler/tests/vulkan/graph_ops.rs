//! Every elementwise op of the graph dialect, lowered, compiled and run, against the dialect's own evaluation.

use crate::harness::{DESKTOP, Data, MIN, Random, load_unit};
use winze_compiler::{context::new_context, kernel_unit::KernelUnit};
use winze_graph::{
    eval::{EvalContext, eval_function},
    lower,
    tensor::{Scalar, Tensor},
    types::ElementType,
};
use winze_mlir::{
    melior::ir::{BlockLike, Module},
    pass_manager::PassManager,
};
use winze_runtime::artifact::manifest;

const FLOAT_UNARY: &[&str] = &[
    "abs", "neg", "sign", "ceil", "floor", "round", "trunc", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "logistic", "sin",
    "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "is_nan", "is_inf",
];
const FLOAT_BINARY: &[&str] =
    &["add", "sub", "mul", "div", "rem", "mod", "pow", "atan2", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"];
const INTEGER_UNARY: &[&str] = &["abs", "neg", "sign", "not", "popcnt", "clz"];
const INTEGER_BINARY: &[&str] = &[
    "add", "sub", "mul", "div", "rem", "mod", "pow", "maximum", "minimum", "and", "or", "xor", "shl", "shr", "eq", "ne", "lt", "le", "gt",
    "ge",
];
const BOOL_UNARY: &[&str] = &["not"];
const BOOL_BINARY: &[&str] = &["maximum", "minimum", "and", "or", "xor", "eq", "ne"];

const COUNT: usize = 96;

fn is_test(op: &str) -> bool {
    ["is_nan", "is_inf", "eq", "ne", "lt", "le", "gt", "ge"].contains(&op)
}

fn element(name: &str) -> (ElementType, manifest::ElementType) {
    use manifest::ElementType as M;
    match name {
        "f32" => (ElementType::F32, M::F32),
        "f16" => (ElementType::F16, M::F16),
        "bf16" => (ElementType::BF16, M::BF16),
        "f64" => (ElementType::F64, M::F64),
        "i8" => (ElementType::I8, M::I8),
        "i16" => (ElementType::I16, M::I16),
        "i32" => (ElementType::I32, M::I32),
        "i64" => (ElementType::I64, M::I64),
        "ui8" => (ElementType::U8, M::U8),
        "ui16" => (ElementType::U16, M::U16),
        "ui32" => (ElementType::U32, M::U32),
        "ui64" => (ElementType::U64, M::U64),
        _ => (ElementType::Bool, M::Bool),
    }
}

fn operand(name: &str, random: &mut Random) -> Tensor {
    let corners = [0, 1, -1, 2, 3, 7, -7, i64::MIN, i64::MAX, 127, -128, 32, 64, 1 << 31];
    Tensor::from_fn(element(name).0, &[COUNT], |i| match name {
        "f32" | "f16" | "bf16" | "f64" => Scalar::Float(match i {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => 0.0,
            _ => f64::from(random.float()) * if i % 2 == 0 { 1.0 } else { 4.0 },
        }),
        "i1" => Scalar::Bool(random.bits() & 4 != 0),
        _ if i < 14 => Scalar::Signed(corners[(random.bits() % 14) as usize]),
        _ => Scalar::Signed(random.bits() as i64 >> (random.bits() % 64)),
    })
}

/// Runs every op on every type and returns what differs.
fn differences(ops: &[&str], operands: usize, r#type: &str, profile: &str) -> Vec<String> {
    let context = new_context();
    let mut wrong = vec![];
    for op in ops {
        let tensor = format!("tensor<{COUNT}x{type}>");
        let result = if is_test(op) { format!("tensor<{COUNT}xi1>") } else { tensor.clone() };
        let (arguments, names, types) = match operands {
            1 => (format!("%a: {tensor}"), "%a", tensor.clone()),
            _ => (format!("%a: {tensor}, %b: {tensor}"), "%a, %b", format!("{tensor}, {tensor}")),
        };
        let name = format!("{op}_{type}");
        let text = format!(
            "func.func @{name}({arguments}) -> {result} {{\n  %r = \"graph.{op}\"({names}) : ({types}) -> {result}\n  return %r : {result}\n}}"
        );
        let mut module = Module::parse(&context, &text).unwrap_or_else(|| panic!("{text}"));
        let mut random = Random::new(op.len() as u64 * 31 + operands as u64);
        let inputs: Vec<Tensor> = (0..operands).map(|_| operand(r#type, &mut random)).collect();
        let function = module.body().first_operation().unwrap();
        let want = eval_function(&EvalContext::new(&[]), function, &inputs).unwrap().remove(0);
        PassManager::parse(&context, &lower::pipeline(32)).unwrap().run(&mut module).unwrap_or_else(|e| panic!("{text}: {e}"));
        let unit = KernelUnit { name, class: "elementwise".into(), module: module.as_operation().to_string().into_bytes() };
        let mut kernel = match load_unit(&unit, profile) {
            Ok(Some(kernel)) => kernel,
            Ok(None) => continue,
            Err(error) => {
                wrong.push(format!("{op} of {type} on {profile}: {error}"));
                continue;
            }
        };
        let inputs_data: Vec<Data> = inputs.iter().map(|t| Data { element: element(r#type).1, bytes: t.to_bytes() }).collect();
        let out = if is_test(op) { manifest::ElementType::Bool } else { element(r#type).1 };
        let got = kernel.run(&[], &inputs_data, &[(out, COUNT)]).remove(0);
        let got = Tensor::from_bytes(want.element(), &[COUNT], &got.bytes).unwrap();
        let tolerance = match r#type {
            "f16" => 2e-3,
            "bf16" => 1e-2,
            _ => 4e-6,
        };
        for i in 0..COUNT {
            let (g, w) = (got.get(i), want.get(i));
            let same = match (g, w) {
                (Scalar::Float(g), Scalar::Float(w)) => {
                    g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance * (1.0 + w.abs())
                }
                _ => g == w,
            };
            if !same {
                let at: Vec<_> = inputs.iter().map(|t| t.get(i)).collect();
                wrong.push(format!("{op} of {type} {at:?} on {profile}: {g:?}, want {w:?}"));
                break;
            }
        }
    }
    wrong
}

fn check(ops: &[(&[&str], usize)], types: &[&str], profile: &str) {
    let wrong: Vec<String> =
        types.iter().flat_map(|t| ops.iter().flat_map(move |(ops, operands)| differences(ops, *operands, t, profile))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn floats_in_32_bits_only() {
    check(&[(FLOAT_UNARY, 1), (FLOAT_BINARY, 2)], &["f32"], MIN);
}

#[test]
fn floats_of_other_widths() {
    check(&[(FLOAT_UNARY, 1), (FLOAT_BINARY, 2)], &["f16", "f64"], DESKTOP);
}

#[test]
fn emulated_integers() {
    check(&[(INTEGER_UNARY, 1), (INTEGER_BINARY, 2)], &["i64", "ui8"], MIN);
}

#[test]
fn native_integers() {
    check(&[(INTEGER_UNARY, 1), (INTEGER_BINARY, 2)], &["i32", "i16"], DESKTOP);
}

#[test]
fn bools() {
    check(&[(BOOL_UNARY, 1), (BOOL_BINARY, 2)], &["i1"], MIN);
}
