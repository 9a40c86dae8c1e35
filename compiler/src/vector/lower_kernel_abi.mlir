// RUN: winze-opt --split-input-file --pass-pipeline='builtin.module(lower-kernel-abi)' %s | FileCheck %s

// The entry of the kernel ABI loads pointers, dims and the range, and calls a body that knows of no aliases.
// CHECK-LABEL: func.func private @kernel.body(
// CHECK-SAME: %{{.*}}: !llvm.ptr {llvm.align = 4 : i64, llvm.noalias
// CHECK: scf.for
// CHECK-LABEL: func.func @kernel(
// CHECK-SAME: !llvm.ptr, %{{.*}}: i32, %{{.*}}: i32) -> i32
// CHECK: call @kernel.body
func.func @kernel(%x: memref<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %y: memref<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %n: index, %begin: index, %end: index) attributes {winze.tile_range} {
  %c1 = arith.constant 1 : index
  scf.for %i = %begin to %end step %c1 {
    %v = memref.load %x[%i] : memref<?xf32>
    memref.store %v, %y[%i] : memref<?xf32>
  }
  return
}

// -----

// A check that fails leaves its number, which the body returns.
// CHECK-LABEL: func.func private @checked.body(
// CHECK: %[[SLOT:.*]] = llvm.alloca
// CHECK-NOT: cf.assert
// CHECK: %[[OLD:.*]] = llvm.load %[[SLOT]]
// CHECK: %[[SITE:.*]] = arith.constant 1 : i32
// CHECK: %[[CODE:.*]] = arith.select %{{.*}}, %[[OLD]], %[[SITE]]
// CHECK: llvm.store %[[CODE]], %[[SLOT]]
// CHECK: %[[RESULT:.*]] = llvm.load %[[SLOT]]
// CHECK: return %[[RESULT]]
func.func @checked(%x: memref<4xf32>, %begin: index, %end: index) attributes {winze.tile_range} {
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  scf.for %i = %begin to %end step %c1 {
    %inside = arith.cmpi ult, %i, %c4 : index
    cf.assert %inside, "index out of range"
  }
  return
}
