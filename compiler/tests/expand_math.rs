//! The pass `expand-math`: what it replaces, what it leaves, and that code for vectors computes what code for scalars does.

mod math;

use half::{bf16, f16};
use libloading::Symbol;
use melior::ir::{Module, operation::OperationLike};
use winze_mlir::pass_manager::PassManager;

const OPS: &[&str] = &[
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sin", "cos", "tan",
    "asin", "acos", "atan", "erf", "erfc", "cbrt", "rsqrt", "round",
];
/// What targets have; all else of the math dialect must be gone.
const NATIVE: &[&str] = &["math.fma", "math.absf", "math.copysign", "math.sqrt", "math.trunc", "math.roundeven"];

/// Runs `passes` on a module; the result as text, or the error.
fn run(text: &str, passes: &str) -> Result<String, String> {
    let context = math::context();
    let mut module = Module::parse(&context, text).ok_or("the test input does not parse")?;
    let manager = PassManager::parse(&context, &format!("builtin.module({passes})")).map_err(|e| e.to_string())?;
    manager.run(&mut module).map_err(|e| e.to_string())?;
    Ok(module.as_operation().to_string())
}

fn left_over(text: &str) -> Vec<&str> {
    text.split_whitespace().filter(|word| word.starts_with("math.") && !NATIVE.contains(word)).collect()
}

#[test]
fn every_operation_expands_on_scalars_and_vectors_of_any_shape() {
    for ty in ["f32", "f64", "f16", "bf16", "vector<f32>", "vector<8xf32>", "vector<2x3xf64>", "vector<1x4xbf16>", "vector<[4]xf32>"] {
        let mut text = String::new();
        for name in OPS {
            text += &format!("func.func @{name}(%x: {ty}) -> {ty} {{\n  %r = math.{name} %x : {ty}\n  return %r : {ty}\n}}\n");
        }
        for op in ["math.powf", "math.atan2", "arith.remf"] {
            text += &format!(
                "func.func @{}(%x: {ty}, %y: {ty}) -> {ty} {{\n  %r = {op} %x, %y : {ty}\n  return %r : {ty}\n}}\n",
                &op[op.find('.').unwrap() + 1..]
            );
        }
        text += &format!(
            "func.func @sincos(%x: {ty}) -> ({ty}, {ty}) {{\n  %s, %c = math.sincos %x : {ty}\n  return %s, %c : {ty}, {ty}\n}}\n"
        );
        let expanded = run(&text, "expand-math").unwrap();
        assert_eq!(left_over(&expanded), Vec::<&str>::new(), "on {ty}");
        assert!(!expanded.contains("arith.remf"), "on {ty}");
    }
}

#[test]
fn keep_leaves_operations_and_refuses_unknown_names() {
    let text = "func.func @f(%x: f32) -> f32 {\n  %a = math.exp %x : f32\n  %b = math.tanh %a : f32\n  return %b : f32\n}";
    let kept = run(text, "expand-math{keep=exp,log}").unwrap();
    assert!(kept.contains("math.exp") && !kept.contains("math.tanh"), "{kept}");
    let all = run(text, "expand-math{keep=*}").unwrap();
    assert!(all.contains("math.exp") && all.contains("math.tanh"), "{all}");
    let error = run(text, "expand-math{keep=expp}").unwrap_err();
    assert!(error.contains("keep=expp"), "{error}");
    let error = run(text, "expand-math{fma=maybe}").unwrap_err();
    assert!(error.contains("fma=maybe"), "{error}");
}

#[test]
fn calls_by_name_are_inlined_and_their_declarations_removed() {
    let text = "func.func private @math.erf_inv_f32(f32) -> f32
        func.func private @math.logistic_bf16(bf16) -> bf16
        func.func private @math.unknown_f32(f32) -> f32
        func.func @f(%x: f32, %y: bf16) -> (f32, bf16, f32) {
          %a = func.call @math.erf_inv_f32(%x) : (f32) -> f32
          %b = func.call @math.logistic_bf16(%y) : (bf16) -> bf16
          %c = func.call @math.unknown_f32(%x) : (f32) -> f32
          return %a, %b, %c : f32, bf16, f32
        }";
    let expanded = run(text, "expand-math{keep=*}").unwrap();
    assert!(!expanded.contains("erf_inv") && !expanded.contains("logistic"), "{expanded}");
    assert_eq!(expanded.matches("@math.unknown_f32").count(), 2, "{expanded}");
}

#[test]
fn what_it_inserts_has_the_location_of_what_it_replaces() {
    let text = "func.func @f(%x: f32) -> f32 {\n  %a = math.exp %x : f32 loc(\"node\")\n  return %a : f32\n}";
    let context = math::context();
    let mut module = Module::parse(&context, text).unwrap();
    PassManager::parse(&context, "builtin.module(expand-math)").unwrap().run(&mut module).unwrap();
    let mut seen = 0;
    winze_mlir::walk::walk(module.as_operation(), &mut |op| {
        let name = op.name();
        let name = name.as_string_ref().as_str().unwrap();
        if name.starts_with("arith.") || name.starts_with("math.") {
            assert_eq!(op.location().to_string(), "loc(\"node\")", "{name}");
            seen += 1;
        }
        Ok::<(), ()>(())
    })
    .unwrap();
    assert!(seen > 10);
}

/// A kernel that applies `body` (from `%x` to `%r`) to vectors of 8, at a pointer.
fn vector_kernel(name: &str, from: &str, to: &str, body: &str) -> String {
    format!(
        "func.func @{name}(%in: !llvm.ptr, %out: !llvm.ptr) {{
           %x = llvm.load %in {{alignment = 4}} : !llvm.ptr -> {from}
           {body}
           llvm.store %r, %out {{alignment = 4}} : {to}, !llvm.ptr
           return
         }}\n"
    )
}

type Kernel<I, O> = unsafe extern "C" fn(*const I, *mut O);

fn apply<I, O: Copy + Default>(library: &libloading::Library, name: &str, input: &[I; 8]) -> [O; 8] {
    let mut output = [O::default(); 8];
    // SAFETY: the kernel reads eight values and writes eight.
    unsafe {
        let kernel: Symbol<Kernel<I, O>> = library.get(name).unwrap();
        kernel(input.as_ptr(), output.as_mut_ptr());
    }
    output
}

#[test]
fn vectors_compute_what_scalars_do() {
    let mut text = math::wrappers();
    for name in OPS {
        text += &vector_kernel(&format!("v_{name}"), "vector<8xf32>", "vector<8xf32>", &format!("%r = math.{name} %x : vector<8xf32>"));
    }
    for target in ["x86-64-v3", "x86-64-v4"] {
        let image = math::image(&text, "expand-math", target);
        if target == "x86-64-v4" && !std::arch::is_x86_feature_detected!("avx512dq") {
            continue;
        }
        let library = math::load(&image);
        for name in OPS {
            // SAFETY: the wrapper has this signature.
            let scalar: Symbol<extern "C" fn(f32) -> f32> = unsafe { library.get(format!("{name}_f32")).unwrap() };
            for input in [[0.0, -0.0, 0.3, -2.5, 1e-40, 700.0, f32::INFINITY, f32::NAN], [0.99, 1.01, 3e38, -1.0, 12.5, 88.7, -104.0, 1e5]]
            {
                let output: [f32; 8] = apply(&library, &format!("v_{name}"), &input);
                for (x, y) in input.into_iter().zip(output) {
                    let expected = scalar(x);
                    assert!(
                        y.to_bits() == expected.to_bits() || y.is_nan() && expected.is_nan(),
                        "{name}({x:?}): {y:?}, {expected:?} as a scalar"
                    );
                }
            }
        }
    }
}

/// The expansions have no branches and no calls, so a loop over scalars becomes a loop over vectors.
#[test]
fn loops_over_scalars_vectorize() {
    for name in OPS {
        let text = format!(
            "func.func @loop(%in: !llvm.ptr, %out: !llvm.ptr, %count: i64) {{
               %zero = arith.constant 0 : i64
               %one = arith.constant 1 : i64
               scf.for %i = %zero to %count step %one : i64 {{
                 %p = llvm.getelementptr %in[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
                 %q = llvm.getelementptr %out[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
                 %x = llvm.load %p : !llvm.ptr -> f32
                 %r = math.{name} %x : f32
                 llvm.store %r, %q : f32, !llvm.ptr
               }}
               return
             }}"
        );
        let ir = math::optimized_ir(&text, "expand-math", "x86-64-v3");
        assert!(ir.contains("x float> %") && ir.contains("store <"), "{name} stays scalar:\n{ir}");
    }
}

#[test]
fn conversions_round_once_to_nearest_even() {
    let v = |from: &str, to: &str| {
        let body = format!("%r = arith.truncf %x : vector<8x{from}> to vector<8x{to}>");
        vector_kernel(&format!("{from}_{to}"), &format!("vector<8x{from}>"), &format!("vector<8x{to}>"), &body)
    };
    let library = math::load(&math::image(&(v("f32", "bf16") + &v("f64", "bf16") + &v("f64", "f16")), "expand-math", "x86-64-v3"));
    let all_bf16: Vec<f64> = (0..0x7f80).map(|b| bf16::from_bits(b).to_f64()).collect();
    let all_f16: Vec<f64> = (0..0x7c00).map(|b| f16::from_bits(b).to_f64()).collect();
    let mut state = 1u64;
    for round in 0..10_000 {
        let doubles: [f64; 8] = std::array::from_fn(|lane| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mantissa = match lane {
                // Halfway between two bf16 or f16, and one bit beside it.
                0 => (state >> 12) & (0x7f << 45) | 1 << 44,
                1 => (state >> 12) & (0x3ff << 42) | 1 << 41,
                2 => (state >> 12) & (0x3ff << 42) | 1 << 41 | 1,
                3 => (state >> 12) & (0x7f << 45) | ((1 << 44) - 1),
                _ => state >> 12,
            };
            let exponent = if round % 2 == 0 { 1023 - 30 + (state >> 3) % 50 } else { 1023 - 160 + (state >> 3) % 300 };
            f64::from_bits(mantissa | exponent << 52 | state << 63)
        });
        let singles = doubles.map(|x| x as f32);
        let to_bf16: [u16; 8] = apply(&library, "f32_bf16", &singles);
        let double_bf16: [u16; 8] = apply(&library, "f64_bf16", &doubles);
        let double_f16: [u16; 8] = apply(&library, "f64_f16", &doubles);
        for lane in 0..8 {
            assert_eq!(to_bf16[lane], bf16::from_f32(singles[lane]).to_bits(), "bf16 of {:?}", singles[lane]);
            assert_eq!(double_bf16[lane], nearest(doubles[lane], &all_bf16), "bf16 of {:?}", doubles[lane]);
            assert_eq!(double_f16[lane], nearest(doubles[lane], &all_f16), "f16 of {:?}", doubles[lane]);
        }
    }
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, 1e-45, -1e-40];
    let got: [u16; 8] = apply(&library, "f32_bf16", &special);
    for (x, bits) in special.into_iter().zip(got) {
        let got = bf16::from_bits(bits);
        assert!(got.is_nan() && x.is_nan() || bits == bf16::from_f32(x).to_bits(), "bf16 of {x:?} is {got:?}");
    }
}

/// Nearest 16-bit float by search in `table`, the finite values that are not negative, in order; ties to even.
fn nearest(x: f64, table: &[f64]) -> u16 {
    let a = x.abs();
    let below = table.partition_point(|&value| value <= a) - 1;
    let low = table[below];
    // Beyond the largest value the step continues as if the exponent did; the next pattern is infinity.
    let high = table.get(below + 1).copied().unwrap_or_else(|| low + (low - table[below - 1]));
    let up = a - low > high - a || (a - low == high - a && below & 1 == 1);
    (below + usize::from(up)) as u16 | if x.is_sign_negative() { 0x8000 } else { 0 }
}

#[test]
fn bf16_arithmetic_needs_no_library_calls() {
    let mut text = String::new();
    for op in ["addf", "subf", "mulf", "divf", "maximumf", "minimumf", "maxnumf", "minnumf"] {
        text += &format!("func.func @{op}(%x: bf16, %y: bf16) -> bf16 {{\n  %r = arith.{op} %x, %y : bf16\n  return %r : bf16\n}}\n");
    }
    for op in ["ceil", "floor", "roundeven", "sqrt", "trunc", "round", "exp", "absf"] {
        text += &format!(
            "func.func @{op}(%x: vector<8xbf16>) -> vector<8xbf16> {{\n  %r = math.{op} %x : vector<8xbf16>\n  return %r : vector<8xbf16>\n}}\n"
        );
    }
    text += "func.func @int(%x: i64) -> bf16 {\n  %r = arith.sitofp %x : i64 to bf16\n  return %r : bf16\n}
             func.func @back(%x: bf16) -> i64 {\n  %r = arith.fptosi %x : bf16 to i64\n  return %r : i64\n}
             func.func @negate(%x: bf16) -> bf16 {\n  %r = arith.negf %x : bf16\n  return %r : bf16\n}
             func.func @less(%x: bf16, %y: bf16) -> i1 {\n  %r = arith.cmpf olt, %x, %y : bf16\n  return %r : i1\n}
             func.func @fma(%x: bf16, %y: bf16) -> bf16 {\n  %r = math.fma %x, %y, %x : bf16\n  return %r : bf16\n}";
    // Linking refuses imports.
    math::image(&text, "expand-math", "x86-64-v3");
}

#[test]
fn integer_powers_wrap() {
    let text = "func.func @ipow(%x: i32, %n: i32) -> i32 {\n  %r = math.ipowi %x, %n : i32\n  return %r : i32\n}
                func.func @ipow8(%x: i8, %n: i8) -> i8 {\n  %r = math.ipowi %x, %n : i8\n  return %r : i8\n}
                func.func @fpow(%x: f32, %n: i32) -> f32 {\n  %r = math.fpowi %x, %n : f32, i32\n  return %r : f32\n}";
    let library = math::load(&math::image(text, "expand-math", "x86-64-v3"));
    // SAFETY: the signatures are those of the text.
    unsafe {
        let ipow: Symbol<extern "C" fn(i32, i32) -> i32> = library.get("ipow").unwrap();
        let ipow8: Symbol<extern "C" fn(i8, i8) -> i8> = library.get("ipow8").unwrap();
        let fpow: Symbol<extern "C" fn(f32, i32) -> f32> = library.get("fpow").unwrap();
        for x in [-7i32, -2, -1, 0, 1, 2, 3, 10, i32::MAX] {
            for n in 0..70 {
                assert_eq!(ipow(x, n), x.wrapping_pow(n as u32), "{x}^{n}");
                assert_eq!(ipow8(x as i8, n as i8), (x as i8).wrapping_pow(n as u32), "{x}^{n} in i8");
            }
        }
        assert_eq!([ipow(1, -5), ipow(-1, -5), ipow(-1, -4), ipow(2, -1), ipow(-3, -2)], [1, -1, 1, 0, 0]);
        assert_eq!([fpow(-2.0, 3), fpow(-2.0, -2), fpow(0.0, 0), fpow(-0.0, -1)], [-8.0, 0.25, 1.0, f32::NEG_INFINITY]);
    }
}

#[test]
fn without_fma_no_fused_operation_is_left_and_results_stay_exact() {
    let expanded = run(&math::wrappers(), "expand-math{fma=false}").unwrap();
    assert!(!expanded.contains("math.fma"));
    let fused =
        "func.func @f(%x: vector<4xf32>) -> vector<4xf32> {\n  %r = math.fma %x, %x, %x : vector<4xf32>\n  return %r : vector<4xf32>\n}";
    let expanded = run(fused, "expand-math{fma=false}").unwrap();
    assert!(expanded.contains("arith.mulf") && expanded.contains("arith.addf") && !expanded.contains("math.fma"), "{expanded}");

    let library = math::load(&math::image(&math::wrappers(), "expand-math{fma=false}", "x86-64-v3"));
    // SAFETY: the wrappers have these signatures.
    unsafe {
        let remf: Symbol<extern "C" fn(f64, f64) -> f64> = library.get("remf_f64").unwrap();
        let powf: Symbol<extern "C" fn(f64, f64) -> f64> = library.get("powf_f64").unwrap();
        let mut state = 7u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = f64::from_bits(state);
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let y = f64::from_bits(state);
            let (got, expected) = (remf(x, y), x % y);
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{x:?} % {y:?} is {expected:?}, not {got:?}");
            let (base, exponent) = (1.0 + (state >> 40) as f64 * 1e-9, (state % 100_000) as f64 - 5e4);
            let (got, expected) = (powf(base, exponent), base.powf(exponent));
            assert!(
                (got - expected).abs() <= (4e-16 * expected).max(5e-324) || got == expected,
                "{base:?}^{exponent:?} is {expected:?}, not {got:?}"
            );
        }
    }
}
