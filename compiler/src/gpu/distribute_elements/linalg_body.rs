//! Elements of `linalg.generic` results: indexing maps, reduction loops, and the scalar operations of bodies.

use super::{
    element::{Elements, Environment, integer_attribute, refuse},
    emitter::{LOOP, indexing_maps},
};
use crate::gpu::builder::{
    Op, Val, block_arguments, block_ref, has_uses, is_tensor, key, name_of, operands, operations_below, operations_in, segment_sizes, val,
};
use melior::ir::{AffineExpr, AffineMap, BlockRef, RegionLike, ValueLike, operation::OperationLike};
use std::collections::HashMap;
use winze_runtime::artifact::expr::Expr;

impl<'c> Elements<'c> {
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

    pub(super) fn generic(&mut self, op: Op<'c>, number: usize, indices: &[Val<'c>]) -> Result<Val<'c>, String> {
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
        for (i, (argument, operand)) in block_arguments(block).into_iter().zip(operands(op)).enumerate() {
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
        // `linalg.index d` is answered from here, also inside conditionals and loops of the body.
        for inner in operations_below(op).into_iter().filter(|o| name_of(*o) == "linalg.index") {
            let d = integer_attribute(inner, "dim").unwrap_or(0) as usize;
            let value = dims.get(d).copied().flatten().ok_or_else(|| refuse(inner, "dim without a value"))?;
            environment.insert(key(inner.result(0).map(val).map_err(|e| e.to_string())?), value);
        }
        Ok(environment)
    }

    /// A region whose block arguments are the indices themselves.
    pub(super) fn bind(&mut self, op: Op<'c>, indices: &[Val<'c>]) -> Result<Environment<'c>, String> {
        Ok(block_arguments(body(op)?).into_iter().map(key).zip(indices.iter().copied()).collect())
    }

    /// Builds the scalar operations of a body and returns what its terminator yields.
    pub(super) fn evaluate(&mut self, block: BlockRef<'c, 'c>, mut environment: Environment<'c>) -> Result<Vec<Val<'c>>, String> {
        for op in operations_in(block) {
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
        }
        Err("distribute-elements: a body without a terminator".into())
    }

    fn evaluate_if(&mut self, op: Op<'c>, environment: &Environment<'c>) -> Result<Vec<Val<'c>>, String> {
        let condition = self.lookup(operands(op)[0], environment)?;
        let mut branches = vec![];
        for r in 0..2 {
            let Some(block) = op.region(r).ok().and_then(|r| r.first_block()) else { continue };
            let region = self.emitter.begin_branch();
            let values = self.evaluate(block_ref(block), environment.clone())?;
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
        for (argument, value) in block_arguments(block).into_iter().zip(std::iter::once(frame.counter).chain(frame.running.iter().copied()))
        {
            inner.insert(key(argument), value);
        }
        let next = self.evaluate(block, inner)?;
        self.emitter.end_for(frame, &next)
    }
}

pub(super) fn body<'c>(op: Op<'c>) -> Result<BlockRef<'c, 'c>, String> {
    let region = op.region(0).map_err(|e| e.to_string())?;
    let block = region.first_block().ok_or_else(|| refuse(op, "empty region"))?;
    Ok(block_ref(block))
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
