def Graph_FailOp : Graph_Op<"fail"> {
  let summary = "stops the run with a message";
  let description = [{
    Stands for the values of a branch that the sizes of the model rule out. It has no kernel: the launch program stops where it stands.
  }];
  let arguments = (ins StrAttr:$message);
  let results = (outs Variadic<Graph_Tensor>:$outputs);
  let assemblyFormat = "$message attr-dict (`->` type($outputs)^)?";
}
