// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @symbolic
func.func @symbolic(%a: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, %b: tensor<2x3xf32>) -> tensor<?x3xf32, affine_map<()[s0] -> (s0 + 2)>> {
  // CHECK: graph.concat %{{.*}}, %{{.*}} axis 0 : tensor<?x3xf32, #{{.*}}>, tensor<2x3xf32>
  %0 = graph.concat %a, %b axis 0 : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, tensor<2x3xf32>
  return %0 : tensor<?x3xf32, affine_map<()[s0] -> (s0 + 2)>>
}

// -----

func.func @other_axes_are_equal(%a: tensor<2x3xf32>, %b: tensor<2x4xf32>) -> tensor<4x3xf32> {
  // expected-error@+1 {{all but axis 0 must be equal}}
  %0 = graph.concat %a, %b axis 0 : tensor<2x3xf32>, tensor<2x4xf32>
  return %0 : tensor<4x3xf32>
}
