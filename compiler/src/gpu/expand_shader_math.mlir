// RUN: winze-opt --pass-pipeline='builtin.module(func.func(expand-shader-math))' %s | FileCheck %s

// CHECK-LABEL: func.func @f(
// CHECK-NOT: math.ctpop
// CHECK: arith.shrui
// CHECK: arith.cmpf uno
// CHECK: %[[SIZE:.*]] = math.absf %arg0
// CHECK: %[[FLOOR:.*]] = math.floor %[[SIZE]]
// CHECK: math.copysign %[[FLOOR]], %arg0
func.func @f(%x: f32, %n: i32) -> (f32, i32, i1, f32) {
  %0 = math.round %x : f32
  %1 = math.ctpop %n : i32
  %2 = math.isnan %x : f32
  %3 = math.trunc %x : f32
  return %0, %1, %2, %3 : f32, i32, i1, f32
}

// CHECK-LABEL: func.func @remainder(
// CHECK: %[[REST:.*]] = arith.remf %arg0, %arg1
// CHECK: arith.select %{{.*}}, %arg0, %[[REST]]
func.func @remainder(%x: f32, %y: f32) -> f32 {
  %0 = arith.remf %x, %y : f32
  return %0 : f32
}
