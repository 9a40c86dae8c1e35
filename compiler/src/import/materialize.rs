//! Known contents of a value -> ops that produce it: `graph.constant`, `graph.weight`, or arithmetic on extents.

use super::{
    error::Failure,
    importer::Importer,
    sizes::SymbolSource,
    value::{Data, Tensor},
};
use crate::constants::{ConstantType, Scalar, Source};
use winze_graph::{
    dialect::{Add, Concat, Constant, Convert, Dim as DimOp, Div, Mod, Mul, Reshape, Sub, Weight},
    dim::{Dim, DimStep},
    types::{ElementType, TensorType},
};
use winze_mlir::melior::ir::{Attribute, BlockLike, BlockRef, Location, Operation, Value, attribute::DenseElementsAttribute};

/// Largest constant that stands in the IR.
const MAX_INLINE_BYTES: usize = 1024;

impl<'c, 'a> Importer<'_, 'c, 'a> {
    /// The IR value of a tensor, made at the end of `block` if need be.
    pub fn materialize(
        &mut self,
        tensor: &Tensor<'c, 'a>,
        block: BlockRef<'c, 'a>,
        location: Location<'c>,
    ) -> Result<Value<'c, 'a>, Failure> {
        match &tensor.data {
            Data::Value(value) => Ok(*value),
            Data::Constant(id) => self.constant_value(id, block, location),
            Data::Sequence(_) => Failure::unsupported("a sequence that leaves the model or a loop; only tensors do"),
            Data::Integers(items) => match items.iter().map(Dim::as_static).collect::<Option<Vec<i64>>>() {
                Some(items) => {
                    let mut bytes = vec![];
                    items.iter().for_each(|item| Scalar::Signed(*item).write(tensor.element(), &mut bytes));
                    let shape = tensor.r#type.static_shape().expect("known contents have a static shape");
                    if bytes.len() <= MAX_INLINE_BYTES {
                        return Ok(self.dense(tensor.element(), &shape, &bytes, block, location));
                    }
                    let added = self.store.add("shape", ConstantType::new(tensor.element(), shape), Source::Inline(bytes));
                    let id = added.map_err(|error| Failure::Invalid(error.to_string()))?;
                    self.constant_value(&id, block, location)
                }
                None => self.symbolic(tensor, items, block, location),
            },
        }
    }

    fn constant_value(&mut self, id: &str, block: BlockRef<'c, 'a>, location: Location<'c>) -> Result<Value<'c, 'a>, Failure> {
        let unreadable = |error: crate::constants::ConstantError| Failure::Invalid(error.to_string());
        let r#type = self.store.type_of(id).map_err(unreadable)?.clone();
        if r#type.bytes() <= MAX_INLINE_BYTES {
            let bytes = self.store.read(id).map_err(unreadable)?.into_owned();
            return Ok(self.dense(r#type.element, &r#type.dims, &bytes, block, location));
        }
        let result = TensorType::fixed(r#type.element, &r#type.dims).to_type(self.context);
        Ok(append(block, Weight::create(self.context, location, id.to_string(), None, &[result])))
    }

    /// A `graph.constant` of little-endian bytes.
    pub fn dense(
        &self,
        element: ElementType,
        shape: &[i64],
        bytes: &[u8],
        block: BlockRef<'c, 'a>,
        location: Location<'c>,
    ) -> Value<'c, 'a> {
        let r#type = TensorType::fixed(element, shape).to_type(self.context);
        let attribute: Attribute<'c> = if element == ElementType::Bool {
            let values: Vec<i32> = bytes.iter().map(|byte| i32::from(*byte != 0)).collect();
            DenseElementsAttribute::bool_values(r#type, &values).into()
        } else {
            DenseElementsAttribute::raw_buffer(r#type, bytes).into()
        };
        append(block, Constant::create(self.context, location, attribute, &[r#type]))
    }

    /// Integers that depend on symbolic dims: each is computed, then all are joined.
    fn symbolic(
        &mut self,
        tensor: &Tensor<'c, 'a>,
        items: &[Dim],
        block: BlockRef<'c, 'a>,
        location: Location<'c>,
    ) -> Result<Value<'c, 'a>, Failure> {
        let cx = self.context;
        let one = TensorType::fixed(ElementType::I64, &[1]).to_type(cx);
        let mut parts = vec![];
        for item in items {
            let scalar = self.extent_value(item, block, location)?;
            parts.push(append(block, Reshape::create(cx, location, scalar, &[one])));
        }
        let joined = match parts[..] {
            [part] => part,
            _ => append(block, Concat::create(cx, location, &parts, 0).map_err(Failure::Invalid)?),
        };
        let shaped = TensorType::new(ElementType::I64, tensor.dims().to_vec());
        let value = append(block, Reshape::create(cx, location, joined, &[shaped.to_type(cx)]));
        if tensor.element() == ElementType::I64 {
            return Ok(value);
        }
        Ok(append(block, Convert::create(cx, location, value, false, &[tensor.r#type.to_type(cx)])))
    }

    /// An extent as a 0-d i64 tensor.
    pub fn extent_value(&mut self, dim: &Dim, block: BlockRef<'c, 'a>, location: Location<'c>) -> Result<Value<'c, 'a>, Failure> {
        let cx = self.context;
        let scalar = [TensorType::fixed(ElementType::I64, &[]).to_type(cx)];
        let mut stack: Vec<Value<'c, 'a>> = vec![];
        for step in dim.postfix() {
            let value = match step {
                DimStep::Const(value) => self.dense(ElementType::I64, &[], &value.to_le_bytes(), block, location),
                DimStep::Symbol(symbol) => match self.symbol_sources.get(symbol as usize) {
                    Some(SymbolSource::Axis(source, axis)) => {
                        append(block, DimOp::create(cx, location, *source, *axis).map_err(Failure::Invalid)?)
                    }
                    Some(SymbolSource::Value(value)) => *value,
                    None => return Failure::unsupported("an extent that no graph input has"),
                },
                DimStep::Add | DimStep::Mul | DimStep::FloorDiv => {
                    let (Some(b), Some(a)) = (stack.pop(), stack.pop()) else { return Failure::invalid("an extent is malformed") };
                    match step {
                        DimStep::Add => append(block, Add::create(cx, location, a, b, &scalar)),
                        DimStep::Mul => append(block, Mul::create(cx, location, a, b, &scalar)),
                        _ => {
                            // graph.div truncates; taking the modulo away first makes the division exact.
                            let rest = append(block, Mod::create(cx, location, a, b, &scalar));
                            let whole = append(block, Sub::create(cx, location, a, rest, &scalar));
                            append(block, Div::create(cx, location, whole, b, &scalar))
                        }
                    }
                }
            };
            stack.push(value);
        }
        stack.pop().ok_or_else(|| Failure::Invalid("an extent is malformed".into()))
    }
}

/// Appends an op; its first result.
pub fn append<'c, 'a>(block: BlockRef<'c, 'a>, op: Operation<'c>) -> Value<'c, 'a> {
    block.append_operation(op).result(0).expect("the op has a result").into()
}
