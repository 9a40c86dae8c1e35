// `winze opt` knows every dialect of the compiler, MLIR's own passes, and ours in one pipeline.
// RUN: winze-opt %s | winze-opt | FileCheck %s
// RUN: winze-opt --pass-pipeline='builtin.module(cse,func.func(form-kernels))' %s | FileCheck %s --check-prefix=KERNELS
// RUN: not winze-opt --pass-pipeline='builtin.module(no-such-pass)' %s 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// CHECK-LABEL: func.func @main
// CHECK: graph.exp %{{.*}} : tensor<4xf32>
// CHECK-NEXT: graph.exp
// KERNELS-LABEL: func.func @main
// KERNELS-COUNT-1: graph.exp
// KERNELS-NOT: graph.exp
// UNKNOWN: no-such-pass
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = graph.exp %x : tensor<4xf32>
  %1 = graph.exp %x : tensor<4xf32>
  %2 = graph.add %0, %1 : tensor<4xf32>
  return %2 : tensor<4xf32>
}
