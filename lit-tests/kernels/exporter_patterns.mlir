// RUN: winze-opt %s --split-input-file --pass-pipeline='builtin.module(canonicalize,cse,func.func(form-kernels))' | FileCheck %s

// What exporters write for one layer is one kernel, however it is spelled: no pass has to recognise it.

// CHECK-LABEL: @layer_norm
// CHECK-COUNT-1: graph.kernel "softmax"
// CHECK-NOT: graph.kernel
func.func @layer_norm(%x: tensor<2x8xf32>, %scale: tensor<8xf32>, %bias: tensor<8xf32>) -> tensor<2x8xf32> {
  %n = graph.constant dense<8.0> : tensor<f32>
  %n1 = graph.broadcast %n axes [] : tensor<f32> -> tensor<2xf32>
  %0 = graph.reduce "add" %x axes [1] : tensor<2x8xf32>
  %1 = graph.div %0, %n1 : tensor<2xf32>
  %2 = graph.broadcast %1 axes [0] : tensor<2xf32> -> tensor<2x8xf32>
  %3 = graph.sub %x, %2 : tensor<2x8xf32>
  // Pow(x, 2), ReduceMean, Sqrt, Div, as PyTorch exported it before LayerNormalization was an operator.
  %two = graph.constant dense<2.0> : tensor<f32>
  %two2 = graph.broadcast %two axes [] : tensor<f32> -> tensor<2x8xf32>
  %4 = graph.pow %3, %two2 : tensor<2x8xf32>
  %5 = graph.reduce "add" %4 axes [1] : tensor<2x8xf32>
  %6 = graph.div %5, %n1 : tensor<2xf32>
  %eps = graph.constant dense<1.0e-5> : tensor<f32>
  %eps1 = graph.broadcast %eps axes [] : tensor<f32> -> tensor<2xf32>
  %7 = graph.add %6, %eps1 : tensor<2xf32>
  %8 = graph.sqrt %7 : tensor<2xf32>
  %9 = graph.broadcast %8 axes [0] : tensor<2xf32> -> tensor<2x8xf32>
  %10 = graph.div %3, %9 : tensor<2x8xf32>
  %11 = graph.broadcast %scale axes [1] : tensor<8xf32> -> tensor<2x8xf32>
  %12 = graph.mul %10, %11 : tensor<2x8xf32>
  %13 = graph.broadcast %bias axes [1] : tensor<8xf32> -> tensor<2x8xf32>
  %14 = graph.add %12, %13 : tensor<2x8xf32>
  return %14 : tensor<2x8xf32>
}

// -----

// CHECK-LABEL: @softmax
// CHECK-COUNT-1: graph.kernel "softmax"
// CHECK-NOT: graph.kernel
func.func @softmax(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = graph.reduce "max" %x axes [1] : tensor<2x8xf32>
  %1 = graph.broadcast %0 axes [0] : tensor<2xf32> -> tensor<2x8xf32>
  %2 = graph.sub %x, %1 : tensor<2x8xf32>
  %3 = graph.exp %2 : tensor<2x8xf32>
  %4 = graph.reduce "add" %3 axes [1] : tensor<2x8xf32>
  %5 = graph.broadcast %4 axes [0] : tensor<2xf32> -> tensor<2x8xf32>
  %6 = graph.div %3, %5 : tensor<2x8xf32>
  return %6 : tensor<2x8xf32>
}

// -----

// 0.5 x (1 + erf(x / sqrt 2)), behind a dense layer.
// CHECK-LABEL: @gelu_erf
// CHECK-COUNT-1: graph.kernel "contraction"
// CHECK-NOT: graph.kernel
func.func @gelu_erf(%a: tensor<2x4xf32>, %w: tensor<4x8xf32>) -> tensor<2x8xf32> {
  %x = graph.dot_general %a, %w batch [] x [] contract [1] x [0] : tensor<2x4xf32>, tensor<4x8xf32>
  %root = graph.constant dense<1.41421354> : tensor<2x8xf32>
  %0 = graph.div %x, %root : tensor<2x8xf32>
  %1 = graph.erf %0 : tensor<2x8xf32>
  %one = graph.constant dense<1.0> : tensor<2x8xf32>
  %2 = graph.add %1, %one : tensor<2x8xf32>
  %3 = graph.mul %x, %2 : tensor<2x8xf32>
  %half = graph.constant dense<0.5> : tensor<2x8xf32>
  %4 = graph.mul %3, %half : tensor<2x8xf32>
  return %4 : tensor<2x8xf32>
}

// -----

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
// CHECK-LABEL: @gelu_tanh
// CHECK-COUNT-1: graph.kernel "contraction"
// CHECK-NOT: graph.kernel
func.func @gelu_tanh(%a: tensor<2x4xf32>, %w: tensor<4x8xf32>) -> tensor<2x8xf32> {
  %x = graph.dot_general %a, %w batch [] x [] contract [1] x [0] : tensor<2x4xf32>, tensor<4x8xf32>
  %three = graph.constant dense<3.0> : tensor<2x8xf32>
  %0 = graph.pow %x, %three : tensor<2x8xf32>
  %c = graph.constant dense<0.044715> : tensor<2x8xf32>
  %1 = graph.mul %0, %c : tensor<2x8xf32>
  %2 = graph.add %x, %1 : tensor<2x8xf32>
  %root = graph.constant dense<0.797884583> : tensor<2x8xf32>
  %3 = graph.mul %2, %root : tensor<2x8xf32>
  %4 = graph.tanh %3 : tensor<2x8xf32>
  %one = graph.constant dense<1.0> : tensor<2x8xf32>
  %5 = graph.add %4, %one : tensor<2x8xf32>
  %half = graph.constant dense<0.5> : tensor<2x8xf32>
  %6 = graph.mul %x, %half : tensor<2x8xf32>
  %7 = graph.mul %6, %5 : tensor<2x8xf32>
  return %7 : tensor<2x8xf32>
}

// -----

// x sigmoid(1.702 x)
// CHECK-LABEL: @gelu_sigmoid
// CHECK-COUNT-1: graph.kernel "contraction"
// CHECK-NOT: graph.kernel
func.func @gelu_sigmoid(%a: tensor<2x4xf32>, %w: tensor<4x8xf32>) -> tensor<2x8xf32> {
  %x = graph.dot_general %a, %w batch [] x [] contract [1] x [0] : tensor<2x4xf32>, tensor<4x8xf32>
  %c = graph.constant dense<1.702> : tensor<2x8xf32>
  %0 = graph.mul %x, %c : tensor<2x8xf32>
  %1 = graph.logistic %0 : tensor<2x8xf32>
  %2 = graph.mul %x, %1 : tensor<2x8xf32>
  return %2 : tensor<2x8xf32>
}

// -----

// x clip(x + 3, 0, 6) / 6, behind a convolution; the clip alone, divided, is a hard sigmoid.
// CHECK-LABEL: @hard_swish
// CHECK-COUNT-1: graph.kernel "contraction"
// CHECK-NOT: graph.kernel
func.func @hard_swish(%a: tensor<1x2x4xf32>, %w: tensor<3x2x1xf32>) -> tensor<1x3x4xf32> {
  %x = graph.conv %a, %w strides [1] low [0] high [0] dilation [1] x [1] groups 1 : tensor<1x2x4xf32>, tensor<3x2x1xf32>
  %three = graph.constant dense<3.0> : tensor<1x3x4xf32>
  %0 = graph.add %x, %three : tensor<1x3x4xf32>
  %zero = graph.constant dense<0.0> : tensor<1x3x4xf32>
  %1 = graph.maximum %0, %zero : tensor<1x3x4xf32>
  %six = graph.constant dense<6.0> : tensor<1x3x4xf32>
  %2 = graph.minimum %1, %six : tensor<1x3x4xf32>
  %3 = graph.mul %x, %2 : tensor<1x3x4xf32>
  %4 = graph.div %3, %six : tensor<1x3x4xf32>
  return %4 : tensor<1x3x4xf32>
}

// -----

// Scaled scores and their mask are the epilogue of the first product; softmax and the second product are a kernel each.
// CHECK-LABEL: @attention
// CHECK: graph.kernel "contraction"
// CHECK: graph.dot_general
// CHECK: graph.mul
// CHECK: graph.add
// CHECK: graph.kernel "softmax"
// CHECK: graph.kernel "contraction"
// CHECK-NOT: graph.kernel
func.func @attention(%q: tensor<3x5x4xf32>, %k: tensor<3x7x4xf32>, %v: tensor<3x7x4xf32>, %mask: tensor<3x5x7xf32>) -> tensor<3x5x4xf32> {
  %0 = graph.dot_general %q, %k batch [0] x [0] contract [2] x [2] : tensor<3x5x4xf32>, tensor<3x7x4xf32>
  %scale = graph.constant dense<0.5> : tensor<3x5x7xf32>
  %1 = graph.mul %0, %scale : tensor<3x5x7xf32>
  %2 = graph.add %1, %mask : tensor<3x5x7xf32>
  %3 = graph.softmax %2 axis 2 : tensor<3x5x7xf32>
  %4 = graph.dot_general %3, %v batch [0] x [0] contract [2] x [1] : tensor<3x5x7xf32>, tensor<3x7x4xf32>
  return %4 : tensor<3x5x4xf32>
}
