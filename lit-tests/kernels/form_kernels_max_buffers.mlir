// RUN: winze-opt %s --pass-pipeline='builtin.module(func.func(form-kernels{max-buffers=4}))' | FileCheck %s

// Four operands and a result are too many for one kernel: the first two sums are one, the last another.
// CHECK-LABEL: @sums
// CHECK: %[[AB:.*]] = graph.kernel "elementwise"(%arg0, %arg1, %arg2)
// CHECK: graph.kernel "elementwise"(%[[AB]], %arg3)
func.func @sums(%a: tensor<4xf32>, %b: tensor<4xf32>, %c: tensor<4xf32>, %d: tensor<4xf32>) -> tensor<4xf32> {
  %0 = graph.add %a, %b : tensor<4xf32>
  %1 = graph.add %0, %c : tensor<4xf32>
  %2 = graph.add %1, %d : tensor<4xf32>
  return %2 : tensor<4xf32>
}

// CHECK-LABEL: @parts
// CHECK: graph.concat %{{.*}}, %{{.*}}, %{{.*}} axis 0 : tensor<1xf32>, tensor<2xf32>, tensor<3xf32>
// CHECK: graph.concat %{{.*}}, %{{.*}} axis 0 : tensor<4xf32>, tensor<5xf32>
// CHECK: graph.concat %{{.*}}, %{{.*}} axis 0 : tensor<6xf32>, tensor<9xf32>
func.func @parts(%a: tensor<1xf32>, %b: tensor<2xf32>, %c: tensor<3xf32>, %d: tensor<4xf32>, %e: tensor<5xf32>) -> tensor<15xf32> {
  %0 = graph.concat %a, %b, %c, %d, %e axis 0 : tensor<1xf32>, tensor<2xf32>, tensor<3xf32>, tensor<4xf32>, tensor<5xf32>
  return %0 : tensor<15xf32>
}
