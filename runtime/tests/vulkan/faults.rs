//! What the backend refuses, and how it takes a device that fails.

use crate::{
    bytes,
    commands::{arena, dispatch, input, only_kernels, output, port, prepare, run},
    fixture::{vulkan::VulkanModel, *},
    kernel, report, validated,
};
use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};
use winze_runtime::{
    artifact::{
        manifest::{Access, ElementType::F32, ElementType::I32},
        program::{Instruction, IntOp},
    },
    backend::{CopyCommand, DispatchCommand, HostInput, Plan, Region},
    device::{DeviceChoice, VulkanSelector},
    error::Error,
    program::Program,
    session::{Session, SessionOptions},
    tensor::TensorView,
    vulkan::{VulkanOptions, VulkanProgram, devices},
};

fn expect<T>(result: Result<T, Error>, part: &str) {
    let message = result.err().unwrap_or_else(|| panic!("no error about {part}")).to_string();
    assert!(message.contains(part), "{message}");
}

#[test]
fn a_lost_device_is_told_apart_and_stays_lost() {
    let program = only_kernels(&[kernel::add]);
    for lost in [0, 1] {
        let options = VulkanOptions { lose_submission: Some(lost), ..VulkanOptions::default() };
        validated(&program, &options, |loaded| {
            let mut backend = loaded.backend().unwrap();
            prepare(&mut *backend, &[port(F32, F32, 4); 2], &[port(F32, F32, 4)], 0);
            let inputs = [bytes(&[1.0f32; 4]), bytes(&[2.0f32; 4])];
            let mut once = || run(&mut *backend, &inputs, &[16], |b| dispatch(b, 0, &[input(0, 16), input(1, 16), output(0, 16)], 4, 64));
            for _ in 0..lost {
                assert_eq!(once().unwrap(), [bytes(&[3.0f32; 4])]);
            }
            assert!(matches!(once(), Err(Error::DeviceLost(_))));
            assert!(matches!(once(), Err(Error::DeviceLost(_))), "it does not come back by itself");
            assert!(matches!(
                loaded.backend().unwrap().prepare(&Plan { function: 0, inputs: &[], outputs: &[], arena_bytes: 0, workspace_bytes: 0 }),
                Err(Error::DeviceLost(_))
            ));
        });
    }
}

/// `y = 2 (a + b)` on Vulkan and on the CPU.
fn on_both_devices() -> Program {
    let mut model = VulkanModel::new(&["rows", "width"]);
    let add = model.kernel(kernel::add.0, kernel::add.1, kernel::add.2, 1, 0, 64);
    let double = model.kernel(kernel::double_in_place.0, kernel::double_in_place.1, kernel::double_in_place.2, 1, 0, 64);
    let shape = [s(0), s(1)];
    let (a, b, y) = (model.input(F32, F32, &shape), model.input(F32, F32, &shape), model.output(F32, F32, &shape));
    let once = |dispatch, buffers| Instruction::Dispatch { dispatch, buffers, dims: vec![2], scalars: vec![] };
    let code = vec![
        Instruction::Int { op: IntOp::Mul, dst: 2, lhs: 0, rhs: 1 },
        once(add, vec![a, b, y]),
        once(double, vec![y]),
        Instruction::Return,
    ];
    model.cpu = Some(add_scale(symbol("rows", 0, None), symbol("width", 0, None), 2.0));
    model.build(3, c(0), code)
}

#[test]
fn a_run_goes_on_after_a_lost_device() {
    if devices().is_empty() {
        return report("skipped: no Vulkan device on this machine");
    }
    let program = on_both_devices();
    let device = DeviceChoice::Vulkan(VulkanSelector::Best);
    let mut options = SessionOptions::default();
    options.vulkan.lose_submission = Some(1);
    let mut session = Session::new(&program, &device, options.clone()).unwrap();
    let mut other = Session::new(&program, &device, options.clone()).unwrap();
    options.fall_back = false;
    let mut strict = Session::new(&program, &device, options).unwrap();
    let inputs = [TensorView::of(&[1, 2], &[1.0f32, 2.0]), TensorView::of(&[1, 2], &[10.0f32, 20.0])];
    // All sessions are on one device: the first submission is good, the second is lost, for all.
    for (round, vulkan) in [(0, true), (1, false), (2, false)] {
        let y = session.run(&inputs).unwrap().get(0).unwrap().as_slice::<f32>().unwrap().to_vec();
        assert_eq!(y, [22.0, 44.0], "round {round}");
        assert_eq!(session.describe().starts_with("vulkan:"), vulkan, "round {round}: {}", session.describe());
    }
    assert_eq!(session.notices().len(), 1);
    assert!(matches!(strict.run(&inputs), Err(Error::DeviceLost(_))));
    assert_eq!(other.run(&inputs).unwrap().get(0).unwrap().as_slice::<f32>().unwrap(), [22.0, 44.0]);
    assert_eq!((other.describe().starts_with("vulkan:"), other.notices().len()), (false, 1));
    // A new session opens the device again.
    assert!(Session::new(&program, &device, SessionOptions::default()).unwrap().run(&inputs).is_ok());
}

#[test]
fn a_device_that_does_not_answer_is_lost() {
    let program = only_kernels(&[kernel::spin]);
    // Destruction then waits for the kernel to end, or the validation layer would complain.
    let options = VulkanOptions { timeout: Some(Duration::from_millis(2)), ..VulkanOptions::default() };
    validated(&program, &options, |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[], &[port(I32, I32, 1)], 0);
        let spin =
            DispatchCommand { dispatch: 0, kernel: 0, buffers: &[output(0, 4)], dims: &[60_000], scalars: &[], grid: 1, workspace: 0 };
        match run(&mut *backend, &[], &[4], |b| b.dispatch(&spin)) {
            Err(error) => assert!(matches!(&error, Error::DeviceLost(why) if why.contains("gave no answer for 2 ms")), "{error}"),
            Ok(_) => report("not provoked: this driver finishes a submission before it returns from it"),
        }
    });
}

#[test]
fn wrong_commands_leave_the_backend_usable() {
    let program = only_kernels(&[kernel::add]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(F32, F32, 4); 2], &[port(F32, F32, 4)], 1024);
        let inputs = [bytes(&[1.0f32; 4]), bytes(&[2.0f32; 4])];
        let (a, b, out) = (input(0, 16), input(1, 16), output(0, 16));
        let mut attempt = |buffers: &[Region], n: i64| run(&mut *backend, &inputs, &[16], |b| dispatch(b, 0, buffers, n, 64));
        expect(attempt(&[a, b, input(0, 16)], 4), "argument 2 writes Input(0)");
        expect(attempt(&[a, b], 4), "wrong number of buffers");
        expect(attempt(&[a, b, arena(1024, 16)], 4), "lie outside it");
        expect(attempt(&[a, arena(4, 16), out], 4), "offset 4, which this device cannot bind");
        expect(attempt(&[a, b, out], 1 << 31), "dim 0 is 2147483648, beyond the 32 bits");
        assert_eq!(attempt(&[a, b, out], 4).unwrap(), [bytes(&[3.0f32; 4])]);
        expect(run(&mut *backend, &inputs, &[16], |backend| backend.copy(&CopyCommand { src: a, dst: b })), "cannot copy");
        expect(run(&mut *backend, &inputs[..1], &[16], |_| Ok(())), "not those that were prepared");
        expect(run(&mut *backend, &inputs, &[12], |_| Ok(())), "output 0 has 12 bytes, not 16");
    });
}

#[test]
fn too_much_memory_is_an_error() {
    let program = only_kernels(&[kernel::add]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        let huge = Plan { function: 0, inputs: &[], outputs: &[], arena_bytes: 1 << 46, workspace_bytes: 0 };
        expect(backend.prepare(&huge), "the arena needs 70368744177664 bytes");
        expect(run(&mut *backend, &[], &[], |_| Ok(())), "not those that were prepared");
        // A tensor that one binding cannot show.
        let big = 128 << 20;
        prepare(&mut *backend, &[port(F32, F32, 1); 2], &[port(F32, F32, 1)], big + 256);
        let one = [bytes(&[1.0f32]), bytes(&[2.0f32])];
        let shown = run(&mut *backend, &one, &[4], |b| dispatch(b, 0, &[input(0, 4), input(1, 4), arena(0, big + 256)], 1, 64));
        if let Err(error) = shown {
            assert!(error.to_string().contains("a kernel sees at most"), "{error}");
        }
    });
}

#[test]
fn cancelled_runs_stop() {
    let program = only_kernels(&[kernel::add]);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut backend = loaded.backend().unwrap();
        prepare(&mut *backend, &[port(F32, F32, 1); 2], &[], 256);
        let data = bytes(&[1.0f32]);
        let inputs = [HostInput { data: data.as_ptr(), bytes: 4 }; 2];
        let cancel = Arc::new(AtomicU32::new(1));
        // SAFETY: the input outlives the run.
        unsafe { backend.begin(&inputs, &[], &mut [], &cancel) }.unwrap();
        assert!(matches!(dispatch(&mut *backend, 0, &[input(0, 4), input(1, 4), arena(0, 4)], 1, 64), Err(Error::Cancelled)));
        backend.abort();
        assert!(matches!(backend.finish(), Err(Error::Run(_))), "nothing was begun");
    });
}

/// A program whose one kernel is `module`, as the manifest describes it.
fn with_module(module: &[u8], entry_group: u32, access: &[Access]) -> Program {
    let mut model = VulkanModel::new(&["n"]);
    model.kernel("odd", module, access, 1, 0, entry_group);
    model.build(1, c(0), vec![Instruction::Return])
}

fn load(program: &Program) -> Result<(), Error> {
    VulkanProgram::load(program, 0, &VulkanSelector::Best, &VulkanOptions::default()).map(|_| ())
}

#[test]
fn wrong_modules_never_reach_the_driver() {
    if devices().is_empty() {
        return report("skipped: no Vulkan device on this machine");
    }
    let (_, module, access) = kernel::add;
    load(&with_module(module, 64, access)).unwrap();
    expect(load(&with_module(module, 32, access)), "workgroup size is [64, 1, 1] in the code and [32, 1, 1] in the manifest");
    expect(load(&with_module(&module[..40], 64, access)), "cut short");
    expect(load(&with_module(&[module[..20].to_vec(), vec![0; 20]].concat(), 64, access)), "cut short");
    expect(load(&with_module(&module[..20], 64, access)), "no compute entry point \"main\"");
    expect(load(&with_module(module, 64, &[Access::Read; 100_000])), "it binds 100000 buffers");
}

#[test]
fn requirements_are_checked() {
    if devices().is_empty() {
        return report("skipped: no Vulkan device on this machine");
    }
    let mut model = VulkanModel::new(&[]);
    model.features = vec!["subgroup-basic".into(), "time-travel".into()];
    let program = model.build(0, c(0), vec![Instruction::Return]);
    expect(load(&program), "lacks time-travel");
    let mut model = VulkanModel::new(&[]);
    model.api_version = 9 << 22;
    expect(load(&model.build(0, c(0), vec![Instruction::Return])), "lacks Vulkan 9.0 (it has");
    let program = VulkanModel::new(&[]).build(0, c(0), vec![Instruction::Return]);
    let by_name = VulkanSelector::Name("no such device".into());
    expect(
        VulkanProgram::load(&program, 0, &by_name, &VulkanOptions::default()).map(|_| ()),
        "no Vulkan device is called \"no such device\"",
    );
    let name = VulkanSelector::Name(devices()[0].name[1..].to_uppercase());
    assert!(VulkanProgram::load(&program, 0, &name, &VulkanOptions::default()).is_ok());
}
