// RUN: winze-opt %s --split-input-file --verify-diagnostics | winze-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @best
func.func @best(%x: tensor<2x?xi32, affine_map<()[s0] -> (s0)>>) -> (tensor<2x3xi32>, tensor<2x?xi32, affine_map<()[s0] -> (s0)>>) {
  // CHECK: graph.top_k %{{.*}} : tensor<2x?xi32, #{{.*}}> -> tensor<2x3xi32>
  %0 = graph.top_k %x : tensor<2x?xi32, affine_map<()[s0] -> (s0)>> -> tensor<2x3xi32>
  // CHECK: graph.top_k %{{.*}} smallest : tensor<2x?xi32, #{{.*}}> -> tensor<2x?xi32, #{{.*}}>
  %1 = graph.top_k %x smallest : tensor<2x?xi32, affine_map<()[s0] -> (s0)>> -> tensor<2x?xi32, affine_map<()[s0] -> (s0)>>
  return %0, %1 : tensor<2x3xi32>, tensor<2x?xi32, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @too_many(%x: tensor<2x4xi64>) -> tensor<2x5xi32> {
  // expected-error@+1 {{5 of 4 elements}}
  %0 = graph.top_k %x : tensor<2x4xi64> -> tensor<2x5xi32>
  return %0 : tensor<2x5xi32>
}

// -----

func.func @other_rows(%x: tensor<2x4xi64>) -> tensor<3x2xi32> {
  // expected-error@+1 {{positions of k are i32}}
  %0 = graph.top_k %x : tensor<2x4xi64> -> tensor<3x2xi32>
  return %0 : tensor<3x2xi32>
}
