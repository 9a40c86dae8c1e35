//! ONNX models made in code.

use prost::Message;
use winze_compiler::import::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, TypeValue, ValueInfoProto, attribute_type, data_type,
};

/// A dim that is no number is a symbol.
pub fn info(name: &str, element: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| DimensionProto {
        value: Some(text.parse().map_or_else(|_| DimensionValue::Param((*text).into()), DimensionValue::Value)),
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let value = Some(TypeValue::Tensor(TensorTypeProto { elem_type: element, shape }));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value }) }
}

pub fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: format!("{output}_node"),
        op_type: op.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        attribute,
        ..Default::default()
    }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::INTS, ints: values.to_vec(), ..Default::default() }
}

pub fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::GRAPH, g: Some(graph), ..Default::default() }
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: data_type::FLOAT, raw_data: Some(raw.into()), ..Default::default() }
}

pub fn graph(
    nodes: Vec<NodeProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    initializer: Vec<TensorProto>,
) -> GraphProto {
    GraphProto { node: nodes, name: "g".into(), initializer, input: inputs, output: outputs, ..Default::default() }
}

/// A file with the model, whose folder lives as long as the result; of operator set 21.
pub fn write(graph: GraphProto) -> (tempfile::TempDir, std::path::PathBuf) {
    write_of(21, graph)
}

pub fn write_of(version: i64, graph: GraphProto) -> (tempfile::TempDir, std::path::PathBuf) {
    let model = ModelProto {
        ir_version: 10,
        opset_import: [("", version), ("com.microsoft", 1)]
            .map(|(domain, version)| OperatorSetIdProto { domain: domain.into(), version })
            .into(),
        graph: Some(graph),
        functions: vec![],
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    (folder, path)
}
