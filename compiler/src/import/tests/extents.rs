//! Operators whose sizes follow from symbolic dims: reference evaluation for given sizes against numbers worked out by hand.

use super::*;
use winze_graph::{
    eval::{EvalContext, eval_function},
    tensor::Tensor,
};
use winze_mlir::walk;

/// Evaluates a chain of nodes from the inputs `x`, f32 with these dims, and `l`, f32 [m], to `y`. Symbols are n and m, as far as they occur.
fn evaluate(nodes: Vec<NodeProto>, dims: &[&str], constants: Vec<TensorProto>, symbols: &[i64], x: Tensor) -> Result<Vec<f32>, String> {
    let arguments = vec![info("x", data_type::FLOAT, dims), info("l", data_type::FLOAT, &["m"])];
    let model = model(graph(nodes, arguments, vec![info("y", data_type::FLOAT, &["?"; 1])], constants));
    let context = new_context();
    let imported = import(&context, &model, &[]).unwrap_or_else(|error| panic!("{error}"));
    let body = imported.module.body();
    let function = walk::operations(body).next().expect("a function");
    let l = Tensor::new(&[symbols[symbols.len() - 1] as usize], &vec![0f32; symbols[symbols.len() - 1] as usize]);
    let found = eval_function(&EvalContext::new(symbols), function, &[x, l])?;
    Ok((0..found[0].count()).map(|i| found[0].get(i).f64() as f32).collect())
}

fn counting(count: usize) -> Tensor {
    Tensor::new(&[count], &(0..count).map(|i| i as f32).collect::<Vec<_>>())
}

/// The shape of `l`, m.
fn length() -> NodeProto {
    node("Shape", &["l"], &["m"], vec![])
}

#[test]
fn slices_take_positions_from_other_extents() {
    let slice = |start: &str, end: &str, step: &str| {
        let constants =
            vec![longs("zero", &[0]), longs("one", &[1]), longs("back", &[-1]), longs("all", &[i64::MAX]), longs("front", &[i64::MIN])];
        let nodes = vec![length(), node("Slice", &["x", start, end, "zero", step], &["y"], vec![])];
        move |n: usize, m: i64| evaluate(nodes.clone(), &["n"], constants.clone(), &[n as i64, m], counting(n))
    };
    let to = slice("zero", "m", "one");
    assert_eq!(to(5, 3), Ok(vec![0.0, 1.0, 2.0]));
    assert_eq!(to(5, 5).unwrap().len(), 5);
    let from = slice("m", "all", "one");
    assert_eq!(from(5, 3), Ok(vec![3.0, 4.0]));
    assert_eq!(from(3, 3), Ok(vec![]));
    let message = to(5, 6).unwrap_err();
    assert!(message.contains("Slice at y_node needs the slice 0..s1 to lie inside axis 0 of `x`"), "{message}");
    assert_eq!(slice("back", "m", "back")(6, 2), Ok(vec![5.0, 4.0, 3.0]));
    assert_eq!(slice("m", "front", "back")(6, 2), Ok(vec![2.0, 1.0, 0.0]));
    assert_eq!(slice("one", "back", "one")(4, 1), Ok(vec![1.0, 2.0]));
}

/// Exporters write the end of an axis as a large number.
#[test]
fn slices_with_an_end_that_no_axis_reaches_take_the_rest() {
    let constants = vec![longs("one", &[1]), longs("billion", &[1_000_000_000])];
    let nodes = vec![node("Slice", &["x", "one", "billion"], &["y"], vec![])];
    assert_eq!(evaluate(nodes, &["n"], constants, &[4, 1], counting(4)), Ok(vec![1.0, 2.0, 3.0]));
}

/// Grids of detectors count extents that were cast to floats.
#[test]
fn ranges_of_floats_follow_extents() {
    let constants = vec![floats("zero", &[], &[0.0]), floats("step", &[], &[2.0])];
    let nodes = vec![
        length(),
        node("Squeeze", &["m"], &["limit"], vec![]),
        node("Cast", &["limit"], &["float"], vec![int("to", i64::from(data_type::FLOAT))]),
        node("Range", &["zero", "float", "step"], &["steps"], vec![]),
        node("Add", &["x", "steps"], &["y"], vec![]),
    ];
    let run = |n: usize, m: i64| evaluate(nodes.clone(), &["n"], constants.clone(), &[n as i64, m], counting(n));
    assert_eq!(run(3, 5), Ok(vec![0.0, 3.0, 6.0]));
    assert_eq!(run(3, 6), Ok(vec![0.0, 3.0, 6.0]));
    assert!(run(3, 7).is_err());
}

/// A table of fixed length, of which as much is taken as another input is long.
#[test]
fn tables_are_long_enough_or_the_run_fails() {
    let nodes = || vec![length(), node("Slice", &["x", "zero", "m"], &["y"], vec![])];
    let run = |m: i64| evaluate(nodes(), &["4"], vec![longs("zero", &[0])], &[m], counting(4));
    assert_eq!(run(2), Ok(vec![0.0, 1.0]));
    assert_eq!(run(4).unwrap().len(), 4);
    assert!(run(5).is_err());
}

#[test]
fn parts_follow_from_extents() {
    let split = |outputs: &[&str], attributes: Vec<AttributeProto>| vec![length(), node("Split", &["x"], outputs, attributes)];
    let last = |n: usize| {
        let mut nodes = split(&["a", "b", "y"], vec![]);
        nodes[1].attribute = vec![int("num_outputs", 3)];
        evaluate(nodes, &["n"], vec![], &[n as i64, 1], counting(n))
    };
    assert_eq!(last(6), Ok(vec![4.0, 5.0]));
    assert_eq!(last(7), Ok(vec![6.0]));
    let sized = |n: usize, m: i64| {
        let nodes = vec![
            length(),
            node("Shape", &["x"], &["n"], vec![]),
            node("Sub", &["n", "m"], &["rest"], vec![]),
            node("Concat", &["m", "rest"], &["sizes"], vec![int("axis", 0)]),
            node("Split", &["x", "sizes"], &["a", "y"], vec![]),
        ];
        evaluate(nodes, &["n"], vec![], &[n as i64, m], counting(n))
    };
    assert_eq!(sized(5, 3), Ok(vec![3.0, 4.0]));
    assert!(sized(3, 5).is_err());
}

#[test]
fn padding_follows_from_extents() {
    let pad = |mode: &str| {
        let mode = AttributeProto {
            name: "mode".into(),
            r#type: attribute_type::STRING,
            s: Some(mode.as_bytes().to_vec().into()),
            ..Default::default()
        };
        let nodes =
            vec![length(), node("Concat", &["m", "one"], &["pads"], vec![int("axis", 0)]), node("Pad", &["x", "pads"], &["y"], vec![mode])];
        evaluate(nodes, &["n"], vec![longs("one", &[1])], &[3, 2], Tensor::new(&[3], &[7f32, 8.0, 9.0]))
    };
    assert_eq!(pad("constant"), Ok(vec![0.0, 0.0, 7.0, 8.0, 9.0, 0.0]));
    assert_eq!(pad("edge"), Ok(vec![7.0, 7.0, 7.0, 8.0, 9.0, 9.0]));
    assert_eq!(pad("reflect"), Ok(vec![9.0, 8.0, 7.0, 8.0, 9.0, 8.0]));
    assert_eq!(pad("wrap"), Ok(vec![8.0, 9.0, 7.0, 8.0, 9.0, 7.0]));
}

/// Windows of 2 with stride 2 and SAME padding: an element more at the end of odd extents.
#[test]
fn windows_cover_odd_and_even_extents() {
    let auto = AttributeProto {
        name: "auto_pad".into(),
        r#type: attribute_type::STRING,
        s: Some(b"SAME_UPPER".to_vec().into()),
        ..Default::default()
    };
    let pool = node("MaxPool", &["x"], &["y"], vec![ints("kernel_shape", &[2]), ints("strides", &[2]), auto]);
    let run = |values: &[f32]| {
        evaluate(vec![pool.clone()], &["1", "1", "n"], vec![], &[values.len() as i64, 1], Tensor::new(&[1, 1, values.len()], values))
    };
    assert_eq!(run(&[1.0, 2.0, -3.0, -4.0]), Ok(vec![2.0, -3.0]));
    assert_eq!(run(&[1.0, 2.0, -3.0]), Ok(vec![2.0, -3.0]));
}

/// 4 elements in rows of 2 whatever the symbols: a run must find that it comes out even.
#[test]
fn reshapes_that_need_not_come_out_even_are_left_to_the_run() {
    let nodes =
        || vec![node("Reshape", &["x", "rows"], &["r"], vec![]), node("ReduceSum", &["r", "zero"], &["y"], vec![int("keepdims", 0)])];
    let run = |n: usize| evaluate(nodes(), &["n"], vec![longs("rows", &[-1, 2]), longs("zero", &[0])], &[n as i64, 1], counting(n));
    assert_eq!(run(4), Ok(vec![2.0, 4.0]));
    let message = run(5).unwrap_err();
    assert!(message.contains("Reshape at r_node needs as many elements as `x` has"), "{message}");
}
