// RUN: winze-opt --pass-pipeline='builtin.module(func.func(vectorize-contractions{rows=4}))' %s | FileCheck %s
// RUN: winze-opt --pass-pipeline='builtin.module(func.func(vectorize-contractions{rows=4 bits=512 vnni=true}))' %s | FileCheck %s --check-prefix=VNNI

// The accumulators of four rows stay in registers over the reduction and start from the fill, which goes.
// CHECK-LABEL: func.func @tile(
// CHECK-NOT: linalg
// CHECK: %[[START:.*]] = vector.broadcast %{{.*}} : f32 to vector<16xf32>
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[START]], %{{.*}} = %[[START]], %{{.*}} = %[[START]], %{{.*}} = %[[START]])
// CHECK: vector.load %arg1
// CHECK-COUNT-4: memref.load %arg0
// CHECK-COUNT-4: vector.store {{.*}}, %arg2
#a = affine_map<(m, n, k) -> (m, k)>
#b = affine_map<(m, n, k) -> (k, n)>
#c = affine_map<(m, n, k) -> (m, n)>
func.func @tile(%a: memref<4x32xf32>, %b: memref<32x16xf32>, %c: memref<4x16xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.fill ins(%zero : f32) outs(%c : memref<4x16xf32>)
  linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"], winze.contraction}
    ins(%a, %b : memref<4x32xf32>, memref<32x16xf32>) outs(%c : memref<4x16xf32>) {
  ^bb0(%x: f32, %y: f32, %sum: f32):
    %p = arith.mulf %x, %y : f32
    %s = arith.addf %sum, %p : f32
    linalg.yield %s : f32
  }
  return
}

// Bytes in fours: even and odd ones in 16 bits, two registers of eight lanes for each of four rows; with VNNI one instruction each.
// CHECK-LABEL: func.func @fours(
// CHECK: scf.for
// CHECK: vector.load %arg1{{.*}} vector<64xi8>
// CHECK: arith.shrsi
// CHECK-COUNT-16: llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"
// VNNI-LABEL: func.func @fours(
// VNNI: scf.for
// VNNI-COUNT-4: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
#fa = affine_map<(m, n, k, l, q) -> (m, k * 4 + q)>
#fb = affine_map<(m, n, k, l, q) -> (n, k, l, q)>
#fc = affine_map<(m, n, k, l, q) -> (m, n, l)>
func.func @fours(%a: memref<4x32xi8>, %b: memref<1x8x16x4xi8>, %c: memref<4x1x16xi32>) {
  linalg.generic {indexing_maps = [#fa, #fb, #fc], iterator_types = ["parallel", "parallel", "reduction", "parallel", "reduction"], winze.contraction}
    ins(%a, %b : memref<4x32xi8>, memref<1x8x16x4xi8>) outs(%c : memref<4x1x16xi32>) {
  ^bb0(%x: i8, %y: i8, %sum: i32):
    %u = arith.extui %x : i8 to i32
    %s = arith.extsi %y : i8 to i32
    %p = arith.muli %u, %s : i32
    %t = arith.addi %sum, %p : i32
    linalg.yield %t : i32
  }
  return
}

// One row of two registers: four steps at once, whose sums are added at the end; then the rest of 34 steps.
// CHECK-LABEL: func.func @row(
// CHECK: %[[OLD:.*]] = vector.load %arg2
// CHECK: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK: %[[SUMS:.*]]:4 = scf.for {{.*}} step %c4{{.*}} iter_args(%{{.*}} = %[[OLD]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]])
// CHECK-COUNT-4: vector.load %arg1
// CHECK: arith.addf %[[SUMS]]#0, %[[SUMS]]#2
// CHECK: arith.addf %[[SUMS]]#1, %[[SUMS]]#3
// CHECK: %[[SUM:.*]] = arith.addf
// CHECK: %[[ALL:.*]] = scf.for {{.*}} iter_args(%{{.*}} = %[[SUM]])
// CHECK: vector.store %[[ALL]], %arg2
func.func @row(%a: memref<1x34xf32>, %b: memref<34x16xf32>, %c: memref<1x16xf32>) {
  linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"], winze.contraction}
    ins(%a, %b : memref<1x34xf32>, memref<34x16xf32>) outs(%c : memref<1x16xf32>) {
  ^bb0(%x: f32, %y: f32, %sum: f32):
    %p = arith.mulf %x, %y : f32
    %s = arith.addf %sum, %p : f32
    linalg.yield %s : f32
  }
  return
}

// Nothing to add: a maximum of products takes one step after the other.
// CHECK-LABEL: func.func @maximum(
// CHECK: scf.for {{.*}} step %c1{{[_0-9]*}} iter_args
// CHECK-NOT: scf.for
func.func @maximum(%a: memref<1x34xf32>, %b: memref<34x16xf32>, %c: memref<1x16xf32>) {
  linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"], winze.contraction}
    ins(%a, %b : memref<1x34xf32>, memref<34x16xf32>) outs(%c : memref<1x16xf32>) {
  ^bb0(%x: f32, %y: f32, %most: f32):
    %p = arith.mulf %x, %y : f32
    %m = arith.maximumf %most, %p : f32
    linalg.yield %m : f32
  }
  return
}
