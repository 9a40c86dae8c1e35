//! The value of one element of a tensor, from the operation that defines the tensor: linalg, tensor, arith and math on tensors -> scalars.
//!
//! Intermediate tensors never exist: each element is computed where it is read. Refuses loops and conditionals over whole tensors.

use super::emitter::{Compare, Emitter, LOOP, indexing_maps};
use crate::gpu::{
    builder::{
        Op, Val, build, defining_op, element_type, extents, has_uses, i64_array, is_tensor, key, name_of, operands, reassociation,
        segment_sizes, val,
    },
    sizes,
};
use melior::ir::{
    AffineExpr, AffineMap, Attribute, BlockLike, BlockRef, RegionLike, Type, TypeLike, ValueLike,
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
    shapes: HashMap<usize, Vec<Expr>>,
}

/// Values of a region's block arguments and of the operations already evaluated in it.
type Environment<'c> = HashMap<usize, Val<'c>>;

fn refuse(op: Op<'_>, why: &str) -> String {
    format!("distribute-elements: {} at {}: {why}", name_of(op), op.location())
}

impl<'c> Elements<'c> {
    pub fn new(emitter: Emitter<'c>) -> Self {
        Self { emitter, arguments: HashMap::new(), scalars: HashMap::new(), shapes: HashMap::new() }
    }

    /// Extents of a tensor as expressions over the kernel's index arguments.
    pub fn shape(&mut self, tensor: Val<'c>) -> Result<Vec<Expr>, String> {
        if let Some((_, shape)) = self.arguments.get(&key(tensor)) {
            return Ok(shape.clone());
        }
        if let Some(shape) = self.shapes.get(&key(tensor)) {
            return Ok(shape.clone());
        }
        let statics = extents(tensor.r#type()).ok_or("distribute-elements: tensor without a rank; give every tensor a rank")?;
        let shape = if let Some(shape) = statics.iter().map(|d| d.map(Expr::constant)).collect::<Option<Vec<_>>>() {
            shape
        } else {
            let inferred = self.inferred_shape(tensor)?;
            statics.iter().zip(inferred).map(|(s, d)| s.map_or(d, Expr::constant)).collect()
        };
        self.shapes.insert(key(tensor), shape.clone());
        Ok(shape)
    }

    fn inferred_shape(&mut self, tensor: Val<'c>) -> Result<Vec<Expr>, String> {
        let Some((op, number)) = defining_op(tensor) else { return Err("distribute-elements: tensor of unknown size".into()) };
        let inputs = operands(op);
        let name = name_of(op);
        let rank = extents(tensor.r#type()).map_or(0, |e| e.len());
        match name.as_str() {
            "linalg.generic" => {
                let ins = segment_sizes(op).first().copied().unwrap_or(0);
                self.shape(inputs[ins + number])
            }
            "tensor.cast" => self.shape(inputs[0]),
            "tensor.insert_slice" => self.shape(inputs[1]),
            "tensor.insert" => self.shape(inputs[1]),
            "tensor.empty" | "tensor.generate" => {
                let mut dynamic = inputs.into_iter();
                let statics = extents(tensor.r#type()).unwrap_or_default();
                statics
                    .into_iter()
                    .map(|s| match s {
                        Some(n) => Ok(Expr::constant(n)),
                        None => dynamic.next().ok_or_else(|| refuse(op, "a size is missing")).and_then(|v| self.size_of_value(v)),
                    })
                    .collect()
            }
            "tensor.splat" => inputs[1..].iter().map(|v| self.size_of_value(*v)).collect::<Result<Vec<_>, _>>().map(|dynamic| {
                let mut dynamic = dynamic.into_iter();
                extents(tensor.r#type())
                    .unwrap_or_default()
                    .into_iter()
                    .map(|s| s.map(Expr::constant).or_else(|| dynamic.next()).unwrap_or(Expr::constant(0)))
                    .collect()
            }),
            "tensor.pad" => {
                let source = self.shape(inputs[0])?;
                let low = self.mixed_sizes(op, "static_low", 1)?;
                let high = self.mixed_sizes(op, "static_high", 2)?;
                Ok(source.iter().zip(low.iter().zip(&high)).map(|(s, (l, h))| sizes::add(&sizes::add(s, l), h)).collect())
            }
            "tensor.extract_slice" => {
                let all = self.mixed_sizes(op, "static_sizes", 2)?;
                Ok(kept_dims(&i64_array(op, "static_sizes"), &extents(tensor.r#type()).unwrap_or_default())
                    .into_iter()
                    .map(|d| all[d].clone())
                    .collect())
            }
            "tensor.concat" => {
                let dim = integer_attribute(op, "dim").ok_or_else(|| refuse(op, "no dim"))? as usize;
                let mut shape = self.shape(inputs[0])?;
                for input in &inputs[1..] {
                    let other = self.shape(*input)?;
                    shape[dim] = sizes::add(&shape[dim], &other[dim]);
                }
                Ok(shape)
            }
            "tensor.collapse_shape" => {
                let source = self.shape(inputs[0])?;
                Ok(reassociation(op)
                    .iter()
                    .map(|group| sizes::product(&group.iter().map(|d| source[*d].clone()).collect::<Vec<_>>()))
                    .collect())
            }
            "tensor.expand_shape" => self.mixed_sizes(op, "static_output_shape", 1),
            "tensor.reshape" => {
                Err(refuse(op, &format!("result of rank {rank} takes its size from data; use tensor.expand_shape or collapse_shape")))
            }
            _ => Err(refuse(op, "the size of its result is not known; give it a static type or an operand that carries the size")),
        }
    }

    /// Static entries of an attribute, with dynamic ones taken from operand group `group`.
    fn mixed(&mut self, op: Op<'c>, attribute: &str, group: usize) -> Vec<Result<i64, Val<'c>>> {
        let segments = segment_sizes(op);
        // Operations with one dynamic list have no segment attribute: operand 0, then the list.
        let start = if segments.is_empty() { 1 } else { segments[..group].iter().sum() };
        let mut dynamic = operands(op).into_iter().skip(start);
        let marker = unsafe { mlir_sys::mlirShapedTypeGetDynamicSize() };
        let mut entries = vec![];
        for entry in i64_array(op, attribute) {
            if entry != marker {
                entries.push(Ok(entry));
            } else if let Some(value) = dynamic.next() {
                entries.push(Err(value));
            }
        }
        entries
    }

    fn mixed_sizes(&mut self, op: Op<'c>, attribute: &str, group: usize) -> Result<Vec<Expr>, String> {
        self.mixed(op, attribute, group).into_iter().map(|e| e.map_or_else(|v| self.size_of_value(v), |n| Ok(Expr::constant(n)))).collect()
    }

    fn mixed_values(&mut self, op: Op<'c>, attribute: &str, group: usize) -> Result<Vec<Val<'c>>, String> {
        let entries = self.mixed(op, attribute, group);
        let mut values = vec![];
        for entry in entries {
            values.push(match entry {
                Ok(constant) => self.emitter.index(constant)?,
                Err(value) => self.scalar(value)?,
            });
        }
        Ok(values)
    }

    /// The size expression that an index value of the old function stands for.
    fn size_of_value(&mut self, value: Val<'c>) -> Result<Expr, String> {
        let this = std::cell::RefCell::new(self);
        sizes::from_value(value, &|v| {
            let mut this = this.borrow_mut();
            if let Some((_, Some(symbol))) = this.scalars.get(&key(v)) {
                return Some(Ok(symbol.clone()));
            }
            let (op, _) = defining_op(v)?;
            (name_of(op) == "tensor.dim").then(|| this.dim_size(op))
        })
    }

    fn dim_size(&mut self, op: Op<'c>) -> Result<Expr, String> {
        let inputs = operands(op);
        let dim = defining_op(inputs[1])
            .and_then(|(d, _)| integer_attribute(d, "value"))
            .ok_or_else(|| refuse(op, "which dim it asks for is not a constant"))?;
        self.shape(inputs[0])?.get(dim as usize).cloned().ok_or_else(|| refuse(op, "the tensor has no such dim"))
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

    fn extract(&mut self, op: Op<'c>, environment: &Environment<'c>) -> Result<Val<'c>, String> {
        let inputs = operands(op);
        let indices = inputs[1..].iter().map(|v| self.lookup(*v, environment)).collect::<Result<Vec<_>, _>>()?;
        self.element(inputs[0], &indices)
    }

    fn lookup(&mut self, value: Val<'c>, environment: &Environment<'c>) -> Result<Val<'c>, String> {
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
        let Some((last, rest)) = values.split_last() else { return Err(refuse(op, "an element of an empty tensor is read")) };
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

    /// An affine expression over values of loop dims.
    fn affine(&mut self, expr: AffineExpr<'c>, dims: &[Option<Val<'c>>]) -> Result<Val<'c>, String> {
        if expr.is_constant() {
            return self.emitter.index(expr.constant_value());
        }
        if expr.is_dim() {
            return dims
                .get(expr.dim_position())
                .copied()
                .flatten()
                .ok_or("distribute-elements: an indexing map uses a dim that has no value here".into());
        }
        if !expr.is_binary() {
            return Err("distribute-elements: an indexing map uses symbols".into());
        }
        let (lhs, rhs) = (self.affine(expr.lhs(), dims)?, self.affine(expr.rhs(), dims)?);
        let name = if expr.is_add() {
            "arith.addi"
        } else if expr.is_mul() {
            "arith.muli"
        } else if expr.is_floor_div() {
            "arith.floordivsi"
        } else if expr.is_ceil_div() {
            "arith.ceildivsi"
        } else {
            return Err("distribute-elements: an indexing map uses mod; split the dim with tensor.expand_shape".into());
        };
        self.emitter.binary(name, lhs, rhs)
    }

    fn at_map(&mut self, map: AffineMap<'c>, dims: &[Option<Val<'c>>]) -> Result<Vec<Val<'c>>, String> {
        (0..map.result_count()).map(|r| map.result(r).map_err(|e| e.to_string()).and_then(|e| self.affine(e, dims))).collect()
    }

    fn generic(&mut self, op: Op<'c>, number: usize, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
        let maps = indexing_maps(op);
        let ins = segment_sizes(op).first().copied().unwrap_or(0);
        let output = *maps.get(ins + number).ok_or_else(|| refuse(op, "an indexing map is missing"))?;
        let rank = output.dim_count();
        let mut dims: Vec<Option<Val<'c>>> = vec![None; rank];
        for (r, index) in indices.iter().enumerate() {
            let expr = output.result(r).map_err(|e| e.to_string())?;
            if expr.is_dim() {
                dims[expr.dim_position()] = Some(*index);
            } else if !(expr.is_constant() && expr.constant_value() == 0) {
                return Err(refuse(op, "its result is not indexed by plain dims"));
            }
        }
        let mut loops = vec![];
        for (d, kind) in iterator_types(op).into_iter().enumerate() {
            if dims[d].is_some() {
                continue;
            }
            let size = self.loop_size(op, &maps, d)?;
            if size.as_constant() == Some(1) {
                dims[d] = Some(self.emitter.index(0)?);
            } else if kind == "reduction" {
                loops.push((d, size));
            } else {
                return Err(refuse(op, "a parallel dim does not index this result; give each result every parallel dim"));
            }
        }
        if loops.is_empty() {
            let environment = self.bind_operands(op, &maps, &dims, None)?;
            return self.evaluate(body(op)?, environment).map(|v| v[number]);
        }
        // All results of a reduction that share the map come out of the same loops.
        let outputs: Vec<usize> = (ins..maps.len()).filter(|o| maps[*o] == output).collect();
        if outputs.len() != maps.len() - ins {
            return Err(refuse(op, "results of one reduction are indexed differently"));
        }
        self.emitter.reductions.push(self.emitter.dependence_of(indices) & !LOOP);
        let inputs = operands(op);
        let init = outputs.iter().map(|o| self.element(inputs[*o], indices)).collect::<Result<Vec<_>, _>>()?;
        let finals = self.reduce(op, &maps, &mut dims, &loops, init)?;
        for (i, value) in finals.iter().enumerate() {
            let result = op.result(i).map(val).map_err(|e| e.to_string())?;
            self.emitter.remember(result, indices, *value);
        }
        Ok(finals[number])
    }

    fn reduce(
        &mut self,
        op: Op<'c>,
        maps: &[AffineMap<'c>],
        dims: &mut Vec<Option<Val<'c>>>,
        loops: &[(usize, Expr)],
        running: Vec<Val<'c>>,
    ) -> Result<Vec<Val<'c>>, String> {
        let Some(((dim, size), inner)) = loops.split_first() else {
            let environment = self.bind_operands(op, maps, dims, Some(&running))?;
            return self.evaluate(body(op)?, environment);
        };
        let bound = self.emitter.size(size)?;
        let frame = self.emitter.begin_for(bound, &running)?;
        dims[*dim] = Some(frame.counter);
        let next = self.reduce(op, maps, dims, inner, frame.running.clone())?;
        self.emitter.end_for(frame, &next)
    }

    /// Extent of loop dim `d`, from the first operand that it indexes alone.
    fn loop_size(&mut self, op: Op<'c>, maps: &[AffineMap<'c>], d: usize) -> Result<Expr, String> {
        for (map, operand) in maps.iter().zip(operands(op)) {
            for r in 0..map.result_count() {
                let expr = map.result(r).map_err(|e| e.to_string())?;
                if expr.is_dim() && expr.dim_position() == d {
                    return self.shape(operand).map(|shape| shape[r].clone());
                }
            }
        }
        Err(refuse(op, "no operand is indexed by one of its loop dims alone; add one that gives its extent"))
    }

    /// Values of a linalg body's block arguments; `running` replaces the outputs' elements inside reduction loops.
    fn bind_operands(
        &mut self,
        op: Op<'c>,
        maps: &[AffineMap<'c>],
        dims: &[Option<Val<'c>>],
        running: Option<&[Val<'c>]>,
    ) -> Result<Environment<'c>, String> {
        let block = body(op)?;
        let ins = segment_sizes(op).first().copied().unwrap_or(0);
        let mut environment = HashMap::new();
        for (i, (argument, operand)) in super::emitter::block_arguments(block).into_iter().zip(operands(op)).enumerate() {
            if !has_uses(argument) {
                continue;
            }
            let value = match running {
                Some(running) if i >= ins => running[i - ins],
                _ if !is_tensor(operand.r#type()) => self.scalar(operand)?,
                _ => {
                    let at = self.at_map(maps[i], dims)?;
                    self.element(operand, &at)?
                }
            };
            environment.insert(key(argument), value);
        }
        // `linalg.index d` is answered from here.
        let first = block.first_operation();
        let mut next = first.map(|o| crate::gpu::builder::op_ref(&o));
        while let Some(inner) = next {
            if name_of(inner) == "linalg.index" {
                let d = integer_attribute(inner, "dim").unwrap_or(0) as usize;
                let value = dims.get(d).copied().flatten().ok_or_else(|| refuse(inner, "dim without a value"))?;
                environment.insert(key(inner.result(0).map(val).map_err(|e| e.to_string())?), value);
            }
            next = inner.next_in_block().map(|o| crate::gpu::builder::op_ref(&o));
        }
        Ok(environment)
    }

    /// A region whose block arguments are the indices themselves.
    fn bind(&mut self, op: Op<'c>, indices: &[Val<'c>]) -> Result<Environment<'c>, String> {
        Ok(super::emitter::block_arguments(body(op)?).into_iter().map(key).zip(indices.iter().copied()).collect())
    }

    /// Builds the scalar operations of a body and returns what its terminator yields.
    fn evaluate(&mut self, block: BlockRef<'c, 'c>, mut environment: Environment<'c>) -> Result<Vec<Val<'c>>, String> {
        let mut next = block.first_operation().map(|o| crate::gpu::builder::op_ref(&o));
        while let Some(op) = next {
            let inputs = operands(op);
            let name = name_of(op);
            let outer = std::mem::replace(&mut self.emitter.location, op.location());
            let results = match name.as_str() {
                "linalg.yield" | "tensor.yield" | "scf.yield" => {
                    self.emitter.location = outer;
                    return inputs.iter().map(|v| self.lookup(*v, &environment)).collect();
                }
                "linalg.index" => op.result(0).map(val).ok().and_then(|r| environment.get(&key(r)).copied()).into_iter().collect(),
                "tensor.extract" => vec![self.extract(op, &environment)?],
                "tensor.dim" => {
                    let size = self.dim_size(op)?;
                    vec![self.emitter.size(&size)?]
                }
                "scf.if" => self.evaluate_if(op, &environment)?,
                "scf.for" => self.evaluate_for(op, &environment)?,
                _ if op.region_count() > 0 => return Err(refuse(op, "only scf.if and scf.for may stand inside a linalg body")),
                _ => {
                    let inputs = inputs.iter().map(|v| self.lookup(*v, &environment)).collect::<Result<Vec<_>, _>>()?;
                    self.emitter.pure_clone(op, &inputs)?
                }
            };
            self.emitter.location = outer;
            for (i, value) in results.into_iter().enumerate() {
                environment.insert(key(op.result(i).map(val).map_err(|e| e.to_string())?), value);
            }
            next = op.next_in_block().map(|o| crate::gpu::builder::op_ref(&o));
        }
        Err("distribute-elements: a body without a terminator".into())
    }

    fn evaluate_if(&mut self, op: Op<'c>, environment: &Environment<'c>) -> Result<Vec<Val<'c>>, String> {
        let condition = self.lookup(operands(op)[0], environment)?;
        let mut branches = vec![];
        for r in 0..2 {
            let Some(block) = op.region(r).ok().and_then(|r| r.first_block()) else { continue };
            let region = self.emitter.begin_branch();
            let values = self.evaluate(unsafe { BlockRef::from_raw(block.to_raw()) }, environment.clone())?;
            branches.push(self.emitter.end_branch(region, &values)?);
        }
        let on_false = branches.pop().filter(|_| !branches.is_empty());
        let on_true = branches.pop().ok_or_else(|| refuse(op, "without results it has no effect here"))?;
        self.emitter.if_else(condition, on_true, on_false)
    }

    fn evaluate_for(&mut self, op: Op<'c>, environment: &Environment<'c>) -> Result<Vec<Val<'c>>, String> {
        let inputs = operands(op).iter().map(|v| self.lookup(*v, environment)).collect::<Result<Vec<_>, _>>()?;
        if self.emitter.as_index_constant(inputs[0]) != Some(0) || self.emitter.as_index_constant(inputs[2]) != Some(1) {
            return Err(refuse(op, "a loop in a linalg body must count from 0 by 1"));
        }
        let frame = self.emitter.begin_for(inputs[1], &inputs[3..])?;
        let block = body(op)?;
        let mut inner = environment.clone();
        for (argument, value) in
            super::emitter::block_arguments(block).into_iter().zip(std::iter::once(frame.counter).chain(frame.running.iter().copied()))
        {
            inner.insert(key(argument), value);
        }
        let next = self.evaluate(block, inner)?;
        self.emitter.end_for(frame, &next)
    }
}

fn body<'c>(op: Op<'c>) -> Result<BlockRef<'c, 'c>, String> {
    let region = op.region(0).map_err(|e| e.to_string())?;
    let block = region.first_block().ok_or_else(|| refuse(op, "empty region"))?;
    Ok(unsafe { BlockRef::from_raw(block.to_raw()) })
}

fn integer_attribute(op: Op<'_>, name: &str) -> Option<i64> {
    IntegerAttribute::try_from(op.attribute(name).ok()?).ok().map(|a| a.value())
}

/// `parallel`, `reduction`, ... per loop dim.
fn iterator_types(op: Op<'_>) -> Vec<&'static str> {
    let Ok(attribute) = op.attribute("iterator_types") else { return vec![] };
    // The C API cannot read the iterator enum; its printed form can.
    attribute
        .to_string()
        .split("iterator_type<")
        .skip(1)
        .map(|t| if t.starts_with("reduction") { "reduction" } else { "parallel" })
        .collect()
}

/// Which source dims a rank-reduced slice keeps. Dropped dims have size 1, so it does not matter which of several unit dims is kept.
fn kept_dims(sizes: &[i64], result: &[Option<i64>]) -> Vec<usize> {
    let dynamic = unsafe { mlir_sys::mlirShapedTypeGetDynamicSize() };
    let mut wanted = result.iter().map(|w| w.unwrap_or(dynamic)).peekable();
    (0..sizes.len()).filter(|d| wanted.next_if_eq(&sizes[*d]).is_some()).collect()
}

/// Zero of an integer, index or float type.
fn zero<'c>(r#type: Type<'c>) -> Attribute<'c> {
    let raw = r#type.to_raw();
    unsafe {
        let context = mlir_sys::mlirTypeGetContext(raw);
        Attribute::from_raw(if mlir_sys::mlirTypeIsAFloat(raw) {
            mlir_sys::mlirFloatAttrDoubleGet(context, raw, 0.0)
        } else {
            mlir_sys::mlirIntegerAttrGet(raw, 0)
        })
    }
}

fn dense_element<'c>(dense: &DenseElementsAttribute<'c>, r#type: Type<'c>, i: usize) -> Option<Attribute<'c>> {
    let raw = melior::ir::AttributeLike::to_raw(dense);
    let position = i as isize;
    unsafe {
        let context = mlir_sys::mlirTypeGetContext(r#type.to_raw());
        let integer = |value: i64| Attribute::from_raw(mlir_sys::mlirIntegerAttrGet(r#type.to_raw(), value));
        if mlir_sys::mlirTypeIsAF32(r#type.to_raw()) {
            let value = mlir_sys::mlirDenseElementsAttrGetFloatValue(raw, position) as f64;
            return Some(Attribute::from_raw(mlir_sys::mlirFloatAttrDoubleGet(context, r#type.to_raw(), value)));
        }
        if mlir_sys::mlirTypeIsAF64(r#type.to_raw()) {
            let value = mlir_sys::mlirDenseElementsAttrGetDoubleValue(raw, position);
            return Some(Attribute::from_raw(mlir_sys::mlirFloatAttrDoubleGet(context, r#type.to_raw(), value)));
        }
        if mlir_sys::mlirTypeIsAIndex(r#type.to_raw()) {
            return Some(integer(mlir_sys::mlirDenseElementsAttrGetIndexValue(raw, position) as i64));
        }
        match crate::gpu::builder::integer_width(r#type)? {
            1 => Some(integer(mlir_sys::mlirDenseElementsAttrGetBoolValue(raw, position) as i64)),
            8 => Some(integer(mlir_sys::mlirDenseElementsAttrGetInt8Value(raw, position) as i64)),
            16 => Some(integer(mlir_sys::mlirDenseElementsAttrGetInt16Value(raw, position) as i64)),
            32 => Some(integer(mlir_sys::mlirDenseElementsAttrGetInt32Value(raw, position) as i64)),
            64 => Some(integer(mlir_sys::mlirDenseElementsAttrGetInt64Value(raw, position))),
            _ => None,
        }
    }
}

/// `max(lhs, rhs)` of two sizes.
pub fn max(lhs: &Expr, rhs: &Expr) -> Expr {
    if lhs == rhs { lhs.clone() } else { Expr::binary(ExprOp::Max, lhs, rhs) }
}
