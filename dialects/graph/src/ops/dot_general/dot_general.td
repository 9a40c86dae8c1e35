def Graph_DotGeneralOp : Graph_Op<"dot_general", [Graph_InfersTypes]> {
  let summary = "contraction of two tensors over pairs of axes, batched over others";
  let description = [{
    The result's axes are the batch axes, then lhs's free axes, then rhs's free axes, each in order. Floats accumulate at least in f32. `accumulate` names another
    element type for accumulation and result (i32 for i8 operands).
  }];
  let arguments = (ins Graph_NumberTensor:$lhs, Graph_NumberTensor:$rhs, DenseI64ArrayAttr:$lhs_batch, DenseI64ArrayAttr:$rhs_batch,
                       DenseI64ArrayAttr:$lhs_contract, DenseI64ArrayAttr:$rhs_contract, OptionalAttr<TypeAttr>:$accumulate);
  let results = (outs Graph_NumberTensor:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs `batch` $lhs_batch `x` $rhs_batch `contract` $lhs_contract `x` $rhs_contract (`accumulate` $accumulate^)? attr-dict
    `:` type($lhs) `,` type($rhs)
  }];
}
