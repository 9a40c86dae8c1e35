//! Extents of the tensors in a kernel, as expressions over its index arguments; offsets and sizes of slices and pads.

use super::element::{Elements, integer_attribute, refuse};
use crate::gpu::{
    builder::{Op, Val, defining_op, dynamic_size, extents, i64_array, key, name_of, operands, reassociation, segment_sizes},
    sizes,
};
use melior::ir::ValueLike;
use winze_runtime::artifact::expr::Expr;

impl<'c> Elements<'c> {
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
        let marker = dynamic_size();
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

    pub(super) fn mixed_sizes(&mut self, op: Op<'c>, attribute: &str, group: usize) -> Result<Vec<Expr>, String> {
        self.mixed(op, attribute, group).into_iter().map(|e| e.map_or_else(|v| self.size_of_value(v), |n| Ok(Expr::constant(n)))).collect()
    }

    pub(super) fn mixed_values(&mut self, op: Op<'c>, attribute: &str, group: usize) -> Result<Vec<Val<'c>>, String> {
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
    pub(super) fn size_of_value(&mut self, value: Val<'c>) -> Result<Expr, String> {
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

    pub(super) fn dim_size(&mut self, op: Op<'c>) -> Result<Expr, String> {
        let inputs = operands(op);
        let dim = defining_op(inputs[1])
            .and_then(|(d, _)| integer_attribute(d, "value"))
            .ok_or_else(|| refuse(op, "which dim it asks for is not a constant"))?;
        self.shape(inputs[0])?.get(dim as usize).cloned().ok_or_else(|| refuse(op, "the tensor has no such dim"))
    }
}

/// Which source dims a rank-reduced slice keeps. Dropped dims have size 1, so it does not matter which of several unit dims is kept.
pub(super) fn kept_dims(sizes: &[i64], result: &[Option<i64>]) -> Vec<usize> {
    let dynamic = dynamic_size();
    let mut wanted = result.iter().map(|w| w.unwrap_or(dynamic)).peekable();
    (0..sizes.len()).filter(|d| wanted.next_if_eq(&sizes[*d]).is_some()).collect()
}
