// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<1x2x6x7xf32>) -> tensor<1x2x3x3xf32> {
  // CHECK: graph.reduce_window "max" %{{.*}} window [1, 1, 3, 3] strides [1, 1, 2, 3]
  %0 = graph.reduce_window "max" %a window [1, 1, 3, 3] strides [1, 1, 2, 3] low [0, 0, 1, 1] high [0, 0, 1, 1] dilation [1, 1, 1, 1]
    : tensor<1x2x6x7xf32>
  return %0 : tensor<1x2x3x3xf32>
}

// -----

func.func @windows_fit(%a: tensor<3xf32>) -> tensor<1xf32> {
  // expected-error@+1 {{a window spanning 5 does not fit axis 0 of extent 3}}
  %0 = graph.reduce_window "add" %a window [5] strides [1] low [0] high [0] dilation [1] : tensor<3xf32>
  return %0 : tensor<1xf32>
}
