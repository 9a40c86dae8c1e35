// RUN: winze-opt --pass-pipeline='builtin.module(func.func(widen-narrow-integers))' %s | FileCheck %s

// Sums wrap at their own width; what a conversion widens counts by all its bits from there on.
// CHECK-LABEL: func.func @wrap(
// CHECK-NOT: i8
// CHECK: %[[SUM:.*]] = arith.addi
// CHECK: %[[UP:.*]] = arith.shli %[[SUM]]
// CHECK: %[[WRAPPED:.*]] = arith.shrsi %[[UP]]
// CHECK: %[[WIDE:.*]] = arith.ori %[[WRAPPED]]
// CHECK-NEXT: arith.divui %[[WIDE]], %arg0 : i32
func.func @wrap(%x: i32) -> i32 {
  %a = arith.trunci %x : i32 to i8
  %b = arith.addi %a, %a : i8
  %c = arith.extsi %b : i8 to i32
  %d = arith.divui %c, %x : i32
  return %d : i32
}
