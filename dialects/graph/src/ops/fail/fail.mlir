// RUN: winze-opt %s | winze-opt | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%c: tensor<i1>, %a: tensor<2xf32>) -> tensor<2xf32> {
  %0 = graph.if %c : tensor<i1> -> tensor<2xf32> {
    graph.yield %a : tensor<2xf32>
  } else {
    // CHECK: graph.fail "no rows" -> tensor<2xf32>
    %1 = graph.fail "no rows" -> tensor<2xf32>
    graph.yield %1 : tensor<2xf32>
  }
  return %0 : tensor<2xf32>
}
