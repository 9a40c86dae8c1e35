// A module that is compiled from a file keeps the file's name in locations and in errors.
// RUN: winze-compiler compile %s --target cpu=x86-64-v3 --emit import | FileCheck %s
// RUN: not winze-compiler compile %s --target vulkan=vulkan1.1-min --emit spirv 2>&1 | FileCheck %s --check-prefix=REFUSED
// RUN: not winze-compiler compile %s.missing.mlir --emit import 2>&1 | FileCheck %s --check-prefix=MISSING

// CHECK: loc("{{.*}}locations.mlir":[[# @LINE + 4]]:
// REFUSED: unsupported: exp at "{{.*}}locations.mlir":[[# @LINE + 3]]:{{[0-9]+}}: element type f64: profile vulkan1.1-min
// MISSING: import: {{.*}}locations.mlir.missing.mlir: No such file
func.func @main(%x: tensor<4xf64>) -> tensor<4xf64> {
  %0 = graph.exp %x : tensor<4xf64>
  return %0 : tensor<4xf64>
}
