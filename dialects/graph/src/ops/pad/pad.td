def Graph_PadOp : Graph_Op<"pad", [Graph_InfersTypes]> {
  let summary = "surrounds a tensor with a value; negative padding crops";
  let description = [{`interior` elements are put between neighbours. `value` is a 0-d tensor of the input's element type.}];
  let arguments = (ins Graph_Tensor:$input, Graph_Tensor:$value, DenseI64ArrayAttr:$low, DenseI64ArrayAttr:$high, DenseI64ArrayAttr:$interior);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$input `,` $value `low` $low `high` $high `interior` $interior attr-dict `:` type($input) `,` type($value)";
}
