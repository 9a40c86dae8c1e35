"""python3 golden.py: writes compiler/tests/math/golden_f64.txt, results of 70 digits as a sum of two f64 (needs mpmath)."""

import math
import os
import random
import struct

from mpmath import mp

mp.dps = 400  # enough for arguments up to 1e300 of periodic functions


def bits(v):
    return struct.pack(">d", float(v)).hex()


def erf_inv(x):
    with mp.workdps(60):
        return mp.findroot(lambda y: mp.log(mp.erfc(y) / (1 - x)), mp.erfinv(mp.mpf(x))) if x > 0.5 else mp.erfinv(mp.mpf(x))


LOG = lambda r: 10.0 ** r.uniform(-300, 300)
NEAR_ONE = lambda r: 1 + r.uniform(-0.4, 0.6)
SMALL = lambda r: r.choice((-1, 1)) * 2.0 ** r.uniform(-40, 0)
UNIT = lambda r: r.uniform(-1, 1)
WIDE = lambda limit: lambda r: r.uniform(-limit, limit)
FUNCTIONS = {
    "exp": (mp.exp, WIDE(740), UNIT), "exp2": (lambda x: mp.mpf(2) ** x, WIDE(1070), UNIT), "expm1": (mp.expm1, WIDE(40), SMALL),
    "log": (mp.log, LOG, NEAR_ONE), "log2": (lambda x: mp.log(x, 2), LOG, NEAR_ONE), "log10": (mp.log10, LOG, NEAR_ONE),
    "log1p": (mp.log1p, LOG, SMALL), "sinh": (mp.sinh, WIDE(700), SMALL), "cosh": (mp.cosh, WIDE(700), SMALL),
    "tanh": (mp.tanh, WIDE(20), SMALL), "asinh": (mp.asinh, LOG, SMALL), "acosh": (mp.acosh, lambda r: 1 + LOG(r), lambda r: 1 + abs(SMALL(r))),
    "atanh": (mp.atanh, UNIT, SMALL), "sin": (mp.sin, LOG, WIDE(10)), "cos": (mp.cos, LOG, WIDE(10)), "tan": (mp.tan, LOG, WIDE(10)),
    "asin": (mp.asin, UNIT, SMALL), "acos": (mp.acos, UNIT, SMALL), "atan": (mp.atan, WIDE(100), SMALL), "erf": (mp.erf, WIDE(6), SMALL),
    "erfc": (mp.erfc, lambda r: r.uniform(0, 27), SMALL), "cbrt": (mp.cbrt, LOG, NEAR_ONE), "rsqrt": (lambda x: 1 / mp.sqrt(x), LOG, NEAR_ONE),
    "round": (lambda x: mp.floor(x + mp.mpf(0.5)), lambda r: r.uniform(0, 1e6), lambda r: math.floor(r.uniform(0, 9)) + 0.5),
    "logistic": (lambda x: 1 / (1 + mp.exp(-x)), WIDE(700), UNIT),
    "erf_inv": (erf_inv, lambda r: 1 - 2.0 ** r.uniform(-50, -1), lambda r: abs(SMALL(r)) * 0.999),
}
PAIRS = {
    "powf": (lambda x, y: mp.mpf(x) ** mp.mpf(y), lambda r: (10.0 ** r.uniform(-3, 3), r.uniform(-90, 90)), lambda r: (1 + r.uniform(-0.01, 0.01), r.uniform(-60000, 60000))),
    "atan2": (mp.atan2, lambda r: (r.uniform(-9, 9), r.uniform(-9, 9)), lambda r: (SMALL(r), r.uniform(-9, 9))),
    "remf": (lambda x, y: mp.mpf(math.fmod(x, y)), lambda r: (LOG(r), LOG(r)), lambda r: (r.uniform(-1e6, 1e6), SMALL(r))),
}


def exact(f, *xs):
    v = f(*[mp.mpf(x) for x in xs])
    high = float(v)
    return bits(high), bits(v - mp.mpf(high))


def main():
    r = random.Random(22)
    lines = ["# function, x, y or -, result and what is missing from it; f64 as hexadecimal bits. Written by src/vector/math/generate/golden.py."]
    for name, (f, *draws) in FUNCTIONS.items():
        for i in range(48):
            x = draws[i % len(draws)](r)
            lines.append(" ".join((name, bits(x), "-", *exact(f, x))))
    for name, (f, *draws) in PAIRS.items():
        for i in range(48):
            x, y = draws[i % len(draws)](r)
            lines.append(" ".join((name, bits(x), bits(y), *exact(f, x, y))))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../../tests/math/golden_f64.txt")
    with open(path, "w") as out:
        out.write("\n".join(lines) + "\n")


main()
