def Graph_GatherOp : Graph_Op<"gather", [Graph_InfersTypes]> {
  let summary = "slices of the input at positions known at run time";
  let description = [{
    The last axis of `indices` holds one position for each of `axes`, axes of the input. Axis `input_batch[i]` of the input is walked together with axis
    `indices_batch[i]` of the indices, which is at most as long. The result has all axes of the input that are named by neither, and between the first
    `position` of them and the others the axes of the indices but the last. Negative positions count from the end; positions beyond the input are moved to
    its nearest element, so that nothing outside is read. In an input without elements every element reads as 0. With `checked` a position outside ends
    the run with an error, where the target can tell (CPU).
  }];
  let arguments = (ins Graph_Tensor:$input, Graph_SignedTensor:$indices, DenseI64ArrayAttr:$axes, DenseI64ArrayAttr:$input_batch,
                       DenseI64ArrayAttr:$indices_batch, I64Attr:$position, UnitAttr:$checked);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = [{
    $input `,` $indices `axes` $axes `batch` $input_batch `x` $indices_batch `at` $position
    (`checked` $checked^)? attr-dict `:` type($input) `,` type($indices)
  }];
}
