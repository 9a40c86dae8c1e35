//! A run allocates nothing for dims inside what was seen or prepared before.

#[path = "fixture/counting.rs"]
mod counting;
mod fixture;

use counting::allocations;
use fixture::*;
use winze_runtime::{
    artifact::{
        manifest::{Access, ElementType, Function},
        program::{Instruction::*, Place, Program as LaunchProgram},
    },
    cpu::pool::Pool,
    device::DeviceChoice,
    session::{Session, SessionOptions},
    tensor::TensorView,
};

#[test]
fn runs_allocate_nothing() {
    inside_the_bound();
    in_a_thousand_steps();
}

/// A loop that dispatches and copies in every step.
fn in_a_thousand_steps() {
    let mut model = Model::new();
    let dispatch = model.kernel("add_scalar", &[Access::ReadWrite], 0, c(1), c(0));
    let i64s = |place| buffer(ElementType::I64, &[c(8)], place);
    let copy = |src, dst| Copy { src, src_offset: None, dst, dst_offset: None, bytes: None };
    let code = vec![
        copy(0, 2),
        ConstInt { dst: 0, value: 1000 },
        Loop { counter: 1, trip: 0, exit: 6 },
        Dispatch { dispatch, buffers: vec![2], dims: vec![], scalars: vec![1] },
        copy(2, 1),
        EndLoop { start: 2 },
        Return,
    ];
    let ports = |name: &str| vec![port(name, ElementType::I64, &[c(8)])];
    let function = Function { name: "main".into(), symbols: vec![], inputs: ports("x"), outputs: ports("y"), ..Function::default() };
    let buffers = vec![i64s(Place::Input(0)), i64s(Place::Output(0)), i64s(Place::Arena(c(0)))];
    model.function(function, LaunchProgram { registers: 2, buffers, arena: c(64), code });
    let program = model.artifact().open();
    let options = SessionOptions { threads: Some(1), ..Default::default() };
    let mut session = Session::new(&program, &DeviceChoice::Cpu, options).unwrap();
    session.prepare(0, &[]).unwrap();
    let x = [1i64; 8];
    let before = allocations();
    let outputs = session.run(&[TensorView::of(&[8], &x)]).unwrap();
    assert_eq!(outputs.get(0).unwrap().as_slice::<i64>().unwrap()[0], 1 + 999 * 1000 / 2);
    assert_eq!(allocations() - before, 0);
}

fn inside_the_bound() {
    let mut model = add_scale(symbol("rows", 1, Some(512)), symbol("width", 1, Some(64)), 2.0);
    specialize_rows(&mut model, 7);
    let program = model.artifact().open();
    let data = vec![1f32; 512 * 64];
    for threads in [1, 3] {
        for seen in [true, false] {
            let pool = Pool::new(threads);
            let options = SessionOptions { pool: Some(pool.clone()), ..Default::default() };
            let mut session = Session::new(&program, &DeviceChoice::Cpu, options).unwrap();
            let run = |session: &mut Session, dims: [i64; 2]| {
                let view = TensorView::of(&dims, &data[..(dims[0] * dims[1]) as usize]);
                let outputs = session.run(&[view, view]).unwrap();
                let expected = if dims[0] == 7 { 1400.0 } else { 4.0 };
                assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap().last(), Some(&expected));
            };
            if seen {
                // Threads start when a dispatch is first worth it, or when asked to.
                pool.start();
                run(&mut session, [512, 64]);
            } else {
                session.prepare(0, &[512, 64]).unwrap();
            }
            let before = allocations();
            for dims in [[512, 64], [1, 1], [7, 64], [512, 3], [100, 10], [512, 64]] {
                run(&mut session, dims);
                run(&mut session, dims);
            }
            assert_eq!(allocations() - before, 0, "{threads} threads, seen {seen}");
        }
    }
    // A growing state has its room from the first run on.
    let program = growing().artifact().open();
    let mut session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions { threads: Some(1), ..Default::default() }).unwrap();
    let step = |session: &mut Session| session.run(&[TensorView::of(&[2, 1, 2], &[1f32, 2.0, 3.0, 4.0])]).map(|_| ());
    (0..4).try_for_each(|_| step(&mut session)).unwrap();
    session.truncate_states(0, 0).unwrap();
    let before = allocations();
    (0..4).try_for_each(|_| step(&mut session)).unwrap();
    assert_eq!(allocations() - before, 0, "states");
}
