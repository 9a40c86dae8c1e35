//! `graph.gather`: slices of the input at positions known at run time. How positions address the input is shared with `graph.scatter`.

use crate::{
    dialect::Gather,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{Builder, LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::{Scalar, Tensor},
    types::{TensorType, check_axes},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type, attribute::StringAttribute},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.gather",
    role: Role::DataMovement,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// Which element of the input belongs to an element of the gathered slices.
#[derive(Debug)]
pub struct Places {
    /// Axes of the input that positions address, in the order of the positions.
    axes: Vec<usize>,
    /// Axes of input and indices that are walked together.
    batch: Vec<(usize, usize)>,
    /// Axes of the input that are taken whole.
    kept: Vec<usize>,
    /// How many of those stand before the axes of the indices.
    position: usize,
    /// Axes of the indices without the last.
    outer: usize,
}

/// Where an axis of the input is addressed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// An axis of the slices.
    Axis(usize),
    /// An axis of the slices that may be shorter than the input's.
    Batch(usize),
    /// A position.
    Position(usize),
}

impl Places {
    pub fn new(
        input: &TensorType,
        indices: &TensorType,
        axes: &[i64],
        input_batch: &[i64],
        indices_batch: &[i64],
        position: i64,
    ) -> Result<Self, String> {
        let outer = indices.rank().checked_sub(1).ok_or("the indices are 0-d; their last axis holds the positions")?;
        if indices.dims[outer] != Dim::from(axes.len() as i64) {
            return Err(format!(
                "the last axis of the indices has extent {}; it holds one position for each of {axes:?}",
                indices.dims[outer]
            ));
        }
        if input_batch.len() != indices_batch.len() {
            return Err(format!("{} batch axes of the input meet {} of the indices", input_batch.len(), indices_batch.len()));
        }
        let named = check_axes(&[axes, input_batch].concat(), input.rank())?;
        let (axes, input_batch) = named.split_at(axes.len());
        let batch: Vec<_> = input_batch.iter().copied().zip(check_axes(indices_batch, outer)?).collect();
        for (of_input, of_indices) in &batch {
            let (extent, used) = (&input.dims[*of_input], &indices.dims[*of_indices]);
            if let (Some(extent), Some(used)) = (extent.as_static(), used.as_static())
                && used > extent
            {
                return Err(format!("batch axis {of_indices} of the indices has extent {used}, axis {of_input} of the input {extent}"));
            }
        }
        let kept: Vec<usize> = (0..input.rank()).filter(|axis| !named.contains(axis)).collect();
        let position = usize::try_from(position).ok().filter(|position| *position <= kept.len());
        let position = position.ok_or_else(|| format!("the axes of the indices stand after 0 to {} axes of the input", kept.len()))?;
        Ok(Self { axes: axes.to_vec(), batch, kept, position, outer })
    }

    /// Extents of the slices.
    pub fn dims(&self, input: &TensorType, indices: &TensorType) -> Vec<Dim> {
        let kept: Vec<Dim> = self.kept.iter().map(|axis| input.dims[*axis].clone()).collect();
        [&kept[..self.position], &indices.dims[..self.outer], &kept[self.position..]].concat()
    }

    /// Axes of the slices that walk the indices, without the last of those.
    pub fn walked(&self) -> std::ops::Range<usize> {
        self.position..self.position + self.outer
    }

    /// Index into the slices of what addresses the input's element at `own`, as far as positions have no part in it.
    pub fn of_element<V: Copy>(&self, own: &[V]) -> Vec<Option<V>> {
        let mut index = vec![None; self.kept.len() + self.outer];
        for (axis, own) in own.iter().enumerate() {
            if let Source::Axis(place) | Source::Batch(place) = self.source(axis) {
                index[place] = Some(*own);
            }
        }
        index
    }

    fn source(&self, axis: usize) -> Source {
        if let Some(position) = self.axes.iter().position(|a| *a == axis) {
            return Source::Position(position);
        }
        match self.batch.iter().find(|(of_input, _)| *of_input == axis) {
            Some((_, of_indices)) => Source::Batch(self.position + of_indices),
            None => {
                let place = self.kept.iter().position(|kept| *kept == axis).expect("an axis is addressed, walked or kept");
                Source::Axis(if place < self.position { place } else { place + self.outer })
            }
        }
    }

    /// Index into an input of `shape`, of the element at `index` of the slices; positions as they are given, counted from the front.
    pub fn eval(&self, indices: &Tensor, shape: &[usize], index: &[usize]) -> Vec<i64> {
        let place = |axis: usize| match self.source(axis) {
            Source::Axis(from) | Source::Batch(from) => index[from] as i64,
            Source::Position(k) => {
                let given = indices.at(&[&index[self.walked()], &[k]].concat()).i64();
                if given < 0 { given.saturating_add(shape[axis] as i64) } else { given }
            }
        };
        (0..shape.len()).map(place).collect()
    }

    /// The same as operations inside a kernel; with it, for each axis of the input, whether the place may lie outside.
    pub fn lower<'c>(
        &self,
        b: &Builder<'c>,
        input: &TensorType,
        extents: &[Val<'c>],
        (indices, of_indices): (Val<'c>, &TensorType),
        index: &[Val<'c>],
    ) -> Vec<(Val<'c>, bool)> {
        let place = |axis: usize| match self.source(axis) {
            Source::Axis(from) => (index[from], false),
            Source::Batch(from) => (index[from], input.dims[axis] != of_indices.dims[from - self.position]),
            Source::Position(k) => {
                let at = [&index[self.walked()], &[b.index(k as i64)]].concat();
                let given = b.value("arith.index_cast", &[b.extract(indices, &at)], b.index_type(), &[]);
                let from_end = b.same("arith.addi", &[given, extents[axis]]);
                (b.select(b.cmpi("slt", given, b.index(0)), from_end, given), true)
            }
        };
        (0..input.rank()).map(place).collect()
    }
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (input, indices) = (operand_type(cx, 0)?, operand_type(cx, 1)?);
    let list = |name: &str| attribute::<Vec<i64>>(cx, name);
    let places = Places::new(&input, &indices, &list("axes")?, &list("input_batch")?, &list("indices_batch")?, attribute(cx, "position")?)?;
    Ok(vec![TensorType::new(input.element, places.dims(&input, &indices)).to_type(cx.context)])
}

fn places(op: OperationRef) -> Result<Places, String> {
    let gather = Gather(op);
    let (input, indices) = (TensorType::of(gather.input())?, TensorType::of(gather.indices())?);
    Places::new(&input, &indices, &gather.axes(), &gather.input_batch(), &gather.indices_batch(), gather.position())
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (places, (result, shape)) = (places(op)?, cx.result_type(op, 0)?);
    let (input, indices) = (&inputs[0], &inputs[1]);
    let mut outside = None;
    let result = Tensor::from_index_fn(result.element, &shape, |index| {
        if input.count() == 0 {
            return Scalar::of(result.element, 0);
        }
        let at = places.eval(indices, &input.shape, index);
        outside = outside.take().or_else(|| outside_of(&at, &input.shape));
        let clamped: Vec<usize> = at.iter().zip(&input.shape).map(|(at, extent)| (*at).clamp(0, *extent as i64 - 1) as usize).collect();
        input.at(&clamped)
    });
    match outside.filter(|_| Gather(op).checked()) {
        Some(what) => Err(what),
        None => Ok(vec![result]),
    }
}

/// What is wrong with a place outside of `shape`.
pub fn outside_of(at: &[i64], shape: &[usize]) -> Option<String> {
    let axis = at.iter().zip(shape).position(|(at, extent)| !(0..*extent as i64).contains(at))?;
    Some(format!("index {} is outside axis {axis} of extent {}", at[axis], shape[axis]))
}

/// Ends the run with an error unless `at` is inside an axis of `extent` elements. Later code must not rely on it: the run goes on for a while.
pub fn check_inside<'c>(b: &Builder<'c>, at: Val<'c>, extent: Val<'c>) {
    // One unsigned comparison covers both ends.
    let inside = b.cmpi("ult", at, extent);
    let message = StringAttribute::new(b.context, "index out of range").into();
    b.op("cf.assert", &[inside], &[], &[("msg", message)]);
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let places = places(op)?;
    let ((tensor, input), (indices, of_indices)) = (cx.operand(op, 0)?, cx.operand(op, 1)?);
    let extents = input.dims.iter().map(|dim| cx.extent(dim)).collect::<Result<Vec<_>, _>>()?;
    let destination = cx.destination(op, 0)?;
    let rank = places.kept.len() + places.outer;
    let checked = Gather(op).checked() && cx.has_tensor_loops();
    let value =
        cx.map(&[], destination, input.element, |b, _| {
            let loops: Vec<Val> = (0..rank).map(|i| b.loop_index(i)).collect();
            let mut filled = None;
            let mut index = vec![];
            for (axis, (at, unsure)) in places.lower(b, &input, &extents, (indices, &of_indices), &loops).into_iter().enumerate() {
                if !unsure {
                    index.push(at);
                    continue;
                }
                if checked {
                    check_inside(b, at, extents[axis]);
                }
                let last = b.same("arith.subi", &[extents[axis], b.index(1)]);
                let inside = b.same("arith.minsi", &[at, last]);
                index.push(b.same("arith.maxsi", &[inside, b.index(0)]));
                // Nothing to move to on an axis without elements.
                if input.dims[axis].as_static().is_none_or(|extent| extent == 0) {
                    let some = b.cmpi("sgt", extents[axis], b.index(0));
                    filled = Some(filled.map_or(some, |all| b.same("arith.andi", &[all, some])));
                }
            }
            let read = |b: &Builder<'c>| b.load(input.element, b.extract(tensor, &index));
            match filled {
                None => read(b),
                Some(filled) => {
                    let scalar = input.element.to_scalar_type(b.context);
                    b.if_else(filled, scalar, read, |b| {
                        if input.element.is_float() { b.constant(scalar, 0.0) } else { b.constant_int(scalar, 0) }
                    })
                }
            }
        });
    Ok(vec![value])
}
