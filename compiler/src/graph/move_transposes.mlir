// RUN: winze-opt %s --pass-pipeline='builtin.module(func.func(move-transposes),canonicalize,cse)' | FileCheck %s

// Attention: heads are an axis of the products, not of copies.
// CHECK-LABEL: @attention
func.func @attention(%q: tensor<2x5x3x4xf32>, %k: tensor<2x7x3x4xf32>) -> tensor<2x3x5x7xf32> {
  // CHECK-NEXT: %[[DOT:.*]] = graph.dot_general %arg0, %arg1 batch [0, 2] x [0, 2] contract [3] x [3]
  // CHECK-NEXT: return %[[DOT]]
  %0 = graph.transpose %q permutation [0, 2, 1, 3] : tensor<2x5x3x4xf32>
  %1 = graph.transpose %k permutation [0, 2, 3, 1] : tensor<2x7x3x4xf32>
  %2 = graph.dot_general %0, %1 batch [0, 1] x [0, 1] contract [3] x [2] : tensor<2x3x5x4xf32>, tensor<2x3x4x7xf32>
  return %2 : tensor<2x3x5x7xf32>
}

// Free axes in another order would come out in another order.
// CHECK-LABEL: @free_axes
func.func @free_axes(%x: tensor<2x3x4xf32>, %w: tensor<4x5xf32>) -> tensor<3x2x5xf32> {
  // CHECK: graph.transpose
  // CHECK: graph.dot_general
  %0 = graph.transpose %x permutation [1, 0, 2] : tensor<2x3x4xf32>
  %1 = graph.dot_general %0, %w batch [] x [] contract [2] x [0] : tensor<3x2x4xf32>, tensor<4x5xf32>
  return %1 : tensor<3x2x5xf32>
}

// Weights are packed for rows that are contiguous: that copy stays in front of them.
// CHECK-LABEL: @weights
func.func @weights(%x: tensor<1x4x2xf32>) -> tensor<1x2x5xf32> {
  // CHECK: %[[TURNED:.*]] = graph.transpose %arg0
  // CHECK: graph.dot_general %[[TURNED]]
  %w = graph.weight "w" : tensor<4x5xf32>
  %0 = graph.transpose %x permutation [0, 2, 1] : tensor<1x4x2xf32>
  %1 = graph.dot_general %0, %w batch [] x [] contract [2] x [0] : tensor<1x2x4xf32>, tensor<4x5xf32>
  return %1 : tensor<1x2x5xf32>
}

// Through elementwise ops to the transpose that undoes it; constants are turned instead.
// CHECK-LABEL: @channels_last
func.func @channels_last(%x: tensor<2x3x4x5xf32>) -> tensor<2x3x4x5xf32> {
  // CHECK: %[[BIAS:.*]] = graph.broadcast %{{.*}} axes [1] : tensor<3xf32> -> tensor<2x3x4x5xf32>
  // CHECK-NEXT: %[[SUM:.*]] = graph.add %arg0, %[[BIAS]]
  // CHECK-NEXT: %[[TANH:.*]] = graph.tanh %[[SUM]]
  // CHECK-NEXT: return %[[TANH]]
  %c = graph.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %b = graph.broadcast %c axes [3] : tensor<3xf32> -> tensor<2x4x5x3xf32>
  %0 = graph.transpose %x permutation [0, 2, 3, 1] : tensor<2x3x4x5xf32>
  %1 = graph.add %0, %b : tensor<2x4x5x3xf32>
  %2 = graph.tanh %1 : tensor<2x4x5x3xf32>
  %3 = graph.transpose %2 permutation [0, 3, 1, 2] : tensor<2x4x5x3xf32>
  return %3 : tensor<2x3x4x5xf32>
}

// Nothing moves.
// CHECK-LABEL: @unit_axes
func.func @unit_axes(%x: tensor<?x1x3xf32, affine_map<()[s0] -> (s0)>>) -> tensor<?x3x1xf32, affine_map<()[s0] -> (s0)>> attributes {graph.symbols = ["n"]} {
  // CHECK-NEXT: graph.reshape %arg0
  %0 = graph.transpose %x permutation [0, 2, 1] : tensor<?x1x3xf32, affine_map<()[s0] -> (s0)>>
  return %0 : tensor<?x3x1xf32, affine_map<()[s0] -> (s0)>>
}
