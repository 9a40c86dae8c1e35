// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: winze-opt %s --split-input-file --canonicalize --verify-diagnostics | FileCheck %s --check-prefix=CANONICAL

// CHECK-LABEL: @twice
// CANONICAL-LABEL: @twice
func.func @twice(%a: tensor<?x4xf32, affine_map<()[s0] -> (s0)>>) -> tensor<?x4xf32, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.reshape %{{.*}} : tensor<?x4xf32, #{{.*}}> -> tensor<?xf32, #{{.*}}>
  %0 = graph.reshape %a : tensor<?x4xf32, affine_map<()[s0] -> (s0)>> -> tensor<?xf32, affine_map<()[s0] -> (s0 * 4)>>
  // CANONICAL-NOT: graph.reshape
  %1 = graph.reshape %0 : tensor<?xf32, affine_map<()[s0] -> (s0 * 4)>> -> tensor<?x4xf32, affine_map<()[s0] -> (s0)>>
  return %1 : tensor<?x4xf32, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @elements_stay(%a: tensor<6xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{has 6 elements and would have 4; a reshape keeps their number}}
  %0 = graph.reshape %a : tensor<6xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @extents_are_given(%a: tensor<?xf32>) -> tensor<2xf32> {
  // expected-error@+1 {{1 dynamic dims and 0 extents in its encoding; give one result per '?'}}
  %0 = graph.reshape %a : tensor<?xf32> -> tensor<2xf32>
  return %0 : tensor<2xf32>
}
