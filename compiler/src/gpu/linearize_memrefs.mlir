// RUN: winze-opt --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(linearize-memrefs{profile=vulkan1.1-min}))' %s | FileCheck %s

// The profile stores no bytes: each takes a word, of which the low bits count.
// CHECK-LABEL: func.func @rows(
// CHECK-SAME: %arg0: memref<?xi32>
// CHECK: %[[ROW:.*]] = arith.muli %arg2, %arg1
// CHECK: %[[PLACE:.*]] = arith.addi %[[ROW]], %arg3
// CHECK: %[[WORD:.*]] = memref.load %arg0[%[[PLACE]]] : memref<?xi32>
// CHECK: arith.trunci %[[WORD]] : i32 to i8
func.func @rows(%x: memref<3x?xi8> {winze.dims = affine_map<()[s0] -> (s0)>}, %n: index, %i: index, %j: index, %y: memref<3x?xi8> {winze.dims = affine_map<()[s0] -> (s0)>}) {
  %0 = memref.load %x[%i, %j] : memref<3x?xi8>
  memref.store %0, %y[%i, %j] : memref<3x?xi8>
  return
}

// -----

// expected-error @below {{unsupported: element type f16: profile vulkan1.1-min has no storage for it}}
func.func @half(%x: memref<4xf16>, %i: index) {
  %0 = memref.load %x[%i] : memref<4xf16>
  memref.store %0, %x[%i] : memref<4xf16>
  return
}
