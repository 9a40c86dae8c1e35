// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<2x3xf32>) -> tensor<2x3xf32> {
  // CHECK: graph.softmax %{{.*}} axis 1 : tensor<2x3xf32>
  %0 = graph.softmax %a axis 1 : tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}

// -----

func.func @axis_in_range(%a: tensor<2x3xf32>) -> tensor<2x3xf32> {
  // expected-error@+1 {{axis -1 is outside the 2 axes of the tensor; count from 0}}
  %0 = graph.softmax %a axis -1 : tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}
