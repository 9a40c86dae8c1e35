"""Expression builder -> MLIR text of straight-line scalar functions (arith, a few native math ops, func.call).

One `Function` is one `func.func` of the library. Python operators on `Value` emit one op each; equal ops with equal operands
are emitted once. Nothing here knows about ULPs: the formulas stand in the family files next to this one.
"""

import mpmath
from mpmath import mp

mp.dps = 70

BITS = {"f16": 16, "bf16": 16, "f32": 32, "f64": 64}
MANTISSA = {"f32": 23, "f64": 52}
BIAS = {"f32": 127, "f64": 1023}
INT_OF = {"f32": "i32", "f64": "i64"}


def is_float(ty):
    return "f" in ty


def int_bits(ty):
    return int(ty[1:])


class Value:
    """An SSA value of a scalar type."""

    def __init__(self, fn, name, ty):
        self.fn, self.name, self.ty = fn, name, ty

    def _bin(self, other, float_op, int_op, swap=False):
        other = self.fn.coerce(other, self.ty)
        a, b = (other, self) if swap else (self, other)
        return self.fn.op(float_op if is_float(self.ty) else int_op, [a, b], self.ty)

    def __add__(self, o): return self._bin(o, "arith.addf", "arith.addi")
    def __radd__(self, o): return self._bin(o, "arith.addf", "arith.addi", True)
    def __sub__(self, o): return self._bin(o, "arith.subf", "arith.subi")
    def __rsub__(self, o): return self._bin(o, "arith.subf", "arith.subi", True)
    def __mul__(self, o): return self._bin(o, "arith.mulf", "arith.muli")
    def __rmul__(self, o): return self._bin(o, "arith.mulf", "arith.muli", True)
    def __truediv__(self, o): return self._bin(o, "arith.divf", None)
    def __rtruediv__(self, o): return self._bin(o, "arith.divf", None, True)
    def __and__(self, o): return self._bin(o, None, "arith.andi")
    def __or__(self, o): return self._bin(o, None, "arith.ori")
    def __xor__(self, o): return self._bin(o, None, "arith.xori")
    def __lshift__(self, o): return self._bin(o, None, "arith.shli")
    def __rshift__(self, o): return self._bin(o, None, "arith.shrsi")
    def __neg__(self): return self.fn.op("arith.negf", [self], self.ty)
    def __lt__(self, o): return self.fn.cmp("olt", "slt", self, o)
    def __le__(self, o): return self.fn.cmp("ole", "sle", self, o)
    def __gt__(self, o): return self.fn.cmp("ogt", "sgt", self, o)
    def __ge__(self, o): return self.fn.cmp("oge", "sge", self, o)
    def shru(self, o): return self._bin(o, None, "arith.shrui")
    def eq(self, o): return self.fn.cmp("oeq", "eq", self, o)
    def ne(self, o): return self.fn.cmp("une", "ne", self, o)


class Function:
    def __init__(self, name, args, results, doc):
        self.name, self.results, self.doc = name, results, doc
        self.lines, self.constants, self.seen, self.count = [], {}, {}, 0
        self.fused = True  # may the function rely on math.fma being exact?
        self.args = [Value(self, "%" + n, t) for n, t in args]

    def fresh(self):
        self.count += 1
        return f"%{self.count - 1}"

    def note(self, text):
        self.lines.append(f"  // {text}")

    def coerce(self, v, ty):
        return v if isinstance(v, Value) else self.const(v, ty)

    def const(self, v, ty):
        text = constant_text(v, ty)
        key = (text, ty)
        if key not in self.constants:
            self.constants[key] = Value(self, f"%c{len(self.constants)}", ty)
        return self.constants[key]

    def op(self, name, operands, ty, types=None):
        assert name is not None
        key = (name, tuple(o.name for o in operands), ty)
        if key in self.seen:
            return self.seen[key]
        out = Value(self, self.fresh(), ty)
        self.lines.append(f"  {out.name} = {name} {', '.join(o.name for o in operands)} : {types or ty}")
        self.seen[key] = out
        return out

    def cmp(self, float_pred, int_pred, a, b):
        b = self.coerce(b, a.ty)
        name = f"arith.cmpf {float_pred}," if is_float(a.ty) else f"arith.cmpi {int_pred},"
        return self.op(name, [a, b], "i1", a.ty)

    def convert(self, name, a, ty):
        return self.op(f"arith.{name}", [a], ty, f"{a.ty} to {ty}")

    def bits(self, a):
        return self.convert("bitcast", a, INT_OF[a.ty])

    def from_bits(self, a):
        return self.convert("bitcast", a, "f" + a.ty[1:])

    def select(self, c, a, b):
        a = a if isinstance(a, Value) else self.const(a, b.ty)
        b = self.coerce(b, a.ty)
        return self.op("arith.select", [c, a, b], a.ty)

    def fma(self, a, b, c):
        ty = next(v.ty for v in (a, b, c) if isinstance(v, Value))
        return self.op("math.fma", [self.coerce(v, ty) for v in (a, b, c)], ty)

    def unary(self, name, a):
        return self.op(name, [a], a.ty)

    def abs(self, a): return self.unary("math.absf", a)
    def sqrt(self, a): return self.unary("math.sqrt", a)
    def rint(self, a): return self.unary("math.roundeven", a)
    def trunc(self, a): return self.unary("math.trunc", a)
    def copysign(self, a, s): return self.op("math.copysign", [self.coerce(a, s.ty), s], s.ty)
    def any(self, a, b): return a | b
    def negate(self, c): return c ^ self.const(1, "i1")

    def call(self, name, operands, results):
        """Calls another function of the library; returns one Value or a tuple."""
        out = self.fresh()
        types = ", ".join(o.ty for o in operands)
        args = ", ".join(o.name for o in operands)
        if len(results) == 1:
            self.lines.append(f"  {out} = func.call @{name}({args}) : ({types}) -> {results[0]}")
            return Value(self, out, results[0])
        self.lines.append(f"  {out}:{len(results)} = func.call @{name}({args}) : ({types}) -> ({', '.join(results)})")
        return tuple(Value(self, f"{out}#{i}", t) for i, t in enumerate(results))

    def poly(self, x, coefficients):
        """Horner; coefficients from the constant term upwards."""
        acc = self.coerce(coefficients[-1], x.ty)
        for c in reversed(coefficients[:-1]):
            acc = self.fma(acc, x, c)
        return acc

    def ret(self, *values):
        self.returned = [self.coerce(v, t) for v, t in zip(values, self.results)]

    def ret_value(self, value):
        self.returned = [value]

    def text(self):
        args = ", ".join(f"{a.name}: {a.ty}" for a in self.args)
        results = self.results[0] if len(self.results) == 1 else f"({', '.join(self.results)})"
        out = [f"// {line}" for line in self.doc.strip().split("\n")]
        out.append(f"func.func @{self.name}({args}) -> {results} {{")
        out += [f"  {v.name} = arith.constant {t}{'' if ty == 'i1' else ' : ' + ty}" for (t, ty), v in self.constants.items()]
        out += self.lines
        out.append(f"  return {', '.join(v.name for v in self.returned)} : {', '.join(self.results)}")
        return "\n".join(out + ["}", ""])


def constant_text(v, ty):
    if ty == "i1":
        return "true" if v else "false"
    if not is_float(ty):
        v, n = int(v), int_bits(ty)
        v &= (1 << n) - 1
        return str(v - (1 << n) if v >> (n - 1) else v)
    v = mp.mpf(v)
    digits = {"f32": 8, "f64": 7, "f16": 4, "bf16": 4}[ty] * 2
    if mpmath.isnan(v):
        return {"f32": "0x7FC00000", "f64": "0x7FF8000000000000"}[ty]
    if mpmath.isinf(v):
        return {("f32", 1): "0x7F800000", ("f32", -1): "0xFF800000", ("f64", 1): "0x7FF0000000000000",
                ("f64", -1): "0xFFF0000000000000"}[ty, 1 if v > 0 else -1]
    r = rounded(v, ty)
    return f"{float(r):.{digits + 2 if ty == 'f64' else 9}e}"


def rounded(v, ty):
    """v rounded to the nearest value of `ty` (normal range), as an mpf."""
    v = mp.mpf(v)
    with mp.workprec(MANTISSA[ty] + 1):
        return +v


def split(v, ty, drop):
    """v = hi + lo, hi with the last `drop` mantissa bits zero, so that hi times a small integer is exact."""
    with mp.workprec(MANTISSA[ty] + 1 - drop):
        hi = +mp.mpf(v)
    return hi, rounded(mp.mpf(v) - hi, ty)


def fit(f, a, b, terms):
    """Chebyshev interpolation (within a few per cent of minimax), constant term first; f may be 0/0 at 0."""
    a, b = mp.mpf(a), mp.mpf(b)
    c = mpmath.chebyfit(lambda t: f(t if abs(t) > mp.mpf(10) ** -20 else mp.mpf(10) ** -20), [a, b], terms)
    return list(reversed(c))


INF = mp.inf
NAN = mp.nan
