// RUN: winze-opt --pass-pipeline='builtin.module(func.func(expand-integer-division{widest=32}))' %s | FileCheck %s

// CHECK-LABEL: func.func @remainder(
// CHECK: %[[QUOTIENT:.*]] = arith.divsi %arg0, %arg1
// CHECK: %[[PRODUCT:.*]] = arith.muli %[[QUOTIENT]], %arg1
// CHECK: arith.subi %arg0, %[[PRODUCT]]
// CHECK-LABEL: func.func @wide(
// CHECK-NOT: arith.divui
// CHECK: scf.for
func.func @remainder(%a: i32, %b: i32) -> i32 {
  %0 = arith.remsi %a, %b : i32
  return %0 : i32
}
func.func @wide(%a: i64, %b: i64) -> i64 {
  %0 = arith.divui %a, %b : i64
  return %0 : i64
}
