def Graph_TreeLeafOp : Graph_Op<"tree_leaf", [Graph_InfersTypes]> {
  let summary = "the leaves that rows of features reach in decision trees";
  let description = [{
    Row `m` of `nodes` describes node `m` of all trees: the feature that it tests, and the nodes to go on at when that is at most `thresholds[m]`, when it
    is larger, and when it is not a number. A leaf names a negative feature. Result `[n, t]` is the node that row `n` of the input stands at after `depth`
    steps from node `roots[t]`, or the leaf that it meets before. Nodes and features beyond the last are taken for the last, nodes before the first for
    the first, so that nothing outside is read.
  }];
  let arguments = (ins Graph_FloatTensor:$input, Graph_FloatTensor:$thresholds, RankedTensorOf<[I32]>:$nodes, RankedTensorOf<[I32]>:$roots, I64Attr:$depth);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = [{
    $input `,` $thresholds `,` $nodes `,` $roots `depth` $depth attr-dict `:` type($input) `,` type($thresholds) `,` type($nodes) `,` type($roots)
  }];
}
