// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: winze-opt %s --split-input-file --canonicalize --verify-diagnostics | FileCheck %s --check-prefix=CANONICAL

// CHECK-LABEL: @round_trip
func.func @round_trip(%a: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>, %b: tensor<?x3xf32, affine_map<()[s0] -> (s0)>>) -> tensor<?x3xi1, affine_map<()[s0] -> (s0)>> {
  // CHECK: graph.tanh %{{.*}} : tensor<?x3xf32, #map>
  %0 = graph.tanh %a : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.add %{{.*}}, %{{.*}} : tensor<?x3xf32, #map>
  %1 = graph.add %0, %b : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: %[[C:.*]] = graph.lt
  %2 = graph.lt %1, %b : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.select %[[C]], %{{.*}}, %{{.*}} : tensor<?x3xi1, #map>, tensor<?x3xf32, #map>
  %3 = graph.select %2, %1, %b : tensor<?x3xi1, affine_map<()[s0] -> (s0)>>, tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  // CHECK: graph.is_nan
  %4 = graph.is_nan %3 : tensor<?x3xf32, affine_map<()[s0] -> (s0)>>
  return %4 : tensor<?x3xi1, affine_map<()[s0] -> (s0)>>
}

// -----

func.func @functions_take_floats(%a: tensor<2xi32>) -> tensor<2xi32> {
  // expected-error@+1 {{operand #0 must be ranked tensor of float values}}
  %0 = "graph.exp"(%a) : (tensor<2xi32>) -> tensor<2xi32>
  return %0 : tensor<2xi32>
}

// -----

func.func @shapes_are_equal(%a: tensor<2xf32>, %b: tensor<3xf32>) -> tensor<2xf32> {
  // expected-error@+1 {{must have the same shape}}
  %0 = "graph.add"(%a, %b) : (tensor<2xf32>, tensor<3xf32>) -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

// What changes nothing goes: multiplying by one, subtracting zero. Adding zero makes -0 into 0.
// CANONICAL-LABEL: @neutral(
// CANONICAL-SAME: %[[X:.*]]: tensor<2x3xf32>, %[[N:.*]]: tensor<3xi64>)
func.func @neutral(%x: tensor<2x3xf32>, %n: tensor<3xi64>) -> (tensor<2x3xf32>, tensor<2x3xf32>, tensor<3xi64>) {
  %one = graph.constant dense<1.0> : tensor<2x1xf32>
  %ones = graph.broadcast %one axes [0, 1] : tensor<2x1xf32> -> tensor<2x3xf32>
  %zeros = graph.constant dense<0.0> : tensor<2x3xf32>
  %negative = graph.constant dense<-0.0> : tensor<2x3xf32>
  %none = graph.constant dense<0> : tensor<3xi64>
  %all = graph.constant dense<-1> : tensor<3xi64>
  %0 = graph.mul %ones, %x : tensor<2x3xf32>
  %1 = graph.div %0, %ones : tensor<2x3xf32>
  %2 = graph.pow %1, %ones : tensor<2x3xf32>
  %3 = graph.sub %2, %zeros : tensor<2x3xf32>
  %4 = graph.add %3, %negative : tensor<2x3xf32>
  %5 = graph.add %4, %zeros : tensor<2x3xf32>
  %6 = graph.and %n, %all : tensor<3xi64>
  %7 = graph.or %6, %none : tensor<3xi64>
  %8 = graph.shl %7, %none : tensor<3xi64>
  // CANONICAL: %[[SUM:.*]] = graph.add %[[X]],
  // CANONICAL: return %[[X]], %[[SUM]], %[[N]]
  return %4, %5, %8 : tensor<2x3xf32>, tensor<2x3xf32>, tensor<3xi64>
}
