// RUN: winze-opt %s --split-input-file --verify-diagnostics | winze-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<?x3xf32, affine_map<()[s0, s1] -> (s1)>>) -> tensor<?x3xf32, affine_map<()[s0] -> (s0 * 2)>> {
  // CHECK: graph.require %{{.*}}, #{{.*}} "eq" #{{.*}} why "Add needs equal extents"
  %0 = graph.require %a, affine_map<()[s0, s1] -> (s1)> "eq" affine_map<()[s0] -> (s0 * 2)> why "Add needs equal extents"
    : tensor<?x3xf32, affine_map<()[s0, s1] -> (s1)>> -> tensor<?x3xf32, affine_map<()[s0] -> (s0 * 2)>>
  // CHECK: "le"
  %1 = graph.require %0, affine_map<()[s0] -> (s0)> "le" affine_map<() -> (512)> why "Slice takes at most 512"
    : tensor<?x3xf32, affine_map<()[s0] -> (s0 * 2)>> -> tensor<?x3xf32, affine_map<()[s0] -> (s0 * 2)>>
  return %1 : tensor<?x3xf32, affine_map<()[s0] -> (s0 * 2)>>
}

// -----

func.func @another_extent(%a: tensor<?xf32, affine_map<()[s0] -> (s0)>>) -> tensor<4xf32> {
  // expected-error @below {{makes the extent 4 of s0, which are not required to be equal}}
  %0 = graph.require %a, affine_map<()[s0] -> (s0)> "le" affine_map<() -> (4)> why "no equality"
    : tensor<?xf32, affine_map<()[s0] -> (s0)>> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @unknown(%a: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @below {{the relation 'lt' is unknown; use eq or le}}
  %0 = graph.require %a, affine_map<() -> (3)> "lt" affine_map<() -> (4)> why "" : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
