def Graph_ScatterOp : Graph_Op<"scatter", [Graph_InfersTypes]> {
  let summary = "the input with elements at run-time positions replaced or folded with updates";
  let description = [{
    Positions address the input as in `gather`, and `updates` has the shape that gathering there would give. `kind` is set, add, mul, max, min, and or or.
    Updates of one element apply in row-major order of `updates`; those at positions outside the input are left out.
    With `checked` they end the run with an error, where the target can tell (CPU).
  }];
  let arguments = (ins StrAttr:$kind, Graph_Tensor:$input, Graph_SignedTensor:$indices, Graph_Tensor:$updates, DenseI64ArrayAttr:$axes,
                       DenseI64ArrayAttr:$input_batch, DenseI64ArrayAttr:$indices_batch, I64Attr:$position, UnitAttr:$checked);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = [{
    $kind $input `,` $indices `,` $updates `axes` $axes `batch` $input_batch `x` $indices_batch `at` $position (`checked` $checked^)? attr-dict
    `:` type($input) `,` type($indices) `,` type($updates)
  }];
}
