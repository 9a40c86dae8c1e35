//! MLIR contexts that know every dialect and pass of the compiler.

use std::sync::Once;
use winze_mlir::melior::{
    Context,
    dialect::DialectRegistry,
    utility::{register_all_dialects, register_all_passes},
};

/// Puts MLIR's passes and ours into the global registry, once per process.
pub fn register_passes() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        register_all_passes();
        crate::schedule::register_passes();
        crate::vector::register_passes();
        crate::gpu::register_passes();
        crate::spirv::register_passes();
    });
}

/// A context for one worker. Single-threaded: workers are the parallelism.
pub fn new_context() -> Context {
    register_passes();
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    let context = Context::new_with_registry(&registry, false);
    context.load_all_available_dialects();
    context
}
