// RUN: winze-opt --verify-diagnostics --pass-pipeline='builtin.module(func.func(verify-vulkan-types{profile=vulkan1.1-min}))' %s

// expected-error @below {{type f64 needs SPIR-V capability Float64, which profile vulkan1.1-min does not have}}
func.func @double(%x: f64) -> f64 {
  %0 = arith.addf %x, %x : f64
  return %0 : f64
}
