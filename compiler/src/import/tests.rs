//! Small models, built from the protobuf structs, through import.

use super::{
    ImportError, ImportOptions, Imported, import_onnx,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto, attribute_type, data_type,
    },
};
use crate::context::new_context;
use onnx::{body, float, floats, graph, info, int, ints, longs, model, node, save, string, tensor};
use std::fs;
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
mod narrow;
#[path = "../../tests/pipeline/onnx.rs"]
mod onnx;
mod values;

fn import<'c>(context: &'c Context, model: &ModelProto, dims: &[&str]) -> Result<Imported<'c>, ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), model);
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
