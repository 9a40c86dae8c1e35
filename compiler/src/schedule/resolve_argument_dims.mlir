// RUN: winze-opt --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(resolve-argument-dims))' %s | FileCheck %s

// The size is an expression over the kernel's dims, as `winze.dims` says; static sizes and those of other tensors stay.
// CHECK: #[[MAP:.*]] = affine_map<()[s0] -> (s0 floordiv 2)>
// CHECK-LABEL: func.func @derived(
// CHECK-DAG: %[[SIZE:.*]] = affine.apply #[[MAP]]()[%arg1]
// CHECK-DAG: %[[OTHER:.*]] = tensor.dim %{{.*}}, %{{.*}} : tensor<?xf32>
// CHECK: return %[[SIZE]], %[[OTHER]]
func.func @derived(%x: tensor<3x?xf32> {winze.dims = affine_map<()[s0] -> (s0 floordiv 2)>}, %n: index) -> (index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = tensor.dim %x, %c1 : tensor<3x?xf32>
  %local = tensor.empty(%n) : tensor<?xf32>
  %1 = tensor.dim %local, %c0 : tensor<?xf32>
  return %0, %1 : index, index
}

// -----

// expected-error @below {{argument 0 lacks a 'winze.dims' that gives dynamic size 0}}
func.func @unknown(%x: tensor<?xf32>) -> index {
  %c0 = arith.constant 0 : index
  %0 = tensor.dim %x, %c0 : tensor<?xf32>
  return %0 : index
}
