// RUN: split-file %s %t
// RUN: winze-opt --pass-pipeline='builtin.module(convert-graph-to-launch)' %t/programs.mlir | FileCheck %t/programs.mlir
// RUN: not winze-opt --pass-pipeline='builtin.module(convert-graph-to-launch)' %t/bare_op.mlir 2>&1 | FileCheck %t/bare_op.mlir
// RUN: not winze-opt --pass-pipeline='builtin.module(convert-graph-to-launch)' %t/not_outlined.mlir 2>&1 | FileCheck %t/not_outlined.mlir

//--- programs.mlir
#n = affine_map<()[s0] -> (s0)>

// A dispatch per kernel; the last writes the output where it is wanted, what lies between has a buffer without a place.
// CHECK-DAG: #[[NOWHERE:.*]] = affine_map<() -> (-1)>
// CHECK-LABEL: launch.program @chain symbols ["n"]
// CHECK: %[[X:.*]] = launch.input 0
// CHECK: %[[Y:.*]] = launch.output 0
// CHECK: %[[T:.*]] = launch.arena offset #[[NOWHERE]]
// CHECK: launch.dispatch "first"(%[[X]], %[[T]]) outputs 1 symbols [0] nodes ["a"]
// CHECK: launch.dispatch "second"(%[[T]], %[[Y]]) outputs 1 symbols [0] nodes ["b"]
// CHECK-NOT: launch.copy
func.func @chain(%x: tensor<?xf32, #n>) -> tensor<?xf32, #n> attributes {graph.symbols = ["n"]} {
  %0 = graph.kernel "elementwise"(%x) attributes {nodes = ["a"], winze.kernel = "first", winze.symbols = array<i64: 0>} : (tensor<?xf32, #n>) -> tensor<?xf32, #n> {
  ^bb0(%a: tensor<?xf32, #n>):
    %2 = graph.exp %a : tensor<?xf32, #n>
    graph.yield %2 : tensor<?xf32, #n>
  }
  %1 = graph.kernel "elementwise"(%0) attributes {nodes = ["b"], winze.kernel = "second", winze.symbols = array<i64: 0>} : (tensor<?xf32, #n>) -> tensor<?xf32, #n> {
  ^bb0(%a: tensor<?xf32, #n>):
    %2 = graph.neg %a : tensor<?xf32, #n>
    graph.yield %2 : tensor<?xf32, #n>
  }
  return %1 : tensor<?xf32, #n>
}

// An input that is returned is copied, through a view of its new shape.
// CHECK-LABEL: launch.program @view
// CHECK: %[[X:.*]] = launch.input 0
// CHECK: %[[Y:.*]] = launch.output 0
// CHECK: %[[V:.*]] = launch.view %[[X]]
// CHECK: launch.copy %[[V]] to %[[Y]]
func.func @view(%x: tensor<2x3xf32>) -> tensor<6xf32> {
  %0 = graph.reshape %x : tensor<2x3xf32> -> tensor<6xf32>
  return %0 : tensor<6xf32>
}

// An extent is host arithmetic, stored where a kernel reads it.
// CHECK-LABEL: launch.program @extent
// CHECK: %[[Y:.*]] = launch.output 0
// CHECK: %[[N:.*]] = launch.symbol 0
// CHECK: %[[TWO:.*]] = arith.constant 2
// CHECK: %[[E:.*]] = arith.muli %[[N]], %[[TWO]]
// CHECK: %[[B:.*]] = launch.arena
// CHECK: launch.store %[[E]] to %[[B]]
// CHECK: launch.dispatch "double"(%[[B]], %[[Y]])
func.func @extent(%x: tensor<?xf32, affine_map<()[s0] -> (s0 * 2)>>) -> tensor<i64> attributes {graph.symbols = ["n"]} {
  %0 = graph.dim %x axis 0 {winze.host} : tensor<?xf32, affine_map<()[s0] -> (s0 * 2)>>
  %1 = graph.kernel "elementwise"(%0) attributes {nodes = ["a"], winze.kernel = "double", winze.symbols = array<i64>} : (tensor<i64>) -> tensor<i64> {
  ^bb0(%a: tensor<i64>):
    %2 = graph.add %a, %a : tensor<i64>
    graph.yield %2 : tensor<i64>
  }
  return %1 : tensor<i64>
}

// A counter is a register. The state of the loop is the output itself, which the kernel of a step may write in place.
// CHECK-LABEL: launch.program @steps
// CHECK: %[[X:.*]] = launch.input 0
// CHECK: %[[Y:.*]] = launch.output 0
// CHECK: launch.copy %[[X]] to %[[Y]]
// CHECK: scf.while (%[[I:.*]] = %{{.*}}) : (i64) -> i64
// CHECK: %[[MORE:.*]] = arith.cmpi slt, %[[I]]
// CHECK: scf.condition(%[[MORE]]) %[[I]]
// CHECK: arith.addi
// CHECK: launch.dispatch "double"(%[[Y]], %[[Y]])
// CHECK-NOT: launch.copy
// CHECK: scf.yield
func.func @steps(%x: tensor<3xf32>) -> tensor<3xf32> {
  %zero = graph.constant dense<0> : tensor<i64>
  %one = graph.constant dense<1> : tensor<i64>
  %n = graph.constant dense<5> : tensor<i64>
  %0:2 = graph.while %zero, %x : tensor<i64>, tensor<3xf32> {winze.host = array<i64: 0>} while {
  ^bb0(%i: tensor<i64>, %a: tensor<3xf32>):
    %more = graph.lt %i, %n {winze.host} : tensor<i64>
    graph.yield %more : tensor<i1>
  } do {
  ^bb0(%i: tensor<i64>, %a: tensor<3xf32>):
    %next = graph.add %i, %one {winze.host} : tensor<i64>
    %1 = graph.kernel "elementwise"(%a) attributes {nodes = [], winze.kernel = "double", winze.symbols = array<i64>, winze.in_place = array<i64: 0, 1>} : (tensor<3xf32>) -> tensor<3xf32> {
    ^bb0(%b: tensor<3xf32>):
      %2 = graph.add %b, %b : tensor<3xf32>
      graph.yield %2 : tensor<3xf32>
    }
    graph.yield %next, %1 : tensor<i64>, tensor<3xf32>
  } -> tensor<i64>, tensor<3xf32>
  return %0#1 : tensor<3xf32>
}

// Both branches write the output of the program.
// CHECK-LABEL: launch.program @branches
// CHECK: %[[X:.*]] = launch.input 1
// CHECK: %[[Y:.*]] = launch.output 0
// CHECK: %[[C:.*]] = launch.load
// CHECK: scf.if %[[C]]
// CHECK-NEXT: launch.dispatch "exp"(%[[X]], %[[Y]])
// CHECK: else
// CHECK-NEXT: launch.copy %[[X]] to %[[Y]]
func.func @branches(%c: tensor<i1>, %x: tensor<3xf32>) -> tensor<3xf32> {
  %0 = graph.if %c : tensor<i1> -> tensor<3xf32> {
    %1 = graph.kernel "elementwise"(%x) attributes {nodes = [], winze.kernel = "exp", winze.symbols = array<i64>} : (tensor<3xf32>) -> tensor<3xf32> {
    ^bb0(%a: tensor<3xf32>):
      %2 = graph.exp %a : tensor<3xf32>
      graph.yield %2 : tensor<3xf32>
    }
    graph.yield %1 : tensor<3xf32>
  } else {
    graph.yield %x : tensor<3xf32>
  }
  return %0 : tensor<3xf32>
}

// A size is read on the host, and set before the buffers that have it are used.
// CHECK-LABEL: launch.program @found
// CHECK: %[[COUNT:.*]] = launch.load
// CHECK: launch.set_symbol 1 to %[[COUNT]] bounds #{{.*}} "chosen"
// CHECK: launch.dispatch "first"{{.*}} symbols [1]
func.func @found(%x: tensor<?xf32, #n>, %c: tensor<i64>) -> tensor<?xf32, affine_map<()[s0, s1] -> (s1)>> attributes {graph.symbols = ["n", "chosen"]} {
  graph.size %c symbol 1 bounds affine_map<()[s0] -> (0, s0)> : tensor<i64>
  %0 = graph.kernel "copy"(%x) attributes {nodes = ["a"], winze.kernel = "first", winze.symbols = array<i64: 1>} : (tensor<?xf32, #n>) -> tensor<?xf32, affine_map<()[s0, s1] -> (s1)>> {
  ^bb0(%a: tensor<?xf32, #n>):
    %zero = graph.constant dense<0> : tensor<i64>
    %2 = graph.dynamic_slice %a at(%zero) axes [0] : (tensor<?xf32, #n>, tensor<i64>) -> tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
    graph.yield %2 : tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
  }
  return %0 : tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
}

// Relations between extents become checks, and the kernel writes through them.
// CHECK-LABEL: launch.program @required
// CHECK: %[[Y:.*]] = launch.output 0
// CHECK: %[[V:.*]] = launch.view %[[Y]]
// CHECK: launch.dispatch "exp"(%{{.*}}, %[[V]])
// CHECK: launch.check #{{.*}} "eq" #{{.*}} "Add needs it"
// CHECK-NOT: launch.copy
func.func @required(%x: tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>) -> tensor<?xf32, affine_map<()[s0] -> (s0)>> attributes {graph.symbols = ["n", "m"]} {
  %0 = graph.kernel "elementwise"(%x) attributes {nodes = [], winze.kernel = "exp", winze.symbols = array<i64: 1>}
    : (tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>) -> tensor<?xf32, affine_map<()[s0, s1] -> (s1)>> {
  ^bb0(%a: tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>):
    %1 = graph.exp %a : tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
    graph.yield %1 : tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
  }
  %2 = graph.require %0, affine_map<()[s0, s1] -> (s1)> "eq" affine_map<()[s0] -> (s0)> why "Add needs it"
    : tensor<?xf32, affine_map<()[s0, s1] -> (s1)>> -> tensor<?xf32, affine_map<()[s0] -> (s0)>>
  return %2 : tensor<?xf32, affine_map<()[s0] -> (s0)>>
}

//--- bare_op.mlir
// CHECK: convert-graph-to-launch: 'graph.exp' stands outside a kernel; run form-kernels first
func.func @main(%x: tensor<3xf32>) -> tensor<3xf32> {
  %0 = graph.exp %x : tensor<3xf32>
  return %0 : tensor<3xf32>
}

//--- not_outlined.mlir
// CHECK: convert-graph-to-launch: a graph.kernel is not outlined; run outline-kernels first
func.func @main(%x: tensor<3xf32>) -> tensor<3xf32> {
  %0 = graph.kernel "elementwise"(%x) attributes {nodes = []} : (tensor<3xf32>) -> tensor<3xf32> {
  ^bb0(%a: tensor<3xf32>):
    %1 = graph.exp %a : tensor<3xf32>
    graph.yield %1 : tensor<3xf32>
  }
  return %0 : tensor<3xf32>
}
