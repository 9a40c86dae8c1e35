// RUN: winze-opt --pass-pipeline='builtin.module(func.func(split-wide-values))' %s | FileCheck %s

// CHECK-LABEL: func.func @sum(
// CHECK: %[[LOW:.*]] = arith.trunci %arg1 : i64 to i32
// CHECK: %[[HIGH:.*]] = arith.trunci %{{.*}} : i64 to i32
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[LOW]], %{{.*}} = %[[HIGH]]) -> (i32, i32)
// CHECK: arith.addi {{.*}} : i64
// CHECK: scf.yield {{.*}} : i32, i32
func.func @sum(%n: index, %x: i64) -> i64 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%s = %x) -> i64 {
    %t = arith.addi %s, %x : i64
    scf.yield %t : i64
  }
  return %0 : i64
}
