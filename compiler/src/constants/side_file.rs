//! Constants <-> a safetensors file, so that a printed module can be read again together with its weights.
//!
//! Types that safetensors lacks do not exist here. Expressions are evaluated on writing, one tensor at a time.

use super::{ConstantError, ConstantStore, ConstantType, MappedFile};
use safetensors::{Dtype, SafeTensors, View};
use std::{borrow::Cow, path::Path};
use winze_graph::types::ElementType;

const TYPES: [(ElementType, Dtype); 13] = [
    (ElementType::Bool, Dtype::BOOL),
    (ElementType::I8, Dtype::I8),
    (ElementType::I16, Dtype::I16),
    (ElementType::I32, Dtype::I32),
    (ElementType::I64, Dtype::I64),
    (ElementType::U8, Dtype::U8),
    (ElementType::U16, Dtype::U16),
    (ElementType::U32, Dtype::U32),
    (ElementType::U64, Dtype::U64),
    (ElementType::F16, Dtype::F16),
    (ElementType::BF16, Dtype::BF16),
    (ElementType::F32, Dtype::F32),
    (ElementType::F64, Dtype::F64),
];

struct Evaluated<'a> {
    store: &'a ConstantStore,
    id: &'a str,
    r#type: &'a ConstantType,
    shape: Vec<usize>,
}

impl View for &Evaluated<'_> {
    fn dtype(&self) -> Dtype {
        TYPES.iter().find(|(element, _)| *element == self.r#type.element).expect("every element type is listed").1
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.store.read(self.id).expect("`write` has read every constant once")
    }

    fn data_len(&self) -> usize {
        self.r#type.bytes()
    }
}

/// Writes the constants `ids` to a safetensors file.
pub fn write<'a>(store: &'a ConstantStore, ids: impl IntoIterator<Item = &'a str>, path: &Path) -> Result<(), ConstantError> {
    let mut tensors = vec![];
    for id in ids {
        let r#type = store.type_of(id)?;
        // safetensors takes contents from a function that cannot fail: find failures first.
        store.hash(id)?;
        tensors.push(Evaluated { store, id, r#type, shape: r#type.dims.iter().map(|dim| *dim as usize).collect() });
    }
    safetensors::serialize_to_file(tensors.iter().map(|tensor| (tensor.id, tensor)), None, path).map_err(|error| side_file(path, error))
}

/// Adds every tensor of a safetensors file to the store, without copying. Its names become ids, so the store must not have them.
pub fn read(store: &mut ConstantStore, path: &Path) -> Result<(), ConstantError> {
    let file = MappedFile::open(path).map_err(|error| side_file(path, error))?;
    let tensors = SafeTensors::deserialize(&file.data).map_err(|error| side_file(path, error))?;
    let mut names: Vec<&str> = tensors.names();
    names.sort_unstable();
    for name in names {
        let view = tensors.tensor(name).map_err(|error| side_file(path, error))?;
        let Some((element, _)) = TYPES.iter().find(|(_, dtype)| *dtype == view.dtype()) else {
            return Err(side_file(path, format!("`{name}` has the unsupported type {:?}", view.dtype())));
        };
        if store.contains(name) {
            return Err(side_file(path, format!("the constant `{name}` exists already")));
        }
        let dims: Vec<i64> = view.shape().iter().map(|dim| *dim as i64).collect();
        let data = if view.data().is_empty() { Default::default() } else { file.data.slice_ref(view.data()) };
        store.add(name, ConstantType::new(*element, dims), file.constant(data))?;
    }
    Ok(())
}

fn side_file(path: &Path, why: impl ToString) -> ConstantError {
    ConstantError::SideFile { file: path.display().to_string(), why: why.to_string() }
}
