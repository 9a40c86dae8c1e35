def Graph_WeightOp : Graph_Op<"weight"> {
  let summary = "a constant of the constant store, by id";
  let description = [{
    The data stands outside the IR. `hash` is the BLAKE3 of the contents in hexadecimal where it is known, so that equal weights merge.
  }];
  let arguments = (ins StrAttr:$id, OptionalAttr<StrAttr>:$hash);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$id attr-dict `:` type($result)";
}
