// RUN: winze-opt --pass-pipeline='builtin.module(func.func(place-buffers{stack-bytes=64}))' %s | FileCheck %s

// The small buffer is a slot on the stack, the large one a part of the workspace, whose size is an expression over the kernel's dims.
// CHECK: #[[SIZE:.*]] = affine_map<()[s0] -> (s0 * 256)>
// CHECK-LABEL: func.func @buffers(
// CHECK-SAME: %[[WORKSPACE:[a-z0-9]+]]: memref<?xi8> {winze.workspace_offset = affine_map<()[s0] -> (0)>}) attributes {winze.workspace = #[[SIZE]]}
// CHECK: %[[SLOT:.*]] = memref.alloca() {alignment = 64 : i64} : memref<32xi8>
// CHECK: memref.view %[[SLOT]]
// CHECK: memref.view %[[WORKSPACE]][{{.*}}][%arg1] : memref<?xi8> to memref<?x64xf32>
// CHECK-NOT: memref.alloc(
func.func @buffers(%x: memref<?xf32>, %n: index) {
  %small = memref.alloc() : memref<8xf32>
  %large = memref.alloc(%n) : memref<?x64xf32>
  %c0 = arith.constant 0 : index
  %v = memref.load %x[%c0] : memref<?xf32>
  memref.store %v, %small[%c0] : memref<8xf32>
  memref.store %v, %large[%c0, %c0] : memref<?x64xf32>
  return
}
