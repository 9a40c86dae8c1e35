//! What imported operators compute: reference evaluation against numbers worked out by hand.

use super::*;
use winze_graph::{
    eval::{EvalContext, eval_function},
    tensor::Tensor,
};
use winze_mlir::walk;

/// Imports one node `op` over inputs of static shape and constants, and evaluates it.
fn check(node: NodeProto, inputs: &[(&str, Tensor)], constants: Vec<TensorProto>, expected: &[Tensor]) {
    let operator = node.op_type.clone();
    let value = |name: &str, tensor: &Tensor| {
        let dims: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let element = match tensor.element().name() {
            "f32" => data_type::FLOAT,
            "ui8" => data_type::UINT8,
            "i8" => data_type::INT8,
            "i32" => data_type::INT32,
            _ => data_type::INT64,
        };
        info(name, element, &dims.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let outputs = node.output.iter().zip(expected).map(|(name, tensor)| value(name, tensor)).collect();
    let arguments = inputs.iter().map(|(name, tensor)| value(name, tensor)).collect();
    let mut model = model(graph(vec![node], arguments, outputs, constants));
    model.opset_import.push(OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 5 });
    let context = new_context();
    let imported = import(&context, &model, &[]).unwrap_or_else(|error| panic!("{operator}: {error}"));
    let store = &imported.store;
    let weights = |id: &str| {
        let r#type = store.type_of(id).map_err(|e| e.to_string())?;
        let shape: Vec<usize> = r#type.dims.iter().map(|extent| *extent as usize).collect();
        Tensor::from_bytes(r#type.element, &shape, &store.read(id).map_err(|e| e.to_string())?)
    };
    let body = imported.module.body();
    let function = walk::operations(body).next().expect("a function");
    let inputs: Vec<Tensor> = inputs.iter().map(|(_, tensor)| tensor.clone()).collect();
    let found = eval_function(&EvalContext { weights: &weights, ..EvalContext::new(&[]) }, function, &inputs);
    assert_eq!(found.unwrap_or_else(|error| panic!("{operator}: {error}")), expected, "{operator}");
}

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape, values)
}

fn i64s(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::new(shape, values)
}

#[test]
fn quantization_rounds_half_to_even_and_saturates() {
    let x = f32s(&[2, 3], &[0.5, 1.5, 300.0, -1.0, 3.0, -50.0]);
    let parameters = [("s", f32s(&[2], &[1.0, 2.0])), ("z", Tensor::new(&[2], &[0u8, 10]))];
    let [scale, zero] = parameters;
    let node = node("QuantizeLinear", &["x", "s", "z"], &["y"], vec![int("axis", 0)]);
    check(node, &[("x", x), scale, zero], vec![], &[Tensor::new(&[2, 3], &[0u8, 2, 255, 10, 12, 0])]);
}

#[test]
fn blocks_have_scales_of_their_own() {
    let inputs = [("x", Tensor::new(&[1, 3], &[1i8, 2, 3])), ("s", f32s(&[1, 2], &[1.0, 10.0]))];
    let node = node("DequantizeLinear", &["x", "s"], &["y"], vec![int("axis", 1), int("block_size", 2)]);
    check(node, &inputs, vec![], &[f32s(&[1, 3], &[1.0, 2.0, 30.0])]);
}

#[test]
fn integer_products_subtract_zero_points() {
    let inputs = [
        ("a", Tensor::new(&[1, 2], &[1u8, 2])),
        ("b", Tensor::new(&[2, 1], &[3i8, -4])),
        ("za", Tensor::new(&[], &[1u8])),
        ("zb", Tensor::new(&[1], &[1i8])),
    ];
    check(node("MatMulInteger", &["a", "b", "za", "zb"], &["y"], vec![]), &inputs, vec![], &[Tensor::new(&[1, 1], &[-5i32])]);
}

#[test]
fn sums_run_either_way_and_in_blocks() {
    let attributes = vec![int("exclusive", 1), int("reverse", 1)];
    let short = node("CumSum", &["x", "axis"], &["y"], attributes);
    check(short, &[("x", f32s(&[3], &[1.0, 2.0, 3.0]))], vec![longs("axis", &[0])], &[f32s(&[3], &[5.0, 3.0, 0.0])]);
    let (ones, counts) = (vec![1; 200], (1..=200).collect::<Vec<i64>>());
    let long = node("CumSum", &["x", "axis"], &["y"], vec![]);
    check(long, &[("x", i64s(&[200], &ones))], vec![longs("axis", &[0])], &[i64s(&[200], &counts)]);
}

#[test]
fn the_first_of_equals_ranks_first() {
    let x = ("x", f32s(&[5], &[-1.0, 3.0, 2.0, 3.0, -2.0]));
    let largest = node("TopK", &["x", "k"], &["v", "i"], vec![]);
    let expected = [f32s(&[3], &[3.0, 3.0, 2.0]), i64s(&[3], &[1, 3, 2])];
    check(largest, std::slice::from_ref(&x), vec![longs("k", &[3])], &expected);
    let smallest = node("TopK", &["x", "k"], &["v", "i"], vec![int("largest", 0)]);
    check(smallest, &[x], vec![longs("k", &[2])], &[f32s(&[2], &[-2.0, -1.0]), i64s(&[2], &[4, 0])]);
}

#[test]
fn the_best_few_of_many_are_found_along_any_axis() {
    let items: Vec<f32> = (0..40).map(|i| (i * 7 % 20) as f32).collect();
    let node = node("TopK", &["x", "k"], &["v", "i"], vec![int("axis", 0)]);
    let expected = [f32s(&[2, 2], &[18.0, 19.0, 18.0, 19.0]), i64s(&[2, 2], &[7, 8, 17, 18])];
    check(node, &[("x", f32s(&[20, 2], &items))], vec![longs("k", &[2])], &expected);
}

/// Numbers from 0 to 1 that look random.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

/// One box after the other, as the operator is defined.
fn greedy(boxes: &[[f32; 4]], scores: &[f32], most: usize, threshold: f32, least: f32) -> Vec<i64> {
    let area = |b: &[f32; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let overlap = |a: &[f32; 4], b: &[f32; 4]| {
        let common = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
        common / (area(a) + area(b) - common)
    };
    let mut order: Vec<usize> = (0..boxes.len()).filter(|i| scores[*i] > least).collect();
    order.sort_by(|i, j| scores[*j].total_cmp(&scores[*i]));
    let mut kept: Vec<usize> = vec![];
    for i in order {
        if kept.len() < most && kept.iter().all(|k| overlap(&boxes[*k], &boxes[i]) <= threshold) {
            kept.push(i);
        }
    }
    kept.into_iter().map(|i| i as i64).collect()
}

#[test]
fn boxes_are_picked_as_one_after_the_other() {
    let (count, classes) = (30, 3);
    let (corners, scores) = (noise(count * 4), noise(count * classes));
    let boxes: Vec<[f32; 4]> = corners.chunks(4).map(|c| [c[0], c[1], c[0] + 0.1 + c[2], c[1] + 0.1 + c[3]]).collect();
    for (most, threshold, least) in [(4, 0.3, 0.2), (100, 0.5, 0.0), (2, 0.1, 0.9)] {
        let expected: Vec<i64> = (0..classes)
            .flat_map(|class| {
                let picked = greedy(&boxes, &scores[class * count..][..count], most, threshold, least);
                picked.into_iter().flat_map(move |i| [0, class as i64, i])
            })
            .collect();
        let inputs = [("boxes", f32s(&[1, count, 4], &boxes.concat())), ("scores", f32s(&[1, classes, count], &scores))];
        let node = node("NonMaxSuppression", &["boxes", "scores", "most", "threshold", "least"], &["y"], vec![]);
        let constants = vec![longs("most", &[most as i64]), floats("threshold", &[1], &[threshold]), floats("least", &[1], &[least])];
        check(node, &inputs, constants, &[i64s(&[expected.len() / 3, 3], &expected)]);
    }
}

#[test]
fn groups_stand_in_the_order_of_their_first_rows() {
    let rows = [3i64, 1, 2, 2, 3, 1, 0, 5, 2, 2, 3, 0];
    let node = node("Unique", &["x"], &["y", "first", "group", "count"], vec![int("sorted", 0), int("axis", 0)]);
    let expected =
        [i64s(&[4, 2], &[3, 1, 2, 2, 0, 5, 3, 0]), i64s(&[4], &[0, 1, 3, 5]), i64s(&[6], &[0, 1, 0, 2, 1, 3]), i64s(&[4], &[2, 2, 1, 1])];
    check(node, &[("x", i64s(&[6, 2], &rows))], vec![], &expected);
}

#[test]
fn a_nan_is_the_largest() {
    let attributes = vec![int("axis", 0), int("keepdims", 0)];
    let node = node("ArgMax", &["x"], &["y"], attributes);
    check(node, &[("x", f32s(&[3], &[1.0, f32::NAN, 5.0]))], vec![], &[i64s(&[], &[1])]);
}

#[test]
fn equations_take_diagonals_and_products() {
    let matrix = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let diagonal = node("Einsum", &["x"], &["y"], vec![string("equation", "...ii->...i")]);
    check(diagonal, &[("x", matrix.clone())], vec![], &[f32s(&[2], &[1.0, 4.0])]);
    let product = node("Einsum", &["a", "b"], &["y"], vec![string("equation", "ij, jk -> ki")]);
    let inputs = [("a", matrix), ("b", f32s(&[2, 1], &[5.0, 6.0]))];
    check(product, &inputs, vec![], &[f32s(&[1, 2], &[17.0, 39.0])]);
}

#[test]
fn determinants_change_sign_with_their_rows() {
    let x = f32s(&[2, 2, 2], &[0.0, 2.0, 3.0, 4.0, 1.0, 2.0, 2.0, 4.0]);
    check(node("Det", &["x"], &["y"], vec![]), &[("x", x)], vec![], &[f32s(&[2], &[-6.0, 0.0])]);
}

#[test]
fn ignored_targets_do_not_count() {
    let inputs = [("x", f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0])), ("t", i64s(&[2], &[1, 0]))];
    let all = node("NegativeLogLikelihoodLoss", &["x", "t"], &["y"], vec![]);
    check(all, &inputs, vec![], &[f32s(&[], &[-2.5])]);
    let some = node("NegativeLogLikelihoodLoss", &["x", "t"], &["y"], vec![int("ignore_index", 0)]);
    check(some, &inputs, vec![], &[f32s(&[], &[-2.0])]);
}

#[test]
fn a_transform_of_two_samples_is_sum_and_difference() {
    let node = node("DFT", &["x", "", ""], &["y"], vec![]);
    check(node, &[("x", f32s(&[1, 2, 1], &[1.0, 3.0]))], vec![], &[f32s(&[1, 2, 2], &[4.0, 0.0, -2.0, 0.0])]);
}

#[test]
fn windows_are_constants() {
    let node = node("HannWindow", &["n"], &["y"], vec![int("periodic", 0)]);
    check(node, &[], vec![longs("n", &[3])], &[f32s(&[3], &[0.0, 1.0, 0.0])]);
}

#[test]
fn positions_of_maxima_are_those_of_the_first() {
    let attributes = vec![ints("kernel_shape", &[1, 2])];
    let node = node("MaxPool", &["x"], &["y", "i"], attributes);
    let expected = [f32s(&[1, 1, 1, 3], &[5.0, 5.0, 5.0]), i64s(&[1, 1, 1, 3], &[1, 1, 2])];
    check(node, &[("x", f32s(&[1, 1, 1, 4], &[1.0, 5.0, 5.0, 2.0]))], vec![], &expected);
}

#[test]
fn grids_name_positions_last_axis_first() {
    let image = ("x", f32s(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]));
    // The second element of the first row, the center, and a position outside.
    let grid = ("g", f32s(&[1, 1, 3, 2], &[1.0, -1.0, 0.0, 0.0, 3.0, 0.0]));
    let sample = |padding: &str| {
        let attributes = vec![int("align_corners", 1), string("mode", "linear"), string("padding_mode", padding)];
        node("GridSample", &["x", "g"], &["y"], attributes)
    };
    check(sample("zeros"), &[image.clone(), grid.clone()], vec![], &[f32s(&[1, 1, 1, 3], &[2.0, 2.5, 0.0])]);
    check(sample("border"), &[image.clone(), grid.clone()], vec![], &[f32s(&[1, 1, 1, 3], &[2.0, 2.5, 3.0])]);
    check(sample("reflection"), &[image, grid], vec![], &[f32s(&[1, 1, 1, 3], &[2.0, 2.5, 2.0])]);
}

#[test]
fn grids_follow_matrices() {
    let matrix = ("t", f32s(&[1, 2, 3], &[1.0, 0.0, 0.5, 0.0, 1.0, 0.0]));
    let node = node("AffineGrid", &["t", "size"], &["y"], vec![]);
    check(node, &[matrix], vec![longs("size", &[1, 1, 1, 2])], &[f32s(&[1, 1, 2, 2], &[0.0, 0.0, 1.0, 0.0])]);
}

#[test]
fn regions_are_averaged_over_their_samples() {
    let inputs = [("x", f32s(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])), ("r", f32s(&[1, 4], &[0.0, 0.0, 2.0, 2.0])), ("b", i64s(&[1], &[0]))];
    let attributes = vec![int("sampling_ratio", 2), string("coordinate_transformation_mode", "half_pixel")];
    check(node("RoiAlign", &["x", "r", "b"], &["y"], attributes), &inputs, vec![], &[f32s(&[1, 1, 1, 1], &[2.5])]);
}

#[test]
fn offsets_move_the_taps_of_a_convolution() {
    let inputs = [
        ("x", f32s(&[1, 1, 1, 3], &[1.0, 2.0, 4.0])),
        ("w", f32s(&[1, 1, 1, 1], &[10.0])),
        ("o", f32s(&[1, 2, 1, 3], &[0.0, 0.0, 0.0, 1.0, 0.5, 1.0])),
    ];
    check(node("DeformConv", &["x", "w", "o"], &["y"], vec![]), &inputs, vec![], &[f32s(&[1, 1, 1, 3], &[20.0, 30.0, 0.0])]);
}

#[test]
fn overlapping_blocks_add_up() {
    let x = f32s(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let node = node("Col2Im", &["x", "image", "block"], &["y"], vec![]);
    check(node, &[("x", x)], vec![longs("image", &[3]), longs("block", &[2])], &[f32s(&[1, 1, 3], &[1.0, 5.0, 4.0])]);
}

#[test]
fn maxima_go_back_to_where_they_were() {
    let inputs = [("x", f32s(&[1, 1, 2], &[5.0, 6.0])), ("i", i64s(&[1, 1, 2], &[1, 2]))];
    let unpool = node("MaxUnpool", &["x", "i"], &["y"], vec![ints("kernel_shape", &[2]), ints("strides", &[2])]);
    check(unpool, &inputs, vec![], &[f32s(&[1, 1, 4], &[0.0, 5.0, 6.0, 0.0])]);
}

#[test]
fn crops_and_pads_around_the_middle() {
    let node = node("CenterCropPad", &["x", "shape"], &["y"], vec![]);
    let x = f32s(&[1, 4], &[1.0, 2.0, 3.0, 4.0]);
    check(node, &[("x", x)], vec![longs("shape", &[2, 3])], &[f32s(&[2, 3], &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0])]);
}

/// Two steps of one head with one key: the state is 2, then 2 / 2 + 3 * 4, read with 1 and 2.
#[test]
fn a_recurrent_state_decays_and_grows() {
    let halve = 0.5f32.ln();
    let inputs = [
        ("q", f32s(&[1, 2, 1], &[1.0, 2.0])),
        ("k", f32s(&[1, 2, 1], &[1.0, 3.0])),
        ("v", f32s(&[1, 2, 1], &[2.0, 4.0])),
        ("d", f32s(&[1, 2, 1], &[0.0, halve])),
    ];
    let attributes = vec![int("q_num_heads", 1), int("kv_num_heads", 1), string("update_rule", "gated")];
    let node = node("LinearAttention", &["q", "k", "v", "", "d"], &["y", "s"], attributes);
    check(node, &inputs, vec![], &[f32s(&[1, 2, 1], &[2.0, 26.0]), f32s(&[1, 1, 1, 1], &[13.0])]);
}

#[test]
fn a_causal_convolution_goes_on_from_its_state() {
    let inputs = [("x", f32s(&[1, 1, 2], &[1.0, 2.0])), ("w", f32s(&[1, 1, 2], &[10.0, 1.0])), ("p", f32s(&[1, 1, 1], &[5.0]))];
    let node = node("CausalConvWithState", &["x", "w", "", "p"], &["y", "s"], vec![]);
    check(node, &inputs, vec![], &[f32s(&[1, 1, 2], &[51.0, 12.0]), f32s(&[1, 1, 1], &[2.0])]);
}

fn ml(mut node: NodeProto) -> NodeProto {
    node.domain = "ai.onnx.ml".into();
    node
}

fn float_list(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::FLOATS, floats: values.to_vec(), ..Default::default() }
}

fn text_list(name: &str, values: &[&str]) -> AttributeProto {
    let strings = values.iter().map(|value| value.as_bytes().to_vec().into()).collect();
    AttributeProto { name: name.into(), r#type: attribute_type::STRINGS, strings, ..Default::default() }
}

/// One tree with a test of each kind: x0 < 1 ? 10 : (x1 == 2 ? 20 : 30); NaN counts as true in the first.
#[test]
fn trees_test_in_every_way() {
    let attributes = vec![
        ints("nodes_treeids", &[0; 5]),
        ints("nodes_nodeids", &[0, 1, 2, 3, 4]),
        ints("nodes_featureids", &[0, 0, 1, 0, 0]),
        float_list("nodes_values", &[1.0, 0.0, 2.0, 0.0, 0.0]),
        text_list("nodes_modes", &["BRANCH_LT", "LEAF", "BRANCH_EQ", "LEAF", "LEAF"]),
        ints("nodes_truenodeids", &[1, 0, 3, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 4, 0, 0]),
        ints("nodes_missing_value_tracks_true", &[1, 0, 0, 0, 0]),
        ints("target_treeids", &[0; 3]),
        ints("target_nodeids", &[1, 3, 4]),
        ints("target_ids", &[0; 3]),
        float_list("target_weights", &[10.0, 20.0, 30.0]),
        float_list("base_values", &[0.5]),
    ];
    let x = f32s(&[6, 2], &[0.5, 2.0, 1.0, 2.0, 1.0, 1.9, 3.0, 2.1, f32::NAN, 2.0, 1.0, f32::NAN]);
    let regressor = ml(node("TreeEnsembleRegressor", &["x"], &["y"], attributes.clone()));
    check(regressor, &[("x", x)], vec![], &[f32s(&[6, 1], &[10.5, 20.5, 30.5, 30.5, 10.5, 30.5])]);
    let mut circle = attributes;
    circle[5] = ints("nodes_truenodeids", &[2, 0, 0, 0, 0]);
    let mut model = model(graph(
        vec![ml(node("TreeEnsembleRegressor", &["x"], &["y"], circle))],
        vec![info("x", data_type::FLOAT, &["1", "2"])],
        vec![info("y", data_type::FLOAT, &["1", "1"])],
        vec![],
    ));
    model.opset_import.push(OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 3 });
    assert!(error(&model, &[]).contains("the nodes of a tree form a circle"));
}

/// Two trees of a leaf each, which name different targets of three.
#[test]
fn targets_that_no_tree_names_score_zero() {
    let attributes = vec![
        int("n_targets", 3),
        string("aggregate_function", "MIN"),
        ints("nodes_treeids", &[0, 1]),
        ints("nodes_nodeids", &[0, 0]),
        ints("nodes_featureids", &[0, 0]),
        float_list("nodes_values", &[0.0, 0.0]),
        text_list("nodes_modes", &["LEAF", "LEAF"]),
        ints("nodes_truenodeids", &[0, 0]),
        ints("nodes_falsenodeids", &[0, 0]),
        ints("target_treeids", &[0, 1, 1]),
        ints("target_nodeids", &[0, 0, 0]),
        ints("target_ids", &[0, 0, 2]),
        float_list("target_weights", &[2.0, 1.0, 5.0]),
    ];
    let regressor = ml(node("TreeEnsembleRegressor", &["x"], &["y"], attributes));
    check(regressor, &[("x", f32s(&[1, 1], &[0.0]))], vec![], &[f32s(&[1, 3], &[1.0, 0.0, 5.0])]);
}

#[test]
fn classes_vote_and_scores_follow() {
    let attributes = vec![
        ints("classlabels_ints", &[7, 8, 9]),
        float_list("coefficients", &[1.0, 0.0, 0.0, 1.0, -1.0, -1.0]),
        float_list("intercepts", &[0.0, 0.5, 0.0]),
    ];
    let linear = ml(node("LinearClassifier", &["x"], &["l", "s"], attributes));
    let x = ("x", f32s(&[2, 2], &[1.0, 0.0, -1.0, -2.0]));
    check(linear, &[x], vec![], &[i64s(&[2], &[7, 9]), f32s(&[2, 3], &[1.0, 0.5, -1.0, -1.0, -1.5, 3.0])]);
    let attributes = vec![ints("classlabels_ints", &[5, 6]), float_list("coefficients", &[1.0]), float_list("intercepts", &[-1.0])];
    let one_row = ml(node("LinearClassifier", &["x"], &["l", "s"], attributes));
    check(one_row, &[("x", f32s(&[2, 1], &[1.75, 0.5]))], vec![], &[i64s(&[2], &[6, 5]), f32s(&[2, 2], &[0.25, 0.75, 1.5, -0.5])]);
    // Two classes, one vector each: the decision is k(x, 1) - k(x, -1) + 0.5.
    let attributes = vec![
        ints("classlabels_ints", &[3, 4]),
        ints("vectors_per_class", &[1, 1]),
        float_list("support_vectors", &[1.0, -1.0]),
        float_list("coefficients", &[1.0, -1.0]),
        float_list("rho", &[0.5]),
        string("kernel_type", "LINEAR"),
    ];
    let machine = ml(node("SVMClassifier", &["x"], &["l", "s"], attributes));
    let x = ("x", f32s(&[2, 1], &[1.0, -2.0]));
    check(machine, &[x], vec![], &[i64s(&[2], &[3, 4]), f32s(&[2, 2], &[-2.5, 2.5, 3.5, -3.5])]);
}

#[test]
fn labels_are_looked_up() {
    let attributes = vec![ints("keys_int64s", &[5, 6]), float_list("values_floats", &[0.5, 0.25]), float("default_float", -1.0)];
    let encoder = ml(node("LabelEncoder", &["x"], &["y"], attributes));
    check(encoder, &[("x", i64s(&[3], &[6, 1, 5]))], vec![], &[f32s(&[3], &[0.25, -1.0, 0.5])]);
}
