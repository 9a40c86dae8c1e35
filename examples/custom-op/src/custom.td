// A dialect with one op.
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Custom_Dialect : Dialect {
  let name = "custom";
  let cppNamespace = "::custom";
  let summary = "Ops that Winze does not have";
}

def Custom_FloatTensor : RankedTensorOf<[F16, BF16, F32, F64]>;

def Custom_SquareOp : Op<Custom_Dialect, "square", [Pure, Elementwise, SameOperandsAndResultType]> {
  let summary = "the input times itself";
  let arguments = (ins Custom_FloatTensor:$input);
  let results = (outs Custom_FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}
