// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, %b: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>) -> tensor<?x3xi1, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.tanh %{{.*}} : tensor<?x3xf32, #map>
  %0 = graph.tanh %a : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.add %{{.*}}, %{{.*}} : tensor<?x3xf32, #map>
  %1 = graph.add %0, %b : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: %[[C:.*]] = graph.lt
  %2 = graph.lt %1, %b : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.select %[[C]], %{{.*}}, %{{.*}} : tensor<?x3xi1, #map>, tensor<?x3xf32, #map>
  %3 = graph.select %2, %1, %b : tensor<?x3xi1, affine_map<()[s0] -> (s0)>>, tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.is_nan
  %4 = graph.is_nan %3 : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  return %4 : tensor<?x3xi1, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @functions_take_floats(%a: tensor<2xi32>) -> tensor<2xi32> {
  // expected-error@+1 {{operand #0 must be ranked tensor of float values}}
  %0 = "graph.exp"(%a) : (tensor<2xi32>) -> tensor<2xi32>
  return %0 : tensor<2xi32>
}

// -----

func.func @shapes_are_equal(%a: tensor<2xf32>, %b: tensor<3xf32>) -> tensor<2xf32> {
  // expected-error@+1 {{must have the same shape}}
  %0 = "graph.add"(%a, %b) : (tensor<2xf32>, tensor<3xf32>) -> tensor<2xf32>
  return %0 : tensor<2xf32>
}
