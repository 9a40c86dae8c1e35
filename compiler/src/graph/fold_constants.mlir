// RUN: winze compile %s --emit graph --no-cache | FileCheck %s

// Small results stand in the graph, larger ones in the store; a splat is a broadcast.
// CHECK-LABEL: @main
func.func @main(%x: tensor<400xi32>, %y: tensor<20000xf32>) -> (tensor<3xf32>, tensor<400xi32>, tensor<20000xf32>, tensor<20000xf32>) attributes {graph.symbols = []} {
  // CHECK: graph.constant dense<[2.000000e+00, 3.000000e+00, 4.000000e+00]> : tensor<3xf32>
  %0 = graph.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %one = graph.constant dense<1.0> : tensor<f32>
  %1 = graph.broadcast %one axes [] : tensor<f32> -> tensor<3xf32>
  %2 = graph.add %0, %1 : tensor<3xf32>
  // CHECK: %[[IOTA:.*]] = graph.weight "{{.*}}" : tensor<400xi32>
  %3 = graph.iota axis 0 : tensor<400xi32>
  %4 = graph.mul %3, %3 : tensor<400xi32>
  // CHECK: graph.add %arg0, %[[IOTA]]
  %5 = graph.add %x, %4 : tensor<400xi32>
  // CHECK: %[[TWO:.*]] = graph.constant dense<2.000000e+00> : tensor<f32>
  // CHECK: %[[SPLAT:.*]] = graph.broadcast %[[TWO]] axes [] : tensor<f32> -> tensor<20000xf32>
  // CHECK: graph.mul %arg1, %[[SPLAT]]
  %6 = graph.broadcast %one axes [] : tensor<f32> -> tensor<20000xf32>
  %7 = graph.add %6, %6 : tensor<20000xf32>
  %8 = graph.mul %y, %7 : tensor<20000xf32>
  // What would make the artifact larger is computed in the run.
  // CHECK: graph.iota axis 0 : tensor<20000xf32>
  %9 = graph.iota axis 0 : tensor<20000xf32>
  %10 = graph.mul %y, %9 : tensor<20000xf32>
  return %2, %5, %8, %10 : tensor<3xf32>, tensor<400xi32>, tensor<20000xf32>, tensor<20000xf32>
}
