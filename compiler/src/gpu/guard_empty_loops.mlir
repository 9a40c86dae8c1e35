// RUN: winze-opt --pass-pipeline='builtin.module(func.func(guard-empty-loops))' %s | FileCheck %s

// A loop of an extent that only a run knows may take no turn; then its results are what it starts from.
// CHECK-LABEL: func.func @unknown(
// CHECK-SAME: %[[N:[^:]*]]: index, %[[INIT:[^:]*]]: f32
// CHECK: %[[SUM:.*]] = scf.for %{{.*}} = %[[ZERO:.*]] to %[[N]]
// CHECK: %[[RUNS:.*]] = arith.cmpi slt, %[[ZERO]], %[[N]]
// CHECK: %[[RESULT:.*]] = arith.select %[[RUNS]], %[[SUM]], %[[INIT]] : f32
// CHECK: return %[[RESULT]]
func.func @unknown(%x: memref<?xf32>, %n: index, %init: f32) -> f32 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%sum = %init) -> (f32) {
    %v = memref.load %x[%i] : memref<?xf32>
    %s = arith.addf %sum, %v : f32
    scf.yield %s : f32
  }
  return %0 : f32
}

// One that takes turns for certain, and one whose result nothing uses, stay as they are.
// CHECK-LABEL: func.func @stays(
// CHECK-NOT: arith.select
func.func @stays(%x: memref<?xf32>, %n: index, %init: f32) -> f32 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  %0 = scf.for %i = %c0 to %c9 step %c1 iter_args(%sum = %init) -> (f32) {
    %v = memref.load %x[%i] : memref<?xf32>
    %s = arith.addf %sum, %v : f32
    scf.yield %s : f32
  }
  %1 = scf.for %i = %c0 to %n step %c1 iter_args(%sum = %init) -> (f32) {
    memref.store %sum, %x[%i] : memref<?xf32>
    scf.yield %sum : f32
  }
  return %0 : f32
}
