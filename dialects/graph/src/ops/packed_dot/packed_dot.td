def Graph_PackedDotOp : Graph_Op<"packed_dot", [Graph_InfersTypes]> {
  let summary = "matrix product with constant weights stored in panels";
  let description = [{
    `weights` is [ceil(width / panel)][K][panel], zeros beyond column `width`; the last axis of `lhs` is K. Weights of 8 bits stand in fours,
    [ceil(width / panel)][K / 4][panel][4], as instructions take them that add four products at once. Made by pack-weights from graph.dot_general
    where the target's schedule wants panels. The result is lhs's other axes and then `width`; `accumulate` is that of graph.dot_general.
  }];
  let arguments = (ins Graph_NumberTensor:$lhs, Graph_NumberTensor:$weights, I64Attr:$width, OptionalAttr<TypeAttr>:$accumulate);
  let results = (outs Graph_NumberTensor:$result);
  let assemblyFormat = "$lhs `,` $weights `width` $width (`accumulate` $accumulate^)? attr-dict `:` type($lhs) `,` type($weights)";
}
