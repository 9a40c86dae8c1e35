//! Reductions, pooling and passes over rows.

use crate::payload::*;
use winze_compiler::schedule::{LoopRole, OpClass};

/// Reduces `tensor<?xNxf32>` along one dim with `combine`, starting from `start`.
fn reduce(name: &str, width: i64, along_rows: bool, combine: &str, start: &str) -> String {
    let (map, iterators, out, out_dims) = if along_rows {
        ("(i)", "\"parallel\", \"reduction\"", "tensor<?xf32>".to_owned(), "winze.dims = affine_map<()[s0] -> (s0)>, ")
    } else {
        ("(j)", "\"reduction\", \"parallel\"", format!("tensor<{width}xf32>"), "")
    };
    let a = format!("tensor<?x{width}xf32>");
    format!(
        r#"func.func @{name}(%a: {a} {{winze.dims = affine_map<()[s0] -> (s0)>}}, %out: {out} {{{out_dims}bufferization.writable = true}}, %m: index) -> {out} {{
  %start = arith.constant {start} : f32
  %f = linalg.fill ins(%start : f32) outs(%out : {out}) -> {out}
  %o = linalg.generic {{indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> {map}>], iterator_types = [{iterators}]}}
    ins(%a : {a}) outs(%f : {out}) attrs = {{winze.root}} {{
  ^bb0(%x: f32, %z: f32):
    %r = {combine} %x, %z : f32
    linalg.yield %r : f32
  }} -> {out}
  return %o : {out}
}}"#
    )
}

#[test]
fn sums_and_maxima_along_both_dims() {
    let mut problems = vec![];
    for width in [1, 7, 16, 63, 200] {
        for along_rows in [true, false] {
            problems.push((width, along_rows, "arith.addf", "0.0"));
            problems.push((width, along_rows, "arith.maximumf", "0xFF800000"));
        }
    }
    let name = |(width, along_rows, combine, _): &(i64, bool, &str, &str)| format!("{}_{width}_{along_rows}", combine.replace('.', "_"));
    for target in targets() {
        let units: Vec<_> = problems
            .iter()
            .map(|problem| {
                let (width, along_rows, combine, start) = *problem;
                let (rows, columns) = if along_rows { (LoopRole::Free, LoopRole::Whole) } else { (LoopRole::Whole, LoopRole::Free) };
                let module = reduce(&name(problem), width, along_rows, combine, start);
                unit(&name(problem), OpClass::Reduction, vec![symbol(0, rows), constant(width, columns)], &target, module)
            })
            .collect();
        let loaded = load(&units, &target);
        for problem in &problems {
            let (width, along_rows, combine, _) = *problem;
            let width = width as usize;
            for m in [1, 5, 33] {
                let a = values(m * width, 1);
                let count = if along_rows { m } else { width };
                let out = output(count);
                loaded.call(&name(problem), &[raw(&a), raw(&out)], &[m as i64]);
                let expected: Vec<f32> = (0..count)
                    .map(|i| {
                        let run: Vec<_> =
                            if along_rows { a[i * width..][..width].to_vec() } else { (0..m).map(|r| a[r * width + i]).collect() };
                        if combine == "arith.addf" { run.iter().sum() } else { run.iter().copied().fold(f32::NEG_INFINITY, f32::max) }
                    })
                    .collect();
                assert_output(&format!("{} {} m={m}", target.name, name(problem)), &out, &expected, 1e-6);
            }
        }
    }
}

#[test]
fn a_maximum_propagates_nan() {
    for target in targets() {
        let module = reduce("maximum", 40, true, "arith.maximumf", "0xFF800000");
        let loops = vec![symbol(0, LoopRole::Free), constant(40, LoopRole::Whole)];
        let loaded = load(&[unit("maximum", OpClass::Reduction, loops, &target, module)], &target);
        for at in [0, 17, 39] {
            let mut a = values(40, 1);
            a[at] = f32::NAN;
            let out = output(1);
            loaded.call("maximum", &[raw(&a), raw(&out)], &[1]);
            assert!(out[0].is_nan(), "{}: NaN at {at} is lost", target.name);
        }
    }
}

/// Softmax along the second dim; `width` 0 is unknown.
fn softmax(name: &str, width: i64) -> String {
    let (rows, dims, width, argument) = match width {
        0 => ("tensor<?x?xf32>".to_owned(), "winze.dims = affine_map<()[s0, s1] -> (s0, s1)>", ", %n", ", %n: index"),
        _ => (format!("tensor<?x{width}xf32>"), "winze.dims = affine_map<()[s0] -> (s0)>", "", ""),
    };
    format!(
        r#"#all = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
func.func @{name}(%a: {rows} {{{dims}}}, %out: {rows} {{bufferization.writable = true, {dims}}}, %m: index{argument}) -> {rows} {{
  %zero = arith.constant 0.0 : f32
  %lowest = arith.constant 0xFF800000 : f32
  %e = tensor.empty(%m) : tensor<?xf32>
  %f = linalg.fill ins(%lowest : f32) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  %max = linalg.generic {{indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}} ins(%a : {rows}) outs(%f : tensor<?xf32>) {{
  ^bb0(%x: f32, %z: f32):
    %r = arith.maximumf %x, %z : f32
    linalg.yield %r : f32
  }} -> tensor<?xf32>
  %e2 = tensor.empty(%m{width}) : {rows}
  %exp = linalg.generic {{indexing_maps = [#all, #row, #all], iterator_types = ["parallel", "parallel"]}} ins(%a, %max : {rows}, tensor<?xf32>) outs(%e2 : {rows}) {{
  ^bb0(%x: f32, %y: f32, %z: f32):
    %d = arith.subf %x, %y : f32
    %r = math.exp %d : f32
    linalg.yield %r : f32
  }} -> {rows}
  %g = linalg.fill ins(%zero : f32) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  %sum = linalg.generic {{indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}} ins(%exp : {rows}) outs(%g : tensor<?xf32>) {{
  ^bb0(%x: f32, %z: f32):
    %r = arith.addf %x, %z : f32
    linalg.yield %r : f32
  }} -> tensor<?xf32>
  %o = linalg.generic {{indexing_maps = [#all, #row, #all], iterator_types = ["parallel", "parallel"]}} ins(%exp, %sum : {rows}, tensor<?xf32>) outs(%out : {rows})
    attrs = {{winze.root}} {{
  ^bb0(%x: f32, %y: f32, %z: f32):
    %r = arith.divf %x, %y : f32
    linalg.yield %r : f32
  }} -> {rows}
  return %o : {rows}
}}"#
    )
}

#[test]
fn softmax_of_known_and_unknown_rows() {
    for target in targets() {
        let fixed = vec![symbol(0, LoopRole::Free), constant(100, LoopRole::Whole)];
        let free = vec![symbol(0, LoopRole::Free), symbol(1, LoopRole::Whole)];
        let units = [
            unit("fixed", OpClass::Normalization, fixed, &target, softmax("fixed", 100)),
            unit("free", OpClass::Normalization, free, &target, softmax("free", 0)),
        ];
        let loaded = load(&units, &target);
        for (name, m, width) in [("fixed", 1, 100), ("fixed", 500, 100), ("free", 1, 1), ("free", 37, 11), ("free", 50, 3000)] {
            let a = values(m * width, 1);
            let out = output(m * width);
            let dims = [m as i64, width as i64];
            loaded.call(name, &[raw(&a), raw(&out)], if name == "fixed" { &dims[..1] } else { &dims });
            let mut expected = vec![];
            for row in a.chunks(width) {
                let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = row.iter().map(|x| f64::from(x - max).exp()).sum();
                expected.extend(row.iter().map(|x| (f64::from(x - max).exp() / sum) as f32));
            }
            assert_output(&format!("{} {name} {m}x{width}", target.name), &out, &expected, 1e-6);
        }
    }
}

#[test]
fn pooling_with_strides() {
    let module = r#"func.func @pool(%a: tensor<6x17x17xf32>, %window: tensor<3x3xf32>, %out: tensor<6x8x8xf32> {bufferization.writable = true}) -> tensor<6x8x8xf32> {
  %lowest = arith.constant 0xFF800000 : f32
  %f = linalg.fill ins(%lowest : f32) outs(%out : tensor<6x8x8xf32>) -> tensor<6x8x8xf32>
  %o = linalg.generic {indexing_maps = [affine_map<(c, h, w, kh, kw) -> (c, h * 2 + kh, w * 2 + kw)>, affine_map<(c, h, w, kh, kw) -> (kh, kw)>,
      affine_map<(c, h, w, kh, kw) -> (c, h, w)>], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction"]}
    ins(%a, %window : tensor<6x17x17xf32>, tensor<3x3xf32>) outs(%f : tensor<6x8x8xf32>) attrs = {winze.root} {
  ^bb0(%x: f32, %y: f32, %z: f32):
    %r = arith.maximumf %x, %z : f32
    linalg.yield %r : f32
  } -> tensor<6x8x8xf32>
  return %o : tensor<6x8x8xf32>
}"#;
    for target in targets() {
        let loops =
            [6, 8, 8].map(|size| constant(size, LoopRole::Free)).into_iter().chain([3, 3].map(|size| constant(size, LoopRole::Whole)));
        let mut unit = unit("pool", OpClass::Pooling, loops.collect(), &target, module.to_owned());
        (unit.schedule.script, unit.schedule.tile, unit.schedule.grid) = ("tile".to_owned(), vec![4, 3, 0, 0, 0], None);
        let loaded = load(&[unit], &target);
        let (a, window) = (values(6 * 17 * 17, 1), vec![0.0f32; 9]);
        let out = output(6 * 64);
        loaded.call("pool", &[raw(&a), raw(&window), raw(&out)], &[]);
        let expected: Vec<_> = (0..6 * 64)
            .map(|i| {
                let (c, h, w) = (i / 64, i / 8 % 8, i % 8);
                (0..9).map(|k| a[(c * 17 + h * 2 + k / 3) * 17 + w * 2 + k % 3]).fold(f32::NEG_INFINITY, f32::max)
            })
            .collect();
        assert_output(&target.name, &out, &expected, 0.0);
    }
}
