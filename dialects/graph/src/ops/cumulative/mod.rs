//! `graph.cumulative`: folds the elements up to each along an axis.

use crate::{
    dialect::Cumulative,
    eval::EvalContext,
    infer::unary_types,
    lower::{Builder, LowerContext, Op, ScalarBuilder, Val, is_half},
    op::{OpDefinition, Role},
    ops::fold::{self, Fold},
    tensor::{Scalar, Tensor},
    types::{ElementType, check_axes},
};
use winze_mlir::{
    melior::ir::{OperationRef, ValueLike},
    op_hooks::OpHooks,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.cumulative",
    role: Role::DataMovement,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn verify(op: OperationRef) -> Result<(), String> {
    let (input, _) = unary_types(op)?;
    Fold::parse(&Cumulative(op).kind(), input.element)?;
    if is_half(input.element) {
        return Err(format!("{} is too narrow to fold in; convert to f32", input.element));
    }
    check_axes(&[Cumulative(op).axis()], input.rank()).map(drop)
}

fn eval(_: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (input, cumulative) = (&inputs[0], Cumulative(op));
    let fold = Fold::parse(&cumulative.kind(), input.element())?;
    let axis = cumulative.axis() as usize;
    Ok(vec![Tensor::from_index_fn(input.element(), &input.shape, |index| {
        let at = index[axis];
        let own = usize::from(!cumulative.exclusive());
        let places: Vec<usize> =
            if cumulative.reverse() { (at + 1 - own..input.shape[axis]).rev().collect() } else { (0..at + own).collect() };
        let element = |place: usize| {
            let mut index = index.to_vec();
            index[axis] = place;
            input.at(&index)
        };
        places.into_iter().fold(fold.neutral(input.element()), |sum: Scalar, place| fold.eval(sum, element(place)))
    })])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (input, r#type) = cx.operand(op, 0)?;
    let extents = r#type.dims.iter().map(|dim| cx.extent(dim)).collect::<Result<Vec<_>, _>>()?;
    let (cumulative, element) = (Cumulative(op), r#type.element);
    let scan = Scan {
        input,
        extents,
        fold: Fold::parse(&cumulative.kind(), element)?,
        element,
        axis: cumulative.axis() as usize,
        exclusive: cumulative.exclusive(),
        reverse: cumulative.reverse(),
    };
    let destination = cx.destination(op, 0)?;
    let value = if cx.has_tensor_loops() {
        scan.in_order(&cx.builder, &mut vec![], destination)
    } else {
        cx.map(&[], destination, element, |b, _| scan.alone(b))
    };
    Ok(vec![value])
}

struct Scan<'c> {
    input: Val<'c>,
    extents: Vec<Val<'c>>,
    fold: Fold,
    element: ElementType,
    axis: usize,
    exclusive: bool,
    reverse: bool,
}

impl<'c> Scan<'c> {
    fn neutral(&self, b: &ScalarBuilder<'c>) -> Val<'c> {
        fold::constant(b, self.element, self.fold.neutral(self.element))
    }

    fn folded(&self, b: &ScalarBuilder<'c>, sum: Val<'c>, x: Val<'c>) -> Val<'c> {
        self.fold.lower(b, self.element, sum, x)
    }

    /// The place that comes after `step` others; of a place, the steps before it.
    fn place(&self, b: &Builder<'c>, step: Val<'c>) -> Val<'c> {
        if !self.reverse {
            return step;
        }
        let last = b.same("arith.subi", &[self.extents[self.axis], b.index(1)]);
        b.same("arith.subi", &[last, step])
    }

    /// Loops over the axes from `index` on; each element follows from the one before.
    fn in_order(&self, b: &Builder<'c>, index: &mut Vec<Val<'c>>, result: Val<'c>) -> Val<'c> {
        let depth = index.len();
        if depth == self.extents.len() {
            return self.after_previous(b, index, result);
        }
        if depth == self.axis && depth + 1 == self.extents.len() {
            return self.row(b, index, result);
        }
        b.count_to(self.extents[depth], &[result], |b, i, result| {
            index.push(if depth == self.axis { self.place(b, i) } else { i });
            let next = self.in_order(b, index, result[0]);
            index.pop();
            vec![next]
        })[0]
    }

    /// Along the last axis; what is folded so far is carried.
    fn row(&self, b: &Builder<'c>, row: &[Val<'c>], result: Val<'c>) -> Val<'c> {
        b.count_to(self.extents[self.axis], &[result, self.neutral(b)], |b, step, carried| {
            let index = [row, &[self.place(b, step)]].concat();
            let sum = self.folded(b, carried[1], b.extract(self.input, &index));
            let value = if self.exclusive { carried[1] } else { sum };
            vec![self.insert(b, value, carried[0], &index), sum]
        })[0]
    }

    /// One element from the one before it in the result.
    fn after_previous(&self, b: &Builder<'c>, index: &[Val<'c>], result: Val<'c>) -> Val<'c> {
        let step = self.place(b, index[self.axis]);
        let is_first = b.cmpi("eq", step, b.index(0));
        let mut previous = index.to_vec();
        let before = b.same("arith.subi", &[step, b.index(1)]);
        previous[self.axis] = self.place(b, b.select(is_first, step, before));
        let sum = b.extract(result, &previous);
        let neutral = self.neutral(b);
        let value = if self.exclusive {
            b.select(is_first, neutral, self.folded(b, sum, b.extract(self.input, &previous)))
        } else {
            self.folded(b, b.select(is_first, neutral, sum), b.extract(self.input, index))
        };
        self.insert(b, value, result, index)
    }

    fn insert(&self, b: &Builder<'c>, value: Val<'c>, result: Val<'c>, index: &[Val<'c>]) -> Val<'c> {
        b.value("tensor.insert", &[&[value, result], index].concat(), result.r#type(), &[])
    }

    /// One element from all along the axis; those that are not folded into it count as neutral, so that every loop has as many turns.
    fn alone(&self, b: &ScalarBuilder<'c>) -> Val<'c> {
        let mut index: Vec<Val> = (0..self.extents.len()).map(|i| b.loop_index(i)).collect();
        let own = self.place(b, index[self.axis]);
        b.count_to(self.extents[self.axis], &[self.neutral(b)], |b, step, sum| {
            index[self.axis] = self.place(b, step);
            let counts = b.cmpi(if self.exclusive { "slt" } else { "sle" }, step, own);
            let x = b.select(counts, b.extract(self.input, &index), self.neutral(b));
            vec![self.folded(b, sum[0], x)]
        })[0]
    }
}
