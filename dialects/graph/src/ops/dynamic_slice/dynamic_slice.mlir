// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @round_trip
func.func @round_trip(%x: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, %i: tensor<i64>) -> tensor<?x3xf32, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.dynamic_slice %{{.*}} at(%{{.*}}) axes [0] : (tensor<?x3xf32, #{{.*}}>, tensor<i64>) -> tensor<1x3xf32>
  %0 = graph.dynamic_slice %x at(%i) axes [0] : (tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, tensor<i64>) -> tensor<1x3xf32>
  // CHECK: graph.dynamic_update_slice %{{.*}}, %{{.*}} at(%{{.*}}) axes [0]
  %1 = graph.dynamic_update_slice %x, %0 at(%i) axes [0]
    : (tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, tensor<1x3xf32>, tensor<i64>) -> tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  return %1 : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @box_fits(%x: tensor<2x3xf32>, %i: tensor<i32>) -> tensor<3x3xf32> {
  // expected-error@+1 {{a box of 3 elements does not fit axis 0 of extent 2}}
  %0 = graph.dynamic_slice %x at(%i) axes [0] : (tensor<2x3xf32>, tensor<i32>) -> tensor<3x3xf32>
  return %0 : tensor<3x3xf32>
}

// -----

func.func @whole_where_no_start(%x: tensor<2x3xf32>, %i: tensor<i64>) -> tensor<1x2xf32> {
  // expected-error@+1 {{axis 1 has no start, so the box has its extent 3, not 2}}
  %0 = graph.dynamic_slice %x at(%i) axes [0] : (tensor<2x3xf32>, tensor<i64>) -> tensor<1x2xf32>
  return %0 : tensor<1x2xf32>
}

// -----

func.func @a_start_per_axis(%x: tensor<2x3xf32>, %y: tensor<1x3xf32>, %i: tensor<i64>) -> tensor<2x3xf32> {
  // expected-error@+1 {{1 starts for 2 axes}}
  %0 = graph.dynamic_update_slice %x, %y at(%i) axes [0, 1] : (tensor<2x3xf32>, tensor<1x3xf32>, tensor<i64>) -> tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}
