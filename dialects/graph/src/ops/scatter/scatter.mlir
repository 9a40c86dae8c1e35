// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @rows
func.func @rows(%a: tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, %i: tensor<3x1xi64>, %u: tensor<3x8xf32>) -> tensor<?x8xf32, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.scatter "add" %{{.*}}, %{{.*}}, %{{.*}} axes [0] batch [] x [] at 0 : tensor<?x8xf32, #{{.*}}>, tensor<3x1xi64>, tensor<3x8xf32>
  %0 = graph.scatter "add" %a, %i, %u axes [0] batch [] x [] at 0 : tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, tensor<3x1xi64>, tensor<3x8xf32>
  return %0 : tensor<?x8xf32, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @updates_fit(%a: tensor<4x8xf32>, %i: tensor<3x1xi64>, %u: tensor<3x7xf32>) -> tensor<4x8xf32> {
  // expected-error@+1 {{the updates are f32 [3, 7]; these positions take f32 [3, 8]}}
  %0 = graph.scatter "set" %a, %i, %u axes [0] batch [] x [] at 0 : tensor<4x8xf32>, tensor<3x1xi64>, tensor<3x7xf32>
  return %0 : tensor<4x8xf32>
}

// -----

func.func @kinds(%a: tensor<4xf32>, %i: tensor<3x1xi64>, %u: tensor<3xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{kind 'sub' is unknown}}
  %0 = graph.scatter "sub" %a, %i, %u axes [0] batch [] x [] at 0 : tensor<4xf32>, tensor<3x1xi64>, tensor<3xf32>
  return %0 : tensor<4xf32>
}
