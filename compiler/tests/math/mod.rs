//! MLIR text -> expanded, compiled for a CPU, loaded. What the tests of the math library share.

use melior::{Context, ir::Module, utility::register_all_llvm_translations};
use std::io::Write;
use winze_compiler::llvm::{CpuTarget, LlvmModule, link_image};
use winze_mlir::pass_manager::PassManager;

const TO_LLVM: &str = "convert-scf-to-cf,convert-vector-to-llvm,convert-math-to-llvm,convert-arith-to-llvm,convert-func-to-llvm,\
                       convert-cf-to-llvm,reconcile-unrealized-casts";

pub fn context() -> Context {
    let context = winze_compiler::context::new_context();
    register_all_llvm_translations(&context);
    context
}

/// A shared object without imports, of all functions in `text` after `expand`.
pub fn image(text: &str, expand: &str, target: &str) -> Vec<u8> {
    let llvm = optimized(text, expand, target);
    link_image(&[(first_function(text), llvm.object().unwrap())], &CpuTarget::named(target).unwrap()).unwrap().bytes
}

/// The LLVM IR that `image` makes code of.
#[allow(dead_code)] // not every test file looks at it
pub fn optimized_ir(text: &str, expand: &str, target: &str) -> String {
    optimized(text, expand, target).ir()
}

fn optimized(text: &str, expand: &str, target: &str) -> LlvmModule {
    let context = context();
    let mut module = Module::parse(&context, text).expect("the test input parses");
    let manager = PassManager::parse(&context, &format!("builtin.module({expand},{TO_LLVM})")).unwrap();
    manager.run(&mut module).unwrap_or_else(|e| panic!("{e}"));
    let llvm = LlvmModule::from_mlir(module.as_operation(), &CpuTarget::named(target).unwrap()).unwrap();
    llvm.optimize().unwrap();
    llvm
}

fn first_function(text: &str) -> String {
    let text = &text[text.find("@").expect("a function") + 1..];
    text[..text.find('(').expect("operands")].to_owned()
}

/// Loads an image with the system's loader.
pub fn load(image: &[u8]) -> libloading::Library {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    // SAFETY: the image is the compiled test module, which has no initializers.
    unsafe { libloading::Library::new(file.path()).unwrap() }
}

/// Functions of one operand: name and the operation (or call) that the wrapper holds.
pub const UNARY: &[&str] = &[
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sin", "cos", "tan",
    "asin", "acos", "atan", "erf", "erfc", "cbrt", "rsqrt", "round", "logistic", "erf_inv",
];

/// Scalar wrappers `NAME_TYPE` around every operation, for f32 and f64.
pub fn wrappers() -> String {
    let mut text = String::new();
    for ty in ["f32", "f64"] {
        for name in UNARY {
            text += &format!("func.func @{name}_{ty}(%x: {ty}) -> {ty} {{\n  {}\n  return %r : {ty}\n}}\n", unary(name, ty));
            if is_called(name) {
                text += &format!("func.func private @math.{name}_{ty}({ty}) -> {ty}\n");
            }
        }
        for (name, op) in [("powf", "math.powf"), ("atan2", "math.atan2"), ("remf", "arith.remf")] {
            text += &format!("func.func @{name}_{ty}(%x: {ty}, %y: {ty}) -> {ty} {{\n  %r = {op} %x, %y : {ty}\n  return %r : {ty}\n}}\n");
        }
    }
    text
}

/// logistic and erf_inv have no operation of their own.
pub fn is_called(name: &str) -> bool {
    ["logistic", "erf_inv"].contains(&name)
}

/// The operation `name` on `%x`, with the result `%r`.
pub fn unary(name: &str, ty: &str) -> String {
    if is_called(name) { format!("%r = func.call @math.{name}_{ty}(%x) : ({ty}) -> {ty}") } else { format!("%r = math.{name} %x : {ty}") }
}
