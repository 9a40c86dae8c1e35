// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<2x3x4xf32>) -> tensor<3xf32> {
  // CHECK: graph.reduce "max" %{{.*}} axes [0, 2] : tensor<2x3x4xf32>
  %0 = graph.reduce "max" %a axes [0, 2] : tensor<2x3x4xf32>
  return %0 : tensor<3xf32>
}

// -----

func.func @kinds_are_known(%a: tensor<2xf32>) -> tensor<f32> {
  // expected-error@+1 {{kind 'mean' is unknown; use add, mul, max, min, and, or}}
  %0 = graph.reduce "mean" %a axes [0] : tensor<2xf32>
  return %0 : tensor<f32>
}
