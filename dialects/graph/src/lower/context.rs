//! What lowering an op needs: operands in their stored form, extents as values, the destination of a result, and `linalg` operations.

use super::builder::{Builder, Op, Val, first_result, lasting};
use crate::{
    dim::Dim,
    types::{ElementType, TensorType},
};
use std::collections::{BTreeMap, HashMap};
use winze_mlir::{
    attributes,
    melior::{
        Context,
        ir::{
            AffineExpr, AffineMap, Attribute, Type, Value, ValueLike,
            attribute::{ArrayAttribute, DenseI64ArrayAttribute},
            operation::{OperationLike, OperationResult},
            r#type::{IntegerType, RankedTensorType, ShapedTypeLike},
        },
    },
    mlir_sys::mlirShapedTypeGetDynamicSize,
};

/// An operand of a `linalg.generic`: a tensor and, per axis of it, the element as an expression over the loops.
#[derive(Clone)]
pub struct Part<'c> {
    pub tensor: Val<'c>,
    pub element: ElementType,
    pub map: Vec<AffineExpr<'c>>,
}

/// State of one kernel's lowering. Tensors are held in stored form: signless, bool as an integer, without encodings.
pub struct LowerContext<'c> {
    /// Appends to the kernel's body with the location of the op being lowered.
    pub builder: Builder<'c>,
    pub(super) bool_bits: u32,
    /// Symbol of the graph -> index argument.
    pub(super) symbols: BTreeMap<u32, Val<'c>>,
    pub(super) values: HashMap<usize, Val<'c>>,
    pub(super) destinations: HashMap<usize, Val<'c>>,
}

pub(super) fn key(value: Value) -> usize {
    value.to_raw().ptr as usize
}

impl<'c> LowerContext<'c> {
    pub fn context(&self) -> &'c Context {
        self.builder.context
    }

    /// Whether a kernel may run loops that carry whole tensors. On Vulkan, where bools are stored in 32 bits, each element is computed alone.
    pub fn has_tensor_loops(&self) -> bool {
        self.bool_bits != 32
    }

    /// Stored form of a graph value.
    pub fn value(&self, value: Value<'c, '_>) -> Result<Val<'c>, String> {
        self.values.get(&key(value)).copied().ok_or_else(|| "an operand is defined outside the kernel".to_string())
    }

    /// Stored form and graph type of operand `index`.
    pub fn operand(&self, op: Op<'c>, index: usize) -> Result<(Val<'c>, TensorType), String> {
        let operand = op.operand(index).map_err(|e| e.to_string())?;
        Ok((self.value(operand)?, TensorType::of(operand)?))
    }

    /// Graph type of result `index`.
    pub fn result_type(&self, op: Op<'c>, index: usize) -> Result<TensorType, String> {
        TensorType::of(op.result(index).map_err(|e| e.to_string())?.into())
    }

    /// Type of a stored element.
    pub fn storage(&self, element: ElementType) -> Type<'c> {
        match element {
            ElementType::Bool => IntegerType::new(self.context(), self.bool_bits).into(),
            _ => element.to_scalar_type(self.context()),
        }
    }

    /// Type of a stored tensor.
    pub fn stored_type(&self, r#type: &TensorType) -> Type<'c> {
        self.tensor_type(self.storage(r#type.element), &r#type.dims)
    }

    pub fn tensor_type(&self, element: Type<'c>, dims: &[Dim]) -> Type<'c> {
        RankedTensorType::new(&TensorType::new(ElementType::F32, dims.to_vec()).extents(), element, None).into()
    }

    /// An extent as an `index` value.
    pub fn extent(&self, dim: &Dim) -> Result<Val<'c>, String> {
        if let Some(value) = dim.as_static() {
            return Ok(self.builder.index(value));
        }
        let missing = |symbol: u32| format!("extent {dim} needs symbol s{symbol}, which the kernel does not take");
        if let Some(symbol) = dim.as_symbol() {
            return self.symbols.get(&symbol).copied().ok_or_else(|| missing(symbol));
        }
        let mut used = vec![];
        let dense = dim.substitute(&mut |symbol| {
            let position = used.iter().position(|s| *s == symbol).unwrap_or_else(|| {
                used.push(symbol);
                used.len() - 1
            });
            Dim::symbol(position as u32)
        });
        let operands = used.iter().map(|s| self.symbols.get(s).copied().ok_or_else(|| missing(*s))).collect::<Result<Vec<_>, _>>()?;
        let map = AffineMap::new(self.context(), 0, used.len(), &[dense.to_affine(self.context())]);
        Ok(self.builder.value("affine.apply", &operands, self.builder.index_type(), &[("map", self.builder.map_attribute(map))]))
    }

    /// Values of the dynamic extents among `dims`.
    pub fn dynamic_extents(&self, dims: &[Dim]) -> Result<Vec<Val<'c>>, String> {
        dims.iter().filter(|dim| dim.as_static().is_none()).map(|dim| self.extent(dim)).collect()
    }

    /// A new tensor without contents.
    pub fn empty(&self, element: Type<'c>, dims: &[Dim]) -> Result<Val<'c>, String> {
        Ok(self.builder.value("tensor.empty", &self.dynamic_extents(dims)?, self.tensor_type(element, dims), &[]))
    }

    /// Whether result `index` is to be written to a destination of the kernel.
    pub fn is_result(&self, op: Op<'c>, index: usize) -> bool {
        op.result(index).is_ok_and(|result| self.destinations.contains_key(&key(result.into())))
    }

    /// Where result `index` is to be written: a destination of the kernel, or a new tensor. Ask once per result.
    pub fn destination(&mut self, op: Op<'c>, index: usize) -> Result<Val<'c>, String> {
        let result = op.result(index).map_err(|e| e.to_string())?;
        match self.destinations.remove(&key(result.into())) {
            Some(destination) => Ok(destination),
            None => {
                let r#type = self.result_type(op, index)?;
                self.empty(self.storage(r#type.element), &r#type.dims)
            }
        }
    }

    /// True if the result is one of the kernel's and no destination was taken for it yet.
    pub fn has_destination(&self, op: Op<'c>, index: usize) -> bool {
        op.result(index).is_ok_and(|result| self.destinations.contains_key(&key(result.into())))
    }

    /// Fills a tensor with one scalar.
    pub fn fill(&self, scalar: Val<'c>, destination: Val<'c>) -> Val<'c> {
        let b = &self.builder;
        let element = self.builder.region(&[scalar.r#type(), scalar.r#type()], |_, values| vec![values[0]], "linalg.yield");
        let attributes = [("operandSegmentSizes", attributes::segments(self.context(), &[1, 1]))];
        first_result(b.build("linalg.fill", &[scalar, destination], &[destination.r#type()], &attributes, vec![element]))
    }

    pub fn loop_dim(&self, position: usize) -> AffineExpr<'c> {
        AffineExpr::dim(self.context(), position)
    }

    /// The loops `0..count`, as the map of a tensor that every loop walks.
    pub fn identity(&self, count: usize) -> Vec<AffineExpr<'c>> {
        (0..count).map(|i| self.loop_dim(i)).collect()
    }

    /// A `linalg.generic`. `reduction` has an entry per loop. `body` sees loaded scalars (bool as i1), inputs before outputs, and returns one scalar
    /// per output.
    pub fn generic(
        &self,
        inputs: &[Part<'c>],
        outputs: &[Part<'c>],
        reduction: &[bool],
        body: impl FnOnce(&Builder<'c>, &[Val<'c>]) -> Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        let b = &self.builder;
        let parts: Vec<&Part> = inputs.iter().chain(outputs).collect();
        let maps: Vec<Attribute> =
            parts.iter().map(|part| b.map_attribute(AffineMap::new(b.context, reduction.len(), 0, &part.map))).collect();
        let iterators: Vec<Attribute> = reduction
            .iter()
            .map(|r| b.attribute(if *r { "#linalg.iterator_type<reduction>" } else { "#linalg.iterator_type<parallel>" }))
            .collect();
        let stored = |part: &Part<'c>| RankedTensorType::try_from(part.tensor.r#type()).expect("a kernel's tensor").element();
        let arguments: Vec<Type> = parts.iter().map(|part| stored(part)).collect();
        let region = b.region(
            &arguments,
            |inner, values| {
                let scalars: Vec<_> = values.iter().zip(&parts).map(|(value, part)| inner.load(part.element, *value)).collect();
                let results = body(inner, &scalars);
                results.into_iter().zip(outputs).map(|(scalar, part)| inner.store(scalar, stored(part))).collect()
            },
            "linalg.yield",
        );
        let operands: Vec<_> = parts.iter().map(|part| part.tensor).collect();
        let results: Vec<_> = outputs.iter().map(|part| part.tensor.r#type()).collect();
        let attributes = [
            ("indexing_maps", ArrayAttribute::new(b.context, &maps).into()),
            ("iterator_types", ArrayAttribute::new(b.context, &iterators).into()),
            ("operandSegmentSizes", attributes::segments(b.context, &[inputs.len() as i32, outputs.len() as i32])),
        ];
        let op = b.build("linalg.generic", &operands, &results, &attributes, vec![region]);
        op.results().map(|result| lasting(result.into())).collect()
    }

    /// A generic whose loops are all parallel and whose one output walks them in order.
    pub fn map(
        &self,
        inputs: &[Part<'c>],
        destination: Val<'c>,
        element: ElementType,
        body: impl FnOnce(&Builder<'c>, &[Val<'c>]) -> Val<'c>,
    ) -> Val<'c> {
        let rank = RankedTensorType::try_from(destination.r#type()).expect("a kernel's tensor").rank();
        let output = Part { tensor: destination, element, map: self.identity(rank) };
        self.generic(inputs, &[output], &vec![false; rank], |b, values| vec![body(b, values)])[0]
    }

    /// Copies a tensor into a destination of the same shape, element by element.
    pub fn copy(&self, tensor: Val<'c>, destination: Val<'c>, element: ElementType) -> Val<'c> {
        let rank = RankedTensorType::try_from(destination.r#type()).expect("a kernel's tensor").rank();
        // Copied as stored: bool is neither loaded nor stored again.
        let element = if element == ElementType::Bool { ElementType::U8 } else { element };
        self.map(&[Part { tensor, element, map: self.identity(rank) }], destination, element, |_, values| values[0])
    }

    /// Says that `value`, the last piece put into a result, and those before it fill the result along every dim but `axes`.
    pub fn mark_pieces(&self, value: Val<'c>, axes: &[usize]) -> Result<(), String> {
        let insert = OperationResult::try_from(value).map_err(|e| e.to_string())?.owner();
        let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
        attributes::set(insert, super::PIECES, DenseI64ArrayAttribute::new(self.context(), &axes).into());
        Ok(())
    }

    /// `tensor.extract_slice` or, with a destination, `tensor.insert_slice`. One entry per axis: an extent or a value at run time.
    pub fn slice(
        &self,
        source: Val<'c>,
        into: Option<Val<'c>>,
        offsets: &[Dim],
        sizes: &[Dim],
        strides: &[i64],
    ) -> Result<Val<'c>, String> {
        self.slice_without(source, into, offsets, sizes, strides, &[])
    }

    /// The same, where the box has one element along each of the axes `dropped`, which the part lacks.
    pub fn slice_without(
        &self,
        source: Val<'c>,
        into: Option<Val<'c>>,
        offsets: &[Dim],
        sizes: &[Dim],
        strides: &[i64],
        dropped: &[usize],
    ) -> Result<Val<'c>, String> {
        let b = &self.builder;
        // SAFETY: no arguments.
        let dynamic = unsafe { mlirShapedTypeGetDynamicSize() };
        let statics = |dims: &[Dim]| {
            let values: Vec<i64> = dims.iter().map(|dim| dim.as_static().unwrap_or(dynamic)).collect();
            DenseI64ArrayAttribute::new(b.context, &values).into()
        };
        let (offset_values, size_values) = (self.dynamic_extents(offsets)?, self.dynamic_extents(sizes)?);
        let (name, result, first) = match into {
            Some(destination) => ("tensor.insert_slice", destination.r#type(), vec![source, destination]),
            None => {
                let element = RankedTensorType::try_from(source.r#type()).map_err(|e| e.to_string())?.element();
                let part: Vec<Dim> =
                    sizes.iter().enumerate().filter(|(axis, _)| !dropped.contains(axis)).map(|(_, size)| size.clone()).collect();
                ("tensor.extract_slice", self.tensor_type(element, &part), vec![source])
            }
        };
        let mut segments = vec![1; first.len()];
        segments.extend([offset_values.len() as i32, size_values.len() as i32, 0]);
        let attributes = [
            ("static_offsets", statics(offsets)),
            ("static_sizes", statics(sizes)),
            ("static_strides", DenseI64ArrayAttribute::new(b.context, strides).into()),
            ("operandSegmentSizes", attributes::segments(b.context, &segments)),
        ];
        Ok(b.value(name, &[first, offset_values, size_values].concat(), result, &attributes))
    }
}
