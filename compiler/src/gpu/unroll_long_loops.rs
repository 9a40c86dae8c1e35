//! `unroll-long-loops`: functions in whose loops one invocation takes more turns than drivers allow -> the same with several steps a turn.
//!
//! Vulkan limits no loops, but Mesa's llvmpipe lets an invocation take 65,535 turns of all its loops together (`LP_MAX_TGSI_LOOP_ITERATIONS`, counting the one
//! in which a loop ends); after that every loop ends at its first turn, and results are wrong without an error. The bodies of the innermost loops that take most
//! turns are doubled until the turns fit. Steps keep their order, so results are the same. Loops of extents that only a run knows count as one turn and
//! stay as they are. Refuses functions that would grow beyond `MAX_OPERATIONS`.

use crate::gpu::builder::{Op, Val, blocks_of, defining_op, name_of, op_ref, operands, operations_in};
use melior::{
    dialect::DialectHandle,
    ir::{OperationRef, attribute::IntegerAttribute, operation::OperationLike},
};
use winze_mlir::{
    loops,
    pass::{PassOption, RustPass},
    walk,
};

/// Turns that one invocation may take in all its loops.
const MAX_TURNS: u64 = 65_535;
/// Operations that a function may have after unrolling: drivers compile more in minutes.
const MAX_OPERATIONS: usize = 20_000;

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
                return Ok(());
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

/// How often an `scf.for` runs, if its bounds are constants.
fn trip_count(op: Op<'_>) -> Option<u64> {
    let operands = operands(op);
    let [lower, upper, step] = [0, 1, 2].map(|i| operands.get(i).and_then(|v| constant(*v)));
    let (distance, step) = (upper?.checked_sub(lower?)?, step.filter(|s| *s > 0)?);
    Some(u64::try_from(distance).unwrap_or(0).div_ceil(step as u64))
}

fn constant(value: Val<'_>) -> Option<i64> {
    let (op, _) = defining_op(value)?;
    (name_of(op) == "arith.constant").then(|| IntegerAttribute::try_from(op.attribute("value").ok()?).ok().map(|a| a.value()))?
}
