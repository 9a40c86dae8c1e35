// RUN: winze-opt --pass-pipeline='builtin.module(func.func(vectorize-reductions))' %s | FileCheck %s

// Lanes start from the neutral element and are combined once; the rest of a row runs under a mask, and lanes beyond it keep what they have.
// CHECK-LABEL: func.func @rows(
// CHECK: %[[LOWEST:.*]] = arith.constant 0xFF800000 : f32
// CHECK: %[[LANES:.*]] = vector.broadcast %[[LOWEST]] : f32 to vector<32xf32>
// CHECK: %[[PARTIAL:.*]] = scf.for {{.*}} iter_args(%{{.*}} = %[[LANES]])
// CHECK: vector.reduction <maximumf>, %[[PARTIAL]]
// CHECK: scf.for
// CHECK: %[[MASK:.*]] = vector.create_mask
// CHECK: vector.maskedload {{.*}}, %[[MASK]]
// CHECK: arith.select %[[MASK]]
// CHECK: vector.reduction <maximumf>
// CHECK: memref.store {{.*}}, %arg1
#in = affine_map<(d0, d1) -> (d0, d1)>
#out = affine_map<(d0, d1) -> (d0)>
func.func @rows(%x: memref<4x70xf32>, %y: memref<4xf32>) {
  linalg.generic {indexing_maps = [#in, #out], iterator_types = ["parallel", "reduction"]} ins(%x : memref<4x70xf32>) outs(%y : memref<4xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.maximumf %o, %a : f32
    linalg.yield %s : f32
  }
  return
}
