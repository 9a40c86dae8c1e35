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

// What is left of a row of unknown length runs under a mask.
// CHECK-LABEL: func.func @unknown(
// CHECK: scf.for
// CHECK: vector.store {{.*}} vector<16xf32>
// CHECK: scf.for
// CHECK: %[[MASK:.*]] = vector.create_mask {{.*}} : vector<8xi1>
// CHECK: vector.maskedload {{.*}}, %[[MASK]]
// CHECK: vector.maskedstore {{.*}}, %[[MASK]]
// CHECK-NOT: scf.for
#row = affine_map<(d0) -> (d0)>
func.func @unknown(%x: memref<?xf32>, %y: memref<?xf32>) {
  linalg.generic {indexing_maps = [#row, #row], iterator_types = ["parallel"]} ins(%x : memref<?xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.negf %a : f32
    linalg.yield %s : f32
  }
  return
}

// Lanes beyond a row would divide zeros by zeros, which integers cannot; bytes have no masks in registers of 256 bits.
// CHECK-LABEL: func.func @no_masks(
// CHECK-NOT: vector.create_mask
// CHECK: return
func.func @no_masks(%x: memref<?xi32>, %y: memref<?xi32>, %b: memref<?xi8>, %c: memref<?xi8>) {
  linalg.generic {indexing_maps = [#row, #row], iterator_types = ["parallel"]} ins(%x : memref<?xi32>) outs(%y : memref<?xi32>) {
  ^bb0(%a: i32, %o: i32):
    %s = arith.divsi %a, %a : i32
    linalg.yield %s : i32
  }
  linalg.generic {indexing_maps = [#row, #row], iterator_types = ["parallel"]} ins(%b : memref<?xi8>) outs(%c : memref<?xi8>) {
  ^bb0(%a: i8, %o: i8):
    %s = arith.addi %a, %a : i8
    linalg.yield %s : i8
  }
  return
}
