// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%c: tensor<i1>, %a: tensor<2xf32>) -> tensor<2xf32> {
  // CHECK: graph.if %{{.*}} : tensor<i1> -> tensor<2xf32>
  %0 = graph.if %c : tensor<i1> -> tensor<2xf32> {
    %1 = graph.neg %a : tensor<2xf32>
    graph.yield %1 : tensor<2xf32>
  } else {
    graph.yield %a : tensor<2xf32>
  }
  return %0 : tensor<2xf32>
}

// -----

func.func @branches_agree(%c: tensor<i1>, %a: tensor<2xf32>, %b: tensor<3xf32>) -> tensor<2xf32> {
  // expected-error@+1 {{region 'else' yields (tensor<3xf32>), expected (tensor<2xf32>)}}
  %0 = graph.if %c : tensor<i1> -> tensor<2xf32> {
    graph.yield %a : tensor<2xf32>
  } else {
    graph.yield %b : tensor<3xf32>
  }
  return %0 : tensor<2xf32>
}
