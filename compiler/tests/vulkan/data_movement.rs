//! Pad, slice, concat, transpose, broadcast, reshape, gather.

use crate::harness::{DESKTOP, Data, MIN, Random, on_profiles};
use winze_runtime::artifact::manifest::ElementType::F32;

const CONCAT_SLICE: &str = r#"
func.func @concat_slice(%a: tensor<?x4xf32> {winze.dims = affine_map<()[s0, s1] -> (s0)>}, %b: tensor<?x4xf32> {winze.dims = affine_map<()[s0, s1] -> (s1)>},
    %out: tensor<?x3xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0, s1] -> (s0 * 2 + s1)>}, %n: index, %m: index) -> tensor<?x3xf32> {
  %c = tensor.concat dim(0) %a, %b, %a : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %s = affine.apply affine_map<()[s0, s1] -> (s0 * 2 + s1)>()[%n, %m]
  %r = tensor.extract_slice %c[0, 1] [%s, 3] [1, 1] : tensor<?x4xf32> to tensor<?x3xf32>
  return %r : tensor<?x3xf32>
}"#;

#[test]
fn concat_and_slice() {
    on_profiles(CONCAT_SLICE, &[MIN, DESKTOP], |kernel, _| {
        for (n, m) in [(1usize, 1usize), (3, 2), (0, 5), (4, 0), (0, 0)] {
            let mut random = Random::new(10);
            let (a, b) = (random.floats(n * 4), random.floats(m * 4));
            let got = kernel.run(&[n as i64, m as i64], &[Data::of(&a), Data::of(&b)], &[(F32, (2 * n + m) * 3)]);
            let want: Vec<f32> = [&a[..], &b, &a].concat().chunks(4).flat_map(|r| r[1..].to_vec()).collect();
            assert_eq!(got[0].to::<f32>(), want, "n={n} m={m}");
        }
    });
}

/// Transposes, pads with strides in between (interior zeros by insert_slice) and flattens.
const TRANSPOSE_PAD: &str = r#"
func.func @transpose_pad(%x: tensor<3x?xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %out: tensor<?xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> ((s0 + 3) * 7)>}, %n: index) -> tensor<?xf32> {
  %zero = arith.constant 0.0 : f32
  %seven = arith.constant 7.0 : f32
  %e = tensor.empty(%n) : tensor<?x3xf32>
  %t = linalg.transpose ins(%x : tensor<3x?xf32>) outs(%e : tensor<?x3xf32>) permutation = [1, 0]
  %w = tensor.empty(%n) : tensor<?x7xf32>
  %z = linalg.fill ins(%zero : f32) outs(%w : tensor<?x7xf32>) -> tensor<?x7xf32>
  %i = tensor.insert_slice %t into %z[0, 1] [%n, 3] [1, 2] : tensor<?x3xf32> into tensor<?x7xf32>
  %p = tensor.pad %i low[2, 0] high[1, 0] {
  ^bb0(%a: index, %b: index):
    tensor.yield %seven : f32
  } : tensor<?x7xf32> to tensor<?x7xf32>
  %f = tensor.collapse_shape %p [[0, 1]] : tensor<?x7xf32> into tensor<?xf32>
  return %f : tensor<?xf32>
}"#;

#[test]
fn transpose_insert_pad_and_flatten() {
    on_profiles(TRANSPOSE_PAD, &[MIN, DESKTOP], |kernel, _| {
        for n in [0usize, 1, 5, 40] {
            let x = Random::new(11).floats(3 * n);
            let got = kernel.run(&[n as i64], &[Data::of(&x)], &[(F32, (n + 3) * 7)]);
            let mut want = vec![0.0; (n + 3) * 7];
            want[..14].fill(7.0);
            want[(n + 2) * 7..].fill(7.0);
            for (i, j) in (0..n).flat_map(|i| (0..3).map(move |j| (i, j))) {
                want[(i + 2) * 7 + 1 + 2 * j] = x[j * n + i];
            }
            assert_eq!(got[0].to::<f32>(), want, "n={n}");
        }
    });
}

/// relu(a + b) with b broadcast along two dims, after a split of the last dim.
const BROADCAST: &str = r#"
func.func @broadcast(%a: tensor<?x6xf32> {winze.dims = affine_map<()[s0] -> (s0)>}, %b: tensor<1x3x1xf32>,
    %out: tensor<?x3x2xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %n: index) -> tensor<?x3x2xf32> {
  %zero = arith.constant 0.0 : f32
  %x = tensor.expand_shape %a [[0], [1, 2]] output_shape [%n, 3, 2] : tensor<?x6xf32> into tensor<?x3x2xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(i, j, k) -> (i, j, k)>, affine_map<(i, j, k) -> (0, j, 0)>, affine_map<(i, j, k) -> (i, j, k)>],
      iterator_types = ["parallel", "parallel", "parallel"]} ins(%x, %b : tensor<?x3x2xf32>, tensor<1x3x1xf32>) outs(%out : tensor<?x3x2xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    %t = arith.maximumf %s, %zero : f32
    linalg.yield %t : f32
  } -> tensor<?x3x2xf32>
  return %r : tensor<?x3x2xf32>
}"#;

#[test]
fn broadcast_add_relu() {
    on_profiles(BROADCAST, &[MIN, DESKTOP], |kernel, _| {
        for n in [0usize, 1, 300] {
            let mut random = Random::new(12);
            let (a, b) = (random.floats(n * 6), random.floats(3));
            let got = kernel.run(&[n as i64], &[Data::of(&a), Data::of(&b)], &[(F32, n * 6)]);
            let want: Vec<f32> = a.iter().enumerate().map(|(i, v)| (v + b[i / 2 % 3]).max(0.0)).collect();
            assert_eq!(got[0].to::<f32>(), want, "n={n}");
        }
    });
}

/// Rows picked by i64 indices, negative ones from the end.
const GATHER: &str = r#"
func.func @gather(%x: tensor<?x4xf32> {winze.dims = affine_map<()[s0, s1] -> (s0)>}, %at: tensor<?xi64> {winze.dims = affine_map<()[s0, s1] -> (s1)>},
    %out: tensor<?x4xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0, s1] -> (s1)>}, %n: index, %m: index) -> tensor<?x4xf32> {
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%at : tensor<?xi64>) outs(%out : tensor<?x4xf32>) {
  ^bb0(%p: i64, %o: f32):
    %zero = arith.constant 0 : i64
    %c0 = arith.constant 0 : index
    %size = tensor.dim %x, %c0 : tensor<?x4xf32>
    %wide = arith.index_cast %size : index to i64
    %negative = arith.cmpi slt, %p, %zero : i64
    %shifted = arith.addi %p, %wide : i64
    %row64 = arith.select %negative, %shifted, %p : i64
    %row = arith.index_cast %row64 : i64 to index
    %column = linalg.index 1 : index
    %v = tensor.extract %x[%row, %column] : tensor<?x4xf32>
    linalg.yield %v : f32
  } -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}"#;

#[test]
fn gather_rows() {
    on_profiles(GATHER, &[MIN, DESKTOP], |kernel, profile| {
        let x = Random::new(13).floats(7 * 4);
        let at = [6i64, 0, -1, -7, 3, 3];
        let got = kernel.run(&[7, 6], &[Data::of(&x), Data::of(&at)], &[(F32, 24)]);
        let want: Vec<f32> = at.iter().flat_map(|i| x[i.rem_euclid(7) as usize * 4..][..4].to_vec()).collect();
        assert_eq!(got[0].to::<f32>(), want, "{profile}");
    });
}

/// A constant table in the kernel, chosen by position, and a large static copy over more than one row of workgroups.
const TABLE: &str = r#"
func.func @table(%out: tensor<5000000xf32> {bufferization.writable = true}) -> tensor<5000000xf32> {
  %t = arith.constant dense<[0.5, -1.0, 3.0]> : tensor<3xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]} outs(%out : tensor<5000000xf32>) {
  ^bb0(%o: f32):
    %i = linalg.index 0 : index
    %three = arith.constant 3 : index
    %j = arith.remui %i, %three : index
    %v = tensor.extract %t[%j] : tensor<3xf32>
    linalg.yield %v : f32
  } -> tensor<5000000xf32>
  return %r : tensor<5000000xf32>
}"#;

#[test]
fn constant_table_over_many_workgroups() {
    on_profiles(TABLE, &[MIN], |kernel, _| {
        let got = kernel.run(&[], &[], &[(F32, 5_000_000)]);
        assert!(got[0].to::<f32>().iter().enumerate().all(|(i, v)| *v == [0.5, -1.0, 3.0][i % 3]));
    });
}
