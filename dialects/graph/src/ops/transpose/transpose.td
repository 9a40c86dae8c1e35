def Graph_TransposeOp : Graph_Op<"transpose", [Graph_InfersTypes]> {
  let summary = "permutes axes: axis i of the result is axis permutation[i] of the input";
  let arguments = (ins Graph_Tensor:$input, DenseI64ArrayAttr:$permutation);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `permutation` $permutation attr-dict `:` type($input)";
  let hasCanonicalizer = 1;
}
