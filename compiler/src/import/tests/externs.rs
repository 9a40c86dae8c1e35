//! Kernels of the user: which a node takes, what it is given, what is refused.

use super::*;
use crate::import::read_declarations;

const KERNELS: &str = r#"
[[kernel]]
name = "mix"
domain = "com.example"
op = "Mix"
signature = "(f32[n, m], f32[m], weight: float, times: int) -> (f32[n], i64[n + 1])"
defaults = { times = 2 }

[[kernel]]
name = "mix_i32"
domain = "com.example"
op = "Mix"
signature = "(i32[n], i32[n]) -> (i32[n])"

[[kernel]]
name = "own_relu"
domain = ""
op = "Relu"
signature = "(f32[n]) -> (f32[n])"
"#;

fn mix(inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto { domain: "com.example".into(), ..node("Mix", inputs, outputs, attribute) }
}

fn import_declared(model: &ModelProto) -> Result<String, String> {
    let (context, folder) = (new_context(), tempfile::tempdir().unwrap());
    let declarations = folder.path().join("kernels.toml");
    fs::write(&declarations, KERNELS).unwrap();
    let options = ImportOptions { externs: read_declarations(&declarations).unwrap(), ..Default::default() };
    let imported = import_onnx(&context, &save(folder.path(), model), &options);
    imported.map(|imported| imported.module.as_operation().to_string()).map_err(|e| e.to_string())
}

/// A model of one node over x and w, with outputs y and z.
fn of(element: i32, x: &[&str], w: &[&str], node: NodeProto) -> ModelProto {
    let outputs = node.output.iter().map(|name| info(name, 0, &["?"])).collect();
    model(graph(vec![node], vec![info("x", element, x), info("w", element, w)], outputs, vec![]))
}

#[test]
fn the_first_kernel_that_fits() {
    let weight = || vec![float("weight", 0.5)];
    let text = import_declared(&of(data_type::FLOAT, &["a", "3"], &["3"], mix(&["x", "w"], &["y", "z"], weight()))).unwrap();
    let call = r#"graph.call_extern "mix" "(f32[n, m], f32[m], weight: float, times: int) -> (f32[n], i64[n + 1])" scalars [4602678819172646912, 2](%arg0, %arg1)"#;
    assert!(text.contains(call), "{text}");
    // Extents that a run must find equal.
    let text = import_declared(&of(data_type::FLOAT, &["a", "b"], &["c"], mix(&["x", "w"], &["y", "z"], weight()))).unwrap();
    assert!(
        text.contains("graph.require %arg1") && text.contains(r#"Mix at y_node needs the extents of the kernel mix, (f32[n, m]"#),
        "{text}"
    );
    let text = import_declared(&of(data_type::INT32, &["a"], &["a"], mix(&["x", "w"], &["y"], vec![]))).unwrap();
    assert!(text.contains(r#"graph.call_extern "mix_i32""#), "{text}");
    // A declared kernel comes before the operator of the same name.
    let text = import_declared(&of(data_type::FLOAT, &["a"], &["a"], node("Relu", &["x"], &["y"], vec![]))).unwrap();
    assert!(text.contains(r#"graph.call_extern "own_relu""#), "{text}");
}

#[test]
fn what_no_kernel_takes() {
    let refused = |element, x: &[&str], w: &[&str], node| import_declared(&of(element, x, w, node)).unwrap_err();
    let outputs = ["y", "z"];
    for (error, expected) in [
        (
            refused(data_type::DOUBLE, &["2"], &["2"], mix(&["x", "w"], &["y"], vec![])),
            "unsupported: com.example.Mix at y_node: kernel mix: input 0 is f64 of rank 1, the signature",
        ),
        (
            refused(data_type::FLOAT, &["2", "3"], &["3"], mix(&["x", "w"], &outputs, vec![float("weight", 0.5), int("size", 1)])),
            "unsupported: com.example.Mix at y_node: the attribute `size`, which the kernel mix (f32[n, m]",
        ),
        (
            refused(data_type::FLOAT, &["2", "3"], &["3"], mix(&["x", "w"], &outputs, vec![])),
            "import: the attribute `weight` is missing, and its declaration has no default at",
        ),
        (
            refused(data_type::FLOAT, &["2", "3"], &["4"], mix(&["x", "w"], &outputs, vec![float("weight", 0.5)])),
            "import: 4 and 3 where it needs the extents of the kernel mix",
        ),
        (
            refused(data_type::FLOAT, &["2", "3"], &["4"], mix(&["x", ""], &outputs, vec![float("weight", 0.5)])),
            "its input 1 is left out; kernels of the user take all inputs",
        ),
        (refused(data_type::FLOAT, &["2", "3"], &["3"], mix(&["x"], &outputs, vec![])), "1 inputs are given, the signature"),
        (refused(data_type::FLOAT, &["2", "3"], &["3"], mix(&["x", "w"], &["y", "z", "v"], vec![float("weight", 0.5)])), "its output `v`"),
    ] {
        assert!(error.contains(expected), "{error}");
    }
}
