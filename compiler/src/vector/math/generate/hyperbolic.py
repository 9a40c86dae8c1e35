"""sinh, cosh, tanh from the parts of exp, odd polynomials near 0; asinh, acosh, atanh through log1p."""

from builder import *
from exp import LN2, clamp, exp_parts, power_of_two, scale

S = {ty: fit(lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, 1.0001, n) for ty, n in (("f32", 4), ("f64", 8))}
T = {ty: fit(lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, 0.3603, n) for ty, n in (("f32", 6), ("f64", 14))}


def odd(f, x, coefficients):
    """x + x^3 P(x^2)"""
    z = x * x
    return f.fma(x * z, f.poly(z, coefficients), x)


def half_exp(f, a):
    """e^a / 2 for a >= 0, without early overflow."""
    p, n = exp_parts(f, clamp(f, a, 0, {"f32": 91, "f64": 712}[a.ty]))
    return scale(f, p, n - 1)


def sinh(ty):
    f = Function(f"sinh_{ty}", [("x", ty)], [ty], "|x| < 1: odd polynomial; else E - 1/(4E) with E = e^|x| / 2.")
    (x,) = f.args
    a = f.abs(x)
    e = half_exp(f, a)
    f.ret(f.select(a < 1, odd(f, x, S[ty]), f.copysign(e - f.const(0.25, ty) / e, x)))
    return f


def cosh(ty):
    f = Function(f"cosh_{ty}", [("x", ty)], [ty], "E + 1/(4E) with E = e^|x| / 2.")
    (x,) = f.args
    e = half_exp(f, f.abs(x))
    f.ret(e + f.const(0.25, ty) / e)
    return f


def tanh(ty):
    f = Function(f"tanh_{ty}", [("x", ty)], [ty], "|x| < 0.6: odd polynomial; else 1 - 2 / (e^2|x| + 1).")
    (x,) = f.args
    a = f.abs(x)
    p, n = exp_parts(f, clamp(f, a + a, 0, 40))
    y = 1 - f.const(2, ty) / f.fma(p, power_of_two(f, n), 1)
    f.ret(f.copysign(f.select(a < 0.6, odd(f, a, T[ty]), y), x))
    return f


def asinh(ty):
    f = Function(f"asinh_{ty}", [("x", ty)], [ty], "sign(x) log1p(a + a^2 / (1 + sqrt(a^2 + 1))), a = |x|; log(a) + ln2 for large a.")
    (x,) = f.args
    a = f.abs(x)
    z = a * a
    v = a + z / (f.sqrt(z + 1) + 1)
    big = a > mp.mpf(2) ** {"f32": 14, "f64": 28}[ty]
    y = f.call(f"log1p_{ty}", [f.select(big, a - 1, v)], [ty])
    f.ret(f.copysign(y + f.select(big, f.const(LN2, ty), 0), x))
    return f


def acosh(ty):
    f = Function(f"acosh_{ty}", [("x", ty)], [ty], "log1p(t + sqrt(2t + t^2)), t = x - 1; log(x) + ln2 for large x.")
    (x,) = f.args
    t = x - 1
    v = t + f.sqrt(f.fma(t, t, t + t))
    big = x > mp.mpf(2) ** {"f32": 14, "f64": 28}[ty]
    y = f.call(f"log1p_{ty}", [f.select(big, t, v)], [ty]) + f.select(big, f.const(LN2, ty), 0)
    f.ret(f.select(x < 1, f.const(NAN, ty), y))
    return f


def atanh(ty):
    f = Function(f"atanh_{ty}", [("x", ty)], [ty], "sign(x) log1p(2a / (1 - a)) / 2, a = |x|.")
    (x,) = f.args
    a = f.abs(x)
    y = f.call(f"log1p_{ty}", [(a + a) / (1 - a)], [ty]) * 0.5
    f.note("x itself where x^3/3 is below half a unit: keeps subnormals that 2a would lose nothing of but a / 2 would")
    f.ret(f.select(a < mp.mpf(2) ** -(MANTISSA[ty] // 2 + 2), x, f.copysign(y, x)))
    return f


def functions():
    return [g(ty) for ty in ("f32", "f64") for g in (sinh, cosh, tanh, asinh, acosh, atanh)]
