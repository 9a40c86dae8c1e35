// RUN: winze-opt --pass-pipeline='builtin.module(func.func(unroll-long-loops))' %s | FileCheck %s

// 70,000 turns are too many: two steps a turn.
// CHECK-LABEL: func.func @long(
// CHECK: %[[STEP:.*]] = arith.constant 2 : index
// CHECK: scf.for {{.*}} step %[[STEP]]
// CHECK-COUNT-2: memref.load
// CHECK-NOT: memref.load
func.func @long(%x: memref<70000xf32>, %init: f32) -> f32 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = arith.constant 70000 : index
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%sum = %init) -> (f32) {
    %v = memref.load %x[%i] : memref<70000xf32>
    %s = arith.addf %sum, %v : f32
    scf.yield %s : f32
  }
  return %0 : f32
}

// Loops share the turns; the inner ones have few, and are gone before the outer one is unrolled. What is left over stands behind.
// CHECK-LABEL: func.func @nested(
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK-COUNT-3: memref.load
// CHECK-NOT: memref.load
func.func @nested(%x: memref<40000x3xf32>, %init: f32) -> f32 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %n = arith.constant 40000 : index
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%rows = %init) -> (f32) {
    %1 = scf.for %j = %c0 to %c3 step %c1 iter_args(%sum = %rows) -> (f32) {
      %v = memref.load %x[%i, %j] : memref<40000x3xf32>
      %s = arith.addf %sum, %v : f32
      scf.yield %s : f32
    }
    scf.yield %1 : f32
  }
  return %0 : f32
}

// Short loops stay.
// CHECK-LABEL: func.func @short(
// CHECK-COUNT-1: memref.store
// CHECK-NOT: memref.store
func.func @short(%x: memref<?xf32>, %v: f32) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  scf.for %i = %c0 to %c9 step %c1 {
    memref.store %v, %x[%i] : memref<?xf32>
  }
  return
}

// Nobody knows how long this one is: 16 steps a turn, then those that are left. Loops inside it go first.
// CHECK-LABEL: func.func @unknown(
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK-COUNT-48: memref.store
// CHECK-NOT: memref.store
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK-COUNT-3: memref.store
// CHECK-NOT: memref.store
func.func @unknown(%x: memref<?x3xf32>, %v: f32, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  scf.for %i = %c0 to %n step %c1 {
    scf.for %j = %c0 to %c3 step %c1 {
      memref.store %v, %x[%i, %j] : memref<?x3xf32>
    }
  }
  return
}
