// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip() -> tensor<64x3x7x7xf32> {
  // CHECK: graph.weight "conv1.weight" : tensor<64x3x7x7xf32>
  %0 = graph.weight "conv1.weight" : tensor<64x3x7x7xf32>
  return %0 : tensor<64x3x7x7xf32>
}
