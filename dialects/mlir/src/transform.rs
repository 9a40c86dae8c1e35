//! Applying transform-dialect schedules.

use crate::diagnostics::{self, Diagnostic};
use melior::{
    Context,
    ir::{Module, OperationRef, attribute::StringAttribute, operation::OperationLike},
};
use mlir_sys::{
    mlirTransformApplyNamedSequence, mlirTransformOptionsCreate, mlirTransformOptionsDestroy, mlirTransformOptionsEnableExpensiveChecks,
};

/// Why a schedule was not applied.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    #[error("schedule has no sequence @{0}")]
    NoSequence(String),
    #[error("schedule @{sequence} failed{}", .diagnostics.iter().map(|d| format!(": {d}")).collect::<String>())]
    Failed { sequence: String, diagnostics: Vec<Diagnostic> },
}

/// Applies sequence `@name` of `schedule` to `payload`. Stale handles are errors.
pub fn apply_named_sequence<'c>(
    context: &'c Context,
    payload: OperationRef<'c, '_>,
    schedule: &Module<'c>,
    name: &str,
) -> Result<(), TransformError> {
    let sequence = crate::walk::operations(schedule.body())
        .find(|op| {
            let symbol = op.attribute("sym_name").ok().and_then(|a| StringAttribute::try_from(a).ok());
            symbol.is_some_and(|symbol| symbol.value() == name)
        })
        .ok_or_else(|| TransformError::NoSequence(name.into()))?;
    let (applied, diagnostics) = diagnostics::collect(context, || {
        // SAFETY: payload, sequence and module are live; options are destroyed after use.
        unsafe {
            let options = mlirTransformOptionsCreate();
            mlirTransformOptionsEnableExpensiveChecks(options, true);
            let result = mlirTransformApplyNamedSequence(payload.to_raw(), sequence.to_raw(), schedule.as_operation().to_raw(), options);
            mlirTransformOptionsDestroy(options);
            result.value != 0
        }
    });
    if applied { Ok(()) } else { Err(TransformError::Failed { sequence: name.into(), diagnostics }) }
}
