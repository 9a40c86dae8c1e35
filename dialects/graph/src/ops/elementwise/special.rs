//! Functions that neither Rust's floats nor the math dialect have, and their expansions.

use crate::{
    lower::{Op, ScalarBuilder, Val},
    types::{Class, ElementType},
};

/// erf, to the last bit of f64.
pub fn erf(x: f64) -> f64 {
    libm::erf(x)
}

/// 1 - erf, to the last bit of f64.
pub fn erfc(x: f64) -> f64 {
    libm::erfc(x)
}

/// Remainder with the sign of the divisor.
pub fn float_mod(a: f64, b: f64) -> f64 {
    let r = a % b;
    match r {
        0.0 => r.copysign(b),
        _ if (r < 0.0) != (b < 0.0) => r + b,
        _ => r,
    }
}

// M. Giles, "Approximating the erfinv function", GPU Computing Gems, 2011: polynomials in w = -log(1 - x^2), relative error below 4e-7.
const CENTRAL: [f64; 9] = [
    2.810_226_36e-08,
    3.432_739_39e-07,
    -3.523_387_7e-06,
    -4.391_506_54e-06,
    0.000_218_580_87,
    -0.001_253_725_03,
    -0.004_177_681_64,
    0.246_640_727,
    1.501_409_41,
];
const TAIL: [f64; 9] = [
    -0.000_200_214_257,
    0.000_100_950_558,
    0.001_349_343_22,
    -0.003_673_428_44,
    0.005_739_507_73,
    -0.007_622_461_3,
    0.009_438_870_47,
    1.001_674_06,
    2.832_976_82,
];

/// Inverse of erf; infinite at 1 and -1, NaN outside.
pub fn erf_inv(x: f64) -> f64 {
    if x.is_nan() || x.abs() >= 1.0 {
        return if x.abs() == 1.0 { x * f64::INFINITY } else { f64::NAN };
    }
    let w = -(-x * x).ln_1p();
    let horner = |c: &[f64; 9], w: f64| c.iter().fold(0.0, |p, c| p * w + c);
    let mut y = x * if w < 5.0 { horner(&CENTRAL, w - 2.5) } else { horner(&TAIL, w.sqrt() - 3.0) };
    // Newton on erf(y) = x; in the tails on erfc, which keeps its digits there.
    for _ in 0..3 {
        let error = if y.abs() > 0.5 { (1.0 - x.abs() - erfc(y.abs())) * -x.signum() } else { x - erf(y) };
        y += error / (std::f64::consts::FRAC_2_SQRT_PI * (-y * y).exp());
    }
    y
}

pub fn lower_erf_inv<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    let (x, number) = (x[0], |value: f64| b.number(e, value));
    let horner = |c: &[f64; 9], w: Val<'c>| {
        c[1..].iter().fold(number(c[0]), |p, c| b.same("arith.addf", &[b.same("arith.mulf", &[p, w]), number(*c)]))
    };
    let square = b.same("arith.mulf", &[x, x]);
    let w = b.same("arith.negf", &[b.same("math.log1p", &[b.same("arith.negf", &[square])])]);
    let central = horner(&CENTRAL, b.same("arith.subf", &[w, number(2.5)]));
    let tail = horner(&TAIL, b.same("arith.subf", &[b.same("math.sqrt", &[w]), number(3.0)]));
    let mut y = b.same("arith.mulf", &[b.select(b.cmpf("olt", w, number(5.0)), central, tail), x]);
    if e == ElementType::F64 {
        for _ in 0..2 {
            let error = b.same("arith.subf", &[x, b.same("math.erf", &[y])]);
            let gauss = b.same("math.exp", &[b.same("arith.negf", &[b.same("arith.mulf", &[y, y])])]);
            let slope = b.same("arith.mulf", &[gauss, number(std::f64::consts::FRAC_2_SQRT_PI)]);
            // Far out the slope vanishes and the first approximation stays.
            let step = b.same("arith.divf", &[error, slope]);
            let usable = b.cmpf("ogt", slope, number(1e-300));
            y = b.same("arith.addf", &[y, b.select(usable, step, number(0.0))]);
        }
    }
    let edge = b.cmpf("oeq", b.same("math.absf", &[x]), number(1.0));
    b.select(edge, b.same("arith.mulf", &[x, number(f64::INFINITY)]), y)
}

pub fn lower_sign<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    let (zero, one) = (b.number(e, 0.0), b.number(e, 1.0));
    match e.class() {
        // Zeros of both signs and NaN stay.
        Class::Float => b.select(b.cmpf("ogt", x[0], zero), one, b.select(b.cmpf("olt", x[0], zero), b.number(e, -1.0), x[0])),
        Class::Signed => b.select(b.cmpi("sgt", x[0], zero), one, b.select(b.cmpi("slt", x[0], zero), b.number(e, -1.0), zero)),
        _ => b.select(b.cmpi("ne", x[0], zero), one, zero),
    }
}

pub fn lower_logistic<'c>(b: &ScalarBuilder<'c>, _: Op<'c>, e: ElementType, x: &[Val<'c>]) -> Val<'c> {
    let one = b.number(e, 1.0);
    let exp = b.same("math.exp", &[b.same("arith.negf", x)]);
    b.same("arith.divf", &[one, b.same("arith.addf", &[one, exp])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_inv_inverts() {
        for i in -99..100 {
            let x = f64::from(i) / 100.0;
            assert!((erf(erf_inv(x)) - x).abs() < 1e-15, "{x}");
        }
        assert!((erf_inv(1.0 - 1e-12) - 5.042_031_898_6).abs() < 1e-6);
        assert_eq!(erf_inv(-1.0), f64::NEG_INFINITY);
        assert!(erf_inv(1.5).is_nan());
    }
}
