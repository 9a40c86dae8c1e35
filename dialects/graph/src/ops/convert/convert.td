def Graph_ConvertOp : Graph_Op<"convert", [Elementwise, SameOperandsAndResultShape]> {
  let summary = "element type conversion";
  let description = [{
    Float to integer truncates toward zero and saturates, NaN gives 0; integer to a narrower integer wraps; to bool is `!= 0`; float to a narrower
    float rounds to nearest even. With `saturate`, integer to integer saturates. f64 and integers reach f16 and bf16 by way of f32.
  }];
  let arguments = (ins Graph_Tensor:$input, UnitAttr:$saturate);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input (`saturate` $saturate^)? attr-dict `:` type($input) `->` type($result)";
  let hasCanonicalizer = 1;
}
def Graph_BitcastOp : Graph_Op<"bitcast", [Elementwise, SameOperandsAndResultShape]> {
  let summary = "the same bits as another element type of equal width";
  let arguments = (ins Graph_NumberTensor:$input);
  let results = (outs Graph_NumberTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}
