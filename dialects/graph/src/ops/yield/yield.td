def Graph_YieldOp : Graph_Op<"yield", [ReturnLike, Terminator]> {
  let summary = "values of the enclosing region";
  let arguments = (ins Variadic<Graph_Tensor>:$values);
  let builders = [OpBuilder<(ins), [{ build($_builder, $_state, ::mlir::ValueRange()); }]>];
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}
