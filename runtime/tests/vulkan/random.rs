//! Random commands on overlapping regions against the same commands carried out one after the other on bytes in host memory.

use crate::{
    bytes,
    commands::{arena, input, only_kernels, output, port, prepare, run},
    ints, kernel, validated,
};
use winze_runtime::{
    artifact::manifest::ElementType::I32,
    backend::{Backend, CopyCommand, DispatchCommand, Region},
    error::Error,
    vulkan::VulkanOptions,
};

const ARENA: usize = 2048;

/// Numbers below `limit` from a linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// `count` words of the arena at a multiple of 256 bytes.
fn words(random: &mut Random, count: usize) -> (usize, Region) {
    let start = random.below((ARENA - count * 4) / 256 + 1) * 256;
    (start, arena(start as u64, count as u64 * 4))
}

fn apart(a: usize, b: usize, bytes: usize) -> bool {
    a + bytes <= b || b + bytes <= a
}

/// One random command on the device and in `memory`.
fn step(random: &mut Random, backend: &mut dyn Backend, memory: &mut [u8]) -> Result<(), Error> {
    let load = |memory: &[u8], at: usize, count: usize| ints(&memory[at..at + count * 4]);
    match random.below(8) {
        0..3 => {
            // out = a & b, also in place and with both operands the same.
            let count = 1 + random.below(130);
            let (a, b, out) = (words(random, count), words(random, count), words(random, count));
            if [a.0, b.0].iter().any(|from| *from != out.0 && !apart(*from, out.0, count * 4)) {
                return Ok(());
            }
            let result: Vec<i32> = load(memory, a.0, count).iter().zip(load(memory, b.0, count)).map(|(a, b)| a & b).collect();
            memory[out.0..out.0 + count * 4].copy_from_slice(&bytes(&result));
            let (buffers, grid) = ([a.1, b.1, out.1], count.div_ceil(64) as u32);
            let dims = [count as i64];
            backend.dispatch(&DispatchCommand { dispatch: 0, kernel: 0, buffers: &buffers, dims: &dims, scalars: &[], grid, workspace: 0 })
        }
        3..5 => {
            // out = factor * x.
            let (count, factor) = (1 + random.below(130), 2 * random.below(1000) + 1);
            let (x, out) = (words(random, count), words(random, count));
            if x.0 != out.0 && !apart(x.0, out.0, count * 4) {
                return Ok(());
            }
            let result: Vec<i32> = load(memory, x.0, count).iter().map(|x| x.wrapping_mul(factor as i32)).collect();
            memory[out.0..out.0 + count * 4].copy_from_slice(&bytes(&result));
            let (buffers, grid) = ([x.1, out.1], count.div_ceil(64) as u32);
            let (dims, scalars) = ([count as i64], [factor as u64]);
            backend.dispatch(&DispatchCommand {
                dispatch: 1,
                kernel: 1,
                buffers: &buffers,
                dims: &dims,
                scalars: &scalars,
                grid,
                workspace: 0,
            })
        }
        5..7 => {
            // Bytes at any offsets, overlapping or not.
            let count = 1 + random.below(700);
            let (from, to) = (random.below(ARENA - count), random.below(ARENA - count));
            if from.abs_diff(to) * 1000 < count {
                return Ok(());
            }
            memory.copy_within(from..from + count, to);
            backend.copy(&CopyCommand { src: arena(from as u64, count as u64), dst: arena(to as u64, count as u64) })
        }
        _ => {
            let at = random.below(ARENA - 8);
            let mut seen = [0; 8];
            backend.read(arena(at as u64, 8), &mut seen)?;
            assert_eq!(seen, memory[at..at + 8], "read at {at}");
            Ok(())
        }
    }
}

#[test]
fn random_commands_as_in_order() {
    let program = only_kernels(&[kernel::and, kernel::scale]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(I32, I32, ARENA as u64 / 4)], &[port(I32, I32, ARENA as u64 / 4)], ARENA as u64);
        for seed in 0..40 {
            let random = &mut Random(seed);
            let mut memory: Vec<u8> = (0..ARENA).map(|_| random.below(256) as u8).collect();
            let whole = arena(0, ARENA as u64);
            let got = run(&mut *backend, &[memory.clone()], &[ARENA], |b| {
                b.copy(&CopyCommand { src: input(0, ARENA as u64), dst: whole })?;
                (0..60).try_for_each(|_| step(random, b, &mut memory))?;
                b.copy(&CopyCommand { src: whole, dst: output(0, ARENA as u64) })
            });
            assert!(got.unwrap()[0] == memory, "seed {seed}");
        }
    });
}
