//! A value of the model during import: its type, and its contents as far as they are known.

use super::narrow::{ModelType, Narrow};
use winze_graph::{
    dim::Dim,
    types::{ElementType, TensorType},
};
use winze_mlir::melior::ir::Value;

/// A tensor of the model. Contents that are known are put into the IR only when an op needs them.
#[derive(Clone, Debug)]
pub struct Tensor<'c, 'a> {
    pub r#type: TensorType,
    pub data: Data<'c, 'a>,
    /// What the elements stand for, if the dialect lacks their type.
    pub narrow: Option<&'static Narrow>,
}

#[derive(Clone, Debug)]
pub enum Data<'c, 'a> {
    /// Computed by an op of the IR.
    Value(Value<'c, 'a>),
    /// A constant of the store, by id.
    Constant(String),
    /// Integers or bools that are known, or follow from symbolic dims; in C order.
    Integers(Vec<Dim>),
    /// No tensor but a list of them; the type says nothing.
    Sequence(Vec<Tensor<'c, 'a>>),
}

impl<'c, 'a> Tensor<'c, 'a> {
    pub fn new(r#type: TensorType, data: Data<'c, 'a>) -> Self {
        Self { r#type, data, narrow: None }
    }

    pub fn integers(element: ElementType, shape: &[i64], items: Vec<Dim>) -> Self {
        Self::new(TensorType::fixed(element, shape), Data::Integers(items))
    }

    /// The element type in the model.
    pub fn model_type(&self) -> ModelType {
        ModelType { element: self.element(), narrow: self.narrow }
    }

    pub fn element(&self) -> ElementType {
        self.r#type.element
    }

    pub fn dims(&self) -> &[Dim] {
        &self.r#type.dims
    }

    pub fn rank(&self) -> usize {
        self.r#type.dims.len()
    }

    /// Extent of an axis, if static.
    pub fn extent(&self, axis: usize) -> Option<i64> {
        self.r#type.dims[axis].as_static()
    }
}
