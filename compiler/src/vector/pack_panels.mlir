// RUN: winze-opt --pass-pipeline='builtin.module(func.func(pack-panels))' %s | FileCheck %s

// The columns that are there are copied to the front of the panel; the lanes after them keep what they held.
// CHECK-LABEL: func.func @columns(
// CHECK: %[[COLUMNS:.*]] = tensor.dim %arg0
// CHECK: %[[SLICE:.*]] = tensor.extract_slice %arg1[0, 0, 0] [1, 64, %[[COLUMNS]]] [1, 1, 1]
// CHECK: %[[COPY:.*]] = linalg.generic {{.*}} ins(%arg0 : tensor<64x?xf32>) outs(%[[SLICE]] : tensor<64x?xf32>)
// CHECK: tensor.insert_slice %[[COPY]] into %arg1[0, 0, 0] [1, 64, %[[COLUMNS]]] [1, 1, 1]
func.func @columns(%b: tensor<64x?xf32>, %panel: tensor<1x64x16xf32>) -> tensor<1x64x16xf32> {
  %0 = linalg.pack %b outer_dims_perm = [1, 0] inner_dims_pos = [1] inner_tiles = [16] into %panel : tensor<64x?xf32> -> tensor<1x64x16xf32>
  return %0 : tensor<1x64x16xf32>
}
