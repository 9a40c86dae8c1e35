// RUN: winze-opt --pass-pipeline='builtin.module(func.func(mark-host-scalars))' %s | FileCheck %s
// RUN: winze-opt --pass-pipeline='builtin.module(func.func(mark-host-scalars,form-kernels))' %s | FileCheck %s --check-prefix=KERNELS

#rows = affine_map<()[s0] -> (s0)>

// The counter of a loop and what is computed from it are host scalars; the box at the counter is one range, so it is copied.
// CHECK-LABEL: @steps
// CHECK: graph.dim %{{.*}} axis 0 {winze.host}
// CHECK: graph.while {{.*}} {winze.host = array<i64: 0>}
// CHECK: graph.lt {{.*}} {winze.host}
// CHECK: graph.add {{.*}} {winze.host} : tensor<i64>
// CHECK: graph.dynamic_slice {{.*}} {winze.host}
// CHECK: graph.add %{{.*}}, %{{[^ ]*}} : tensor<1x4xf32>
// CHECK: graph.dynamic_update_slice {{.*}} {winze.host}
// KERNELS-LABEL: @steps
// KERNELS-COUNT-1: graph.kernel
// KERNELS-NOT: graph.kernel
// KERNELS: return
func.func @steps(%x: tensor<?x4xf32, #rows>) -> tensor<?x4xf32, #rows> attributes {graph.symbols = ["t"]} {
  %zero = graph.constant dense<0> : tensor<i64>
  %one = graph.constant dense<1> : tensor<i64>
  %n = graph.dim %x axis 0 : tensor<?x4xf32, #rows>
  %0:2 = graph.while %zero, %x : tensor<i64>, tensor<?x4xf32, #rows> while {
  ^bb0(%i: tensor<i64>, %y: tensor<?x4xf32, #rows>):
    %more = graph.lt %i, %n : tensor<i64>
    graph.yield %more : tensor<i1>
  } do {
  ^bb0(%i: tensor<i64>, %y: tensor<?x4xf32, #rows>):
    %next = graph.add %i, %one : tensor<i64>
    %row = graph.dynamic_slice %x at(%i) axes [0] : (tensor<?x4xf32, #rows>, tensor<i64>) -> tensor<1x4xf32>
    %sum = graph.add %row, %row : tensor<1x4xf32>
    %z = graph.dynamic_update_slice %y, %sum at(%i) axes [0] : (tensor<?x4xf32, #rows>, tensor<1x4xf32>, tensor<i64>) -> tensor<?x4xf32, #rows>
    graph.yield %next, %z : tensor<i64>, tensor<?x4xf32, #rows>
  } -> tensor<i64>, tensor<?x4xf32, #rows>
  return %0#1 : tensor<?x4xf32, #rows>
}

// A condition takes one element that a kernel makes into a register; a column is no range, so a kernel moves it.
// CHECK-LABEL: @condition
// CHECK: graph.eq %{{[^ ]*}}, %{{[^ ]*}} : tensor<f32>
// CHECK: graph.and {{.*}} {winze.host}
// CHECK: graph.dynamic_slice %{{.*}} at(%{{.*}}) axes [1] :
func.func @condition(%a: tensor<f32>, %on: tensor<i1>, %i: tensor<i64>, %x: tensor<3x4xf32>) -> tensor<3x1xf32> {
  %0 = graph.eq %a, %a : tensor<f32>
  %1 = graph.and %0, %on : tensor<i1>
  %2 = graph.if %1 : tensor<i1> -> tensor<3x1xf32> {
    %3 = graph.dynamic_slice %x at(%i) axes [1] : (tensor<3x4xf32>, tensor<i64>) -> tensor<3x1xf32>
    graph.yield %3 : tensor<3x1xf32>
  } else {
    %4 = graph.slice %x starts [0, 0] limits [3, 1] strides [1, 1] : tensor<3x4xf32>
    graph.yield %4 : tensor<3x1xf32>
  }
  return %2 : tensor<3x1xf32>
}

// Arithmetic on inputs is a kernel's work unless a condition needs it.
// CHECK-LABEL: @inputs
// CHECK-NOT: winze.host
func.func @inputs(%a: tensor<i64>, %b: tensor<i64>) -> tensor<i64> {
  %0 = graph.add %a, %b : tensor<i64>
  return %0 : tensor<i64>
}
