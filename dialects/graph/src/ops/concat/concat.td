def Graph_ConcatOp : Graph_Op<"concat", [Graph_InfersTypes]> {
  let summary = "joins tensors along an axis";
  let arguments = (ins Variadic<Graph_Tensor>:$inputs, I64Attr:$axis);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$inputs `axis` $axis attr-dict `:` type($inputs)";
}
