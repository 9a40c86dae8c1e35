//! `TensorProto` -> a constant of the store.
//!
//! `raw_data` and external data stay ranges of mapped files; the typed fields of old exporters are copied. Elements of less than a byte stay packed there and
//! are taken apart when they are read. Refuses strings and complex numbers, data of the wrong size, and external files outside the model's folder.

use super::{
    error::Failure,
    narrow::{self, ModelType, Narrow, NarrowForm},
    proto::{TensorProto, data_type},
};
use crate::constants::{ConstantStore, ConstantType, Expression, MappedFile, Source, packed_bytes};
use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};
use winze_graph::types::ElementType;

/// Files that constants come from.
pub struct Files {
    pub model: MappedFile,
    folder: PathBuf,
    external: HashMap<String, MappedFile>,
}

impl Files {
    pub fn new(model: MappedFile) -> Self {
        let folder = model.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
        Self { model, folder, external: HashMap::new() }
    }

    /// The mapped file of a `location`, relative to the model's folder and inside it.
    fn external(&mut self, location: &str) -> Result<&MappedFile, Failure> {
        if !self.external.contains_key(location) {
            let outside =
                || Failure::Invalid(format!("external data `{location}` lies outside the model's folder; move it beside the model"));
            let relative = Path::new(location);
            if location.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(outside());
            }
            let missing = |error: std::io::Error| {
                Failure::Invalid(format!("external data `{location}` cannot be read: {error}; put the file beside the model"))
            };
            let path = self.folder.join(relative).canonicalize().map_err(missing)?;
            if !path.starts_with(self.folder.canonicalize().map_err(missing)?) {
                return Err(outside());
            }
            self.external.insert(location.into(), MappedFile::open(&path).map_err(missing)?);
        }
        Ok(&self.external[location])
    }
}

/// The element type of an ONNX type number.
pub fn element_type(number: i32) -> Result<ElementType, Failure> {
    use ElementType::*;
    Ok(match number {
        data_type::FLOAT => F32,
        data_type::UINT8 => U8,
        data_type::INT8 => I8,
        data_type::UINT16 => U16,
        data_type::INT16 => I16,
        data_type::INT32 => I32,
        data_type::INT64 => I64,
        data_type::BOOL => Bool,
        data_type::FLOAT16 => F16,
        data_type::DOUBLE => F64,
        data_type::UINT32 => U32,
        data_type::UINT64 => U64,
        data_type::BFLOAT16 => BF16,
        other => {
            let named = match other {
                data_type::STRING => Some("string"),
                data_type::COMPLEX64 => Some("complex64"),
                data_type::COMPLEX128 => Some("complex128"),
                _ => narrow::name_of(other),
            };
            return match named {
                Some(name) => Failure::unsupported(format!("element type {name}")),
                None => Failure::invalid(format!("{other} is no element type")),
            };
        }
    })
}

/// Adds a tensor to the store, under `name`, and returns its id.
pub fn import_tensor(tensor: &TensorProto, name: &str, files: &mut Files, store: &mut ConstantStore) -> Result<String, Failure> {
    let ModelType { element, narrow } = ModelType::of_number(tensor.data_type)?;
    let r#type = ConstantType::new(element, tensor.dims.clone());
    let Some(elements) = r#type.checked_elements() else {
        return Failure::invalid(format!("the tensor `{name}` of type {type} has negative or too many elements"));
    };
    let packed = narrow.filter(|narrow| narrow.bits < 8);
    let (stored, count) = match packed {
        Some(narrow) => {
            let bytes = packed_bytes(elements, narrow.bits);
            (ConstantType::new(ElementType::U8, [bytes as i64]), bytes)
        }
        None => (r#type.clone(), elements),
    };
    let source = if tensor.data_location == 1 {
        external_source(tensor, files, count * element.bytes())?
    } else if let Some(raw) = &tensor.raw_data {
        // Tensors decoded from elsewhere than the model file (tests, default attributes) are copied.
        if contains(&files.model.data, raw) { files.model.constant(raw.clone()) } else { Source::Inline(raw.to_vec()) }
    } else {
        Source::Inline(typed_bytes(tensor, stored.element, count)?)
    };
    let id = store.add(name, stored, source).map_err(|error| Failure::Invalid(error.to_string()))?;
    match packed {
        Some(narrow) => unpacked(store, id, narrow, &r#type),
        None => Ok(id),
    }
}

/// The constant whose elements stand packed in the bytes of constant `input`.
fn unpacked(store: &mut ConstantStore, input: String, narrow: &Narrow, r#type: &ConstantType) -> Result<String, Failure> {
    let id = format!("{input}|unpack:{}", narrow.bits);
    if store.type_of(&id).is_ok_and(|known| known == r#type) {
        return Ok(id);
    }
    let signed = narrow.form == NarrowForm::Signed;
    let unpack = Expression::Unpack { input, bits: narrow.bits, signed, dims: r#type.dims.clone() };
    store.add_expression(&id, unpack).map_err(|error| Failure::Invalid(error.to_string()))
}

fn contains(file: &[u8], part: &[u8]) -> bool {
    let (file, part) = (file.as_ptr_range(), part.as_ptr_range());
    file.start <= part.start && part.end <= file.end
}

fn external_source(tensor: &TensorProto, files: &mut Files, needed: usize) -> Result<Source, Failure> {
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let number = |key: &str, default: usize| match entry(key) {
        Some(text) => {
            text.trim().parse().map_err(|_| Failure::Invalid(format!("external data has the {key} `{text}`, which is no number")))
        }
        None => Ok(default),
    };
    let (offset, length) = (number("offset", 0)?, number("length", needed)?);
    let Some(location) = entry("location") else { return Failure::invalid("external data without a location") };
    let file = files.external(location)?;
    let end = offset.checked_add(length).filter(|end| *end <= file.data.len());
    let Some(end) = end else {
        return Failure::invalid(format!(
            "external data {offset}+{length} lies beyond the {} bytes of `{location}`; the file is cut off or belongs to another model",
            file.data.len()
        ));
    };
    Ok(file.constant(file.data.slice(offset..end)))
}

/// The typed data fields as little-endian bytes.
fn typed_bytes(tensor: &TensorProto, element: ElementType, elements: usize) -> Result<Vec<u8>, Failure> {
    use ElementType::*;
    let mut out = Vec::new();
    let (field, found) = match element {
        F32 => {
            out.extend(tensor.float_data.iter().flat_map(|x| x.to_le_bytes()));
            ("float_data", tensor.float_data.len())
        }
        F64 => {
            out.extend(tensor.double_data.iter().flat_map(|x| x.to_le_bytes()));
            ("double_data", tensor.double_data.len())
        }
        I64 => {
            out.extend(tensor.int64_data.iter().flat_map(|x| x.to_le_bytes()));
            ("int64_data", tensor.int64_data.len())
        }
        U32 | U64 => {
            let size = element.bytes();
            out.extend(tensor.uint64_data.iter().flat_map(|x| x.to_le_bytes().into_iter().take(size)));
            ("uint64_data", tensor.uint64_data.len())
        }
        Bool => {
            out.extend(tensor.int32_data.iter().map(|x| u8::from(*x != 0)));
            ("int32_data", tensor.int32_data.len())
        }
        // f16 and bf16 stand here as their bits.
        I32 | I16 | I8 | U16 | U8 | F16 | BF16 => {
            let size = element.bytes();
            out.extend(tensor.int32_data.iter().flat_map(|x| x.to_le_bytes().into_iter().take(size)));
            ("int32_data", tensor.int32_data.len())
        }
    };
    if found != elements {
        return Failure::invalid(format!("{field} has {found} elements, {elements} are needed; the file is damaged or cut off"));
    }
    Ok(out)
}
