def Graph_WhileOp : Graph_Op<"while", [RecursiveMemoryEffects, SingleBlockImplicitTerminator<"graph::YieldOp">]> {
  let summary = "repeats a region while a condition on the carried values holds";
  let description = [{
    Both regions take the carried values. `before` yields a 0-d bool; `body` yields the next carried values, of the same types as the initial ones.
  }];
  let arguments = (ins Variadic<Graph_Tensor>:$initial);
  let results = (outs Variadic<Graph_Tensor>:$outputs);
  let regions = (region SizedRegion<1>:$before, SizedRegion<1>:$body);
  let assemblyFormat = "($initial^ `:` type($initial))? attr-dict `while` $before `do` $body (`->` type($outputs)^)?";
  let hasVerifier = 1;
}
