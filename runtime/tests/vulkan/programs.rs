//! Whole launch programs through a session: control flow on values from the device, symbolic dims, ports of all kinds.

use crate::{
    fixture::{vulkan::VulkanModel, *},
    floats, kernel, validated,
};
use winze_runtime::{
    artifact::{
        expr::{Expr, ExprOp},
        manifest::ElementType::{Bool, F32, I32, I64},
        program::{Instruction as I, IntOp},
    },
    program::Program,
    session::{Session, SessionOptions},
    tensor::TensorView,
    vulkan::{VulkanOptions, VulkanProgram},
};

fn session(program: &Program, loaded: &VulkanProgram) -> Session {
    Session::with_backend(program, 0, loaded.backend().unwrap(), SessionOptions::default())
}

/// Bytes of `n` 32-bit elements at a multiple of 256.
fn padded(n: &Expr) -> Expr {
    let bytes = Expr::binary(ExprOp::Mul, n, &c(4));
    Expr::binary(ExprOp::Mul, &Expr::binary(ExprOp::CeilDiv, &bytes, &c(256)), &c(256))
}

fn dispatch(dispatch: u32, buffers: &[u32]) -> I {
    I::Dispatch { dispatch, buffers: buffers.to_vec(), dims: vec![0], scalars: vec![] }
}

fn copy(src: u32, dst: u32) -> I {
    I::Copy { src, src_offset: None, dst, dst_offset: None, bytes: None }
}

/// `y = x * 2^trip`, where the trip count comes through device memory.
fn loop_with_loaded_trip() -> Program {
    let mut model = VulkanModel::new(&["n"]);
    let double = model.kernel(kernel::double_in_place.0, kernel::double_in_place.1, kernel::double_in_place.2, 1, 0, 64);
    let x = model.input(F32, F32, &[s(0)]);
    let trip = model.input(I64, I64, &[]);
    let y = model.output(F32, F32, &[s(0)]);
    let t = model.arena(I64, &[], c(0));
    let code = vec![
        copy(x, y),
        copy(trip, t),
        I::ConstInt { dst: 1, value: 0 },
        I::Load { dst: 2, buffer: t, index: 1 },
        I::Loop { counter: 3, trip: 2, exit: 7 },
        dispatch(double, &[y]),
        I::EndLoop { start: 4 },
        I::Return,
    ];
    model.build(4, c(256), code)
}

#[test]
fn data_dependent_trip_counts() {
    let program = loop_with_loaded_trip();
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        for (n, trip) in [(3usize, 0i64), (3, 1), (200, 20), (0, 5), (3, 20), (200, 20), (3, -4)] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let got = session.run(&[TensorView::of(&[n as i64], &x), TensorView::of(&[], &[trip])]).unwrap();
            let expected: Vec<f32> = x.iter().map(|x| x * 2f32.powi(trip.max(0) as i32)).collect();
            assert_eq!(got.get(0).unwrap().as_slice::<f32>().unwrap(), expected, "n {n}, trip {trip}");
        }
    });
}

/// `do { x = 2 x } while (x[0] < limit[0])`, the condition computed on the device.
#[test]
fn loops_on_conditions_from_the_device() {
    let mut model = VulkanModel::new(&["n"]);
    let double = model.kernel(kernel::double_in_place.0, kernel::double_in_place.1, kernel::double_in_place.2, 1, 0, 64);
    let less = model.kernel(kernel::less.0, kernel::less.1, kernel::less.2, 1, 0, 64);
    let x = model.input(F32, F32, &[s(0)]);
    let limit = model.input(F32, F32, &[s(0)]);
    let y = model.output(F32, F32, &[s(0)]);
    let flags = model.output(Bool, I32, &[s(0)]);
    let state = model.arena(F32, &[s(0)], c(0));
    let code = vec![
        copy(x, state),
        I::ConstInt { dst: 1, value: 0 },
        dispatch(double, &[state]),
        dispatch(less, &[state, limit, flags]),
        I::Load { dst: 2, buffer: flags, index: 1 },
        I::Branch { condition: 2, on_true: 2, on_false: 6 },
        copy(state, y),
        I::Return,
    ];
    let program = model.build(3, padded(&s(0)), code);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        for limit in [1.5f32, 100.0, 1e6, 100.0] {
            let got = session.run(&[TensorView::of(&[2], &[1.0f32, 0.25]), TensorView::of(&[2], &[limit, limit])]).unwrap();
            let mut expected = 2.0;
            while expected < limit {
                expected *= 2.0;
            }
            assert_eq!(got.get(0).unwrap().as_slice::<f32>().unwrap(), [expected, expected / 4.0]);
            assert_eq!(got.get(1).unwrap().data, [0, u8::from(expected / 4.0 < limit)]);
        }
        // One recording for the first round with the upload, one for the others, one for the copy (and download) at the end.
        assert_eq!(loaded.figures().recorded_segments, 3);
    });
}

#[test]
fn branches_on_a_bool_input() {
    let mut model = VulkanModel::new(&["n"]);
    let add = model.kernel(kernel::add.0, kernel::add.1, kernel::add.2, 1, 0, 64);
    let condition = model.input(Bool, I32, &[]);
    let x = model.input(F32, F32, &[s(0)]);
    let y = model.output(F32, F32, &[s(0)]);
    let code = vec![
        I::ConstInt { dst: 1, value: 0 },
        I::Load { dst: 2, buffer: condition, index: 1 },
        I::Branch { condition: 2, on_true: 3, on_false: 5 },
        dispatch(add, &[x, x, y]),
        I::Return,
        copy(x, y),
        I::Return,
    ];
    let program = model.build(3, c(0), code);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        for (flag, factor) in [(1u8, 2.0), (0, 1.0), (1, 2.0), (0, 1.0)] {
            let condition = TensorView::new(Bool, &[], std::slice::from_ref(&flag));
            let got = session.run(&[condition, TensorView::of(&[3], &[1.0f32, 2.0, 3.0])]).unwrap();
            assert_eq!(floats(got.get(0).unwrap().data), [factor, 2.0 * factor, 3.0 * factor]);
        }
        // An input is read without asking the device: one submission a run.
        assert_eq!((loaded.figures().recorded_segments, loaded.figures().submissions), (2, 4));
    });
}

/// `y[i] = i * step` by i64 addition on the device, one element a round, copied to offsets that the host computes.
#[test]
fn copies_at_computed_offsets() {
    let mut model = VulkanModel::new(&["n"]);
    let add = model.kernel(kernel::add_i64.0, kernel::add_i64.1, kernel::add_i64.2, 1, 0, 64);
    let step = model.input(I64, I64, &[]);
    model.input(F32, F32, &[s(0)]); // binds n
    let y = model.output(I64, I64, &[s(0)]);
    let sums = [model.arena(I64, &[], c(0)), model.arena(I64, &[], c(256))];
    let zero = model.constant(I64, &[0; 8]); // of shape [1]
    let code = vec![
        I::ConstInt { dst: 1, value: 1 },
        I::ConstInt { dst: 2, value: 8 },
        copy(zero, sums[0]),
        I::Loop { counter: 3, trip: 0, exit: 9 },
        I::Int { op: IntOp::Mul, dst: 4, lhs: 3, rhs: 2 },
        I::Copy { src: sums[0], src_offset: None, dst: y, dst_offset: Some(4), bytes: Some(2) },
        I::Dispatch { dispatch: add, buffers: vec![sums[0], step, sums[1]], dims: vec![1], scalars: vec![] },
        copy(sums[1], sums[0]),
        I::EndLoop { start: 3 },
        I::Return,
    ];
    let program = model.build(5, c(512), code);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        for n in [5i64, 0, 40] {
            let nothing = vec![0f32; n as usize];
            let got = session.run(&[TensorView::of(&[], &[3_000_000_000i64]), TensorView::of(&[n], &nothing)]).unwrap();
            assert_eq!(got.get(0).unwrap().as_slice::<i64>().unwrap(), (0..n).map(|i| i * 3_000_000_000).collect::<Vec<_>>());
        }
    });
}

/// `y = [0, 1, ...]`, each element stored from a register, and its last one once more through a load.
#[test]
fn stores_registers() {
    let mut model = VulkanModel::new(&["n"]);
    model.input(F32, F32, &[s(0)]); // binds n
    let y = model.output(I64, I64, &[s(0)]);
    let flag = model.output(Bool, I32, &[]);
    let code = vec![
        I::ConstInt { dst: 1, value: 0 },
        I::Loop { counter: 2, trip: 0, exit: 4 },
        I::Store { src: 2, buffer: y, index: 2 },
        I::EndLoop { start: 1 },
        I::ConstBool { dst: 3, value: true },
        I::Store { src: 3, buffer: flag, index: 1 },
        I::Return,
    ];
    let program = model.build(4, c(0), code);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        for n in [1i64, 5, 600] {
            let nothing = vec![0f32; n as usize];
            let got = session.run(&[TensorView::of(&[n], &nothing)]).unwrap();
            assert_eq!(got.get(0).unwrap().as_slice::<i64>().unwrap(), (0..n).collect::<Vec<_>>());
            assert_eq!(got.get(1).unwrap().data, [1]);
        }
    });
}

#[test]
fn timings_name_the_dispatches() {
    let program = loop_with_loaded_trip();
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        session.set_profiling(true);
        for trip in [3i64, 1] {
            session.run(&[TensorView::of(&[2], &[1.0f32, 2.0]), TensorView::of(&[], &[trip])]).unwrap();
            assert_eq!(session.timings().iter().map(|t| t.dispatch).collect::<Vec<_>>(), vec![0; trip as usize]);
        }
    });
}
