//! Weights of a model, outside the IR: ids -> types, contents and hashes.
//!
//! `graph.weight` names an id of this store. A constant is bytes of a mapped file, a small vector, or an expression over other constants
//! that is evaluated when it is read or written, one tensor at a time, and not kept. Contents are little-endian, C order, bool one byte.

mod element;
mod expression;
pub mod side_file;
mod source;

pub use element::{Scalar, cast_bytes};
pub use expression::{Expression, Repeated, packed_bytes};
pub use source::{MappedFile, Source};

use blake3::{Hash, Hasher};
use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    io::{self, Write},
    sync::OnceLock,
};
use thiserror::Error;
use winze_graph::{tensor::Tensor, types::ElementType};

/// Element type and extents of a constant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConstantType {
    pub element: ElementType,
    pub dims: Vec<i64>,
}

impl ConstantType {
    pub fn new(element: ElementType, dims: impl Into<Vec<i64>>) -> Self {
        Self { element, dims: dims.into() }
    }

    /// Number of elements; `None` if a dim is negative or the size in bytes does not fit a signed 64-bit integer.
    pub fn checked_elements(&self) -> Option<usize> {
        if self.dims.iter().any(|dim| *dim < 0) {
            return None;
        }
        if self.dims.contains(&0) {
            return Some(0);
        }
        let count = self.dims.iter().try_fold(1i64, |count, dim| count.checked_mul(*dim))?;
        count.checked_mul(self.element.bytes() as i64)?;
        usize::try_from(count).ok()
    }

    /// Number of elements of a type the store has accepted.
    pub fn elements(&self) -> usize {
        self.checked_elements().expect("the store checks the sizes of what it accepts")
    }

    /// Size in bytes of a type the store has accepted.
    pub fn bytes(&self) -> usize {
        self.elements() * self.element.bytes()
    }
}

impl fmt::Display for ConstantType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(i64::to_string).collect();
        write!(f, "{}[{}]", self.element, dims.join("x"))
    }
}

#[derive(Debug, Error)]
pub enum ConstantError {
    #[error("constants: there is no constant `{0}`; give the side file that belongs to this module")]
    Unknown(String),
    #[error("constants: `{id}` cannot be {what}: {why}")]
    Type { id: String, what: &'static str, why: String },
    #[error("constants: `{id}` of type {expected} has {found} bytes of data, {needed} are needed; the file is damaged or cut off")]
    Size { id: String, expected: ConstantType, found: usize, needed: usize },
    #[error("constants: evaluating `{id}` failed: {why}")]
    Fold { id: String, why: String },
    #[error("constants: {file}: {why}")]
    SideFile { file: String, why: String },
    #[error("constants: {0}")]
    Io(#[from] io::Error),
}

struct Entry {
    r#type: ConstantType,
    source: Source,
    hash: OnceLock<Hash>,
}

/// All constants of a module. Ids are unique and never change their meaning.
#[derive(Default)]
pub struct ConstantStore {
    entries: HashMap<String, Entry>,
    order: Vec<String>,
}

impl ConstantStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a constant and returns its id: `name`, or `name#N` if that is taken by another one than this range of a file.
    pub fn add(&mut self, name: &str, r#type: ConstantType, source: Source) -> Result<String, ConstantError> {
        if self.entries.get(name).is_some_and(|known| known.r#type == r#type && known.source.is_same_range(&source)) {
            return Ok(name.to_string());
        }
        let id = self.free_id(name);
        let too_large = || ConstantError::Type { id: id.clone(), what: "stored", why: format!("the size of {type} does not fit 64 bits") };
        let elements = r#type.checked_elements().ok_or_else(too_large)?;
        let needed = elements * r#type.element.bytes();
        if let Some(found) = source.len()
            && found != needed
        {
            return Err(ConstantError::Size { id, expected: r#type, found, needed });
        }
        self.order.push(id.clone());
        self.entries.insert(id.clone(), Entry { r#type, source, hash: OnceLock::new() });
        Ok(id)
    }

    /// Adds an expression over constants of this store; its type is inferred.
    pub fn add_expression(&mut self, name: &str, expression: Expression) -> Result<String, ConstantError> {
        let r#type = expression.infer_type(self).map_err(|error| match error {
            ConstantError::Type { what, why, .. } => ConstantError::Type { id: name.into(), what, why },
            other => other,
        })?;
        self.add(name, r#type, Source::Expression(expression))
    }

    /// Adds a constant that stands in memory.
    pub fn add_tensor(&mut self, name: &str, tensor: &Tensor) -> Result<String, ConstantError> {
        let r#type = ConstantType::new(tensor.element(), tensor.shape.iter().map(|extent| *extent as i64).collect::<Vec<_>>());
        self.add(name, r#type, Source::Inline(tensor.to_bytes()))
    }

    /// The contents as reference evaluation takes them.
    pub fn tensor(&self, id: &str) -> Result<Tensor, String> {
        let r#type = self.type_of(id).map_err(|error| error.to_string())?;
        let shape: Vec<usize> = r#type.dims.iter().map(|dim| *dim as usize).collect();
        Tensor::from_bytes(r#type.element, &shape, &self.read(id).map_err(|error| error.to_string())?)
    }

    fn free_id(&self, name: &str) -> String {
        if !self.entries.contains_key(name) {
            return name.to_string();
        }
        (1..).map(|n| format!("{name}#{n}")).find(|id| !self.entries.contains_key(id)).expect("names do not run out")
    }

    fn entry(&self, id: &str) -> Result<&Entry, ConstantError> {
        self.entries.get(id).ok_or_else(|| ConstantError::Unknown(id.into()))
    }

    /// Ids in the order they were added.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }

    pub fn contains(&self, id: &str) -> bool {
        self.entries.contains_key(id)
    }

    pub fn type_of(&self, id: &str) -> Result<&ConstantType, ConstantError> {
        Ok(&self.entry(id)?.r#type)
    }

    pub fn source_of(&self, id: &str) -> Result<&Source, ConstantError> {
        Ok(&self.entry(id)?.source)
    }

    /// BLAKE3 of the contents; computed on first use.
    pub fn hash(&self, id: &str) -> Result<Hash, ConstantError> {
        let entry = self.entry(id)?;
        if let Some(hash) = entry.hash.get() {
            return Ok(*hash);
        }
        let mut hasher = Hasher::new();
        self.write(id, &mut hasher)?;
        Ok(*entry.hash.get_or_init(|| hasher.finalize()))
    }

    /// Writes the contents. An expression holds its operands in memory meanwhile, unless they are mapped.
    pub fn write(&self, id: &str, out: &mut dyn Write) -> Result<(), ConstantError> {
        let entry = self.entry(id)?;
        match &entry.source {
            Source::Mapped { data, .. } => Ok(out.write_all(data)?),
            Source::Inline(data) => Ok(out.write_all(data)?),
            Source::Expression(expression) => expression.write(self, id, &entry.r#type, out),
        }
    }

    /// The contents; borrowed where they stand in memory or in a mapped file.
    pub fn read(&self, id: &str) -> Result<Cow<'_, [u8]>, ConstantError> {
        let entry = self.entry(id)?;
        match &entry.source {
            Source::Mapped { data, .. } => Ok(Cow::Borrowed(data)),
            Source::Inline(data) => Ok(Cow::Borrowed(data)),
            Source::Expression(expression) => {
                let mut out = Vec::with_capacity(entry.r#type.bytes());
                expression.write(self, id, &entry.r#type, &mut out)?;
                Ok(Cow::Owned(out))
            }
        }
    }
}

#[cfg(test)]
mod tests;
