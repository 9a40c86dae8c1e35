//! `graph.dot_general`: contraction of two tensors over pairs of axes, batched over others.

use crate::{
    dialect::DotGeneral,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{LowerContext, Op, Part, ScalarBuilder, Val, contract_panels, pack_panels},
    op::{OpDefinition, Role},
    ops::{convert::convert_scalar, fold::accumulate},
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType, check_axes},
};
use winze_mlir::{
    attributes,
    melior::ir::{Attribute, OperationRef, Type, attribute::TypeAttribute},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.dot_general",
    role: Role::Contraction,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// Attribute by which `pack-weights` asks for a lowering that packs the right side in panels of so many lanes while it runs.
pub const PANEL: &str = "graph.panel";

/// Axes of both operands by what becomes of them.
#[derive(Debug)]
pub struct Axes {
    pub batch: [Vec<usize>; 2],
    pub contract: [Vec<usize>; 2],
    pub free: [Vec<usize>; 2],
}

impl Axes {
    pub fn of(op: OperationRef) -> Result<Self, String> {
        let dot = DotGeneral(op);
        let ranks = [TensorType::of(dot.lhs())?.rank(), TensorType::of(dot.rhs())?.rank()];
        Self::new(ranks, [dot.lhs_batch(), dot.rhs_batch()], [dot.lhs_contract(), dot.rhs_contract()])
    }

    fn new(ranks: [usize; 2], batch: [Vec<i64>; 2], contract: [Vec<i64>; 2]) -> Result<Self, String> {
        for (name, [lhs, rhs]) in [("batch", &batch), ("contract", &contract)] {
            if lhs.len() != rhs.len() {
                return Err(format!("{} {name} axes of lhs meet {} of rhs; name them in pairs", lhs.len(), rhs.len()));
            }
        }
        let both = |side: usize| check_axes(&[&batch[side][..], &contract[side]].concat(), ranks[side]);
        let all = [both(0)?, both(1)?];
        let split = |side: usize| all[side].split_at(batch[side].len());
        let free = |side: usize| (0..ranks[side]).filter(|axis| !all[side].contains(axis)).collect();
        Ok(Self {
            batch: [split(0).0.to_vec(), split(1).0.to_vec()],
            contract: [split(0).1.to_vec(), split(1).1.to_vec()],
            free: [free(0), free(1)],
        })
    }

    /// Position in (batch, lhs free, rhs free, contract) of each axis of a side.
    fn positions(&self, side: usize) -> Vec<usize> {
        let (batch, free) = (self.batch[0].len(), [self.free[0].len(), self.free[1].len()]);
        let free_start = if side == 0 { batch } else { batch + free[0] };
        let mut positions = vec![0; batch + free[side] + self.contract[side].len()];
        self.batch[side].iter().enumerate().for_each(|(i, axis)| positions[*axis] = i);
        self.free[side].iter().enumerate().for_each(|(i, axis)| positions[*axis] = free_start + i);
        self.contract[side].iter().enumerate().for_each(|(i, axis)| positions[*axis] = batch + free[0] + free[1] + i);
        positions
    }
}

/// Element type of a contraction's result.
pub fn result_element(lhs: ElementType, rhs: ElementType, accumulate: Option<Attribute>) -> Result<ElementType, String> {
    let named = accumulate.map(|a| TypeAttribute::try_from(a).map_err(|e| e.to_string())).transpose()?;
    let named = named.map(|a| ElementType::from_type(a.value())).transpose()?;
    match named {
        None if lhs != rhs => Err(format!("operands are {lhs} and {rhs}; convert one, or name the type of the result with 'accumulate'")),
        None => Ok(lhs),
        Some(result)
            if lhs.is_float() != rhs.is_float() || result.is_float() != lhs.is_float() || result.bits() < lhs.bits().max(rhs.bits()) =>
        {
            Err(format!("{lhs} and {rhs} cannot accumulate in {result}; name a type of the same kind and at least their width"))
        }
        Some(result) => Ok(result),
    }
}

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (lhs, rhs) = (operand_type(cx, 0)?, operand_type(cx, 1)?);
    let pair = |name: &str| -> Result<[Vec<i64>; 2], String> {
        Ok([attribute(cx, &format!("lhs_{name}"))?, attribute(cx, &format!("rhs_{name}"))?])
    };
    let axes = Axes::new([lhs.rank(), rhs.rank()], pair("batch")?, pair("contract")?)?;
    for (a, b) in axes.batch[0].iter().zip(&axes.batch[1]).chain(axes.contract[0].iter().zip(&axes.contract[1])) {
        if lhs.dims[*a] != rhs.dims[*b] {
            return Err(format!("axis {a} of lhs has extent {}, axis {b} of rhs {}; paired axes are equal", lhs.dims[*a], rhs.dims[*b]));
        }
    }
    let dims: Vec<Dim> = (axes.batch[0].iter().chain(&axes.free[0]).map(|axis| &lhs.dims[*axis]))
        .chain(axes.free[1].iter().map(|axis| &rhs.dims[*axis]))
        .cloned()
        .collect();
    let element = result_element(lhs.element, rhs.element, cx.attribute("accumulate"))?;
    Ok(vec![TensorType::new(element, dims).to_type(cx.context)])
}

/// a * b + sum, exact for integers, unrounded for floats.
pub fn eval_multiply_add(sum: Scalar, a: Scalar, b: Scalar) -> Scalar {
    match sum {
        Scalar::Float(sum) => Scalar::Float(a.f64() * b.f64() + sum),
        Scalar::Signed(sum) => Scalar::Signed(a.i64().wrapping_mul(b.i64()).wrapping_add(sum)),
        other => Scalar::Unsigned(a.u64().wrapping_mul(b.u64()).wrapping_add(other.u64())),
    }
}

/// Adds a product to an accumulator in a kernel; operands are brought to the accumulator's element type.
pub fn lower_multiply_add<'c>(b: &ScalarBuilder<'c>, element: ElementType, sum: Val<'c>, factors: [(ElementType, Val<'c>); 2]) -> Val<'c> {
    let [x, y] = factors.map(|(from, value)| convert_scalar(b, from, element, false, b.widen(from, value)));
    if element.is_float() {
        return b.same("math.fma", &[x, y, sum]);
    }
    b.same("arith.addi", &[sum, b.same("arith.muli", &[x, y])])
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (result, shape) = cx.result_type(op, 0)?;
    let axes = Axes::of(op)?;
    let positions = [axes.positions(0), axes.positions(1)];
    let contracted: Vec<usize> = axes.contract[0].iter().map(|axis| inputs[0].shape[*axis]).collect();
    let steps: usize = contracted.iter().product();
    let mut loops = vec![0; shape.len() + contracted.len()];
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        loops[..shape.len()].copy_from_slice(index);
        let mut sum = Scalar::of(result.element, 0);
        for step in 0..steps {
            let mut rest = step;
            for (i, extent) in contracted.iter().enumerate().rev() {
                loops[shape.len() + i] = rest % extent;
                rest /= extent;
            }
            let at = |side: usize| {
                let index: Vec<usize> = positions[side].iter().map(|position| loops[*position]).collect();
                inputs[side].at(&index)
            };
            sum = eval_multiply_add(sum, at(0), at(1));
        }
        sum
    })])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (lhs, rhs) = (cx.operand(op, 0)?, cx.operand(op, 1)?);
    let axes = Axes::of(op)?;
    if let Some(panel) = attributes::get(op, PANEL) {
        return Ok(vec![lower_in_panels(cx, op, &axes, [lhs, rhs], panel)?]);
    }
    let parallel = axes.batch[0].len() + axes.free[0].len() + axes.free[1].len();
    let reduction: Vec<bool> = (0..parallel + axes.contract[0].len()).map(|position| position >= parallel).collect();
    let elements = [lhs.1.element, rhs.1.element];
    let value = accumulate(
        cx,
        op,
        |element| Scalar::of(element, 0),
        |cx, output| {
            let part = |side: usize, tensor| Part {
                tensor,
                element: elements[side],
                map: axes.positions(side).into_iter().map(|position| cx.loop_dim(position)).collect(),
            };
            let element = output.element;
            let body = |b: &ScalarBuilder<'c>, x: &[Val<'c>]| {
                vec![lower_multiply_add(b, element, x[2], [(elements[0], x[0]), (elements[1], x[1])])]
            };
            Ok(cx.generic(&[part(0, lhs.0), part(1, rhs.0)], &[output], &reduction, body)[0])
        },
    )?;
    Ok(vec![value])
}

/// Loops: batch, free axes of both sides of which the last counts panels, contracted axes, lane.
fn lower_in_panels<'c>(
    cx: &mut LowerContext<'c>,
    op: Op<'c>,
    axes: &Axes,
    [lhs, rhs]: [(Val<'c>, TensorType); 2],
    panel: i64,
) -> Result<Val<'c>, String> {
    let Some(packed) = axes.free[1].last().copied() else { return Err(format!("{PANEL} needs a free axis of the right side")) };
    let order = [&axes.batch[1][..], &axes.free[1], &axes.contract[1]].concat();
    let panels = pack_panels(cx, (rhs.0, &rhs.1), &order, packed, panel)?;
    let outer = axes.batch[0].len() + axes.free[0].len() + axes.free[1].len();
    let loops = outer + axes.contract[0].len() + 1;
    let at = |positions: Vec<usize>| positions.into_iter().map(|position| cx.loop_dim(position)).collect::<Vec<_>>();
    let right = order.iter().map(|axis| axes.positions(1)[*axis]).chain([loops - 1]).collect();
    let left = Part { tensor: lhs.0, element: lhs.1.element, map: at(axes.positions(0)) };
    let right = Part { tensor: panels, element: rhs.1.element, map: at(right) };
    let map = at((0..outer).chain([loops - 1]).collect());
    let mut dims = cx.result_type(op, 0)?.dims;
    dims[outer - 1] = dims[outer - 1].ceil_div(&Dim::from(panel));
    dims.push(Dim::from(panel));
    let reduction: Vec<bool> = (0..loops).map(|position| (outer..loops - 1).contains(&position)).collect();
    contract_panels(cx, op, [left, right], &dims, map, &reduction, outer - 1)
}
