// RUN: winze-opt --pass-pipeline='builtin.module(func.func(pad-inputs))' %s | FileCheck %s

// Padding with what the window ignores; what is cropped stays.
// CHECK-LABEL: func.func @pooling(
// CHECK: %[[LOW:.*]] = graph.constant dense<0xFF800000> : tensor<f32>
// CHECK: %[[PAD:.*]] = graph.pad %arg0, %[[LOW]] low [0, 0, 1, 1] high [0, 0, 1, 0] interior [0, 0, 0, 0]
// CHECK: graph.reduce_window "max" %[[PAD]] window [1, 1, 3, 3] strides [1, 1, 2, 2] low [0, 0, 0, 0] high [0, 0, 0, -1]
func.func @pooling(%x: tensor<1x4x8x8xf32>) -> tensor<1x4x4x3xf32> {
  %0 = graph.reduce_window "max" %x window [1, 1, 3, 3] strides [1, 1, 2, 2] low [0, 0, 1, 1] high [0, 0, 1, -1] dilation [1, 1, 1, 1]
    : tensor<1x4x8x8xf32>
  return %0 : tensor<1x4x4x3xf32>
}

// CHECK-LABEL: func.func @channels_last(
// CHECK: %[[PAD:.*]] = graph.pad %arg0, %{{.*}} low [0, 1, 1, 0] high [0, 1, 1, 0]
// CHECK: graph.conv %[[PAD]], %arg1 strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 4 channels_last
func.func @channels_last(%x: tensor<1x8x8x4xf32>, %w: tensor<4x1x3x3xf32>) -> tensor<1x8x8x4xf32> {
  %0 = graph.conv %x, %w strides [1, 1] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 4 channels_last
    : tensor<1x8x8x4xf32>, tensor<4x1x3x3xf32>
  return %0 : tensor<1x8x8x4xf32>
}

// Gaps between input elements are padding, cropping on the low side is not.
// CHECK-LABEL: func.func @others(
// CHECK: %[[PAD:.*]] = graph.pad %arg0, %{{.*}} low [0, 0, 2] high [0, 0, 2] interior [0, 0, 1]
// CHECK: graph.conv %[[PAD]], %arg1 strides [1] low [0] high [0] dilation [1] x [1]
// CHECK-NOT: graph.pad
func.func @others(%x: tensor<1x4x8xf32>, %w: tensor<4x4x3xf32>) -> (tensor<1x4x17xf32>, tensor<1x4x6xf32>) {
  %0 = graph.conv %x, %w strides [1] low [2] high [2] dilation [2] x [1] groups 1 : tensor<1x4x8xf32>, tensor<4x4x3xf32>
  %1 = graph.conv %x, %w strides [1] low [-1] high [1] dilation [1] x [1] groups 1 : tensor<1x4x8xf32>, tensor<4x4x3xf32>
  return %0, %1 : tensor<1x4x17xf32>, tensor<1x4x6xf32>
}
