"""remf: the exact C fmod, without a loop. The exponent difference is worked off in fixed steps, each of which is exact."""

from builder import *
from exp import power_of_two


def finish(f, x, y, r):
    """Sign of x; NaN for y = 0, infinite x or NaN."""
    a, b = f.abs(x), f.abs(y)
    r = f.copysign(r, x)
    r = f.select(b.eq(INF), x, r)
    bad = f.op("arith.ori", [f.negate(a < INF), f.negate(b > 0)], "i1")
    return f.select(bad, f.const(NAN, x.ty), r)


def step(f, r, b, inverse):
    """r mod b for r / b < 2^50. The nearest quotient, at most a little off, leaves |r| < b, which is exact (r < 2b would not be)."""
    q = f.rint(r * inverse)
    r = f.fma(-q, b, r)
    return f.select(r < 0, r + b, r)


def remf_f32():
    doc = "fmod in f64: |y| 2^(28 i) for i = 9 .. 0 is taken away as often as it fits; 28-bit quotient times 24-bit |y| is exact."
    f = Function("remf_f32", [("x", "f32"), ("y", "f32")], ["f32"], doc)
    x, y = f.args
    r, b = f.convert("extf", f.abs(x), "f64"), f.convert("extf", f.abs(y), "f64")
    inverse = 1 / b
    for i in reversed(range(10)):
        s = mp.mpf(2) ** (28 * i)
        r = step(f, r, b * s, inverse * (1 / s))
    f.ret(finish(f, x, y, f.convert("truncf", r, "f32")))
    return f


def parts(f, a):
    """a > 0 -> mantissa in [1, 2) and exponent; subnormals are scaled first."""
    small = a < mp.mpf(2) ** -1022
    b = f.bits(f.select(small, a * mp.mpf(2) ** 54, a))
    e = b.shru(52) - f.select(small, f.const(1023 + 54, "i64"), 1023)
    return f.from_bits((b & ((1 << 52) - 1)) | (1023 << 52)), e


def step_without_fma(f, r, b, low, high, inverse):
    """The same for r / b < 2^24 with b = high + low: both products are exact, and so is what is left."""
    q = f.rint(r * inverse)
    r = (r - q * high) - q * low
    return f.select(r < 0, r + b, r)


def remf_f64(fused):
    bits_a_step = 48 if fused else 24
    doc = f"fmod: mantissas in [1, 2), the exponent difference d worked off by up to {bits_a_step} bits a step (2100 at most)."
    if not fused:
        doc += "\nFor targets without FMA."
    f = Function("remf_f64" if fused else "remf_f64_nofma", [("x", "f64"), ("y", "f64")], ["f64"], doc)
    x, y = f.args
    a, b = f.abs(x), f.abs(y)
    m, e = parts(f, a)
    d, ed = parts(f, b)
    left = e - ed
    below = left < 0
    left = f.select(below, f.const(0, "i64"), left)
    inverse = 1 / d
    high = f.from_bits(f.bits(d) & -(1 << 27))
    low = d - high
    r = f.select(m >= d, m - d, m)
    for _ in range(2112 // bits_a_step):
        bits = f.select(left > bits_a_step, f.const(bits_a_step, "i64"), left)
        left = left - bits
        r = r * power_of_two(f, bits)
        r = step(f, r, d, inverse) if fused else step_without_fma(f, r, d, low, high, inverse)
    f.note("r 2^ed, in two factors because ed may be below the normal range")
    half = ed >> 1
    r = r * power_of_two(f, half) * power_of_two(f, ed - half)
    f.ret(finish(f, x, y, f.select(f.op("arith.ori", [below, a.eq(0)], "i1"), a, r)))
    return f


def functions():
    return [remf_f32(), remf_f64(True), remf_f64(False)]
