// RUN: winze-opt --pass-pipeline='builtin.module(func.func(allow-contraction))' %s | FileCheck %s

// CHECK-LABEL: func.func @sum(
// CHECK: arith.mulf {{.*}} fastmath<reassoc,contract>
// CHECK: arith.addf {{.*}} fastmath<reassoc,contract>
// CHECK: arith.addf %arg2, %arg2 fastmath<contract>
#in = affine_map<(d0) -> (d0)>
#out = affine_map<(d0) -> ()>
func.func @sum(%x: memref<8xf32>, %sum: memref<f32>, %y: f32) -> f32 {
  linalg.generic {indexing_maps = [#in, #out], iterator_types = ["reduction"]} ins(%x : memref<8xf32>) outs(%sum : memref<f32>) {
  ^bb0(%a: f32, %o: f32):
    %square = arith.mulf %a, %a : f32
    %s = arith.addf %o, %square : f32
    linalg.yield %s : f32
  }
  %0 = arith.addf %y, %y : f32
  return %0 : f32
}
