//! Matrix products: MatMul of any ranks, Gemm.

use super::{OpResult, Row, recurrent, row};
use crate::import::{
    error::Failure,
    node::{NodeContext, common_dims, made_by},
    value::Tensor,
};
use winze_graph::{
    dialect::{Add, DotGeneral, Mul},
    dim::Dim,
};

pub const OPS: &[Row] = &[row("MatMul", matmul), row("Gemm", gemm)];

pub const CONTRIB_OPS: &[Row] =
    &[row("FusedMatMul", fused_matmul), row("TransposeMatMul", fused_matmul), row("FusedGemm", |cx| recurrent::then_activation(cx, gemm))];

fn fused_matmul<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    if cx.int_or("transBatchA", 0)? != 0 || cx.int_or("transBatchB", 0)? != 0 {
        return Ok(Failure::unsupported("an operand whose batch axis stands behind its rows")?);
    }
    let mut operand = |i: usize, transposed: &str| -> Result<Tensor<'c, 'a>, Failure> {
        let x = cx.input(i)?;
        let rank = x.rank() as i64;
        if cx.int_or(transposed, 0)? == 0 || rank < 2 {
            return Ok(x);
        }
        cx.transpose(&x, (0..rank - 2).chain([rank - 1, rank - 2]).collect())
    };
    let (a, b) = (operand(0, "transA")?, operand(1, "transB")?);
    let y = product(cx, &a, &b)?;
    match cx.float_or("alpha", 1.0)? {
        1.0 => Ok(vec![y]),
        alpha => Ok(vec![cx.binary_scalar(Mul::create, &y, alpha)?]),
    }
}

fn dot<'c, 'a>(
    cx: &mut NodeContext<'_, '_, 'c, 'a>,
    lhs: &Tensor<'c, 'a>,
    rhs: &Tensor<'c, 'a>,
    batch: usize,
    contract: (usize, usize),
) -> Result<Tensor<'c, 'a>, Failure> {
    if lhs.element() != rhs.element() {
        return Failure::invalid(format!("its operands have different element types {} and {}", lhs.element(), rhs.element()));
    }
    let (k, other) = (&lhs.dims()[contract.0], &rhs.dims()[contract.1]);
    let common = if other.complexity() < k.complexity() { other } else { k };
    let what = format!("the extents of {} and {} that it contracts to be equal", made_by(lhs), made_by(rhs));
    let with = |x: &Tensor, axis: usize| [&x.dims()[..axis], std::slice::from_ref(common), &x.dims()[axis + 1..]].concat();
    let (lhs, rhs) = (cx.with_dims(lhs, with(lhs, contract.0), &what)?, cx.with_dims(rhs, with(rhs, contract.1), &what)?);
    let (a, b) = (cx.value(&lhs)?, cx.value(&rhs)?);
    let batch: Vec<i64> = (0..batch as i64).collect();
    let (left, right) = (vec![contract.0 as i64], vec![contract.1 as i64]);
    cx.infer(|c, l| DotGeneral::create(c, l, a, b, batch.clone(), batch, left, right, None))
}

fn matmul<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![product(cx, &a, &b)?])
}

/// The matrix product of operands of any ranks.
pub fn product<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>, a: &Tensor<'c, 'a>, b: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
    let (ra, rb) = (a.rank(), b.rank());
    if ra == 0 || rb == 0 {
        return Failure::invalid("an operand of rank 0");
    }
    // Vectors and a single right matrix need no batch: the free axes come out in order.
    if rb <= 2 {
        return dot(cx, a, b, 0, (ra - 1, 0));
    }
    let (batch_b, matrix_b) = b.dims().split_at(rb - 2);
    let batch_a = &a.dims()[..ra.saturating_sub(2)];
    let batch = common_dims(batch_a, batch_b)?;
    let full = |matrix: &[Dim]| -> Vec<Dim> { batch.iter().chain(matrix).cloned().collect() };
    let b = cx.broadcast_to(b, &full(matrix_b))?;
    let a = if ra == 1 {
        // The vector is repeated along the batch.
        let axes = [batch.len()];
        cx.broadcast_along(a, &axes, &full(a.dims()))?
    } else {
        cx.broadcast_to(a, &full(&a.dims()[ra - 2..]))?
    };
    dot(cx, &a, &b, batch.len(), (a.rank() - 1, batch.len()))
}

fn gemm<'c, 'a>(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> OpResult<'c, 'a> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    if a.rank() != 2 || b.rank() != 2 {
        return Ok(Failure::invalid(format!("operands of rank {} and {}", a.rank(), b.rank()))?);
    }
    if cx.version < 7 {
        cx.ignore(&["broadcast"]);
    }
    let (trans_a, trans_b) = (cx.int_or("transA", 0)? != 0, cx.int_or("transB", 0)? != 0);
    let mut y = dot(cx, &a, &b, 0, (usize::from(!trans_a), usize::from(trans_b)))?;
    let (alpha, beta) = (cx.float_or("alpha", 1.0)?, cx.float_or("beta", 1.0)?);
    if alpha != 1.0 {
        y = cx.binary_scalar(Mul::create, &y, alpha)?;
    }
    if let Some(mut c) = cx.optional(2) {
        let joined = common_dims(c.dims(), y.dims())?;
        if joined.len() != y.rank() || y.dims().iter().zip(&joined).any(|(y, joined)| y.as_static() == Some(1) && *joined != *y) {
            return Ok(Failure::invalid("C does not broadcast to the product")?);
        }
        if beta != 1.0 {
            c = cx.binary_scalar(Mul::create, &c, beta)?;
        }
        y = cx.binary(Add::create, &y, &c)?;
    }
    Ok(vec![y])
}
