// RUN: winze-opt --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(cut-pieces{tile=4x0}))' %s | FileCheck %s

// Each tile of four rows gets its rows of both pieces.
// CHECK-LABEL: func.func @concat(
// CHECK: scf.forall (%[[ROW:[a-z0-9]+]]) = (0) to (8) step (4) shared_outs(%[[OUT:[a-z0-9]+]] = %arg2)
// CHECK: %[[TILE:.*]] = tensor.extract_slice %[[OUT]][%[[ROW]], 0] [4, 5] [1, 1]
// CHECK: tensor.extract_slice %arg0[%{{.*}}, 0] [4, 2] [1, 1]
// CHECK: tensor.extract_slice %arg1[%{{.*}}, 0] [4, 3] [1, 1]
// CHECK: tensor.parallel_insert_slice %{{.*}} into %[[OUT]][%[[ROW]], 0] [4, 5] [1, 1]
func.func @concat(%a: tensor<8x2xf32>, %b: tensor<8x3xf32>, %out: tensor<8x5xf32> {bufferization.writable = true}) -> tensor<8x5xf32> {
  %0 = tensor.insert_slice %a into %out[0, 0] [8, 2] [1, 1] : tensor<8x2xf32> into tensor<8x5xf32>
  %1 = tensor.insert_slice %b into %0[0, 2] [8, 3] [1, 1] : tensor<8x3xf32> into tensor<8x5xf32>
  return %1 : tensor<8x5xf32>
}

// The rows of a tile follow each other, so that its fill may go over all of them at once.
// CHECK-LABEL: func.func @pad(
// CHECK: scf.forall
// CHECK: linalg.fill {winze.contiguous} {{.*}} -> tensor<4x5xf32>
func.func @pad(%a: tensor<8x2xf32>, %out: tensor<8x5xf32> {bufferization.writable = true}) -> tensor<8x5xf32> {
  %zero = arith.constant 0.0 : f32
  %0 = linalg.fill ins(%zero : f32) outs(%out : tensor<8x5xf32>) -> tensor<8x5xf32>
  %1 = tensor.insert_slice %a into %0[0, 2] [8, 2] [1, 1] : tensor<8x2xf32> into tensor<8x5xf32>
  return %1 : tensor<8x5xf32>
}

// -----

// expected-error @below {{'tensor.cast' is neither a fill nor a piece}}
func.func @cast(%a: tensor<8x2xf32>, %out: tensor<8x2xf32> {bufferization.writable = true}) -> tensor<?x2xf32> {
  %0 = tensor.cast %a : tensor<8x2xf32> to tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}
