// RUN: winze-opt --pass-pipeline='builtin.module(func.func(pack-weights{target=x86-64-v3}),canonicalize)' %s | FileCheck %s
// RUN: not winze-opt --pass-pipeline='builtin.module(func.func(pack-weights{target=none}))' %s 2>&1 | FileCheck %s --check-prefix=TARGET

// TARGET: none

#n = affine_map<()[s0] -> (s0)>

// The id says how the stored bytes are made.
// CHECK-LABEL: func.func @product(
// CHECK: graph.weight "fc|panels:16" : tensor<3x8x16xf32>
// CHECK: graph.packed_dot %arg0, %{{.*}} width 40
func.func @product(%x: tensor<?x8xf32, #n>) -> tensor<?x40xf32, #n> attributes {graph.symbols = ["n"]} {
  %w = graph.weight "fc" : tensor<8x40xf32>
  %0 = graph.dot_general %x, %w batch [] x [] contract [1] x [0] : tensor<?x8xf32, #n>, tensor<8x40xf32>
  return %0 : tensor<?x40xf32, #n>
}

// CHECK-LABEL: func.func @transposed(
// CHECK: graph.weight "fc|transpose:1,0|panels:16" : tensor<3x8x16xf32>
func.func @transposed(%x: tensor<?x8xf32, #n>) -> tensor<?x40xf32, #n> attributes {graph.symbols = ["n"]} {
  %w = graph.weight "fc" : tensor<40x8xf32>
  %0 = graph.dot_general %x, %w batch [] x [] contract [1] x [1] : tensor<?x8xf32, #n>, tensor<40x8xf32>
  return %0 : tensor<?x40xf32, #n>
}

// CHECK-LABEL: func.func @convolution(
// CHECK: graph.weight "filter|{{.*}}filter_panels:
// CHECK: graph.packed_conv
func.func @convolution(%x: tensor<1x3x10x10xf32>) -> tensor<1x32x8x8xf32> {
  %w = graph.weight "filter" : tensor<32x3x3x3xf32>
  %0 = graph.conv %x, %w strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 1 : tensor<1x3x10x10xf32>, tensor<32x3x3x3xf32>
  return %0 : tensor<1x32x8x8xf32>
}

// A panel belongs to one group; narrow groups become one, whose filters are zero where they saw nothing.
// CHECK-LABEL: func.func @groups(
// CHECK: graph.weight "filter|filter_panels:16" : tensor<4x3x3x3x16xf32>
// CHECK: graph.packed_conv %arg0, %{{.*}} width 64 strides [1, 1] dilation [1, 1] groups 2
// CHECK: graph.weight "narrow|merge_groups:8,2|filter_panels:8" : tensor<4x6x3x3x8xf32>
// CHECK: graph.packed_conv %arg1, %{{.*}} width 32 strides [1, 1] dilation [1, 1] groups 4
// CHECK: graph.weight "few|merge_groups:3,3|filter_panels:16" : tensor<1x6x3x3x16xf32>
// CHECK: graph.packed_conv %arg2, %{{.*}} width 15 strides [1, 1] dilation [1, 1] groups 1
func.func @groups(%x: tensor<1x6x10x10xf32>, %y: tensor<1x24x10x10xf32>, %z: tensor<1x6x10x10xf32>)
    -> (tensor<1x64x8x8xf32>, tensor<1x32x8x8xf32>, tensor<1x15x8x8xf32>) {
  %w = graph.weight "filter" : tensor<64x3x3x3xf32>
  %0 = graph.conv %x, %w strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 2 : tensor<1x6x10x10xf32>, tensor<64x3x3x3xf32>
  %narrow = graph.weight "narrow" : tensor<32x3x3x3xf32>
  %1 = graph.conv %y, %narrow strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 8 : tensor<1x24x10x10xf32>, tensor<32x3x3x3xf32>
  %few = graph.weight "few" : tensor<15x2x3x3xf32>
  %2 = graph.conv %z, %few strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 3 : tensor<1x6x10x10xf32>, tensor<15x2x3x3xf32>
  return %0, %1, %2 : tensor<1x64x8x8xf32>, tensor<1x32x8x8xf32>, tensor<1x15x8x8xf32>
}

// Windows do without panels.
// CHECK-LABEL: func.func @depthwise(
// CHECK: graph.conv
func.func @depthwise(%x: tensor<1x16x10x10xf32>) -> tensor<1x16x8x8xf32> {
  %w = graph.weight "filter" : tensor<16x1x3x3xf32>
  %0 = graph.conv %x, %w strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 16 : tensor<1x16x10x10xf32>, tensor<16x1x3x3xf32>
  return %0 : tensor<1x16x8x8xf32>
}

// Bytes in fours of steps; a depth that is no multiple of four is filled up with zeros.
// CHECK-LABEL: func.func @fours(
// CHECK: graph.pad {{.*}} high [0, 2]
// CHECK: graph.weight "q|transpose:1,0|extend:12,40|reshape:3,4,40|transpose:0,2,1|reshape:3,160|panels:64|reshape:3,3,16,4" : tensor<3x3x16x4xi8>
// CHECK: graph.packed_dot {{.*}} width 40 accumulate i32 : tensor<4x12xui8>
func.func @fours(%x: tensor<4x10xui8>) -> tensor<4x40xi32> {
  %w = graph.weight "q" : tensor<40x10xi8>
  %0 = graph.dot_general %x, %w batch [] x [] contract [1] x [1] accumulate i32 : tensor<4x10xui8>, tensor<40x10xi8>
  return %0 : tensor<4x40xi32>
}

// CHECK-LABEL: func.func @fours_of_channels(
// CHECK: graph.weight "f|transpose:2,3,1,0|extend:3,3,8,32|reshape:18,4,32|transpose:0,2,1|reshape:18,128|panels:64|reshape:2,3,3,2,16,4"
// CHECK: graph.packed_conv {{.*}} channels_last accumulate i32
func.func @fours_of_channels(%x: tensor<1x10x10x8xui8>) -> tensor<1x8x8x32xi32> {
  %w = graph.weight "f" : tensor<32x8x3x3xi8>
  %0 = graph.conv %x, %w strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 1 channels_last accumulate i32
    : tensor<1x10x10x8xui8>, tensor<32x8x3x3xi8>
  return %0 : tensor<1x8x8x32xi32>
}

// Nothing to pack: the right side is an input, or integer.
// CHECK-LABEL: func.func @input(
// CHECK: graph.dot_general
func.func @input(%x: tensor<4x8xf32>, %w: tensor<8x40xf32>) -> tensor<4x40xf32> {
  %0 = graph.dot_general %x, %w batch [] x [] contract [1] x [0] : tensor<4x8xf32>, tensor<8x40xf32>
  return %0 : tensor<4x40xf32>
}

// CHECK-LABEL: func.func @integers(
// CHECK: graph.weight "q" : tensor<8x40xi32>
// CHECK: graph.dot_general
func.func @integers(%x: tensor<4x8xi32>) -> tensor<4x40xi32> {
  %w = graph.weight "q" : tensor<8x40xi32>
  %0 = graph.dot_general %x, %w batch [] x [] contract [1] x [0] : tensor<4x8xi32>, tensor<8x40xi32>
  return %0 : tensor<4x40xi32>
}

// Right sides that are no weights are packed by the kernel, unless there are too few rows to pay for it.
// CHECK-LABEL: func.func @attention(
// CHECK: graph.dot_general %arg0, %arg1 {{.*}}{graph.panel = 16 : i64}
func.func @attention(%q: tensor<2x?x8xf32, #n>, %k: tensor<2x?x8xf32, #n>) -> tensor<2x?x?xf32, affine_map<()[s0] -> (s0, s0)>> attributes {graph.symbols = ["n"]} {
  %0 = graph.dot_general %q, %k batch [0] x [0] contract [2] x [2] : tensor<2x?x8xf32, #n>, tensor<2x?x8xf32, #n>
  return %0 : tensor<2x?x?xf32, affine_map<()[s0] -> (s0, s0)>>
}

// CHECK-LABEL: func.func @one_row(
// CHECK-NOT: graph.panel
func.func @one_row(%q: tensor<2x1x8xf32>, %k: tensor<2x64x8xf32>) -> tensor<2x1x64xf32> {
  %0 = graph.dot_general %q, %k batch [0] x [0] contract [2] x [2] : tensor<2x1x8xf32>, tensor<2x64x8xf32>
  return %0 : tensor<2x1x64xf32>
}

// A matrix that meets a vector is read once: packing it would cost more than the product. Without axes of extent 1, what is summed up is contiguous.
// CHECK-LABEL: func.func @with_a_column(
// CHECK: %[[V:.*]] = graph.reshape %arg1 : tensor<1024x1xf32> -> tensor<1024xf32>
// CHECK: graph.dot_general %arg0, %[[V]] batch [] x [] contract [1] x [0] : tensor<?x1024xf32, #{{.*}}>, tensor<1024xf32>
func.func @with_a_column(%x: tensor<?x1024xf32, #n>, %v: tensor<1024x1xf32>) -> tensor<?x1xf32, #n> attributes {graph.symbols = ["n"]} {
  %0 = graph.dot_general %x, %v batch [] x [] contract [1] x [0] : tensor<?x1024xf32, #n>, tensor<1024x1xf32>
  return %0 : tensor<?x1xf32, #n>
}

// CHECK-LABEL: func.func @row_with(
// CHECK: %[[V:.*]] = graph.reshape %arg0 : tensor<1x1024xf32> -> tensor<1024xf32>
// CHECK: graph.dot_general %[[V]], %arg1 batch [] x [] contract [0] x [0]
func.func @row_with(%v: tensor<1x1024xf32>, %x: tensor<1024x512xf32>) -> tensor<1x512xf32> {
  %0 = graph.dot_general %v, %x batch [] x [] contract [1] x [0] : tensor<1x1024xf32>, tensor<1024x512xf32>
  return %0 : tensor<1x512xf32>
}

// CHECK-LABEL: func.func @with_a_stored_column(
// CHECK: graph.weight "v" : tensor<1024x1xf32>
// CHECK-NOT: packed_dot
// CHECK: return
func.func @with_a_stored_column(%x: tensor<8x1024xf32>) -> tensor<8x1xf32> {
  %v = graph.weight "v" : tensor<1024x1xf32>
  %0 = graph.dot_general %x, %v batch [] x [] contract [1] x [0] : tensor<8x1024xf32>, tensor<1024x1xf32>
  return %0 : tensor<8x1xf32>
}
