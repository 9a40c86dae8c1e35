// RUN: winze-opt --pass-pipeline='builtin.module(func.func(convert-graph-to-linalg{bool-storage=i8}),canonicalize,cse,linalg-fuse-elementwise-ops,canonicalize,cse,func.func(place-in-destinations))' %s | FileCheck %s

// The epilogue is what the schedule cuts.
// CHECK-LABEL: func.func @epilogue(
// CHECK-SAME: %[[Y:[a-z0-9]+]]: tensor<4x40xf32> {
// CHECK: %[[PRODUCT:.*]] = linalg.unpack {{.*}} -> tensor<4x40xf32>
// CHECK: %[[LESS:.*]] = linalg.generic {{.*}} ins(%[[PRODUCT]] : tensor<4x40xf32>) outs(%[[Y]] : tensor<4x40xf32>) attrs = {winze.root}
// CHECK: return %[[LESS]]
func.func @epilogue(%x: tensor<4x12xf32>, %w: tensor<2x12x32xf32>) -> tensor<4x40xf32> {
  %0 = graph.packed_dot %x, %w width 40 : tensor<4x12xf32>, tensor<2x12x32xf32>
  %1 = graph.neg %0 : tensor<4x40xf32>
  return %1 : tensor<4x40xf32>
}

// An epilogue that changes nothing goes, and the contraction writes the result.
// CHECK-LABEL: func.func @no_epilogue(
// CHECK-SAME: %[[Y:[a-z0-9]+]]: tensor<4x40xf32> {
// CHECK: %[[PRODUCT:.*]] = linalg.unpack {{.*}} into %[[Y]] {winze.root}
// CHECK: return %[[PRODUCT]]
func.func @no_epilogue(%x: tensor<4x12xf32>, %w: tensor<2x12x32xf32>) -> tensor<4x40xf32> {
  %low = graph.constant dense<0xFF800000> : tensor<4x40xf32>
  %0 = graph.packed_dot %x, %w width 40 : tensor<4x12xf32>, tensor<2x12x32xf32>
  %1 = graph.maximum %0, %low : tensor<4x40xf32>
  return %1 : tensor<4x40xf32>
}
