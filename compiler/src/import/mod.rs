//! An ONNX file -> `func.func @main` of the graph dialect, and its weights in a [`ConstantStore`].
//!
//! The file is memory-mapped and weights stay where they are. Model-local functions are inlined, opset differences resolved, broadcasting
//! made explicit. Everything unsupported is collected and reported at once; a file that contradicts itself is refused with the node's name.

pub mod proto;

mod error;
mod externs;
mod options;
mod order;
mod plan;
mod tensor;

mod arrange;
mod fold;
mod importer;
mod materialize;
mod narrow;
mod node;
mod repeat;
mod shape_values;
mod sizes;
mod value;
mod value_range;

mod ops;

pub use error::{ImportError, Unsupported};
pub use externs::{Declaration, read_declarations};
pub use options::{DimSetting, ImportOptions, SizeSetting, Specialization, ValueSetting, offer_of};

use crate::constants::{ConstantStore, MappedFile};
use bytes::Bytes;
use importer::Importer;
use plan::Plan;
use prost::Message;
use proto::ModelProto;
use std::path::Path;
use winze_mlir::melior::{
    Context,
    ir::{Location, Module},
};

/// The function of a model for all values of its dims.
const MAIN: &str = "main";

/// One function that a model becomes.
struct Form {
    name: String,
    /// For a specialisation: values of the symbols of the general function, the least i64 where any will do.
    values: Option<Vec<i64>>,
}

/// An imported model.
pub struct Imported<'c> {
    pub module: Module<'c>,
    pub store: ConstantStore,
    /// Contradictions that do not change what the model computes, as declared shapes that are wrong.
    pub warnings: Vec<String>,
}

/// Imports a model file. `context` has the graph dialect registered.
pub fn import_onnx<'c>(context: &'c Context, path: &Path, options: &ImportOptions) -> Result<Imported<'c>, ImportError> {
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let unreadable = |error: std::io::Error| ImportError::invalid(error.to_string(), path.display().to_string(), "check the path");
    let file = MappedFile::open(path).map_err(unreadable)?;
    let model = decode(file.data.clone(), &name)?;
    import_model(context, &model, file, &name, options)
}

fn decode(data: Bytes, name: &str) -> Result<ModelProto, ImportError> {
    let damaged =
        |what: String| ImportError::invalid(what, name, "the file is damaged, cut off or no ONNX model; export or fetch it again");
    if data.is_empty() {
        return Err(damaged("the file is empty".into()));
    }
    let model = ModelProto::decode(data).map_err(|error| damaged(format!("the file cannot be decoded as an ONNX model ({error})")))?;
    if model.graph.is_none() || model.opset_import.is_empty() {
        return Err(damaged("the file has no graph or no opset".into()));
    }
    Ok(model)
}

fn import_model<'c>(
    context: &'c Context,
    model: &ModelProto,
    file: MappedFile,
    name: &str,
    options: &ImportOptions,
) -> Result<Imported<'c>, ImportError> {
    let graph = model.graph.as_ref().expect("decode has checked");
    let mut imported = Imported { module: Module::new(Location::new(context, name, 0, 0)), store: ConstantStore::new(), warnings: vec![] };
    let mut import = |options: &ImportOptions, form: Form| -> Result<Vec<String>, ImportError> {
        let mut plan = Plan::new(graph, options)?;
        loop {
            let store = std::mem::take(&mut imported.store);
            let mut importer = Importer::new(context, model, file.clone(), name, options, &plan, store);
            let result = importer.import(&imported.module, &form);
            let demands = importer.demands.take();
            imported.store = importer.store;
            match result {
                Ok(()) => {
                    // The forms of a model would say the same again.
                    if form.values.is_none() {
                        imported.warnings = importer.warnings;
                    }
                    return Ok(importer.symbols);
                }
                Err(error) if !matches!(error, ImportError::Unsupported(_)) || !plan.extend(demands) => return Err(error),
                Err(_) => {}
            }
        }
    };
    let symbols = import(options, Form { name: MAIN.to_string(), values: None })?;
    for specialization in &options.specializations {
        let values = |symbol: &String| specialization.values().find(|(name, _)| name == symbol).map_or(i64::MIN, |(_, value)| value);
        let values: Vec<i64> = symbols.iter().map(values).collect();
        if let Some((name, _)) = specialization.values().find(|(name, _)| !symbols.iter().any(|symbol| symbol == name)) {
            let remedy = format!("its symbolic dims: {}", if symbols.is_empty() { "none".to_string() } else { symbols.join(", ") });
            return Err(ImportError::invalid(format!("the general form has no symbolic dim `{name}`"), "--specialize", remedy));
        }
        let dims = options.dims.iter().chain(&specialization.0).cloned().collect();
        let name = format!("{MAIN}[{specialization}]");
        import(&ImportOptions { dims, ..options.clone() }, Form { name, values: Some(values) })?;
    }
    Ok(imported)
}

#[cfg(test)]
mod tests;
