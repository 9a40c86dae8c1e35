"""asin, acos (odd polynomial, half-angle formula beyond 1/2) and atan, atan2 (reduced to a ratio in [0, 1])."""

from builder import *

P = {ty: fit(lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, 0.2501, n) for ty, n in (("f32", 6), ("f64", 13))}
A = {
    "f32": fit(lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, 1.0001, 10),
    "f64": fit(lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, mp.mpf("0.17158"), 12),
}
PI = mp.pi


def high_low(v, ty):
    hi = rounded(v, ty)
    return hi, rounded(v - hi, ty)


def half_angle(f, a):
    """a = |x|: s and w with asin(s) = s + w, where s = a below 1/2 and sqrt((1 - a) / 2) above; s also has a correction in w."""
    ty = a.ty
    big = a > 0.5
    z = f.select(big, (1 - a) * 0.5, a * a)
    root = f.sqrt(z)
    s = f.select(big, root, a)
    w = s * z * f.poly(z, P[ty])
    f.note("what sqrt rounded away: (z - s^2) / (2 s)")
    missing = f.fma(-root, root, z) / f.select(root.eq(0), f.const(1, ty), root + root)
    return big, s, w + f.select(big, missing, 0)


def asin(ty):
    f = Function(f"asin_{ty}", [("x", ty)], [ty], "|x| <= 1/2: s + s^3 P(s^2); else pi/2 - 2 asin(sqrt((1 - |x|) / 2)). NaN beyond 1.")
    (x,) = f.args
    big, s, w = half_angle(f, f.abs(x))
    hi, lo = high_low(PI / 2, ty)
    d = hi - (s + s)
    far = d + ((hi - d) - (s + s) + (lo - (w + w)))
    f.ret(f.copysign(f.select(big, far, s + w), x))
    return f


def acos(ty):
    f = Function(f"acos_{ty}", [("x", ty)], [ty], "pi/2 - asin(x), or 2 asin(sqrt((1 - |x|) / 2)) reflected for x < 0. NaN beyond 1.")
    (x,) = f.args
    big, s, w = half_angle(f, f.abs(x))
    hi, lo = high_low(PI / 2, ty)
    negative = x < 0
    ss, ww = f.select(negative, -s, s), f.select(negative, -w, w)
    d = hi - ss
    near = d + ((hi - d) - ss + (lo - ww))
    d2 = (hi + hi) - (s + s)
    reflected = d2 + (((hi + hi) - d2) - (s + s) + (2 * lo - (w + w)))
    f.ret(f.select(big, f.select(negative, reflected, (s + s) + (w + w)), near))
    return f


def atan_ratio(f, num, den):
    """atan(num / den) for 0 <= num <= den, as hi + lo."""
    ty = num.ty
    if ty == "f32":
        t = num / den
        z = t * t
        return t, t * z * f.poly(z, A[ty])
    f.note("beyond tan(pi/8): atan(t) = pi/4 + atan((t - 1) / (t + 1))")
    big = num > den * (mp.sqrt(2) - 1)
    t = f.select(big, num - den, num) / f.select(big, num + den, den)
    z = t * t
    w = t * z * f.poly(z, A[ty])
    hi, lo = high_low(PI / 4, ty)
    h = f.select(big, hi + t, t)
    rest = f.select(big, (f.const(hi, ty) - h) + t + (w + lo), w)
    return h, rest


def reflect(f, when, base, h, rest):
    """when ? base - (h + rest) : h + rest, again as hi + lo."""
    hi, lo = high_low(base, h.ty)
    d = hi - h
    low = (hi - d) - h + (lo - rest)
    return f.select(when, d, h), f.select(when, low, rest)


def atan(ty):
    f = Function(f"atan_{ty}", [("x", ty)], [ty], "|x| > 1: pi/2 - atan(1 / |x|).")
    (x,) = f.args
    a = f.abs(x)
    swap = a > 1
    h, rest = atan_ratio(f, f.select(swap, 1, a), f.select(swap, a, 1))
    h, rest = reflect(f, swap, PI / 2, h, rest)
    f.ret(f.copysign(h + rest, x))
    return f


def atan2(ty):
    f = Function(f"atan2_{ty}", [("y", ty), ("x", ty)], [ty], "Angle of (x, y): ratio of the smaller to the larger of |x|, |y|, then by octant. Signs of zero as in C.")
    y, x = f.args
    ay, ax = f.abs(y), f.abs(x)
    swap = ay > ax
    num, den = f.select(swap, ax, ay), f.select(swap, ay, ax)
    f.note("0/0 counts as 0, inf/inf as 1")
    den = f.select(den.eq(0), f.const(1, ty), den)
    both = num.eq(INF)
    num, den = f.select(both, f.const(1, ty), num), f.select(both, f.const(1, ty), den)
    if ty == "f64":
        huge = f.select(den > mp.mpf(2) ** 1000, f.const(0.25, ty), 1)
        num, den = num * huge, den * huge
    h, rest = atan_ratio(f, num, den)
    h, rest = reflect(f, swap, PI / 2, h, rest)
    h, rest = reflect(f, f.bits(x) < 0, PI, h, rest)
    f.note("an infinite operand next to NaN must not hide it")
    r = f.copysign(h + rest, y)
    f.ret(f.select(f.op("arith.cmpf uno,", [x, y], "i1", ty), x + y, r))
    return f


def functions():
    return [g(ty) for ty in ("f32", "f64") for g in (asin, acos, atan, atan2)]
