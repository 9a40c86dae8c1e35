// RUN: winze-opt --pass-pipeline='builtin.module(func.func(quantize-products),canonicalize)' %s | FileCheck %s

// The factor is sa * sb / sy; the bias is rounded to multiples of sa * sb; the rest of the quantization stays.
// CHECK-LABEL: func.func @quantized(
// CHECK: %[[SUM:.*]] = graph.dot_general {{.*}} accumulate i32 : tensor<4x500xui8>, tensor<500x40xi8>
// CHECK: %[[SCALE:.*]] = graph.mul {{.*}} : tensor<f32>
// CHECK: graph.round {{.*}} : tensor<40xf32>
// CHECK: %[[BIASED:.*]] = graph.add {{.*}} : tensor<4x40xi32>
// CHECK: %[[FACTOR:.*]] = graph.div %[[SCALE]], {{.*}} : tensor<f32>
// CHECK: %[[REAL:.*]] = graph.convert %[[BIASED]] : tensor<4x40xi32> -> tensor<4x40xf32>
// CHECK: %[[WIDE:.*]] = graph.broadcast %[[FACTOR]]
// CHECK: %[[SCALED:.*]] = graph.mul %[[REAL]], %[[WIDE]]
// CHECK: %[[Q:.*]] = graph.round %[[SCALED]]
// CHECK: graph.convert %[[Q]]
func.func @quantized(%a: tensor<4x500xui8>) -> tensor<4x40xui8> {
  %sa = graph.constant dense<0.5> : tensor<f32>
  %sb = graph.constant dense<0.25> : tensor<f32>
  %sy = graph.constant dense<2.0> : tensor<f32>
  %w = graph.weight "w" : tensor<500x40xi8>
  %bias = graph.weight "bias" : tensor<40xf32>
  %a0 = graph.convert %a : tensor<4x500xui8> -> tensor<4x500xf32>
  %a1 = graph.broadcast %sa axes [] : tensor<f32> -> tensor<4x500xf32>
  %a2 = graph.mul %a0, %a1 : tensor<4x500xf32>
  %b0 = graph.convert %w : tensor<500x40xi8> -> tensor<500x40xf32>
  %b1 = graph.broadcast %sb axes [] : tensor<f32> -> tensor<500x40xf32>
  %b2 = graph.mul %b0, %b1 : tensor<500x40xf32>
  %p = graph.dot_general %a2, %b2 batch [] x [] contract [1] x [0] : tensor<4x500xf32>, tensor<500x40xf32>
  %c = graph.broadcast %bias axes [1] : tensor<40xf32> -> tensor<4x40xf32>
  %r = graph.add %p, %c : tensor<4x40xf32>
  %s = graph.broadcast %sy axes [] : tensor<f32> -> tensor<4x40xf32>
  %d = graph.div %r, %s : tensor<4x40xf32>
  %n = graph.round %d : tensor<4x40xf32>
  %q = graph.convert %n : tensor<4x40xf32> -> tensor<4x40xui8>
  return %q : tensor<4x40xui8>
}

// A filter's scale per output channel; nothing is quantized behind.
// CHECK-LABEL: func.func @real(
// CHECK: graph.conv {{.*}} groups 16 : tensor<1x16x8x8xf32>, tensor<16x1x3x3xf32>
// CHECK: graph.broadcast {{.*}} axes [1] : tensor<16xf32> -> tensor<1x16x6x6xf32>
// CHECK: graph.mul
// CHECK: return
func.func @real(%x: tensor<1x16x8x8xui8>) -> tensor<1x16x6x6xf32> {
  %sx = graph.constant dense<0.5> : tensor<f32>
  %sw = graph.weight "s" : tensor<16xf32>
  %w = graph.weight "w" : tensor<16x1x3x3xi8>
  %x0 = graph.convert %x : tensor<1x16x8x8xui8> -> tensor<1x16x8x8xf32>
  %x1 = graph.broadcast %sx axes [] : tensor<f32> -> tensor<1x16x8x8xf32>
  %x2 = graph.mul %x0, %x1 : tensor<1x16x8x8xf32>
  %w0 = graph.convert %w : tensor<16x1x3x3xi8> -> tensor<16x1x3x3xf32>
  %w1 = graph.broadcast %sw axes [0] : tensor<16xf32> -> tensor<16x1x3x3xf32>
  %w2 = graph.mul %w0, %w1 : tensor<16x1x3x3xf32>
  %0 = graph.conv %x2, %w2 strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 16 : tensor<1x16x8x8xf32>, tensor<16x1x3x3xf32>
  return %0 : tensor<1x16x6x6xf32>
}

// A scale per step of the sum is no factor of the sum.
// CHECK-LABEL: func.func @steps(
// CHECK: graph.dot_general {{.*}} : tensor<4x50xf32>, tensor<50x40xf32>
func.func @steps(%a: tensor<4x50xui8>, %sb: tensor<50xf32>) -> tensor<4x40xf32> {
  %sa = graph.constant dense<0.5> : tensor<f32>
  %w = graph.weight "w" : tensor<50x40xi8>
  %a0 = graph.convert %a : tensor<4x50xui8> -> tensor<4x50xf32>
  %a1 = graph.broadcast %sa axes [] : tensor<f32> -> tensor<4x50xf32>
  %a2 = graph.mul %a0, %a1 : tensor<4x50xf32>
  %b0 = graph.convert %w : tensor<50x40xi8> -> tensor<50x40xf32>
  %b1 = graph.broadcast %sb axes [0] : tensor<50xf32> -> tensor<50x40xf32>
  %b2 = graph.mul %b0, %b1 : tensor<50x40xf32>
  %p = graph.dot_general %a2, %b2 batch [] x [] contract [1] x [0] : tensor<4x50xf32>, tensor<50x40xf32>
  return %p : tensor<4x40xf32>
}
