"""log, log2, log10, log1p: x = 2^k m with m in [sqrt(1/2), sqrt(2)), log(m) as an unevaluated sum hi + lo."""

from builder import *
from exp import LN2, int_to_float, magic_bits

F_LO, F_HI = mp.sqrt(0.5) - 1 - mp.mpf("1e-6"), mp.sqrt(2) - 1 + mp.mpf("1e-6")
# f32: log(1+f) = f - f^2/2 + f^3 P(f). f64: with s = f/(2+f), z = s^2: log(1+f) = f - f^2/2 + s (f^2/2 + z R(z)).
P32 = fit(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, F_LO, F_HI, 9)


def series(z):
    s = mp.sqrt(z)
    return 2 * (mp.atanh(s) / s - 1) / z


R64 = fit(series, 0, mp.mpf("0.02945"), 8)


def split_exponent(f, x):
    """x > 0 finite -> (k, m) as (int, float); subnormals are scaled first."""
    ty = x.ty
    mb = MANTISSA[ty]
    small = x < mp.mpf(2) ** (1 - BIAS[ty])
    b = f.bits(f.select(small, x * mp.mpf(2) ** (mb + 2), x))
    k = (b - bits_of(mp.sqrt(0.5), ty)) >> mb
    m = f.from_bits(b - (k << mb))
    return k - f.select(small, f.const(mb + 2, k.ty), 0), m


def bits_of(v, ty):
    """Bit pattern of a positive normal constant."""
    m, e = mpmath.frexp(rounded(v, ty))
    return ((e - 1 + BIAS[ty]) << MANTISSA[ty]) + int(mpmath.ldexp(m, MANTISSA[ty] + 1)) - (1 << MANTISSA[ty])


def log_pair(f, a, correction=None):
    """log(1 + a + correction) = hi + lo, hi to full precision of the type, |lo| small."""
    ty = a.ty
    h = a * 0.5
    hf = h * a
    hf_low = f.fma(h, a, -hf)
    hi = a - hf
    lo = (a - hi) - hf - hf_low
    if ty == "f32":
        lo = f.fma(a * a * a, f.poly(a, P32), lo)
    else:
        s = a / (a + 2)
        z = s * s
        lo = f.fma(s, f.fma(z, f.poly(z, R64), hf), lo)
    if correction is not None:
        lo = lo + correction
    return hi, lo


def join(f, k, hi, lo):
    """k ln2 + hi + lo."""
    ty = hi.ty
    c_hi, c_lo = split(LN2, ty, {"f32": 9, "f64": 12}[ty])
    kf = int_to_float(f, k, ty)
    t = kf * c_hi
    s = t + hi
    rest = (hi - (s - t)) + f.fma(kf, c_lo, lo)
    return s + rest


def specials(f, x, y, pole=0):
    """log at and beyond its pole, at infinity and NaN."""
    y = f.select(x < INF, y, x)
    y = f.select(x < pole, f.const(NAN, x.ty), y)
    return f.select(x.eq(pole), f.const(-INF, x.ty), y)


def log(ty):
    f = Function(f"log_{ty}", [("x", ty)], [ty], "Natural logarithm.")
    (x,) = f.args
    k, m = split_exponent(f, x)
    hi, lo = log_pair(f, m - 1)
    f.ret(specials(f, x, join(f, k, hi, lo)))
    return f


def log_base(name, base):
    def build(ty):
        f = Function(f"{name}_{ty}", [("x", ty)], [ty], f"Logarithm to base {base}.")
        (x,) = f.args
        k, m = split_exponent(f, x)
        hi, lo = log_pair(f, m - 1)
        f.note("(hi + lo) / ln(base), the product with hi kept exact")
        c = 1 / mp.log(base)
        c_hi = rounded(c, ty)
        p = hi * c_hi
        p_low = f.fma(hi, c_hi, -p) + f.fma(hi, rounded(c - c_hi, ty), lo * c_hi)
        kf = int_to_float(f, k, ty)
        if base == 2:
            t, t_low = kf, None
        else:
            d_hi, d_lo = split(LN2 * c, ty, {"f32": 9, "f64": 12}[ty])
            t, t_low = kf * d_hi, kf * d_lo
        s = t + p
        rest = (p - (s - t)) + p_low
        # |t| >= |p| or t = 0, so the residual above is exact.
        f.ret(specials(f, x, s + (rest if t_low is None else rest + t_low)))
        return f

    return build


def log1p(ty):
    f = Function(f"log1p_{ty}", [("x", ty)], [ty], "log(1 + x): the rounding error of 1 + x is carried into the low part.")
    (x,) = f.args
    one = f.const(1, ty)
    u = x + 1
    f.note("u + c = 1 + x exactly")
    t = u - x
    c = f.select(f.abs(x) < 1, x - (u - one), one - (u - x))
    k, m = split_exponent(f, u)
    f.note("2^-k, clamped: beyond it c does not matter")
    kc = f.select(k > MANTISSA[ty] + 2, f.const(MANTISSA[ty] + 2, k.ty), k)
    inverse = f.from_bits((f.const(BIAS[ty], k.ty) - kc) << MANTISSA[ty])
    hi, lo = log_pair(f, m - 1, c * inverse / m)
    y = specials(f, x, join(f, k, hi, lo), -1)
    tiny = f.abs(x) < mp.mpf(2) ** -(MANTISSA[ty] + 2)
    f.ret(f.select(tiny, x, y))
    return f


def functions():
    return [g(ty) for ty in ("f32", "f64") for g in (log, log_base("log2", 2), log_base("log10", 10), log1p)]
