// RUN: winze-opt %s --split-input-file --verify-diagnostics | winze-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @forest
func.func @forest(%x: tensor<?x4xf32, affine_map<()[s0] -> (s0)>>, %t: tensor<5xf32>, %n: tensor<5x4xi32>, %r: tensor<2xi32>) -> tensor<?x2xi32, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.tree_leaf %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} depth 2 : tensor<?x4xf32, #{{.*}}>, tensor<5xf32>, tensor<5x4xi32>, tensor<2xi32>
  %0 = graph.tree_leaf %x, %t, %n, %r depth 2 : tensor<?x4xf32, affine_map<()[s0] -> (s0)>>, tensor<5xf32>, tensor<5x4xi32>, tensor<2xi32>
  return %0 : tensor<?x2xi32, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @four_entries(%x: tensor<3x4xf32>, %t: tensor<5xf32>, %n: tensor<5x3xi32>, %r: tensor<2xi32>) -> tensor<3x2xi32> {
  // expected-error@+1 {{the table of nodes is 5 x 3; each of 5 thresholds has 4 entries}}
  %0 = graph.tree_leaf %x, %t, %n, %r depth 2 : tensor<3x4xf32>, tensor<5xf32>, tensor<5x3xi32>, tensor<2xi32>
  return %0 : tensor<3x2xi32>
}

// -----

func.func @one_type(%x: tensor<3x4xf64>, %t: tensor<5xf32>, %n: tensor<5x4xi32>, %r: tensor<2xi32>) -> tensor<3x2xi32> {
  // expected-error@+1 {{features of f64 are compared with thresholds of f32}}
  %0 = graph.tree_leaf %x, %t, %n, %r depth 2 : tensor<3x4xf64>, tensor<5xf32>, tensor<5x4xi32>, tensor<2xi32>
  return %0 : tensor<3x2xi32>
}
