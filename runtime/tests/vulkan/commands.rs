//! Commands given to the backend one by one: order, ranges, conversions, reuse of recordings.

use crate::{
    bytes,
    fixture::{vulkan::VulkanModel, *},
    floats, ints, kernel, validated,
};
use ElementType::{Bool, F32, I32, I64};
use std::sync::{Arc, atomic::AtomicU32};
use winze_runtime::{
    artifact::{
        manifest::{Access, ElementType},
        program::Instruction,
    },
    backend::{Backend, CopyCommand, DispatchCommand, HostInput, HostOutput, Location, Plan, PortPlan, Region},
    error::Error,
    program::Program,
    vulkan::VulkanOptions,
};

/// A program with these kernels, in this order, and nothing else.
pub fn only_kernels(kernels: &[(&str, &[u8], &[Access])]) -> Program {
    let mut model = VulkanModel::new(&["n"]);
    for (name, module, access) in kernels {
        let group = if matches!(*name, "iota" | "sum" | "spin") { 1 } else { 64 };
        model.kernel(name, module, access, 1, u32::from(*name == "scale"), group);
    }
    model.build(1, c(0), vec![Instruction::Return])
}

pub fn port(element: ElementType, storage: ElementType, elements: u64) -> PortPlan {
    PortPlan { element, storage, elements }
}

pub fn arena(offset: u64, bytes: u64) -> Region {
    Region { location: Location::Arena, offset, bytes }
}

pub fn input(number: u32, bytes: u64) -> Region {
    Region { location: Location::Input(number), offset: 0, bytes }
}

pub fn output(number: u32, bytes: u64) -> Region {
    Region { location: Location::Output(number), offset: 0, bytes }
}

pub fn prepare(backend: &mut dyn Backend, inputs: &[PortPlan], outputs: &[PortPlan], arena_bytes: u64) {
    backend.prepare(&Plan { function: 0, inputs, outputs, arena_bytes, workspace_bytes: 0 }).unwrap();
}

/// One run: the outputs, with a pattern where nothing was written.
pub fn run(
    backend: &mut dyn Backend,
    inputs: &[Vec<u8>],
    output_bytes: &[usize],
    commands: impl FnOnce(&mut dyn Backend) -> Result<(), Error>,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut outputs: Vec<Vec<u8>> = output_bytes.iter().map(|bytes| vec![0xCD; *bytes]).collect();
    let host_inputs: Vec<_> = inputs.iter().map(|input| HostInput { data: input.as_ptr(), bytes: input.len() }).collect();
    let host_outputs: Vec<_> = outputs.iter_mut().map(|out| HostOutput { data: out.as_mut_ptr(), bytes: out.len() }).collect();
    let cancel = Arc::new(AtomicU32::new(0));
    // SAFETY: both outlive the run.
    unsafe { backend.begin(&host_inputs, &host_outputs, &mut [], &cancel) }
        .and_then(|()| commands(backend))
        .and_then(|()| backend.finish())
        .inspect_err(|_| backend.abort())?;
    Ok(outputs)
}

pub fn dispatch(backend: &mut dyn Backend, kernel: u32, buffers: &[Region], n: i64, group: u32) -> Result<(), Error> {
    let grid = u32::try_from(n).unwrap_or(1).div_ceil(group).max(1);
    backend.dispatch(&DispatchCommand { dispatch: kernel, kernel, buffers, dims: &[n], scalars: &[], grid, workspace: 0 })
}

fn ramp(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| i as f32 * step).collect()
}

#[test]
fn elementwise_with_dims() {
    let program = only_kernels(&[kernel::add]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        for n in [1usize, 63, 64, 65, 1000] {
            let size = n as u64 * 4;
            prepare(&mut *backend, &[port(F32, F32, n as u64); 2], &[port(F32, F32, n as u64)], 0);
            let inputs = [bytes(&ramp(n, 1.0)), bytes(&ramp(n, 0.5))];
            let got =
                run(&mut *backend, &inputs, &[n * 4], |b| dispatch(b, 0, &[input(0, size), input(1, size), output(0, size)], n as i64, 64));
            assert_eq!(floats(&got.unwrap()[0]), ramp(n, 1.5));
        }
    });
}

#[test]
fn hazards_and_nothing_else_make_barriers() {
    let program = only_kernels(&[kernel::add, kernel::double_in_place]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        let (n, size) = (100u64, 400u64);
        prepare(&mut *backend, &[port(F32, F32, n); 2], &[port(F32, F32, n)], 4 * 512);
        let inputs = [bytes(&ramp(100, 1.0)), bytes(&ramp(100, 2.0))];
        let before = loaded.figures().hazard_barriers;
        let got = run(&mut *backend, &inputs, &[400], |b| {
            let (x, y, t) = (input(0, size), input(1, size), |i: u64| arena(i * 512, size));
            dispatch(b, 0, &[x, y, t(0)], 100, 64)?; // 3i
            dispatch(b, 0, &[x, x, t(1)], 100, 64)?; // 2i, independent
            dispatch(b, 0, &[t(0), t(1), t(2)], 100, 64)?; // 5i: read after write
            dispatch(b, 0, &[y, y, t(3)], 100, 64)?; // 4i: independent
            dispatch(b, 1, &[t(0)], 100, 64)?; // 6i: in place, write after read
            dispatch(b, 0, &[t(2), t(3), t(1)], 100, 64)?; // 9i: the barrier just placed covers t2 and t3
            dispatch(b, 0, &[t(0), t(1), output(0, size)], 100, 64) // 15i: read after write
        });
        assert_eq!(floats(&got.unwrap()[0]), ramp(100, 15.0));
        let staged = loaded.figures().hazard_barriers - before;
        // Three in the chain; with staging one more after the upload and one before the download.
        assert!(staged == 3 || staged == 5, "{staged} barriers");
    });
}

#[test]
fn a_long_chain_is_submitted_in_parts() {
    let program = only_kernels(&[kernel::double_in_place]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(F32, F32, 2)], &[port(F32, F32, 2)], 256);
        let x = arena(0, 8);
        for _ in 0..2 {
            let got = run(&mut *backend, &[bytes(&[1.0f32, 0.0])], &[8], |b| {
                b.copy(&CopyCommand { src: input(0, 8), dst: x })?;
                for step in 0..1300 {
                    dispatch(b, 0, &[x], if step < 100 { 2 } else { 0 }, 64)?;
                }
                b.copy(&CopyCommand { src: x, dst: output(0, 8) })
            });
            assert_eq!(floats(&got.unwrap()[0]), [2f32.powi(100), 0.0]);
        }
        // The second run records nothing. Of the first, the middle part stands alone and the ends differ.
        assert_eq!(loaded.figures().recorded_segments, 3);
    });
}

#[test]
fn two_shapes_alternately() {
    let program = only_kernels(&[kernel::add]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        for round in 0..4 {
            for n in [500usize, 20] {
                let size = n as u64 * 4;
                prepare(&mut *backend, &[port(F32, F32, n as u64); 2], &[port(F32, F32, n as u64)], 0);
                let inputs = [bytes(&ramp(n, 1.0)), bytes(&ramp(n, round as f32))];
                let got = run(&mut *backend, &inputs, &[n * 4], |b| {
                    dispatch(b, 0, &[input(0, size), input(1, size), output(0, size)], n as i64, 64)
                });
                assert_eq!(floats(&got.unwrap()[0]), ramp(n, 1.0 + round as f32));
            }
        }
        assert_eq!((loaded.figures().recorded_segments, loaded.figures().submissions), (2, 8));
    });
}

#[test]
fn two_backends_share_a_program() {
    let program = only_kernels(&[kernel::add]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        std::thread::scope(|scope| {
            for step in [1.0f32, 3.0] {
                scope.spawn(move || {
                    let mut backend = loaded.backend().unwrap();
                    prepare(&mut *backend, &[port(F32, F32, 64); 2], &[port(F32, F32, 64)], 0);
                    for _ in 0..20 {
                        let inputs = [bytes(&ramp(64, step)), bytes(&ramp(64, 1.0))];
                        let got = run(&mut *backend, &inputs, &[256], |b| {
                            dispatch(b, 0, &[input(0, 256), input(1, 256), output(0, 256)], 64, 64)
                        });
                        assert_eq!(floats(&got.unwrap()[0]), ramp(64, step + 1.0));
                    }
                });
            }
        });
    });
}

#[test]
fn large_grids_go_along_y() {
    let program = only_kernels(&[kernel::iota]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        for n in [65535u64, 65536, 200_000] {
            prepare(&mut *backend, &[], &[port(I32, I32, n)], 0);
            let got = run(&mut *backend, &[], &[n as usize * 4], |b| dispatch(b, 0, &[output(0, n * 4)], n as i64, 1)).unwrap();
            assert_eq!(ints(&got[0]), (0..n as i32).collect::<Vec<_>>());
        }
    });
}

#[test]
fn empty_tensors() {
    let program = only_kernels(&[kernel::add, kernel::sum]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        // Everything empty: nothing is submitted that would have a size of 0.
        prepare(&mut *backend, &[port(F32, F32, 0); 2], &[port(F32, F32, 0)], 0);
        let got = run(&mut *backend, &[vec![], vec![]], &[0], |b| b.copy(&CopyCommand { src: input(0, 0), dst: output(0, 0) }));
        assert_eq!(got.unwrap(), [vec![]]);
        // An empty operand of a kernel that runs, in the arena's last place as well.
        prepare(&mut *backend, &[port(F32, F32, 0)], &[port(F32, F32, 1); 2], 256);
        let got = run(&mut *backend, &[vec![]], &[4, 4], |b| {
            dispatch(b, 1, &[input(0, 0), output(0, 4)], 0, 1)?;
            dispatch(b, 1, &[arena(256, 0), output(1, 4)], 0, 1)
        });
        assert_eq!(got.unwrap(), [bytes(&[0f32]), bytes(&[0f32])]);
    });
}

#[test]
fn bool_and_i64_ports() {
    let program = only_kernels(&[kernel::and, kernel::add_i64]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(Bool, I32, 5), port(Bool, I32, 5), port(I64, I64, 1)], &[port(Bool, I32, 5), port(I64, I64, 1)], 0);
        let inputs = [vec![1, 1, 0, 0, 1], vec![1, 0, 1, 0, 1], bytes(&[-5_000_000_000i64])];
        let got = run(&mut *backend, &inputs, &[5, 8], |b| {
            dispatch(b, 0, &[input(0, 20), input(1, 20), output(0, 20)], 5, 64)?;
            dispatch(b, 1, &[input(2, 8), input(2, 8), output(1, 8)], 1, 64)
        });
        assert_eq!(got.unwrap(), [vec![1, 0, 0, 0, 1], bytes(&[-10_000_000_000i64])]);
    });
}

#[test]
fn scalars_follow_dims() {
    let program = only_kernels(&[kernel::scale]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(I32, I32, 3)], &[port(I32, I32, 3)], 0);
        let got = run(&mut *backend, &[bytes(&[1i32, -2, 3])], &[12], |b| {
            let buffers = [input(0, 12), output(0, 12)];
            b.dispatch(&DispatchCommand { dispatch: 0, kernel: 0, buffers: &buffers, dims: &[3], scalars: &[7], grid: 1, workspace: 0 })
        });
        assert_eq!(ints(&got.unwrap()[0]), [7, -14, 21]);
    });
}

#[test]
fn copies_with_offsets() {
    let program = only_kernels(&[]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(I32, I32, 8)], &[port(I32, I32, 8); 2], 1024);
        let part = |region: Region, offset: u64, bytes: u64| Region { offset: region.offset + offset, bytes, ..region };
        let (a, b, whole) = (arena(0, 32), arena(512, 32), input(0, 32));
        let got = run(&mut *backend, &[bytes(&[0i32, 1, 2, 3, 4, 5, 6, 7])], &[32, 32], |backend| {
            let mut copy = |src, dst| backend.copy(&CopyCommand { src, dst });
            copy(whole, a)?;
            copy(part(whole, 4, 12), part(a, 16, 12))?; // 0 1 2 3 1 2 3 7
            copy(part(a, 12, 20), part(b, 0, 20))?;
            copy(part(a, 0, 12), part(b, 20, 12))?; // b: 3 1 2 3 7 0 1 2
            copy(part(a, 0, 28), part(a, 4, 28))?; // up onto itself: 0 0 1 2 3 1 2 3
            copy(part(b, 8, 24), part(b, 0, 24))?; // down onto itself: 2 3 7 0 1 2 1 2
            copy(a, output(0, 32))?;
            copy(b, output(1, 32))
        });
        let got = got.unwrap();
        assert_eq!((ints(&got[0]), ints(&got[1])), (vec![0, 0, 1, 2, 3, 1, 2, 3], vec![2, 3, 7, 0, 1, 2, 1, 2]));
    });
}

#[test]
fn reads_and_host_calls_see_the_device() {
    let program = only_kernels(&[kernel::double_in_place]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(F32, F32, 2000)], &[port(F32, F32, 2000)], 8192);
        let x = arena(0, 8000);
        let values = ramp(2000, 1.0);
        let got = run(&mut *backend, &[bytes(&values)], &[8000], |b| {
            let mut word = [0; 4];
            b.read(Region { offset: 40, bytes: 4, ..input(0, 8000) }, &mut word)?;
            assert_eq!(floats(&word), [10.0]);
            b.copy(&CopyCommand { src: input(0, 8000), dst: x })?;
            for doubled in [2.0, 4.0] {
                dispatch(b, 0, &[x], 2000, 64)?;
                b.read(arena(4000, 4), &mut word)?;
                assert_eq!(floats(&word), [1000.0 * doubled]);
            }
            // Host code sees the input and the arena, and changes the arena.
            b.call_host(&[input(0, 8000), x], &mut |regions| {
                assert_eq!([regions[0].writable, regions[1].writable], [false, true]);
                // SAFETY: the regions are valid during the call and do not overlap.
                let (from, to) = unsafe {
                    let from = std::slice::from_raw_parts(regions[0].data.cast::<f32>(), regions[0].bytes / 4);
                    (from, std::slice::from_raw_parts_mut(regions[1].data.cast::<f32>(), regions[1].bytes / 4))
                };
                assert!(from.iter().zip(&*to).all(|(x, y)| 4.0 * x == *y));
                to.iter_mut().for_each(|y| *y += 1.0);
                Ok(())
            })?;
            dispatch(b, 0, &[x], 2000, 64)?;
            b.read(arena(0, 4), &mut word)?;
            assert_eq!(floats(&word), [2.0]);
            b.copy(&CopyCommand { src: x, dst: output(0, 8000) })
        });
        assert_eq!(floats(&got.unwrap()[0]), values.iter().map(|x| 2.0 * (4.0 * x + 1.0)).collect::<Vec<_>>());
    });
}

#[test]
fn constants_in_device_memory() {
    let mut model = VulkanModel::new(&["n"]);
    model.kernel(kernel::add.0, kernel::add.1, kernel::add.2, 1, 0, 64);
    model.constant(F32, &bytes(&[1.0f32, 2.0, 3.0]));
    model.constant(F32, &bytes(&[10.0f32, 20.0, 30.0]));
    let program = model.build(1, c(0), vec![Instruction::Return]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[], &[port(F32, F32, 3)], 0);
        let constant = |index| Region { location: Location::Constant(index), offset: 0, bytes: 12 };
        let got = run(&mut *backend, &[], &[12], |b| {
            let mut word = [0; 4];
            b.read(Region { offset: 8, bytes: 4, ..constant(1) }, &mut word)?;
            assert_eq!(floats(&word), [30.0]);
            dispatch(b, 0, &[constant(0), constant(1), output(0, 12)], 3, 64)
        });
        assert_eq!(floats(&got.unwrap()[0]), [11.0, 22.0, 33.0]);
    });
}

#[test]
fn large_constants_arrive_in_pieces() {
    // Two pieces and a bit, after a constant that moves it off the start of the block.
    let large: Vec<i32> = (0..(64 << 20) / 4 + 5).collect();
    let mut model = VulkanModel::new(&["n"]);
    model.constant(I32, &bytes(&[-1i32]));
    model.constant(I32, &bytes(&large));
    let program = model.build(1, c(0), vec![Instruction::Return]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        let size = large.len() as u64 * 4;
        prepare(&mut *backend, &[], &[port(I32, I32, large.len() as u64), port(I32, I32, 1)], 0);
        let constant = |index, bytes| Region { location: Location::Constant(index), offset: 0, bytes };
        let got = run(&mut *backend, &[], &[size as usize, 4], |b| {
            b.copy(&CopyCommand { src: constant(1, size), dst: output(0, size) })?;
            b.copy(&CopyCommand { src: constant(0, 4), dst: output(1, 4) })
        });
        let got = got.unwrap();
        assert!(ints(&got[0]) == large && ints(&got[1]) == [-1]);
    });
}

#[test]
fn timings_in_program_order() {
    let program = only_kernels(&[kernel::add, kernel::spin]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        backend.set_profiling(true);
        prepare(&mut *backend, &[port(F32, F32, 64); 2], &[port(F32, F32, 64), port(I32, I32, 1)], 0);
        let inputs = [bytes(&ramp(64, 1.0)), bytes(&ramp(64, 1.0))];
        for _ in 0..2 {
            run(&mut *backend, &inputs, &[256, 4], |b| {
                dispatch(b, 0, &[input(0, 256), input(1, 256), output(0, 256)], 64, 64)?;
                b.dispatch(&DispatchCommand {
                    dispatch: 1,
                    kernel: 1,
                    buffers: &[output(1, 4)],
                    dims: &[5_000],
                    scalars: &[],
                    grid: 1,
                    workspace: 0,
                })
            })
            .unwrap();
            let timings = backend.timings();
            assert_eq!(timings.iter().map(|t| t.dispatch).collect::<Vec<_>>(), [0, 1]);
            assert_eq!(timings[0].start_ns, 0);
            assert!(timings[1].start_ns >= timings[0].duration_ns && timings[1].duration_ns > 0, "{timings:?}");
        }
        backend.set_profiling(false);
        run(&mut *backend, &inputs, &[256, 4], |_| Ok(())).unwrap();
        assert!(backend.timings().is_empty());
    });
}
