//! States: what grows in place, what is exchanged, what a failed run leaves, and taking turns.

mod fixture;

use fixture::*;
use winze_runtime::{
    device::DeviceChoice,
    error::Error,
    session::{Session, SessionOptions},
    tensor::TensorView,
};

fn session(model: &Model) -> Session {
    Session::new(&model.artifact().open(), &DeviceChoice::Cpu, SessionOptions { threads: Some(1), ..Default::default() }).unwrap()
}

/// Appends rows [head, number] to both heads; what `y` holds then.
fn append(session: &mut Session, numbers: &[f32]) -> Result<Vec<f32>, Error> {
    let heads = [0f32, 1.0].map(|head| numbers.iter().flat_map(move |number| [head, *number]).collect::<Vec<_>>());
    let dims = [2, numbers.len() as i64, 2];
    let outputs = session.run(&[TensorView::of(&dims, &heads.concat())])?;
    Ok(outputs.get(0).unwrap().as_slice::<f32>().unwrap().to_vec())
}

/// What a state of such rows looks like.
fn rows(numbers: &[f32]) -> Vec<f32> {
    [0f32, 1.0].iter().flat_map(|head| numbers.iter().flat_map(move |number| [*head, *number])).collect()
}

fn held(session: &Session) -> (Vec<i64>, Vec<f32>) {
    let tensor = session.read_state(0, 0).unwrap();
    (tensor.dims().to_vec(), tensor.as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn a_state_grows_in_place_up_to_its_capacity() {
    let mut session = session(&growing());
    assert_eq!((session.state_length(0, 0).unwrap(), held(&session)), (Some(0), (vec![2, 0, 2], vec![])));
    assert_eq!(append(&mut session, &[1.0, 2.0]).unwrap(), rows(&[1.0, 2.0]));
    assert_eq!(append(&mut session, &[3.0]).unwrap(), rows(&[1.0, 2.0, 3.0]));
    assert_eq!(append(&mut session, &[]).unwrap(), rows(&[1.0, 2.0, 3.0]));
    assert_eq!((session.state_length(0, 0).unwrap(), session.state_dims(0, 0).unwrap()), (Some(3), Some(&[2, 3, 2][..])));
    let error = append(&mut session, &[4.0, 5.0]).unwrap_err();
    assert_eq!(error.code(), 9);
    assert_eq!(
        error.to_string(),
        "run: state \"past\" holds 3 of at most 4 along axis 1 and would grow to 5; reset it, or compile with a larger bound"
    );
    assert_eq!(held(&session), (vec![2, 3, 2], rows(&[1.0, 2.0, 3.0])));
    assert_eq!(append(&mut session, &[4.0]).unwrap(), rows(&[1.0, 2.0, 3.0, 4.0]));
    assert_eq!(session.state_bytes(), 2 * 4 * 2 * 4);
}

#[test]
fn a_failed_run_leaves_a_state_as_it_was() {
    let mut model = growing();
    // Fails after the rows were written.
    if let winze_runtime::artifact::program::Instruction::Check { rhs, .. } = &mut model.variant().programs[0].code[6] {
        *rhs = c(2);
    }
    let mut session = session(&model);
    append(&mut session, &[1.0]).unwrap();
    let error = append(&mut session, &[7.0, 8.0, 9.0]).unwrap_err().to_string();
    assert!(error.contains("at most three rows"), "{error}");
    assert_eq!(held(&session), (vec![2, 1, 2], rows(&[1.0])));
    assert_eq!(append(&mut session, &[2.0, 3.0]).unwrap(), rows(&[1.0, 2.0, 3.0]));
    // Cancelled before it starts: the same.
    session.cancel_handle().cancel();
    let _ = append(&mut session, &[4.0]);
    assert!(session.state_length(0, 0).unwrap().is_some_and(|length| length >= 3));
}

#[test]
fn states_are_set_read_cut_reset_and_exchanged() {
    let mut session = session(&growing());
    session.set_state(0, 0, &TensorView::of(&[2, 2, 2], &rows(&[1.0, 2.0]))).unwrap();
    assert_eq!(append(&mut session, &[3.0]).unwrap(), rows(&[1.0, 2.0, 3.0]));
    session.truncate_states(0, 1).unwrap();
    assert_eq!(append(&mut session, &[4.0]).unwrap(), rows(&[1.0, 4.0]));
    let mut other = session.new_states(0).unwrap();
    session.swap_states(&mut other).unwrap();
    assert_eq!(append(&mut session, &[5.0]).unwrap(), rows(&[5.0]));
    session.swap_states(&mut other).unwrap();
    assert_eq!(append(&mut session, &[6.0]).unwrap(), rows(&[1.0, 4.0, 6.0]));
    session.reset_states(0).unwrap();
    assert_eq!(append(&mut session, &[7.0]).unwrap(), rows(&[7.0]));

    let five = rows(&[0.0; 5]);
    let too_long = session.set_state(0, 0, &TensorView::of(&[2, 5, 2], &five)).unwrap_err();
    assert!(matches!(too_long, Error::StateFull { wanted: 5, capacity: 4, .. }), "{too_long}");
    let wrong = session.set_state(0, 0, &TensorView::of(&[1, 1, 2], &[0f32; 2])).unwrap_err().to_string();
    assert_eq!(wrong, "bind: the state \"past\" is f32[2 x held x 2], got f32[1 x 1 x 2]");
    let missing = session.set_state(0, 1, &TensorView::of(&[], &[0f32])).unwrap_err().to_string();
    assert_eq!(missing, "bind: state 1 does not exist, there are 1");
    assert_eq!(held(&session), (vec![2, 1, 2], rows(&[7.0])));
}

#[test]
fn a_state_that_does_not_grow_is_exchanged() {
    let mut model = add_scale(symbol("rows", 1, Some(4)), symbol("width", 1, None), 2.0);
    keep_b(&mut model);
    specialize_rows(&mut model, 3);
    let form = &mut model.manifest.functions[1];
    form.states[0].input.dims = form.inputs[0].dims.clone();
    form.states[0].output.dims = form.inputs[0].dims.clone();
    let mut session = session(&model);
    assert_eq!((session.state_dims(0, 0).unwrap(), session.state_length(0, 0).unwrap()), (None, None));
    // Zeros of the extents that the input says.
    let one = TensorView::of(&[1, 2], &[1f32, 2.0]);
    let mut values = vec![];
    for _ in 0..3 {
        session.run(&[one]).unwrap();
        values.push(held(&session).1);
    }
    assert_eq!(values, [[2.0, 4.0], [6.0, 12.0], [14.0, 28.0]]);
    let error = session.run(&[TensorView::of(&[2, 2], &[0f32; 4])]).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "bind: the state \"b\" is f32[1 x 2], but rows is 2 by dim 0 of input \"a\"; reset the states");
    assert_eq!(held(&session), (vec![1, 2], vec![14.0, 28.0]));
    // The form for three rows has the same states.
    session.reset_states(0).unwrap();
    session.run(&[TensorView::of(&[3, 1], &[1f32, 2.0, 3.0])]).unwrap();
    assert_eq!(held(&session), (vec![3, 1], vec![300.0, 600.0, 900.0]));
    session.reset_states(0).unwrap();
    session.run(&[one]).unwrap();
    assert_eq!(held(&session).1, [2.0, 4.0]);
}
