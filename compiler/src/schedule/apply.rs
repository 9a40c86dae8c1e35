//! Runs a schedule's script on a kernel and reads the grid that it made.

use super::{Schedule, script_text};
use crate::vector::{
    build::{V, lasting, lasting_op},
    lower_grid::{entry_block, find_grid},
};
use melior::{
    Context,
    ir::{
        AffineExpr, AffineMap, AttributeLike, BlockLike, Module, OperationRef, TypeLike, ValueLike,
        attribute::IntegerAttribute,
        operation::{OperationLike, OperationResult},
    },
};
use winze_mlir::{attributes, transform::apply_named_sequence, walk};
use winze_runtime::artifact::expr::{Expr, ExprOp};

/// Applies the script of `schedule` to the kernel in `module`.
pub fn apply_schedule<'c>(context: &'c Context, module: &Module<'c>, schedule: &Schedule) -> Result<(), String> {
    if schedule.script.is_empty() {
        return Ok(());
    }
    let text = script_text(schedule)?;
    let script = Module::parse(context, &text)
        .ok_or_else(|| format!("schedule: script '{}' does not parse with its parameters", schedule.script))?;
    apply_named_sequence(context, module.as_operation(), &script, "schedule").map_err(|e| format!("schedule: {}: {e}", schedule.script))
}

/// Number of tiles of the one kernel in `module`, over its `index` arguments.
pub fn grid_of(module: &Module<'_>) -> Result<Expr, String> {
    let func = kernel(module)?;
    let Some(grid) = find_grid(func).map_err(|e| format!("schedule: {e}"))? else {
        return Ok(Expr::constant(1));
    };
    let mut dynamic = grid.operands().map(lasting);
    let mut bounds = |name: &str| -> Result<Vec<Expr>, String> {
        let list = attributes::get::<Vec<i64>>(grid, name).ok_or_else(|| format!("schedule: scf.forall without '{name}'"))?;
        list.into_iter()
            .map(|value| match value {
                i64::MIN => expr_of(func, dynamic.next().ok_or("schedule: scf.forall lacks a bound")?),
                value => Ok(Expr::constant(value)),
            })
            .collect()
    };
    let (low, high, step) = (bounds("staticLowerBound")?, bounds("staticUpperBound")?, bounds("staticStep")?);
    let mut tiles = Expr::constant(1);
    for ((low, high), step) in low.iter().zip(&high).zip(&step) {
        let extent = if *low == Expr::constant(0) { high.clone() } else { Expr::binary(ExprOp::Sub, high, low) };
        let count = if *step == Expr::constant(1) { extent } else { Expr::binary(ExprOp::CeilDiv, &extent, step) };
        tiles = if tiles == Expr::constant(1) { count } else { Expr::binary(ExprOp::Mul, &tiles, &count) };
    }
    Ok(tiles)
}

/// The public function of a kernel module.
pub fn kernel<'c>(module: &Module<'c>) -> Result<OperationRef<'c, 'c>, String> {
    let body = entry_block(lasting_op(module.as_operation()))?;
    let mut functions = walk::operations(body).filter(|op| op.name().as_string_ref().as_str() == Ok("func.func")).map(lasting_op);
    match (functions.next(), functions.next()) {
        (Some(func), None) => Ok(func),
        (None, _) => Err("schedule: the kernel module holds no function".to_owned()),
        _ => Err("schedule: the kernel module holds several functions; make one module per kernel".to_owned()),
    }
}

/// `value` over the `index` arguments of `func`.
fn expr_of<'c>(func: OperationRef<'c, 'c>, value: V<'c>) -> Result<Expr, String> {
    let block = entry_block(func)?;
    let mut symbol = 0;
    for i in 0..block.argument_count() {
        let argument = block.argument(i).map_err(|e| e.to_string())?;
        if lasting(argument.into()) == value {
            return Ok(Expr::symbol(symbol));
        }
        symbol += u32::from(argument.r#type().is_index());
    }
    let unknown = || format!("schedule: a bound of the grid is not an expression over the kernel's dims: {value}");
    let op = OperationResult::try_from(value).map_err(|_| unknown())?.owner();
    let name = op.name();
    let operands = || op.operands().map(|operand| expr_of(func, lasting(operand))).collect::<Result<Vec<_>, _>>();
    match name.as_string_ref().as_str().unwrap_or_default() {
        "arith.constant" => {
            let value = op.attribute("value").ok().and_then(|a| IntegerAttribute::try_from(a).ok()).ok_or_else(unknown)?;
            Ok(Expr::constant(value.value()))
        }
        "affine.apply" => {
            let attribute = op.attribute("map").map_err(|_| unknown())?;
            // SAFETY: affine.apply has an affine map.
            let map = unsafe { AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(attribute.to_raw())) };
            affine_expr(map.result(0).map_err(|_| unknown())?, &operands()?, map.dim_count()).ok_or_else(unknown)
        }
        _ => Err(unknown()),
    }
}

/// An affine map of one result over the kernel's dims.
pub fn expr_of_map(map: AffineMap<'_>) -> Option<Expr> {
    let symbols: Vec<_> = (0..map.symbol_count() as u32).map(Expr::symbol).collect();
    affine_expr(map.result(0).ok()?, &symbols, 0)
}

fn affine_expr(expr: AffineExpr<'_>, operands: &[Expr], dims: usize) -> Option<Expr> {
    if expr.is_constant() {
        return Some(Expr::constant(expr.constant_value()));
    }
    if expr.is_dim() {
        return operands.get(expr.dim_position()).cloned();
    }
    if expr.is_symbol() {
        return operands.get(dims + expr.symbol_position()).cloned();
    }
    let op = match () {
        () if expr.is_add() => ExprOp::Add,
        () if expr.is_mul() => ExprOp::Mul,
        () if expr.is_mod() => ExprOp::Mod,
        () if expr.is_floor_div() => ExprOp::FloorDiv,
        () if expr.is_ceil_div() => ExprOp::CeilDiv,
        () => return None,
    };
    Some(Expr::binary(op, &affine_expr(expr.lhs(), operands, dims)?, &affine_expr(expr.rhs(), operands, dims)?))
}
