// RUN: winze-opt --pass-pipeline='builtin.module(func.func(unpack-panels))' %s | FileCheck %s

// The epilogue reads the panel itself.
// CHECK-LABEL: func.func @epilogue(
// CHECK: %[[COLUMNS:.*]] = tensor.dim %arg2
// CHECK: %[[SLICE:.*]] = tensor.extract_slice %arg0[0, 0, 0] [8, 1, %[[COLUMNS]]] [1, 1, 1]
// CHECK: linalg.generic {{.*}} ins(%[[SLICE]], %arg1
#row = affine_map<(d0, d1) -> (d0, d1)>
func.func @epilogue(%panel: tensor<8x1x16xf32>, %bias: tensor<8x?xf32>, %out: tensor<8x?xf32>) -> tensor<8x?xf32> {
  %0 = linalg.unpack %panel inner_dims_pos = [1] inner_tiles = [16] into %out : tensor<8x1x16xf32> -> tensor<8x?xf32>
  %1 = linalg.generic {indexing_maps = [#row, #row, #row], iterator_types = ["parallel", "parallel"]}
    ins(%0, %bias : tensor<8x?xf32>, tensor<8x?xf32>) outs(%out : tensor<8x?xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<8x?xf32>
  return %1 : tensor<8x?xf32>
}
