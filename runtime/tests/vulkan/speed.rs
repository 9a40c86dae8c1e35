//! What a run costs beside the kernels. Prints, and asserts nothing: run it by name with --ignored, in release.

use crate::{
    bytes,
    commands::{arena, dispatch, input, only_kernels, output, port, prepare, run},
    kernel, report,
};
use std::time::Instant;
use winze_runtime::{
    artifact::manifest::ElementType::F32,
    backend::{Backend, CopyCommand},
    device::VulkanSelector,
    vulkan::{VulkanOptions, VulkanProgram, devices},
};

fn median(count: usize, mut measured: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..count)
        .map(|_| {
            let start = Instant::now();
            measured();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[count / 2]
}

#[test]
#[ignore = "measures"]
fn overhead() {
    if devices().is_empty() {
        return report("skipped: no Vulkan device on this machine");
    }
    let program = only_kernels(&[kernel::double_in_place, kernel::add]);
    let start = Instant::now();
    let loaded = VulkanProgram::load(&program, 0, &VulkanSelector::Best, &VulkanOptions::default()).unwrap();
    let load = start.elapsed().as_secs_f64() * 1e3;
    let mut backend = loaded.backend().unwrap();
    report(&format!("{}: load {load:.1} ms", backend.describe()));
    let listed = median(10, || drop(devices()));
    report(&format!("listing devices: {listed:.0} us"));
    let x = arena(0, 256);
    for count in [1usize, 64, 500] {
        prepare(&mut *backend, &[port(F32, F32, 64)], &[port(F32, F32, 64)], 256);
        let chain = |backend: &mut dyn Backend, n: i64| {
            run(backend, &[bytes(&[1.0f32; 64])], &[256], |b| {
                b.copy(&CopyCommand { src: input(0, 256), dst: x })?;
                for _ in 0..count {
                    dispatch(b, 0, &[x], n, 64)?;
                }
                b.copy(&CopyCommand { src: x, dst: output(0, 256) })
            })
            .unwrap()
        };
        let same = median(200, || drop(chain(&mut *backend, 64)));
        let mut n = 0;
        let new = median(60, || {
            n += 1;
            drop(chain(&mut *backend, n % 64))
        });
        let mut each = 0.0;
        if count <= 64 {
            each = median(50, || {
                run(&mut *backend, &[bytes(&[1.0f32; 64])], &[256], |b| {
                    let mut word = [0; 4];
                    for _ in 0..count {
                        dispatch(b, 0, &[x], 64, 64)?;
                        b.read(x, &mut word)?;
                    }
                    Ok(())
                })
                .unwrap();
            });
        }
        report(&format!("{count} dispatches: {same:.0} us; recorded anew {new:.0} us; read after each {each:.0} us"));
    }
    let n = 1 << 20;
    let size = n as u64 * 4;
    prepare(&mut *backend, &[port(F32, F32, n as u64); 2], &[port(F32, F32, n as u64)], 0);
    let inputs = [bytes(&vec![1.0f32; n]), bytes(&vec![2.0f32; n])];
    let add = median(50, || {
        run(&mut *backend, &inputs, &[n * 4], |b| dispatch(b, 1, &[input(0, size), input(1, size), output(0, size)], n as i64, 64))
            .unwrap();
    });
    report(&format!("add of 2^20 f32 with inputs and outputs: {add:.0} us"));
}
