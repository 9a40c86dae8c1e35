// RUN: winze-opt --pass-pipeline='builtin.module(func.func(form-kernels))' %s | FileCheck %s

#n = affine_map<()[s0] -> (s0)>

// Ops after the root belong to its kernel; a chain before it is one of its own when the root reads each element many times.
// CHECK-LABEL: func.func @epilogue(
// CHECK: %[[X:.*]] = graph.kernel "elementwise"(%arg0)
// CHECK: graph.exp
// CHECK-NEXT: graph.neg
// CHECK-NEXT: graph.yield
// CHECK: graph.kernel "contraction"(%[[X]], %arg1)
// CHECK: graph.dot_general
// CHECK-NEXT: graph.tanh
// CHECK-NEXT: graph.yield
// CHECK-NOT: graph.kernel
func.func @epilogue(%x: tensor<?x8xf32, #n>, %w: tensor<8x4xf32>) -> tensor<?x4xf32, #n> attributes {graph.symbols = ["n"]} {
  %0 = graph.exp %x : tensor<?x8xf32, #n>
  %1 = graph.neg %0 : tensor<?x8xf32, #n>
  %2 = graph.dot_general %1, %w batch [] x [] contract [1] x [0] : tensor<?x8xf32, #n>, tensor<8x4xf32>
  %3 = graph.tanh %2 : tensor<?x4xf32, #n>
  return %3 : tensor<?x4xf32, #n>
}

// A bias is broadcast inside the kernel that reads it, once per reader.
// CHECK-LABEL: func.func @broadcasts_are_cloned(
// CHECK-NOT: graph.broadcast
// CHECK: graph.kernel
// CHECK: graph.broadcast
// CHECK: graph.kernel
// CHECK: graph.broadcast
func.func @broadcasts_are_cloned(%x: tensor<2x4xf32>, %b: tensor<4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
  %0 = graph.broadcast %b axes [1] : tensor<4xf32> -> tensor<2x4xf32>
  %1 = graph.add %x, %0 : tensor<2x4xf32>
  %2 = graph.mul %x, %0 : tensor<2x4xf32>
  return %1, %2 : tensor<2x4xf32>, tensor<2x4xf32>
}

// What has two readers is computed once.
// CHECK-LABEL: func.func @shared(
// CHECK: %[[S:.*]] = graph.kernel "reduction"(%arg0)
// CHECK: graph.kernel "elementwise"(%[[S]])
// CHECK: graph.kernel "elementwise"(%[[S]])
func.func @shared(%x: tensor<4x8xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = graph.reduce "add" %x axes [1] : tensor<4x8xf32>
  %1 = graph.exp %0 : tensor<4xf32>
  %2 = graph.neg %0 : tensor<4xf32>
  return %1, %2 : tensor<4xf32>, tensor<4xf32>
}

// Views and constants are no kernels; branches have kernels of their own.
// CHECK-LABEL: func.func @outside(
// CHECK: graph.reshape
// CHECK-NEXT: graph.if
// CHECK-NEXT: graph.kernel "elementwise"
// CHECK: } else {
// CHECK-NEXT: graph.yield
func.func @outside(%x: tensor<2x4xf32>, %c: tensor<i1>) -> tensor<8xf32> {
  %0 = graph.reshape %x : tensor<2x4xf32> -> tensor<8xf32>
  %1 = graph.if %c : tensor<i1> -> tensor<8xf32> {
    %2 = graph.exp %0 : tensor<8xf32>
    graph.yield %2 : tensor<8xf32>
  } else {
    graph.yield %0 : tensor<8xf32>
  }
  return %1 : tensor<8xf32>
}

// However many reductions along the last axis: what begins and ends with whole rows is one kernel.
// CHECK-LABEL: func.func @layer_norm(
// CHECK: graph.kernel "softmax"(%arg0)
// CHECK-NOT: graph.kernel
func.func @layer_norm(%x: tensor<?x8xf32, #n>) -> tensor<?x8xf32, #n> attributes {graph.symbols = ["n"]} {
  %sum = graph.reduce "add" %x axes [1] : tensor<?x8xf32, #n>
  %row = graph.reshape %sum : tensor<?xf32, #n> -> tensor<?x1xf32, #n>
  %mean = graph.broadcast %row axes [0, 1] : tensor<?x1xf32, #n> -> tensor<?x8xf32, #n>
  %d = graph.sub %x, %mean : tensor<?x8xf32, #n>
  %square = graph.mul %d, %d : tensor<?x8xf32, #n>
  %variance = graph.reduce "add" %square axes [1] : tensor<?x8xf32, #n>
  %scale = graph.rsqrt %variance : tensor<?xf32, #n>
  %scales = graph.broadcast %scale axes [0] : tensor<?xf32, #n> -> tensor<?x8xf32, #n>
  %y = graph.mul %d, %scales : tensor<?x8xf32, #n>
  return %y : tensor<?x8xf32, #n>
}

// The sum of a product and a residual stays the product's epilogue.
// CHECK-LABEL: func.func @residual(
// CHECK: %[[S:.*]] = graph.kernel "contraction"
// CHECK: graph.add
// CHECK: graph.kernel "softmax"(%[[S]])
func.func @residual(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %0 = graph.dot_general %x, %w batch [] x [] contract [1] x [0] : tensor<4x8xf32>, tensor<8x8xf32>
  %1 = graph.add %0, %x : tensor<4x8xf32>
  %2 = graph.reduce "max" %1 axes [1] : tensor<4x8xf32>
  %3 = graph.broadcast %2 axes [0] : tensor<4xf32> -> tensor<4x8xf32>
  %4 = graph.sub %1, %3 : tensor<4x8xf32>
  return %4 : tensor<4x8xf32>
}
