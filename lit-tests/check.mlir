// RUN: not winze check %s --target cpu=x86-64-v3 --target vulkan=vulkan1.1-min 2>&1 | FileCheck %s
// RUN: not winze check %s --target cpu=x86-64-v3 --target vulkan=vulkan1.1-min --json | FileCheck %s --check-prefix=JSON
// RUN: winze check %s --target cpu=x86-64-v3 | FileCheck %s --check-prefix=FITS

// FITS: cpu=x86-64-v3: supported
// CHECK-DAG: cpu=x86-64-v3: supported
// CHECK-DAG: vulkan=vulkan1.1-min: unsupported (gaps: 1)
// CHECK-DAG: unsupported: exp at precise: {{.*}}f64{{.*}} [target vulkan=vulkan1.1-min]
// JSON: {"supported":false,"targets":[{"gaps":[],"supported":true,"target":"cpu=x86-64-v3"},
// JSON-SAME: {"gaps":[{"node":"precise","op":"exp","opset":null,"why":"{{.*}}f64{{.*}}"}],"supported":false,"target":"vulkan=vulkan1.1-min"}]}
func.func @main(%x: tensor<4xf64> {graph.name = "x"}) -> (tensor<4xf64> {graph.name = "y"}) {
  %0 = graph.exp %x : tensor<4xf64> loc("precise")
  return %0 : tensor<4xf64>
}
