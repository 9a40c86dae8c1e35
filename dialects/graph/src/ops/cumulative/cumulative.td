def Graph_CumulativeOp : Graph_Op<"cumulative", [SameOperandsAndResultType]> {
  let summary = "folds the elements up to each along an axis, with the kinds of graph.reduce";
  let description = [{
    Each element becomes the fold of itself and those before it along `axis`; of only those before it where `exclusive`, and of those behind it where `reverse`.
    Elements are folded in order. On CPU each takes one step, on Vulkan each is folded alone. f16 and bf16 are converted before.
  }];
  let arguments = (ins Graph_NumberTensor:$input, StrAttr:$kind, I64Attr:$axis, UnitAttr:$exclusive, UnitAttr:$reverse);
  let results = (outs Graph_NumberTensor:$result);
  let assemblyFormat = "$kind $input `axis` $axis (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}
