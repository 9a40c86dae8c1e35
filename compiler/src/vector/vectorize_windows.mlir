// RUN: winze-opt --split-input-file --pass-pipeline='builtin.module(func.func(vectorize-windows))' %s | FileCheck %s
// RUN: winze-opt --split-input-file --pass-pipeline='builtin.module(func.func(vectorize-windows),canonicalize,cse)' %s | FileCheck %s --check-prefix=ROWS
// RUN: winze-opt --split-input-file --pass-pipeline='builtin.module(func.func(vectorize-windows),canonicalize,cse)' %s | FileCheck %s --check-prefix=LOADS

// Tiles of four rows of two vectors; all nine taps stand in the innermost loop, between loading and storing the accumulators. They go by the six rows of
// the input that the tile reads: each row has one address, and what its three taps load serves all rows of the tile that it belongs to.
// CHECK-LABEL: func.func @depthwise(
// CHECK: scf.for
// CHECK: scf.for
// CHECK: scf.for
// CHECK-COUNT-8: vector.load %arg2{{.*}} vector<8xf32>
// CHECK-NOT: scf.for
// CHECK-COUNT-72: arith.mulf
// CHECK-COUNT-8: vector.store {{.*}}, %arg2
// ROWS-LABEL: func.func @depthwise(
// ROWS-COUNT-6: memref.reinterpret_cast
// ROWS-NOT: memref.reinterpret_cast
// ROWS: vector.store
// LOADS-LABEL: func.func @depthwise(
// LOADS-COUNT-36: vector.load %reinterpret_cast{{.*}} vector<8xf32>
// LOADS-NOT: vector.load
// LOADS: vector.store
#in = affine_map<(c, y, x, ky, kx) -> (c, y + ky, x + kx)>
#w = affine_map<(c, y, x, ky, kx) -> (c, ky, kx)>
#out = affine_map<(c, y, x, ky, kx) -> (c, y, x)>
func.func @depthwise(%in: memref<4x10x34xf32>, %w: memref<4x3x3xf32>, %out: memref<4x8x32xf32>) {
  linalg.generic {indexing_maps = [#in, #w, #out], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction"]}
    ins(%in, %w : memref<4x10x34xf32>, memref<4x3x3xf32>) outs(%out : memref<4x8x32xf32>) {
  ^bb0(%a: f32, %b: f32, %sum: f32):
    %p = arith.mulf %a, %b : f32
    %s = arith.addf %sum, %p : f32
    linalg.yield %s : f32
  }
  return
}

// -----

// Windows three apart along the vectors are left to other passes.
// CHECK-LABEL: func.func @wide_steps(
// CHECK: linalg.generic
#in = affine_map<(x, k) -> (x * 3 + k)>
#tap = affine_map<(x, k) -> (k)>
#out = affine_map<(x, k) -> (x)>
func.func @wide_steps(%in: memref<96xf32>, %tap: memref<3xf32>, %out: memref<32xf32>) {
  linalg.generic {indexing_maps = [#in, #tap, #out], iterator_types = ["parallel", "reduction"]}
    ins(%in, %tap : memref<96xf32>, memref<3xf32>) outs(%out : memref<32xf32>) {
  ^bb0(%a: f32, %b: f32, %max: f32):
    %m = arith.maximumf %max, %a : f32
    linalg.yield %m : f32
  }
  return
}

// -----

// Rows and columns of unknown number: rows that fit one vector go eight to a tile, others four, and the last tile reaches back. Nothing follows a row
// but one masked tile, and the fill becomes the start of the accumulators.
// CHECK-LABEL: func.func @unknown(
// CHECK-NOT: linalg.fill
// CHECK: arith.cmpi sle
// CHECK: scf.if
// CHECK: arith.cmpi sge
// CHECK: arith.minsi
// CHECK-COUNT-8: vector.maskedstore
// CHECK: } else {
// CHECK: vector.store
// CHECK-COUNT-8: vector.maskedstore
#in = affine_map<(y, x, k) -> (y, x + k)>
#tap = affine_map<(y, x, k) -> (k)>
#out = affine_map<(y, x, k) -> (y, x)>
func.func @unknown(%in: memref<?x?xf32>, %tap: memref<3xf32>, %out: memref<?x?xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.fill ins(%zero : f32) outs(%out : memref<?x?xf32>)
  linalg.generic {indexing_maps = [#in, #tap, #out], iterator_types = ["parallel", "parallel", "reduction"]}
    ins(%in, %tap : memref<?x?xf32>, memref<3xf32>) outs(%out : memref<?x?xf32>) {
  ^bb0(%a: f32, %b: f32, %sum: f32):
    %s = math.fma %a, %b, %sum : f32
    linalg.yield %s : f32
  }
  return
}
