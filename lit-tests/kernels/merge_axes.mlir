// RUN: winze-opt --pass-pipeline='builtin.module(func.func(form-kernels,merge-axes))' %s | FileCheck %s

#nchw = affine_map<()[s0, s1, s2] -> (s0, s1, s2)>
#n = affine_map<()[s0] -> (s0)>
// CHECK-DAG: #[[FLAT:.*]] = affine_map<()[s0, s1, s2] -> (((s0 * s1) * s2) * 4)>
// CHECK-DAG: #[[ROWS:.*]] = affine_map<()[s0, s1, s2] -> (s0 * 4, s1 * s2)>
// CHECK-DAG: #[[SCALES:.*]] = affine_map<()[s0] -> (s0 * 4)>
// CHECK-DAG: #[[PIXELS:.*]] = affine_map<()[s0, s1, s2] -> (s0, s1 * s2)>

// Without broadcasts all axes are one.
// CHECK-LABEL: func.func @all(
// CHECK: %[[X:.*]] = graph.reshape %arg0 : tensor<?x4x?x?xf32, {{.*}}> -> tensor<?xf32, #[[FLAT]]>
// CHECK: %[[Y:.*]] = graph.kernel "elementwise"(%[[X]]
// CHECK: graph.exp {{.*}} : tensor<?xf32, #[[FLAT]]>
// CHECK: graph.reshape %[[Y]] : tensor<?xf32, #[[FLAT]]> -> tensor<?x4x?x?xf32
func.func @all(%x: tensor<?x4x?x?xf32, #nchw>) -> tensor<?x4x?x?xf32, #nchw> attributes {graph.symbols = ["n", "h", "w"]} {
  %0 = graph.exp %x : tensor<?x4x?x?xf32, #nchw>
  return %0 : tensor<?x4x?x?xf32, #nchw>
}

// A factor per channel keeps what it has apart from what it lacks, unit axes or not.
// CHECK-LABEL: func.func @scale(
// CHECK: graph.kernel "elementwise"
// CHECK: ^bb0(%[[S:.*]]: tensor<?x1xf32, #[[SCALES]]>, %{{.*}}: tensor<?x?xf32, #[[ROWS]]>):
// CHECK: graph.broadcast %[[S]] axes [0, 1] : tensor<?x1xf32, #[[SCALES]]> -> tensor<?x?xf32, #[[ROWS]]>
// CHECK: graph.mul
func.func @scale(%x: tensor<?x4x?x?xf32, #nchw>, %s: tensor<?x4x1x1xf32, #n>) -> tensor<?x4x?x?xf32, #nchw> attributes {graph.symbols = ["n", "h", "w"]} {
  %0 = graph.broadcast %s axes [0, 1, 2, 3] : tensor<?x4x1x1xf32, #n> -> tensor<?x4x?x?xf32, #nchw>
  %1 = graph.mul %x, %0 : tensor<?x4x?x?xf32, #nchw>
  return %1 : tensor<?x4x?x?xf32, #nchw>
}

// Axes that operands share in turns stay.
// CHECK-LABEL: func.func @outer(
// CHECK-NOT: graph.reshape
func.func @outer(%x: tensor<3xf32>, %y: tensor<5xf32>) -> tensor<3x5xf32> {
  %0 = graph.broadcast %x axes [0] : tensor<3xf32> -> tensor<3x5xf32>
  %1 = graph.broadcast %y axes [1] : tensor<5xf32> -> tensor<3x5xf32>
  %2 = graph.add %0, %1 : tensor<3x5xf32>
  return %2 : tensor<3x5xf32>
}

// A convolution of one tap, its bias and a constant of one element.
// CHECK-LABEL: func.func @one_tap(
// CHECK: graph.kernel "contraction"
// CHECK: graph.packed_conv {{.*}} width 32 strides [1] dilation [1] groups 1 : tensor<?x16x?xf32, #[[PIXELS]]>, tensor<1x16x1x32xf32>
// CHECK: graph.broadcast {{.*}} axes [1] : tensor<32xf32> -> tensor<?x32x?xf32, #[[PIXELS]]>
// CHECK: graph.broadcast {{.*}} axes [2] : tensor<1xf32> -> tensor<?x32x?xf32, #[[PIXELS]]>
// CHECK: graph.reshape {{.*}} -> tensor<?x32x?x?xf32
func.func @one_tap(%x: tensor<?x16x?x?xf32, #nchw>, %w: tensor<1x16x1x1x32xf32>, %b: tensor<32xf32>) -> tensor<?x32x?x?xf32, #nchw>
    attributes {graph.symbols = ["n", "h", "w"]} {
  %one = graph.constant dense<2.0> : tensor<1xf32>
  %0 = graph.packed_conv %x, %w width 32 strides [1, 1] dilation [1, 1] groups 1 : tensor<?x16x?x?xf32, #nchw>, tensor<1x16x1x1x32xf32>
  %1 = graph.broadcast %b axes [1] : tensor<32xf32> -> tensor<?x32x?x?xf32, #nchw>
  %2 = graph.add %0, %1 : tensor<?x32x?x?xf32, #nchw>
  %3 = graph.broadcast %one axes [3] : tensor<1xf32> -> tensor<?x32x?x?xf32, #nchw>
  %4 = graph.mul %2, %3 : tensor<?x32x?x?xf32, #nchw>
  return %4 : tensor<?x32x?x?xf32, #nchw>
}

// Three taps in one axis: rows stay rows.
// CHECK-LABEL: func.func @three_taps(
// CHECK-NOT: graph.reshape
func.func @three_taps(%x: tensor<1x16x8x10xf32>, %w: tensor<1x16x1x3x32xf32>) -> tensor<1x32x8x8xf32> {
  %0 = graph.packed_conv %x, %w width 32 strides [1, 1] dilation [1, 1] groups 1 : tensor<1x16x8x10xf32>, tensor<1x16x1x3x32xf32>
  return %0 : tensor<1x32x8x8xf32>
}

// Rows of a product with packed weights, with its bias and what is added to it; the product's columns and what it adds up stay.
// CHECK-LABEL: func.func @rows(
// CHECK: graph.reshape %arg0 : tensor<?x?x16xf32, {{.*}}> -> tensor<?x16xf32, #[[FLAT2:.*]]>
// CHECK: graph.kernel "contraction"
// CHECK: graph.packed_dot {{.*}} width 40 : tensor<?x16xf32, #[[FLAT2]]>, tensor<2x16x32xf32>
// CHECK: graph.broadcast {{.*}} axes [1] : tensor<40xf32> -> tensor<?x40xf32, #[[FLAT2]]>
// CHECK: graph.reshape {{.*}} -> tensor<?x?x40xf32
#bt = affine_map<()[s0, s1] -> (s0, s1)>
func.func @rows(%x: tensor<?x?x16xf32, #bt>, %w: tensor<2x16x32xf32>, %b: tensor<40xf32>, %y: tensor<?x?x40xf32, #bt>) -> tensor<?x?x40xf32, #bt>
    attributes {graph.symbols = ["batch", "length"]} {
  %0 = graph.packed_dot %x, %w width 40 : tensor<?x?x16xf32, #bt>, tensor<2x16x32xf32>
  %1 = graph.broadcast %b axes [2] : tensor<40xf32> -> tensor<?x?x40xf32, #bt>
  %2 = graph.add %0, %1 : tensor<?x?x40xf32, #bt>
  %3 = graph.add %2, %y : tensor<?x?x40xf32, #bt>
  return %3 : tensor<?x?x40xf32, #bt>
}

// One factor per row of the batch keeps batch and length apart.
// CHECK-LABEL: func.func @factors(
// CHECK: graph.packed_dot {{.*}} : tensor<?x?x16xf32
func.func @factors(%x: tensor<?x?x16xf32, #bt>, %w: tensor<2x16x32xf32>, %s: tensor<?xf32, #n>) -> tensor<?x?x40xf32, #bt>
    attributes {graph.symbols = ["batch", "length"]} {
  %0 = graph.packed_dot %x, %w width 40 : tensor<?x?x16xf32, #bt>, tensor<2x16x32xf32>
  %1 = graph.broadcast %s axes [0] : tensor<?xf32, #n> -> tensor<?x?x40xf32, #bt>
  %2 = graph.mul %0, %1 : tensor<?x?x40xf32, #bt>
  return %2 : tensor<?x?x40xf32, #bt>
}
