def Graph_BroadcastOp : Graph_Op<"broadcast"> {
  let summary = "repeats a tensor along new or unit axes";
  let description = [{
    Axis i of the input becomes axis `axes[i]` of the result (strictly increasing). Input extents equal the result's there, or are 1.
  }];
  let arguments = (ins Graph_Tensor:$input, DenseI64ArrayAttr:$axes);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `axes` $axes attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}
