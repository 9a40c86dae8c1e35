// RUN: winze-opt %s --pass-pipeline='builtin.module(func.func(fold-scales),canonicalize,cse)' | FileCheck %s

// Batch normalization behind a convolution: the factors go into the filter, the rest is one add.
// CHECK-LABEL: @batch_norm
func.func @batch_norm(%x: tensor<1x2x4x4xf32>) -> tensor<1x3x4x4xf32> {
  // CHECK-DAG: %[[FILTER:.*]] = graph.weight "filter"
  // CHECK: %[[ALONG:.*]] = graph.broadcast %{{.*}} axes [0] : tensor<3xf32> -> tensor<3x2x3x3xf32>
  // CHECK: %[[SCALED:.*]] = graph.mul %[[FILTER]], %[[ALONG]]
  // CHECK: %[[CONV:.*]] = graph.conv %arg0, %[[SCALED]]
  // CHECK: %[[SHIFT:.*]] = graph.broadcast %{{.*}} axes [1] : tensor<3xf32> -> tensor<1x3x4x4xf32>
  // CHECK: %[[SUM:.*]] = graph.add %[[CONV]], %[[SHIFT]]
  // CHECK-NEXT: return %[[SUM]]
  %w = graph.weight "filter" : tensor<3x2x3x3xf32>
  %0 = graph.conv %x, %w strides [1, 1] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 1 : tensor<1x2x4x4xf32>, tensor<3x2x3x3xf32>
  %mean = graph.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %m = graph.broadcast %mean axes [1] : tensor<3xf32> -> tensor<1x3x4x4xf32>
  %1 = graph.sub %0, %m : tensor<1x3x4x4xf32>
  %factor = graph.constant dense<[[[[0.5]], [[1.5]], [[-1.0]]]]> : tensor<1x3x1x1xf32>
  %f = graph.broadcast %factor axes [0, 1, 2, 3] : tensor<1x3x1x1xf32> -> tensor<1x3x4x4xf32>
  %2 = graph.mul %1, %f : tensor<1x3x4x4xf32>
  %bias = graph.constant dense<[4.0, 5.0, 6.0]> : tensor<3xf32>
  %b = graph.broadcast %bias axes [1] : tensor<3xf32> -> tensor<1x3x4x4xf32>
  %3 = graph.add %2, %b : tensor<1x3x4x4xf32>
  return %3 : tensor<1x3x4x4xf32>
}

// In front of a product without padding, what is added is summed over the weight.
// CHECK-LABEL: @in_front
func.func @in_front(%x: tensor<2x4xf32>) -> tensor<2x3xf32> {
  // CHECK: %[[DOT:.*]] = graph.dot_general %arg0, %{{.*}}
  // CHECK: graph.reduce "add" %{{.*}} axes [0] : tensor<4x3xf32>
  // CHECK: %[[SUM:.*]] = graph.add %[[DOT]]
  // CHECK-NEXT: return %[[SUM]]
  %scale = graph.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %s = graph.broadcast %scale axes [1] : tensor<4xf32> -> tensor<2x4xf32>
  %0 = graph.mul %s, %x : tensor<2x4xf32>
  %1 = graph.add %0, %s : tensor<2x4xf32>
  %w = graph.weight "w" : tensor<4x3xf32>
  %2 = graph.dot_general %1, %w batch [] x [] contract [1] x [0] : tensor<2x4xf32>, tensor<4x3xf32>
  return %2 : tensor<2x3xf32>
}

// Padding stands between what is added and the filter; a factor passes it. A depthwise filter has the channels in front.
// CHECK-LABEL: @depthwise
func.func @depthwise(%x: tensor<1x2x5xf32>) -> tensor<1x2x5xf32> {
  // CHECK: %[[ADD:.*]] = graph.add %arg0
  // CHECK: graph.broadcast %{{.*}} axes [0] : tensor<2xf32> -> tensor<2x1x3xf32>
  // CHECK: %[[CONV:.*]] = graph.conv %[[ADD]]
  // CHECK-NEXT: return %[[CONV]]
  %c = graph.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %b = graph.broadcast %c axes [1] : tensor<2xf32> -> tensor<1x2x5xf32>
  %0 = graph.add %x, %b : tensor<1x2x5xf32>
  %1 = graph.div %0, %b : tensor<1x2x5xf32>
  %w = graph.weight "w" : tensor<2x1x3xf32>
  %2 = graph.conv %1, %w strides [1] low [1] high [1] dilation [1] x [1] groups 2 : tensor<1x2x5xf32>, tensor<2x1x3xf32>
  return %2 : tensor<1x2x5xf32>
}

// A single add is as good as it gets; weights with other users stay; f16 would be rounded once more.
// CHECK-LABEL: @as_they_are
func.func @as_they_are(%x: tensor<2x2xf32>, %h: tensor<2x2xf16>) -> (tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf16>) {
  // CHECK: graph.add
  // CHECK: graph.mul
  // CHECK: graph.mul
  // CHECK-NEXT: return
  %c = graph.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %b = graph.broadcast %c axes [1] : tensor<2xf32> -> tensor<2x2xf32>
  %v = graph.weight "v" : tensor<2x2xf32>
  %0 = graph.dot_general %x, %v batch [] x [] contract [1] x [0] : tensor<2x2xf32>, tensor<2x2xf32>
  %1 = graph.add %0, %b : tensor<2x2xf32>
  %w = graph.weight "w" : tensor<2x2xf32>
  %2 = graph.dot_general %1, %w batch [] x [] contract [1] x [0] : tensor<2x2xf32>, tensor<2x2xf32>
  %3 = graph.mul %2, %b : tensor<2x2xf32>
  %4 = graph.dot_general %x, %w batch [] x [] contract [1] x [1] : tensor<2x2xf32>, tensor<2x2xf32>
  %ch = graph.constant dense<[1.0, 2.0]> : tensor<2xf16>
  %bh = graph.broadcast %ch axes [1] : tensor<2xf16> -> tensor<2x2xf16>
  %wh = graph.weight "wh" : tensor<2x2xf16>
  %5 = graph.dot_general %h, %wh batch [] x [] contract [1] x [0] : tensor<2x2xf16>, tensor<2x2xf16>
  %6 = graph.mul %5, %bh : tensor<2x2xf16>
  return %1, %3, %4, %6 : tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf32>, tensor<2x2xf16>
}
