def Graph_RequireOp : Graph_Op<"require"> {
  let summary = "the input, in runs where extents relate as stated";
  let description = [{
    `lhs` and `rhs` are affine maps over the symbols of the function, with equally many results. A run in which lhs[i] is not equal to (`relation` eq)
    or greater than (le) rhs[i] is an error that says `why`. The result may write extents of the input differently, where they are required to be equal.
  }];
  let arguments = (ins Graph_Tensor:$input, AffineMapAttr:$lhs, StrAttr:$relation, AffineMapAttr:$rhs, StrAttr:$why);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `,` $lhs $relation $rhs `why` $why attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}
