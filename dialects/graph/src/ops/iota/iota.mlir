// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip() -> tensor<2x3xi64> {
  // CHECK: graph.iota axis 1 : tensor<2x3xi64>
  %0 = graph.iota axis 1 : tensor<2x3xi64>
  return %0 : tensor<2x3xi64>
}

// -----

func.func @axis_in_range() -> tensor<2x3xi64> {
  // expected-error@+1 {{axis 2 is outside the 2 axes of the tensor}}
  %0 = graph.iota axis 2 : tensor<2x3xi64>
  return %0 : tensor<2x3xi64>
}
