//! Every line of the compiling commands' help that shows a command, run as it stands.

use prost::Message;
use std::{fs, process::Command};
use winze_compiler::import::proto::{
    DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TensorTypeProto, TypeProto,
    TypeValue, ValueInfoProto, data_type,
};

/// y = |x|, of a batch of any length.
fn model() -> Vec<u8> {
    let port = |name: &str| {
        let dims = ["batch", "length"].map(|dim| DimensionProto { value: Some(DimensionValue::Param(dim.into())) });
        let shape = Some(TensorShapeProto { dim: dims.into() });
        let value = Some(TypeValue::Tensor(TensorTypeProto { elem_type: data_type::FLOAT, shape }));
        ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value }) }
    };
    let node = NodeProto { op_type: "Abs".into(), input: vec!["x".into()], output: vec!["y".into()], ..Default::default() };
    let graph = GraphProto { name: "g".into(), node: vec![node], input: vec![port("x")], output: vec![port("y")], ..Default::default() };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 21 }];
    ModelProto { ir_version: 10, opset_import, graph: Some(graph), functions: vec![] }.encode_to_vec()
}

#[test]
fn the_examples_of_the_help_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.onnx"), model()).unwrap();
    let kernel = "[[kernel]]\nname = \"smooth\"\ndomain = \"com.example\"\nop = \"Smooth\"\nsignature = \"(f32[n]) -> (f32[n])\"\n";
    fs::write(folder.path().join("smooth.toml"), kernel).unwrap();
    let run = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_winze-compiler")).args(words).current_dir(folder.path()).output().unwrap();
    for command in ["compile", "check", "passes", "targets"] {
        let help = String::from_utf8(run(&[command, "--help"]).stdout).unwrap();
        let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  winze ")).collect();
        assert!(!examples.is_empty(), "no examples in: winze {command} --help");
        for example in examples {
            // What is explained stands after two blanks.
            let line = example.split("  ").next().unwrap().replace('\'', "");
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if command == "compile" {
                words.push("--no-cache");
            }
            let output = run(&words);
            assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{line}");
        }
    }
}
