//! Element types: bool, narrow, 64-bit, half floats.

use crate::harness::{DESKTOP, Data, MIN, Random, assert_close, on_profiles};
use winze_runtime::artifact::manifest::ElementType::{Bool, F32, I8, I64};

/// `(a < b) ? a : b` and the comparison itself, as bool stored in i32.
const COMPARE: &str = r#"
func.func @compare(%a: tensor<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %b: tensor<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %mask: tensor<?xi32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %less: tensor<?xi32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>},
    %pick: tensor<?xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> (tensor<?xi32>, tensor<?xf32>) {
  %r:2 = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
      iterator_types = ["parallel"]} ins(%a, %b, %mask : tensor<?xf32>, tensor<?xf32>, tensor<?xi32>) outs(%less, %pick : tensor<?xi32>, tensor<?xf32>) {
  ^bb0(%x: f32, %y: f32, %m: i32, %o: i32, %p: f32):
    %zero = arith.constant 0 : i32
    %c = arith.cmpf olt, %x, %y : f32
    %w = arith.extui %c : i1 to i32
    %k = arith.cmpi ne, %m, %zero : i32
    %v = arith.select %k, %x, %y : f32
    linalg.yield %w, %v : i32, f32
  } -> (tensor<?xi32>, tensor<?xf32>)
  return %r#0, %r#1 : tensor<?xi32>, tensor<?xf32>
}"#;

#[test]
fn bool_compare_and_select() {
    on_profiles(COMPARE, &[MIN, DESKTOP], |kernel, profile| {
        for n in [0usize, 1, 129] {
            let mut random = Random::new(20);
            let (a, b) = (random.floats(n), random.floats(n));
            let mask: Vec<bool> = (0..n).map(|_| random.bits() & 8 != 0).collect();
            let got = kernel.run(&[n as i64], &[Data::of(&a), Data::of(&b), Data::bools(&mask)], &[(Bool, n), (F32, n)]);
            let less: Vec<bool> = a.iter().zip(&b).map(|(a, b)| a < b).collect();
            let pick: Vec<f32> = (0..n).map(|i| if mask[i] { a[i] } else { b[i] }).collect();
            assert_eq!(got[0], Data::bools(&less), "{profile}");
            assert_eq!(got[1].to::<f32>(), pick, "{profile}");
        }
    });
}

fn binary(name: &str, element: &str, body: &str) -> String {
    format!(
        "#m = affine_map<(i) -> (i)>
func.func @{name}(%a: tensor<?x{element}> {{winze.dims = affine_map<()[s0] -> (s0)>}}, %b: tensor<?x{element}> {{winze.dims = affine_map<()[s0] -> (s0)>}},
    %out: tensor<?x{element}> {{bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}}, %n: index) -> tensor<?x{element}> {{
  %r = linalg.generic {{indexing_maps = [#m, #m, #m], iterator_types = [\"parallel\"]}} ins(%a, %b : tensor<?x{element}>, tensor<?x{element}>) outs(%out : tensor<?x{element}>) {{
  ^bb0(%x: {element}, %y: {element}, %o: {element}):
    {body}
    linalg.yield %v : {element}
  }} -> tensor<?x{element}>
  return %r : tensor<?x{element}>
}}"
    )
}

type Wide = (&'static str, fn(i64, i64) -> i64);

const WIDE: &[Wide] = &[
    ("arith.addi %x, %y : i64", i64::wrapping_add),
    ("arith.subi %x, %y : i64", i64::wrapping_sub),
    ("arith.muli %x, %y : i64", i64::wrapping_mul),
    ("arith.maxsi %x, %y : i64", |a, b| a.max(b)),
    ("arith.minui %x, %y : i64", |a, b| (a as u64).min(b as u64) as i64),
    ("arith.xori %x, %y : i64", |a, b| a ^ b),
    ("arith.divsi %x, %y : i64", i64::wrapping_div),
    ("arith.remsi %x, %y : i64", i64::wrapping_rem),
    ("arith.divui %x, %y : i64", |a, b| (a as u64 / b as u64) as i64),
    ("arith.remui %x, %y : i64", |a, b| (a as u64 % b as u64) as i64),
    ("arith.floordivsi %x, %y : i64", |a, b| a.wrapping_div(b) - i64::from(a.wrapping_rem(b) != 0 && (a < 0) != (b < 0))),
];

#[test]
fn integers_of_64_bits() {
    let mut random = Random::new(21);
    let corner = [0, 1, -1, i64::MAX, i64::MIN, 0xFFFF_FFFF, -0x1_0000_0000, 7, -7];
    let mut a: Vec<i64> = corner.iter().flat_map(|x| corner.map(|_| *x)).collect();
    let mut b: Vec<i64> = corner.iter().flat_map(|_| corner).collect();
    for shift in 0..60 {
        a.push(random.bits() as i64 >> shift);
        b.push(random.bits() as i64 >> (59 - shift));
    }
    b.iter_mut().for_each(|v| *v = if *v == 0 { 3 } else { *v });
    for (i, (op, reference)) in WIDE.iter().enumerate() {
        // The one overflow that signed division has is undefined.
        let defined: Vec<usize> =
            (0..a.len()).filter(|j| !((op.contains("divsi") || op.contains("remsi")) && a[*j] == i64::MIN && b[*j] == -1)).collect();
        let (a, b): (Vec<i64>, Vec<i64>) = defined.iter().map(|j| (a[*j], b[*j])).unzip();
        on_profiles(&binary(&format!("wide{i}"), "i64", &format!("%v = {op}")), &[MIN, DESKTOP], |kernel, profile| {
            let got = kernel.run(&[a.len() as i64], &[Data::of(&a), Data::of(&b)], &[(I64, a.len())]);
            let want: Vec<i64> = a.iter().zip(&b).map(|(a, b)| reference(*a, *b)).collect();
            for (j, (got, want)) in got[0].to::<i64>().iter().zip(&want).enumerate() {
                assert_eq!(got, want, "{profile}: {op} of {} and {}", a[j], b[j]);
            }
        });
    }
}

/// Conversions between i64, i32 and f32.
const CONVERT: &str = r#"
#m = affine_map<(i) -> (i)>
func.func @convert(%a: tensor<?xi64> {winze.dims = affine_map<()[s0] -> (s0)>},
    %f: tensor<?xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>},
    %w: tensor<?xi64> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> (tensor<?xf32>, tensor<?xi64>) {
  %r:2 = linalg.generic {indexing_maps = [#m, #m, #m], iterator_types = ["parallel"]} ins(%a : tensor<?xi64>) outs(%f, %w : tensor<?xf32>, tensor<?xi64>) {
  ^bb0(%x: i64, %o: f32, %p: i64):
    %v = arith.sitofp %x : i64 to f32
    %t = arith.trunci %x : i64 to i32
    %s = arith.extsi %t : i32 to i64
    linalg.yield %v, %s : f32, i64
  } -> (tensor<?xf32>, tensor<?xi64>)
  return %r#0, %r#1 : tensor<?xf32>, tensor<?xi64>
}"#;

#[test]
fn conversions_of_64_bits() {
    on_profiles(CONVERT, &[MIN, DESKTOP], |kernel, profile| {
        let a = [0i64, 1, -1, 123_456_789_012, -123_456_789_012, i64::MAX, i64::MIN, 1 << 31, -(1 << 31)];
        let got = kernel.run(&[a.len() as i64], &[Data::of(&a)], &[(F32, a.len()), (I64, a.len())]);
        assert_close(&got[0].to::<f32>(), &a.map(|v| v as f32), 1e-6, profile);
        assert_eq!(got[1].to::<i64>(), a.map(|v| i64::from(v as i32)), "{profile}");
    });
}

type Narrow = (&'static str, fn(i8, i8) -> i8);

const NARROW: &[Narrow] = &[
    ("%v = arith.addi %x, %y : i8", i8::wrapping_add),
    ("%v = arith.muli %x, %y : i8", i8::wrapping_mul),
    ("%v = arith.maxsi %x, %y : i8", |a, b| a.max(b)),
    ("%v = arith.maxui %x, %y : i8", |a, b| (a as u8).max(b as u8) as i8),
    ("%s = arith.addi %x, %y : i8\n %c = arith.cmpi slt, %s, %x : i8\n %v = arith.select %c, %s, %y : i8", |a, b| {
        let s = a.wrapping_add(b);
        if s < a { s } else { b }
    }),
    (
        "%s = arith.addi %x, %y : i8\n %w = arith.extui %s : i8 to i32\n %k = arith.constant 2 : i32\n %d = arith.divui %w, %k : i32\n %v = arith.trunci %d : i32 to i8",
        |a, b| (a.wrapping_add(b) as u8 / 2) as i8,
    ),
    ("%c3 = arith.constant 3 : i8\n %s = arith.muli %x, %y : i8\n %v = arith.shrsi %s, %c3 : i8", |a, b| a.wrapping_mul(b) >> 3),
    (
        "%s = arith.subi %x, %y : i8\n %f = arith.sitofp %s : i8 to f32\n %h = arith.constant 0.5 : f32\n %g = arith.mulf %f, %h : f32\n %v = arith.fptosi %g : f32 to i8",
        |a, b| (a.wrapping_sub(b) as f32 * 0.5) as i8,
    ),
];

#[test]
fn integers_of_8_bits_wrap() {
    let values: Vec<i8> = (-128..=127).step_by(5).map(|v| v as i8).chain([127, -128, -1]).collect();
    let a: Vec<i8> = values.iter().flat_map(|x| values.iter().map(|_| *x)).collect();
    let b: Vec<i8> = values.iter().flat_map(|_| values.clone()).collect();
    for (i, (op, reference)) in NARROW.iter().enumerate() {
        on_profiles(&binary(&format!("narrow{i}"), "i8", op), &[MIN, DESKTOP], |kernel, profile| {
            let got = kernel.run(&[a.len() as i64], &[Data::of(&a), Data::of(&b)], &[(I8, a.len())]);
            for (j, got) in got[0].to::<i8>().into_iter().enumerate() {
                assert_eq!(got, reference(a[j], b[j]), "{profile}: {op} of {} and {}", a[j], b[j]);
            }
        });
    }
}

#[test]
fn half_floats_compute_in_f32() {
    use half::{bf16, f16};
    let mut random = Random::new(22);
    let (a, b) = (random.floats(100), random.floats(100));
    let body = |t: &str| format!("%s = arith.mulf %x, %y : {t}\n %v = arith.addf %s, %x : {t}");
    on_profiles(&binary("half", "f16", &body("f16")), &[DESKTOP], |kernel, _| {
        let (x, y): (Vec<f16>, Vec<f16>) = a.iter().zip(&b).map(|(a, b)| (f16::from_f32(*a), f16::from_f32(*b))).unzip();
        let got = kernel.run(&[100], &[Data::of(&x), Data::of(&y)], &[(winze_runtime::artifact::manifest::ElementType::F16, 100)]);
        let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x.to_f32() * y.to_f32() + x.to_f32()).collect();
        let got: Vec<f32> = got[0].to::<f16>().iter().map(|v| v.to_f32()).collect();
        assert_close(&got, &want, 1e-3, "f16");
    });
    on_profiles(&binary("bhalf", "bf16", &body("bf16")), &[DESKTOP], |kernel, _| {
        let (x, y): (Vec<bf16>, Vec<bf16>) = a.iter().zip(&b).map(|(a, b)| (bf16::from_f32(*a), bf16::from_f32(*b))).unzip();
        let got = kernel.run(&[100], &[Data::of(&x), Data::of(&y)], &[(winze_runtime::artifact::manifest::ElementType::BF16, 100)]);
        let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x.to_f32() * y.to_f32() + x.to_f32()).collect();
        let got: Vec<f32> = got[0].to::<bf16>().iter().map(|v| v.to_f32()).collect();
        assert_close(&got, &want, 1e-2, "bf16");
    });
}

#[test]
fn doubles() {
    on_profiles(&binary("double", "f64", "%s = arith.mulf %x, %y : f64\n %v = arith.subf %s, %y : f64"), &[DESKTOP], |kernel, _| {
        let a: Vec<f64> = (0..50).map(|i| 1.0 / f64::from(i + 1)).collect();
        let got = kernel.run(&[50], &[Data::of(&a), Data::of(&a)], &[(winze_runtime::artifact::manifest::ElementType::F64, 50)]);
        let want: Vec<f64> = a.iter().map(|v| v * v - v).collect();
        assert!(got[0].to::<f64>().iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-15));
    });
}

type Unary = (&'static str, fn(f64) -> f64);

/// Checked on inputs in -4..4, made positive for the first four.
const MATH: &[Unary] = &[
    ("math.log", f64::ln),
    ("math.log1p", f64::ln_1p),
    ("math.sqrt", f64::sqrt),
    ("math.rsqrt", |x| 1.0 / x.sqrt()),
    ("math.exp", f64::exp),
    ("math.exp2", f64::exp2),
    ("math.expm1", f64::exp_m1),
    ("math.sin", f64::sin),
    ("math.cos", f64::cos),
    ("math.tan", f64::tan),
    ("math.atan", f64::atan),
    ("math.sinh", f64::sinh),
    ("math.cosh", f64::cosh),
    ("math.tanh", f64::tanh),
    ("math.asinh", f64::asinh),
    ("math.cbrt", f64::cbrt),
    ("math.absf", f64::abs),
    ("math.floor", f64::floor),
    ("math.ceil", f64::ceil),
    ("math.trunc", f64::trunc),
    ("math.round", f64::round),
    ("math.roundeven", f64::round_ties_even),
];

fn unary(name: &str, element: &str, op: &str) -> String {
    format!(
        "func.func @{name}(%x: tensor<?x{element}> {{winze.dims = affine_map<()[s0] -> (s0)>}},
    %out: tensor<?x{element}> {{bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}}, %n: index) -> tensor<?x{element}> {{
  %r = {op} %x : tensor<?x{element}>
  return %r : tensor<?x{element}>
}}"
    )
}

#[test]
fn math_functions() {
    let inputs: Vec<f32> = (-200..=200).map(|i| i as f32 / 50.0).chain([0.5, 1.5, 2.5, -0.5]).collect();
    for (i, (op, reference)) in MATH.iter().enumerate() {
        let inputs: Vec<f32> = if i < 4 { inputs.iter().map(|v| v.abs() + 0.01).collect() } else { inputs.clone() };
        let name = op.replace('.', "_");
        on_profiles(&unary(&name, "f32", op), &[MIN, DESKTOP], |kernel, profile| {
            let got = kernel.run(&[inputs.len() as i64], &[Data::of(&inputs)], &[(F32, inputs.len())]);
            let want: Vec<f32> = inputs.iter().map(|v| reference(f64::from(*v)) as f32).collect();
            assert_close(&got[0].to::<f32>(), &want, 1e-6, &format!("{op} on {profile}"));
        });
        on_profiles(&unary(&name, "f16", op), &[DESKTOP], |kernel, profile| {
            use half::f16;
            let inputs: Vec<f16> = inputs.iter().map(|v| f16::from_f32(*v)).collect();
            let got = kernel.run(
                &[inputs.len() as i64],
                &[Data::of(&inputs)],
                &[(winze_runtime::artifact::manifest::ElementType::F16, inputs.len())],
            );
            let want: Vec<f32> = inputs.iter().map(|v| reference(v.to_f64()) as f32).collect();
            let got: Vec<f32> = got[0].to::<f16>().iter().map(|v| v.to_f32()).collect();
            assert_close(&got, &want, 1e-3, &format!("{op} of f16 on {profile}"));
        });
    }
}

/// isnan, isinf and isfinite as bits of one number.
const CLASSES: &str = r#"
#m = affine_map<(i) -> (i)>
func.func @classes(%x: tensor<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %out: tensor<?xi32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> tensor<?xi32> {
  %r = linalg.generic {indexing_maps = [#m, #m], iterator_types = ["parallel"]} ins(%x : tensor<?xf32>) outs(%out : tensor<?xi32>) {
  ^bb0(%a: f32, %o: i32):
    %one = arith.constant 1 : i32
    %two = arith.constant 2 : i32
    %p = math.isnan %a : f32
    %q = math.isinf %a : f32
    %s = math.isfinite %a : f32
    %i = arith.extui %p : i1 to i32
    %j = arith.extui %q : i1 to i32
    %k = arith.extui %s : i1 to i32
    %j2 = arith.shli %j, %one : i32
    %k2 = arith.shli %k, %two : i32
    %v = arith.ori %i, %j2 : i32
    %w = arith.ori %v, %k2 : i32
    linalg.yield %w : i32
  } -> tensor<?xi32>
  return %r : tensor<?xi32>
}"#;

#[test]
fn classes_of_floats() {
    let x = [0.0, -1.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
    on_profiles(CLASSES, &[MIN, DESKTOP], |kernel, profile| {
        let got = kernel.run(&[6], &[Data::of(&x)], &[(winze_runtime::artifact::manifest::ElementType::I32, 6)]);
        assert_eq!(got[0].to::<i32>(), [4, 4, 1, 2, 2, 4], "{profile}");
    });
}
