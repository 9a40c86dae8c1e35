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
    let model = model(graph(vec![node], arguments, outputs, constants));
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

fn text_attribute(name: &str, value: &str) -> AttributeProto {
    let s = Some(value.as_bytes().to_vec().into());
    AttributeProto { name: name.into(), r#type: attribute_type::STRING, s, ..Default::default() }
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
fn a_nan_is_the_largest() {
    let attributes = vec![int("axis", 0), int("keepdims", 0)];
    let node = node("ArgMax", &["x"], &["y"], attributes);
    check(node, &[("x", f32s(&[3], &[1.0, f32::NAN, 5.0]))], vec![], &[i64s(&[], &[1])]);
}

#[test]
fn equations_take_diagonals_and_products() {
    let matrix = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let diagonal = node("Einsum", &["x"], &["y"], vec![text_attribute("equation", "...ii->...i")]);
    check(diagonal, &[("x", matrix.clone())], vec![], &[f32s(&[2], &[1.0, 4.0])]);
    let product = node("Einsum", &["a", "b"], &["y"], vec![text_attribute("equation", "ij, jk -> ki")]);
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
