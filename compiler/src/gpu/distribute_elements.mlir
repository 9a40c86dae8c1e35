// RUN: winze-opt --pass-pipeline='builtin.module(func.func(linalg-generalize-named-ops),distribute-elements)' %s | FileCheck %s

// An element of the result in each iteration; the squares are computed where they are read.
// CHECK-LABEL: func.func @sum_of_squares(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<4x6xf32>, %[[OUT:[a-z0-9]+]]: memref<4xf32>)
// CHECK: scf.forall (%[[I:[a-z0-9]+]]) in (4)
// CHECK: %[[SUM:[a-z0-9]+]] = scf.for %[[J:[a-z0-9]+]] =
// CHECK: %[[V:.*]] = memref.load %[[X]][%[[I]], %[[J]]]
// CHECK: arith.mulf %[[V]], %[[V]]
// CHECK: memref.store %[[SUM]], %[[OUT]][%[[I]]]
#row = affine_map<(d0, d1) -> (d0, d1)>
#out = affine_map<(d0, d1) -> (d0)>
func.func @sum_of_squares(%x: tensor<4x6xf32>, %out: tensor<4xf32> {bufferization.writable = true}) -> tensor<4xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x6xf32>
  %sq = linalg.generic {indexing_maps = [#row, #row], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<4x6xf32>) outs(%e : tensor<4x6xf32>) {
  ^bb0(%a: f32, %o: f32):
    %p = arith.mulf %a, %a : f32
    linalg.yield %p : f32
  } -> tensor<4x6xf32>
  %f = linalg.fill ins(%zero : f32) outs(%out : tensor<4xf32>) -> tensor<4xf32>
  %0 = linalg.generic {indexing_maps = [#row, #out], iterator_types = ["parallel", "reduction"]} ins(%sq : tensor<4x6xf32>) outs(%f : tensor<4xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %o, %a : f32
    linalg.yield %s : f32
  } -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
