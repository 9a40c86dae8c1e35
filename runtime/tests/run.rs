//! Whole runs of hand-made artifacts on the CPU.

mod fixture;

use fixture::*;
use std::sync::{Arc, atomic::AtomicU32};
use winze_runtime::{
    artifact::{
        manifest::{Access, Device, ElementType, Function},
        program::{Instruction, Place, Program as LaunchProgram},
    },
    backend::*,
    device::{DeviceChoice, choose_variant},
    error::Error,
    program::Program,
    session::{Session, SessionOptions},
    tensor::{Tensor, TensorView},
};

fn options(threads: usize) -> SessionOptions {
    SessionOptions { threads: Some(threads), ..Default::default() }
}

fn session(program: &Program, threads: usize) -> Session {
    Session::new(program, &DeviceChoice::Cpu, options(threads)).unwrap()
}

fn ramp(count: i64, step: f32) -> Vec<f32> {
    (0..count).map(|i| i as f32 * step).collect()
}

#[test]
fn runs_two_kernels_for_any_shape_and_thread_count() {
    let artifact = add_scale(symbol("rows", 0, Some(1000)), symbol("width", 1, None), 3.0).artifact();
    let program = artifact.open();
    for threads in [1, 2, 5] {
        let mut session = session(&program, threads);
        for dims in [[2, 3], [1, 1], [64, 100], [2, 3], [0, 7], [1000, 17]] {
            let (a, b) = (ramp(dims[0] * dims[1], 0.5), ramp(dims[0] * dims[1], 2.0));
            let outputs = session.run(&[TensorView::of(&dims, &a), TensorView::of(&dims, &b)]).unwrap();
            let y = outputs.get(0).unwrap();
            assert_eq!((outputs.len(), y.dims), (1, &dims[..]));
            let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b) * 3.0).collect();
            assert_eq!(y.as_slice::<f32>().unwrap(), expected);
        }
    }
}

#[test]
fn runs_the_form_that_was_made_for_the_dims() {
    let mut model = add_scale(symbol("rows", 0, None), symbol("width", 1, None), 2.0);
    specialize_rows(&mut model, 3);
    specialize_rows(&mut model, 5);
    let program = model.artifact().open();
    let mut session = session(&program, 1);
    let ones = vec![1f32; 100];
    for dims in [[2, 3], [3, 3], [3, 20], [4, 1], [5, 2], [3, 3], [2, 3]] {
        let view = TensorView::of(&dims, &ones[..(dims[0] * dims[1]) as usize]);
        let expected = if [3, 5].contains(&dims[0]) { 200.0 * dims[0] as f32 } else { 4.0 };
        let outputs = session.run(&[view, view]).unwrap();
        let y = outputs.get(0).unwrap();
        assert_eq!((y.dims, y.as_slice::<f32>().unwrap()), (&dims[..], &vec![expected; view.data.len() / 4][..]));
        let mut memory = vec![0f32; view.data.len() / 4];
        // SAFETY: any bytes are floats.
        let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<u8>(), view.data.len()) };
        session.run_into(0, &[view, view], &mut [bytes]).unwrap();
        assert!(memory.iter().all(|y| *y == expected));
    }
    // A form may be called by its own name, for its own dims only.
    let form = program.function(Some("main[rows=3]")).unwrap();
    let view = TensorView::of(&[2, 3], &ones[..6]);
    let refused = session.run_function(form, &[view, view]).err().unwrap().to_string();
    assert!(refused.contains("expected f32[3 x width]"), "{refused}");
}

#[test]
fn refuses_forms_that_differ_from_what_they_specialise() {
    let made = || {
        let mut model = add_scale(symbol("rows", 0, None), symbol("width", 1, None), 2.0);
        specialize_rows(&mut model, 3);
        model
    };
    let refused = |change: fn(&mut Function), why: &str| {
        let mut model = made();
        change(&mut model.manifest.functions[1]);
        let folder = tempfile::TempDir::new().unwrap();
        let error = model.write(&folder.path().join("model.wz")).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(|form| form.specializes.as_mut().unwrap().function = 1, "function 1 does not exist");
    refused(|form| form.specializes.as_mut().unwrap().symbols.truncate(1), "specialises 1 dims");
    refused(|form| form.inputs[0].name = "c".into(), "its inputs and outputs are not those of main");
}

#[test]
fn runs_from_memory_as_from_a_file() {
    let artifact = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 2.0).artifact();
    let program = Program::from_bytes(&std::fs::read(&artifact.path).unwrap()).unwrap();
    let outputs = session(&program, 1)
        .run(&[TensorView::of(&[1, 2], &[1f32, 2.0]), TensorView::of(&[1, 2], &[10f32, 20.0])])
        .map(|o| o.get(0).unwrap().as_slice::<f32>().unwrap().to_vec())
        .unwrap();
    assert_eq!(outputs, [22.0, 44.0]);
}

#[test]
fn binds_strided_and_unaligned_inputs_by_copying() {
    let artifact = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 1.0).artifact();
    let program = artifact.open();
    let mut session = session(&program, 1);
    // A transposed view of [[1, 2], [3, 4], [5, 6]] and an unaligned copy of zeros.
    let column_major = TensorView { strides: Some(&[1, 2]), ..TensorView::of(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]) };
    let storage = Tensor::zeros(ElementType::U8, &[25]).unwrap();
    let unaligned = TensorView::new(ElementType::F32, &[2, 3], &storage.bytes()[1..]);
    assert!(!unaligned.is_direct());
    let outputs = session.run(&[column_major, unaligned]).unwrap();
    assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    // A broadcast view.
    let broadcast = TensorView { strides: Some(&[0, 1]), ..TensorView::of(&[2, 3], &[1f32, 2.0, 3.0]) };
    let outputs = session.run(&[broadcast, broadcast]).unwrap();
    assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap(), [2.0, 4.0, 6.0, 2.0, 4.0, 6.0]);
}

#[test]
fn writes_into_the_callers_memory() {
    let artifact = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 1.0).artifact();
    let program = artifact.open();
    let mut session = session(&program, 1);
    let a = TensorView::of(&[1, 2], &[1f32, 2.0]);
    assert_eq!(session.output_dims(0, &[a, a]).unwrap(), [[1, 2]]);
    let mut out = Tensor::zeros(ElementType::F32, &[1, 2]).unwrap();
    session.run_into(0, &[a, a], &mut [out.bytes_mut()]).unwrap();
    assert_eq!(out.as_slice::<f32>().unwrap(), [2.0, 4.0]);
    let error = session.run_into(0, &[a, a], &mut [&mut [0; 4]]).unwrap_err().to_string();
    assert!(error.starts_with("bind: output \"y\": expected 8 bytes, got 4"), "{error}");
    let error = session.run_into(0, &[a, a], &mut []).unwrap_err().to_string();
    assert_eq!(error, "bind: expected 1 outputs, got memory for 0");
}

#[test]
fn binding_errors_name_input_expected_and_got() {
    let artifact = add_scale(symbol("rows", 1, Some(4)), symbol("width", 2, None), 1.0).artifact();
    let program = artifact.open();
    let mut session = session(&program, 1);
    let data = [0f32; 64];
    let view = |dims: &'static [i64]| TensorView::of(dims, &data[..dims.iter().product::<i64>() as usize]);
    let mut error = |inputs: &[TensorView<'_>]| session.run(inputs).err().unwrap().to_string();
    assert_eq!(error(&[view(&[2, 2])]), "bind: expected 2 inputs (a: f32[rows x width], b: f32[rows x width]), got 1");
    assert_eq!(
        error(&[view(&[2, 2]), TensorView::of(&[2, 2], &[0i64; 4])]),
        "bind: input \"b\": expected f32[rows x width], got i64[2 x 2]"
    );
    assert_eq!(error(&[view(&[2, 2, 2]), view(&[2, 2])]), "bind: input \"a\": expected f32[rows x width], got f32[2 x 2 x 2]");
    assert_eq!(
        error(&[view(&[2, 2]), view(&[2, 3])]),
        "bind: input \"b\": expected f32[rows x width], got f32[2 x 3], but width is 2 by dim 1 of input \"a\""
    );
    assert_eq!(error(&[view(&[5, 2]), view(&[5, 2])]), "bind: dim rows is 5 by dim 0 of input \"a\", the model was compiled for 1 to 4");
    assert_eq!(
        error(&[view(&[2, 1]), view(&[2, 1])]),
        "bind: dim width is 1 by dim 1 of input \"a\", the model was compiled for at least 2"
    );
    assert_eq!(
        error(&[TensorView::of(&[2, 2], &data[..3]), view(&[2, 2])]),
        "bind: input \"a\": expected f32[rows x width], got f32[2 x 2] with 12 bytes of data"
    );
    assert!(matches!(session.run_function(7, &[]), Err(Error::Bind(_))));
}

#[test]
fn figures_and_timings_are_exact() {
    let artifact = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 1.0).artifact();
    let program = artifact.open();
    let required = program.requirements(0, 0, &[10, 10]).unwrap();
    assert_eq!((required.arena_bytes, required.weights_bytes), (448, 4));
    let mut session = session(&program, 2);
    let data = [1f32; 100];
    let view = TensorView::of(&[10, 10], &data);
    session.run(&[view, view]).unwrap();
    assert!(session.timings().is_empty());
    assert_eq!((session.memory().arena, session.memory().workspace), (448, 2 * 64));
    session.set_profiling(true);
    session.run(&[view, view]).unwrap();
    assert_eq!(session.timings().iter().map(|t| t.dispatch).collect::<Vec<_>>(), [0, 1]);
    assert!(session.timings()[1].start_ns >= session.timings()[0].start_ns + session.timings()[0].duration_ns);
    assert_eq!(session.describe(), "cpu (2 threads)");
}

#[test]
fn outputs_become_state_without_a_copy() {
    let artifact = add_scale(symbol("rows", 1, Some(4)), symbol("width", 1, None), 2.0).artifact();
    let program = artifact.open();
    let mut session = session(&program, 1);
    let mut state = Tensor::from_view(&TensorView::of(&[1, 2], &[1f32, 2.0])).unwrap();
    let one = TensorView::of(&[1, 2], &[1f32, 1.0]);
    let (mut addresses, mut values) = (vec![], vec![]);
    for _ in 0..4 {
        session.run(&[state.view(), one]).unwrap();
        session.swap_output(0, 0, &mut state).unwrap();
        addresses.push(state.bytes().as_ptr());
        values.push(state.as_slice::<f32>().unwrap().to_vec());
    }
    assert_eq!(values, [[4.0, 6.0], [10.0, 14.0], [22.0, 30.0], [46.0, 62.0]]);
    assert_eq!((addresses[0], addresses[1]), (addresses[2], addresses[3]));
    // A failed run changes nothing.
    let wrong = TensorView::of(&[5, 1], &[0f32; 5]);
    assert!(session.run(&[wrong, wrong]).is_err());
    assert_eq!(state.as_slice::<f32>().unwrap(), [46.0, 62.0]);
    assert!(session.swap_output(0, 0, &mut Tensor::zeros(ElementType::I64, &[]).unwrap()).is_err());
    assert!(session.swap_output(0, 1, &mut state).is_err());
}

#[test]
fn the_best_variant_that_the_cpu_can_run_is_chosen() {
    let mut model = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 2.0);
    let mut impossible = model.manifest.variants[0].clone();
    impossible.target = "cpu=future".into();
    if let Device::Cpu { features, .. } = &mut impossible.device {
        features.extend(["sse2".into(), "avx9999".into()]);
    }
    let mut better = model.manifest.variants[0].clone();
    better.target = "cpu=better".into();
    model.manifest.variants.extend([better, impossible.clone()]);
    let program = model.artifact().open();
    assert_eq!(choose_variant(&program, &DeviceChoice::Cpu).unwrap(), 1);
    model.manifest.variants = vec![impossible];
    let program = model.artifact().open();
    assert_eq!(
        choose_variant(&program, &DeviceChoice::Cpu).unwrap_err().to_string(),
        "device: no variant suits cpu: cpu=future (device: this CPU lacks avx9999); compile with another --target"
    );
    let error = choose_variant(&program, &"vulkan:0".parse().unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("device: the artifact has no variant for vulkan:0, only for cpu=future;"), "{error}");
}

#[test]
fn device_strings() {
    for text in ["cpu", "vulkan", "vulkan:1", "vulkan:llvmpipe"] {
        assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
    }
    for text in ["", "gpu", "vulkan:", "cpu:1"] {
        assert!(text.parse::<DeviceChoice>().is_err());
    }
    let devices = winze_runtime::devices();
    assert!(devices[0].id == "cpu" && !devices[0].name.is_empty() && devices[0].memory_bytes > 0);
}

/// A device that is lost in the middle of its second run.
struct Losing(u32);

impl Backend for Losing {
    fn prepare(&mut self, _plan: &Plan<'_>) -> Result<(), Error> {
        Ok(())
    }
    fn state_buffer(&mut self, _bytes: u64) -> Result<Box<dyn StateBuffer>, Error> {
        Err(Error::Run("no states here".into()))
    }
    fn holds(&self, _buffer: &dyn StateBuffer) -> bool {
        false
    }
    unsafe fn begin(&mut self, _: &[HostInput], _: &[HostOutput], _: &mut StateMemory, _: &Arc<AtomicU32>) -> Result<(), Error> {
        self.0 += 1;
        Ok(())
    }
    fn dispatch(&mut self, _command: &DispatchCommand<'_>) -> Result<(), Error> {
        if self.0 == 2 { Err(Error::DeviceLost("unplugged".into())) } else { Ok(()) }
    }
    fn copy(&mut self, _command: &CopyCommand) -> Result<(), Error> {
        Ok(())
    }
    fn write(&mut self, _region: Region, _bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    fn barrier(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn read(&mut self, _region: Region, _into: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }
    fn call_host(&mut self, _: &[Region], _: &mut dyn FnMut(&[HostRegion]) -> Result<(), Error>) -> Result<(), Error> {
        Ok(())
    }
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn abort(&mut self) {}
    fn set_profiling(&mut self, _on: bool) {}
    fn timings(&self) -> &[DispatchTiming] {
        &[]
    }
    fn memory(&self) -> MemoryFigures {
        MemoryFigures::default()
    }
    fn describe(&self) -> String {
        "gpu".into()
    }
}

#[test]
fn a_lost_device_is_replaced_by_the_cpu() {
    let program = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 2.0).artifact().open();
    let x = TensorView::of(&[1, 2], &[1f32, 2.0]);
    let lost = |fall_back| {
        let options = SessionOptions { fall_back, ..options(1) };
        let mut session = Session::with_backend(&program, 0, Box::new(Losing(0)), options);
        session.run(&[x, x]).unwrap();
        session
    };
    let mut session = lost(true);
    assert!(session.notices().is_empty());
    assert_eq!(session.run(&[x, x]).unwrap().get(0).unwrap().as_slice::<f32>().unwrap(), [4.0, 8.0]);
    assert_eq!(session.notices(), ["gpu was lost (unplugged); running on the CPU from now on"]);
    assert_eq!(session.run(&[x, x]).unwrap().get(0).unwrap().as_slice::<f32>().unwrap(), [4.0, 8.0]);
    assert_eq!((session.notices().len(), session.describe().as_str()), (1, "cpu (1 threads)"));
    assert!(matches!(lost(false).run(&[x, x]), Err(Error::DeviceLost(_))));
}

/// Tables of pointers, initialised and zeroed variables: every kind of segment and relocation, from a file and from memory.
#[test]
fn images_of_both_linkers_load() {
    let images = [Some(basic_image()), basic_image_by_lld(true), basic_image_by_lld(false)];
    for image in images.into_iter().flatten() {
        let mut model = Model::with_image(image);
        let dispatch = model.kernel("use_tables", &[Access::Write], 0, c(6000), c(0));
        let program = LaunchProgram {
            registers: 0,
            buffers: vec![buffer(ElementType::F32, &[c(6000)], Place::Output(0))],
            arena: c(0),
            code: vec![Instruction::Dispatch { dispatch, buffers: vec![0], dims: vec![], scalars: vec![] }, Instruction::Return],
        };
        let outputs = vec![port("y", ElementType::F32, &[c(6000)])];
        model.function(Function { name: "main".into(), outputs, ..Function::default() }, program);
        let artifact = model.artifact();
        for program in [artifact.open(), Program::from_bytes(&std::fs::read(&artifact.path).unwrap()).unwrap()] {
            let mut session = session(&program, 1);
            let outputs = session.run(&[]).unwrap();
            let y = outputs.get(0).unwrap().as_slice::<f32>().unwrap().to_vec();
            assert!(y.chunks(2).all(|pair| pair == [4.0, 5.0]), "{:?}", &y[..8]);
        }
    }
}

#[test]
fn a_program_and_a_pool_are_shared_by_threads() {
    let program = add_scale(symbol("rows", 1, None), symbol("width", 1, None), 2.0).artifact().open();
    let pool = winze_runtime::cpu::pool::Pool::new(3);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (program, pool) = (&program, pool.clone());
            scope.spawn(move || {
                let options = SessionOptions { pool: Some(pool), ..Default::default() };
                let mut session = Session::new(program, &DeviceChoice::Cpu, options).unwrap();
                for round in 0..50 {
                    let dims = [1 + (round * 37 + seed) % 200, 50];
                    let a = ramp(dims[0] * dims[1], seed as f32);
                    let outputs = session.run(&[TensorView::of(&dims, &a), TensorView::of(&dims, &a)]).unwrap();
                    let y = outputs.get(0).unwrap().as_slice::<f32>().unwrap();
                    assert!(y.iter().zip(&a).all(|(y, a)| *y == a * 4.0), "thread {seed}, round {round}");
                }
            });
        }
    });
}
