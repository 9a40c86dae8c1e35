def Graph_IotaOp : Graph_Op<"iota"> {
  let summary = "0, 1, 2, ... along an axis";
  let arguments = (ins I64Attr:$axis);
  let results = (outs Graph_NumberTensor:$result);
  let assemblyFormat = "`axis` $axis attr-dict `:` type($result)";
  let hasVerifier = 1;
}
