def Graph_ConstantOp : Graph_Op<"constant", [AllTypesMatch<["value", "result"]>]> {
  let summary = "small constant: a splat of any size, or at most 1 KiB";
  let description = [{Larger constants are graph.weight.}];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasVerifier = 1;
}
