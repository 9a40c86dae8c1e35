def Graph_ConvOp : Graph_Op<"conv", [Graph_InfersTypes]> {
  let summary = "convolution (cross-correlation) over 1 to 3 spatial axes";
  let description = [{
    Input is N, C, spatial...; with `channels_last`, input and result are N, spatial..., C. The filter is O, C / groups, spatial... always.
    `low` and `high` pad each spatial axis with zeros, `input_dilation` puts zeros between input elements (transposed convolution),
    `filter_dilation` between filter taps. Result extent: floor(((in - 1) * input_dilation + 1 + low + high - ((k - 1) * filter_dilation + 1)) / stride) + 1.
  }];
  let arguments = (ins Graph_NumberTensor:$input, Graph_NumberTensor:$filter, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$low,
                       DenseI64ArrayAttr:$high, DenseI64ArrayAttr:$input_dilation, DenseI64ArrayAttr:$filter_dilation, I64Attr:$groups,
                       UnitAttr:$channels_last, OptionalAttr<TypeAttr>:$accumulate);
  let results = (outs Graph_NumberTensor:$result);
  let assemblyFormat = [{
    $input `,` $filter `strides` $strides `low` $low `high` $high `dilation` $input_dilation `x` $filter_dilation `groups` $groups
    (`channels_last` $channels_last^)? (`accumulate` $accumulate^)? attr-dict `:` type($input) `,` type($filter)
  }];
}
