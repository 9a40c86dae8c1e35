// RUN: winze-opt --pass-pipeline='builtin.module(expand-math)' %s | FileCheck %s

// CHECK-LABEL: func.func @scalar_and_vector(
// CHECK-NOT: math.exp
// CHECK-NOT: math.tanh
// CHECK: math.fma {{.*}} : f32
// CHECK: math.fma {{.*}} : vector<8xf32>
func.func @scalar_and_vector(%x: f32, %v: vector<8xf32>) -> (f32, vector<8xf32>) {
  %0 = math.exp %x : f32
  %1 = math.tanh %v : vector<8xf32>
  return %0, %1 : f32, vector<8xf32>
}
