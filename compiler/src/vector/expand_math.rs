//! `math` operations that the target lacks, and the few `arith` ones that LLVM would turn into library calls -> straight-line arithmetic.
//!
//! Takes scalars and vectors of any shape; f16 and bf16 are computed in f32. Error bounds: docs/math.md. Also inlines calls of declared
//! functions `@math.NAME_TYPE` (such as `@math.erf_inv_f32`, for functions without an operation in the math dialect), and removes
//! their declarations. Leaves alone what `keep` names, types that the library does not have (f80, f128, index) and other shapes (tensors).

use super::math_library::{
    MathLibrary, Place, element_type, has_function, multiply_add, string_attribute, symbol_attribute, with_element_type,
};
use melior::{
    dialect::DialectHandle,
    ir::{Attribute, Identifier, OperationRef, Type, TypeLike, Value, ValueLike, operation::OperationLike},
};
use std::collections::BTreeSet;
use winze_mlir::{
    pass::{PassOption, RustPass},
    walk,
};

/// Operation -> function of the library, without its type suffix.
const FUNCTIONS: &[(&str, &str)] = &[
    ("math.acos", "acos"),
    ("math.acosh", "acosh"),
    ("math.asin", "asin"),
    ("math.asinh", "asinh"),
    ("math.atan", "atan"),
    ("math.atan2", "atan2"),
    ("math.atanh", "atanh"),
    ("math.cbrt", "cbrt"),
    ("math.cos", "cos"),
    ("math.cosh", "cosh"),
    ("math.erf", "erf"),
    ("math.erfc", "erfc"),
    ("math.exp", "exp"),
    ("math.exp2", "exp2"),
    ("math.expm1", "expm1"),
    ("math.fpowi", "fpowi"),
    ("math.ipowi", "ipowi"),
    ("math.log", "log"),
    ("math.log10", "log10"),
    ("math.log1p", "log1p"),
    ("math.log2", "log2"),
    ("math.powf", "powf"),
    ("math.round", "round"),
    ("math.rsqrt", "rsqrt"),
    ("math.sin", "sin"),
    ("math.sinh", "sinh"),
    ("math.tan", "tan"),
    ("math.tanh", "tanh"),
    ("arith.remf", "remf"),
];

/// Operations that targets have for f32 and f64 but not for bf16, where LLVM would call a rounding function for every result.
const WIDENED_FROM_BF16: &[&str] = &[
    "arith.addf",
    "arith.divf",
    "arith.maximumf",
    "arith.maxnumf",
    "arith.minimumf",
    "arith.minnumf",
    "arith.mulf",
    "arith.subf",
    "math.ceil",
    "math.floor",
    "math.fma",
    "math.roundeven",
    "math.sqrt",
    "math.trunc",
];

/// Prefix of functions called by name.
const CALLED: &str = "math.";

pub struct ExpandMath {
    /// Whether the target has fused multiply-add.
    fma: bool,
    /// Operations without their dialect that stay; `*` for all (then only calls are inlined).
    keep: BTreeSet<String>,
}

/// What to do with an operation.
enum Plan {
    /// Inline a function, without its type suffix.
    Function(&'static str),
    /// Inline a function called by name; the suffix is cut off.
    Call(String),
    SinCos,
    /// Compute in f32, round to bf16.
    WidenBf16,
    /// Integer to bf16, through f64.
    IntToBf16,
    /// f32 or f64 to a narrower type.
    Narrow,
    /// bf16 to f32 or f64.
    Extend,
    MultiplyAdd,
}

impl RustPass for ExpandMath {
    const ARGUMENT: &'static str = "expand-math";
    const DESCRIPTION: &'static str = "Replace math operations that the target lacks by straight-line arithmetic";
    const OPTIONS: &'static [PassOption] = &[
        PassOption { name: "fma", description: "the target has fused multiply-add", default: "true" },
        PassOption { name: "keep", description: "operations that stay, such as exp,log,truncf; * for all", default: "" },
    ];

    fn dialects() -> Vec<DialectHandle> {
        // SAFETY: a static handle.
        let math = unsafe { DialectHandle::from_raw(mlir_sys::mlirGetDialectHandle__math__()) };
        vec![DialectHandle::arith(), DialectHandle::func(), math]
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        let [fma, keep] = values else {
            return Err(format!("expand-math: expected 2 option values, got {}", values.len()));
        };
        let fma = match *fma {
            "true" | "1" => true,
            "false" | "0" => false,
            other => return Err(format!("expand-math: fma={other} is neither true nor false")),
        };
        let keep: BTreeSet<String> = keep.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match keep.iter().find(|name| !is_expanded(name)) {
            Some(name) => Err(format!("expand-math: keep={name} names no operation that this pass expands; leave it out")),
            None => Ok(Self { fma, keep }),
        }
    }

    fn run(&self, root: OperationRef<'_, '_>) -> Result<(), String> {
        let mut planned = vec![];
        walk::walk(root, &mut |op| {
            if let Some(plan) = self.plan(op) {
                planned.push((op, plan));
            }
            Ok::<(), String>(())
        })?;
        if planned.is_empty() {
            return Ok(());
        }
        let names: BTreeSet<String> = planned.iter().flat_map(|(op, plan)| self.needed(*op, plan)).collect();
        let library = MathLibrary::parse(root, names.iter().map(String::as_str))?;
        for (op, plan) in planned {
            let (name, location) = (op.name().as_string_ref().as_str().unwrap_or_default().to_owned(), op.location());
            self.replace(op, plan, &library).map_err(|message| format!("{message}, at {name} {location}"))?;
        }
        remove_declarations(root);
        Ok(())
    }
}

fn is_expanded(name: &str) -> bool {
    let same = |op: &str| op.split_once('.').is_some_and(|(_, short)| short == name);
    name == "*"
        || FUNCTIONS.iter().any(|(op, _)| same(op))
        || WIDENED_FROM_BF16.iter().any(|op| same(op))
        || ["sincos", "truncf", "extf", "sitofp", "uitofp"].contains(&name)
}

/// `f32` of f32 and of a vector of f32; nothing for types that are neither integer nor float.
fn suffix(ty: Type<'_>) -> Option<String> {
    let element = element_type(ty);
    (element.is_integer() || element.is_float()).then(|| element.to_string())
}

/// The type a function computes in: f16, bf16 -> f32 and i8, i16 -> i32.
fn computed_in(suffix: &str) -> &str {
    match suffix {
        "f16" | "bf16" => "f32",
        "i8" | "i16" => "i32",
        other => other,
    }
}

impl ExpandMath {
    fn plan(&self, op: OperationRef<'_, '_>) -> Option<Plan> {
        let identifier = op.name();
        let name = identifier.as_string_ref().as_str().ok()?;
        if name == "func.call" {
            let callee = symbol_attribute(op, "callee")?;
            let (function, _) = callee.strip_prefix(CALLED)?.rsplit_once('_')?;
            let known = function_name(function, op).is_some_and(|name| has_function(&name));
            return known.then(|| Plan::Call(function.to_owned()));
        }
        let (_, short) = name.split_once('.')?;
        if !(name.starts_with("math.") || name.starts_with("arith.")) || self.keep.contains("*") || self.keep.contains(short) {
            return None;
        }
        let operand = suffix(op.operand(0).ok()?.r#type())?;
        let result = suffix(op.result(0).ok()?.r#type())?;
        if let Some((_, function)) = FUNCTIONS.iter().find(|(op, _)| *op == name) {
            return has_function(&function_name(function, op)?).then_some(Plan::Function(function));
        }
        match name {
            "math.sincos" if has_function(&format!("sin_{}", computed_in(&operand))) => Some(Plan::SinCos),
            "math.fma" if !self.fma && operand != "bf16" => Some(Plan::MultiplyAdd),
            "arith.truncf" if has_function(&format!("truncf_{operand}_{result}")) => Some(Plan::Narrow),
            "arith.extf" if operand == "bf16" && (result == "f32" || result == "f64") => Some(Plan::Extend),
            "arith.sitofp" | "arith.uitofp" if result == "bf16" => Some(Plan::IntToBf16),
            _ if operand == "bf16" && result == "bf16" && WIDENED_FROM_BF16.contains(&name) => Some(Plan::WidenBf16),
            _ => None,
        }
    }

    /// Functions of the library that `replace` will inline.
    fn needed(&self, op: OperationRef<'_, '_>, plan: &Plan) -> Vec<String> {
        let operand = op.operand(0).ok().and_then(|operand| suffix(operand.r#type())).unwrap_or_default();
        let result = op.result(0).ok().and_then(|result| suffix(result.r#type())).unwrap_or_default();
        let computed = computed_in(&operand);
        let mut names: Vec<String> = match plan {
            Plan::Function(function) => function_name(function, op).into_iter().collect(),
            Plan::Call(function) => function_name(function, op).into_iter().collect(),
            Plan::SinCos => vec![format!("sin_{computed}"), format!("cos_{computed}")],
            Plan::Narrow => vec![format!("truncf_{operand}_{result}")],
            Plan::IntToBf16 => vec!["truncf_f64_bf16".to_owned()],
            Plan::WidenBf16 | Plan::MultiplyAdd | Plan::Extend => vec![],
        };
        if operand == "bf16" {
            let conversions = [("truncf", "truncf_f32_bf16"), ("extf", "extf_bf16_f32")];
            names.extend(conversions.into_iter().filter(|(op, _)| !self.keep.contains(*op)).map(|(_, name)| name.to_owned()));
        }
        if !self.fma {
            let extra: Vec<String> = names.iter().map(|name| format!("{name}_nofma")).filter(|name| has_function(name)).collect();
            names.extend(extra);
        }
        names
    }

    fn replace<'c: 'a, 'a>(&self, op: OperationRef<'c, 'a>, plan: Plan, library: &MathLibrary<'c>) -> Result<(), String> {
        let at = Place { before: op, location: op.location(), fma: self.fma };
        let operands: Vec<Value<'c, 'a>> = op.operands().collect();
        let result = op.result(0).map_err(|e| format!("expand-math: {e}"))?.r#type();
        let apply = |function: &str| -> Result<Value<'c, 'a>, String> {
            let name = function_name(function, op).ok_or_else(|| format!("expand-math: no function {function} for these types"))?;
            let wide: Vec<Value> = operands.iter().map(|&operand| widen(operand, library, &at)).collect::<Result<_, _>>()?;
            narrow(library.inline(&name, &wide, &at)?[0], result, library, &at)
        };
        let values = match plan {
            Plan::Function(function) => vec![apply(function)?],
            Plan::Call(function) => vec![apply(&function)?],
            Plan::SinCos => vec![apply("sin")?, apply("cos")?],
            Plan::MultiplyAdd => vec![multiply_add(&operands, &at)?],
            Plan::Extend => {
                let value = widen(operands[0], library, &at)?;
                vec![if value.r#type() == result { value } else { at.build("arith.extf", &[value], result, &[])? }]
            }
            Plan::Narrow => vec![narrow(operands[0], result, library, &at)?],
            Plan::WidenBf16 => {
                let wide: Vec<Value> = operands.iter().map(|&operand| widen(operand, library, &at)).collect::<Result<_, _>>()?;
                let name = op.name();
                let name = name.as_string_ref().as_str().map_err(|e| format!("expand-math: {e}"))?;
                let value = if name == "math.fma" && !self.fma {
                    multiply_add(&wide, &at)?
                } else {
                    at.build(name, &wide, wide[0].r#type(), &attributes(op))?
                };
                vec![narrow(value, result, library, &at)?]
            }
            Plan::IntToBf16 => {
                let name = op.name();
                let name = name.as_string_ref().as_str().map_err(|e| format!("expand-math: {e}"))?;
                let wide = with_element_type(result, float64(op));
                let value = at.build(name, &operands, wide, &attributes(op))?;
                vec![narrow(value, result, library, &at)?]
            }
        };
        for (old, new) in op.results().zip(values) {
            walk::replace_all_uses(old.into(), new);
        }
        walk::erase(op);
        Ok(())
    }
}

/// Library function for the types of `op`: `exp_f32`, `fpowi_f32_i32`.
fn function_name(function: &str, op: OperationRef<'_, '_>) -> Option<String> {
    let first = suffix(op.operand(0).ok()?.r#type())?;
    let mut name = format!("{function}_{}", computed_in(&first));
    if function == "fpowi" {
        let second = suffix(op.operand(1).ok()?.r#type())?;
        name = format!("{name}_{}", computed_in(&second));
    }
    Some(name)
}

/// The value in the type that functions compute in.
fn widen<'c: 'a, 'a>(value: Value<'c, 'a>, library: &MathLibrary<'c>, at: &Place<'c, 'a>) -> Result<Value<'c, 'a>, String> {
    const FROM_BF16: &str = "extf_bf16_f32";
    let ty = value.r#type();
    let (name, element) = match suffix(ty).as_deref() {
        Some("bf16") if library.contains(FROM_BF16) => return Ok(library.inline(FROM_BF16, &[value], at)?[0]),
        Some("f16" | "bf16") => ("arith.extf", float32(at.before)),
        Some("i8" | "i16") => ("arith.extsi", int32(at.before)),
        _ => return Ok(value),
    };
    at.build(name, &[value], with_element_type(ty, element), &[])
}

/// The value rounded (or wrapped) to `to`.
fn narrow<'c: 'a, 'a>(value: Value<'c, 'a>, to: Type<'c>, library: &MathLibrary<'c>, at: &Place<'c, 'a>) -> Result<Value<'c, 'a>, String> {
    if value.r#type() == to {
        return Ok(value);
    }
    let (Some(from), Some(into)) = (suffix(value.r#type()), suffix(to)) else {
        return Err(format!("expand-math: internal error: {} does not convert to {to}", value.r#type()));
    };
    if from.starts_with('i') {
        return at.build("arith.trunci", &[value], to, &[]);
    }
    let function = format!("truncf_{from}_{into}");
    if library.contains(&function) { Ok(library.inline(&function, &[value], at)?[0]) } else { at.build("arith.truncf", &[value], to, &[]) }
}

fn attributes<'c>(op: OperationRef<'c, '_>) -> Vec<(Identifier<'c>, Attribute<'c>)> {
    op.attributes().collect()
}

// By way of the raw context, because melior's `ContextRef::to_ref` points at the reference, not at the context.
fn float32<'c>(op: OperationRef<'c, '_>) -> Type<'c> {
    // SAFETY: the context of a live operation.
    unsafe { Type::from_raw(mlir_sys::mlirF32TypeGet(mlir_sys::mlirOperationGetContext(op.to_raw()))) }
}

fn float64<'c>(op: OperationRef<'c, '_>) -> Type<'c> {
    // SAFETY: the context of a live operation.
    unsafe { Type::from_raw(mlir_sys::mlirF64TypeGet(mlir_sys::mlirOperationGetContext(op.to_raw()))) }
}

fn int32<'c>(op: OperationRef<'c, '_>) -> Type<'c> {
    // SAFETY: the context of a live operation.
    unsafe { Type::from_raw(mlir_sys::mlirIntegerTypeGet(mlir_sys::mlirOperationGetContext(op.to_raw()), 32)) }
}

/// Removes declarations `@math.*` that nothing calls any more.
fn remove_declarations(root: OperationRef<'_, '_>) {
    let (mut called, mut declared) = (BTreeSet::new(), vec![]);
    let _ = walk::walk(root, &mut |op| {
        let identifier = op.name();
        match identifier.as_string_ref().as_str() {
            Ok("func.call") => called.extend(symbol_attribute(op, "callee")),
            Ok("func.func") if string_attribute(op, "sym_name").is_some_and(|name| name.starts_with(CALLED)) => declared.push(op),
            _ => {}
        }
        Ok::<(), ()>(())
    });
    for op in declared {
        let unused = string_attribute(op, "sym_name").is_some_and(|name| !called.contains(&name));
        if unused && walk::blocks(op).is_empty() {
            walk::erase(op);
        }
    }
}
