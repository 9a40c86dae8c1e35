// RUN: winze-opt --pass-pipeline='builtin.module(func.func(lower-grid))' %s | FileCheck %s

// Tiles are numbered row by row; the range is two new arguments.
// CHECK-LABEL: func.func @grid(
// CHECK-SAME: %[[BEGIN:[a-z0-9]+]]: index, %[[END:[a-z0-9]+]]: index) attributes {winze.tile_range}
// CHECK: scf.for %[[TILE:.*]] = %[[BEGIN]] to %[[END]]
// CHECK: %[[COLUMN:.*]] = arith.remui %[[TILE]]
// CHECK: %[[ROW:.*]] = arith.divui %[[TILE]]
// CHECK: affine.apply {{.*}}(%[[COLUMN]])
// CHECK: affine.apply {{.*}}(%[[ROW]])
func.func @grid(%x: memref<4x6xf32>) {
  %v = arith.constant 1.0 : f32
  scf.forall (%i, %j) in (4, 6) {
    memref.store %v, %x[%i, %j] : memref<4x6xf32>
  }
  return
}
