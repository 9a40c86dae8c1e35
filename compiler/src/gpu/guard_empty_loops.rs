//! `guard-empty-loops`: loops that may take no turn -> the same, with results that are what they start from then.
//!
//! `convert-gpu-to-spirv` keeps what a loop carries in a variable that only its turns write, so that the results of a loop without turns are undefined. Assumes
//! loops that count up.

use crate::gpu::{
    builder::{Before, Op, context_of, has_uses, integer, op_ref, operands, operations_below, results},
    unroll_long_loops::trip_count,
};
use melior::{
    dialect::DialectHandle,
    ir::{OperationRef, ValueLike, attribute::IntegerAttribute, operation::OperationLike},
};
use winze_mlir::{pass::RustPass, walk};

/// `slt` of `arith.cmpi`.
const SIGNED_LESS: i64 = 2;

pub struct GuardEmptyLoops;

impl RustPass for GuardEmptyLoops {
    const ARGUMENT: &'static str = "guard-empty-loops";
    const DESCRIPTION: &'static str = "Select what a loop starts from where it takes no turn, which conversion to SPIR-V leaves undefined";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let is_loop = |op: &Op<'_>| op.name().as_string_ref().as_str() == Ok("scf.for");
        operations_below(op_ref(&op))
            .into_iter()
            .filter(is_loop)
            .filter(|r#loop| trip_count(*r#loop).is_none_or(|trips| trips == 0))
            .try_for_each(guard)
    }
}

fn guard(r#loop: Op<'_>) -> Result<(), String> {
    let carried = results(r#loop).into_iter().zip(operands(r#loop).into_iter().skip(3)).filter(|(result, _)| has_uses(*result));
    let carried: Vec<_> = carried.collect();
    let Some(next) = r#loop.next_in_block().filter(|_| !carried.is_empty()) else { return Ok(()) };
    let context = context_of(r#loop);
    let before = Before { location: r#loop.location(), ..Before::new(context, op_ref(&next)) };
    let bounds = &operands(r#loop)[..2];
    let signed_less = IntegerAttribute::new(integer(context, 64), SIGNED_LESS).into();
    let runs = before.one("arith.cmpi", bounds, integer(context, 1), &[("predicate", signed_less)])?;
    for (result, start) in carried {
        // Its own use of the result comes back afterwards.
        let select = before.insert("arith.select", &[runs, start, start], &[result.r#type()], &[])?;
        walk::replace_all_uses(result, results(select)[0]);
        walk::set_operand(select, 1, result);
    }
    Ok(())
}
