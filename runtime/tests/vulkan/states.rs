//! States in the memory of the device: what grows in place, what is exchanged, what a failed run leaves, and what becomes of them when the device is lost.

use crate::{
    bytes,
    fixture::{vulkan::VulkanModel, *},
    floats, kernel, validated,
};
use winze_runtime::{
    artifact::{
        manifest::ElementType::{self, Bool, F32, I32},
        program::Instruction as I,
    },
    error::Error,
    program::Program,
    session::{Session, SessionOptions},
    tensor::TensorView,
    vulkan::{VulkanOptions, VulkanProgram},
};

fn session(program: &Program, loaded: &VulkanProgram) -> Session {
    let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
    Session::with_backend(program, 0, loaded.backend().unwrap(), options)
}

/// Rows of two elements appended to both heads of a state of up to four rows, of which a run may append `most`. With a variant for the CPU.
fn growing_as(element: ElementType, storage: ElementType, most: i64) -> Program {
    let mut cpu = growing();
    let function = &mut cpu.manifest.functions[0];
    let state = &mut function.states[0];
    for port in [&mut function.inputs[0], &mut function.outputs[0], &mut state.input, &mut state.output] {
        port.element = element;
    }
    let mut program = cpu.manifest.variants[0].programs[0].clone();
    program.buffers.iter_mut().for_each(|buffer| buffer.storage = storage);
    if let I::Check { rhs, .. } = &mut program.code[6] {
        *rhs = c(most);
    }
    let function = function.clone();
    let mut model = VulkanModel::new(&[]);
    model.cpu = (element == storage).then_some(cpu);
    model.build_function(function, program)
}

/// Appends a row `[head, number]` of each number to both heads; what `y` holds then, as bytes.
fn append<T: winze_runtime::tensor::Element>(
    session: &mut Session,
    element: ElementType,
    numbers: &[T],
    heads: [T; 2],
) -> Result<Vec<u8>, Error> {
    let rows = bytes(&rows(numbers, heads));
    let dims = [2, numbers.len() as i64, 2];
    Ok(session.run(&[TensorView::new(element, &dims, &rows)])?.get(0).unwrap().data.to_vec())
}

fn rows<T: Copy>(numbers: &[T], heads: [T; 2]) -> Vec<T> {
    heads.iter().flat_map(|head| numbers.iter().flat_map(move |number| [*head, *number])).collect()
}

fn grows_in_place<T: winze_runtime::tensor::Element>(element: ElementType, storage: ElementType, heads: [T; 2], numbers: [T; 5]) {
    let program = growing_as(element, storage, 3);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        let expected = |count: usize| bytes(&rows(&numbers[..count], heads));
        let held = |session: &Session| session.read_state(0, 0).unwrap().bytes().to_vec();
        assert_eq!((session.state_length(0, 0).unwrap(), held(&session)), (Some(0), vec![]));
        assert_eq!(append(&mut session, element, &numbers[..2], heads).unwrap(), expected(2));
        assert_eq!(append(&mut session, element, &numbers[2..3], heads).unwrap(), expected(3));
        assert_eq!(append(&mut session, element, &[], heads).unwrap(), expected(3));
        assert_eq!((session.state_dims(0, 0).unwrap(), held(&session)), (Some(&[2, 3, 2][..]), expected(3)));
        let full = append(&mut session, element, &numbers[3..], heads).unwrap_err();
        assert!(matches!(full, Error::StateFull { held: 3, wanted: 5, capacity: 4, .. }), "{full}");
        assert_eq!(append(&mut session, element, &numbers[3..4], heads).unwrap(), expected(4));
        // Set, taken back, reset, and taking turns.
        let two = expected(2);
        session.set_state(0, 0, &TensorView::new(element, &[2, 2, 2], &two)).unwrap();
        assert_eq!((append(&mut session, element, &numbers[2..3], heads).unwrap(), held(&session)), (expected(3), expected(3)));
        session.truncate_states(0, 1).unwrap();
        assert_eq!(append(&mut session, element, &numbers[1..3], heads).unwrap(), expected(3));
        let mut other = session.new_states(0).unwrap();
        session.swap_states(&mut other).unwrap();
        assert_eq!(append(&mut session, element, &numbers[..1], heads).unwrap(), expected(1));
        session.swap_states(&mut other).unwrap();
        drop(other);
        assert_eq!(append(&mut session, element, &numbers[3..4], heads).unwrap(), expected(4));
        session.reset_states(0).unwrap();
        assert_eq!(append(&mut session, element, &numbers[..1], heads).unwrap(), expected(1));
    });
}

#[test]
fn a_state_grows_in_place() {
    grows_in_place(F32, F32, [0f32, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn a_state_of_bools_is_stored_in_words() {
    grows_in_place(Bool, I32, [0u8, 1], [1, 0, 0, 1, 1]);
}

#[test]
fn a_failed_run_leaves_a_state_as_it_was() {
    // Fails after the rows were written.
    let program = growing_as(F32, F32, 2);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        append(&mut session, F32, &[1f32], [0.0, 1.0]).unwrap();
        let error = append(&mut session, F32, &[7f32, 8.0, 9.0], [0.0, 1.0]).unwrap_err().to_string();
        assert!(error.contains("at most three rows"), "{error}");
        assert_eq!(append(&mut session, F32, &[2f32, 3.0], [0.0, 1.0]).unwrap(), bytes(&rows(&[1f32, 2.0, 3.0], [0.0, 1.0])));
        session.cancel_handle().cancel();
        assert!(matches!(append(&mut session, F32, &[4f32], [0.0, 1.0]), Err(Error::Cancelled)));
        assert_eq!(session.state_length(0, 0).unwrap(), Some(3));
    });
}

/// `next = past + x`, which is also the output.
#[test]
fn what_does_not_grow_is_exchanged() {
    let mut model = VulkanModel::new(&["n"]);
    let add = model.kernel(kernel::add.0, kernel::add.1, kernel::add.2, 1, 0, 64);
    let x = model.input(F32, F32, &[s(0)]);
    let y = model.output(F32, F32, &[s(0)]);
    let [past, next] = model.state(F32, F32, &[s(0)]);
    let code = vec![
        I::Dispatch { dispatch: add, buffers: vec![past, x, next], dims: vec![0], scalars: vec![] },
        I::Copy { src: next, src_offset: None, dst: y, dst_offset: None, bytes: None },
        I::Return,
    ];
    let program = model.build(1, c(0), code);
    validated(&program, &VulkanOptions::default(), |loaded| {
        let mut session = session(&program, loaded);
        let run = |session: &mut Session| floats(session.run(&[TensorView::of(&[2], &[1f32, 2.0])]).unwrap().get(0).unwrap().data);
        for turn in 1..=6 {
            let turn = turn as f32;
            assert_eq!(run(&mut session), [turn, 2.0 * turn]);
        }
        // One recording for each of the two buffers that are exchanged.
        assert_eq!(loaded.figures().recorded_segments, 2);
        let mut other = session.new_states(0).unwrap();
        session.swap_states(&mut other).unwrap();
        assert_eq!(run(&mut session), [1.0, 2.0]);
        session.swap_states(&mut other).unwrap();
        assert_eq!(run(&mut session), [7.0, 14.0]);
        session.reset_states(0).unwrap();
        assert_eq!(run(&mut session), [1.0, 2.0]);
        let error = session.run(&[TensorView::of(&[1], &[1f32])]).map(drop).unwrap_err().to_string();
        assert!(error.contains("reset the states"), "{error}");
        session.reset_states(0).unwrap();
        assert_eq!(floats(session.run(&[TensorView::of(&[1], &[5f32])]).unwrap().get(0).unwrap().data), [5.0]);
        assert_eq!(session.read_state(0, 0).unwrap().as_slice::<f32>().unwrap(), [5.0]);
    });
}

#[test]
fn states_of_a_lost_device_are_lost() {
    let program = growing_as(F32, F32, 3);
    let heads = [0f32, 1.0];
    for direct_memory in [true, false] {
        let load = |lose_submission| {
            let options = VulkanOptions { lose_submission, direct_memory, ..VulkanOptions::default() };
            VulkanProgram::load(&program, 0, &winze_runtime::device::VulkanSelector::Best, &options)
        };
        let Ok(loaded) = load(None) else { return crate::report("skipped: no Vulkan device on this machine") };
        append(&mut session(&program, &loaded), F32, &[1f32], heads).unwrap();
        let submissions = loaded.figures().submissions;

        // With nothing in them the CPU takes over.
        let mut fresh = session(&program, &load(Some(0)).unwrap());
        assert_eq!(append(&mut fresh, F32, &[1f32], heads).unwrap(), bytes(&rows(&[1f32], heads)));
        assert_eq!(fresh.notices().len(), 1);

        let mut session = session(&program, &load(Some(submissions)).unwrap());
        append(&mut session, F32, &[1f32], heads).unwrap();
        let error = append(&mut session, F32, &[2f32], heads).unwrap_err();
        assert!(matches!(&error, Error::DeviceLost(why) if why.contains("the states that it held are lost")), "{error}");
        let error = append(&mut session, F32, &[2f32], heads).unwrap_err();
        assert!(matches!(&error, Error::DeviceLost(why) if why.contains("reset them")), "{error}");
        assert!(session.read_state(0, 0).is_err());
        session.reset_states(0).unwrap();
        assert_eq!(append(&mut session, F32, &[3f32], heads).unwrap(), bytes(&rows(&[3f32], heads)));
        assert_eq!(session.notices().len(), 1);
    }
}
