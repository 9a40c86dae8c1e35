// Elementwise ops: one row each. Operands and result have the same shape; broadcasting is explicit (graph.broadcast).

class Graph_Unary<string mnemonic, Type tensor, string what> : Graph_Op<mnemonic, [Elementwise, SameOperandsAndResultType]> {
  let summary = what;
  let arguments = (ins tensor:$input);
  let results = (outs tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}

class Graph_Predicate<string mnemonic, string what> : Graph_Op<mnemonic, [Elementwise, Graph_InfersTypes]> {
  let summary = what;
  let arguments = (ins Graph_FloatTensor:$input);
  let results = (outs Graph_BoolTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

class Graph_Binary<string mnemonic, Type tensor, string what, list<Trait> traits = []>
    : Graph_Op<mnemonic, !listconcat([Elementwise, SameOperandsAndResultType], traits)> {
  let summary = what;
  let arguments = (ins tensor:$lhs, tensor:$rhs);
  let results = (outs tensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
  let hasCanonicalizer = 1;
}

class Graph_Compare<string mnemonic, string what, list<Trait> traits = []>
    : Graph_Op<mnemonic, !listconcat([Elementwise, SameTypeOperands, Graph_InfersTypes], traits)> {
  let summary = what # "; comparisons with NaN are false (ne: true)";
  let arguments = (ins Graph_Tensor:$lhs, Graph_Tensor:$rhs);
  let results = (outs Graph_BoolTensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
}

def Graph_AbsOp : Graph_Unary<"abs", Graph_NumberTensor, "absolute value; the minimum of a signed type stays as it is">;
def Graph_NegOp : Graph_Unary<"neg", Graph_NumberTensor, "negation; integers wrap">;
def Graph_SignOp : Graph_Unary<"sign", Graph_NumberTensor, "-1, 0 or 1; NaN stays NaN">;
def Graph_CeilOp : Graph_Unary<"ceil", Graph_FloatTensor, "smallest integer not below">;
def Graph_FloorOp : Graph_Unary<"floor", Graph_FloatTensor, "largest integer not above">;
def Graph_RoundOp : Graph_Unary<"round", Graph_FloatTensor, "nearest integer, ties to even">;
def Graph_TruncOp : Graph_Unary<"trunc", Graph_FloatTensor, "nearest integer toward zero">;
def Graph_ExpOp : Graph_Unary<"exp", Graph_FloatTensor, "e to the power of the input">;
def Graph_Expm1Op : Graph_Unary<"expm1", Graph_FloatTensor, "exp(x) - 1, accurate near 0">;
def Graph_LogOp : Graph_Unary<"log", Graph_FloatTensor, "natural logarithm">;
def Graph_Log1pOp : Graph_Unary<"log1p", Graph_FloatTensor, "log(1 + x), accurate near 0">;
def Graph_SqrtOp : Graph_Unary<"sqrt", Graph_FloatTensor, "square root">;
def Graph_RsqrtOp : Graph_Unary<"rsqrt", Graph_FloatTensor, "1 / sqrt(x)">;
def Graph_CbrtOp : Graph_Unary<"cbrt", Graph_FloatTensor, "cube root">;
def Graph_LogisticOp : Graph_Unary<"logistic", Graph_FloatTensor, "1 / (1 + exp(-x))">;
def Graph_SinOp : Graph_Unary<"sin", Graph_FloatTensor, "sine">;
def Graph_CosOp : Graph_Unary<"cos", Graph_FloatTensor, "cosine">;
def Graph_TanOp : Graph_Unary<"tan", Graph_FloatTensor, "tangent">;
def Graph_AsinOp : Graph_Unary<"asin", Graph_FloatTensor, "inverse sine">;
def Graph_AcosOp : Graph_Unary<"acos", Graph_FloatTensor, "inverse cosine">;
def Graph_AtanOp : Graph_Unary<"atan", Graph_FloatTensor, "inverse tangent">;
def Graph_SinhOp : Graph_Unary<"sinh", Graph_FloatTensor, "hyperbolic sine">;
def Graph_CoshOp : Graph_Unary<"cosh", Graph_FloatTensor, "hyperbolic cosine">;
def Graph_TanhOp : Graph_Unary<"tanh", Graph_FloatTensor, "hyperbolic tangent">;
def Graph_AsinhOp : Graph_Unary<"asinh", Graph_FloatTensor, "inverse hyperbolic sine">;
def Graph_AcoshOp : Graph_Unary<"acosh", Graph_FloatTensor, "inverse hyperbolic cosine">;
def Graph_AtanhOp : Graph_Unary<"atanh", Graph_FloatTensor, "inverse hyperbolic tangent">;
def Graph_ErfOp : Graph_Unary<"erf", Graph_FloatTensor, "error function">;
def Graph_ErfcOp : Graph_Unary<"erfc", Graph_FloatTensor, "1 - erf(x), accurate for large x">;
def Graph_ErfInvOp : Graph_Unary<"erf_inv", Graph_FloatTensor, "inverse error function">;
def Graph_NotOp : Graph_Unary<"not", Graph_BitsTensor, "bitwise complement; negation of bool">;
def Graph_PopcntOp : Graph_Unary<"popcnt", Graph_IntegerTensor, "number of set bits">;
def Graph_ClzOp : Graph_Unary<"clz", Graph_IntegerTensor, "number of leading zero bits">;

def Graph_IsNanOp : Graph_Predicate<"is_nan", "true where the input is NaN">;
def Graph_IsInfOp : Graph_Predicate<"is_inf", "true where the input is an infinity of either sign">;

def Graph_AddOp : Graph_Binary<"add", Graph_NumberTensor, "sum; integers wrap", [Commutative]>;
def Graph_SubOp : Graph_Binary<"sub", Graph_NumberTensor, "difference; integers wrap">;
def Graph_MulOp : Graph_Binary<"mul", Graph_NumberTensor, "product; integers wrap", [Commutative]>;
def Graph_DivOp : Graph_Binary<"div", Graph_NumberTensor, "quotient; integers truncate toward zero, division by zero gives all bits set (-1 for signed)">;
def Graph_RemOp : Graph_Binary<"rem", Graph_NumberTensor, "remainder with the sign of the dividend (C's fmod); integer remainder by zero gives the dividend">;
def Graph_ModOp : Graph_Binary<"mod", Graph_NumberTensor, "remainder with the sign of the divisor (Python's %); integer modulo by zero gives the dividend">;
def Graph_PowOp : Graph_Binary<"pow", Graph_NumberTensor, "lhs to the power of rhs; integers wrap, a negative integer exponent gives 0 except for bases 1 and -1">;
def Graph_Atan2Op : Graph_Binary<"atan2", Graph_FloatTensor, "angle of the point (rhs, lhs)">;
def Graph_MaximumOp : Graph_Binary<"maximum", Graph_Tensor, "larger value; NaN if either is NaN", [Commutative]>;
def Graph_MinimumOp : Graph_Binary<"minimum", Graph_Tensor, "smaller value; NaN if either is NaN", [Commutative]>;
def Graph_AndOp : Graph_Binary<"and", Graph_BitsTensor, "bitwise and", [Commutative]>;
def Graph_OrOp : Graph_Binary<"or", Graph_BitsTensor, "bitwise or", [Commutative]>;
def Graph_XorOp : Graph_Binary<"xor", Graph_BitsTensor, "bitwise exclusive or", [Commutative]>;
def Graph_ShlOp : Graph_Binary<"shl", Graph_IntegerTensor, "left shift; by the width or more gives 0">;
def Graph_ShrOp : Graph_Binary<"shr", Graph_IntegerTensor, "right shift, arithmetic for signed types; by the width or more gives the sign fill">;

def Graph_EqOp : Graph_Compare<"eq", "lhs = rhs", [Commutative]>;
def Graph_NeOp : Graph_Compare<"ne", "lhs differs from rhs", [Commutative]>;
def Graph_LtOp : Graph_Compare<"lt", "lhs < rhs">;
def Graph_LeOp : Graph_Compare<"le", "lhs <= rhs">;
def Graph_GtOp : Graph_Compare<"gt", "lhs > rhs">;
def Graph_GeOp : Graph_Compare<"ge", "lhs >= rhs">;

def Graph_SelectOp : Graph_Op<"select", [Elementwise, AllTypesMatch<["on_true", "on_false", "result"]>, SameOperandsAndResultShape]> {
  let summary = "on_true where the condition holds, else on_false";
  let arguments = (ins Graph_BoolTensor:$condition, Graph_Tensor:$on_true, Graph_Tensor:$on_false);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$condition `,` $on_true `,` $on_false attr-dict `:` type($condition) `,` type($result)";
}
