//! Error bounds and special values of the math library, compiled and compared with independent references: the system's libm in f64 for
//! f32, a table computed with 70 digits (tests/math/golden_f64.txt) for f64. `measure` prints the table of docs/math.md.

mod math;

use libloading::{Library, Symbol};
use std::{process::Command, sync::OnceLock};

/// Largest error in ULP that a test accepts, for f32 and f64. docs/math.md has what was measured.
const BOUNDS: &[(&str, f64, f64)] = &[
    ("exp", 1.1, 1.1),
    ("exp2", 1.0, 1.0),
    ("expm1", 1.6, 2.0),
    ("log", 0.65, 0.65),
    ("log2", 0.7, 0.65),
    ("log10", 0.65, 0.65),
    ("log1p", 0.7, 0.7),
    ("sinh", 1.8, 1.8),
    ("cosh", 1.5, 1.5),
    ("tanh", 1.5, 1.5),
    ("asinh", 1.6, 1.6),
    ("acosh", 1.8, 1.8),
    ("atanh", 2.0, 2.0),
    ("sin", 0.51, 0.9),
    ("cos", 0.51, 0.9),
    ("tan", 0.51, 2.4),
    ("asin", 0.7, 0.7),
    ("acos", 0.7, 0.7),
    ("atan", 1.3, 1.9),
    ("erf", 1.1, 1.1),
    ("erfc", 3.4, 4.5),
    ("cbrt", 0.8, 0.8),
    ("rsqrt", 1.5, 1.5),
    ("round", 0.0, 0.0),
    ("logistic", 2.5, 2.3),
    ("erf_inv", 2.8, 3.2),
    ("powf", 0.51, 1.3),
    ("atan2", 1.6, 1.8),
    ("remf", 0.0, 0.0),
];

fn bounds(name: &str) -> (f64, f64) {
    let &(_, single, double) = BOUNDS.iter().find(|(n, ..)| *n == name).unwrap();
    (single, double)
}

unsafe extern "C" {
    safe fn erf(x: f64) -> f64;
    safe fn erfc(x: f64) -> f64;
    safe fn atan2(y: f64, x: f64) -> f64;
}

/// The system's libm, in f64.
fn reference(name: &str, x: f64) -> f64 {
    match name {
        "exp" => x.exp(),
        "exp2" => x.exp2(),
        "expm1" => x.exp_m1(),
        "log" => x.ln(),
        "log2" => x.log2(),
        "log10" => x.log10(),
        "log1p" => x.ln_1p(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "tanh" => x.tanh(),
        "asinh" => asinh(x),
        "acosh" => acosh(x),
        "atanh" => atanh(x),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "erf" => erf(x),
        "erfc" => erfc(x),
        "cbrt" => x.cbrt(),
        "rsqrt" => 1.0 / x.sqrt(),
        "round" => x.round(),
        "logistic" => 1.0 / (1.0 + (-x).exp()),
        "erf_inv" => erf_inv(x),
        _ => unreachable!("{name} has no reference"),
    }
}

// Rust's own inverse hyperbolic functions are too coarse to be references.
unsafe extern "C" {
    safe fn asinh(x: f64) -> f64;
    safe fn acosh(x: f64) -> f64;
    safe fn atanh(x: f64) -> f64;
}

fn reference2(name: &str, x: f64, y: f64) -> f64 {
    match name {
        "powf" => x.powf(y),
        "atan2" => atan2(x, y),
        "remf" => x % y,
        _ => unreachable!("{name} has no reference"),
    }
}

/// Newton on erf or, near 1, on log erfc.
fn erf_inv(x: f64) -> f64 {
    let a = x.abs();
    if a == 1.0 || a == 0.0 || a.is_nan() || a > 1.0 {
        return if a == 1.0 {
            f64::INFINITY.copysign(x)
        } else if a == 0.0 {
            x
        } else {
            f64::NAN
        };
    }
    let rest = 1.0 - a;
    let w = -(rest * (1.0 + a)).ln();
    let mut y = if w > 3.0 { (w - 0.5 * w.ln() - 0.5).sqrt() } else { 0.8 * w.sqrt() };
    for _ in 0..40 {
        let slope = std::f64::consts::FRAC_2_SQRT_PI * (-y * y).exp();
        let step = if a < 0.5 { (erf(y) - a) / slope } else { -(erfc(y).ln() - rest.ln()) * erfc(y) / slope };
        y -= step;
        if step.abs() < 1e-16 * y {
            break;
        }
    }
    y.copysign(x)
}

/// Error of an f32 in units of the last place of the exact value; infinite where a special value is wrong.
fn ulp32(got: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if exact.is_nan() || got.is_nan() {
        return if exact.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if rounded.is_infinite() || got.is_infinite() || (exact == 0.0 && got == 0.0) {
        return if got.to_bits() == rounded.to_bits() { 0.0 } else { f64::INFINITY };
    }
    let exponent = if exact == 0.0 { -149 } else { ((exact.to_bits() >> 52 & 2047) as i32 - 1023 - 23).max(-149) };
    (f64::from(got) - exact).abs() / 2f64.powi(exponent)
}

/// The same for f64 with the exact value as a sum.
fn ulp64(got: f64, exact: f64, low: f64) -> f64 {
    if exact.is_nan() || got.is_nan() {
        return if exact.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if exact.is_infinite() || got.is_infinite() || (exact == 0.0 && got == 0.0) {
        return if got.to_bits() == exact.to_bits() { 0.0 } else { f64::INFINITY };
    }
    let exponent = ((exact.to_bits() >> 52 & 2047) as i32).max(1) - 1023 - 52;
    // In two factors, because the unit may be subnormal.
    ((got - exact) - low).abs() * 2f64.powi(-exponent / 2) * 2f64.powi(-exponent - -exponent / 2)
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| math::load(&math::image(&math::wrappers(), "expand-math", "x86-64-v3")))
}

fn function<T>(name: &str, ty: &str) -> Symbol<'static, T> {
    // SAFETY: the wrappers have the signatures the callers name.
    unsafe { library().get(format!("{name}_{ty}")).unwrap() }
}

type F32 = extern "C" fn(f32) -> f32;
type F64 = extern "C" fn(f64) -> f64;
type F32x2 = extern "C" fn(f32, f32) -> f32;
type F64x2 = extern "C" fn(f64, f64) -> f64;

#[test]
fn f32_functions_keep_their_bounds_over_all_bit_patterns() {
    for name in math::UNARY {
        let f = function::<F32>(name, "f32");
        let mut worst = (0.0, 0f32);
        // A stride prime to 2^32 visits every exponent, both signs, infinities and NaN.
        for bits in (0..=u32::MAX).step_by(14_983) {
            let x = f32::from_bits(bits);
            let error = ulp32(f(x), reference(name, f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        assert!(worst.0 <= bounds(name).0, "{name}: {} ULP at {:?}, {} is promised", worst.0, worst.1, bounds(name).0);
    }
}

#[test]
fn f32_functions_of_two_operands_keep_their_bounds() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    for name in ["powf", "atan2", "remf"] {
        let f = function::<F32x2>(name, "f32");
        for i in 0..200_000 {
            let (mut x, mut y) = (f32::from_bits(random() as u32), f32::from_bits(random() as u32));
            if i % 3 == 1 {
                (x, y) = (random() as f32 / 2e9, random() as f32 / 1e8 - 20.0);
            } else if i % 3 == 2 {
                (x, y) = ((random() % 64) as f32 - 32.0, (random() % 128) as f32 / 2.0 - 32.0);
            }
            let error = ulp32(f(x, y), reference2(name, f64::from(x), f64::from(y)));
            assert!(error <= bounds(name).0, "{name}({x:?}, {y:?}) = {:?}: {error} ULP", f(x, y));
        }
    }
}

#[test]
fn f64_functions_keep_their_bounds_on_the_golden_table() {
    let value = |text: &str| f64::from_bits(u64::from_str_radix(text, 16).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for line in include_str!("math/golden_f64.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, x, y, high, low] = fields[..] else { panic!("{line}") };
        let (x, high, low) = (value(x), value(high), value(low));
        let got = if y == "-" { function::<F64>(name, "f64")(x) } else { function::<F64x2>(name, "f64")(x, value(y)) };
        let error = ulp64(got, high, low);
        assert!(error <= bounds(name).1, "{name} at {line}: {got:?} is {error} ULP away");
        seen.insert(name);
    }
    for (name, ..) in BOUNDS {
        assert!(seen.contains(name), "the golden table has no {name}");
    }
}

/// Here the quotient of one step rounds down across an integer, and what is left is close to twice the divisor.
#[test]
fn remainder_is_exact_where_the_quotient_rounds() {
    let remf = function::<F64x2>("remf", "f64");
    let (x, y) = (8.191_564_899_926_197e119, -8.170_374_833_040_473e-289);
    assert_eq!(remf(x, y).to_bits(), (x % y).to_bits());
}

const SPECIAL: &[f64] = &[
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -3.0,
    1e-45,
    -1e-45,
    f32::MIN_POSITIVE as f64,
    f32::MAX as f64,
    f32::MIN as f64,
    1e300,
    -1e300,
    5e-324,
    -5e-324,
    f64::MIN_POSITIVE,
    f64::MAX,
    0.49999997,
    16777217.0,
];

/// Where the exact result is special: the same special value. Elsewhere a few units of libm's own error on top of the bound.
#[test]
fn special_values_are_those_of_libm() {
    for name in math::UNARY {
        let (single, double) = (function::<F32>(name, "f32"), function::<F64>(name, "f64"));
        for &x in SPECIAL {
            let y = x as f32;
            assert!(ulp32(single(y), reference(name, y.into())) <= 4.0, "{name}({y:?}) = {:?} in f32", single(y));
            let error = ulp64(double(x), reference(name, x), 0.0);
            assert!(error <= 5.0, "{name}({x:?}) = {:?} in f64, {:?} expected", double(x), reference(name, x));
        }
    }
    for name in ["powf", "atan2", "remf"] {
        let (single, double) = (function::<F32x2>(name, "f32"), function::<F64x2>(name, "f64"));
        for &x in SPECIAL {
            for &y in SPECIAL {
                let (a, b) = (x as f32, y as f32);
                assert!(
                    ulp32(single(a, b), reference2(name, a.into(), b.into())) <= 4.0,
                    "{name}({a:?}, {b:?}) = {:?} in f32",
                    single(a, b)
                );
                let error = ulp64(double(x, y), reference2(name, x, y), 0.0);
                assert!(error <= 4.0, "{name}({x:?}, {y:?}) = {:?} in f64, {:?} expected", double(x, y), reference2(name, x, y));
            }
        }
    }
}

/// `cargo test -p winze-compiler --test math_accuracy measure -- --ignored --exact --nocapture`; needs a C compiler and libquadmath.
#[test]
#[ignore = "minutes; prints the table of docs/math.md: every 64th f32, 2 million f64 against 113-bit arithmetic"]
fn measure() {
    print_measurement("64", "2000000");
}

#[test]
#[ignore = "hours; the same over every f32"]
fn measure_every_f32() {
    print_measurement("1", "2000000");
}

fn print_measurement(stride: &str, count: &str) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libmath_under_test.so");
    std::fs::write(&library, math::image(&math::wrappers(), "expand-math", "x86-64-v3")).unwrap();
    let program = folder.path().join("measure");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/math/measure.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-o"]).arg(&program).args([source.as_ref(), library.as_os_str()]).args(["-lquadmath", "-lm"]);
    assert!(compiler.status().unwrap().success(), "measure.c does not compile");
    let done = Command::new(&program).args([stride, count]).env("LD_LIBRARY_PATH", folder.path()).status().unwrap();
    assert!(done.success(), "measure failed");
}
