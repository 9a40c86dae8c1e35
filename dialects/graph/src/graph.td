// The tensor-graph dialect: root of its ODS. Each op's record stands in its own folder under ops/.
#ifndef WINZE_GRAPH_TD
#define WINZE_GRAPH_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Graph_Dialect : Dialect {
  let name = "graph";
  let cppNamespace = "::graph";
  let summary = "Tensor computations of a model, before any target is known";
  let description = [{
    Values are ranked tensors. A tensor with dynamic dims carries an affine map over the symbols of its function, one result per `?`.
    All ops but `size` are pure.
  }];
}

// Element types. Signless integers are signed; i1 is bool.
def Graph_Float : AnyTypeOf<[F16, BF16, F32, F64], "float">;
def Graph_Signed : AnyTypeOf<[I8, I16, I32, I64], "signed integer">;
def Graph_Unsigned : AnyTypeOf<[UI8, UI16, UI32, UI64], "unsigned integer">;
def Graph_Integer : AnyTypeOf<[Graph_Signed, Graph_Unsigned], "integer">;
def Graph_Number : AnyTypeOf<[Graph_Float, Graph_Integer], "number">;
def Graph_Element : AnyTypeOf<[Graph_Number, I1], "number or bool">;

def Graph_Tensor : RankedTensorOf<[Graph_Element]>;
def Graph_NumberTensor : RankedTensorOf<[Graph_Number]>;
def Graph_FloatTensor : RankedTensorOf<[Graph_Float]>;
def Graph_IntegerTensor : RankedTensorOf<[Graph_Integer]>;
def Graph_SignedTensor : RankedTensorOf<[Graph_Signed]>;
def Graph_BitsTensor : RankedTensorOf<[Graph_Integer, I1]>;
def Graph_BoolTensor : RankedTensorOf<[I1]>;
def Graph_ScalarBool : 0DTensorOf<[I1]>;

def Graph_InfersTypes : DeclareOpInterfaceMethods<InferTypeOpInterface>;

class Graph_Op<string mnemonic, list<Trait> traits = []> : Op<Graph_Dialect, mnemonic, !listconcat([Pure], traits)>;

include "ops/elementwise/elementwise.td"
include "ops/constant/constant.td"
include "ops/weight/weight.td"
include "ops/iota/iota.td"
include "ops/dim/dim.td"
include "ops/size/size.td"
include "ops/convert/convert.td"
include "ops/broadcast/broadcast.td"
include "ops/reshape/reshape.td"
include "ops/transpose/transpose.td"
include "ops/require/require.td"
include "ops/slice/slice.td"
include "ops/dynamic_slice/dynamic_slice.td"
include "ops/append/append.td"
include "ops/concat/concat.td"
include "ops/pad/pad.td"
include "ops/gather/gather.td"
include "ops/scatter/scatter.td"
include "ops/top_k/top_k.td"
include "ops/tree_leaf/tree_leaf.td"
include "ops/dot_general/dot_general.td"
include "ops/conv/conv.td"
include "ops/reduce/reduce.td"
include "ops/reduce_window/reduce_window.td"
include "ops/cumulative/cumulative.td"
include "ops/softmax/softmax.td"
include "ops/packed_dot/packed_dot.td"
include "ops/packed_conv/packed_conv.td"
include "ops/if/if.td"
include "ops/while/while.td"
include "ops/call_extern/call_extern.td"
include "ops/fail/fail.td"
include "ops/yield/yield.td"
include "ops/kernel/kernel.td"

#endif
