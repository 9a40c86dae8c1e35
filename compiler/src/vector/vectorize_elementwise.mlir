// RUN: winze-opt --pass-pipeline='builtin.module(func.func(vectorize-elementwise))' %s | FileCheck %s

// What is the same along a row is loaded once; what is left of a row takes a narrower vector.
// CHECK-LABEL: func.func @bias(
// CHECK: scf.for
// CHECK: %[[BIAS:.*]] = memref.load %arg1
// CHECK: vector.broadcast %[[BIAS]] : f32 to vector<16xf32>
// CHECK: vector.store {{.*}} vector<16xf32>
// CHECK: vector.store {{.*}} vector<4xf32>
#same = affine_map<(d0, d1) -> (d0, d1)>
#column = affine_map<(d0, d1) -> (d0)>
func.func @bias(%x: memref<4x20xf32>, %bias: memref<4xf32>, %y: memref<4x20xf32>) {
  linalg.generic {indexing_maps = [#same, #column, #same], iterator_types = ["parallel", "parallel"]}
    ins(%x, %bias : memref<4x20xf32>, memref<4xf32>) outs(%y : memref<4x20xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  }
  return
}
