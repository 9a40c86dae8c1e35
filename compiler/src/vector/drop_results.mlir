// RUN: winze-opt --pass-pipeline='builtin.module(func.func(drop-results))' %s | FileCheck %s

// The first result stands in its destination; the second is copied there.
// CHECK-LABEL: func.func @two(
// CHECK-NOT: ->
// CHECK-NEXT: memref.copy %arg0, %arg2
// CHECK-NEXT: return
func.func @two(%x: memref<4xf32>, %out0: memref<4xf32>, %out1: memref<4xf32>) -> (memref<4xf32>, memref<4xf32>) {
  return %out0, %x : memref<4xf32>, memref<4xf32>
}
