// RUN: winze-opt %s | winze-opt | FileCheck %s

// CHECK-LABEL: func.func @f
// CHECK: graph.append %{{.*}}, %{{.*}} starts #{{.*}} : tensor<2x8x4xf32>, tensor<2x?x4xf32, #{{.*}}>
func.func @f(%state: tensor<2x8x4xf32>, %rows: tensor<2x?x4xf32, affine_map<()[s0] -> (s0)>>) -> tensor<2x8x4xf32>
    attributes {graph.symbols = ["n", "p"]} {
  %0 = graph.append %state, %rows starts affine_map<()[s0, s1] -> (0, s1, 0)> : tensor<2x8x4xf32>, tensor<2x?x4xf32, affine_map<()[s0] -> (s0)>>
  return %0 : tensor<2x8x4xf32>
}
