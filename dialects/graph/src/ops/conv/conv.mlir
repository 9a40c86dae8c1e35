// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @symbolic
func.func @symbolic(%x: tensor<?x3x224x224xf32, affine_map<()[s0] -> (s0)>>, %w: tensor<64x3x7x7xf32>) -> tensor<?x64x112x112xf32, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.conv %{{.*}}, %{{.*}} strides [2, 2] low [3, 3] high [3, 3] dilation [1, 1] x [1, 1] groups 1
  %0 = graph.conv %x, %w strides [2, 2] low [3, 3] high [3, 3] dilation [1, 1] x [1, 1] groups 1
    : tensor<?x3x224x224xf32, affine_map<()[s0] -> (s0)>>, tensor<64x3x7x7xf32>
  return %0 : tensor<?x64x112x112xf32, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @channels_match(%x: tensor<1x4x5x5xf32>, %w: tensor<8x3x3x3xf32>) -> tensor<1x8x3x3xf32> {
  // expected-error@+1 {{4 input channels, but the filter takes 3 in each of 1 groups}}
  %0 = graph.conv %x, %w strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 1 : tensor<1x4x5x5xf32>, tensor<8x3x3x3xf32>
  return %0 : tensor<1x8x3x3xf32>
}
