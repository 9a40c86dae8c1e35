//! The value of one element of a tensor, from the operation that defines the tensor: linalg, tensor, arith and math on tensors -> scalars.
//!
//! Intermediate tensors never exist: each element is computed where it is read. Refuses loops and conditionals over whole tensors.

use super::{
    emitter::{Compare, Emitter},
    linalg_body::body,
    shape::kept_dims,
};
use crate::gpu::builder::{
    Op, Val, build, defining_op, element_type, extents, float_attribute, i64_array, key, name_of, operands, reassociation, val,
};
use melior::ir::{
    Attribute, AttributeLike, Type, TypeLike, ValueLike,
    attribute::{DenseElementsAttribute, IntegerAttribute},
    operation::OperationLike,
};
use std::collections::HashMap;
use winze_runtime::artifact::expr::{Expr, ExprOp};

/// Largest constant tensor that is not a splat which may stand in a kernel.
const MAX_CONSTANT: usize = 256;

pub struct Elements<'c> {
    pub emitter: Emitter<'c>,
    /// Tensor argument -> (memref argument, extents).
    pub arguments: HashMap<usize, (Val<'c>, Vec<Expr>)>,
    /// Index and scalar arguments of the old function -> the new ones, with the symbol that an index argument is.
    pub scalars: HashMap<usize, (Val<'c>, Option<Expr>)>,
    pub(super) shapes: HashMap<usize, Vec<Expr>>,
}

/// Values of a region's block arguments and of the operations already evaluated in it.
pub(super) type Environment<'c> = HashMap<usize, Val<'c>>;

pub(super) fn refuse(op: Op<'_>, why: &str) -> String {
    format!("distribute-elements: {} at {}: {why}", name_of(op), op.location())
}

impl<'c> Elements<'c> {
    pub fn new(emitter: Emitter<'c>) -> Self {
        Self { emitter, arguments: HashMap::new(), scalars: HashMap::new(), shapes: HashMap::new() }
    }

    /// A scalar or index value of the old function.
    pub fn scalar(&mut self, value: Val<'c>) -> Result<Val<'c>, String> {
        if let Some((new, _)) = self.scalars.get(&key(value)) {
            return Ok(*new);
        }
        let Some((op, number)) = defining_op(value) else { return Err("distribute-elements: scalar from an unknown block".into()) };
        let new = match name_of(op).as_str() {
            "tensor.dim" => {
                let size = self.dim_size(op)?;
                self.emitter.size(&size)?
            }
            "tensor.extract" => {
                // Not remembered in `scalars`: the read belongs to the scope it was made in.
                return self.extract(op, &HashMap::new());
            }
            _ if op.region_count() > 0 => {
                return Err(refuse(op, "control flow over whole tensors is not distributed; lower it inside a linalg.generic"));
            }
            _ => {
                let inputs = operands(op).into_iter().map(|v| self.scalar(v)).collect::<Result<Vec<_>, _>>()?;
                self.emitter.pure_clone(op, &inputs)?[number]
            }
        };
        Ok(new)
    }

    pub(super) fn extract(&mut self, op: Op<'c>, environment: &Environment<'c>) -> Result<Val<'c>, String> {
        let inputs = operands(op);
        let indices = inputs[1..].iter().map(|v| self.lookup(*v, environment)).collect::<Result<Vec<_>, _>>()?;
        self.element(inputs[0], &indices)
    }

    pub(super) fn lookup(&mut self, value: Val<'c>, environment: &Environment<'c>) -> Result<Val<'c>, String> {
        environment.get(&key(value)).copied().map_or_else(|| self.scalar(value), Ok)
    }

    /// The element of `tensor` at `indices`.
    pub fn element(&mut self, tensor: Val<'c>, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        if let Some(value) = self.emitter.remembered(tensor, indices) {
            return Ok(value);
        }
        let suspended = self.emitter.rise(indices);
        let result = self.compute(tensor, indices);
        if let Ok(value) = result {
            self.emitter.remember(tensor, indices, value);
        }
        self.emitter.resume(suspended);
        result
    }

    fn compute(&mut self, tensor: Val<'c>, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        if let Some((memref, _)) = self.arguments.get(&key(tensor)) {
            let memref = *memref;
            let operands: Vec<Val<'c>> = std::iter::once(memref).chain(indices.iter().copied()).collect();
            let r#type = element_type(memref.r#type()).ok_or("distribute-elements: argument is no memref")?;
            let dependence = self.emitter.dependence_of(indices);
            let load = build("memref.load", self.emitter.location, &operands, &[r#type], &[])?;
            return self.emitter.append(load, dependence).result(0).map(val).map_err(|e| e.to_string());
        }
        let Some((op, number)) = defining_op(tensor) else { return Err("distribute-elements: tensor from an unknown block".into()) };
        let outer = std::mem::replace(&mut self.emitter.location, op.location());
        let value = self.compute_result(op, number, tensor, indices);
        self.emitter.location = outer;
        value
    }

    fn compute_result(&mut self, op: Op<'c>, number: usize, tensor: Val<'c>, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        let inputs = operands(op);
        match name_of(op).as_str() {
            "linalg.generic" => self.generic(op, number, indices),
            "tensor.cast" => self.element(inputs[0], indices),
            "tensor.empty" => {
                let r#type = element_type(tensor.r#type()).ok_or("distribute-elements: no tensor")?;
                self.emitter.constant(zero(r#type), r#type) // never read by a correct program
            }
            "tensor.splat" => self.scalar(inputs[0]),
            "arith.constant" => self.constant(op, tensor, indices),
            "tensor.from_elements" => {
                let shape = self.shape(tensor)?;
                let values = inputs.iter().map(|v| self.scalar(*v)).collect::<Result<Vec<_>, _>>()?;
                self.choose(op, &values, &shape, indices)
            }
            "tensor.generate" => {
                let environment = self.bind(op, indices)?;
                self.evaluate(body(op)?, environment).map(|v| v[0])
            }
            "tensor.pad" => self.pad(op, indices),
            "tensor.extract_slice" => {
                let offsets = self.mixed_values(op, "static_offsets", 1)?;
                let strides = self.mixed_values(op, "static_strides", 3)?;
                let kept = kept_dims(&i64_array(op, "static_sizes"), &extents(tensor.r#type()).unwrap_or_default());
                let mut source = vec![];
                for (d, (offset, stride)) in offsets.into_iter().zip(strides).enumerate() {
                    source.push(match kept.iter().position(|k| *k == d) {
                        Some(i) => {
                            let scaled = self.emitter.binary("arith.muli", indices[i], stride)?;
                            self.emitter.binary("arith.addi", scaled, offset)?
                        }
                        None => offset,
                    });
                }
                self.element(inputs[0], &source)
            }
            "tensor.insert_slice" => self.insert_slice(op, indices),
            "tensor.insert" => {
                let at = inputs[2..].iter().map(|v| self.scalar(*v)).collect::<Result<Vec<_>, _>>()?;
                let mut conditions = vec![];
                for (index, at) in indices.iter().zip(at) {
                    conditions.push(self.emitter.compare(Compare::Eq, *index, at)?);
                }
                let old = self.element(inputs[1], indices)?;
                let new = self.scalar(inputs[0])?;
                match self.all(conditions)? {
                    Some(condition) => self.emitter.pure("arith.select", &[condition, new, old], new.r#type(), &[]),
                    None => Ok(new),
                }
            }
            "tensor.concat" => {
                let dim = integer_attribute(op, "dim").ok_or_else(|| refuse(op, "no dim"))? as usize;
                self.concat(&inputs, dim, indices)
            }
            "tensor.collapse_shape" => {
                let shape = self.shape(inputs[0])?;
                let mut source = vec![];
                for (group, index) in reassociation(op).iter().zip(indices) {
                    source.extend(self.delinearize(*index, &group.iter().map(|d| shape[*d].clone()).collect::<Vec<_>>())?);
                }
                // A rank-0 result has no groups; every source dim is 1.
                while source.len() < shape.len() {
                    source.push(self.emitter.index(0)?);
                }
                self.element(inputs[0], &source)
            }
            "tensor.expand_shape" => {
                let shape = self.shape(tensor)?;
                let mut source = vec![];
                for group in reassociation(op) {
                    let (sizes, indices): (Vec<_>, Vec<_>) = group.iter().map(|d| (shape[*d].clone(), indices[*d])).unzip();
                    source.push(self.linearize(&indices, &sizes)?);
                }
                self.element(inputs[0], &source)
            }
            name if name.starts_with("scf.") => {
                Err(refuse(op, "control flow over whole tensors is not distributed; lower it inside a linalg.generic"))
            }
            _ => Err(refuse(op, "not distributed over invocations; lower it to linalg.generic or tensor operations")),
        }
    }

    /// `((i0 * n1 + i1) * n2 + i2) ...`
    pub fn linearize(&mut self, indices: &[Val<'c>], shape: &[Expr]) -> Result<Val<'c>, String> {
        let mut linear = self.emitter.index(0)?;
        for (index, size) in indices.iter().zip(shape) {
            let size = self.emitter.size(size)?;
            let scaled = self.emitter.binary("arith.muli", linear, size)?;
            linear = self.emitter.binary("arith.addi", scaled, *index)?;
        }
        Ok(linear)
    }

    /// The inverse of `linearize`, for an index inside the shape.
    pub fn delinearize(&mut self, index: Val<'c>, shape: &[Expr]) -> Result<Vec<Val<'c>>, String> {
        let mut indices = vec![];
        let mut rest = index;
        // Outermost non-unit dim needs no remainder.
        let first = shape.iter().position(|s| s.as_constant() != Some(1)).unwrap_or(0);
        for (d, size) in shape.iter().enumerate().rev() {
            if size.as_constant() == Some(1) {
                indices.push(self.emitter.index(0)?);
            } else if d == first {
                indices.push(rest);
            } else {
                let size = self.emitter.size(size)?;
                indices.push(self.emitter.binary("arith.remui", rest, size)?);
                rest = self.emitter.binary("arith.divui", rest, size)?;
            }
        }
        indices.reverse();
        Ok(indices)
    }

    fn constant(&mut self, op: Op<'c>, tensor: Val<'c>, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        let attribute = op.attribute("value").map_err(|e| e.to_string())?;
        let r#type = element_type(tensor.r#type()).ok_or("distribute-elements: no tensor")?;
        let dense = DenseElementsAttribute::try_from(attribute)
            .map_err(|_| refuse(op, "constant tensor that is not dense; make it an argument"))?;
        if dense.is_splat() {
            return self.emitter.constant(dense.splat_value(), r#type);
        }
        if dense.len() > MAX_CONSTANT {
            return Err(refuse(op, &format!("constant of {} elements; make it an argument", dense.len())));
        }
        let mut values = vec![];
        for i in 0..dense.len() {
            let element =
                dense_element(&dense, r#type, i).ok_or_else(|| refuse(op, "constant of this element type; make it an argument"))?;
            values.push(self.emitter.constant(element, r#type)?);
        }
        let shape = self.shape(tensor)?;
        self.choose(op, &values, &shape, indices)
    }

    /// One of a few values by linear index.
    fn choose(&mut self, op: Op<'c>, values: &[Val<'c>], shape: &[Expr], indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        let linear = self.linearize(indices, shape)?;
        let Some((last, rest)) = values.split_last() else {
            // No turn of the grid or of any loop reads one.
            let r#type = op.result(0).ok().and_then(|tensor| element_type(tensor.r#type())).ok_or("distribute-elements: no tensor")?;
            return self.emitter.constant(zero(r#type), r#type);
        };
        let mut value = *last;
        for (i, candidate) in rest.iter().enumerate().rev() {
            let position = self.emitter.index(i as i64)?;
            let hit = self.emitter.compare(Compare::Eq, linear, position)?;
            value = self.emitter.pure("arith.select", &[hit, *candidate, value], candidate.r#type(), &[])?;
        }
        Ok(value)
    }

    fn all(&mut self, conditions: Vec<Val<'c>>) -> Result<Option<Val<'c>>, String> {
        let mut all: Option<Val<'c>> = None;
        for condition in conditions {
            all = Some(match all {
                Some(so_far) => self.emitter.pure("arith.andi", &[so_far, condition], condition.r#type(), &[])?,
                None => condition,
            });
        }
        Ok(all)
    }

    fn pad(&mut self, op: Op<'c>, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        let source = operands(op)[0];
        let shape = self.shape(source)?;
        let low = self.mixed_values(op, "static_low", 1)?;
        let high = self.mixed_values(op, "static_high", 2)?;
        let (mut inner, mut conditions) = (vec![], vec![]);
        for (d, index) in indices.iter().enumerate() {
            let padded = [low[d], high[d]].iter().any(|v| self.emitter.as_index_constant(*v) != Some(0));
            let shifted = self.emitter.binary("arith.subi", *index, low[d])?;
            if padded {
                // One unsigned comparison covers both ends.
                let size = self.emitter.size(&shape[d])?;
                conditions.push(self.emitter.compare(Compare::UnsignedLess, shifted, size)?);
            }
            inner.push(shifted);
        }
        let Some(inside) = self.all(conditions)? else { return self.element(source, &inner) };
        let region = self.emitter.begin_branch();
        let value = self.element(source, &inner)?;
        let on_true = self.emitter.end_branch(region, &[value])?;
        let region = self.emitter.begin_branch();
        let environment = self.bind(op, indices)?;
        let value = self.evaluate(body(op)?, environment)?;
        let on_false = self.emitter.end_branch(region, &value)?;
        Ok(self.emitter.if_else(inside, on_true, Some(on_false))?[0])
    }

    fn insert_slice(&mut self, op: Op<'c>, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        let inputs = operands(op);
        let (source, destination) = (inputs[0], inputs[1]);
        let offsets = self.mixed_values(op, "static_offsets", 2)?;
        let sizes = self.mixed_values(op, "static_sizes", 3)?;
        let strides = self.mixed_values(op, "static_strides", 4)?;
        let kept = kept_dims(&i64_array(op, "static_sizes"), &extents(source.r#type()).unwrap_or_default());
        let (mut inner, mut conditions) = (vec![], vec![]);
        for (d, index) in indices.iter().enumerate() {
            let distance = self.emitter.binary("arith.subi", *index, offsets[d])?;
            let position = if self.emitter.as_index_constant(strides[d]) == Some(1) {
                distance
            } else {
                // A negative distance, seen as unsigned, divides to something no smaller than any size unless the stride is huge: test it too.
                let zero = self.emitter.index(0)?;
                conditions.push(self.emitter.compare(Compare::SignedGreaterEqual, distance, zero)?);
                let rest = self.emitter.binary("arith.remui", distance, strides[d])?;
                conditions.push(self.emitter.compare(Compare::Eq, rest, zero)?);
                self.emitter.binary("arith.divui", distance, strides[d])?
            };
            conditions.push(self.emitter.compare(Compare::UnsignedLess, position, sizes[d])?);
            if kept.contains(&d) {
                inner.push(position);
            }
        }
        let Some(inside) = self.all(conditions)? else { return self.element(source, &inner) };
        let region = self.emitter.begin_branch();
        let value = self.element(source, &inner)?;
        let on_true = self.emitter.end_branch(region, &[value])?;
        let region = self.emitter.begin_branch();
        let value = self.element(destination, indices)?;
        let on_false = self.emitter.end_branch(region, &[value])?;
        Ok(self.emitter.if_else(inside, on_true, Some(on_false))?[0])
    }

    fn concat(&mut self, parts: &[Val<'c>], dim: usize, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        let (first, rest) = parts.split_first().ok_or("distribute-elements: tensor.concat of nothing")?;
        if rest.is_empty() {
            return self.element(*first, indices);
        }
        let size = self.shape(*first)?[dim].clone();
        let size = self.emitter.size(&size)?;
        let inside = self.emitter.compare(Compare::SignedLess, indices[dim], size)?;
        let region = self.emitter.begin_branch();
        let value = self.element(*first, indices)?;
        let on_true = self.emitter.end_branch(region, &[value])?;
        let region = self.emitter.begin_branch();
        let mut shifted = indices.to_vec();
        shifted[dim] = self.emitter.binary("arith.subi", indices[dim], size)?;
        let value = self.concat(rest, dim, &shifted)?;
        let on_false = self.emitter.end_branch(region, &[value])?;
        Ok(self.emitter.if_else(inside, on_true, Some(on_false))?[0])
    }
}

pub(super) fn integer_attribute(op: Op<'_>, name: &str) -> Option<i64> {
    IntegerAttribute::try_from(op.attribute(name).ok()?).ok().map(|a| a.value())
}

/// Zero of an integer, index or float type.
fn zero<'c>(r#type: Type<'c>) -> Attribute<'c> {
    if r#type.is_float() { float_attribute(r#type, 0.0) } else { IntegerAttribute::new(r#type, 0).into() }
}

/// Element number `i` of a constant, or `None` for a type that no kernel computes with.
fn dense_element<'c>(dense: &DenseElementsAttribute<'c>, r#type: Type<'c>, i: usize) -> Option<Attribute<'c>> {
    let integer = |value: i64| Attribute::from(IntegerAttribute::new(r#type, value));
    Some(match r#type.to_string().as_str() {
        "f32" => float_attribute(r#type, f64::from(dense.f32_element(i).ok()?)),
        "f64" => float_attribute(r#type, dense.f64_element(i).ok()?),
        "i1" => integer(i64::from(dense.bool_element(i).ok()?)),
        "i8" => integer(i64::from(dense.i8_element(i).ok()?)),
        "i16" => integer(i64::from(dense.i16_element(i).ok()?)),
        "i32" => integer(i64::from(dense.i32_element(i).ok()?)),
        "i64" => integer(dense.i64_element(i).ok()?),
        // SAFETY: the constant has this element type and more than `i` elements.
        "index" => integer(unsafe { mlir_sys::mlirDenseElementsAttrGetIndexValue(dense.to_raw(), i as isize) } as i64),
        _ => return None,
    })
}

/// `max(lhs, rhs)` of two sizes.
pub fn max(lhs: &Expr, rhs: &Expr) -> Expr {
    if lhs == rhs { lhs.clone() } else { Expr::binary(ExprOp::Max, lhs, rhs) }
}
