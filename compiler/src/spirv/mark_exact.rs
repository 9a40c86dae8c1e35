//! `spirv-mark-exact`: floating-point arithmetic of a spirv.module -> the same, decorated NoContraction where drivers must not rearrange it.
//!
//! Without the decoration drivers fold `(x + c) - c`, on which rounding and error-free sums rest. A sum with a product that has no other use stays
//! free, so that devices can fuse it: contraction is always allowed.

use crate::gpu::builder::{Op, Val, context_of, defining_op, name_of, op_mut, op_ref, operands, operations_below, results};
use melior::{
    dialect::DialectHandle,
    ir::{Attribute, OperationRef, operation::OperationMutLike},
};
use winze_mlir::{pass::RustPass, walk};

pub struct MarkExact;

impl RustPass for MarkExact {
    const ARGUMENT: &'static str = "spirv-mark-exact";
    const DESCRIPTION: &'static str = "Forbid rearranging of floating-point arithmetic, but for multiply-add";
    const ANCHOR: &'static str = "spirv.module";

    fn dialects() -> Vec<DialectHandle> {
        vec![]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let context = context_of(op_ref(&op));
        for inner in operations_below(op_ref(&op)) {
            let exact = match name_of(inner).as_str() {
                "spirv.FAdd" | "spirv.FSub" => !operands(inner).into_iter().any(is_fusible_product),
                "spirv.FMul" => !results(inner).first().and_then(|r| only_user(*r)).is_some_and(is_sum),
                "spirv.FDiv" | "spirv.FNegate" | "spirv.FRem" => true,
                _ => false,
            };
            if exact {
                let mut inner = op_mut(inner);
                inner.set_attribute("no_contraction", Attribute::unit(context));
            }
        }
        Ok(())
    }
}

fn is_sum(op: Op<'_>) -> bool {
    matches!(name_of(op).as_str(), "spirv.FAdd" | "spirv.FSub")
}

fn is_fusible_product(value: Val<'_>) -> bool {
    defining_op(value).is_some_and(|(op, _)| name_of(op) == "spirv.FMul") && only_user(value).is_some()
}

/// The one user of a value, if there is exactly one.
fn only_user<'c>(value: Val<'c>) -> Option<Op<'c>> {
    match walk::users(value).collect::<Vec<_>>()[..] {
        [user] => Some(user),
        _ => None,
    }
}
