//! MLIR contexts that know every dialect and pass of the compiler.

use crate::driver::Extension;
use std::sync::{Once, OnceLock};
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
        crate::graph::register_passes();
        crate::kernels::register_passes();
        crate::schedule::register_passes();
        crate::vector::register_passes();
        crate::gpu::register_passes();
        crate::spirv::register_passes();
        crate::launch::register_passes();
    });
}

static EXTENSIONS: OnceLock<Vec<Extension>> = OnceLock::new();

/// Adds dialects, ops and passes from outside to every context. Call once, before the first context is made.
pub fn extend(extensions: &[Extension]) {
    // A second call changes nothing: contexts with the first set may exist.
    let _ = EXTENSIONS.set(extensions.to_vec());
}

/// Every dialect: MLIR's, ours, and those of extensions.
pub fn registry() -> DialectRegistry {
    register_passes();
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    winze_graph::op::register(&registry);
    winze_launch::handle().insert_dialect(&registry);
    for extension in EXTENSIONS.get().into_iter().flatten() {
        extension(&registry);
    }
    registry
}

/// A context for one worker. Single-threaded: workers are the parallelism.
pub fn new_context() -> Context {
    let registry = registry();
    let context = Context::new_with_registry(&registry, false);
    context.load_all_available_dialects();
    context
}
