//! What import knows of contents: nodes over constants are computed, values that the user gives are fixed where an operator needs them.

use super::*;
use crate::import::ValueSetting;
use winze_runtime::{TensorView, npy};

/// y = Reshape(x, shape), where `shape` is made by `nodes`.
fn reshaped(mut nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>, initializer: Vec<TensorProto>) -> ModelProto {
    nodes.push(node("Reshape", &["x", "shape"], &["y"], vec![]));
    let inputs = [vec![info("x", data_type::FLOAT, &["2", "3"])], inputs].concat();
    model(graph(nodes, inputs, vec![info("y", data_type::FLOAT, &["?", "?"])], initializer))
}

#[test]
fn shapes_are_computed_from_constants() {
    let nodes = vec![
        node("Mul", &["a", "b"], &["m"], vec![]),
        node("Gather", &["m", "order"], &["g"], vec![int("axis", 0)]),
        node("Abs", &["g"], &["shape"], vec![]),
    ];
    let initializer = vec![longs("a", &[-1, 2]), longs("b", &[1, 3]), longs("order", &[1, 0])];
    let text = text(&reshaped(nodes, vec![], initializer), &[], false);
    assert!(text.contains("graph.reshape %arg0 : tensor<2x3xf32> -> tensor<6x1xf32>"), "{text}");
    assert!(!text.contains("graph.mul") && !text.contains("graph.gather") && !text.contains("graph.abs"), "{text}");
}

fn import_with(model: &ModelProto, values: &[(&str, &[i64])]) -> Result<String, String> {
    let (context, folder) = (new_context(), tempfile::tempdir().unwrap());
    let mut options = ImportOptions::default();
    for (input, value) in values {
        let file = folder.path().join(format!("{input}.npy"));
        npy::write(&file, &TensorView::of(&[value.len() as i64], value)).unwrap();
        options.values.push(ValueSetting { input: input.to_string(), file });
    }
    let imported = import_onnx(&context, &save(folder.path(), model), &options);
    imported.map(|imported| imported.module.as_operation().to_string()).map_err(|error| error.to_string())
}

#[test]
fn given_values_are_fixed_where_they_are_needed() {
    let shape = || vec![info("shape", data_type::INT64, &["2"])];
    let text = import_with(&reshaped(vec![], shape(), vec![]), &[("shape", &[3, 2])]).unwrap();
    assert!(text.contains("graph.value = dense<[3, 2]> : tensor<2xi64>") && text.contains("-> tensor<3x2xf32>"), "{text}");
    // Also where it goes through arithmetic.
    let negated = vec![node("Neg", &["shape"], &["n"], vec![]), node("Abs", &["n"], &["m"], vec![])];
    let mut through = reshaped(negated, shape(), vec![]);
    through.graph.as_mut().unwrap().node.last_mut().unwrap().input[1] = "m".into();
    let text = import_with(&through, &[("shape", &[6, 1])]).unwrap();
    assert!(text.contains("graph.value = dense<[6, 1]>") && text.contains("-> tensor<6x1xf32>"), "{text}");
    // A value that no operator needs stays an input like any other.
    let nodes = vec![node("Neg", &["shape"], &["y"], vec![])];
    let outputs = vec![info("y", data_type::INT64, &["2"])];
    let text = import_with(&model(graph(nodes, shape(), outputs, vec![])), &[("shape", &[3, 2])]).unwrap();
    assert!(!text.contains("graph.value") && text.contains("graph.neg %arg0"), "{text}");
}

#[test]
fn given_values_that_do_not_fit() {
    let shape = || vec![info("shape", data_type::INT64, &["2"])];
    for (values, expected) in [
        (&[("form", &[3i64, 2][..])][..], "the model has no input `form` at --value; its inputs: x, shape"),
        (&[("shape", &[3, 2, 1])], "shape"),
        (&[("shape", &[4, 2])], "elements"),
    ] {
        let error = import_with(&reshaped(vec![], shape(), vec![]), values).unwrap_err();
        assert!(error.starts_with("import: ") && error.contains(expected), "{error}");
    }
}
