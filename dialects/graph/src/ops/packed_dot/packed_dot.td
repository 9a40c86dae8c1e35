def Graph_PackedDotOp : Graph_Op<"packed_dot", [Graph_InfersTypes]> {
  let summary = "matrix product with constant weights stored in panels";
  let description = [{
    `weights` is [ceil(width / panel)][K][panel], zeros beyond column `width`; the last axis of `lhs` is K. Made by pack-weights from graph.dot_general
    where the target's schedule wants panels. The result is lhs's other axes and then `width`.
  }];
  let arguments = (ins Graph_FloatTensor:$lhs, Graph_FloatTensor:$weights, I64Attr:$width);
  let results = (outs Graph_FloatTensor:$result);
  let assemblyFormat = "$lhs `,` $weights `width` $width attr-dict `:` type($lhs) `,` type($weights)";
}
