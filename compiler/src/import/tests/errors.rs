//! What import refuses, and in which words.

use super::*;
use crate::import::{
    Unsupported,
    proto::{FunctionProto, StringStringEntryProto},
};
use prost::Message;

fn simple(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let inputs = vec![info("x", data_type::FLOAT, &["2", "3"])];
    model(graph(nodes, inputs, vec![info("y", data_type::FLOAT, &["2", "3"])], initializer))
}

#[test]
fn everything_unsupported_is_reported_at_once() {
    let nodes =
        vec![node("NoSuchOp", &["x"], &["a"], vec![]), node("Relu", &["a"], &["b"], vec![]), node("AlsoMissing", &["b"], &["y"], vec![])];
    let context = new_context();
    let Err(ImportError::Unsupported(list)) = import(&context, &simple(nodes, vec![]), &[]) else { panic!("is unsupported") };
    let why = "the operator is not imported yet".to_string();
    let expected = |op: &str, node: &str| Unsupported { op: op.into(), opset: Some(21), node: node.into(), why: why.clone() };
    assert_eq!(list, [expected("NoSuchOp", "a_node"), expected("AlsoMissing", "y_node")]);
    assert_eq!(list[0].to_string(), "unsupported: NoSuchOp at a_node: the operator is not imported yet");
}

#[test]
fn contradictions_are_named() {
    let relu = || node("Relu", &["x"], &["y"], vec![]);
    let external = |location: &str| TensorProto {
        name: "w".into(),
        dims: vec![2, 3],
        data_type: data_type::FLOAT,
        data_location: 1,
        external_data: vec![StringStringEntryProto { key: "location".into(), value: location.into() }],
        ..Default::default()
    };
    let huge = TensorProto { name: "w".into(), dims: vec![1 << 40, 1 << 40], data_type: data_type::FLOAT, ..Default::default() };
    let cases = [
        (simple(vec![node("Add", &["x", "z"], &["z2"], vec![]), node("Relu", &["z2"], &["z"], vec![])], vec![]), "cycle"),
        (simple(vec![node("Relu", &["nothing"], &["y"], vec![])], vec![]), "`nothing` is neither"),
        (simple(vec![relu(), relu()], vec![]), "defined twice"),
        (simple(vec![], vec![]), "`y` is not defined"),
        (simple(vec![node("Add", &["x", "w"], &["y"], vec![])], vec![floats("w", &[4], &[0.0; 4])]), "extents 3 and 4"),
        (simple(vec![node("Add", &["x", "w"], &["y"], vec![])], vec![longs("w", &[1])]), "different element types f32 and i64"),
        (simple(vec![node("Reshape", &["x", "w"], &["y"], vec![])], vec![longs("w", &[4, 2])]), "elements"),
        (simple(vec![node("Expand", &["x", "w"], &["y"], vec![])], vec![longs("w", &[1 << 40, 1 << 40, 2, 3])]), "does not fit 64 bits"),
        (simple(vec![node("Relu", &[], &["y"], vec![])], vec![]), "input 0 is missing"),
        (simple(vec![relu()], vec![floats("w", &[5], &[0.0; 4])]), "16 bytes of data, 20 are needed"),
        (simple(vec![relu()], vec![huge]), "negative or too many elements"),
        (simple(vec![relu()], vec![external("../w.bin")]), "outside the model's folder"),
        (simple(vec![relu()], vec![external("/etc/passwd")]), "outside the model's folder"),
        (simple(vec![relu()], vec![external("w.bin")]), "`w.bin` cannot be read"),
    ];
    for (model, expected) in cases {
        let message = error(&model, &[]);
        assert!(message.starts_with("import: ") && message.contains(expected), "{expected}: {message}");
    }
    let message = error(&simple(vec![relu()], vec![]), &["height=3"]);
    assert!(message.contains("no symbolic dim `height`"), "{message}");
}

#[test]
fn broadcasts_that_may_fail_are_left_to_the_run() {
    let inputs = vec![info("a", data_type::FLOAT, &["n"]), info("b", data_type::FLOAT, &["m"])];
    let graph = graph(vec![node("Add", &["a", "b"], &["y"], vec![])], inputs, vec![info("y", data_type::FLOAT, &["n"])], vec![]);
    let general = text(&model(graph.clone()), &[], false);
    assert!(general.contains("graph.require") && general.contains("needs the extents of `b` and `a` to be equal"), "{general}");
    let message = error(&model(graph.clone()), &["n=2", "m=3"]);
    assert!(message.contains("extents 2 and 3 cannot be broadcast, of `a` and `b` at Add node `y_node`"), "{message}");
    assert!(text(&model(graph), &["n=1"], false).contains("graph.broadcast"));
}

/// Without effect, a misspelt attribute would change what the model computes.
#[test]
fn attributes_that_an_operator_has_not_are_unsupported() {
    let why = |version: i64, nodes: Vec<NodeProto>, initializer: Vec<TensorProto>| {
        let mut model = simple(nodes, initializer);
        model.opset_import[0].version = version;
        match import(&new_context(), &model, &[]) {
            Err(ImportError::Unsupported(list)) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            Err(error) => panic!("{error}"),
            Ok(_) => String::new(),
        }
    };
    let of_y = |version: i64, op: &str, attributes: Vec<AttributeProto>| why(version, vec![node(op, &["x"], &["y"], attributes)], vec![]);
    let unknown = |op: &str, names: &str| {
        let (attribute, it) = if names.contains(',') { ("attributes", "them") } else { ("attribute", "it") };
        format!("unsupported: {op} at y_node: the {attribute} {names}; this version of the operator has not, or import does not know {it}")
    };
    assert_eq!(of_y(21, "LeakyRelu", vec![float("alpha", 0.1)]), "");
    assert_eq!(of_y(21, "LeakyRelu", vec![float("slope", 0.1)]), unknown("LeakyRelu", "`slope`"));
    assert_eq!(of_y(21, "Relu", vec![float("a", 0.1), int("b", 1)]), unknown("Relu", "`a`, `b`"));
    assert_eq!(of_y(21, "Relu", vec![int("__note", 1)]), "");
    // Of newer and of older versions.
    let reshape = || vec![node("Reshape", &["x", "w"], &["y"], vec![int("allowzero", 1)])];
    assert_eq!(why(14, reshape(), vec![longs("w", &[2, 3])]), "");
    assert_eq!(why(13, reshape(), vec![longs("w", &[2, 3])]), unknown("Reshape", "`allowzero`"));
    assert_eq!(of_y(6, "Relu", vec![ints("consumed_inputs", &[0])]), "");
    assert_eq!(of_y(7, "Relu", vec![ints("consumed_inputs", &[0])]), unknown("Relu", "`consumed_inputs`"));
    // Values of shapes are computed beside the IR, which knows as few attributes.
    let shape = vec![node("Shape", &["x"], &["s"], vec![int("begin", 1)]), node("Reshape", &["x", "s"], &["y"], vec![])];
    assert_eq!(why(21, shape, vec![]), unknown("Shape", "`begin`").replace("y_node", "s_node"));
    // A call of a function of the model has the attributes that the function declares.
    let mut model = simple(vec![node("Twice", &["x"], &["y"], vec![float("by", 2.0)])], vec![]);
    model.graph.as_mut().unwrap().node[0].domain = "local".into();
    model.opset_import.push(OperatorSetIdProto { domain: "local".into(), version: 1 });
    model.functions.push(FunctionProto {
        name: "Twice".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Add", &["a", "a"], &["b"], vec![])],
        ..Default::default()
    });
    let message = error(&model, &[]);
    assert_eq!(message, unknown("local.Twice", "`by`"));
}

#[test]
fn results_of_symbolic_extents_fit_64_bits_too() {
    let inputs = vec![info("x", data_type::FLOAT, &["n", "3"])];
    let nodes = vec![node("Expand", &["x", "w"], &["y"], vec![])];
    let outputs = vec![info("y", data_type::FLOAT, &["a", "b", "n", "3"])];
    let message = error(&model(graph(nodes, inputs, outputs, vec![longs("w", &[1 << 40, 1 << 30, 1, 1])])), &[]);
    assert!(message.starts_with("import: the number of elements of a result does not fit 64 bits at Expand node `y_node`"), "{message}");
}

/// Damaged files are errors, never panics.
#[test]
fn mutated_files_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![]),
        node("Slice", &["x", "starts", "ends"], &["p"], vec![]),
        node("Transpose", &["p"], &["t"], vec![ints("perm", &[1, 0])]),
        node("Reshape", &["t", "to"], &["r"], vec![]),
        node("Concat", &["r", "r"], &["c"], vec![int("axis", 1)]),
        node("Softmax", &["c"], &["y"], vec![int("axis", -1)]),
    ];
    let initializer = vec![longs("starts", &[0, 1]), longs("ends", &[2, 3]), longs("to", &[-1, 2]), floats("w", &[2], &[1.0, 2.0])];
    let bytes = simple(nodes, initializer).encode_to_vec();
    let path = folder.path().join("model.onnx");
    let context = new_context();
    context.attach_diagnostic_handler(|_| true);
    let try_bytes = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let _ = import_onnx(&context, &path, &ImportOptions::default());
    };
    for length in 0..bytes.len() {
        try_bytes(&bytes[..length]);
    }
    // A linear congruential generator: the same mutations every time.
    let mut state = 1u64;
    for _ in 0..3000 {
        let mut mutated = bytes.clone();
        for _ in 0..1 + state % 3 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % mutated.len();
            mutated[at] = (state >> 24) as u8;
        }
        try_bytes(&mutated);
    }
}
