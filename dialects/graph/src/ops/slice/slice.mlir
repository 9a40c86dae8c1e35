// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: winze-opt %s --split-input-file --canonicalize --verify-diagnostics | FileCheck %s --check-prefix=CANONICAL

// CHECK-LABEL: @symbolic
func.func @symbolic(%a: tensor<?x8xf32, affine_map<()[s0] -> (s0)>>) -> tensor<1x3xf32> {
  // The last element of a symbolic axis.
  // CHECK: graph.slice %{{.*}} starts [-1, 1] limits [9223372036854775807, 7] strides [1, 2] : tensor<?x8xf32, #map>
  %0 = graph.slice %a starts [-1, 1] limits [9223372036854775807, 7] strides [1, 2] : tensor<?x8xf32, affine_map<()[s0] -> (s0)>>
  return %0 : tensor<1x3xf32>
}

// CANONICAL-LABEL: @everything
func.func @everything(%a: tensor<4xf32>) -> tensor<4xf32> {
  // CANONICAL-NOT: graph.slice
  %0 = graph.slice %a starts [0] limits [9] strides [1] : tensor<4xf32>
  // CHECK: graph.reverse %{{.*}} axes []
  // CANONICAL-NOT: graph.reverse
  %1 = graph.reverse %0 axes [] : tensor<4xf32>
  return %1 : tensor<4xf32>
}

// -----

func.func @strides_are_positive(%a: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{'strides' holds 0; entries are at least 1}}
  %0 = graph.slice %a starts [0] limits [4] strides [0] : tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// CHECK-LABEL: @at_extents
func.func @at_extents(%a: tensor<?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>) -> tensor<?x2xf32, affine_map<()[s0, s1] -> (s1)>> {
  // CHECK: graph.symbolic_slice %{{.*}} starts #{{.*}} strides [1, 2]
  %0 = graph.symbolic_slice %a starts affine_map<()[s0] -> (s0, 1)> strides [1, 2]
    : tensor<?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> -> tensor<?x2xf32, affine_map<()[s0, s1] -> (s1)>>
  return %0 : tensor<?x2xf32, affine_map<()[s0, s1] -> (s1)>>
}

// -----

// CHECK-LABEL: @one_element
func.func @one_element(%a: tensor<3x4x5xf32>) -> tensor<3x5xf32> {
  // CHECK: graph.symbolic_slice %{{.*}} starts #{{.*}} strides [1, 1, 1] dropped [1] : tensor<3x4x5xf32> -> tensor<3x5xf32>
  %0 = graph.symbolic_slice %a starts affine_map<() -> (0, 2, 0)> strides [1, 1, 1] dropped [1] : tensor<3x4x5xf32> -> tensor<3x5xf32>
  return %0 : tensor<3x5xf32>
}

// -----

func.func @dropped_outside(%a: tensor<3x4xf32>) -> tensor<3xf32> {
  // expected-error @below {{1 elements from 4 on leave axis 1 of extent 4}}
  %0 = graph.symbolic_slice %a starts affine_map<() -> (0, 4)> strides [1, 1] dropped [1] : tensor<3x4xf32> -> tensor<3xf32>
  return %0 : tensor<3xf32>
}

// -----

func.func @symbolic_outside(%a: tensor<4xf32>) -> tensor<2xf32> {
  // expected-error @below {{2 elements from 3 on leave axis 0 of extent 4}}
  %0 = graph.symbolic_slice %a starts affine_map<() -> (3)> strides [1] : tensor<4xf32> -> tensor<2xf32>
  return %0 : tensor<2xf32>
}
