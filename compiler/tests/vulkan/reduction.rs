//! Pooling, reductions, softmax, arg-max.

use crate::harness::{DESKTOP, Data, MIN, Random, assert_close, on_profiles};
use winze_runtime::artifact::manifest::ElementType::{F32, I64};

const MAX_POOL: &str = r#"
func.func @max_pool(%x: tensor<?x2x7x7xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %out: tensor<?x2x4x4xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> tensor<?x2x4x4xf32> {
  %low = arith.constant 0xFF800000 : f32
  %p = tensor.pad %x low[0, 0, 1, 1] high[0, 0, 1, 1] {
  ^bb0(%i: index, %j: index, %k: index, %l: index):
    tensor.yield %low : f32
  } : tensor<?x2x7x7xf32> to tensor<?x2x9x9xf32>
  %window = tensor.empty() : tensor<3x3xf32>
  %init = linalg.fill ins(%low : f32) outs(%out : tensor<?x2x4x4xf32>) -> tensor<?x2x4x4xf32>
  %r = linalg.pooling_nchw_max {winze.root, strides = dense<2> : tensor<2xi64>, dilations = dense<1> : tensor<2xi64>}
    ins(%p, %window : tensor<?x2x9x9xf32>, tensor<3x3xf32>) outs(%init : tensor<?x2x4x4xf32>) -> tensor<?x2x4x4xf32>
  return %r : tensor<?x2x4x4xf32>
}"#;

#[test]
fn max_pool_keeps_nan() {
    on_profiles(MAX_POOL, &[MIN, DESKTOP], |kernel, profile| {
        for n in [1usize, 4] {
            let mut x = Random::new(n as u64).floats(n * 98);
            x[30] = f32::NAN;
            let got = kernel.run(&[n as i64], &[Data::of(&x)], &[(F32, n * 32)]);
            let mut want = vec![];
            for plane in x.chunks(49) {
                for (oy, ox) in (0..4).flat_map(|y| (0..4).map(move |x| (y, x))) {
                    let mut max = f32::NEG_INFINITY;
                    for (y, x) in (0..3).flat_map(|y| (0..3).map(move |x| (oy * 2 + y, ox * 2 + x))) {
                        if (1..8).contains(&y) && (1..8).contains(&x) {
                            let v = plane[(y - 1) * 7 + x - 1];
                            max = if v.is_nan() || max.is_nan() { f32::NAN } else { max.max(v) };
                        }
                    }
                    want.push(max);
                }
            }
            assert_close(&got[0].to::<f32>(), &want, 0.0, &format!("{profile} n={n}"));
        }
    });
}

/// Softmax over the middle axis of three: max, exp and sum, divide.
const SOFTMAX: &str = r#"
#all = affine_map<(i, j, k) -> (i, j, k)>
#row = affine_map<(i, j, k) -> (i, k)>
func.func @softmax(%x: tensor<?x?x3xf32> {winze.dims = affine_map<()[s0, s1] -> (s0, s1)>},
    %out: tensor<?x?x3xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0, s1] -> (s0, s1)>}, %n: index, %m: index) -> tensor<?x?x3xf32> {
  %low = arith.constant 0xFF800000 : f32
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty(%n) : tensor<?x3xf32>
  %i1 = linalg.fill ins(%low : f32) outs(%e : tensor<?x3xf32>) -> tensor<?x3xf32>
  %max = linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction", "parallel"]}
      ins(%x : tensor<?x?x3xf32>) outs(%i1 : tensor<?x3xf32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.maximumf %a, %b : f32
    linalg.yield %c : f32
  } -> tensor<?x3xf32>
  %exp = linalg.generic {indexing_maps = [#all, #row, #all], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x, %max : tensor<?x?x3xf32>, tensor<?x3xf32>) outs(%out : tensor<?x?x3xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %c = arith.subf %a, %b : f32
    %d = math.exp %c : f32
    linalg.yield %d : f32
  } -> tensor<?x?x3xf32>
  %i2 = linalg.fill ins(%zero : f32) outs(%e : tensor<?x3xf32>) -> tensor<?x3xf32>
  %sum = linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction", "parallel"]}
      ins(%exp : tensor<?x?x3xf32>) outs(%i2 : tensor<?x3xf32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    linalg.yield %c : f32
  } -> tensor<?x3xf32>
  %r = linalg.generic {winze.root, indexing_maps = [#all, #row, #all], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%exp, %sum : tensor<?x?x3xf32>, tensor<?x3xf32>) outs(%out : tensor<?x?x3xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %c = arith.divf %a, %b : f32
    linalg.yield %c : f32
  } -> tensor<?x?x3xf32>
  return %r : tensor<?x?x3xf32>
}"#;

#[test]
fn softmax_over_any_axis() {
    on_profiles(SOFTMAX, &[MIN, DESKTOP], |kernel, profile| {
        for (n, m) in [(1usize, 1usize), (3, 10), (70, 5), (0, 4), (2, 0)] {
            let x: Vec<f32> = Random::new(5).floats(n * m * 3).iter().map(|v| v * 20.0).collect();
            let got = kernel.run(&[n as i64, m as i64], &[Data::of(&x)], &[(F32, n * m * 3)]);
            let mut want = vec![0.0; n * m * 3];
            for (i, k) in (0..n).flat_map(|i| (0..3).map(move |k| (i, k))) {
                let at = |j: usize| (i * m + j) * 3 + k;
                let max = (0..m).map(|j| x[at(j)]).fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = (0..m).map(|j| (x[at(j)] - max).exp()).sum();
                (0..m).for_each(|j| want[at(j)] = (x[at(j)] - max).exp() / sum);
            }
            assert_close(&got[0].to::<f32>(), &want, 1e-5, &format!("{profile} n={n} m={m}"));
        }
    });
}

/// Mean and sum of squares in one kernel: two results of different shapes.
const TWO_RESULTS: &str = r#"
func.func @two_results(%x: tensor<?x6xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %mean: tensor<?xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>},
    %square: tensor<?x6xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> (tensor<?xf32>, tensor<?x6xf32>) {
  %zero = arith.constant 0.0 : f32
  %six = arith.constant 6.0 : f32
  %i = linalg.fill ins(%zero : f32) outs(%mean : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.reduce ins(%x : tensor<?x6xf32>) outs(%i : tensor<?xf32>) dimensions = [1] (%a: f32, %b: f32) {
    %c = arith.addf %a, %b : f32
    linalg.yield %c : f32
  }
  %m = linalg.map ins(%s : tensor<?xf32>) outs(%mean : tensor<?xf32>) (%a: f32, %o: f32) {
    %c = arith.divf %a, %six : f32
    linalg.yield %c : f32
  }
  %q = arith.mulf %x, %x : tensor<?x6xf32>
  return %m, %q : tensor<?xf32>, tensor<?x6xf32>
}"#;

#[test]
fn results_of_different_shapes() {
    on_profiles(TWO_RESULTS, &[MIN], |kernel, _| {
        for n in [0usize, 1, 33, 200] {
            let x = Random::new(6).floats(n * 6);
            let got = kernel.run(&[n as i64], &[Data::of(&x)], &[(F32, n), (F32, n * 6)]);
            let mean: Vec<f32> = x.chunks(6).map(|r| r.iter().sum::<f32>() / 6.0).collect();
            let square: Vec<f32> = x.iter().map(|v| v * v).collect();
            assert_close(&got[0].to::<f32>(), &mean, 1e-6, "mean");
            assert_close(&got[1].to::<f32>(), &square, 0.0, "square");
        }
    });
}

/// Value and position of the largest element: a reduction with two results, one of them i64.
const ARG_MAX: &str = r#"
func.func @arg_max(%x: tensor<?x9xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %value: tensor<?xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>},
    %position: tensor<?xi64> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> (tensor<?xf32>, tensor<?xi64>) {
  %low = arith.constant 0xFF800000 : f32
  %none = arith.constant -1 : i64
  %i = linalg.fill ins(%low : f32) outs(%value : tensor<?xf32>) -> tensor<?xf32>
  %j = linalg.fill ins(%none : i64) outs(%position : tensor<?xi64>) -> tensor<?xi64>
  %r:2 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i)>],
      iterator_types = ["parallel", "reduction"]} ins(%x : tensor<?x9xf32>) outs(%i, %j : tensor<?xf32>, tensor<?xi64>) {
  ^bb0(%a: f32, %best: f32, %at: i64):
    %here = linalg.index 1 : index
    %p = arith.index_cast %here : index to i64
    %greater = arith.cmpf ogt, %a, %best : f32
    %v = arith.select %greater, %a, %best : f32
    %q = arith.select %greater, %p, %at : i64
    linalg.yield %v, %q : f32, i64
  } -> (tensor<?xf32>, tensor<?xi64>)
  return %r#0, %r#1 : tensor<?xf32>, tensor<?xi64>
}"#;

#[test]
fn arg_max_carries_two_values() {
    on_profiles(ARG_MAX, &[MIN, DESKTOP], |kernel, profile| {
        let n = 50;
        let x = Random::new(7).floats(n * 9);
        let got = kernel.run(&[n as i64], &[Data::of(&x)], &[(F32, n), (I64, n)]);
        let best = |r: &[f32]| (0..9).fold(0, |b, j| if r[j] > r[b] { j } else { b });
        let positions: Vec<i64> = x.chunks(9).map(|r| best(r) as i64).collect();
        let values: Vec<f32> = x.chunks(9).map(|r| r[best(r)]).collect();
        assert_eq!(got[0].to::<f32>(), values, "{profile}");
        assert_eq!(got[1].to::<i64>(), positions, "{profile}");
    });
}

/// Everything to one number, rank 0, then applied to every element: a reduction that all iterations share.
const SHARED: &str = r#"
func.func @shared(%x: tensor<?x3xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %scale: tensor<f32>,
    %total: tensor<f32> {bufferization.writable = true},
    %out: tensor<?x3xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> (tensor<f32>, tensor<?x3xf32>) {
  %zero = arith.constant 0.0 : f32
  %i = linalg.fill ins(%zero : f32) outs(%total : tensor<f32>) -> tensor<f32>
  %s = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> ()>, affine_map<(i, j) -> ()>],
      iterator_types = ["reduction", "reduction"]} ins(%x, %scale : tensor<?x3xf32>, tensor<f32>) outs(%i : tensor<f32>) {
  ^bb0(%a: f32, %k: f32, %b: f32):
    %p = arith.mulf %a, %k : f32
    %c = arith.addf %p, %b : f32
    linalg.yield %c : f32
  } -> tensor<f32>
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> ()>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]} ins(%x, %s : tensor<?x3xf32>, tensor<f32>) outs(%out : tensor<?x3xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %c = arith.subf %a, %b : f32
    linalg.yield %c : f32
  } -> tensor<?x3xf32>
  return %s, %r : tensor<f32>, tensor<?x3xf32>
}"#;

#[test]
fn a_number_shared_by_all() {
    on_profiles(SHARED, &[MIN], |kernel, _| {
        for n in [0usize, 1, 100] {
            let x = Random::new(8).floats(n * 3);
            let got = kernel.run(&[n as i64], &[Data::of(&x), Data::of(&[0.25f32])], &[(F32, 1), (F32, n * 3)]);
            let sum: f32 = x.iter().map(|v| v * 0.25).sum();
            assert_close(&got[0].to::<f32>(), &[sum], 1e-5, &format!("n={n}"));
            assert_close(&got[1].to::<f32>(), &x.iter().map(|v| v - sum).collect::<Vec<_>>(), 1e-5, &format!("n={n}"));
        }
    });
}

/// Layer norm: mean, variance, scale and shift; the variance uses the mean inside its loop.
const LAYER_NORM: &str = r#"
#all = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
#column = affine_map<(i, j) -> (j)>
func.func @layer_norm(%x: tensor<?x33xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %g: tensor<33xf32>, %b: tensor<33xf32>,
    %out: tensor<?x33xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> tensor<?x33xf32> {
  %zero = arith.constant 0.0 : f32
  %count = arith.constant 33.0 : f32
  %eps = arith.constant 1.0e-5 : f32
  %e = tensor.empty(%n) : tensor<?xf32>
  %i = linalg.fill ins(%zero : f32) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]} ins(%x : tensor<?x33xf32>) outs(%i : tensor<?xf32>) {
  ^bb0(%a: f32, %acc: f32):
    %c = arith.addf %a, %acc : f32
    linalg.yield %c : f32
  } -> tensor<?xf32>
  %v = linalg.generic {indexing_maps = [#all, #row, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x, %s : tensor<?x33xf32>, tensor<?xf32>) outs(%i : tensor<?xf32>) {
  ^bb0(%a: f32, %sum: f32, %acc: f32):
    %mean = arith.divf %sum, %count : f32
    %d = arith.subf %a, %mean : f32
    %q = arith.mulf %d, %d : f32
    %c = arith.addf %q, %acc : f32
    linalg.yield %c : f32
  } -> tensor<?xf32>
  %r = linalg.generic {indexing_maps = [#all, #row, #row, #column, #column, #all], iterator_types = ["parallel", "parallel"]}
      ins(%x, %s, %v, %g, %b : tensor<?x33xf32>, tensor<?xf32>, tensor<?xf32>, tensor<33xf32>, tensor<33xf32>) outs(%out : tensor<?x33xf32>) {
  ^bb0(%a: f32, %sum: f32, %square: f32, %gamma: f32, %beta: f32, %o: f32):
    %mean = arith.divf %sum, %count : f32
    %d = arith.subf %a, %mean : f32
    %variance = arith.divf %square, %count : f32
    %w = arith.addf %variance, %eps : f32
    %k = math.rsqrt %w : f32
    %p = arith.mulf %d, %k : f32
    %q = arith.mulf %p, %gamma : f32
    %t = arith.addf %q, %beta : f32
    linalg.yield %t : f32
  } -> tensor<?x33xf32>
  return %r : tensor<?x33xf32>
}"#;

#[test]
fn layer_norm_computes_each_row_once() {
    on_profiles(LAYER_NORM, &[MIN, DESKTOP], |kernel, profile| {
        for n in [0usize, 1, 70] {
            let mut random = Random::new(9);
            let (x, g, b) = (random.floats(n * 33), random.floats(33), random.floats(33));
            let got = kernel.run(&[n as i64], &[Data::of(&x), Data::of(&g), Data::of(&b)], &[(F32, n * 33)]);
            let want: Vec<f32> = x
                .chunks(33)
                .flat_map(|r| {
                    let mean = r.iter().sum::<f32>() / 33.0;
                    let variance = r.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 33.0;
                    (0..33).map(|j| (r[j] - mean) / (variance + 1e-5).sqrt() * g[j] + b[j]).collect::<Vec<_>>()
                })
                .collect();
            assert_close(&got[0].to::<f32>(), &want, 1e-4, &format!("{profile} n={n}"));
        }
    });
}

/// What every element of a plane is above the smallest: two passes over the plane by one invocation, of 60,200 turns each.
const ABOVE_SMALLEST: &str = r#"
#all = affine_map<(i, j, k) -> (i, j, k)>
#plane = affine_map<(i, j, k) -> (i)>
func.func @above_smallest(%x: tensor<?x200x301xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %out: tensor<?x200x301xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> tensor<?x200x301xf32> {
  %high = arith.constant 0x7F800000 : f32
  %e = tensor.empty(%n) : tensor<?xf32>
  %init = linalg.fill ins(%high : f32) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  %min = linalg.generic {indexing_maps = [#all, #plane], iterator_types = ["parallel", "reduction", "reduction"]}
      ins(%x : tensor<?x200x301xf32>) outs(%init : tensor<?xf32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.minimumf %a, %b : f32
    linalg.yield %c : f32
  } -> tensor<?xf32>
  %r = linalg.generic {indexing_maps = [#all, #plane, #all], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x, %min : tensor<?x200x301xf32>, tensor<?xf32>) outs(%out : tensor<?x200x301xf32>) attrs = {winze.root} {
  ^bb0(%a: f32, %m: f32, %o: f32):
    %c = arith.subf %a, %m : f32
    linalg.yield %c : f32
  } -> tensor<?x200x301xf32>
  return %r : tensor<?x200x301xf32>
}"#;

#[test]
fn loops_of_more_turns_than_drivers_allow() {
    on_profiles(ABOVE_SMALLEST, &[MIN, DESKTOP], |kernel, profile| {
        let n = 2;
        let mut x = Random::new(7).floats(n * 60_200);
        x[60_199] = -3.0; // the smallest of the first plane comes last
        let got = kernel.run(&[n as i64], &[Data::of(&x)], &[(F32, x.len())]);
        let want: Vec<f32> = x
            .chunks(60_200)
            .flat_map(|plane| {
                let min = plane.iter().copied().fold(f32::INFINITY, f32::min);
                plane.iter().map(move |v| v - min)
            })
            .collect();
        assert_close(&got[0].to::<f32>(), &want, 0.0, profile);
    });
}

const LONG_SUM: &str = r#"
func.func @long_sum(%x: tensor<2x70001xf32>, %out: tensor<2xf32> {bufferization.writable = true}) -> tensor<2xf32> {
  %zero = arith.constant 0.0 : f32
  %init = linalg.fill ins(%zero : f32) outs(%out : tensor<2xf32>) -> tensor<2xf32>
  %r = linalg.reduce ins(%x : tensor<2x70001xf32>) outs(%init : tensor<2xf32>) dimensions = [1]
    (%a: f32, %b: f32) {
      %c = arith.addf %a, %b : f32
      linalg.yield %c : f32
    }
  return %r : tensor<2xf32>
}"#;

#[test]
fn sum_of_a_long_axis() {
    on_profiles(LONG_SUM, &[MIN, DESKTOP], |kernel, profile| {
        let got = kernel.run(&[], &[Data::of(&vec![1f32; 140_002])], &[(F32, 2)]);
        assert_close(&got[0].to::<f32>(), &[70_001.0; 2], 0.0, profile);
    });
}

/// The smallest of each plane, of extents that only a run knows.
const SMALLEST: &str = r#"
func.func @smallest(%x: tensor<2x?x?xf32> {winze.dims = affine_map<()[s0, s1] -> (s0, s1)>}, %out: tensor<2xf32> {bufferization.writable = true},
    %h: index, %w: index) -> tensor<2xf32> {
  %high = arith.constant 0x7F800000 : f32
  %init = linalg.fill ins(%high : f32) outs(%out : tensor<2xf32>) -> tensor<2xf32>
  %r = linalg.reduce ins(%x : tensor<2x?x?xf32>) outs(%init : tensor<2xf32>) dimensions = [1, 2]
    (%a: f32, %b: f32) {
      %c = arith.minimumf %a, %b : f32
      linalg.yield %c : f32
    }
  return %r : tensor<2xf32>
}"#;

#[test]
fn long_loops_of_extents_known_while_running() {
    on_profiles(SMALLEST, &[MIN, DESKTOP], |kernel, profile| {
        for (h, w) in [(0usize, 5usize), (3, 0), (1, 1), (7, 37), (300, 300), (1, 500_000), (60_000, 1)] {
            let mut x = Random::new(3).floats(2 * h * w);
            let mut want = [f32::INFINITY; 2];
            if let Some(last) = x.last_mut() {
                *last = -3.0; // the smallest comes last
                want = [x[..h * w].iter().copied().fold(f32::INFINITY, f32::min), -3.0];
            }
            // Drivers may refuse what is too long for them, but none may give another result.
            match kernel.try_run(&[h as i64, w as i64], &[Data::of(&x)], &[(F32, 2)]) {
                Ok(got) => assert_close(&got[0].to::<f32>(), &want, 0.0, &format!("{profile} {h}x{w}")),
                Err(error) => assert!(h == 60_000 && error.to_string().contains("turns of its loops"), "{profile} {h}x{w}: {error}"),
            }
        }
    });
}
