//! What must hold between stages beside MLIR's own verifiers: no op has lost its location.

use super::CompileError;
use crate::stage::Stage;
use melior::ir::{Module, operation::OperationLike};
use winze_mlir::{locations, walk};

/// Fails if an op of `module` has an unknown location.
pub fn locations(module: &Module, stage: Stage) -> Result<(), CompileError> {
    walk::walk(module.as_operation(), &mut |op| {
        if locations::is_unknown(op.location()) {
            let name = op.name();
            let name = name.as_string_ref().as_str().unwrap_or("?");
            return Err(CompileError::internal(&format!("{stage}: '{name}' has lost its location")));
        }
        Ok(())
    })
}
