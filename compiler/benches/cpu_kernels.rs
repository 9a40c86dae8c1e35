//! CPU kernels against the FMA peak of one core, measured in turns in the same run: `cargo bench -p winze-compiler --bench cpu_kernels`.
//!
//! Prints one line per kernel: GFLOP/s (or GB/s), peak, ratio. Best of many runs, because machines are shared.

#[path = "../tests/cpu/contractions.rs"]
#[allow(dead_code)]
mod contractions;
#[path = "../tests/cpu/payload.rs"]
#[allow(dead_code)]
mod payload;

use payload::{constant, load, raw, symbol, unit};
use std::time::Instant;
use winze_compiler::{
    llvm::{CpuTarget, CpuUnit},
    schedule::{LoopRole, OpClass, panel_width},
};

const RUNS: usize = 60;

fn main() {
    let target = CpuTarget::named("native").expect("this machine has AVX2");
    println!("target {} ({}), best of {RUNS} runs, one thread", target.name, target.cpu);
    for layouts in [(false, false), (false, true), (true, false), (true, true)] {
        let conv = contractions::Conv { channels: 64, results: 64, input: 58, kernel: 3, stride: 1, last: layouts };
        let name = |last| if last { "channels last" } else { "channels first" };
        let what = format!("conv 3x3 64->64 56x56, {} -> {}", name(layouts.0), name(layouts.1));
        let buffers = [64 * 58 * 58, 9 * 64 * 64, 64, 64 * 56 * 56];
        measure(
            &what,
            contractions::conv_unit(&conv, "kernel", &target),
            &target,
            &buffers,
            &[],
            Unit::Flops(2.0 * 9.0 * 64.0 * 64.0 * 3136.0),
        );
    }
    for m in [1, 8, 13, 100, 1024] {
        let panel = panel_width(1024, 32, &target).expect("a table for every target");
        let loops = vec![symbol(0, LoopRole::Free), constant(1024, LoopRole::Panel)];
        let kernel = unit("kernel", OpClass::Contraction, loops, &target, contractions::matmul("kernel", 1024, 1024, panel));
        let size = m as usize * 1024;
        let buffers = [size, 1024 * 1024, 1024, size];
        measure(&format!("matmul {m}x1024x1024, height unknown"), kernel, &target, &buffers, &[m], Unit::Flops(2.0 * 1048576.0 * m as f64));
    }
    for (what, map) in [("copy 3136x64", "i, j"), ("transpose 64x3136 to 3136x64", "j, i")] {
        let source = if map == "i, j" { "tensor<3136x64xf32>" } else { "tensor<64x3136xf32>" };
        let module = format!(
            r#"func.func @kernel(%a: {source}, %out: tensor<3136x64xf32> {{bufferization.writable = true}}) -> tensor<3136x64xf32> {{
  %o = linalg.generic {{indexing_maps = [affine_map<(i, j) -> ({map})>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}}
    ins(%a : {source}) outs(%out : tensor<3136x64xf32>) attrs = {{winze.root}} {{
  ^bb0(%x: f32, %o: f32):
    linalg.yield %x : f32
  }} -> tensor<3136x64xf32>
  return %o : tensor<3136x64xf32>
}}"#
        );
        let loops = vec![constant(3136, LoopRole::Free), constant(64, LoopRole::Free)];
        let kernel = unit("kernel", OpClass::Copy, loops, &target, module);
        measure(what, kernel, &target, &[64 * 3136, 64 * 3136], &[], Unit::Bytes(8.0 * 64.0 * 3136.0));
    }
}

enum Unit {
    Flops(f64),
    Bytes(f64),
}

fn measure(what: &str, kernel: CpuUnit, target: &CpuTarget, sizes: &[usize], dims: &[i64], unit: Unit) {
    let loaded = load(&[kernel], target);
    let buffers: Vec<_> = sizes.iter().enumerate().map(|(seed, size)| payload::values(size + 16, seed as u64)).collect();
    let pointers: Vec<_> = buffers.iter().map(|buffer| raw(&buffer[buffer.as_ptr().align_offset(64) % 16..])).collect();
    let (mut best, mut peak) = (f64::INFINITY, 0f64);
    for _ in 0..RUNS {
        peak = peak.max(fma_peak());
        let start = Instant::now();
        loaded.call("kernel", &pointers, dims);
        best = best.min(start.elapsed().as_secs_f64());
    }
    match unit {
        Unit::Flops(flops) => {
            let speed = flops / best / 1e9;
            println!("{what:<55} {speed:7.1} GFLOP/s of {peak:6.1}: {:.2}", speed / peak);
        }
        Unit::Bytes(bytes) => println!("{what:<55} {:7.1} GB/s", bytes / best / 1e9),
    }
}

/// GFLOP/s of independent fused multiply-adds in registers, a short run.
#[cfg(target_arch = "x86_64")]
fn fma_peak() -> f64 {
    use std::arch::{asm, is_x86_feature_detected};
    const STEPS: u64 = 100_000;
    let start = Instant::now();
    let lanes = if is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512 is there; the registers are declared as overwritten.
        unsafe {
            asm!(
                "2:",
                "vfmadd231ps zmm0, zmm12, zmm13", "vfmadd231ps zmm1, zmm12, zmm13", "vfmadd231ps zmm2, zmm12, zmm13",
                "vfmadd231ps zmm3, zmm12, zmm13", "vfmadd231ps zmm4, zmm12, zmm13", "vfmadd231ps zmm5, zmm12, zmm13",
                "vfmadd231ps zmm6, zmm12, zmm13", "vfmadd231ps zmm7, zmm12, zmm13", "vfmadd231ps zmm8, zmm12, zmm13",
                "vfmadd231ps zmm9, zmm12, zmm13", "vfmadd231ps zmm10, zmm12, zmm13", "vfmadd231ps zmm11, zmm12, zmm13",
                "dec {n}", "jnz 2b",
                n = inout(reg) STEPS => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
                out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _,
            );
        }
        16
    } else {
        // SAFETY: every target needs AVX2 and FMA; the registers are declared as overwritten.
        unsafe {
            asm!(
                "2:",
                "vfmadd231ps ymm0, ymm12, ymm13", "vfmadd231ps ymm1, ymm12, ymm13", "vfmadd231ps ymm2, ymm12, ymm13",
                "vfmadd231ps ymm3, ymm12, ymm13", "vfmadd231ps ymm4, ymm12, ymm13", "vfmadd231ps ymm5, ymm12, ymm13",
                "vfmadd231ps ymm6, ymm12, ymm13", "vfmadd231ps ymm7, ymm12, ymm13", "vfmadd231ps ymm8, ymm12, ymm13",
                "vfmadd231ps ymm9, ymm12, ymm13", "vfmadd231ps ymm10, ymm12, ymm13", "vfmadd231ps ymm11, ymm12, ymm13",
                "dec {n}", "jnz 2b",
                n = inout(reg) STEPS => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _,
                out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _,
            );
        }
        8
    };
    2.0 * 12.0 * f64::from(lanes) * STEPS as f64 / start.elapsed().as_secs_f64() / 1e9
}

#[cfg(not(target_arch = "x86_64"))]
fn fma_peak() -> f64 {
    f64::NAN
}
