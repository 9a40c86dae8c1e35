// RUN: winze-opt --pass-pipeline='builtin.module(launch.program(plan-arena{align=64}))' %s | FileCheck %s
// RUN: not winze-opt --pass-pipeline='builtin.module(launch.program(plan-arena{align=0}))' %s 2>&1 | FileCheck %s --check-prefix=ALIGN
// RUN: winze-opt --pass-pipeline='builtin.module(launch.program(plan-arena{in-place=false}))' %s | FileCheck %s --check-prefix=APART

// ALIGN: option 'align': '0' is no positive number

#none = affine_map<() -> (0)>
#nowhere = affine_map<() -> (-1)>
#rows = affine_map<()[s0] -> (s0, 8)>

// The third buffer takes the place of the first, which is dead: room for two and for rounding up the start of the second, whatever the symbol is.
// APART: #[[TWO:.*]] = affine_map<()[s0] -> (s0 * 64 + 64)>
// CHECK-DAG: #[[ZERO:.*]] = affine_map<() -> (0)>
// CHECK-DAG: #[[ONE:.*]] = affine_map<()[s0] -> (((s0 + 1) floordiv 2) * 64)>
// CHECK-DAG: #[[TWO:.*]] = affine_map<()[s0] -> (s0 * 64 + 64)>
// CHECK-LABEL: launch.program @reuse symbols
// CHECK-SAME: arena #[[TWO]]
// CHECK: launch.arena offset #[[ZERO]] extents
// CHECK-NEXT: launch.arena offset #[[ONE]] extents
// CHECK-NEXT: launch.arena offset #[[ZERO]] extents
launch.program @reuse symbols ["n"] arena #none {
  %x = launch.input 0 extents #rows : memref<?x8xf32>
  %y = launch.output 0 extents #rows : memref<?x8xf32>
  %a = launch.arena offset #nowhere extents #rows : memref<?x8xf32>
  %b = launch.arena offset #nowhere extents #rows : memref<?x8xf32>
  %c = launch.arena offset #nowhere extents #rows : memref<?x8xf32>
  launch.dispatch "f"(%x, %a) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "f"(%a, %b) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "f"(%b, %c) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "f"(%c, %y) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
}

// A dispatch that may run in place overwrites the input that dies there.
// CHECK-LABEL: launch.program @in_place symbols
// CHECK-SAME: arena #[[ONE]]
// CHECK: launch.arena offset #[[ZERO]] extents
// CHECK-NEXT: launch.arena offset #[[ZERO]] extents
// APART-LABEL: launch.program @in_place symbols
// APART-SAME: arena #[[TWO]]
launch.program @in_place symbols ["n"] arena #none {
  %x = launch.input 0 extents #rows : memref<?x8xf32>
  %y = launch.output 0 extents #rows : memref<?x8xf32>
  %a = launch.arena offset #nowhere extents #rows : memref<?x8xf32>
  %b = launch.arena offset #nowhere extents #rows : memref<?x8xf32>
  launch.dispatch "f"(%x, %a) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "g"(%a, %b) outputs 1 symbols [0] nodes [] {winze.in_place = array<i64: 0, 1>} : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "f"(%b, %y) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
}

// What is read later keeps its place.
// CHECK-LABEL: launch.program @alive symbols
// CHECK-SAME: arena #[[TWO]]
// CHECK: launch.arena offset #[[ZERO]] extents
// CHECK-NEXT: launch.arena offset #[[ONE]] extents
launch.program @alive symbols ["n"] arena #none {
  %x = launch.input 0 extents #rows : memref<?x8xf32>
  %y = launch.output 0 extents #rows : memref<?x8xf32>
  %a = launch.arena offset #nowhere extents #rows : memref<?x8xf32>
  %b = launch.arena offset #nowhere extents #rows : memref<?x8xf32>
  launch.dispatch "f"(%x, %a) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "f"(%a, %b) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "h"(%a, %b, %y) outputs 1 symbols [0] nodes [] : memref<?x8xf32>, memref<?x8xf32>, memref<?x8xf32>
}

// A buffer whose extents are found while running has room for the largest: s1 is at most s0.
// CHECK-LABEL: launch.program @found symbols
// CHECK-SAME: arena #[[ONE]]
// CHECK: launch.arena offset #[[ZERO]] extents
launch.program @found symbols ["n", "chosen"] arena #none {
  %x = launch.input 0 extents #rows : memref<?x8xf32>
  %y = launch.output 0 extents affine_map<()[s0, s1] -> (s1, 8)> : memref<?x8xf32>
  %count = launch.symbol 0
  launch.set_symbol 1 to %count bounds affine_map<()[s0] -> (0, s0)> "chosen"
  %a = launch.arena offset #nowhere extents affine_map<()[s0, s1] -> (s1, 8)> : memref<?x8xf32>
  launch.dispatch "f"(%x, %a) outputs 1 symbols [0, 1] nodes [] : memref<?x8xf32>, memref<?x8xf32>
  launch.dispatch "f"(%a, %y) outputs 1 symbols [1, 1] nodes [] : memref<?x8xf32>, memref<?x8xf32>
}
