// RUN: winze-opt --pass-pipeline='builtin.module(func.func(flatten-fills))' %s | FileCheck %s

// Rows of unknown length that follow each other.
// CHECK-LABEL: func.func @rows(
// CHECK: %[[BASE:.*]], %[[OFFSET:.*]], %[[SIZES:.*]]:2, %{{.*}}:2 = memref.extract_strided_metadata %{{.*}}
// CHECK: %[[ALL:.*]] = arith.muli %[[SIZES]]#0, %[[SIZES]]#1
// CHECK: %[[FLAT:.*]] = memref.reinterpret_cast %[[BASE]] to offset: [%[[OFFSET]]], sizes: [%[[ALL]]], strides: [1]
// CHECK: linalg.fill ins(%{{.*}}) outs(%[[FLAT]] : memref<?xf32, strided<[1], offset: ?>>)
func.func @rows(%a: memref<?x?xf32>, %from: index, %width: index) {
  %zero = arith.constant 0.0 : f32
  %part = memref.subview %a[%from, 0] [16, %width] [1, 1] : memref<?x?xf32> to memref<16x?xf32, strided<[?, 1], offset: ?>>
  linalg.fill {winze.contiguous} ins(%zero : f32) outs(%part : memref<16x?xf32, strided<[?, 1], offset: ?>>)
  return
}

// Known sizes stay known.
// CHECK-LABEL: func.func @known(
// CHECK: linalg.fill ins(%{{.*}}) outs(%{{.*}} : memref<12xf32, strided<[1], offset: ?>>)
func.func @known(%a: memref<3x4xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.fill {winze.contiguous} ins(%zero : f32) outs(%a : memref<3x4xf32>)
  return
}

// CHECK-LABEL: func.func @apart(
// CHECK: linalg.fill ins(%{{.*}}) outs(%arg0 : memref<3x4xf32, strided<[8, 1]>>)
func.func @apart(%a: memref<3x4xf32, strided<[8, 1]>>) {
  %zero = arith.constant 0.0 : f32
  linalg.fill ins(%zero : f32) outs(%a : memref<3x4xf32, strided<[8, 1]>>)
  return
}
