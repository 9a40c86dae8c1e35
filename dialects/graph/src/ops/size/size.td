def Graph_SizeOp : Op<Graph_Dialect, "size"> {
  let summary = "gives a symbol the value of a scalar that is computed while running";
  let description = [{
    Symbol number `symbol` of the function is the value from here to the end of the block, and types after this op may use it like any other. The results of
    `bounds` are the smallest and the largest value, over symbols that are known before; a run with a value beyond them stops. The largest decides how much
    memory is planned. The symbol itself as the largest value leaves it open: a session plans for what its runs find. Where branches decide, each gives
    the symbol its own value, and their results have types over it; an op behind them gives it once more. Not pure: it stays where it is, and before its users.
  }];
  let arguments = (ins 0DTensorOf<[I64]>:$value, I64Attr:$symbol, AffineMapAttr:$bounds);
  let assemblyFormat = "$value `symbol` $symbol `bounds` $bounds attr-dict `:` type($value)";
  let hasVerifier = 1;
}
