//! Layout changes of operands: of a constant, an expression of the constant store, so that it stays a weight; of anything else, ops.

use super::{
    error::Failure,
    node::NodeContext,
    value::{Data, Tensor},
};
use crate::constants::Expression;
use winze_graph::{
    dialect::{Pad, Reverse},
    dim::Dim,
    types::TensorType,
};

impl<'c, 'a> NodeContext<'_, '_, 'c, 'a> {
    /// The constant that an expression over the constant `id` makes.
    fn derived(&mut self, id: &str, expression: Expression) -> Result<Tensor<'c, 'a>, Failure> {
        let store = &mut self.importer.store;
        let id = store.add_expression(id, expression).map_err(|error| Failure::Invalid(error.to_string()))?;
        let r#type = store.type_of(&id).map_err(|error| Failure::Invalid(error.to_string()))?;
        Ok(Tensor::new(TensorType::fixed(r#type.element, &r#type.dims), Data::Constant(id)))
    }

    /// The same elements under another shape of static extents.
    pub fn arrange_reshape(&mut self, x: &Tensor<'c, 'a>, dims: &[i64]) -> Result<Tensor<'c, 'a>, Failure> {
        match &x.data {
            Data::Constant(id) => self.derived(&id.clone(), Expression::Reshape { input: id.clone(), dims: dims.to_vec() }),
            _ => self.reshape(x, dims.iter().map(|dim| Dim::from(*dim)).collect()),
        }
    }

    pub fn arrange_transpose(&mut self, x: &Tensor<'c, 'a>, permutation: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
        match &x.data {
            Data::Constant(id) => self.derived(&id.clone(), Expression::Transpose { input: id.clone(), permutation: permutation.to_vec() }),
            _ => self.transpose(x, permutation.iter().map(|axis| *axis as i64).collect()),
        }
    }

    pub fn arrange_reverse(&mut self, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
        if axes.is_empty() {
            return Ok(x.clone());
        }
        if let Data::Constant(id) = &x.data {
            return self.derived(&id.clone(), Expression::Reverse { input: id.clone(), axes: axes.to_vec() });
        }
        let value = self.value(x)?;
        let axes = axes.iter().map(|axis| *axis as i64).collect();
        self.emit(Reverse::create(self.context(), self.location, value, axes, &[x.r#type.to_type(self.context())]))
    }

    /// Zeros after the last element of each axis.
    pub fn arrange_extend(&mut self, x: &Tensor<'c, 'a>, high: &[i64]) -> Result<Tensor<'c, 'a>, Failure> {
        if high.iter().all(|amount| *amount == 0) {
            return Ok(x.clone());
        }
        let (low, high) = (vec![0; x.rank()], high.to_vec());
        if let Data::Constant(id) = &x.data {
            let value = vec![0; x.element().bytes()];
            return self.derived(&id.clone(), Expression::Pad { input: id.clone(), low, high, value });
        }
        let zero = self.scalar(x.element(), 0.0)?;
        self.pad(x, &zero, low, high, vec![0; x.rank()])
    }

    /// `start..limit` of one axis; constants have static extents only.
    pub fn arrange_slice(&mut self, x: &Tensor<'c, 'a>, axis: usize, start: i64, limit: i64) -> Result<Tensor<'c, 'a>, Failure> {
        if x.extent(axis) == Some(limit) && start == 0 {
            return Ok(x.clone());
        }
        match (&x.data, x.r#type.static_shape()) {
            (Data::Constant(id), Some(mut limits)) => {
                let mut starts = vec![0; x.rank()];
                (starts[axis], limits[axis]) = (start, limit);
                self.derived(&id.clone(), Expression::Slice { input: id.clone(), starts, limits })
            }
            _ => self.slice_axis(x, axis, start, limit),
        }
    }

    /// Surrounds and spreads with a 0-d value; negative amounts crop.
    pub fn pad(
        &mut self,
        x: &Tensor<'c, 'a>,
        fill: &Tensor<'c, 'a>,
        low: Vec<i64>,
        high: Vec<i64>,
        interior: Vec<i64>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        if low.iter().chain(&high).chain(&interior).all(|amount| *amount == 0) {
            return Ok(x.clone());
        }
        let (value, fill) = (self.value(x)?, self.value(fill)?);
        self.infer(|c, l| Pad::create(c, l, value, fill, low, high, interior))
    }
}
