// RUN: not winze-opt --pass-pipeline='builtin.module(launch.program(plan-arena))' %s 2>&1 | FileCheck %s

// CHECK: plan-arena: winze.in_place of "f" names the arguments 0 and 2, which it lacks
launch.program @main symbols ["n"] arena affine_map<() -> (0)> {
  %x = launch.input 0 extents affine_map<()[s0] -> (s0)> : memref<?xf32>
  %y = launch.output 0 extents affine_map<()[s0] -> (s0)> : memref<?xf32>
  launch.dispatch "f"(%x, %y) outputs 1 symbols [0] nodes [] {winze.in_place = array<i64: 0, 2>} : memref<?xf32>, memref<?xf32>
}
