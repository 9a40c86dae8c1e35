"""erf, erfc, erf_inv. erfc(x) = e^(-x^2) G(q) / (1 + 2x) with q = (x - a) / (x + a), G smooth on [-1, 1)
(M. M. Shepherd, J. G. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", Math. Comp. 36, 1981)."""

from builder import *
from exp import exp_parts, scale

CENTER = {"f32": mp.mpf(2), "f64": mp.mpf("3.75")}
X_MAX = {"f32": mp.mpf("10.6"), "f64": mp.mpf(28)}  # erfc is 0 beyond


def scaled_erfc(x):
    """(1 + 2x) e^(x^2) erfc(x)"""
    return (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x)


def g_fit(ty, terms):
    a, top = CENTER[ty], (X_MAX[ty] - CENTER[ty]) / (X_MAX[ty] + CENTER[ty])
    return fit(lambda q: scaled_erfc(a * (1 + q) / (1 - q)), -1, top, terms)


G = {"f32": g_fit("f32", 12), "f64": g_fit("f64", 25)}
# erf(x) = x + x E(x^2) for |x| < 1
E = {ty: fit(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 0, 1.0001, n) for ty, n in (("f32", 8), ("f64", 14))}
# erf_inv(x) = x + x I(x^2) for |x| < 0.6
I = {ty: fit(lambda z: mp.erfinv(mp.sqrt(z)) / mp.sqrt(z) - 1, 0, mp.mpf("0.361"), 8) for ty in ("f32", "f64")}
# log(erfc(t)) = -t - t L(t) on [1, 4]: an e^ with a plain polynomial argument is enough for 1 - erfc(t) in f32
L = fit(lambda t: -mp.log(mp.erfc(t)) / t - 1, 0.99, 4.01, 8)


def erfc_positive(f, x):
    """erfc(x) for 0 <= x <= X_MAX."""
    ty = x.ty
    mask = -(1 << (MANTISSA[ty] // 2 + 1))
    f.note("-x^2 = -h^2 - (x - h)(x + h), h^2 exact")
    h = f.from_bits(f.bits(x) & mask)
    p, n = exp_parts(f, -(h * h), -((x - h) * (x + h)))
    a = CENTER[ty]
    g = f.poly((x - a) / (x + a), G[ty])
    return scale(f, p * (g / f.fma(x, 2, 1)), n)


def erfc(ty):
    f = Function(f"erfc_{ty}", [("x", ty)], [ty], "Complementary error function; 1 - erf(x) near 0, 2 - erfc(|x|) for x < 0.")
    (x,) = f.args
    a = f.abs(x)
    y = erfc_positive(f, f.select(a > X_MAX[ty], X_MAX[ty], a))
    y = f.select(x < 0, 2 - y, y)
    f.ret(f.select(a < 0.5, 1 - erf_near(f, x), y))
    return f


def erf_near(f, x):
    """erf(x) for |x| < 1."""
    return f.fma(x, f.poly(x * x, E[x.ty]), x)


def erf(ty):
    f = Function(f"erf_{ty}", [("x", ty)], [ty], "|x| < 1: x + x E(x^2); else 1 - erfc(|x|).")
    (x,) = f.args
    a = f.abs(x)
    near = erf_near(f, x)
    if ty == "f32":
        t = f.select(a > 4, 4, a)
        p, n = exp_parts(f, -f.fma(t, f.poly(t, L), t))
        far = 1 - scale(f, p, n)
    else:
        far = 1 - erfc_positive(f, f.select(a > 6, 6, a))
    f.ret(f.select(a < 1, near, f.copysign(far, x)))
    return f


def w_center(w):
    """erf_inv(x) / x where w = -log(1 - x^2)"""
    x = mp.sqrt(-mp.expm1(-w))
    return mp.erfinv(x) / x if w < 20 else tail_inverse(w) / x


def tail_inverse(w):
    """erf_inv near 1 from w = -log((1 - x)(1 + x)), by Newton on log erfc."""
    x = mp.sqrt(-mp.expm1(-w))
    d = mp.exp(-w) / (1 + x)  # 1 - x without cancellation
    y = mp.sqrt(w) if w < 3 else mp.sqrt(w - mp.log(w) / 2 - 0.5)
    for _ in range(60):
        step = (mp.log(mp.erfc(y)) - mp.log(d)) * mp.erfc(y) / (2 / mp.sqrt(mp.pi) * mp.exp(-y * y))
        y += step
        if abs(step) < mp.mpf(10) ** -40:
            break
    return y


def w_fit(lo, hi, terms, root):
    """Polynomial in (w - c) or (sqrt(w) - c) of erf_inv(x) / x."""
    g = lambda w: tail_inverse(w) / mp.sqrt(-mp.expm1(-w)) if w > mp.mpf(1) else w_center(max(w, mp.mpf(10) ** -15))
    a, b = (mp.sqrt(lo), mp.sqrt(hi)) if root else (mp.mpf(lo), mp.mpf(hi))
    c = mp.mpf(round((a + b) * 2)) / 4
    with mp.workdps(50):
        return c, fit(lambda t: g((t + c) ** 2 if root else t + c), a - c, b - c, terms)


def erf_inv(ty):
    doc = "Inverse of erf: polynomials in x^2, in w = -log(1 - x^2) or in its root (after M. Giles, \"Approximating the erfinv function\", 2011)"
    f = Function(f"erf_inv_{ty}", [("x", ty)], [ty], doc + (".\n" if ty == "f32" else ",\nthen two Halley steps on erf or erfc."))
    (x,) = f.args
    a = f.abs(x)
    w = -f.call(f"log_{ty}", [(1 - x) * (x + 1)], [ty])
    c1, center = w_fit(0.4, 5, 10 if ty == "f32" else 9, False)
    c2, tail = w_fit(5, 17, 10 if ty == "f32" else 9, True)
    wc = f.select(w > 5, 5, w)
    y = f.poly(wc - c1, center)
    wt = f.select(w < 5, 5, w)
    if ty == "f64":
        c3, far = w_fit(16, 38, 9, True)
        root = f.sqrt(f.select(wt > 40, 40, wt))
        t = f.select(w > 16, f.poly(root - c3, far), f.poly(root - c2, tail))
    else:
        t = f.poly(f.sqrt(f.select(wt > 18, 18, wt)) - c2, tail)
    y = f.select(a < 0.6, f.fma(a, f.poly(a * a, I[ty]), a), a * f.select(w < 5, y, t))
    if ty == "f64":
        for _ in range(2):
            f.note("g = (erf(y) - |x|) / erf'(y); y -= g / (1 + y g)")
            e = f.call("erf_f64", [y], [ty])
            ec = f.call("erfc_f64", [y], [ty])
            density = f.call("exp_f64", [-(y * y)], [ty]) * (2 / mp.sqrt(mp.pi))
            g = f.select(a < 0.5, e - a, (1 - a) - ec) / density
            y = y - g / f.fma(y, g, 1)
    y = f.copysign(f.select(a.eq(1), INF, y), x)
    f.ret(f.select(a > 1, f.const(NAN, ty), y))
    return f


def functions():
    return [g(ty) for ty in ("f32", "f64") for g in (erfc, erf)] + [erf_inv(ty) for ty in ("f32", "f64")]
