//! What must hold between stages beside MLIR's own verifiers: no op has lost its location. Constants may: the folder makes equal ones of
//! several nodes one op that belongs to none.

use super::CompileError;
use crate::stage::Stage;
use melior::ir::{Module, operation::OperationLike};
use winze_mlir::{locations, walk};

/// Fails if an op of `module` has an unknown location.
pub fn locations(module: &Module, stage: Stage) -> Result<(), CompileError> {
    walk::walk(module.as_operation(), &mut |op| {
        let name = op.name();
        let name = name.as_string_ref().as_str().unwrap_or("?");
        if locations::is_unknown(op.location()) && !name.ends_with(".constant") {
            return Err(CompileError::internal(&format!("{stage}: '{name}' has lost its location")));
        }
        Ok(())
    })
}
