//! Matrix products and convolutions.

use crate::harness::{DESKTOP, Data, MIN, Random, assert_close, on_profiles};
use winze_runtime::artifact::manifest::{Access, ElementType::F32};

const MATMUL: &str = r#"
func.func @matmul(%a: tensor<?x37xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %b: tensor<37x19xf32>, %bias: tensor<19xf32>,
    %out: tensor<?x19xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %m: index) -> tensor<?x19xf32> {
  %zero = arith.constant 0.0 : f32
  %init = linalg.fill ins(%zero : f32) outs(%out : tensor<?x19xf32>) -> tensor<?x19xf32>
  %c = linalg.matmul {winze.root} ins(%a, %b : tensor<?x37xf32>, tensor<37x19xf32>) outs(%init : tensor<?x19xf32>) -> tensor<?x19xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]} ins(%c, %bias : tensor<?x19xf32>, tensor<19xf32>) outs(%out : tensor<?x19xf32>) {
  ^bb0(%x: f32, %y: f32, %o: f32):
    %s = arith.addf %x, %y : f32
    %t = arith.maximumf %s, %zero : f32
    linalg.yield %t : f32
  } -> tensor<?x19xf32>
  return %r : tensor<?x19xf32>
}"#;

#[test]
fn matmul_with_bias_and_relu_for_any_m() {
    let mut random = Random::new(1);
    let (b, bias) = (random.floats(37 * 19), random.floats(19));
    on_profiles(MATMUL, &[MIN, DESKTOP], |kernel, profile| {
        assert_eq!(kernel.access(), [Access::Read, Access::Read, Access::Read, Access::Write]);
        let mut random = Random::new(2);
        for m in [0usize, 1, 3, 8, 61] {
            let a = random.floats(m * 37);
            let got = kernel.run(&[m as i64], &[Data::of(&a), Data::of(&b), Data::of(&bias)], &[(F32, m * 19)]);
            let mut want = vec![0.0; m * 19];
            for i in 0..m {
                for j in 0..19 {
                    let sum: f32 = (0..37).map(|k| a[i * 37 + k] * b[k * 19 + j]).sum();
                    want[i * 19 + j] = (sum + bias[j]).max(0.0);
                }
            }
            assert_close(&got[0].to::<f32>(), &want, 1e-5, &format!("{profile} m={m}"));
        }
    });
}

/// All three sizes dynamic, and one of them derived.
const BATCH_MATMUL: &str = r#"
func.func @batch_matmul(%a: tensor<?x?x?xf32> {winze.dims = affine_map<()[s0, s1] -> (s0, s1, s0 + 1)>},
    %b: tensor<?x?x5xf32> {winze.dims = affine_map<()[s0, s1] -> (s0, s0 + 1)>},
    %out: tensor<?x?x5xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0, s1] -> (s0, s1)>},
    %n: index, %m: index) -> tensor<?x?x5xf32> {
  %zero = arith.constant 0.0 : f32
  %init = linalg.fill ins(%zero : f32) outs(%out : tensor<?x?x5xf32>) -> tensor<?x?x5xf32>
  %c = linalg.batch_matmul ins(%a, %b : tensor<?x?x?xf32>, tensor<?x?x5xf32>) outs(%init : tensor<?x?x5xf32>) -> tensor<?x?x5xf32>
  return %c : tensor<?x?x5xf32>
}"#;

#[test]
fn batch_matmul_with_derived_sizes() {
    on_profiles(BATCH_MATMUL, &[MIN], |kernel, _| {
        let mut random = Random::new(3);
        for (n, m) in [(1usize, 1usize), (2, 7), (5, 1), (4, 0), (0, 3)] {
            let k = n + 1;
            let (a, b) = (random.floats(n * m * k), random.floats(n * k * 5));
            let got = kernel.run(&[n as i64, m as i64], &[Data::of(&a), Data::of(&b)], &[(F32, n * m * 5)]);
            let mut want = vec![0.0; n * m * 5];
            for p in 0..n {
                for i in 0..m {
                    for j in 0..5 {
                        want[(p * m + i) * 5 + j] = (0..k).map(|q| a[(p * m + i) * k + q] * b[(p * k + q) * 5 + j]).sum();
                    }
                }
            }
            assert_close(&got[0].to::<f32>(), &want, 1e-5, &format!("n={n} m={m}"));
        }
    });
}

const CONV: &str = r#"
func.func @conv(%x: tensor<?x3x9x11xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %w: tensor<4x3x3x3xf32>, %b: tensor<4xf32>,
    %out: tensor<?x4x5x6xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> tensor<?x4x5x6xf32> {
  %zero = arith.constant 0.0 : f32
  %p = tensor.pad %x low[0, 0, 1, 1] high[0, 0, 1, 1] {
  ^bb0(%i: index, %j: index, %k: index, %l: index):
    tensor.yield %zero : f32
  } : tensor<?x3x9x11xf32> to tensor<?x3x11x13xf32>
  %i = linalg.broadcast ins(%b : tensor<4xf32>) outs(%out : tensor<?x4x5x6xf32>) dimensions = [0, 2, 3]
  %r = linalg.conv_2d_nchw_fchw {winze.root, strides = dense<2> : tensor<2xi64>, dilations = dense<1> : tensor<2xi64>}
    ins(%p, %w : tensor<?x3x11x13xf32>, tensor<4x3x3x3xf32>) outs(%i : tensor<?x4x5x6xf32>) -> tensor<?x4x5x6xf32>
  return %r : tensor<?x4x5x6xf32>
}"#;

#[test]
fn convolution_with_stride_and_padding() {
    on_profiles(CONV, &[MIN, DESKTOP], |kernel, profile| {
        let mut random = Random::new(4);
        for n in [1usize, 3] {
            let (x, w, b) = (random.floats(n * 3 * 9 * 11), random.floats(4 * 27), random.floats(4));
            let got = kernel.run(&[n as i64], &[Data::of(&x), Data::of(&w), Data::of(&b)], &[(F32, n * 4 * 30)]);
            let mut want = vec![];
            for p in 0..n {
                for f in 0..4 {
                    for (oy, ox) in (0..5).flat_map(|y| (0..6).map(move |x| (y, x))) {
                        let mut sum = b[f];
                        for c in 0..3 {
                            for (ky, kx) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
                                let (y, x_) = (oy * 2 + ky, ox * 2 + kx);
                                if (1..10).contains(&y) && (1..12).contains(&x_) {
                                    sum += x[((p * 3 + c) * 9 + y - 1) * 11 + x_ - 1] * w[((f * 3 + c) * 3 + ky) * 3 + kx];
                                }
                            }
                        }
                        want.push(sum);
                    }
                }
            }
            assert_close(&got[0].to::<f32>(), &want, 1e-5, &format!("{profile} n={n}"));
        }
    });
}
