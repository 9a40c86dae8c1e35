def Graph_PackedConvOp : Graph_Op<"packed_conv", [Graph_InfersTypes]> {
  let summary = "convolution of an already padded input with constant filters stored in panels";
  let description = [{
    `weights` is [ceil(width / panel)][taps...][C / groups][panel], zeros beyond output channel `width`. The input is N, C, spatial...; with
    `channels_last` input and result are N, spatial..., C. A panel belongs to one group. Made by pack-weights from graph.conv where the target's schedule
    wants panels.
  }];
  let arguments = (ins Graph_FloatTensor:$input, Graph_FloatTensor:$weights, I64Attr:$width, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$filter_dilation, I64Attr:$groups, UnitAttr:$channels_last);
  let results = (outs Graph_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weights `width` $width `strides` $strides `dilation` $filter_dilation `groups` $groups (`channels_last` $channels_last^)? attr-dict
    `:` type($input) `,` type($weights)
  }];
}
