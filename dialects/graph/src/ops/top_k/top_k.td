def Graph_TopKOp : Graph_Op<"top_k"> {
  let summary = "positions of the largest elements along the last axis";
  let description = [{
    The positions of the `k` largest elements of each row, or of the smallest, best first; of equals the one that stands first comes first. `k` is the
    last extent of the result; with all elements of a row it sorts. On CPU one row after the other, whose best so far are a heap: a comparison per
    element, and `log k` steps for each that is among the best so far. On Vulkan each position is found alone, bit by bit.
  }];
  let arguments = (ins Graph_IntegerTensor:$input, UnitAttr:$smallest);
  let results = (outs Graph_SignedTensor:$result);
  let assemblyFormat = "$input (`smallest` $smallest^)? attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}
