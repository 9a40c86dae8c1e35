// RUN: winze-opt %s --split-input-file --verify-diagnostics | winze-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%x: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, %n: tensor<4xi64>) -> (tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, tensor<4xi64>) {
  // CHECK: graph.cumulative "add" %{{.*}} axis 1 : tensor<?x3xf32, #map>
  %0 = graph.cumulative "add" %x axis 1 : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.cumulative "mul" %{{.*}} axis 0 exclusive reverse : tensor<4xi64>
  %1 = graph.cumulative "mul" %n axis 0 exclusive reverse : tensor<4xi64>
  return %0, %1 : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, tensor<4xi64>
}

// -----

func.func @another_kind(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  // expected-error@+1 {{kind 'median' is unknown; use add, mul, max, min, and, or}}
  %0 = graph.cumulative "median" %x axis 1 : tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}

// -----

func.func @no_such_axis(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  // expected-error@+1 {{axis 2}}
  %0 = graph.cumulative "add" %x axis 2 : tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}

// -----

func.func @narrow(%x: tensor<2x3xf16>) -> tensor<2x3xf16> {
  // expected-error@+1 {{f16 is too narrow to fold in; convert to f32}}
  %0 = graph.cumulative "add" %x axis 1 : tensor<2x3xf16>
  return %0 : tensor<2x3xf16>
}
