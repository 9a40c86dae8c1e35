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
    evaluate_model(&model, symbols, x)
}

fn evaluate_model(model: &ModelProto, symbols: &[i64], x: Tensor) -> Result<Vec<f32>, String> {
    let context = new_context();
    let imported = import(&context, model, &[]).unwrap_or_else(|error| panic!("{error}"));
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
        let pads = node("Concat", &["m", "one"], &["pads"], vec![int("axis", 0)]);
        let nodes = vec![length(), pads, node("Pad", &["x", "pads"], &["y"], vec![string("mode", mode)])];
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
    let attributes = vec![ints("kernel_shape", &[2]), ints("strides", &[2]), string("auto_pad", "SAME_UPPER")];
    let pool = node("MaxPool", &["x"], &["y"], attributes);
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

/// Turns as many as `l` is long: the sum of the first elements of `x` in each, as long as it is below 4.
fn summing(condition: NodeProto) -> NodeProto {
    let step = graph(
        vec![
            node("Gather", &["x", "i"], &["e"], vec![]),
            node("Add", &["sum", "e"], &["next"], vec![]),
            node("Constant", &[], &["four"], vec![float("value_float", 4.0)]),
            condition,
            node("Identity", &["next"], &["seen"], vec![]),
        ],
        vec![info("i", data_type::INT64, &[]), info("go", data_type::BOOL, &[]), info("sum", data_type::FLOAT, &[])],
        vec![info("on", data_type::BOOL, &[]), info("next", data_type::FLOAT, &[]), info("seen", data_type::FLOAT, &[])],
        vec![],
    );
    node("Loop", &["trips", "", "zero"], &["sum", "y"], vec![body("body", step)])
}

#[test]
fn scan_outputs_are_as_many_as_the_turns_of_a_loop() {
    let run = |condition: NodeProto, n: usize, m: i64| {
        let nodes = vec![length(), node("Squeeze", &["m"], &["trips"], vec![]), summing(condition)];
        let zero = TensorProto { dims: vec![], ..floats("zero", &[1], &[0.0]) };
        evaluate(nodes, &["n"], vec![zero], &[n as i64, m], counting(n))
    };
    let always = || node("Identity", &["go"], &["on"], vec![]);
    assert_eq!(run(always(), 5, 4), Ok(vec![0.0, 1.0, 3.0, 6.0]));
    assert_eq!(run(always(), 5, 0), Ok(vec![]));
    let below = || node("Less", &["next", "four"], &["on"], vec![]);
    assert_eq!(run(below(), 9, 9), Ok(vec![0.0, 1.0, 3.0, 6.0]));
    assert_eq!(run(below(), 9, 2), Ok(vec![0.0, 1.0]));
}

/// Scans of `x`, [n, 2], with a state of 2 elements: the sums so far, and the state after each step.
fn running_sums(outer: &[&str], attributes: Vec<AttributeProto>) -> GraphProto {
    let step = graph(
        vec![node("Add", &["s", "e"], &["t"], vec![]), node("Identity", &["t"], &["o"], vec![])],
        vec![info("s", data_type::FLOAT, &["2"]), info("e", data_type::FLOAT, &["2"])],
        vec![info("t", data_type::FLOAT, &["2"]), info("o", data_type::FLOAT, &["2"])],
        vec![],
    );
    let attributes = [attributes, vec![body("body", step), int("num_scan_inputs", 1)]].concat();
    let nodes = vec![node("Scan", outer, &["last", "all"], attributes), node("Reshape", &["all", "flat"], &["y"], vec![])];
    let arguments = vec![info("x", data_type::FLOAT, &["n", "2"]), info("l", data_type::FLOAT, &["m"])];
    graph(nodes, arguments, vec![info("y", data_type::FLOAT, &["?"])], vec![longs("flat", &[-1]), floats("start", &[2], &[0.0; 2])])
}

#[test]
fn scans_go_over_extents_that_only_the_run_knows() {
    let scan = |attributes: Vec<AttributeProto>, n: usize| {
        let x = Tensor { shape: vec![n, 2], ..counting(2 * n) };
        evaluate_model(&model(running_sums(&["start", "x"], attributes)), &[n as i64, 1], x)
    };
    assert_eq!(scan(vec![], 3), Ok(vec![0.0, 1.0, 2.0, 4.0, 6.0, 9.0]));
    assert_eq!(scan(vec![], 0), Ok(vec![]));
    let backwards = vec![ints("scan_input_directions", &[1]), ints("scan_output_directions", &[1]), ints("scan_output_axes", &[1])];
    assert_eq!(scan(backwards, 3), Ok(vec![6.0, 6.0, 4.0, 9.0, 8.0, 5.0]));
}

/// Operator set 8: each has a batch in front, here of n sequences of one step.
#[test]
fn scans_of_batches_go_over_each_sequence() {
    let mut graph = running_sums(&["", "starts", "steps"], vec![]);
    graph.node.insert(0, node("Identity", &["x"], &["starts"], vec![]));
    graph.node.insert(1, node("Unsqueeze", &["x"], &["steps"], vec![ints("axes", &[1])]));
    let mut model = model(graph);
    model.opset_import[0].version = 8;
    let run = |n: usize| evaluate_model(&model, &[n as i64, 1], Tensor { shape: vec![n, 2], ..counting(2 * n) });
    assert_eq!(run(2), Ok(vec![0.0, 2.0, 4.0, 6.0]));
    assert_eq!(run(1), Ok(vec![0.0, 2.0]));
}

#[test]
fn axes_that_may_have_one_element_are_squeezed_by_name_or_in_runs_where_they_have_more() {
    let run = |n: usize| {
        let x = Tensor { shape: vec![1, n], ..counting(n) };
        evaluate(vec![node("Squeeze", &["x"], &["y"], vec![])], &["1", "n"], vec![], &[n as i64, 1], x)
    };
    assert_eq!(run(3), Ok(vec![0.0, 1.0, 2.0]));
    let message = run(1).unwrap_err();
    assert!(message.contains("Squeeze at y_node needs extents of 2 and more"), "{message}");
}

/// A state of one sequence makes the batch one, and what follows has that extent.
#[test]
fn states_say_how_large_the_batch_is() {
    let nodes = vec![node("RNN", &["x", "w", "r", "", "", "h"], &["", "last"], vec![]), node("Squeeze", &["last"], &["y"], vec![])];
    let constants = vec![floats("w", &[1, 2, 1], &[0.0; 2]), floats("r", &[1, 2, 2], &[0.0; 4]), floats("h", &[1, 1, 2], &[0.5; 2])];
    let run = |n: usize| {
        let x = Tensor { shape: vec![1, n, 1], ..counting(n) };
        evaluate(nodes.clone(), &["1", "n", "1"], constants.clone(), &[n as i64, 1], x)
    };
    assert_eq!(run(1), Ok(vec![0.0, 0.0]));
    let message = run(2).unwrap_err();
    assert!(message.contains("RNN at _node needs the batch of its states"), "{message}");
}

/// `If` on whether the sum of `x` is above 10.
fn if_large(then: Vec<NodeProto>, otherwise: Vec<NodeProto>, n: usize, m: i64) -> Result<Vec<f32>, String> {
    let branch = |nodes: Vec<NodeProto>| graph(nodes, vec![], vec![info("b", data_type::FLOAT, &["?"])], vec![]);
    let branches = vec![body("then_branch", branch(then)), body("else_branch", branch(otherwise))];
    let nodes = vec![
        node("ReduceSum", &["x"], &["s"], vec![int("keepdims", 0)]),
        node("Greater", &["s", "ten"], &["c"], vec![]),
        node("If", &["c"], &["r"], branches),
        node("Add", &["r", "ten"], &["y"], vec![]),
    ];
    evaluate(nodes, &["n"], vec![TensorProto { dims: vec![], ..floats("ten", &[1], &[10.0]) }], &[n as i64, m], counting(n))
}

#[test]
fn branches_give_results_of_different_extents() {
    let run =
        |n: usize, m: i64| if_large(vec![node("Identity", &["x"], &["b"], vec![])], vec![node("Identity", &["l"], &["b"], vec![])], n, m);
    assert_eq!(run(6, 2), Ok(vec![10.0, 11.0, 12.0, 13.0, 14.0, 15.0]));
    assert_eq!(run(3, 4), Ok(vec![10.0; 4]));
    assert_eq!(run(3, 0), Ok(vec![]));
}

/// The elements of `x` that are not zero, or `l`.
#[test]
fn branches_compute_the_extents_of_their_results() {
    let chosen = || {
        let found = node("Compress", &["x", "c2"], &["b"], vec![int("axis", 0)]);
        vec![node("Cast", &["x"], &["c2"], vec![int("to", i64::from(data_type::BOOL))]), found]
    };
    let run = |n: usize, m: i64| if_large(chosen(), vec![node("Identity", &["l"], &["b"], vec![])], n, m);
    assert_eq!(run(6, 2), Ok(vec![11.0, 12.0, 13.0, 14.0, 15.0]));
    assert_eq!(run(3, 7), Ok(vec![10.0; 7]));
}

/// Resize of two elements to as many as `l` is long, by sizes and by scales, against the positions worked out by hand.
#[test]
fn resizing_to_extents_that_only_the_run_knows() {
    let resize = |attributes: &[(&str, &str)], n: usize, m: i64| {
        let attributes = attributes.iter().map(|(name, value)| string(name, value)).collect();
        let nodes = vec![length(), node("Resize", &["x", "", "", "m"], &["y"], attributes)];
        evaluate(nodes, &["n"], vec![], &[n as i64, m], counting(n))
    };
    assert_eq!(resize(&[("mode", "linear")], 2, 4), Ok(vec![0.0, 0.25, 0.75, 1.0]));
    assert_eq!(resize(&[("mode", "linear"), ("coordinate_transformation_mode", "align_corners")], 3, 5), Ok(vec![0.0, 0.5, 1.0, 1.5, 2.0]));
    assert_eq!(resize(&[("mode", "linear"), ("coordinate_transformation_mode", "align_corners")], 3, 1), Ok(vec![0.0]));
    let corner = [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
    assert_eq!(resize(&corner, 3, 7), Ok(vec![0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]));
    assert_eq!(resize(&corner, 5, 2), Ok(vec![0.0, 2.0]));
    // Keys' kernel with a = -0.75 at a distance of 0.5: -0.09375, 0.59375, 0.59375, -0.09375.
    let cubic = [("mode", "cubic"), ("coordinate_transformation_mode", "align_corners")];
    assert_eq!(resize(&cubic, 2, 3), Ok(vec![0.0, 0.5, 1.0]));
    assert_eq!(resize(&cubic, 4, 7), Ok(vec![0.0, 0.40625, 1.0, 1.5, 2.0, 2.59375, 3.0]));
}

/// Scales are operands that the run computes.
#[test]
fn resizing_by_scales_that_only_the_run_knows() {
    let nodes = vec![
        length(),
        node("Cast", &["m"], &["f"], vec![int("to", i64::from(data_type::FLOAT))]),
        node("Mul", &["f", "half"], &["scale"], vec![]),
        node("Resize", &["x", "", "scale"], &["y"], vec![]),
    ];
    let context = new_context();
    let arguments = vec![info("x", data_type::FLOAT, &["n"]), info("l", data_type::FLOAT, &["m"])];
    let model = model(graph(nodes, arguments, vec![info("y", data_type::FLOAT, &["?"])], vec![floats("half", &[1], &[0.5])]));
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), &model);
    let run = |max_sizes: &[&str], n: usize, m: usize| -> Result<Vec<f32>, String> {
        let options = ImportOptions { max_sizes: max_sizes.iter().map(|size| size.parse().unwrap()).collect(), ..Default::default() };
        let imported = import_onnx(&context, &path, &options).unwrap_or_else(|error| panic!("{error}"));
        let function = walk::operations(imported.module.body()).next().expect("a function");
        let l = Tensor::new(&[m], &vec![0f32; m]);
        let found = eval_function(&EvalContext::new(&[n as i64, m as i64]), function, &[counting(n), l])?;
        Ok((0..found[0].count()).map(|i| found[0].get(i).f64() as f32).collect())
    };
    let bound = ["scale=64"];
    assert_eq!(run(&bound, 3, 4), Ok(vec![0.0, 0.0, 1.0, 1.0, 2.0, 2.0]));
    assert_eq!(run(&bound, 5, 1), Ok(vec![0.0, 2.0]));
    let message = run(&bound, 30, 5).unwrap_err();
    assert!(message.contains("the size is 75; it must be 0 to 64"), "{message}");
    // Without a bound there is none.
    assert_eq!(run(&[], 30, 5).map(|y| y.len()), Ok(75));
}

/// One extent of several operands, which only a run can tell to be one.
#[test]
fn operands_with_an_extent_in_common_are_compared_in_the_run() {
    let f32s = |name: &str, dims: &[&str]| info(name, data_type::FLOAT, dims);
    let i64s = |name: &str, dims: &[&str]| info(name, data_type::INT64, dims);
    let cases = [
        (
            node("ScatterElements", &["x", "i", "u"], &["y"], vec![int("axis", 1)]),
            vec![f32s("x", &["b", "n", "3"]), i64s("i", &["b", "m", "3"]), f32s("u", &["b", "k", "3"])],
            "one update for each of its positions",
        ),
        (
            node("Einsum", &["x", "u"], &["y"], vec![string("equation", "bij,bjk->bik")]),
            vec![f32s("x", &["b", "i", "n"]), f32s("u", &["b", "m", "k"])],
            "one index",
        ),
        (
            node("GridSample", &["x", "g"], &["y"], vec![]),
            vec![f32s("x", &["b", "1", "4", "4"]), f32s("g", &["c", "2", "2", "2"])],
            "a grid of positions for each image",
        ),
        (
            node("ReverseSequence", &["x", "i"], &["y"], vec![]),
            vec![f32s("x", &["t", "b"]), i64s("i", &["c"])],
            "a length for each sequence",
        ),
        (node("Conv", &["x", "w"], &["y"], vec![]), vec![f32s("x", &["b", "c", "8"])], "as many channels as the filter takes"),
    ];
    for (node, inputs, what) in cases {
        let outputs = vec![f32s("y", &["?"; 3][..if node.op_type == "ReverseSequence" { 2 } else { 3 }])];
        let outputs = if node.op_type == "GridSample" { vec![f32s("y", &["?"; 4])] } else { outputs };
        let op = node.op_type.clone();
        let general = text(&model(graph(vec![node], inputs, outputs, vec![floats("w", &[2, 3, 1], &[0.0; 6])])), &[], false);
        assert!(general.contains("graph.require") && general.contains(what), "{op}: {general}");
    }
}

#[test]
fn branches_may_write_a_number_with_an_axis_or_without() {
    let sum = |keep: i64| vec![node("ReduceSum", &["x"], &["b"], vec![int("keepdims", keep)])];
    assert_eq!(if_large(sum(1), sum(0), 6, 2), Ok(vec![25.0]));
    assert_eq!(if_large(sum(1), sum(0), 3, 2), Ok(vec![13.0]));
}

/// The placeholder 0 becomes a tensor of the length of `x` in the first turn, as exporters write variables that a loop defines.
#[test]
fn carried_values_may_get_their_shape_in_the_first_turn() {
    let run = |trips: &str| {
        let inputs = vec![info("i", data_type::INT64, &[]), info("go", data_type::BOOL, &[]), info("v", data_type::FLOAT, &["?"])];
        let outputs = vec![info("on", data_type::BOOL, &[]), info("next", data_type::FLOAT, &["?"])];
        let nodes = vec![
            node("Cast", &["i"], &["f"], vec![int("to", i64::from(data_type::FLOAT))]),
            node("Add", &["v", "x"], &["moved"], vec![]),
            node("Add", &["moved", "f"], &["next"], vec![]),
            node("ReduceSum", &["next"], &["total"], vec![int("keepdims", 0)]),
            node("Constant", &[], &["limit"], vec![float("value_float", 20.0)]),
            node("Less", &["total", "limit"], &["on"], vec![]),
        ];
        let turn = body("body", graph(nodes, inputs, outputs, vec![]));
        let constants = vec![TensorProto { dims: vec![], ..floats("zero", &[1], &[0.0]) }, longs("two", &[2])];
        evaluate(vec![node("Loop", &[trips, "", "zero"], &["y"], vec![turn])], &["n"], constants, &[3, 1], counting(3))
    };
    // Sums of 3, 3 + 3 + 3, 9 + 3 + 6, 18 + 3 + 9.
    assert_eq!(run(""), Ok(vec![6.0, 10.0, 14.0]));
    assert_eq!(run("two"), Ok(vec![1.0, 3.0, 5.0]));
}
