def Graph_TopKOp : Graph_Op<"top_k", [Graph_InfersTypes]> {
  let summary = "positions of the largest elements along the last axis";
  let description = [{
    The positions of the `k` largest elements of each row, or of the smallest, best first; of equals the one that stands first comes first. On CPU one
    row after the other, each kept in order while it is read: as many steps as elements, and `k` more for each that is among the best so far. On Vulkan
    each position is found alone, bit by bit.
  }];
  let arguments = (ins Graph_IntegerTensor:$input, I64Attr:$k, UnitAttr:$smallest);
  let results = (outs Graph_SignedTensor:$result);
  let assemblyFormat = "$input `of` $k (`smallest` $smallest^)? attr-dict `:` type($input)";
}
