// RUN: winze-opt --pass-pipeline='builtin.module(func.func(linearize-memrefs),map-grid-to-workgroups,gpu.module(lower-affine,canonicalize),convert-gpu-to-spirv,spirv.module(spirv-lower-abi-attrs,spirv-update-vce),spirv-finish-interface)' %s | FileCheck %s

// The SPIR-V stands inside of its gpu.module; a buffer that nothing writes says so, and push constants have no binding.
// CHECK: gpu.module
// CHECK-NOT: gpu.func
// CHECK: spirv.module
// CHECK-DAG: spirv.GlobalVariable @{{.*}}_arg_0 bind(0, 0) {non_writable}
// CHECK-DAG: spirv.GlobalVariable @{{.*}}_arg_1 bind(0, 1)
// CHECK-DAG: spirv.GlobalVariable @{{.*}}_arg_2 : !spirv.ptr<{{.*}}, PushConstant>
func.func @copy(%x: memref<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %y: memref<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) {
  scf.forall (%i) in (%n) {
    %v = memref.load %x[%i] : memref<?xf32>
    memref.store %v, %y[%i] : memref<?xf32>
  }
  return
}
