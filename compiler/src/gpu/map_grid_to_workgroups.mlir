// RUN: winze-opt --pass-pipeline='builtin.module(map-grid-to-workgroups)' %s | FileCheck %s

// One invocation per iteration; the dim comes from the push constants, and what lies beyond the iterations does nothing.
// CHECK: gpu.module
// CHECK: gpu.func @copy(%[[X:[a-z0-9]+]]: memref<?xf32, #spirv.storage_class<StorageBuffer>> {spirv.interface_var_abi = #spirv.interface_var_abi<(0, 0)>}
// CHECK-SAME: %[[DIMS:[a-z0-9]+]]: memref<1xi32, #spirv.storage_class<PushConstant>>
// CHECK: %[[N:.*]] = memref.load %[[DIMS]]
// CHECK: gpu.block_id
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult
// CHECK: scf.if %[[INSIDE]]
// CHECK: memref.load %[[X]]
func.func @copy(%x: memref<?xf32>, %y: memref<?xf32>, %n: index) {
  scf.forall (%i) in (%n) {
    %v = memref.load %x[%i] : memref<?xf32>
    memref.store %v, %y[%i] : memref<?xf32>
  }
  return
}
