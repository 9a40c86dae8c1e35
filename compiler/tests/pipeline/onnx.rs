//! ONNX models made in code, for the integration tests and the importer's own.
#![allow(dead_code, reason = "each test binary uses its part")]

use prost::Message;
use std::path::{Path, PathBuf};
use winze_compiler::import::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, TypeValue, ValueInfoProto, attribute_type, data_type,
};

/// `"batch"` is a symbol, `"3"` an extent, `"?"` nameless.
pub fn info(name: &str, element: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| DimensionProto {
        value: match (text.parse(), *text) {
            (Ok(value), _) => Some(DimensionValue::Value(value)),
            (_, "?") => None,
            (_, name) => Some(DimensionValue::Param(name.into())),
        },
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let value = Some(TypeValue::Tensor(TensorTypeProto { elem_type: element, shape }));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value }) }
}

/// Called after its first output.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: format!("{}_node", outputs.first().unwrap_or(&"")),
        op_type: op.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: outputs.iter().map(ToString::to_string).collect(),
        attribute,
        ..Default::default()
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::INT, i: Some(value), ..Default::default() }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::INTS, ints: values.to_vec(), ..Default::default() }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::FLOAT, f: Some(value), ..Default::default() }
}

pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::STRING, s: Some(value.as_bytes().to_vec().into()), ..Default::default() }
}

pub fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::GRAPH, g: Some(graph), ..Default::default() }
}

pub fn tensor(name: &str, element: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: element, raw_data: Some(raw.into()), ..Default::default() }
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    tensor(name, data_type::FLOAT, dims, values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// i64, of one dim.
pub fn longs(name: &str, values: &[i64]) -> TensorProto {
    tensor(name, data_type::INT64, &[values.len() as i64], values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

pub fn graph(
    nodes: Vec<NodeProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    initializer: Vec<TensorProto>,
) -> GraphProto {
    GraphProto { node: nodes, name: "g".into(), initializer, input: inputs, output: outputs, ..Default::default() }
}

/// Of operator set 21.
pub fn model(graph: GraphProto) -> ModelProto {
    model_of(21, graph)
}

pub fn model_of(version: i64, graph: GraphProto) -> ModelProto {
    let opset_import = [("", version), ("com.microsoft", 1)].map(|(domain, version)| OperatorSetIdProto { domain: domain.into(), version });
    ModelProto { ir_version: 10, opset_import: opset_import.into(), graph: Some(graph), functions: vec![] }
}

/// Gives the file's path.
pub fn save(folder: &Path, model: &ModelProto) -> PathBuf {
    let path = folder.join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

/// A file with the model, whose folder lives as long as the result.
pub fn write(model: &ModelProto) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), model);
    (folder, path)
}
