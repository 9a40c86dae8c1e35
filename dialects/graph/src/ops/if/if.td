def Graph_IfOp : Graph_Op<"if", [NoRegionArguments, RecursiveMemoryEffects, SingleBlockImplicitTerminator<"graph::YieldOp">]> {
  let summary = "one of two regions, by a run-time condition";
  let arguments = (ins Graph_ScalarBool:$condition);
  let results = (outs Variadic<Graph_Tensor>:$outputs);
  let regions = (region SizedRegion<1>:$then_body, SizedRegion<1>:$else_body);
  let assemblyFormat = "$condition attr-dict `:` type($condition) (`->` type($outputs)^)? $then_body `else` $else_body";
  let hasVerifier = 1;
}
