def Graph_ReduceWindowOp : Graph_Op<"reduce_window", [Graph_InfersTypes]> {
  let summary = "folds sliding windows with add, mul, max, min (pooling)";
  let description = [{
    One entry per axis of the input in every array. Padding counts as the neutral element. Extents as in graph.conv.
  }];
  let arguments = (ins Graph_Tensor:$input, StrAttr:$kind, DenseI64ArrayAttr:$window, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$low,
                       DenseI64ArrayAttr:$high, DenseI64ArrayAttr:$dilation);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = [{
    $kind $input `window` $window `strides` $strides `low` $low `high` $high `dilation` $dilation attr-dict `:` type($input)
  }];
}
