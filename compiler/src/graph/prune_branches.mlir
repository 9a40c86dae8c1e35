// RUN: winze-opt %s --pass-pipeline='builtin.module(func.func(prune-branches),canonicalize)' | FileCheck %s

// An input that nothing reads stays in the signature.
// CHECK-LABEL: @constant_condition
// CHECK-SAME: %arg1: tensor<3xf32>
func.func @constant_condition(%x: tensor<2xf32>, %unused: tensor<3xf32>) -> tensor<2xf32> {
  // CHECK-NEXT: %[[NEG:.*]] = graph.neg %arg0
  // CHECK-NEXT: return %[[NEG]]
  %c = graph.constant dense<false> : tensor<i1>
  %0 = graph.if %c : tensor<i1> -> tensor<2xf32> {
    graph.yield %x : tensor<2xf32>
  } else {
    %1 = graph.neg %x : tensor<2xf32>
    graph.yield %1 : tensor<2xf32>
  }
  return %0 : tensor<2xf32>
}

// CHECK-LABEL: @unused_result
func.func @unused_result(%c: tensor<i1>, %x: tensor<2xf32>) -> tensor<2xf32> {
  // CHECK-NEXT: %[[IF:.*]] = graph.if %arg0 : tensor<i1> -> tensor<2xf32> {
  // CHECK-NEXT: graph.abs
  // CHECK-NEXT: graph.yield
  // CHECK: return %[[IF]]
  %0:2 = graph.if %c : tensor<i1> -> tensor<2xf32>, tensor<2xf32> {
    %1 = graph.neg %x : tensor<2xf32>
    %2 = graph.abs %x : tensor<2xf32>
    graph.yield %1, %2 : tensor<2xf32>, tensor<2xf32>
  } else {
    graph.yield %x, %x : tensor<2xf32>, tensor<2xf32>
  }
  return %0#1 : tensor<2xf32>
}

// The counter is read by the condition, the sum is a result; the product is neither, the factor never changes.
// CHECK-LABEL: @carried
func.func @carried(%n: tensor<i64>, %x: tensor<2xf32>) -> tensor<2xf32> {
  // CHECK: graph.while %{{.*}}, %arg1 : tensor<i64>, tensor<2xf32> while
  // CHECK: do
  // CHECK-NEXT: ^bb0(%[[I:.*]]: tensor<i64>, %[[SUM:.*]]: tensor<2xf32>):
  // CHECK: graph.add %[[SUM]], %arg1
  // CHECK-NOT: graph.mul
  %zero = graph.constant dense<0> : tensor<i64>
  %0:4 = graph.while %zero, %x, %x, %x : tensor<i64>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32> while {
  ^bb0(%i: tensor<i64>, %product: tensor<2xf32>, %factor: tensor<2xf32>, %sum: tensor<2xf32>):
    %c = graph.lt %i, %n : tensor<i64>
    graph.yield %c : tensor<i1>
  } do {
  ^bb0(%i: tensor<i64>, %product: tensor<2xf32>, %factor: tensor<2xf32>, %sum: tensor<2xf32>):
    %one = graph.constant dense<1> : tensor<i64>
    %next = graph.add %i, %one : tensor<i64>
    %p = graph.mul %product, %factor : tensor<2xf32>
    %s = graph.add %sum, %factor : tensor<2xf32>
    graph.yield %next, %p, %factor, %s : tensor<i64>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>
  } -> tensor<i64>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>
  return %0#3 : tensor<2xf32>
}
