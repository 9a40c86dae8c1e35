//! Sizes of tensors as expressions over a kernel's index arguments: affine maps and index arithmetic in IR -> `Expr`, and light simplification.
//!
//! Assumes sizes are non-negative. Refuses sizes that depend on data.

use crate::gpu::builder::{Val, affine_map, val};
use melior::ir::{AffineExpr, AffineMap, ValueLike, attribute::IntegerAttribute, operation::OperationLike};
use winze_runtime::artifact::expr::{Expr, ExprOp};

pub fn add(lhs: &Expr, rhs: &Expr) -> Expr {
    match (lhs.as_constant(), rhs.as_constant()) {
        (Some(0), _) => rhs.clone(),
        (_, Some(0)) => lhs.clone(),
        _ => Expr::binary(ExprOp::Add, lhs, rhs),
    }
}

pub fn mul(lhs: &Expr, rhs: &Expr) -> Expr {
    match (lhs.as_constant(), rhs.as_constant()) {
        (Some(0), _) | (_, Some(0)) => Expr::constant(0),
        (Some(1), _) => rhs.clone(),
        (_, Some(1)) => lhs.clone(),
        _ => Expr::binary(ExprOp::Mul, lhs, rhs),
    }
}

pub fn product(sizes: &[Expr]) -> Expr {
    sizes.iter().fold(Expr::constant(1), |acc, size| mul(&acc, size))
}

/// `ceil(size / by)`.
pub fn ceil_div(size: &Expr, by: i64) -> Expr {
    if by == 1 { size.clone() } else { Expr::binary(ExprOp::CeilDiv, size, &Expr::constant(by)) }
}

/// The operation that computes `op` on index values. Sizes are non-negative, but differences inside them need not be.
pub fn arith_name(op: &ExprOp) -> &'static str {
    match op {
        ExprOp::Add => "arith.addi",
        ExprOp::Sub => "arith.subi",
        ExprOp::Mul => "arith.muli",
        ExprOp::FloorDiv => "arith.floordivsi",
        ExprOp::CeilDiv => "arith.ceildivsi",
        ExprOp::Mod => "arith.remsi",
        ExprOp::Min => "arith.minsi",
        ExprOp::Max => "arith.maxsi",
        ExprOp::Const(_) | ExprOp::Symbol(_) => "arith.constant",
    }
}

/// The value of an affine expression whose dims and symbols stand for the given sizes.
pub fn from_affine(expr: AffineExpr<'_>, dims: &[Expr], symbols: &[Expr]) -> Result<Expr, String> {
    let missing = || "affine map uses a dim or symbol that its operation does not give".to_string();
    if expr.is_constant() {
        return Ok(Expr::constant(expr.constant_value()));
    }
    if expr.is_dim() {
        return dims.get(expr.dim_position()).cloned().ok_or_else(missing);
    }
    if expr.is_symbol() {
        return symbols.get(expr.symbol_position()).cloned().ok_or_else(missing);
    }
    let (lhs, rhs) = (from_affine(expr.lhs(), dims, symbols)?, from_affine(expr.rhs(), dims, symbols)?);
    Ok(if expr.is_add() {
        add(&lhs, &rhs)
    } else if expr.is_mul() {
        mul(&lhs, &rhs)
    } else if expr.is_floor_div() {
        if rhs.as_constant() == Some(1) { lhs } else { Expr::binary(ExprOp::FloorDiv, &lhs, &rhs) }
    } else if expr.is_ceil_div() {
        if rhs.as_constant() == Some(1) { lhs } else { Expr::binary(ExprOp::CeilDiv, &lhs, &rhs) }
    } else {
        Expr::binary(ExprOp::Mod, &lhs, &rhs)
    })
}

/// The results of a `winze.dims` map as expressions over the kernel's index arguments.
pub fn from_dims_map(map: AffineMap<'_>) -> Result<Vec<Expr>, String> {
    let symbols: Vec<Expr> = (0..map.symbol_count()).map(|s| Expr::symbol(s as u32)).collect();
    (0..map.result_count()).map(|r| from_affine(map.result(r).map_err(|e| e.to_string())?, &[], &symbols)).collect()
}

/// The expression that an index value computes. `leaf` answers for values that this function does not look into: block arguments, and results of
/// operations other than index arithmetic (such as `tensor.dim`).
pub fn from_value<'c>(value: Val<'c>, leaf: &dyn Fn(Val<'c>) -> Option<Result<Expr, String>>) -> Result<Expr, String> {
    if let Some(answer) = leaf(value) {
        return answer;
    }
    let unknown = |what: &str| Err(format!("size depends on `{what}`, which is no index arithmetic over the kernel's index arguments"));
    if value.is_block_argument() {
        return unknown("block argument");
    }
    let Ok(result) = melior::ir::operation::OperationResult::try_from(value) else { return unknown("value") };
    let op = result.owner();
    let operand = |i: usize| op.operand(i).map_err(|e| e.to_string()).and_then(|v| from_value(val(v), leaf));
    let name = op.name();
    let name = name.as_string_ref().as_str().unwrap_or_default();
    let binary = |o: ExprOp| Ok(Expr::binary(o, &operand(0)?, &operand(1)?));
    match name {
        "arith.constant" => {
            let attribute = op.attribute("value").map_err(|e| e.to_string())?;
            IntegerAttribute::try_from(attribute).map(|a| Expr::constant(a.value())).map_err(|e| e.to_string())
        }
        "arith.index_cast" | "arith.index_castui" => operand(0),
        "arith.addi" => Ok(add(&operand(0)?, &operand(1)?)),
        "arith.muli" => Ok(mul(&operand(0)?, &operand(1)?)),
        "arith.subi" => binary(ExprOp::Sub),
        "arith.divsi" | "arith.divui" | "arith.floordivsi" => binary(ExprOp::FloorDiv),
        "arith.ceildivsi" | "arith.ceildivui" => binary(ExprOp::CeilDiv),
        "arith.remsi" | "arith.remui" => binary(ExprOp::Mod),
        "arith.maxsi" | "arith.maxui" => binary(ExprOp::Max),
        "arith.minsi" | "arith.minui" => binary(ExprOp::Min),
        "affine.apply" | "affine.min" | "affine.max" => {
            let map = affine_map(op.attribute("map").map_err(|e| e.to_string())?).ok_or("affine op without a map")?;
            let operands = (0..op.operand_count()).map(&operand).collect::<Result<Vec<_>, _>>()?;
            let (dims, symbols) = operands.split_at(map.dim_count());
            let mut results = (0..map.result_count())
                .map(|r| from_affine(map.result(r).map_err(|e| e.to_string())?, dims, symbols))
                .collect::<Result<Vec<_>, _>>()?;
            let first = results.remove(0);
            let fold = if name == "affine.min" { ExprOp::Min } else { ExprOp::Max };
            Ok(results.iter().fold(first, |acc, r| Expr::binary(fold, &acc, r)))
        }
        other => unknown(other),
    }
}
