//! Whole runs of hand-made artifacts on the CPU.

mod fixture;

use fixture::*;
use winze_runtime::{
    artifact::manifest::ElementType,
    device::DeviceChoice,
    error::Error,
    program::Program,
    session::{Session, SessionOptions},
    tensor::{Tensor, TensorView},
};

fn options(threads: usize) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.threads = Some(threads);
    options
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
        "bind: input \"b\": expected f32[rows x width], got f32[2 x 3], but width is 2 by an earlier dim"
    );
    assert_eq!(error(&[view(&[5, 2]), view(&[5, 2])]), "bind: dim rows is 5, the model was compiled for 1 to 4");
    assert_eq!(error(&[view(&[2, 1]), view(&[2, 1])]), "bind: dim width is 1, the model was compiled for at least 2");
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
