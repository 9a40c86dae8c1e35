// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @rows
func.func @rows(%a: tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, %i: tensor<2x3x1xi64>) -> tensor<2x3x8xf32> {
  // CHECK: graph.gather %{{.*}}, %{{.*}} axes [0] batch [] x [] at 0 : tensor<?x8xf32, #{{.*}}>, tensor<2x3x1xi64>
  %0 = graph.gather %a, %i axes [0] batch [] x [] at 0 : tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, tensor<2x3x1xi64>
  return %0 : tensor<2x3x8xf32>
}

// CHECK-LABEL: @checked
func.func @checked(%a: tensor<4x8xf32>, %i: tensor<3x1xi64>) -> tensor<3x8xf32> {
  // CHECK: graph.gather %{{.*}}, %{{.*}} axes [0] batch [] x [] at 0 checked : tensor<4x8xf32>, tensor<3x1xi64>
  %0 = graph.gather %a, %i axes [0] batch [] x [] at 0 checked : tensor<4x8xf32>, tensor<3x1xi64>
  return %0 : tensor<3x8xf32>
}

// The axes of the indices stand where the gathered axis stood.
func.func @columns(%a: tensor<4x8xf32>, %i: tensor<5x1xi32>) -> tensor<4x5xf32> {
  %0 = graph.gather %a, %i axes [1] batch [] x [] at 1 : tensor<4x8xf32>, tensor<5x1xi32>
  return %0 : tensor<4x5xf32>
}

// One position per element, along axis 1.
func.func @elements(%a: tensor<4x8xf32>, %i: tensor<3x5x1xi64>) -> tensor<3x5xf32> {
  %0 = graph.gather %a, %i axes [1] batch [0] x [0] at 0 : tensor<4x8xf32>, tensor<3x5x1xi64>
  return %0 : tensor<3x5xf32>
}

// -----

func.func @one_position_per_axis(%a: tensor<4x8xf32>, %i: tensor<3x2xi64>) -> tensor<3x8xf32> {
  // expected-error@+1 {{the last axis of the indices has extent 2; it holds one position for each of [0]}}
  %0 = graph.gather %a, %i axes [0] batch [] x [] at 0 : tensor<4x8xf32>, tensor<3x2xi64>
  return %0 : tensor<3x8xf32>
}

// -----

func.func @batches_fit(%a: tensor<4x8xf32>, %i: tensor<5x1xi64>) -> tensor<5xf32> {
  // expected-error@+1 {{batch axis 0 of the indices has extent 5, axis 0 of the input 4}}
  %0 = graph.gather %a, %i axes [1] batch [0] x [0] at 0 : tensor<4x8xf32>, tensor<5x1xi64>
  return %0 : tensor<5xf32>
}
