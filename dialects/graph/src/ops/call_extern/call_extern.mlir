// RUN: winze-opt %s --split-input-file --verify-diagnostics | winze-opt --split-input-file | FileCheck %s
// RUN: winze-opt %s --split-input-file --verify-diagnostics --canonicalize --cse | FileCheck %s --check-prefix=PURE

// CHECK-LABEL: @round_trip
func.func @round_trip(%x: tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, %w: tensor<3xf32>) -> tensor<?x6xf32, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.call_extern "smooth" "(f32[n, m], f32[k], alpha: float) -> (f32[n, m - k + 1])" scalars [4602678819172646912](%{{.*}}, %{{.*}}) : tensor<?x8xf32, #{{.*}}>, tensor<3xf32>
  %0 = graph.call_extern "smooth" "(f32[n, m], f32[k], alpha: float) -> (f32[n, m - k + 1])" scalars [4602678819172646912] (%x, %w)
    : tensor<?x8xf32, affine_map<()[s0] -> (s0)>>, tensor<3xf32>
  return %0 : tensor<?x6xf32, affine_map<()[s0] -> (s0)>>
}

// -----

// PURE-LABEL: @calls_are_pure
func.func @calls_are_pure(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>) {
  // PURE-COUNT-1: graph.call_extern
  // PURE-NOT: graph.call_extern
  %0 = graph.call_extern "f" "(f32[n]) -> (f32[n])" scalars [] (%x) : tensor<8xf32>
  %1 = graph.call_extern "f" "(f32[n]) -> (f32[n])" scalars [] (%x) : tensor<8xf32>
  %2 = graph.call_extern "g" "(f32[n]) -> (f32[n])" scalars [] (%x) : tensor<8xf32>
  return %0, %1 : tensor<8xf32>, tensor<8xf32>
}

// -----

func.func @other_extents(%x: tensor<8xf32>, %y: tensor<9xf32>) {
  // expected-error @below {{input 1 is [9], by the signature (f32[n], f32[n]) -> (f32[n]) it is [8]}}
  %0 = graph.call_extern "f" "(f32[n], f32[n]) -> (f32[n])" scalars [] (%x, %y) : tensor<8xf32>, tensor<9xf32>
  return
}

// -----

func.func @other_type(%x: tensor<8xi32>) {
  // expected-error @below {{input 0 is i32 of rank 1, the signature (f32[n]) -> (f32[n]) says f32 of rank 1}}
  %0 = graph.call_extern "f" "(f32[n]) -> (f32[n])" scalars [] (%x) : tensor<8xi32>
  return
}

// -----

func.func @missing_scalar(%x: tensor<8xf32>) {
  // expected-error @below {{'scalars' has 0 values for 1 of the signature}}
  %0 = graph.call_extern "f" "(f32[n], a: int) -> (f32[n])" scalars [] (%x) : tensor<8xf32>
  return
}

// -----

func.func @no_signature(%x: tensor<8xf32>) {
  // expected-error @below {{the signature "f32": expected (, found "f32"}}
  %0 = graph.call_extern "f" "f32" scalars [] (%x) : tensor<8xf32>
  return
}
