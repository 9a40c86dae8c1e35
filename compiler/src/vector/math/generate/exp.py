"""exp, exp2, expm1, logistic; and the reduction shared with the hyperbolic functions, erfc and pow."""

from builder import *

LN2 = mp.log(2)
# Terms of Q in exp(r) = 1 + r + r^2 Q(r), |r| <= ln2/2, and of exp2(r) - 1 = r Q2(r), |r| <= 1/2.
Q = {"f32": fit(lambda r: (mp.expm1(r) - r) / r**2, -0.3467, 0.3467, 5), "f64": fit(lambda r: (mp.expm1(r) - r) / r**2, -0.3467, 0.3467, 11)}
Q2 = {"f32": fit(lambda r: mp.expm1(r * LN2) / r, -0.5001, 0.5001, 6), "f64": fit(lambda r: mp.expm1(r * LN2) / r, -0.5001, 0.5001, 12)}
LIMITS = {"f32": (-104, 89), "f64": (-746, 710)}  # beyond these exp is 0 or infinity


def magic(ty):
    """1.5 * 2^mantissa: adding it rounds to an integer, which then stands in the low bits (no conversion, no undefined range)."""
    return mp.mpf(1.5) * 2 ** MANTISSA[ty]


def nearest_integer(f, scaled):
    """scaled + magic -> (the integer as a float, as an int)."""
    ty = scaled.ty
    m = f.const(magic(ty), ty)
    return scaled - m, f.bits(scaled) - f.const(magic_bits(ty), INT_OF[ty])


def magic_bits(ty):
    return ((BIAS[ty] + MANTISSA[ty]) << MANTISSA[ty]) | (1 << (MANTISSA[ty] - 1))


def int_to_float(f, i, ty):
    """A small signed integer to float, by the same trick (x86 has no packed i64 -> f64 before AVX-512)."""
    return f.from_bits(i + f.const(magic_bits(ty), INT_OF[ty])) - f.const(magic(ty), ty)


def power_of_two(f, n):
    ty = "f" + n.ty[1:]
    return f.from_bits((n + BIAS[ty]) << MANTISSA[ty])


def scale(f, p, n):
    """p * 2^n in two steps, so that n may leave the exponent range (overflow and gradual underflow are exact)."""
    half = n >> 1
    return p * power_of_two(f, half) * power_of_two(f, n - half)


def clamp(f, x, lo, hi):
    """Keeps NaN."""
    x = f.select(x < lo, lo, x)
    return f.select(x > hi, hi, x)


def reduce(f, x, low=None):
    """x (+ low) = n ln2 + r -> (n, r, error of r as far as known)."""
    ty = x.ty
    hi, lo = split(LN2, ty, {"f32": 9, "f64": 12}[ty])
    nf, n = nearest_integer(f, f.fma(x, 1 / LN2, magic(ty)))
    r0 = f.fma(nf, -hi, x)
    r = f.fma(nf, -lo, r0)
    if low is not None:
        r = r + low
    return n, r


def exp_parts(f, x, low=None):
    """exp(x + low) = p * 2^n for x inside LIMITS."""
    n, r = reduce(f, x, low)
    p = f.fma(r * r, f.poly(r, Q[x.ty]), r) + 1
    return p, n


def exp(ty):
    f = Function(f"exp_{ty}", [("x", ty)], [ty], "e^x: x = n ln2 + r, e^r = 1 + r + r^2 Q(r), scaled by 2^n in two steps.")
    (x,) = f.args
    p, n = exp_parts(f, clamp(f, x, *LIMITS[ty]))
    f.ret(scale(f, p, n))
    return f


def exp2_parts(f, x):
    nf, n = nearest_integer(f, x + magic(x.ty))
    r = x - nf
    return f.fma(r, f.poly(r, Q2[x.ty]), 1), n


def exp2(ty):
    f = Function(f"exp2_{ty}", [("x", ty)], [ty], "2^x: x = n + r, |r| <= 1/2.")
    (x,) = f.args
    lo, hi = {"f32": (-151, 129), "f64": (-1076, 1025)}[ty]
    p, n = exp2_parts(f, clamp(f, x, lo, hi))
    f.ret(scale(f, p, n))
    return f


def expm1_value(f, x):
    ty = x.ty
    n, r = reduce(f, clamp(f, x, {"f32": -18, "f64": -38}[ty], LIMITS[ty][1]))
    p = f.fma(r * r, f.poly(r, Q[ty]), r)
    f.note("2^n p + (2^n - 1), halved so that n = emax + 1 does not overflow early")
    s = power_of_two(f, n - 1)
    y = f.fma(s, p, s - 0.5) * 2
    return f.select(n.eq(0), p, y)


def expm1(ty):
    f = Function(f"expm1_{ty}", [("x", ty)], [ty], "e^x - 1 = 2^n (e^r - 1) + (2^n - 1), without cancellation.")
    (x,) = f.args
    f.note("x itself where x^2/2 is below half a unit: keeps -0 and subnormals")
    tiny = f.abs(x) < mp.mpf(2) ** -(MANTISSA[ty] + 2)
    f.ret(f.select(tiny, x, expm1_value(f, x)))
    return f


def logistic(ty):
    f = Function(f"logistic_{ty}", [("x", ty)], [ty], "1 / (1 + e^-x), or e^x / (1 + e^x) for x < 0, so that neither tail loses digits.")
    (x,) = f.args
    z = f.call(f"exp_{ty}", [-f.abs(x)], [ty])
    f.ret(f.select(x < 0, z, 1) / (z + 1))
    return f


def functions():
    return [g(ty) for ty in ("f32", "f64") for g in (exp, exp2, expm1, logistic)]
