// RUN: winze-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(bind-state),canonicalize)' | FileCheck %s

// Rows are written into the state and read where they are; the old rows and the result are gone from the signature.
// CHECK-DAG: #[[HELD:.*]] = affine_map<()[s0, s1] -> (0, s1, 0)>
// CHECK-DAG: #[[FIRST:.*]] = affine_map<() -> (0, 0, 0)>
// CHECK-LABEL: @cache
// CHECK-SAME: %[[NEW:[a-z0-9]+]]: tensor<2x?x4xf32, {{.*}} {graph.name = "new"}, %[[STATE:[a-z0-9]+]]: tensor<2x16x4xf32>) ->
// CHECK-SAME: tensor<2x16x4xf32>
// CHECK-SAME: graph.state_arguments = array<i64: 1, 0>
// CHECK-SAME: graph.state_results = array<i64: 1, 0, 1>
// CHECK-SAME: axis = 1 : i64, capacity = 16 : i64, {{.*}} input = "past", input_index = 0 : i64, {{.*}} output = "present", output_index = 0 : i64
// CHECK: %[[ALL:.*]] = graph.append %[[STATE]], %[[NEW]] starts #[[HELD]] : tensor<2x16x4xf32>
// CHECK: %[[READ:.*]] = graph.symbolic_slice %[[ALL]] starts #[[FIRST]] strides [1, 1, 1] : tensor<2x16x4xf32> -> tensor<2x?x4xf32
// CHECK: %[[SUM:.*]] = graph.reduce "add" %[[READ]]
// CHECK: return %[[SUM]], %[[ALL]]
func.func @cache(%past: tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s1)>> {graph.name = "past"}, %new: tensor<2x?x4xf32, affine_map<()[s0] -> (s0)>> {graph.name = "new"})
    -> (tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> {graph.name = "present"}, tensor<2x4xf32> {graph.name = "sum"})
    attributes {graph.symbols = ["n", "p"], graph.symbol_bounds = array<i64: 9223372036854775807, 16>, graph.bind = array<i64: 0, 0>} {
  %0 = graph.concat %past, %new axis 1 : tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s1)>>, tensor<2x?x4xf32, affine_map<()[s0] -> (s0)>>
  %1 = graph.reduce "add" %0 axes [1] : tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  return %0, %1 : tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>, tensor<2x4xf32>
}

// -----

// Two layers stacked: each is a part of the buffer, from its offset on. The old rows are read in place too.
// CHECK-LABEL: @stacked
// CHECK-SAME: %[[A:[a-z0-9]+]]: tensor<16x4xf32>, %[[B:[a-z0-9]+]]: tensor<16x4xf32>, %[[WHOLE:[a-z0-9]+]]: tensor<2x16x4xf32>)
// CHECK-SAME: graph.state_arguments = array<i64: 1, 0, 2, 0, 3, 0>
// CHECK-SAME: graph.state_offsets = #{{map[0-9]*}}
// CHECK-SAME: graph.state_results = array<i64: 1, 0, 1, 2, 0, 2>
// CHECK: graph.symbolic_slice %[[WHOLE]]
// CHECK: graph.append %[[A]]
// CHECK: graph.append %[[B]]
// CHECK-NOT: graph.concat
func.func @stacked(%past: tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s1)>> {graph.name = "past"}, %new: tensor<?x4xf32, affine_map<()[s0] -> (s0)>>)
    -> (tensor<2x4xf32>, tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> {graph.name = "present"})
    attributes {graph.symbols = ["n", "p"], graph.symbol_bounds = array<i64: 9223372036854775807, 16>, graph.bind = array<i64: 0, 1>} {
  %0 = graph.slice %past starts [0, 0, 0] limits [1, 9223372036854775807, 4] strides [1, 1, 1] : tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %1 = graph.slice %past starts [1, 0, 0] limits [2, 9223372036854775807, 4] strides [1, 1, 1] : tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %2 = graph.reshape %0 : tensor<1x?x4xf32, affine_map<()[s0, s1] -> (s1)>> -> tensor<?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %3 = graph.reshape %1 : tensor<1x?x4xf32, affine_map<()[s0, s1] -> (s1)>> -> tensor<?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %4 = graph.concat %2, %new axis 0 : tensor<?x4xf32, affine_map<()[s0, s1] -> (s1)>>, tensor<?x4xf32, affine_map<()[s0] -> (s0)>>
  %5 = graph.concat %3, %new axis 0 : tensor<?x4xf32, affine_map<()[s0, s1] -> (s1)>>, tensor<?x4xf32, affine_map<()[s0] -> (s0)>>
  %6 = graph.reshape %4 : tensor<?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> -> tensor<1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %7 = graph.reshape %5 : tensor<?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> -> tensor<1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %8 = graph.concat %6, %7 axis 0 : tensor<1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>, tensor<1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %9 = graph.reduce "add" %past axes [1] : tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  return %9, %8 : tensor<2x4xf32>, tensor<2x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
}

// -----

// New rows in front cannot be written in place: the state is exchanged, which is said.
// CHECK-LABEL: @in_front
// CHECK-SAME: graph.state_copies = ["the state \22past\22 is copied in every run, up to its bound of 16 along axis 0
// CHECK-SAME: graph.state_results = array<i64: 0, 0, -1>
// CHECK: graph.concat
func.func @in_front(%past: tensor<?xf32, affine_map<()[s0, s1] -> (s1)>> {graph.name = "past"}, %new: tensor<?xf32, affine_map<()[s0] -> (s0)>>)
    -> (tensor<?xf32, affine_map<()[s0, s1] -> (s0 + s1)>> {graph.name = "present"})
    attributes {graph.symbols = ["n", "p"], graph.symbol_bounds = array<i64: 9223372036854775807, 16>, graph.bind = array<i64: 0, 0>} {
  %0 = graph.concat %new, %past axis 0 : tensor<?xf32, affine_map<()[s0] -> (s0)>>, tensor<?xf32, affine_map<()[s0, s1] -> (s1)>>
  return %0 : tensor<?xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
}

// -----

// What keeps its extents is exchanged.
// CHECK-LABEL: @same_extents
// CHECK-NOT: graph.state_copies
// CHECK-SAME: graph.state_results = array<i64: 0, 0, -1>
func.func @same_extents(%h: tensor<3xf32> {graph.name = "h"}) -> (tensor<3xf32> {graph.name = "next"}) attributes {graph.bind = array<i64: 0, 0>} {
  %0 = graph.neg %h : tensor<3xf32>
  return %0 : tensor<3xf32>
}

// -----

// Keys and values stand behind the batch, and the model wants heads in front of positions: rows are written in the order of the state, and the box is read
// without the axis of keys and values and put in order.
// CHECK-LABEL: @behind_the_batch
// CHECK-SAME: %[[STATE:[a-z0-9]+]]: tensor<3x2x16x4xf32>)
// CHECK: %[[K:.*]] = graph.append %[[STATE]], %{{.*}} starts #{{.*}} : tensor<3x2x16x4xf32>, tensor<3x1x?x4xf32
// CHECK: %[[KEYS:.*]] = graph.symbolic_slice %[[K]] starts #{{.*}} strides [1, 1, 1, 1] dropped [1] : tensor<3x2x16x4xf32> -> tensor<3x?x4xf32
// CHECK: graph.transpose %[[KEYS]] permutation [0, 2, 1]
// CHECK: graph.append %[[K]]
// CHECK-NOT: graph.concat
func.func @behind_the_batch(%past: tensor<3x2x?x4xf32, affine_map<()[s0, s1] -> (s1)>> {graph.name = "past"}, %new: tensor<3x4x?xf32, affine_map<()[s0] -> (s0)>>)
    -> (tensor<3x4xf32>, tensor<3x2x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> {graph.name = "present"})
    attributes {graph.symbols = ["n", "p"], graph.symbol_bounds = array<i64: 9223372036854775807, 16>, graph.bind = array<i64: 0, 1>} {
  %0 = graph.slice %past starts [0, 0, 0, 0] limits [3, 1, 9223372036854775807, 4] strides [1, 1, 1, 1] : tensor<3x2x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %1 = graph.slice %past starts [0, 1, 0, 0] limits [3, 2, 9223372036854775807, 4] strides [1, 1, 1, 1] : tensor<3x2x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %2 = graph.reshape %0 : tensor<3x1x?x4xf32, affine_map<()[s0, s1] -> (s1)>> -> tensor<3x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %3 = graph.reshape %1 : tensor<3x1x?x4xf32, affine_map<()[s0, s1] -> (s1)>> -> tensor<3x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %4 = graph.transpose %2 permutation [0, 2, 1] : tensor<3x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %5 = graph.transpose %3 permutation [0, 2, 1] : tensor<3x?x4xf32, affine_map<()[s0, s1] -> (s1)>>
  %6 = graph.concat %4, %new axis 2 : tensor<3x4x?xf32, affine_map<()[s0, s1] -> (s1)>>, tensor<3x4x?xf32, affine_map<()[s0] -> (s0)>>
  %7 = graph.concat %5, %new axis 2 : tensor<3x4x?xf32, affine_map<()[s0, s1] -> (s1)>>, tensor<3x4x?xf32, affine_map<()[s0] -> (s0)>>
  %8 = graph.reduce "add" %6 axes [2] : tensor<3x4x?xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %9 = graph.transpose %6 permutation [0, 2, 1] : tensor<3x4x?xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %10 = graph.transpose %7 permutation [0, 2, 1] : tensor<3x4x?xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %11 = graph.reshape %9 : tensor<3x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> -> tensor<3x1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %12 = graph.reshape %10 : tensor<3x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>> -> tensor<3x1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %13 = graph.concat %11, %12 axis 1 : tensor<3x1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>, tensor<3x1x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  return %8, %13 : tensor<3x4xf32>, tensor<3x2x?x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
}

// -----

// Heads in one axis of the state: what is reshaped is the state, not the box.
// CHECK-LABEL: @heads_in_one_axis
// CHECK: %[[ALL:.*]] = graph.append
// CHECK: %[[HEADS:.*]] = graph.reshape %[[ALL]] : tensor<16x8xf32> -> tensor<16x2x4xf32>
// CHECK: %[[READ:.*]] = graph.symbolic_slice %[[HEADS]] {{.*}} : tensor<16x2x4xf32> -> tensor<?x2x4xf32
// CHECK: graph.reduce "add" %[[READ]]
func.func @heads_in_one_axis(%past: tensor<?x8xf32, affine_map<()[s0, s1] -> (s1)>> {graph.name = "past"}, %new: tensor<?x8xf32, affine_map<()[s0] -> (s0)>>)
    -> (tensor<?x8xf32, affine_map<()[s0, s1] -> (s0 + s1)>> {graph.name = "present"}, tensor<2x4xf32>)
    attributes {graph.symbols = ["n", "p"], graph.symbol_bounds = array<i64: 9223372036854775807, 16>, graph.bind = array<i64: 0, 0>} {
  %0 = graph.concat %past, %new axis 0 : tensor<?x8xf32, affine_map<()[s0, s1] -> (s1)>>, tensor<?x8xf32, affine_map<()[s0] -> (s0)>>
  %1 = graph.reshape %0 : tensor<?x8xf32, affine_map<()[s0, s1] -> (s0 + s1)>> -> tensor<?x2x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  %2 = graph.reduce "add" %1 axes [0] : tensor<?x2x4xf32, affine_map<()[s0, s1] -> (s0 + s1)>>
  return %0, %2 : tensor<?x8xf32, affine_map<()[s0, s1] -> (s0 + s1)>>, tensor<2x4xf32>
}
