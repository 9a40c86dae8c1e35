// RUN: winze-opt %s --pass-pipeline='builtin.module(func.func(split-reductions))' | FileCheck %s

#plane = affine_map<()[s0, s1] -> (s0, s1)>

// A plane of unknown extents: its rows first.
// CHECK-LABEL: @unknown
// CHECK: %[[ROWS:.*]] = graph.reduce "min" %{{.*}} axes [3]
// CHECK: graph.reduce "min" %[[ROWS]] axes [1]
// CHECK-NOT: graph.reduce
func.func @unknown(%x: tensor<2x?x3x?xf32, #plane>) -> tensor<2x3xf32> attributes {graph.symbols = ["h", "w"]} {
  %0 = graph.reduce "min" %x axes [1, 3] : tensor<2x?x3x?xf32, #plane>
  return %0 : tensor<2x3xf32>
}

// What one invocation does quickly, one axis, and what would be rounded between the axes stay.
// CHECK-LABEL: @stay
// CHECK: graph.reduce "add" %{{.*}} axes [0, 1]
// CHECK: graph.reduce "add" %{{.*}} axes [0]
// CHECK: graph.reduce "add" %{{.*}} axes [0, 1]
// CHECK-NOT: graph.reduce
func.func @stay(%x: tensor<64x64xf32>, %y: tensor<100000xf32>, %z: tensor<300x300xf16>) -> (tensor<f32>, tensor<f32>, tensor<f16>) {
  %0 = graph.reduce "add" %x axes [0, 1] : tensor<64x64xf32>
  %1 = graph.reduce "add" %y axes [0] : tensor<100000xf32>
  %2 = graph.reduce "add" %z axes [0, 1] : tensor<300x300xf16>
  return %0, %1, %2 : tensor<f32>, tensor<f32>, tensor<f16>
}

// CHECK-LABEL: @large
// CHECK: graph.reduce "add" %{{.*}} axes [1]
// CHECK: graph.reduce "add" %{{.*}} axes [0]
func.func @large(%x: tensor<300x300xf32>) -> tensor<f32> {
  %0 = graph.reduce "add" %x axes [0, 1] : tensor<300x300xf32>
  return %0 : tensor<f32>
}
