def Graph_KernelOp : Graph_Op<"kernel", [IsolatedFromAbove, SingleBlockImplicitTerminator<"graph::YieldOp">]> {
  let summary = "ops that become one kernel";
  let description = [{
    Made by form-kernels. The region takes the inputs as arguments. `kind` is the schedule class; `nodes` are the model nodes computed here;
    `packed` marks inputs that are weights to be stored in the layout the schedule names (one entry per input, empty for none).
  }];
  let arguments = (ins Variadic<Graph_Tensor>:$inputs, StrAttr:$kind, OptionalAttr<StrArrayAttr>:$packed, StrArrayAttr:$nodes);
  let results = (outs Variadic<Graph_Tensor>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$kind `(` $inputs `)` attr-dict-with-keyword `:` functional-type($inputs, $outputs) $body";
  let hasVerifier = 1;
}
