"""sin, cos, tan for every finite argument: the argument times 2/pi is taken in fixed point, with just the bits of 2/pi
that matter (M. Payne, R. Hanek, "Radian reduction for trigonometric functions", 1983). f32 evaluates in f64."""

from builder import *
from exp import int_to_float

QUARTER = mp.mpf("0.78539816339744830961")
# sin(r) = r + r^3 S(r^2), cos(r) = 1 - r^2/2 + r^4 C(r^2), |r| <= pi/4; the f32 functions need fewer terms of the same f64 code.
ZMAX = mp.mpf("0.6169")
S = {ty: fit(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, ZMAX, n) for ty, n in (("f32", 4), ("f64", 7))}
C = {ty: fit(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, 0, ZMAX, n) for ty, n in (("f32", 4), ("f64", 7))}
MASK32 = (1 << 32) - 1


def pick(f, index, words, count, stages):
    """words[index .. index + count] by a ladder of selects, one per bit of `index`."""
    words = [f.const(w, "i64") for w in words]
    for bit in reversed(range(stages)):
        step, need = 1 << bit, count + (1 << bit) - 1
        taken = (index & step).ne(0)
        at = lambda i: words[i] if i < len(words) else f.const(0, "i64")
        words = [f.select(taken, at(i + step), at(i)) for i in range(need)]
    return words


def window(f, start, zeros, total_bits, count, stages):
    """`count` 64-bit words from bit `start` of a string of total_bits: `zeros` zero bits, then the fraction bits of 2/pi."""
    n = total_bits // 64
    with mp.workprec(total_bits + 64):
        big = int(mp.floor(scaled_two_over_pi(total_bits - zeros)))
    words = [(big >> (64 * (n - 1 - i))) & ((1 << 64) - 1) for i in range(n)]
    picked = pick(f, start.shru(6), words, count + 1, stages)
    s = start & 63
    inverse = f.const(63, "i64") - s
    return [(picked[i] << s) | picked[i + 1].shru(1).shru(inverse) for i in range(count)]


def scaled_two_over_pi(bits):
    with mp.workprec(bits + 64):
        return (2 / +mp.pi) * mp.mpf(2) ** bits


def low32(v):
    return v & MASK32


def reduce_f32():
    f = Function("trig_reduce_f32", [("a", "f32")], ["f64", "i64"], "|x| -> r in [-pi/4, pi/4] (f64) and the quadrant modulo 4.")
    (a,) = f.args
    b = f.convert("extui", f.bits(a), "i64")
    e = b.shru(23)
    m = (b & 0x7FFFFF) | 0x800000
    f.note("a 2/pi mod 4 as a 2.62 fixed-point number: 24 bits of a times 96 bits of 2/pi")
    hi, lo = window(f, e - 126, 26, 320, 2, 2)
    value = ((m * hi.shru(32)) << 32) + m * low32(hi) + (m * lo.shru(32)).shru(32)
    q = (value + (1 << 61)).shru(62)
    rest = value - (q << 62)
    high = int_to_float(f, rest >> 32, "f64")
    low = f.from_bits(low32(rest) | (1075 << 52)) - mp.mpf(2) ** 52
    r = f.fma(high, mp.mpf(2) ** 32, low) * (mp.pi / 2 * mp.mpf(2) ** -62)
    near = a <= QUARTER
    f.ret(f.select(near, f.convert("extf", a, "f64"), r), f.select(near, f.const(0, "i64"), q))
    return f


def reduce_f64():
    f = Function("trig_reduce_f64", [("a", "f64")], ["f64", "f64", "i64"], "|x| -> r + low in [-pi/4, pi/4] and the quadrant modulo 4.")
    (a,) = f.args
    b = f.bits(a)
    m = (b & ((1 << 52) - 1)) | (1 << 52)
    f.note("a 2/pi mod 4 as a 2.190 fixed-point number: 53 bits of a times 192 bits of 2/pi")
    w = []
    for word in window(f, b.shru(52) - 1013, 64, 1280, 3, 5):
        w += [word.shru(32), low32(word)]
    m0, m1 = low32(m), m.shru(32)
    carry, digits = f.const(0, "i64"), []
    low_products = [m0 * v for v in w]
    high_products = [m1 * v for v in w]
    for j in reversed(range(6)):
        column = carry + low32(low_products[j])
        if j + 1 < 6:
            column = column + low_products[j + 1].shru(32) + low32(high_products[j + 1])
        if j + 2 < 6:
            column = column + high_products[j + 2].shru(32)
        digits.insert(0, low32(column))
        carry = column.shru(32)
    q = (digits[0] + (1 << 29)).shru(30)
    f.note("signed digits to f64, largest first, summed without error until the last")
    top = int_to_float(f, digits[0] - (q << 30), "f64")
    parts = [top * mp.mpf(2) ** -30]
    for i in (1, 2, 3):
        parts.append((f.from_bits(digits[i] | (1075 << 52)) - mp.mpf(2) ** 52) * mp.mpf(2) ** (-30 - 32 * i))
    h, l = two_sum(parts[0], parts[1])
    l = (l + parts[2]) + parts[3]
    h, l = two_sum(h, l)
    c_hi = rounded(mp.pi / 2, "f64")
    c_lo = rounded(mp.pi / 2 - c_hi, "f64")
    r = h * c_hi
    r_low = f.fma(h, c_hi, -r) + f.fma(h, c_lo, l * c_hi)
    near = a <= QUARTER
    f.ret(f.select(near, a, r), f.select(near, f.const(0, "f64"), r_low), f.select(near, f.const(0, "i64"), q & 3))
    return f


def two_sum(a, b):
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def sin_cos(f, ty, r, low=None):
    z = r * r
    s = r * z * f.poly(z, S[ty])
    half = z * 0.5
    w = 1 - half
    c = f.fma(z * z, f.poly(z, C[ty]), (1 - w) - half)
    if low is not None:
        s = s + f.fma(low, -half, low)
        c = c - r * low
    return r + s, w + c


def reduced(f, x):
    a = f.abs(x)
    if x.ty == "f32":
        r, q = f.call("trig_reduce_f32", [a], ["f64", "i64"])
        return sin_cos(f, "f32", r), q
    r, low, q = f.call("trig_reduce_f64", [a], ["f64", "f64", "i64"])
    return sin_cos(f, "f64", r, low), q


def finish(f, x, y):
    """Back to the type of x; NaN for infinite x."""
    if x.ty == "f32":
        y = f.convert("truncf", y, "f32")
    return f.select(f.abs(x) < INF, y, x - x)


def flip(f, y, sign_bit):
    """Changes the sign of y where bit 63 of sign_bit is set."""
    return f.from_bits(f.bits(y) ^ (sign_bit & (1 << 63)))


def sin(ty):
    f = Function(f"sin_{ty}", [("x", ty)], [ty], "Sine of an angle in radians.")
    (x,) = f.args
    (s, c), q = reduced(f, x)
    y = f.select((q & 1).ne(0), c, s)
    y = finish(f, x, flip(f, y, q << 62))
    f.note("odd")
    f.ret(f.from_bits(f.bits(y) ^ (f.bits(x) & (1 << (BITS[ty] - 1)))))
    return f


def cos(ty):
    f = Function(f"cos_{ty}", [("x", ty)], [ty], "Cosine of an angle in radians.")
    (x,) = f.args
    (s, c), q = reduced(f, x)
    y = f.select((q & 1).ne(0), s, c)
    f.ret(finish(f, x, flip(f, y, (q + 1) << 62)))
    return f


def tan(ty):
    f = Function(f"tan_{ty}", [("x", ty)], [ty], "Tangent of an angle in radians: sin / cos, or -cos / sin in odd quadrants.")
    (x,) = f.args
    (s, c), q = reduced(f, x)
    odd = (q & 1).ne(0)
    y = f.select(odd, c, s) / f.select(odd, s, c)
    y = finish(f, x, flip(f, y, q << 63))
    f.ret(f.from_bits(f.bits(y) ^ (f.bits(x) & (1 << (BITS[ty] - 1)))))
    return f


def functions():
    return [reduce_f32(), reduce_f64()] + [g(ty) for ty in ("f32", "f64") for g in (sin, cos, tan)]
