// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<4x3xf32>, %v: tensor<f32>) -> tensor<6x6xf32> {
  // CHECK: graph.pad %{{.*}}, %{{.*}} low [-1, 1] high [0, 0] interior [1, 1] : tensor<4x3xf32>, tensor<f32>
  %0 = graph.pad %a, %v low [-1, 1] high [0, 0] interior [1, 1] : tensor<4x3xf32>, tensor<f32>
  return %0 : tensor<6x6xf32>
}

// -----

func.func @value_is_a_scalar(%a: tensor<4xf32>, %v: tensor<1xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{give a 0-d tensor of f32}}
  %0 = graph.pad %a, %v low [0] high [0] interior [0] : tensor<4xf32>, tensor<1xf32>
  return %0 : tensor<4xf32>
}
