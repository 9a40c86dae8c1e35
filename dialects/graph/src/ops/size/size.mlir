// RUN: winze-opt %s --split-input-file --verify-diagnostics --canonicalize --cse | FileCheck %s

// It stays, though nothing uses a result of it.
// CHECK-LABEL: @round_trip
// CHECK: graph.size %arg1 symbol 1 bounds #[[BOUNDS:.*]] : tensor<i64>
func.func @round_trip(%x: tensor<?xf32, affine_map<()[s0] -> (s0)>>, %n: tensor<i64>) -> tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
    attributes {graph.symbols = ["all", "chosen"]} {
  graph.size %n symbol 1 bounds affine_map<()[s0] -> (0, s0)> : tensor<i64>
  %zero = graph.constant dense<0> : tensor<i64>
  %0 = graph.dynamic_slice %x at(%zero) axes [0]
    : (tensor<?xf32, affine_map<()[s0] -> (s0)>>, tensor<i64>) -> tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
  return %0 : tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
}

// -----

func.func @two_bounds(%n: tensor<i64>) {
  // expected-error@+1 {{'bounds' has 1 results; give the smallest and the largest value}}
  graph.size %n symbol 0 bounds affine_map<() -> (4)> : tensor<i64>
  return
}

// -----

func.func @bounds_are_known_before(%n: tensor<i64>) {
  // expected-error@+1 {{the bounds of symbol 0 use symbol 1; they are over symbols before it}}
  graph.size %n symbol 0 bounds affine_map<()[s0, s1] -> (0, s1)> : tensor<i64>
  return
}
