//! `graph.yield`: values of a region. Also what the region ops share: how yielded types are checked.

use crate::{
    eval::EvalContext,
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role, op_name},
    tensor::Tensor,
};
use winze_mlir::{
    melior::ir::{BlockLike, OperationRef, RegionLike, Type, ValueLike, operation::OperationLike},
    op_hooks::{OpHooks, Verify},
};

pub const DEFINITION: OpDefinition = control("graph.yield", None);

/// An op that holds or ends regions: evaluation enters its regions itself, kernels do not contain it.
pub const fn control(name: &'static str, verify: Option<Verify>) -> OpDefinition {
    OpDefinition {
        name,
        role: Role::Control,
        hooks: OpHooks { verify, infer: None, canonicalize: None },
        eval: refuse_eval,
        lower: refuse_lower,
        scalar: None,
    }
}

fn refuse_eval(_: &EvalContext, op: OperationRef, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
    Err(format!("{} is evaluated with the function around it", op_name(op)))
}

fn refuse_lower<'c>(_: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    Err(format!("{} cannot stand in a kernel; control flow between kernels is launched by the host", op_name(op)))
}

/// Types of an op's results.
pub fn result_types<'c>(op: OperationRef<'c, '_>) -> Vec<Type<'c>> {
    op.results().map(|result| result.r#type()).collect()
}

/// Checks the argument types of a region and the types that it yields.
pub fn check_region<'c>(
    op: OperationRef<'c, '_>,
    index: usize,
    name: &str,
    arguments: &[Type<'c>],
    yields: &[Type<'c>],
) -> Result<(), String> {
    let block = op.region(index).ok().and_then(|region| region.first_block()).ok_or_else(|| format!("region '{name}' is empty"))?;
    let found: Vec<Type> = (0..block.argument_count()).map(|i| block.argument(i).expect("in range").r#type()).collect();
    if found != arguments {
        return Err(format!("region '{name}' takes ({}), expected ({})", list(&found), list(arguments)));
    }
    let end = block.terminator().ok_or_else(|| format!("region '{name}' has no terminator"))?;
    let found: Vec<Type> = end.operands().map(|operand| operand.r#type()).collect();
    if found != yields {
        return Err(format!("region '{name}' yields ({}), expected ({})", list(&found), list(yields)));
    }
    Ok(())
}

fn list(types: &[Type]) -> String {
    types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ")
}
