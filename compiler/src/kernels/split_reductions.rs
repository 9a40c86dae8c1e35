//! `split-reductions` (Vulkan): reductions of several axes that may be long -> one after the other, the last axis first.
//!
//! A Vulkan kernel computes an element of a result in one invocation, so a plane that becomes one number is the work of one; row by row it is that of many, and
//! none takes more turns of its loops than drivers allow. Leaves short reductions alone, and those of f16 and bf16, which would round between the axes.

use super::insert::{insert, replace};
use melior::ir::{Operation, OperationRef, Value, operation::OperationLike};
use winze_graph::{
    dialect::Reduce,
    types::{ElementType, TensorType, check_axes},
};
use winze_mlir::{context::context_of, pass::RustPass, walk};

/// Elements that one invocation may fold.
const SHORT: u64 = 4096;

/// The pass.
pub struct SplitReductions;

impl RustPass for SplitReductions {
    const ARGUMENT: &'static str = "split-reductions";
    const DESCRIPTION: &'static str = "Reduce several axes that may be long one after the other";
    const ANCHOR: &'static str = "func.func";

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        walk::named(func, Reduce::NAME).into_iter().filter_map(Reduce::cast).try_for_each(split)
    }
}

fn split(reduce: Reduce) -> Result<(), String> {
    let op = reduce.op();
    let input = TensorType::of(reduce.input())?;
    let mut axes = check_axes(&reduce.axes(), input.rank())?;
    let elements = axes.iter().map(|axis| input.dims[*axis].as_static().and_then(|extent| u64::try_from(extent).ok()));
    let elements = elements.reduce(|product, extent| product?.checked_mul(extent?)).flatten();
    if axes.len() < 2 || elements.is_some_and(|elements| elements <= SHORT) || matches!(input.element, ElementType::F16 | ElementType::BF16)
    {
        return Ok(());
    }
    axes.sort_unstable();
    let first = axes.remove(0);
    let mut value = reduce.input();
    for axis in axes.into_iter().rev() {
        value = insert(op, over(reduce, value, axis)?);
    }
    replace(SplitReductions::ARGUMENT, op, over(reduce, value, first)?)
}

/// The same reduction of another value along one axis.
fn over<'c>(reduce: Reduce<'c, '_>, value: Value<'c, '_>, axis: usize) -> Result<Operation<'c>, String> {
    let op = reduce.op();
    Reduce::create(context_of(op), op.location(), value, reduce.kind().to_string(), vec![axis as i64])
}
