// RUN: winze-opt %s --split-input-file --verify-diagnostics | winze-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @best
func.func @best(%x: tensor<2x?xi32, affine_map<()[s0] -> (s0)>>) -> (tensor<2x3xi32>, tensor<2x3xi32>) {
  // CHECK: graph.top_k %{{.*}} of 3 : tensor<2x?xi32, #{{.*}}>
  %0 = graph.top_k %x of 3 : tensor<2x?xi32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.top_k %{{.*}} of 3 smallest
  %1 = graph.top_k %x of 3 smallest : tensor<2x?xi32, affine_map<()[s0] -> (s0)>>
  return %0, %1 : tensor<2x3xi32>, tensor<2x3xi32>
}

// -----

func.func @too_many(%x: tensor<2x4xi64>) -> tensor<2x5xi32> {
  // expected-error@+1 {{5 of 4 elements}}
  %0 = graph.top_k %x of 5 : tensor<2x4xi64>
  return %0 : tensor<2x5xi32>
}
