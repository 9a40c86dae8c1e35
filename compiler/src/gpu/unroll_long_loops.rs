//! `unroll-long-loops`: functions in whose loops one invocation takes more turns than drivers allow -> the same with several steps a turn.
//!
//! Vulkan limits no loops, but Mesa's llvmpipe lets an invocation take 65,535 turns of all its loops together (`LP_MAX_TGSI_LOOP_ITERATIONS`, counting the one
//! in which a loop ends); after that every loop ends at its first turn, and results are wrong without an error. The bodies of the innermost loops that take most
//! turns are doubled until the turns fit. Loops of extents that only a run knows, and loops in such loops, take several steps a turn as long as they stay
//! short; `turns` says how many turns are left, and the runtime refuses those that a driver would not finish. Steps keep their order, so results are the
//! same. Refuses functions that would grow beyond `MAX_OPERATIONS`.

use crate::gpu::{
    builder::{Op, Val, block_arguments, blocks_of, defining_op, name_of, op_ref, operands, operations_in},
    sizes,
};
use melior::{
    dialect::DialectHandle,
    ir::{Module, OperationRef, operation::OperationLike},
};
use winze_mlir::{
    loops,
    pass::{PassOption, RustPass},
    walk,
};
use winze_runtime::artifact::expr::{Expr, ExprOp};

/// Turns that one invocation may take in all its loops.
const MAX_TURNS: u64 = 65_535;
/// Operations that a function may have after unrolling: drivers compile more in minutes.
const MAX_OPERATIONS: usize = 20_000;
/// Steps that a turn of a loop of unknown extent may take,
const MAX_STEPS: u64 = 16;
/// and operations that a loop may have for that.
const MAX_LOOP_OPERATIONS: u64 = 512;

pub struct UnrollLongLoops;

impl RustPass for UnrollLongLoops {
    const ARGUMENT: &'static str = "unroll-long-loops";
    const DESCRIPTION: &'static str = "Unroll loops in which one invocation takes more turns than Vulkan drivers allow";
    const ANCHOR: &'static str = "";
    const OPTIONS: &'static [PassOption] = &[];

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::scf(), DialectHandle::arith()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let function = op_ref(&op);
        loop {
            let mut heaviest = None;
            let turns = turns_in(function, 1, &mut heaviest);
            if turns <= MAX_TURNS {
                break;
            }
            let refuse = |why: &str| {
                format!(
                    "unroll-long-loops: one invocation takes {turns} turns of its loops at {}, and some drivers end loops after {MAX_TURNS}; {why}; \
                     split the reduction, or compile for the CPU",
                    op.location()
                )
            };
            if walk::find(op, |_| true).len() > MAX_OPERATIONS {
                return Err(refuse("unrolling them would make the kernel too long"));
            }
            let Some((_, innermost, trips)) = heaviest else { return Err(refuse("none of them can be unrolled")) };
            if !loops::unroll(innermost, trips.min(2)) {
                return Err(refuse("MLIR cannot unroll them"));
            }
        }
        unroll_unknown(function);
        Ok(())
    }
}

/// Gives loops of unknown extents more steps a turn, those inside them first.
fn unroll_unknown(function: Op<'_>) {
    let innermost = |within: Op<'_>| {
        let is_innermost = |r#loop: &Op<'_>| walk::named(*r#loop, "scf.for").is_empty();
        walk::named(within, "scf.for").into_iter().map(|r#loop| op_ref(&r#loop)).filter(is_innermost).collect::<Vec<_>>()
    };
    let room = |r#loop: Op<'_>| {
        let steps = MAX_LOOP_OPERATIONS / walk::find(r#loop, |_| true).len() as u64;
        if steps == 0 { 1 } else { 1 << steps.ilog2() }
    };
    let is_unknown = |r#loop: &Op<'_>| trip_count(*r#loop).is_none();
    for outer in walk::named(function, "scf.for").into_iter().map(|r#loop| op_ref(&r#loop)).filter(is_unknown).collect::<Vec<_>>() {
        for inner in innermost(outer) {
            // One that is unrolled is not found again: what is left of it has `room` for a single step.
            if let Some(trips) = trip_count(inner).filter(|trips| *trips > 0) {
                loops::unroll(inner, trips.min(room(inner)));
            }
        }
    }
    for r#loop in innermost(function).into_iter().filter(is_unknown) {
        loops::unroll(r#loop, room(r#loop).min(MAX_STEPS));
    }
}

/// Turns of all loops in `op`, which runs `times`; `heaviest` becomes the innermost loop that takes most of them, as turns, loop and turns each time.
fn turns_in<'c>(op: Op<'c>, times: u64, heaviest: &mut Option<(u64, Op<'c>, u64)>) -> u64 {
    let mut turns = 0u64;
    for inner in blocks_of(op).into_iter().flat_map(operations_in) {
        let trips = if name_of(inner) == "scf.for" { trip_count(inner) } else { None };
        let Some(trips) = trips.filter(|t| *t > 0) else {
            turns = turns.saturating_add(turns_in(inner, times, heaviest));
            continue;
        };
        let total = times.saturating_mul(trips);
        let nested = turns_in(inner, total, heaviest);
        if walk::named(inner, "scf.for").is_empty() && heaviest.is_none_or(|(most, ..)| total > most) {
            *heaviest = Some((total, inner, trips));
        }
        turns = turns.saturating_add(total.saturating_add(times)).saturating_add(nested);
    }
    turns
}

/// The most turns that one invocation of the kernel in a module at the `gpu` stage takes in all its loops, over its dims.
///
/// # Errors
/// If a loop's bounds are no arithmetic over dims.
pub fn turns(module: &Module<'_>, dims: u32) -> Result<Expr, String> {
    let functions = walk::named(module.as_operation(), "gpu.func");
    let [function] = functions[..] else { return Err("a kernel's module has one gpu.func".into()) };
    let function = op_ref(&function);
    // Dims stand in push constants, the argument behind the buffers.
    let push_constants = blocks_of(function).first().filter(|_| dims > 0).and_then(|entry| block_arguments(*entry).pop());
    most_turns(function, push_constants)
}

fn most_turns<'c>(op: Op<'c>, push_constants: Option<Val<'c>>) -> Result<Expr, String> {
    let mut turns = Expr::constant(0);
    for inner in blocks_of(op).into_iter().flat_map(operations_in) {
        let nested = most_turns(inner, push_constants)?;
        turns = if name_of(inner) == "scf.for" {
            let [lower, upper, step] = [0, 1, 2].map(|i| largest(operands(inner)[i], push_constants));
            let unknown = |why: String| format!("a loop at {}: {why}", inner.location());
            let distance = Expr::binary(ExprOp::Sub, &upper.map_err(unknown)?, &lower.map_err(unknown)?);
            let step = step.map_err(unknown)?.as_constant().ok_or_else(|| unknown("its step is no constant".into()))?;
            let trips = Expr::binary(ExprOp::Max, &sizes::ceil_div(&distance, step), &Expr::constant(0));
            let one = Expr::constant(1);
            sizes::add(&turns, &sizes::add(&sizes::mul(&trips, &sizes::add(&nested, &one)), &one))
        } else {
            sizes::add(&turns, &nested)
        };
    }
    Ok(turns)
}

/// The value of index arithmetic over dims, or what it is at most where comparisons decide.
fn largest<'c>(value: Val<'c>, push_constants: Option<Val<'c>>) -> Result<Expr, String> {
    sizes::from_value(value, &|value| {
        let (op, _) = defining_op(value)?;
        let operands = operands(op);
        match name_of(op).as_str() {
            "memref.load" if Some(operands[0]) == push_constants => Some(Ok(Expr::symbol(constant(operands[1])? as u32))),
            "arith.select" => {
                let [on_true, on_false] = [1, 2].map(|i| largest(operands[i], push_constants));
                Some(on_true.and_then(|on_true| on_false.map(|on_false| Expr::binary(ExprOp::Max, &on_true, &on_false))))
            }
            _ => None,
        }
    })
}

/// How often an `scf.for` runs, if its bounds are constants.
pub(super) fn trip_count(op: Op<'_>) -> Option<u64> {
    let operands = operands(op);
    let [lower, upper, step] = [0, 1, 2].map(|i| operands.get(i).and_then(|v| constant(*v)));
    let (distance, step) = (upper?.checked_sub(lower?)?, step.filter(|s| *s > 0)?);
    Some(u64::try_from(distance).unwrap_or(0).div_ceil(step as u64))
}

fn constant(value: Val<'_>) -> Option<i64> {
    sizes::from_value(value, &|_| None).ok()?.as_constant()
}
