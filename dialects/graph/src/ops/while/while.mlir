// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

func.func @condition_is_bool(%a: tensor<i64>) -> tensor<i64> {
  // expected-error@+1 {{region 'before' yields (tensor<i64>), expected (tensor<i1>)}}
  %0 = graph.while %a : tensor<i64> while {
  ^bb0(%i: tensor<i64>):
    graph.yield %i : tensor<i64>
  } do {
  ^bb0(%i: tensor<i64>):
    graph.yield %i : tensor<i64>
  } -> tensor<i64>
  return %0 : tensor<i64>
}

// -----

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<i64>, %n: tensor<i64>) -> tensor<i64> {
  // CHECK: graph.while %{{.*}} : tensor<i64> while {
  %0 = graph.while %a : tensor<i64> while {
  ^bb0(%i: tensor<i64>):
    %more = graph.lt %i, %n : tensor<i64>
    graph.yield %more : tensor<i1>
  } do {
  ^bb0(%i: tensor<i64>):
    %next = graph.add %i, %i : tensor<i64>
    graph.yield %next : tensor<i64>
  } -> tensor<i64>
  return %0 : tensor<i64>
}
