// RUN: winze-opt --pass-pipeline='builtin.module(spirv.module(spirv-mark-exact))' %s | FileCheck %s

// A sum with a product may be fused, other arithmetic may not be rearranged.
// CHECK: spirv.FMul %{{.*}}, %{{.*}} : f32
// CHECK: spirv.FAdd %{{.*}}, %{{.*}} : f32
// CHECK: spirv.FSub %{{.*}}, %{{.*}} {no_contraction} : f32
spirv.module Logical GLSL450 {
  spirv.func @f(%a: f32, %b: f32, %c: f32) -> f32 "None" {
    %0 = spirv.FMul %a, %b : f32
    %1 = spirv.FAdd %0, %c : f32
    %2 = spirv.FSub %1, %c : f32
    spirv.ReturnValue %2 : f32
  }
}
