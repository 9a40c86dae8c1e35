def Graph_ReduceOp : Graph_Op<"reduce", [Graph_InfersTypes]> {
  let summary = "folds axes away with add, mul, max, min, and, or";
  let description = [{
    Reduced axes vanish (graph.reshape brings unit axes back). An empty reduction gives the neutral element: 0, 1, lowest, highest, true, false. max and min
    propagate NaN. f16 and bf16 accumulate in f32.
  }];
  let arguments = (ins Graph_Tensor:$input, StrAttr:$kind, DenseI64ArrayAttr:$axes);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$kind $input `axes` $axes attr-dict `:` type($input)";
}
