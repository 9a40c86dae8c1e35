"""powf, cbrt, rsqrt, fpowi, ipowi."""

from builder import *
from exp import LN2, clamp, exp2_parts, exp_parts, int_to_float, scale
from log import split_exponent


def atanh_fit(first, terms):
    """2 (atanh(s) - leading terms) / s^(2 first + 1) as a polynomial in s^2, |s| <= (sqrt(2) - 1) / (sqrt(2) + 1)."""
    def g(z):
        s = mp.sqrt(z)
        return 2 * (mp.atanh(s) - sum(s ** (2 * i + 1) / (2 * i + 1) for i in range(first))) / s ** (2 * first + 1)

    return fit(g, mp.mpf("1e-6"), mp.mpf("0.02945"), terms)


LOG32, LOG64 = atanh_fit(1, 6), atanh_fit(2, 8)


def two_product(f, a, b):
    """a b = p + e exactly; without FMA by splitting into halves (T. J. Dekker, 1971), whose upper ones are cut by a mask."""
    p = a * b
    if f.fused:
        return p, f.fma(a, b, -p)
    ah, bh = (f.from_bits(f.bits(v) & -(1 << 27)) for v in (a, b))
    al, bl = a - ah, b - bh
    return p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)


def two_product_pair(f, a, b):
    """(a0 + a1) (b0 + b1) as hi + lo."""
    p, e = two_product(f, a[0], b[0])
    e = e + f.fma(a[0], b[1], a[1] * b[0])
    return fast_sum(p, e)


def fast_sum(a, b):
    s = a + b
    return s, b - (s - a)


def pow_specials(f, x, y, r):
    """r = |x|^y so far -> IEEE 754 pow: sign, NaN, infinities and the values that are 1 whatever the other operand."""
    ty = x.ty
    a, ay = f.abs(x), f.abs(y)
    limit = mp.mpf(2) ** (MANTISSA[ty] + 1)
    whole = f.trunc(y).eq(y)
    half = y * 0.5
    odd = f.op("arith.andi", [f.op("arith.andi", [whole, f.trunc(half).ne(half)], "i1"), ay < limit], "i1")
    negative = f.bits(x) < 0
    f.note("|x| = 0 or infinity")
    zero, inf = a.eq(0), a.eq(INF)
    grows = f.op("arith.xori", [y > 0, zero], "i1")
    r = f.select(f.op("arith.ori", [zero, inf], "i1"), f.select(grows, f.const(INF, ty), 0), r)
    f.note("infinite y: by |x| against 1")
    toward = f.select((a > 1).__xor__(y < 0), f.const(INF, ty), 0)
    r = f.select(ay.eq(INF), f.select(a.eq(1), f.const(1, ty), toward), r)
    f.note("negative x: odd y keeps the sign, a fraction gives NaN (unless x is 0 or infinite)")
    signed = f.op("arith.andi", [negative, odd], "i1")
    r = f.select(signed, -r, r)
    finite = f.op("arith.andi", [x < 0, a < INF], "i1")
    r = f.select(f.op("arith.andi", [finite, f.negate(whole)], "i1"), f.const(NAN, ty), r)
    f.note("NaN in, NaN out, but 1^y = x^0 = 1")
    r = f.select(f.op("arith.cmpf uno,", [x, y], "i1", ty), x + y, r)
    one = f.op("arith.ori", [x.eq(1), y.eq(0)], "i1")
    return f.select(one, f.const(1, ty), r)


def powf_f32():
    f = Function("powf_f32", [("x", "f32"), ("y", "f32")], ["f32"], "|x|^y = 2^(y log2|x|) in f64, rounded once. Special values as IEEE 754 pow.")
    x, y = f.args
    k, m = split_exponent(f, f.convert("extf", f.abs(x), "f64"))
    s = (m - 1) / (m + 1)
    z = s * s
    ln = f.fma(s * z, f.poly(z, LOG32), s + s)
    log2 = f.fma(ln, 1 / LN2, int_to_float(f, k, "f64"))
    t = clamp(f, log2 * f.convert("extf", y, "f64"), -200, 200)
    p, n = exp2_parts(f, t)
    f.ret(pow_specials(f, x, y, f.convert("truncf", scale(f, p, n), "f32")))
    return f


def powf_f64(fused):
    doc = "|x|^y = e^(y log|x|), log|x| and the product in double-double. Special values as IEEE 754 pow."
    if not fused:
        doc += "\nFor targets without FMA: products split by hand."
    f = Function("powf_f64" if fused else "powf_f64_nofma", [("x", "f64"), ("y", "f64")], ["f64"], doc)
    f.fused = fused
    x, y = f.args
    k, m = split_exponent(f, f.abs(x))
    f.note("s = (m - 1) / (m + 1), log m = 2 s + 2/3 s^3 + s^5 P(s^2)")
    num, den = m - 1, m + 1
    den_low = m - (den - 1)
    s = num / den
    p, e = two_product(f, s, den)
    s_low = (((num - p) - e) - s * den_low) / den
    z = two_product_pair(f, (s, s_low), (s, s_low))
    third = rounded(mp.mpf(2) / 3, "f64")
    cubic = (f.const(third, "f64"), f.const(mp.mpf(2) / 3 - third, "f64"))
    tail = f.poly(z[0], LOG64)
    c = fast_sum(cubic[0], f.fma(z[0], tail, cubic[1]))
    series = two_product_pair(f, two_product_pair(f, (s, s_low), z), c)
    kf = int_to_float(f, k, "f64")
    c_hi, c_lo = split(LN2, "f64", 12)
    f.note("k ln2 + 2 s + series")
    h, e1 = fast_sum(kf * c_hi, s + s)
    h, e2 = fast_sum(h, series[0])
    h, low = fast_sum(h, e1 + e2 + (f.fma(kf, c_lo, s_low + s_low) + series[1]))
    f.note("times y; products beyond the range of exp are cut before their low part turns to NaN")
    yc = clamp(f, y, -(mp.mpf(2) ** 600), mp.mpf(2) ** 600)
    p, e = two_product(f, h, yc)
    p_low = e + low * yc
    inside = f.abs(p) < 746
    t = clamp(f, p, -746, 710)
    e, n = exp_parts(f, t, f.select(inside, p_low, 0))
    f.ret(pow_specials(f, x, y, scale(f, e, n)))
    return f


def fpowi(ty, int_ty):
    f = Function(f"fpowi_{ty}_{int_ty}", [("x", ty), ("n", int_ty)], [ty], "x^n for an integer n (exact in f64 up to 2^53), by powf.")
    x, n = f.args
    y = f.convert("sitofp", n, ty)
    f.ret(f.call(f"powf_{ty}", [x, y], [ty]))
    return f


def cbrt(ty):
    f = Function(f"cbrt_{ty}", [("x", ty)], [ty], "Cube root: exponent divided by 3 in integers, Halley steps, one Newton step.")
    (x,) = f.args
    mb = MANTISSA[ty]
    a = f.abs(x)
    f.note("away from subnormals and from where 2a overflows")
    shift = {"f32": 24, "f64": 54}[ty]
    small, large = a < mp.mpf(2) ** (1 - BIAS[ty]), a > mp.mpf(2) ** (BIAS[ty] - 2)
    pick = lambda e: f.select(small, f.const(mp.mpf(2) ** e, ty), f.select(large, f.const(mp.mpf(2) ** -e, ty), 1))
    a = a * pick(shift)
    third = f.const(3, "i32")
    if ty == "f32":
        t = f.from_bits(f.op("arith.divui", [f.bits(a), third], "i32") + 709958130)
    else:
        high = f.convert("trunci", f.bits(a).shru(32), "i32")
        high = f.op("arith.divui", [high, third], "i32") + 715094163
        t = f.from_bits(f.convert("extui", high, "i64") << 32)
    for _ in range({"f32": 1, "f64": 2}[ty]):
        f.note("t (t^3 + 2a) / (2 t^3 + a)")
        c = t * t * t
        t = t * ((c + (a + a)) / (c + c + a))
    t = t - (t - a / (t * t)) * (mp.mpf(1) / 3)
    t = t * pick(-shift // 3)
    ordinary = f.op("arith.andi", [a < INF, a > 0], "i1")
    f.ret(f.select(ordinary, f.copysign(t, x), x))
    return f


def rsqrt(ty):
    f = Function(f"rsqrt_{ty}", [("x", ty)], [ty], "1 / sqrt(x).")
    (x,) = f.args
    f.ret(1 / f.sqrt(x))
    return f


def ipowi(ty):
    bits = int_bits(ty)
    doc = "x^n wrapping, by squaring. Negative n: 1 / x^|n| truncated, so 0 but for x = 1 and -1; 0^n with n < 0 gives 0."
    f = Function(f"ipowi_{ty}", [("x", ty), ("n", ty)], [ty], doc)
    x, n = f.args
    r, b = f.const(1, ty), x
    for i in range(bits - 1):
        r = f.select((n & (1 << i)).ne(0), r * b, r)
        b = b * b
    f.note("x = -1: sign by the parity of n")
    unit = f.select(x.eq(-1), f.select((n & 1).ne(0), f.const(-1, ty), 1), 0)
    unit = f.select(x.eq(1), f.const(1, ty), unit)
    f.ret(f.select(n < 0, unit, r))
    return f


def functions():
    floats = [g(ty) for ty in ("f32", "f64") for g in (cbrt, rsqrt)]
    return floats + [powf_f32(), powf_f64(True), powf_f64(False)] + [fpowi(t, i) for t in ("f32", "f64") for i in ("i32", "i64")] + [ipowi("i32"), ipowi("i64")]
