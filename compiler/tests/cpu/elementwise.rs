//! Elementwise operations, broadcasts, transpositions, padding.

use crate::payload::*;
use winze_compiler::schedule::{LoopRole, OpClass};

const SYMBOLIC: &str = "winze.dims = affine_map<()[s0, s1] -> (s0, s1)>";

/// `out[i][j] = a[i][j] + b[j] * c[i]`, or with `a` transposed.
fn fused(name: &str, transposed: bool) -> String {
    let map = if transposed { "(j, i)" } else { "(i, j)" };
    let a_dims = if transposed { "winze.dims = affine_map<()[s0, s1] -> (s1, s0)>" } else { SYMBOLIC };
    format!(
        r#"func.func @{name}(%a: tensor<?x?xf32> {{{a_dims}}}, %b: tensor<?xf32> {{winze.dims = affine_map<()[s0, s1] -> (s1)>}},
    %c: tensor<?xf32> {{winze.dims = affine_map<()[s0, s1] -> (s0)>}}, %out: tensor<?x?xf32> {{bufferization.writable = true, {SYMBOLIC}}},
    %s0: index, %s1: index) -> tensor<?x?xf32> {{
  %o = linalg.generic {{indexing_maps = [affine_map<(i, j) -> {map}>, affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i, j)>],
    iterator_types = ["parallel", "parallel"]}} ins(%a, %b, %c : tensor<?x?xf32>, tensor<?xf32>, tensor<?xf32>) outs(%out : tensor<?x?xf32>)
    attrs = {{winze.root}} {{
  ^bb0(%x: f32, %y: f32, %z: f32, %o: f32):
    %p = arith.mulf %y, %z : f32
    %s = arith.addf %x, %p : f32
    linalg.yield %s : f32
  }} -> tensor<?x?xf32>
  return %o : tensor<?x?xf32>
}}"#
    )
}

#[test]
fn broadcasts_and_transpositions_of_unknown_size() {
    for target in targets() {
        let loops = || vec![symbol(0, LoopRole::Free), symbol(1, LoopRole::Free)];
        let units = [false, true].map(|t| {
            let name = format!("fused_{t}");
            unit(&name, OpClass::Elementwise, loops(), &target, fused(&name, t))
        });
        let loaded = load(&units, &target);
        for (rows, columns) in [(1, 1), (3, 5), (16, 16), (17, 31), (40, 67), (100, 8), (5, 300)] {
            let (a, b, c) = (values(rows * columns, 1), values(columns, 2), values(rows, 3));
            for transposed in [false, true] {
                let out = output(rows * columns);
                loaded.call(&format!("fused_{transposed}"), &[raw(&a), raw(&b), raw(&c), raw(&out)], &[rows as i64, columns as i64]);
                let expected: Vec<_> = (0..rows * columns)
                    .map(|i| {
                        let (r, k) = (i / columns, i % columns);
                        a[if transposed { k * rows + r } else { i }] + b[k] * c[r]
                    })
                    .collect();
                assert_output(&format!("{} {rows}x{columns} {transposed}", target.name), &out, &expected, 1e-6);
            }
        }
    }
}

#[test]
fn a_set_flag_stops_a_kernel_between_tiles() {
    for target in targets() {
        let loops = vec![symbol(0, LoopRole::Free), symbol(1, LoopRole::Free)];
        let loaded = load(&[unit("long", OpClass::Elementwise, loops, &target, fused("long", false))], &target);
        let (rows, columns) = (4000, 300);
        let (a, b, c) = (vec![1.0f32; rows * columns], vec![1.0f32; columns], vec![1.0f32; rows]);
        let tiles = loaded.tiles("long", &[rows as i64, columns as i64]);
        let written = |cancel: &dyn Fn(&[f32]) -> *const u32| {
            let out = vec![0f32; rows * columns];
            let flag = cancel(&out);
            loaded.call_range("long", &[raw(&a), raw(&b), raw(&c), raw(&out)], &[rows as i64, columns as i64], 0..tiles, flag);
            out.iter().filter(|x| **x == 2.0).count()
        };
        let (set, unset) = (1u32, 0u32);
        assert!(tiles > 20, "{}: {tiles}", target.name);
        assert_eq!(written(&|_| &unset), rows * columns);
        assert_eq!(written(&|_| &set), 0);
        // The first tile that is written sets this flag.
        let some = written(&|out| out.as_ptr().cast());
        assert!(some > 0 && some < rows * columns / 2, "{}: {some}", target.name);
    }
}

#[test]
fn an_input_may_be_the_output_where_that_is_declared() {
    for target in targets() {
        let loops = vec![symbol(0, LoopRole::Free), symbol(1, LoopRole::Free)];
        let mut kernel = unit("here", OpClass::Elementwise, loops, &target, fused("here", false));
        kernel.in_place = vec![(0, 3)];
        let loaded = load(&[kernel], &target);
        let (rows, columns) = (21, 45);
        let (a, b, c) = (values(rows * columns, 1), values(columns, 2), values(rows, 3));
        let expected: Vec<_> = (0..rows * columns).map(|i| a[i] + b[i % columns] * c[i / columns]).collect();
        let mut out = a;
        out.extend([GUARD; 16]);
        loaded.call("here", &[raw(&out), raw(&b), raw(&c), raw(&out)], &[rows as i64, columns as i64]);
        assert_output(&target.name, &out, &expected, 1e-6);
    }
}

#[test]
fn known_transpositions_use_every_block_size() {
    for target in targets() {
        for (rows, columns) in [(64, 56), (7, 19), (33, 1), (31, 31)] {
            let (source, result) = (format!("tensor<{columns}x{rows}xf32>"), format!("tensor<{rows}x{columns}xf32>"));
            let module = format!(
                r#"func.func @turn(%a: {source}, %out: {result} {{bufferization.writable = true}}) -> {result} {{
  %o = linalg.generic {{indexing_maps = [affine_map<(i, j) -> (j, i)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}}
    ins(%a : {source}) outs(%out : {result}) attrs = {{winze.root}} {{
  ^bb0(%x: f32, %o: f32):
    linalg.yield %x : f32
  }} -> {result}
  return %o : {result}
}}"#
            );
            let loops = vec![constant(rows, LoopRole::Free), constant(columns, LoopRole::Free)];
            let loaded = load(&[unit("turn", OpClass::Copy, loops, &target, module)], &target);
            let (rows, columns) = (rows as usize, columns as usize);
            let a = values(rows * columns, 1);
            let out = output(rows * columns);
            loaded.call("turn", &[raw(&a), raw(&out)], &[]);
            let expected: Vec<_> = (0..rows * columns).map(|i| a[i % columns * rows + i / columns]).collect();
            assert_output(&format!("{} {rows}x{columns}", target.name), &out, &expected, 0.0);
        }
    }
}

/// `out = a + b` for an integer type, which wraps.
#[test]
fn integers_wrap() {
    fn check<T: Copy + PartialEq + std::fmt::Debug>(ty: &str, make: impl Fn(usize) -> T, add: impl Fn(T, T) -> T) {
        for target in targets() {
            let tensor = format!("tensor<37x{ty}>");
            let module = format!(
                r#"func.func @add(%a: {tensor}, %b: {tensor}, %out: {tensor} {{bufferization.writable = true}}) -> {tensor} {{
  %o = linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}}
    ins(%a, %b : {tensor}, {tensor}) outs(%out : {tensor}) attrs = {{winze.root}} {{
  ^bb0(%x: {ty}, %y: {ty}, %o: {ty}):
    %s = arith.addi %x, %y : {ty}
    linalg.yield %s : {ty}
  }} -> {tensor}
  return %o : {tensor}
}}"#
            );
            let loaded = load(&[unit("add", OpClass::Elementwise, vec![constant(37, LoopRole::Free)], &target, module)], &target);
            let (a, b): (Vec<_>, Vec<_>) = ((0..37).map(&make).collect(), (100..137).map(&make).collect());
            let out: Vec<T> = (0..37).map(|_| make(0)).collect();
            loaded.call("add", &[raw(&a), raw(&b), raw(&out)], &[]);
            let expected: Vec<_> = a.iter().zip(&b).map(|(a, b)| add(*a, *b)).collect();
            assert_eq!(out, expected, "{} {ty}", target.name);
        }
    }
    check("i8", |i| (i * 77) as i8, i8::wrapping_add);
    check("i16", |i| (i * 7777) as i16, i16::wrapping_add);
    check("i32", |i| (i * 777_777_777) as i32, i32::wrapping_add);
    check("i64", |i| (i as i64).wrapping_mul(0x7777_7777_7777_7777), i64::wrapping_add);
}

#[test]
fn padding_is_a_fill_and_an_insertion() {
    let module = r#"func.func @pad(%a: tensor<6x5x5xf32>, %out: tensor<6x7x8xf32> {bufferization.writable = true}) -> tensor<6x7x8xf32> {
  %value = arith.constant 0.5 : f32
  %p = tensor.pad %a low[0, 1, 2] high[0, 1, 1] {
  ^bb0(%c: index, %h: index, %w: index):
    tensor.yield %value : f32
  } : tensor<6x5x5xf32> to tensor<6x7x8xf32>
  %o = linalg.generic {indexing_maps = [affine_map<(c, h, w) -> (c, h, w)>, affine_map<(c, h, w) -> (c, h, w)>], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%p : tensor<6x7x8xf32>) outs(%out : tensor<6x7x8xf32>) attrs = {winze.root} {
  ^bb0(%x: f32, %o: f32):
    linalg.yield %x : f32
  } -> tensor<6x7x8xf32>
  return %o : tensor<6x7x8xf32>
}"#;
    for target in targets() {
        let mut unit = unit("pad", OpClass::Pad, [6, 7, 8].map(|size| constant(size, LoopRole::Free)).to_vec(), &target, module.to_owned());
        // The table would take so small a tensor whole.
        (unit.schedule.script, unit.schedule.tile, unit.schedule.grid) = ("pad".to_owned(), vec![2, 0, 0], None);
        let loaded = load(&[unit], &target);
        let a = values(150, 1);
        let out = output(6 * 7 * 8);
        loaded.call("pad", &[raw(&a), raw(&out)], &[]);
        let expected: Vec<_> = (0..6 * 7 * 8)
            .map(|i| {
                let (c, h, w) = (i / 56, i / 8 % 7, i % 8);
                if (1..6).contains(&h) && (2..7).contains(&w) { a[(c * 5 + h - 1) * 5 + w - 2] } else { 0.5 }
            })
            .collect();
        assert_output(&target.name, &out, &expected, 0.0);
    }
}
