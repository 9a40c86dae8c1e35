def Graph_CallExternOp : Graph_Op<"call_extern", [Graph_InfersTypes]> {
  let summary = "a kernel of the user, which the host brings to the run by name";
  let description = [{
    `signature` says what it takes and makes: `(f32[n, m], f32[k], alpha: float) -> (f32[n, m - k + 1])`. Each name in brackets stands for an extent; it
    stands alone for at least one axis of an input, and the shapes of the results are expressions over the names. int and float parameters are in
    `scalars`, in order, as raw 64-bit words. The kernel is a function of its inputs: equal calls may become one, and a call whose results nobody needs none.
    It has no lowering: the launch program calls it where it stands. CPU only.
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$signature, DenseI64ArrayAttr:$scalars, Variadic<Graph_Tensor>:$inputs);
  let results = (outs Variadic<Graph_Tensor>:$outputs);
  let assemblyFormat = "$name $signature `scalars` $scalars `(` $inputs `)` attr-dict (`:` type($inputs)^)?";
}
