"""Conversions that would otherwise be compiler-rt calls: f32 -> bf16, f64 -> bf16, f64 -> f16, bf16 -> f32; and round
(half away from zero). All round to nearest even, once."""

from builder import *


def f64_to_odd_f32(f, x):
    """f64 -> f32 rounded to odd, so that a later rounding to a narrower type is as if done once (24 >= 11 + 2 bits)."""
    y = f.convert("truncf", x, "f32")
    back = f.convert("extf", y, "f64")
    b = f.bits(y)
    even = (b & 1).eq(0)
    inexact = back.ne(x)
    f.note("rounded up in magnitude: step back; both neighbours of an inexact value differ in the last bit")
    up = f.abs(back) > f.abs(x)
    stepped = f.select(up, b - 1, b + 1)
    change = f.op("arith.andi", [f.op("arith.andi", [even, inexact], "i1"), f.op("arith.cmpf ord,", [x, x], "i1", "f64")], "i1")
    return f.from_bits(f.select(change, stepped, b))


def to_bf16(f, x):
    b = f.bits(x)
    rounded_up = (b + ((b.shru(16) & 1) + 0x7FFF)).shru(16)
    nan = b.shru(16) | 0x40
    h = f.select(f.op("arith.cmpf uno,", [x, x], "i1", "f32"), nan, rounded_up)
    return f.convert("bitcast", f.convert("trunci", h, "i16"), "bf16")


def f32_bf16():
    f = Function("truncf_f32_bf16", [("x", "f32")], ["bf16"], "f32 -> bf16, to nearest even, in integers.")
    f.ret_value(to_bf16(f, f.args[0]))
    return f


def f64_bf16():
    f = Function("truncf_f64_bf16", [("x", "f64")], ["bf16"], "f64 -> bf16 through f32 rounded to odd.")
    f.ret_value(to_bf16(f, f64_to_odd_f32(f, f.args[0])))
    return f


def f64_f16():
    f = Function("truncf_f64_f16", [("x", "f64")], ["f16"], "f64 -> f16 through f32 rounded to odd.")
    f.ret_value(f.convert("truncf", f64_to_odd_f32(f, f.args[0]), "f16"))
    return f


def bf16_f32():
    doc = "bf16 -> f32 in integers: LLVM would move operations across a plain extension back to bf16, and then call a rounding function."
    f = Function("extf_bf16_f32", [("x", "bf16")], ["f32"], doc)
    h = f.convert("extui", f.convert("bitcast", f.args[0], "i16"), "i32")
    f.ret_value(f.from_bits(h << 16))
    return f


def round_away(ty):
    f = Function(f"round_{ty}", [("x", ty)], [ty], "To the nearest integer, halves away from zero: the half just below 1/2 keeps 0.49999997 at 0.")
    (x,) = f.args
    below = mp.mpf(0.5) - mp.mpf(2) ** -(MANTISSA[ty] + 2)
    f.ret(f.trunc(x + f.copysign(f.const(below, ty), x)))
    return f


def functions():
    return [f32_bf16(), f64_bf16(), f64_f16(), bf16_f32(), round_away("f32"), round_away("f64")]
