//! Small models, built from the protobuf structs, through import.

use super::{
    ImportError, ImportOptions, Imported, import_onnx,
    proto::{
        AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        TensorShapeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto, attribute_type, data_type,
    },
};
use crate::context::new_context;
use prost::Message;
use std::{fs, path::Path};
use winze_mlir::melior::{
    Context,
    ir::operation::{OperationLike, OperationPrintingFlags},
};

mod errors;
mod extents;
mod externs;
mod forms;
mod known;
mod models;
mod values;

/// `"batch"` is a symbol, `"3"` an extent, `"?"` nameless.
fn info(name: &str, element: i32, dims: &[&str]) -> ValueInfoProto {
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

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: format!("{}_node", outputs.first().unwrap_or(&"")),
        op_type: op.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: outputs.iter().map(ToString::to_string).collect(),
        attribute,
        ..Default::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::INTS, ints: values.to_vec(), ..Default::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::INT, i: Some(value), ..Default::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::FLOAT, f: Some(value), ..Default::default() }
}

fn graph_attribute(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::GRAPH, g: Some(graph), ..Default::default() }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: data_type::FLOAT, raw_data: Some(raw.into()), ..Default::default() }
}

fn longs(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: data_type::INT64,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 10,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 21 }],
        graph: Some(graph),
        functions: vec![],
    }
}

fn graph(nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>, outputs: Vec<ValueInfoProto>, initializer: Vec<TensorProto>) -> GraphProto {
    GraphProto { node: nodes, name: "g".into(), initializer, input: inputs, output: outputs, ..Default::default() }
}

fn write(folder: &Path, model: &ModelProto) -> std::path::PathBuf {
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

fn import<'c>(context: &'c Context, model: &ModelProto, dims: &[&str]) -> Result<Imported<'c>, ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), model);
    import_onnx(context, &path, &ImportOptions { dims: dims.iter().map(|dim| dim.parse().unwrap()).collect(), ..Default::default() })
}

/// The imported module as text; `locations` shows them.
fn text(model: &ModelProto, dims: &[&str], locations: bool) -> String {
    let context = new_context();
    let imported = import(&context, model, dims).unwrap_or_else(|error| panic!("{error}"));
    let flags = OperationPrintingFlags::new();
    let flags = if locations { flags.enable_debug_info(true, false) } else { flags };
    imported.module.as_operation().to_string_with_flags(flags).unwrap()
}

fn error(model: &ModelProto, dims: &[&str]) -> String {
    let context = new_context();
    match import(&context, model, dims) {
        Ok(_) => panic!("imports"),
        Err(error) => error.to_string(),
    }
}

/// Imports every model below a folder; prints what fails. For use by hand: `WINZE_MODELS=FOLDER cargo test import_folder -- --ignored --nocapture`.
#[test]
#[ignore = "needs a folder of models"]
fn import_folder() {
    let Some(root) = std::env::var_os("WINZE_MODELS") else { return };
    let mut models = vec![];
    let mut folders = vec![std::path::PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "model.onnx") {
                models.push(path);
            }
        }
    }
    models.sort();
    let (mut good, mut unsupported, mut invalid) = (0, 0, 0);
    for path in &models {
        let context = new_context();
        context.attach_diagnostic_handler(|_| true);
        match import_onnx(&context, path, &ImportOptions::default()) {
            Ok(imported) => {
                good += 1;
                imported.warnings.iter().for_each(|warning| println!("WARNING {}: {warning}", path.display()));
            }
            Err(error @ ImportError::Unsupported(_)) => {
                unsupported += 1;
                println!("UNSUPPORTED {}: {}", path.display(), error.to_string().replace('\n', " | "));
            }
            Err(error) => {
                invalid += 1;
                println!("INVALID {}: {error}", path.display());
            }
        }
    }
    println!("{good} of {} import, {unsupported} unsupported, {invalid} invalid", models.len());
}
