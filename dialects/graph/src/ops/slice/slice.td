def Graph_SliceOp : Graph_Op<"slice", [Graph_InfersTypes]> {
  let summary = "a strided box of the input";
  let description = [{
    Axis i takes elements starts[i], starts[i] + strides[i], ... below limits[i]. Negative starts and limits count from the end; a limit beyond the
    extent means the extent, and 9223372036854775807 all of a symbolic axis. Any other limit on a symbolic axis promises that the extent reaches it.
    Strides are positive.
  }];
  let arguments = (ins Graph_Tensor:$input, DenseI64ArrayAttr:$starts, DenseI64ArrayAttr:$limits, DenseI64ArrayAttr:$strides);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `starts` $starts `limits` $limits `strides` $strides attr-dict `:` type($input)";
  let hasCanonicalizer = 1;
}
def Graph_SymbolicSliceOp : Graph_Op<"symbolic_slice"> {
  let summary = "a strided box of the input at a position given by extents";
  let description = [{
    Axis i takes result-extent many elements starts[i], starts[i] + strides[i], ...; `starts` is an affine map over the symbols of the function with one
    result per axis. Of the axes in `dropped` it takes the element at the start, and the result lacks them. Whoever makes the op sees to it that the box lies
    inside the input (`graph.require`). Strides are positive.
  }];
  let arguments = (ins Graph_Tensor:$input, AffineMapAttr:$starts, DenseI64ArrayAttr:$strides, OptionalAttr<DenseI64ArrayAttr>:$dropped);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `starts` $starts `strides` $strides (`dropped` $dropped^)? attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}
def Graph_ReverseOp : Graph_Op<"reverse", [SameOperandsAndResultType]> {
  let summary = "reverses the order of elements along axes";
  let arguments = (ins Graph_Tensor:$input, DenseI64ArrayAttr:$axes);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `axes` $axes attr-dict `:` type($input)";
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}
