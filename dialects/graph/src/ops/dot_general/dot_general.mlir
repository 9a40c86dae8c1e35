// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @symbolic
func.func @symbolic(%a: tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, %b: tensor<8x4xf32>) -> tensor<?x4xf32, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.dot_general %{{.*}}, %{{.*}} batch [] x [] contract [1] x [0] : tensor<?x8xf32, #map>, tensor<8x4xf32>
  %0 = graph.dot_general %a, %b batch [] x [] contract [1] x [0] : tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, tensor<8x4xf32>
  return %0 : tensor<?x4xf32, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @paired_axes_are_equal(%a: tensor<2x3xf32>, %b: tensor<4x2xf32>) -> tensor<2x2xf32> {
  // expected-error@+1 {{axis 1 of lhs has extent 3, axis 0 of rhs 4; paired axes are equal}}
  %0 = graph.dot_general %a, %b batch [] x [] contract [1] x [0] : tensor<2x3xf32>, tensor<4x2xf32>
  return %0 : tensor<2x2xf32>
}

// -----

func.func @mixed_types_name_the_result(%a: tensor<2x3xi8>, %b: tensor<3x2xui8>) -> tensor<2x2xi32> {
  // expected-error@+1 {{operands are i8 and ui8; convert one, or name the type of the result with 'accumulate'}}
  %0 = graph.dot_general %a, %b batch [] x [] contract [1] x [0] : tensor<2x3xi8>, tensor<3x2xui8>
  return %0 : tensor<2x2xi32>
}
