//! The `graph` stage: the imported model, simplified; what every target shares.

/// Upstream's simplifications suffice so far; passes of our own are added here, a line each.
pub const PIPELINE: &str = "builtin.module(canonicalize,cse,canonicalize,symbol-dce)";

/// Registers the passes of this stage.
pub fn register_passes() {}
