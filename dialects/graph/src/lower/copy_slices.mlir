// RUN: winze-opt --pass-pipeline='builtin.module(func.func(convert-graph-to-linalg{bool-storage=i8}),linalg-fuse-elementwise-ops,canonicalize,func.func(copy-slices))' %s | FileCheck %s

// What a kernel leaves as a part of its operand is copied where the schedule can cut it.
// CHECK-LABEL: func.func @part(
// CHECK-SAME: %[[X:.*]]: tensor<8x6xf32>, %[[Y:.*]]: tensor<8x4xf32>
// CHECK: %[[PART:.*]] = tensor.extract_slice %[[X]][0, 1] [8, 4] [1, 1]
// CHECK: %[[COPY:.*]] = linalg.generic {{.*}} ins(%[[PART]] : tensor<8x4xf32>) outs(%[[Y]] : tensor<8x4xf32>) attrs = {winze.root}
// CHECK: return %[[COPY]]
func.func @part(%x: tensor<8x6xf32>) -> tensor<8x4xf32> {
  %0 = graph.slice %x starts [0, 1] limits [8, 5] strides [1, 1] : tensor<8x6xf32>
  return %0 : tensor<8x4xf32>
}

// Another root writes its destination itself.
// CHECK-LABEL: func.func @negated(
// CHECK-COUNT-1: linalg.generic
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @negated(%x: tensor<8x6xf32>) -> tensor<8x6xf32> {
  %0 = graph.neg %x : tensor<8x6xf32>
  return %0 : tensor<8x6xf32>
}

// So is an operand that nothing changes.
// CHECK-LABEL: func.func @same(
// CHECK-SAME: %[[X:.*]]: tensor<8x6xf32>, %[[Y:.*]]: tensor<8x6xf32>
// CHECK: %[[COPY:.*]] = linalg.generic {{.*}} ins(%[[X]] : tensor<8x6xf32>) outs(%[[Y]] : tensor<8x6xf32>) attrs = {winze.root}
// CHECK: return %[[COPY]]
func.func @same(%x: tensor<8x6xf32>) -> tensor<8x6xf32> {
  %low = graph.constant dense<0xFF800000> : tensor<8x6xf32>
  %0 = graph.maximum %x, %low : tensor<8x6xf32>
  return %0 : tensor<8x6xf32>
}
