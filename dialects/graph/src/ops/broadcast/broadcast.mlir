// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: winze-opt %s --split-input-file --canonicalize --verify-diagnostics | FileCheck %s --check-prefix=CANONICAL

// CHECK-LABEL: @twice
// CANONICAL-LABEL: @twice
func.func @twice(%a: tensor<3xf32>) -> tensor<5x2x3xf32> {
  // CHECK: graph.broadcast %{{.*}} axes [1] : tensor<3xf32> -> tensor<2x3xf32>
  %0 = graph.broadcast %a axes [1] : tensor<3xf32> -> tensor<2x3xf32>
  // CANONICAL: %[[R:.*]] = graph.broadcast %{{.*}} axes [2] : tensor<3xf32> -> tensor<5x2x3xf32>
  // CANONICAL-NEXT: return %[[R]]
  %1 = graph.broadcast %0 axes [1, 2] : tensor<2x3xf32> -> tensor<5x2x3xf32>
  return %1 : tensor<5x2x3xf32>
}

// -----

func.func @extents_match(%a: tensor<3xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{axis 0 of extent 3 becomes axis 0 of extent 4; extents are equal, or 1 in the input}}
  %0 = graph.broadcast %a axes [0] : tensor<3xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @one_entry_per_axis(%a: tensor<3xf32>) -> tensor<4x3xf32> {
  // expected-error@+1 {{'axes' has 2 entries for 1 axes}}
  %0 = graph.broadcast %a axes [0, 1] : tensor<3xf32> -> tensor<4x3xf32>
  return %0 : tensor<4x3xf32>
}
