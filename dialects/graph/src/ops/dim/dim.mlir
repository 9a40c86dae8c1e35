// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>) -> tensor<i64> {
  // CHECK: graph.dim %{{.*}} axis 0 : tensor<?x3xf32, #map>
  %0 = graph.dim %a axis 0 : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  return %0 : tensor<i64>
}
