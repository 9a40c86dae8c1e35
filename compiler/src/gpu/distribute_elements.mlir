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

// Rows put into what the result holds already: only they are computed and written, and nothing is read of the rest.
// CHECK-LABEL: func.func @append(
// CHECK-SAME: %{{[a-z0-9]+}}: memref<2x16xf32>, %[[ROWS:[a-z0-9]+]]: memref<2x?xf32> {{.*}}, %[[OUT:[a-z0-9]+]]: memref<2x16xf32>, %[[N:[a-z0-9]+]]: index, %[[HELD:[a-z0-9]+]]: index)
// CHECK: scf.forall
// CHECK-NOT: scf.if
// CHECK: %[[V:.*]] = memref.load %[[ROWS]][%[[HEAD:.*]], %[[ROW:.*]]]
// CHECK: %[[AT:.*]] = arith.addi %[[HELD]], %[[ROW]]
// CHECK: memref.store %[[V]], %[[OUT]][%{{.*}}, %[[AT]]]
// CHECK-NOT: memref.load
func.func @append(%state: tensor<2x16xf32>, %rows: tensor<2x?xf32> {winze.dims = affine_map<()[s0, s1] -> (s0)>},
    %out: tensor<2x16xf32> {bufferization.writable = true}, %n: index, %held: index) -> tensor<2x16xf32> {
  %0 = tensor.insert_slice %rows into %out[0, %held] [2, %n] [1, 1] : tensor<2x?xf32> into tensor<2x16xf32>
  return %0 : tensor<2x16xf32>
}
