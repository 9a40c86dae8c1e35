// RUN: winze-opt --pass-pipeline='builtin.module(func.func(narrow-products),canonicalize)' %s | FileCheck %s

#n = affine_map<()[s0] -> (s0)>

// The zero point of the right side is moved with its bytes to 0, so only the other one is left.
// CHECK-LABEL: func.func @product(
// CHECK: %[[B:.*]] = graph.convert {{.*}} -> tensor<500x40xi8>
// CHECK: %[[P:.*]] = graph.dot_general %arg0, %[[B]] {{.*}} accumulate i32 : tensor<?x500xui8, #{{.*}}>, tensor<500x40xi8>
// CHECK: graph.reduce "add" {{.*}} axes [0] : tensor<500x40xi32>
// CHECK-NOT: graph.reduce
// CHECK: graph.sub %[[P]]
func.func @product(%a: tensor<?x500xui8, #n>, %zero: tensor<ui8>) -> tensor<?x40xi32, #n> attributes {graph.symbols = ["n"]} {
  %w = graph.weight "w" : tensor<500x40xui8>
  %middle = graph.constant dense<128> : tensor<i32>
  %a0 = graph.convert %a : tensor<?x500xui8, #n> -> tensor<?x500xi32, #n>
  %z0 = graph.convert %zero : tensor<ui8> -> tensor<i32>
  %z1 = graph.broadcast %z0 axes [] : tensor<i32> -> tensor<?x500xi32, #n>
  %a1 = graph.sub %a0, %z1 : tensor<?x500xi32, #n>
  %b0 = graph.convert %w : tensor<500x40xui8> -> tensor<500x40xi32>
  %m0 = graph.broadcast %middle axes [] : tensor<i32> -> tensor<500x40xi32>
  %b1 = graph.sub %b0, %m0 : tensor<500x40xi32>
  %0 = graph.dot_general %a1, %b1 batch [] x [] contract [1] x [0] : tensor<?x500xi32, #n>, tensor<500x40xi32>
  return %0 : tensor<?x40xi32, #n>
}

// A zero point per column stays: rows of the left side are summed up.
// CHECK-LABEL: func.func @columns(
// CHECK: graph.dot_general {{.*}} accumulate i32
// CHECK: graph.reduce "add" {{.*}} axes [1] : tensor<4x500xi32>
func.func @columns(%a: tensor<4x500xui8>) -> tensor<4x40xi32> {
  %z = graph.weight "z" : tensor<40xi8>
  %w = graph.weight "w" : tensor<500x40xi8>
  %a0 = graph.convert %a : tensor<4x500xui8> -> tensor<4x500xi32>
  %b0 = graph.convert %w : tensor<500x40xi8> -> tensor<500x40xi32>
  %z0 = graph.convert %z : tensor<40xi8> -> tensor<40xi32>
  %z1 = graph.broadcast %z0 axes [1] : tensor<40xi32> -> tensor<500x40xi32>
  %b1 = graph.sub %b0, %z1 : tensor<500x40xi32>
  %0 = graph.dot_general %a0, %b1 batch [] x [] contract [1] x [0] : tensor<4x500xi32>, tensor<500x40xi32>
  return %0 : tensor<4x40xi32>
}

// The channels go last, the padding is the zero point.
// CHECK-LABEL: func.func @convolution(
// CHECK: %[[T:.*]] = graph.transpose %arg0 permutation [0, 2, 3, 1]
// CHECK: %[[X:.*]] = graph.pad %[[T]], %{{.*}} low [0, 1, 1, 0] high [0, 1, 1, 0]
// CHECK: graph.conv %[[X]], {{.*}} low [0, 0] high [0, 0] {{.*}} channels_last accumulate i32
// CHECK: graph.transpose {{.*}} permutation [0, 3, 1, 2]
func.func @convolution(%x: tensor<1x40x8x8xui8>, %zero: tensor<ui8>) -> tensor<1x16x8x8xi32> {
  %w = graph.weight "w" : tensor<16x40x3x3xi8>
  %x0 = graph.convert %x : tensor<1x40x8x8xui8> -> tensor<1x40x8x8xi32>
  %z0 = graph.convert %zero : tensor<ui8> -> tensor<i32>
  %z1 = graph.broadcast %z0 axes [] : tensor<i32> -> tensor<1x40x8x8xi32>
  %x1 = graph.sub %x0, %z1 : tensor<1x40x8x8xi32>
  %w0 = graph.convert %w : tensor<16x40x3x3xi8> -> tensor<16x40x3x3xi32>
  %0 = graph.conv %x1, %w0 strides [1, 1] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 1 : tensor<1x40x8x8xi32>, tensor<16x40x3x3xi32>
  return %0 : tensor<1x16x8x8xi32>
}

// Few steps: exact in f32. Many, and no constant: left alone.
// CHECK-LABEL: func.func @depthwise(
// CHECK: graph.conv {{.*}} : tensor<1x16x8x8xf32>, tensor<16x1x3x3xf32>
func.func @depthwise(%x: tensor<1x16x8x8xui8>) -> tensor<1x16x6x6xi32> {
  %w = graph.weight "w" : tensor<16x1x3x3xi8>
  %x0 = graph.convert %x : tensor<1x16x8x8xui8> -> tensor<1x16x8x8xi32>
  %w0 = graph.convert %w : tensor<16x1x3x3xi8> -> tensor<16x1x3x3xi32>
  %0 = graph.conv %x0, %w0 strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 16 : tensor<1x16x8x8xi32>, tensor<16x1x3x3xi32>
  return %0 : tensor<1x16x6x6xi32>
}

// CHECK-LABEL: func.func @unknown(
// CHECK: graph.dot_general {{.*}} : tensor<4x259xi32>, tensor<259x9xi32>
func.func @unknown(%a: tensor<4x259xui8>, %b: tensor<259x9xi8>) -> tensor<4x9xi32> {
  %a0 = graph.convert %a : tensor<4x259xui8> -> tensor<4x259xi32>
  %b0 = graph.convert %b : tensor<259x9xi8> -> tensor<259x9xi32>
  %0 = graph.dot_general %a0, %b0 batch [] x [] contract [1] x [0] : tensor<4x259xi32>, tensor<259x9xi32>
  return %0 : tensor<4x9xi32>
}
