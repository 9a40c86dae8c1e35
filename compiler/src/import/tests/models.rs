//! What small models become.

use super::{
    super::proto::{DimensionValue, TypeValue},
    *,
};
use crate::{
    constants::Source,
    import::{Specialization, proto::FunctionProto},
};
use insta::assert_snapshot;

/// Shapes that exporters compute from symbolic dims leave no ops behind.
#[test]
fn shape_arithmetic_becomes_types() {
    let nodes = vec![
        node("Shape", &["x"], &["shape"], vec![]),
        node("Gather", &["shape", "zero"], &["batch"], vec![int("axis", 0)]),
        node("Concat", &["batch", "rest"], &["to"], vec![int("axis", 0)]),
        node("Reshape", &["x", "to"], &["flat"], vec![]),
        node("Add", &["flat", "bias"], &["sum"], vec![]),
        node("Relu", &["sum"], &["y"], vec![]),
    ];
    let graph = graph(
        nodes,
        vec![info("x", data_type::FLOAT, &["batch", "2", "3"])],
        vec![info("y", data_type::FLOAT, &["batch", "6"])],
        vec![longs("zero", &[0]), longs("rest", &[-1]), floats("bias", &[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])],
    );
    assert_snapshot!(text(&model(graph), &[], true));
}

#[test]
fn dims_are_fixed_and_bounded() {
    let graph = graph(
        vec![node("Relu", &["x"], &["y"], vec![])],
        vec![info("x", data_type::FLOAT, &["batch", "width", "?"])],
        vec![info("y", data_type::FLOAT, &["batch", "width", "?"])],
        vec![],
    );
    assert_snapshot!(text(&model(graph), &["batch=4", "width<=640"], false));
}

#[test]
fn question_marks_are_dims_of_their_own() {
    let input = info("x", data_type::FLOAT, &["a", "b"]);
    let mut graph = graph(vec![node("Relu", &["x"], &["y"], vec![])], vec![input], vec![info("y", data_type::FLOAT, &["?", "?"])], vec![]);
    let Some(TypeValue::Tensor(tensor)) = graph.input[0].r#type.as_mut().and_then(|r#type| r#type.value.as_mut()) else { unreachable!() };
    tensor.shape.as_mut().unwrap().dim.iter_mut().for_each(|dim| dim.value = Some(DimensionValue::Param("?".into())));
    let text = text(&model(graph), &[], false);
    assert!(text.contains("graph.symbols = [\"x_dim0\", \"x_dim1\"]"), "{text}");
}

/// A form per specialisation, over the same constants.
#[test]
fn specialised_forms_share_constants() {
    let graph = graph(
        vec![node("MatMul", &["x", "w"], &["y"], vec![])],
        vec![info("x", data_type::FLOAT, &["batch", "rows", "20"])],
        vec![info("y", data_type::FLOAT, &["batch", "rows", "20"])],
        vec![floats("w", &[20, 20], &[1.0; 400])],
    );
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), &model(graph));
    let import = |forms: &[&str]| {
        let specializations = forms.iter().map(|form| form.parse().unwrap()).collect();
        import_onnx(&new_context(), &path, &ImportOptions { specializations, ..Default::default() })
            .map(|imported| imported.module.as_operation().to_string())
    };
    assert_snapshot!(import(&["batch=1", "batch=8,rows=4"]).unwrap_or_else(|error| panic!("{error}")));
    let unknown = import(&["width=1"]).unwrap_err().to_string();
    assert!(unknown.contains("the general form has no symbolic dim `width`"), "{unknown}");
    assert!("batch<=4".parse::<Specialization>().unwrap_err().contains("a specialisation fixes dims"));
}

/// y = x, five times doubled; the loop's counter and condition are carried.
#[test]
fn loops_and_branches() {
    let step = graph(
        vec![node("Add", &["v", "v"], &["w"], vec![]), node("Identity", &["go"], &["on"], vec![])],
        vec![info("i", data_type::INT64, &[]), info("go", data_type::BOOL, &[]), info("v", data_type::FLOAT, &["3"])],
        vec![info("on", data_type::BOOL, &[]), info("w", data_type::FLOAT, &["3"])],
        vec![],
    );
    let branch =
        |op: &str, out: &str| graph(vec![node(op, &["l"], &[out], vec![])], vec![], vec![info(out, data_type::FLOAT, &["3"])], vec![]);
    let nodes = vec![
        node("Loop", &["trips", "", "x"], &["l"], vec![body("body", step)]),
        node("If", &["c"], &["y"], vec![body("then_branch", branch("Neg", "a")), body("else_branch", branch("Abs", "b"))]),
    ];
    let graph = graph(
        nodes,
        vec![info("x", data_type::FLOAT, &["3"]), info("c", data_type::BOOL, &[])],
        vec![info("y", data_type::FLOAT, &["3"])],
        vec![longs("trips", &[5])],
    );
    assert_snapshot!(text(&model(graph), &[], false));
}

/// Functions are inlined with their attributes; an unsorted graph is sorted.
#[test]
fn functions_are_inlined() {
    let mut inner = node("LeakyRelu", &["a"], &["b"], vec![]);
    inner.attribute.push(AttributeProto {
        name: "alpha".into(),
        r#type: attribute_type::FLOAT,
        ref_attr_name: "slope".into(),
        ..Default::default()
    });
    let function = FunctionProto {
        name: "Act".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["slope".into()],
        node: vec![inner],
        ..Default::default()
    };
    let mut call = node("Act", &["x"], &["t"], vec![float("slope", 0.25)]);
    call.domain = "local".into();
    let graph = graph(
        vec![node("Neg", &["t"], &["y"], vec![]), call],
        vec![info("x", data_type::FLOAT, &["3"])],
        vec![info("y", data_type::FLOAT, &["3"])],
        vec![],
    );
    let mut model = model(graph);
    model.functions.push(function);
    model.opset_import.push(OperatorSetIdProto { domain: "local".into(), version: 1 });
    let text = text(&model, &[], true);
    assert!(text.contains("2.500000e-01") && text.contains("graph.select"), "{text}");
    assert!(text.contains("t_node/b_node"), "{text}");
}

fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// 128 MB of weights stay in the mapped file.
#[test]
fn weights_are_not_copied() {
    const ROWS: i64 = 1 << 13;
    const COLUMNS: i64 = 1 << 12;
    let folder = tempfile::tempdir().unwrap();
    let path = {
        let weight = tensor("w", data_type::FLOAT, &[ROWS, COLUMNS], vec![0; (ROWS * COLUMNS * 4) as usize]);
        let graph = graph(
            vec![node("Add", &["x", "w"], &["y"], vec![])],
            vec![info("x", data_type::FLOAT, &["8192", "4096"])],
            vec![info("y", data_type::FLOAT, &["8192", "4096"])],
            vec![weight],
        );
        save(folder.path(), &model(graph))
    };
    let context = new_context();
    let before = anonymous_memory();
    let imported = import_onnx(&context, &path, &ImportOptions::default()).unwrap();
    let grown = anonymous_memory().saturating_sub(before);
    // Other tests of the process may allocate meanwhile; a copy would be 128 MiB.
    assert!(grown < 64 << 20, "{grown} bytes");
    assert!(matches!(imported.store.source_of("w"), Ok(Source::Mapped { offset, .. }) if *offset > 0));
    assert_eq!(imported.store.type_of("w").unwrap().bytes(), 128 << 20);
}
