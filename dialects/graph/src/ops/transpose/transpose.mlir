// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: winze-opt %s --split-input-file --canonicalize --verify-diagnostics | FileCheck %s --check-prefix=CANONICAL

// CHECK-LABEL: @twice
// CANONICAL-LABEL: @twice
func.func @twice(%a: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
  // CHECK: graph.transpose %{{.*}} permutation [1, 2, 0] : tensor<2x3x4xf32>
  %0 = graph.transpose %a permutation [1, 2, 0] : tensor<2x3x4xf32>
  // CANONICAL-NOT: graph.transpose
  %1 = graph.transpose %0 permutation [2, 0, 1] : tensor<3x4x2xf32>
  return %1 : tensor<2x3x4xf32>
}

// -----

func.func @each_axis_once(%a: tensor<2x3xf32>) -> tensor<2x2xf32> {
  // expected-error@+1 {{axis 0 is named twice}}
  %0 = graph.transpose %a permutation [0, 0] : tensor<2x3xf32>
  return %0 : tensor<2x2xf32>
}
