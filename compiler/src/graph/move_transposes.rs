//! `move-transposes`: transposes -> axes of products, reshapes, or transposes further on, where two of them cancel.
//!
//! A product reads its operands in any order of axes: a transpose in front becomes other axis numbers where the free axes keep their order. A transpose
//! that moves only axes of extent 1 is a reshape. Behind an elementwise op whose other operands are constants, or transposed alike, it is as
//! good as in front, so it moves on to whatever absorbs it; canonicalization joins pairs. Leaves alone transposes that others use too.

use super::{
    chain::{producer, result},
    constness::is_constant,
};
use crate::kernels::insert::{insert, replace};
use melior::ir::{OperationRef, Value, operation::OperationLike};
use winze_graph::{
    dialect::{Broadcast, DotGeneral, Reshape, Transpose},
    op,
    types::TensorType,
};
use winze_mlir::{context::context_of, pass::RustPass, walk};

/// The pass.
pub struct MoveTransposes;

impl RustPass for MoveTransposes {
    const ARGUMENT: &'static str = "move-transposes";
    const DESCRIPTION: &'static str = "Absorb transposes into products and reshapes, and move them through elementwise ops";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        // In program order, so that a transpose moves on as far as it can.
        for op in walk::find(func, |_| true) {
            if let Some(dot) = DotGeneral::cast(op) {
                absorb(dot)?;
            } else if let Some(transpose) = Transpose::cast(op) {
                reshape_instead(transpose)?;
            } else if op::find_for(op).is_some_and(|definition| definition.scalar.is_some()) {
                move_behind(op)?;
            }
        }
        Ok(())
    }
}

/// The transpose whose result a value is.
fn transposed<'c, 'a>(value: Value<'c, 'a>) -> Option<Transpose<'c, 'a>> {
    Transpose::cast(producer(value)?)
}

/// Gives a product the operands of the transposes in front of it.
fn absorb(dot: DotGeneral) -> Result<(), String> {
    let op = dot.op();
    let mut sides = [(dot.lhs(), dot.lhs_batch(), dot.lhs_contract()), (dot.rhs(), dot.rhs_batch(), dot.rhs_contract())];
    let mut changed = false;
    let weights = is_constant(dot.rhs());
    for (side, (value, batch, contract)) in sides.iter_mut().enumerate() {
        let Some(transpose) = transposed(*value) else { continue };
        let permutation = transpose.permutation();
        let free: Vec<i64> = (0..permutation.len() as i64).filter(|axis| !batch.contains(axis) && !contract.contains(axis)).collect();
        if !free.iter().map(|axis| permutation[*axis as usize]).is_sorted() {
            continue;
        }
        // Weights are only stored in panels for a left side whose rows are contiguous.
        let last = permutation.len() as i64 - 1;
        if weights && side == 0 && contract[..] == [last] && permutation[last as usize] != last {
            continue;
        }
        batch.iter_mut().chain(contract.iter_mut()).for_each(|axis| *axis = permutation[*axis as usize]);
        *value = transpose.input();
        changed = true;
    }
    if !changed {
        return Ok(());
    }
    let [(lhs, lhs_batch, lhs_contract), (rhs, rhs_batch, rhs_contract)] = sides;
    let new =
        DotGeneral::create(context_of(op), op.location(), lhs, rhs, lhs_batch, rhs_batch, lhs_contract, rhs_contract, dot.accumulate())?;
    replace(MoveTransposes::ARGUMENT, op, new)
}

/// A transpose that leaves the elements where they are.
fn reshape_instead(transpose: Transpose) -> Result<(), String> {
    let op = transpose.op();
    let dims = TensorType::of(transpose.input())?.dims;
    let moved = transpose.permutation().into_iter().filter(|axis| dims[*axis as usize].as_static() != Some(1));
    if !moved.is_sorted() {
        return Ok(());
    }
    let r#type = TensorType::of(transpose.result())?.to_type(context_of(op));
    replace(MoveTransposes::ARGUMENT, op, Reshape::create(context_of(op), op.location(), transpose.input(), &[r#type]))
}

/// Puts the transpose in front of an elementwise op behind it.
fn move_behind<'c: 'a, 'a>(op: OperationRef<'c, 'a>) -> Result<(), String> {
    let Some(permutation) = op.operands().find_map(transposed).map(|transpose| transpose.permutation()) else { return Ok(()) };
    let mut makers = vec![];
    for operand in op.operands() {
        let Some(maker) = in_front(op, operand, &permutation) else { return Ok(()) };
        makers.push(maker);
    }
    let context = context_of(op);
    let result_type = TensorType::of(result(op))?;
    let dims = inverse(&permutation).into_iter().map(|axis| result_type.dims[axis as usize].clone()).collect();
    let early = insert(op, walk::copy(op));
    let early_op = producer(early).ok_or("move-transposes: internal error: an elementwise op is no result")?;
    for (i, maker) in makers.into_iter().enumerate() {
        walk::set_operand(early_op, i, maker.make(early_op, &permutation)?);
    }
    walk::set_type(early, TensorType::new(result_type.element, dims).to_type(context));
    replace(MoveTransposes::ARGUMENT, op, Transpose::create(context, op.location(), early, permutation)?)
}

/// How an operand is had in the order of axes from before the transpose.
enum Untransposed<'c, 'a> {
    Value(Value<'c, 'a>),
    Constant(Value<'c, 'a>),
    Broadcast(Broadcast<'c, 'a>),
}

fn in_front<'c: 'a, 'a>(op: OperationRef<'c, 'a>, operand: Value<'c, 'a>, permutation: &[i64]) -> Option<Untransposed<'c, 'a>> {
    if let Some(transpose) = transposed(operand) {
        let alike = transpose.permutation() == permutation && walk::users(operand).all(|user| user == op);
        return alike.then(|| Untransposed::Value(transpose.input()));
    }
    if let Some(broadcast) = producer(operand).and_then(Broadcast::cast) {
        return is_constant(broadcast.input()).then_some(Untransposed::Broadcast(broadcast));
    }
    is_constant(operand).then_some(Untransposed::Constant(operand))
}

impl<'c: 'a, 'a> Untransposed<'c, 'a> {
    fn make(self, before: OperationRef<'c, 'a>, permutation: &[i64]) -> Result<Value<'c, 'a>, String> {
        let (context, location) = (context_of(before), before.location());
        match self {
            Self::Value(value) => Ok(value),
            Self::Constant(value) => Ok(insert(before, Transpose::create(context, location, value, inverse(permutation))?)),
            Self::Broadcast(broadcast) => {
                let axes: Vec<i64> = broadcast.axes().into_iter().map(|axis| permutation[axis as usize]).collect();
                let mut order: Vec<i64> = (0..axes.len() as i64).collect();
                order.sort_unstable_by_key(|i| axes[*i as usize]);
                let to = TensorType::of(broadcast.result())?;
                let dims = inverse(permutation).into_iter().map(|axis| to.dims[axis as usize].clone()).collect();
                let r#type = TensorType::new(to.element, dims).to_type(context);
                let axes = order.iter().map(|i| axes[*i as usize]).collect();
                let input = insert(before, Transpose::create(context, location, broadcast.input(), order)?);
                Ok(insert(before, Broadcast::create(context, location, input, axes, &[r#type])))
            }
        }
    }
}

/// The permutation that undoes another.
fn inverse(permutation: &[i64]) -> Vec<i64> {
    let mut inverse = vec![0; permutation.len()];
    permutation.iter().enumerate().for_each(|(i, axis)| inverse[*axis as usize] = i as i64);
    inverse
}
