//! Matrix products and convolutions on packed weights.

use crate::payload::*;
use winze_compiler::{
    llvm::CpuTarget,
    schedule::{LoopRole, OpClass, panel_width},
};

/// `[K][N]` -> `[ceil(N / panel)][K][panel]`, padded with zeros.
fn pack(weights: &[f32], reduction: usize, width: usize, panel: usize) -> Vec<f32> {
    let mut packed = vec![0.0; width.div_ceil(panel) * reduction * panel];
    for k in 0..reduction {
        for n in 0..width {
            packed[(n / panel * reduction + k) * panel + n % panel] = weights[k * width + n];
        }
    }
    packed
}

/// `relu(A[M][K] x B + bias)` with M unknown.
pub fn matmul(name: &str, reduction: i64, width: i64, panel: i64) -> String {
    let panels = (width + panel - 1) / panel;
    let (k, n, acc) = (reduction, width, format!("tensor<?x{panels}x{panel}xf32>"));
    let dims = "winze.dims = affine_map<()[s0] -> (s0)>";
    format!(
        r#"func.func @{name}(%a: tensor<?x{k}xf32> {{{dims}}}, %b: tensor<{panels}x{k}x{panel}xf32>, %bias: tensor<{n}xf32>,
    %out: tensor<?x{n}xf32> {{bufferization.writable = true, {dims}}}, %m: index) -> tensor<?x{n}xf32> {{
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty(%m) : {acc}
  %f = linalg.fill ins(%zero : f32) outs(%e : {acc}) -> {acc}
  %c = linalg.generic {{indexing_maps = [affine_map<(i, j, k, jj) -> (i, k)>, affine_map<(i, j, k, jj) -> (j, k, jj)>, affine_map<(i, j, k, jj) -> (i, j, jj)>],
    iterator_types = ["parallel", "parallel", "reduction", "parallel"]}} ins(%a, %b : tensor<?x{k}xf32>, tensor<{panels}x{k}x{panel}xf32>)
    outs(%f : {acc}) attrs = {{winze.contraction}} {{
  ^bb0(%x: f32, %y: f32, %z: f32):
    %r = math.fma %x, %y, %z : f32
    linalg.yield %r : f32
  }} -> {acc}
  %ue = tensor.empty(%m) : tensor<?x{n}xf32>
  %u = linalg.unpack %c inner_dims_pos = [1] inner_tiles = [{panel}] into %ue : {acc} -> tensor<?x{n}xf32>
  %o = linalg.generic {{indexing_maps = [affine_map<(i, n) -> (i, n)>, affine_map<(i, n) -> (n)>, affine_map<(i, n) -> (i, n)>],
    iterator_types = ["parallel", "parallel"]}} ins(%u, %bias : tensor<?x{n}xf32>, tensor<{n}xf32>) outs(%out : tensor<?x{n}xf32>) attrs = {{winze.root}} {{
  ^bb0(%x: f32, %y: f32, %z: f32):
    %s = arith.addf %x, %y : f32
    %r = arith.maximumf %s, %zero : f32
    linalg.yield %r : f32
  }} -> tensor<?x{n}xf32>
  return %o : tensor<?x{n}xf32>
}}"#
    )
}

#[test]
fn matmul_of_any_height_width_and_depth() {
    // The last has its reduction in blocks.
    let problems = [(1, 1), (3, 17), (64, 32), (130, 33), (48, 100), (16, 8), (6000, 40)];
    for target in targets() {
        let units: Vec<_> = problems
            .iter()
            .map(|(k, n)| {
                let panel = panel_width(*n, 32, &target).unwrap();
                let name = format!("matmul_{k}_{n}");
                let module = matmul(&name, *k, *n, panel);
                let loops = vec![symbol(0, LoopRole::Free), constant(*n, LoopRole::Panel)];
                unit_of(&name, OpClass::Contraction, (loops, vec![0, 0, *k, 0]), &target, module)
            })
            .collect();
        assert_eq!(units.iter().filter(|unit| unit.schedule.script == "contraction_blocked").count(), 1);
        let loaded = load(&units, &target);
        for (k, n) in problems.map(|(k, n)| (k as usize, n as usize)) {
            let panel = panel_width(n as i64, 32, &target).unwrap() as usize;
            let (weights, bias) = (values(k * n, 2), values(n, 3));
            let packed = pack(&weights, k, n, panel);
            for m in (1..=25).chain([113, 240]) {
                let a = values(m * k, 1);
                let out = output(m * n);
                loaded.call(&format!("matmul_{k}_{n}"), &[raw(&a), raw(&packed), raw(&bias), raw(&out)], &[m as i64]);
                let expected: Vec<f32> = (0..m * n)
                    .map(|i| ((0..k).map(|p| a[i / n * k + p] * weights[p * n + i % n]).sum::<f32>() + bias[i % n]).max(0.0))
                    .collect();
                assert_output(&format!("{} {m}x{k}x{n}", target.name), &out, &expected, 1e-6);
            }
        }
    }
}

pub struct Conv {
    pub channels: usize,
    pub results: usize,
    pub input: usize,
    pub kernel: usize,
    pub stride: usize,
    /// Channels-last input and output.
    pub last: (bool, bool),
}

impl Conv {
    fn size(&self) -> usize {
        (self.input - self.kernel) / self.stride + 1
    }

    fn module(&self, name: &str, panel: i64) -> String {
        let Self { channels: c, results: co, input: i, kernel: k, stride: s, last } = self;
        let (size, panels) = (self.size(), (*co as i64 + panel - 1) / panel);
        let domain = "(p, h, w, l, kh, kw, ci)";
        let at = format!("h * {s} + kh, w * {s} + kw");
        let (a, a_map) = if last.0 {
            (format!("tensor<{i}x{i}x{c}xf32>"), format!("{at}, ci"))
        } else {
            (format!("tensor<{c}x{i}x{i}xf32>"), format!("ci, {at}"))
        };
        let b = format!("tensor<{panels}x{k}x{k}x{c}x{panel}xf32>");
        let (acc, acc_map, out, packed, bias) = if last.1 {
            (format!("tensor<{size}x{size}x{panels}x{panel}xf32>"), "h, w, p, l", format!("tensor<{size}x{size}x{co}xf32>"), 2, "z")
        } else {
            (format!("tensor<{panels}x{size}x{size}x{panel}xf32>"), "p, h, w, l", format!("tensor<{co}x{size}x{size}xf32>"), 0, "x")
        };
        format!(
            r#"func.func @{name}(%a: {a}, %b: {b}, %bias: tensor<{co}xf32>, %out: {out} {{bufferization.writable = true}}) -> {out} {{
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : {acc}
  %f = linalg.fill ins(%zero : f32) outs(%e : {acc}) -> {acc}
  %c = linalg.generic {{indexing_maps = [affine_map<{domain} -> ({a_map})>, affine_map<{domain} -> (p, kh, kw, ci, l)>, affine_map<{domain} -> ({acc_map})>],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]}}
    ins(%a, %b : {a}, {b}) outs(%f : {acc}) attrs = {{winze.contraction}} {{
  ^bb0(%x: f32, %y: f32, %z: f32):
    %r = math.fma %x, %y, %z : f32
    linalg.yield %r : f32
  }} -> {acc}
  %ue = tensor.empty() : {out}
  %u = linalg.unpack %c inner_dims_pos = [{packed}] inner_tiles = [{panel}] into %ue : {acc} -> {out}
  %o = linalg.generic {{indexing_maps = [affine_map<(x, y, z) -> (x, y, z)>, affine_map<(x, y, z) -> ({bias})>, affine_map<(x, y, z) -> (x, y, z)>],
    iterator_types = ["parallel", "parallel", "parallel"]}} ins(%u, %bias : {out}, tensor<{co}xf32>) outs(%out : {out}) attrs = {{winze.root}} {{
  ^bb0(%x: f32, %y: f32, %z: f32):
    %r = arith.addf %x, %y : f32
    linalg.yield %r : f32
  }} -> {out}
  return %o : {out}
}}"#
        )
    }

    fn expected(&self, input: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let (size, i, k) = (self.size(), self.input, self.kernel);
        let mut out = vec![0.0; self.results * size * size];
        for co in 0..self.results {
            for h in 0..size {
                for w in 0..size {
                    let mut sum = bias[co];
                    for (kh, kw, c) in (0..k).flat_map(|kh| (0..k).flat_map(move |kw| (0..self.channels).map(move |c| (kh, kw, c)))) {
                        let (y, x) = (h * self.stride + kh, w * self.stride + kw);
                        let at = if self.last.0 { (y * i + x) * self.channels + c } else { (c * i + y) * i + x };
                        sum += input[at] * weights[((kh * k + kw) * self.channels + c) * self.results + co];
                    }
                    out[if self.last.1 { (h * size + w) * self.results + co } else { (co * size + h) * size + w }] = sum;
                }
            }
        }
        out
    }
}

#[test]
fn convolutions_of_any_layout() {
    let mut problems = vec![];
    for last in [(false, false), (false, true), (true, false), (true, true)] {
        problems.push(Conv { channels: 5, results: 40, input: 16, kernel: 3, stride: 1, last });
        problems.push(Conv { channels: 3, results: 33, input: 21, kernel: 5, stride: 2, last });
        problems.push(Conv { channels: 16, results: 8, input: 7, kernel: 1, stride: 1, last });
    }
    for target in targets() {
        let units: Vec<_> = problems.iter().enumerate().map(|(i, conv)| conv_unit(conv, &format!("conv{i}"), &target)).collect();
        let loaded = load(&units, &target);
        for (i, conv) in problems.iter().enumerate() {
            let depth = conv.kernel * conv.kernel * conv.channels;
            let (input, weights, bias) =
                (values(conv.channels * conv.input * conv.input, 1), values(depth * conv.results, 2), values(conv.results, 3));
            let panel = panel_width(conv.results as i64, 32, &target).unwrap() as usize;
            let packed = pack(&weights, depth, conv.results, panel);
            let out = output(conv.results * conv.size() * conv.size());
            loaded.call(&format!("conv{i}"), &[raw(&input), raw(&packed), raw(&bias), raw(&out)], &[]);
            assert_output(&format!("{} conv{i}", target.name), &out, &conv.expected(&input, &weights, &bias), 1e-6);
        }
    }
}

pub fn conv_unit(conv: &Conv, name: &str, target: &CpuTarget) -> winze_compiler::llvm::CpuUnit {
    let panel = panel_width(conv.results as i64, 32, target).unwrap();
    let (size, width) = (conv.size() as i64, constant(conv.results as i64, LoopRole::Panel));
    let image = [constant(size, LoopRole::Free), constant(size, LoopRole::Free)];
    let loops = if conv.last.1 { [&image[..], &[width]].concat() } else { [&[width], &image[..]].concat() };
    unit(name, OpClass::Contraction, loops, target, conv.module(name, panel))
}

/// Without an epilogue the unpacking itself is the root.
#[test]
fn contractions_without_an_epilogue() {
    for target in targets() {
        for last in [(false, false), (true, true)] {
            let conv = Conv { channels: 6, results: 40, input: 12, kernel: 3, stride: 1, last };
            let mut kernel = conv_unit(&conv, "bare", &target);
            let text = String::from_utf8(kernel.kernel.module).unwrap();
            let result = if last.1 { "tensor<10x10x40xf32>" } else { "tensor<40x10x10xf32>" };
            let (head, _) = text.split_once("  %o = ").unwrap();
            let module = format!("{head}  return %u : {result}\n}}").replace("into %ue", "{winze.root} into %out");
            kernel.kernel.module = move_attribute(&module).into_bytes();
            let loaded = load(&[kernel], &target);
            let (input, weights, bias) = (values(6 * 144, 1), values(54 * 40, 2), vec![0.0; 40]);
            let packed = pack(&weights, 54, 40, panel_width(40, 32, &target).unwrap() as usize);
            let out = output(4000);
            loaded.call("bare", &[raw(&input), raw(&packed), raw(&bias), raw(&out)], &[]);
            assert_output(&target.name, &out, &conv.expected(&input, &weights, &bias), 1e-6);
        }
    }
}

/// `linalg.unpack` prints its attributes after the destination.
fn move_attribute(text: &str) -> String {
    let line = text.lines().find(|line| line.contains("linalg.unpack")).unwrap();
    let fixed = line.replace(" {winze.root}", "").replace(" : ", " {winze.root} : ");
    text.replace(line, &fixed)
}
