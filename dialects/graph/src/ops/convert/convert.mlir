// RUN: winze-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: winze-opt %s --split-input-file --canonicalize --verify-diagnostics | FileCheck %s --check-prefix=CANONICAL

// CHECK-LABEL: @round_trip
// CANONICAL-LABEL: @round_trip
func.func @round_trip(%a: tensor<4xf32>) -> tensor<4xui8> {
  // CHECK: graph.convert %{{.*}} : tensor<4xf32> -> tensor<4xi32>
  %0 = graph.convert %a : tensor<4xf32> -> tensor<4xi32>
  // CHECK: graph.convert %{{.*}} saturate : tensor<4xi32> -> tensor<4xi8>
  %1 = graph.convert %0 saturate : tensor<4xi32> -> tensor<4xi8>
  // CHECK: graph.convert %{{.*}} : tensor<4xi8> -> tensor<4xi8>
  // CANONICAL-NOT: tensor<4xi8> -> tensor<4xi8>
  %2 = graph.convert %1 : tensor<4xi8> -> tensor<4xi8>
  // CHECK: graph.bitcast %{{.*}} : tensor<4xi8> -> tensor<4xui8>
  %3 = graph.bitcast %2 : tensor<4xi8> -> tensor<4xui8>
  return %3 : tensor<4xui8>
}

// -----

func.func @bitcast_keeps_the_width(%a: tensor<4xf32>) -> tensor<4xi64> {
  // expected-error@+1 {{f32 has 32 bits and i64 has 64; bitcast keeps the width}}
  %0 = graph.bitcast %a : tensor<4xf32> -> tensor<4xi64>
  return %0 : tensor<4xi64>
}
