// RUN: winze-opt --pass-pipeline='builtin.module(func.func(quantize-softmax),canonicalize)' %s | FileCheck %s

// 1 / 0.0039 = 256.4: 256 whole steps.
// CHECK-LABEL: func.func @quantized(
// CHECK: %[[S:.*]] = graph.softmax
// CHECK: graph.constant dense<2.560000e+02> : tensor<f32>
// CHECK: graph.mul %[[S]]
// CHECK-NOT: graph.div
func.func @quantized(%x: tensor<4x8xui8>) -> tensor<4x8xui8> {
  %sx = graph.constant dense<0.5> : tensor<f32>
  %sy = graph.constant dense<0.0039> : tensor<f32>
  %x0 = graph.convert %x : tensor<4x8xui8> -> tensor<4x8xf32>
  %x1 = graph.broadcast %sx axes [] : tensor<f32> -> tensor<4x8xf32>
  %x2 = graph.mul %x0, %x1 : tensor<4x8xf32>
  %y = graph.softmax %x2 axis 1 : tensor<4x8xf32>
  %s = graph.broadcast %sy axes [] : tensor<f32> -> tensor<4x8xf32>
  %d = graph.div %y, %s : tensor<4x8xf32>
  %n = graph.round %d : tensor<4x8xf32>
  %q = graph.convert %n : tensor<4x8xf32> -> tensor<4x8xui8>
  return %q : tensor<4x8xui8>
}

// Nothing was quantized in front of it.
// CHECK-LABEL: func.func @real(
// CHECK: graph.div
func.func @real(%x: tensor<4x8xf32>) -> tensor<4x8xui8> {
  %sy = graph.constant dense<0.0039> : tensor<f32>
  %y = graph.softmax %x axis 1 : tensor<4x8xf32>
  %s = graph.broadcast %sy axes [] : tensor<f32> -> tensor<4x8xf32>
  %d = graph.div %y, %s : tensor<4x8xf32>
  %n = graph.round %d : tensor<4x8xf32>
  %q = graph.convert %n : tensor<4x8xf32> -> tensor<4x8xui8>
  return %q : tensor<4x8xui8>
}
