//! What an op's import function sees: inputs, attributes, and ways to emit ops of the graph dialect with broadcasting.

use super::{
    error::{Failure, ImportError},
    importer::{Frame, Importer, fits},
    materialize::append,
    proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type},
    shape_values,
    value::{Data, Tensor},
};
use crate::constants::Scalar;
use std::{cell::RefCell, collections::HashSet};
use winze_graph::{
    dialect::{Broadcast, Concat, Convert, Div, DynamicSlice, Reduce, Require, Reshape, Slice, SymbolicSlice, Transpose},
    dim::Dim,
    types::{ElementType, TensorType, dims_attribute},
};
use winze_mlir::{
    diagnostics, locations,
    melior::{
        Context,
        ir::{BlockLike, BlockRef, Location, Operation, Type, Value, ValueLike, operation::OperationLike},
    },
};

/// Constructors of elementwise ops, as the dialect's wrappers have them.
pub type Unary<'c> = for<'v> fn(&'c Context, Location<'c>, Value<'c, 'v>, &[Type<'c>]) -> Operation<'c>;
pub type Binary<'c> = for<'v, 'w> fn(&'c Context, Location<'c>, Value<'c, 'v>, Value<'c, 'w>, &[Type<'c>]) -> Operation<'c>;
pub type Compare<'c> = for<'v, 'w> fn(&'c Context, Location<'c>, Value<'c, 'v>, Value<'c, 'w>) -> Result<Operation<'c>, String>;

pub struct NodeContext<'x, 'p, 'c, 'a> {
    pub importer: &'x mut Importer<'p, 'c, 'a>,
    pub frame: &'x mut Frame<'p, 'c, 'a>,
    pub block: BlockRef<'c, 'a>,
    pub node: &'p NodeProto,
    pub location: Location<'c>,
    /// Version of the node's operator set.
    pub version: i64,
    pub inputs: Vec<Option<Tensor<'c, 'a>>>,
    pub name: &'x str,
    pub index: usize,
    /// Attributes of the node that its import has looked at.
    pub asked: RefCell<HashSet<&'p str>>,
}

impl<'p, 'c, 'a> NodeContext<'_, 'p, 'c, 'a> {
    pub fn context(&self) -> &'c Context {
        self.importer.context
    }

    pub fn input(&self, i: usize) -> Result<Tensor<'c, 'a>, Failure> {
        self.optional(i).ok_or_else(|| Failure::Invalid(format!("input {i} is missing")))
    }

    pub fn optional(&self, i: usize) -> Option<Tensor<'c, 'a>> {
        self.inputs.get(i).cloned().flatten()
    }

    /// All inputs of a variadic op; at least one.
    pub fn all_inputs(&self) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
        match self.inputs.iter().cloned().collect::<Option<Vec<_>>>() {
            Some(inputs) if !inputs.is_empty() => Ok(inputs),
            _ => Failure::invalid("an input is missing"),
        }
    }

    // Attributes.

    /// The attribute as written, or the caller's that it stands for.
    fn find_attribute(&self, name: &str) -> Option<&'p AttributeProto> {
        let own = self.node.attribute.iter().find(|attribute| attribute.name == name)?;
        self.asked.borrow_mut().insert(&own.name);
        self.frame.attribute(own)
    }

    /// Attributes that change nothing about the results here.
    pub fn ignore(&self, names: &[&str]) {
        names.iter().for_each(|name| _ = self.find_attribute(name));
    }

    fn attribute(&self, name: &str, r#type: i32) -> Result<Option<&'p AttributeProto>, Failure> {
        let Some(attribute) = self.find_attribute(name) else { return Ok(None) };
        if attribute.r#type != 0 && attribute.r#type != r#type {
            return Failure::invalid(format!("the attribute `{name}` has the wrong type"));
        }
        Ok(Some(attribute))
    }

    pub fn has_attribute(&self, name: &str) -> bool {
        self.find_attribute(name).is_some()
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>, Failure> {
        // Zero may be left out on the wire.
        Ok(self.attribute(name, attribute_type::INT)?.map(|attribute| attribute.i.unwrap_or(0)))
    }

    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, Failure> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// An attribute that the operator has from a version of its set on.
    pub fn int_since(&self, since: i64, name: &str, default: i64) -> Result<i64, Failure> {
        if self.version < since { Ok(default) } else { self.int_or(name, default) }
    }

    pub fn float(&self, name: &str) -> Result<Option<f64>, Failure> {
        Ok(self.attribute(name, attribute_type::FLOAT)?.map(|attribute| f64::from(attribute.f.unwrap_or(0.0))))
    }

    pub fn float_or(&self, name: &str, default: f32) -> Result<f64, Failure> {
        Ok(self.float(name)?.unwrap_or(f64::from(default)))
    }

    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Failure> {
        Ok(self.attribute(name, attribute_type::INTS)?.map(|attribute| attribute.ints.clone()))
    }

    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Failure> {
        Ok(self.attribute(name, attribute_type::FLOATS)?.map(|attribute| attribute.floats.clone()))
    }

    pub fn string_or(&self, name: &str, default: &str) -> Result<String, Failure> {
        Ok(match self.attribute(name, attribute_type::STRING)? {
            Some(attribute) => String::from_utf8_lossy(attribute.s.as_deref().unwrap_or_default()).into_owned(),
            None => default.into(),
        })
    }

    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(self.attribute(name, attribute_type::STRINGS)?.map(|attribute| attribute.strings.iter().map(text).collect()))
    }

    pub fn tensor_attribute(&self, name: &str) -> Result<Option<&'p TensorProto>, Failure> {
        Ok(self.attribute(name, attribute_type::TENSOR)?.and_then(|attribute| attribute.t.as_ref()))
    }

    pub fn graph(&self, name: &str) -> Result<&'p GraphProto, Failure> {
        let graph = self.attribute(name, attribute_type::GRAPH)?.and_then(|attribute| attribute.g.as_ref());
        graph.ok_or_else(|| Failure::Invalid(format!("the attribute `{name}` is missing")))
    }

    /// Imports a subgraph into another block; `None` if something in it is recorded as unsupported.
    pub fn subgraph(
        &mut self,
        graph: &'p GraphProto,
        inputs: Vec<Tensor<'c, 'a>>,
        block: BlockRef<'c, 'a>,
    ) -> Result<Option<Vec<Tensor<'c, 'a>>>, ImportError> {
        self.importer.import_subgraph(graph, self.name, inputs, block, self.frame, self.index)
    }

    // Known contents.

    /// Contents of an integer or bool tensor, if they are known or follow from symbolic dims.
    pub fn integers(&self, tensor: &Tensor<'c, 'a>) -> Option<Vec<Dim>> {
        shape_values::integers(tensor, &self.importer.store)
    }

    /// Contents of an operand that must be known: integers, possibly symbolic.
    pub fn dims_input(&self, i: usize, what: &str) -> Result<Vec<Dim>, Failure> {
        let tensor = self.input(i)?;
        self.integers(&tensor).ok_or_else(|| self.importer.unknown(&tensor, what))
    }

    /// Contents of an operand that must be known and static.
    pub fn ints_input(&self, i: usize, what: &str) -> Result<Vec<i64>, Failure> {
        let dims = self.dims_input(i, what)?;
        let ints = dims.iter().map(Dim::as_static).collect::<Option<_>>();
        ints.ok_or_else(|| Failure::Unsupported(format!("{what} that depend on symbolic dims")))
    }

    /// Contents of an optional operand that must be known and static.
    pub fn optional_ints(&self, i: usize, what: &str) -> Result<Option<Vec<i64>>, Failure> {
        self.optional(i).map(|_| self.ints_input(i, what)).transpose()
    }

    /// The only element of an operand that must be known.
    pub fn scalar_input(&self, i: usize, what: &str) -> Result<Scalar, Failure> {
        let tensor = self.input(i)?;
        self.scalar_constant(&tensor).ok_or_else(|| self.importer.unknown(&tensor, what))
    }

    /// The only element of a constant, of any type.
    pub fn scalar_constant(&self, tensor: &Tensor<'c, 'a>) -> Option<Scalar> {
        match &tensor.data {
            Data::Constant(id) if tensor.r#type.count().as_static() == Some(1) => {
                let bytes = self.importer.store.read(id).ok()?;
                Some(Scalar::read(tensor.element(), &bytes))
            }
            Data::Integers(items) if items.len() == 1 => items[0].as_static().map(Scalar::Signed),
            _ => None,
        }
    }

    // Emitting.

    pub fn value(&mut self, tensor: &Tensor<'c, 'a>) -> Result<Value<'c, 'a>, Failure> {
        self.importer.materialize(tensor, self.block, self.location)
    }

    /// Appends an op with one result.
    pub fn emit(&mut self, op: Operation<'c>) -> Result<Tensor<'c, 'a>, Failure> {
        let value = append(self.block, op);
        self.wrap(value)
    }

    /// A computed value as a tensor of the model. Refuses sizes that do not fit.
    pub fn wrap(&self, value: Value<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let r#type = TensorType::of(value).map_err(Failure::Invalid)?;
        if !fits(&r#type) {
            return Failure::invalid("the number of elements of a result does not fit 64 bits");
        }
        Ok(Tensor::new(r#type, Data::Value(value)))
    }

    /// Appends an op whose result type is inferred; what inference says against it becomes the error.
    pub fn infer(
        &mut self,
        create: impl FnOnce(&'c Context, Location<'c>) -> Result<Operation<'c>, String>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let op = self.inferred(create)?;
        self.emit(op)
    }

    /// The same for any number of results.
    pub fn infer_all(
        &mut self,
        create: impl FnOnce(&'c Context, Location<'c>) -> Result<Operation<'c>, String>,
    ) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
        let op = self.block.append_operation(self.inferred(create)?);
        // SAFETY: the results live as long as the block.
        op.results().map(|result| self.wrap(unsafe { Value::from_raw(result.to_raw()) })).collect()
    }

    fn inferred(&self, create: impl FnOnce(&'c Context, Location<'c>) -> Result<Operation<'c>, String>) -> Result<Operation<'c>, Failure> {
        let (cx, location) = (self.context(), self.location);
        let (op, messages) = diagnostics::collect(cx, || create(cx, location));
        op.or_else(|error| Failure::invalid(messages.first().map_or(error, |message| message.message.clone())))
    }

    pub fn unary(&mut self, create: Unary<'c>, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let value = self.value(x)?;
        let op = create(self.context(), self.location, value, &[x.r#type.to_type(self.context())]);
        self.emit(op)
    }

    /// Broadcasts both operands to a common shape.
    pub fn binary(&mut self, create: Binary<'c>, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let (a, b) = self.broadcast_pair(a, b)?;
        let (lhs, rhs) = (self.value(&a)?, self.value(&b)?);
        let op = create(self.context(), self.location, lhs, rhs, &[a.r#type.to_type(self.context())]);
        self.emit(op)
    }

    pub fn compare(&mut self, create: Compare<'c>, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let (a, b) = self.broadcast_pair(a, b)?;
        let (lhs, rhs) = (self.value(&a)?, self.value(&b)?);
        self.infer(|cx, location| create(cx, location, lhs, rhs))
    }

    fn broadcast_pair(&mut self, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>) -> Result<(Tensor<'c, 'a>, Tensor<'c, 'a>), Failure> {
        if a.element() != b.element() {
            return Failure::invalid(format!("its operands have different element types {} and {}", a.element(), b.element()));
        }
        let dims = common_dims(a.dims(), b.dims()).map_err(|failure| failure.about(&format!("of {} and {}", made_by(a), made_by(b))))?;
        let (x, y) = (self.agree(a, &dims, b)?, self.agree(b, &dims, a)?);
        Ok((self.broadcast_to(&x, &dims)?, self.broadcast_to(&y, &dims)?))
    }

    // Relations between extents that only a run can tell.

    /// `x` with those of its extents written as in `dims`, aligned at the right, that are neither provably equal nor 1: a run must find them equal. They
    /// have come together with those of `other`.
    fn agree(&mut self, x: &Tensor<'c, 'a>, dims: &[Dim], other: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let first = dims.len() - x.rank();
        let wanted: Vec<Dim> = x
            .dims()
            .iter()
            .zip(&dims[first..])
            .map(|(dim, wanted)| if dim.as_static() == Some(1) { dim } else { wanted }.clone())
            .collect();
        self.with_dims(
            x,
            wanted,
            &format!("the extents of {} and {} to be equal; if one is 1, fix it with --dim", made_by(x), made_by(other)),
        )
    }

    /// `x` under equally many other extents, where a run must find those equal that are not provably so. `what` continues "NODE needs".
    pub fn with_dims(&mut self, x: &Tensor<'c, 'a>, dims: Vec<Dim>, what: &str) -> Result<Tensor<'c, 'a>, Failure> {
        if x.rank() != dims.len() {
            return Failure::invalid(format!("{} of shape {:?} and the shape {dims:?} where it needs {what}", made_by(x), x.dims()));
        }
        let pairs = x.dims().iter().cloned().zip(dims.iter().cloned()).filter(|(a, b)| a != b).collect();
        self.require(x, "eq", pairs, dims, what)
    }

    /// `x` in runs where two extents are equal.
    pub fn require_equal(&mut self, x: &Tensor<'c, 'a>, a: &Dim, b: &Dim, what: &str) -> Result<Tensor<'c, 'a>, Failure> {
        self.require(x, "eq", vec![(a.clone(), b.clone())], x.dims().to_vec(), what)
    }

    /// `x` in runs where `a` is at most `b`.
    pub fn require_at_most(&mut self, x: &Tensor<'c, 'a>, a: &Dim, b: &Dim, what: &str) -> Result<Tensor<'c, 'a>, Failure> {
        if (b - a).is_never_negative() {
            return Ok(x.clone());
        }
        self.require(x, "le", vec![(a.clone(), b.clone())], x.dims().to_vec(), what)
    }

    fn require(
        &mut self,
        x: &Tensor<'c, 'a>,
        relation: &str,
        pairs: Vec<(Dim, Dim)>,
        dims: Vec<Dim>,
        what: &str,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let equal = relation == "eq";
        if pairs.is_empty() || equal && pairs.iter().all(|(a, b)| a == b) {
            return Ok(x.clone());
        }
        let offered = self.importer.offered_symbols();
        for (a, b) in &pairs {
            let holds = |a: i64, b: i64| if equal { a == b } else { a <= b };
            match (a - b).as_static() {
                Some(difference) if !holds(difference, 0) => return Failure::invalid(format!("{a} and {b} where it needs {what}")),
                _ => {}
            }
            // Inputs that are there already would not pass.
            if let (Some(a_now), Some(b_now)) = (a.eval(&offered), b.eval(&offered))
                && !holds(a_now, b_now)
            {
                return Failure::unsupported(format!("the extents {a} and {b}, which are {a_now} and {b_now}, where it needs {what}"));
            }
        }
        let value = self.value(x)?;
        let (lhs, rhs): (Vec<Dim>, Vec<Dim>) = pairs.into_iter().unzip();
        let (lhs, rhs) = (dims_attribute(self.context(), lhs.iter()), dims_attribute(self.context(), rhs.iter()));
        let why = format!("{} at {} needs {what}", self.node.op_type, self.name);
        let result = TensorType::new(x.element(), dims).to_type(self.context());
        self.emit(Require::create(self.context(), self.location, value, lhs, relation.into(), rhs, why, &[result]))
    }

    /// `a` where the condition holds, else `b`; all of one shape.
    pub fn select(&mut self, condition: &Tensor<'c, 'a>, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let (a, b) = self.broadcast_pair(a, b)?;
        let dims = common_dims(condition.dims(), a.dims())?;
        let (condition, a, b) = (self.agree(condition, &dims, &a)?, self.agree(&a, &dims, condition)?, self.agree(&b, &dims, condition)?);
        let (condition, a, b) = (self.broadcast_to(&condition, &dims)?, self.broadcast_to(&a, &dims)?, self.broadcast_to(&b, &dims)?);
        let (c, x, y) = (self.value(&condition)?, self.value(&a)?, self.value(&b)?);
        let op = winze_graph::dialect::Select::create(self.context(), self.location, c, x, y, &[a.r#type.to_type(self.context())]);
        self.emit(op)
    }

    /// A 0-d constant.
    pub fn scalar(&mut self, element: ElementType, value: f64) -> Result<Tensor<'c, 'a>, Failure> {
        self.scalar_of(element, Scalar::Float(value))
    }

    pub fn scalar_of(&mut self, element: ElementType, value: Scalar) -> Result<Tensor<'c, 'a>, Failure> {
        let mut bytes = vec![];
        value.write(element, &mut bytes);
        let value = self.importer.dense(element, &[], &bytes, self.block, self.location);
        self.wrap(value)
    }

    /// `x` and a constant of its type.
    pub fn binary_scalar(&mut self, create: Binary<'c>, x: &Tensor<'c, 'a>, value: f64) -> Result<Tensor<'c, 'a>, Failure> {
        let scalar = self.scalar(x.element(), value)?;
        self.binary(create, x, &scalar)
    }

    /// Aligns shapes at the right, as ONNX does.
    pub fn broadcast_to(&mut self, x: &Tensor<'c, 'a>, dims: &[Dim]) -> Result<Tensor<'c, 'a>, Failure> {
        let Some(first) = dims.len().checked_sub(x.rank()) else {
            return Failure::invalid(format!("a tensor of rank {} cannot be broadcast to rank {}", x.rank(), dims.len()));
        };
        let axes: Vec<usize> = (first..dims.len()).collect();
        self.broadcast_along(x, &axes, dims)
    }

    /// Axis i of `x` becomes axis `axes[i]`; the others are repeated.
    pub fn broadcast_along(&mut self, x: &Tensor<'c, 'a>, axes: &[usize], dims: &[Dim]) -> Result<Tensor<'c, 'a>, Failure> {
        if x.dims() == dims {
            return Ok(x.clone());
        }
        let one = Dim::from(1);
        let wanted = x.dims().iter().zip(axes).map(|(dim, axis)| if *dim == one { one.clone() } else { dims[*axis].clone() }).collect();
        let x = &self.with_dims(x, wanted, &format!("the extents of {} to be those that it is broadcast to", made_by(x)))?;
        if x.dims() == dims {
            return Ok(x.clone());
        }
        let value = self.value(x)?;
        let result = TensorType::new(x.element(), dims.to_vec()).to_type(self.context());
        let axes = axes.iter().map(|axis| *axis as i64).collect();
        let op = Broadcast::create(self.context(), self.location, value, axes, &[result]);
        self.emit(op)
    }

    /// The same elements under another shape. Counts that are not provably equal must be so in a run.
    pub fn reshape(&mut self, x: &Tensor<'c, 'a>, dims: Vec<Dim>) -> Result<Tensor<'c, 'a>, Failure> {
        if x.dims() == dims {
            return Ok(x.clone());
        }
        let result = TensorType::new(x.element(), dims);
        let (from, to) = (x.r#type.count(), result.count());
        if (&from - &to).as_static().is_some_and(|difference| difference != 0) {
            return Failure::invalid(format!("{:?} has {from} elements, {:?} has {to}", x.dims(), result.dims));
        }
        let x = self.require_equal(x, &from, &to, &format!("as many elements as {} has", made_by(x)))?;
        self.reshape_to(&x, result.dims)
    }

    /// The same where only the run can tell that the counts are equal.
    pub fn reshape_to(&mut self, x: &Tensor<'c, 'a>, dims: Vec<Dim>) -> Result<Tensor<'c, 'a>, Failure> {
        let value = self.value(x)?;
        let result = TensorType::new(x.element(), dims).to_type(self.context());
        let op = Reshape::create(self.context(), self.location, value, &[result]);
        self.emit(op)
    }

    pub fn transpose(&mut self, x: &Tensor<'c, 'a>, permutation: Vec<i64>) -> Result<Tensor<'c, 'a>, Failure> {
        if permutation.iter().copied().eq(0..permutation.len() as i64) {
            return Ok(x.clone());
        }
        let value = self.value(x)?;
        self.infer(|cx, location| Transpose::create(cx, location, value, permutation))
    }

    pub fn convert(&mut self, x: &Tensor<'c, 'a>, element: ElementType) -> Result<Tensor<'c, 'a>, Failure> {
        if x.element() == element {
            return Ok(x.clone());
        }
        let value = self.value(x)?;
        let result = x.r#type.with_element(element).to_type(self.context());
        let op = Convert::create(self.context(), self.location, value, false, &[result]);
        self.emit(op)
    }

    /// f16 and bf16 become f32.
    pub fn widen(&mut self, x: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        let narrow = matches!(x.element(), ElementType::F16 | ElementType::BF16);
        self.convert(x, if narrow { ElementType::F32 } else { x.element() })
    }

    pub fn concat(&mut self, inputs: &[Tensor<'c, 'a>], axis: usize) -> Result<Tensor<'c, 'a>, Failure> {
        if let [only] = inputs {
            return Ok(only.clone());
        }
        // Extents of the other axes come together.
        let mut dims = inputs[0].dims().to_vec();
        for x in &inputs[1..] {
            let apart = |dims: &[Dim]| [&dims[..axis], &dims[axis + 1..]].concat();
            if x.rank() == dims.len() && apart(x.dims()) != apart(&dims) {
                for (i, dim) in x.dims().iter().enumerate().filter(|(i, _)| *i != axis) {
                    dims[i] = if dim.complexity() < dims[i].complexity() { dim.clone() } else { dims[i].clone() };
                }
            }
        }
        let mut values = vec![];
        for x in inputs {
            let mut wanted = dims.clone();
            if x.rank() == dims.len() {
                wanted[axis] = x.dims()[axis].clone();
            } else {
                wanted = x.dims().to_vec();
            }
            let x = self.with_dims(x, wanted, &format!("the extents of {} and {} to be equal", made_by(x), made_by(&inputs[0])))?;
            values.push(self.value(&x)?);
        }
        self.infer(|cx, location| Concat::create(cx, location, &values, axis as i64))
    }

    pub fn slice(&mut self, x: &Tensor<'c, 'a>, starts: Vec<i64>, limits: Vec<i64>, strides: Vec<i64>) -> Result<Tensor<'c, 'a>, Failure> {
        let value = self.value(x)?;
        self.infer(|cx, location| Slice::create(cx, location, value, starts, limits, strides))
    }

    /// `count` elements of an axis from `start` on, which the caller has seen to exist, `stride` apart.
    pub fn symbolic_slice(
        &mut self,
        x: &Tensor<'c, 'a>,
        axis: usize,
        start: &Dim,
        count: &Dim,
        stride: i64,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        let (mut starts, mut dims, mut strides) = (vec![Dim::from(0); x.rank()], x.dims().to_vec(), vec![1; x.rank()]);
        (starts[axis], dims[axis], strides[axis]) = (start.clone(), count.clone(), stride);
        let value = self.value(x)?;
        let starts = dims_attribute(self.context(), starts.iter());
        let result = TensorType::new(x.element(), dims).to_type(self.context());
        self.emit(SymbolicSlice::create(self.context(), self.location, value, starts, strides, None, &[result]))
    }

    /// `start..limit` of one axis.
    pub fn slice_axis(&mut self, x: &Tensor<'c, 'a>, axis: usize, start: i64, limit: i64) -> Result<Tensor<'c, 'a>, Failure> {
        let (mut starts, mut limits) = (vec![0; x.rank()], vec![i64::MAX; x.rank()]);
        for (axis, limit) in limits.iter_mut().enumerate() {
            *limit = x.extent(axis).unwrap_or(i64::MAX);
        }
        (starts[axis], limits[axis]) = (start, limit);
        self.slice(x, starts, limits, vec![1; x.rank()])
    }

    /// `extent` elements of one axis from a 0-d integer on, which is moved so that they lie inside.
    pub fn window(&mut self, x: &Tensor<'c, 'a>, axis: usize, start: &Tensor<'c, 'a>, extent: Dim) -> Result<Tensor<'c, 'a>, Failure> {
        if x.dims()[axis] == extent {
            return Ok(x.clone());
        }
        let (value, start) = (self.value(x)?, self.value(start)?);
        let mut dims = x.dims().to_vec();
        dims[axis] = extent;
        let result = TensorType::new(x.element(), dims).to_type(self.context());
        let op = DynamicSlice::create(self.context(), self.location, value, &[start], vec![axis as i64], &[result]);
        self.emit(op)
    }

    /// Folds axes away.
    pub fn reduce(&mut self, kind: &str, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
        let value = self.value(x)?;
        let axes = axes.iter().map(|axis| *axis as i64).collect();
        self.infer(|cx, location| Reduce::create(cx, location, value, kind.to_string(), axes))
    }

    /// Mean over axes, which vanish. Sums f16 and bf16 in f32, and stays in f32 then.
    pub fn mean(&mut self, x: &Tensor<'c, 'a>, axes: &[usize]) -> Result<Tensor<'c, 'a>, Failure> {
        let x = self.widen(x)?;
        let count = axes.iter().fold(Dim::from(1), |count, axis| &count * &x.dims()[*axis]);
        let sum = self.reduce("add", &x, axes)?;
        let count = self.extent(&count, x.element())?;
        self.binary(Div::create, &sum, &count)
    }

    /// An extent as a 0-d tensor of an element type.
    pub fn extent(&mut self, dim: &Dim, element: ElementType) -> Result<Tensor<'c, 'a>, Failure> {
        match dim.as_static() {
            Some(value) => self.scalar_of(element, Scalar::Signed(value)),
            None => {
                let value = self.importer.extent_value(dim, self.block, self.location)?;
                let tensor = self.wrap(value)?;
                self.convert(&tensor, element)
            }
        }
    }
}

/// Why a node with attributes outside those that are known cannot be imported: they would be without effect. Those behind two underscores are notes of
/// tools, as in ONNX's checker.
pub fn unknown_attributes(node: &NodeProto, known: impl Fn(&str) -> bool) -> Option<Failure> {
    let unknown = |name: &&str| !known(name) && !name.starts_with("__");
    let names: Vec<String> = node.attribute.iter().map(|a| a.name.as_str()).filter(unknown).map(|name| format!("`{name}`")).collect();
    let (attribute, it) = if names.len() == 1 { ("attribute", "it") } else { ("attributes", "them") };
    let names = names.join(", ");
    (!names.is_empty()).then(|| {
        Failure::Unsupported(format!("the {attribute} {names}; this version of the operator has not, or import does not know {it}"))
    })
}

/// An axis that may count from the end.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize, Failure> {
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_front) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => Failure::invalid(format!("axis {axis} is outside the {rank} axes of the tensor")),
    }
}

/// Distinct axes, sorted.
pub fn normalize_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, Failure> {
    let mut normal = axes.iter().map(|axis| normalize_axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    normal.sort_unstable();
    if normal.windows(2).any(|pair| pair[0] == pair[1]) {
        return Failure::invalid(format!("an axis is named twice in {axes:?}"));
    }
    Ok(normal)
}

/// What a tensor is, for messages: the node that computes it, or the input.
pub fn made_by(tensor: &Tensor) -> String {
    match &tensor.data {
        Data::Value(value) => match locations::node_names(locations::of_value(*value)).last() {
            Some(name) => format!("`{name}`"),
            None => "a value".into(),
        },
        Data::Constant(id) => format!("the constant `{id}`"),
        Data::Integers(_) => "a shape".into(),
        Data::Sequence(_) => "a sequence".into(),
    }
}

/// The shape that two shapes broadcast to. Symbolic extents that are not provably equal are taken to be: of the two, static and simple ones are preferred.
pub fn common_dims(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, Failure> {
    let rank = a.len().max(b.len());
    let one = Dim::from(1);
    let at = |dims: &[Dim], axis: usize| (axis + dims.len()).checked_sub(rank).map_or_else(|| one.clone(), |i| dims[i].clone());
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y || y == one => Ok(x),
            (x, y) if x == one => Ok(y),
            (x, y) if (&x - &y).as_static().is_some() => Failure::invalid(format!("extents {x} and {y} cannot be broadcast")),
            (x, y) => Ok(if y.complexity() < x.complexity() { y } else { x }),
        })
        .collect()
}
