def Graph_DimOp : Graph_Op<"dim", [Graph_InfersTypes]> {
  let summary = "extent of an axis, as a 0-d i64 tensor";
  let arguments = (ins Graph_Tensor:$input, I64Attr:$axis);
  let results = (outs 0DTensorOf<[I64]>:$result);
  let assemblyFormat = "$input `axis` $axis attr-dict `:` type($input)";
}
