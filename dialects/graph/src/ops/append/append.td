def Graph_AppendOp : Graph_Op<"append", [AllTypesMatch<["state", "result"]>]> {
  let summary = "a state with rows written into it";
  let description = [{
    The result is `state` with the box that starts at `starts`, an affine map over the symbols of the function with one result per axis, replaced by `rows`.
    It is the same memory: a kernel writes the box and nothing else. `bind-state` makes these ops and sees to it that the box lies inside the state
    and that nobody reads it from an older value.
  }];
  let arguments = (ins Graph_Tensor:$state, Graph_Tensor:$rows, AffineMapAttr:$starts);
  let results = (outs Graph_Tensor:$result);
  let assemblyFormat = "$state `,` $rows `starts` $starts attr-dict `:` type($state) `,` type($rows)";
  let hasVerifier = 1;
}
