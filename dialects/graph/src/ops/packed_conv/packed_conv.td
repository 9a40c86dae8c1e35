def Graph_PackedConvOp : Graph_Op<"packed_conv", [Graph_InfersTypes]> {
  let summary = "convolution of an already padded input with constant filters stored in panels";
  let description = [{
    `weights` is [ceil(width / panel)][C / groups][taps...][panel], zeros beyond output channel `width`. The input is N, C, spatial...; with
    `channels_last` input and result are N, spatial..., C and the weights [ceil(width / panel)][taps...][C / groups][panel]. A panel belongs to one group.
    Weights of 8 bits stand in fours of input channels, [ceil(width / panel)][taps...][C / groups / 4][panel][4], as in graph.packed_dot. Made by pack-weights from graph.conv where the target's schedule
    wants panels; `accumulate` is that of graph.conv.
  }];
  let arguments = (ins Graph_NumberTensor:$input, Graph_NumberTensor:$weights, I64Attr:$width, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$filter_dilation, I64Attr:$groups, UnitAttr:$channels_last, OptionalAttr<TypeAttr>:$accumulate);
  let results = (outs Graph_NumberTensor:$result);
  let assemblyFormat = [{
    $input `,` $weights `width` $width `strides` $strides `dilation` $filter_dilation `groups` $groups (`channels_last` $channels_last^)?
    (`accumulate` $accumulate^)? attr-dict `:` type($input) `,` type($weights)
  }];
}
