def Graph_Start : 0DTensorOf<[I32, I64]>;

def Graph_DynamicSliceOp : Graph_Op<"dynamic_slice"> {
  let summary = "a box of the input at a position known at run time";
  let description = [{
    The box has the extents of the result. It starts at `starts[i]` along axis `axes[i]` and at 0 along the other axes. A start is clamped, so that the
    box lies inside the input.
  }];
  let arguments = (ins Graph_Tensor:$input, Variadic<Graph_Start>:$starts, DenseI64ArrayAttr:$axes);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `at` `(` $starts `)` `axes` $axes attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}
def Graph_DynamicUpdateSliceOp : Graph_Op<"dynamic_update_slice", [AllTypesMatch<["input", "result"]>]> {
  let summary = "the input with a box replaced at a position known at run time";
  let description = [{
    The box has the extents of `update` and is placed as in `graph.dynamic_slice`.
  }];
  let arguments = (ins Graph_Tensor:$input, Graph_Tensor:$update, Variadic<Graph_Start>:$starts, DenseI64ArrayAttr:$axes);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `,` $update `at` `(` $starts `)` `axes` $axes attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}
