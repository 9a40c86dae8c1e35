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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    /// RUN lines of all `.mlir` files below `folder`.
    fn run_lines(folder: &Path, lines: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                run_lines(&path, lines);
            } else if path.extension().is_some_and(|extension| extension == "mlir") {
                let text = fs::read_to_string(&path).unwrap();
                lines.extend(text.lines().filter(|line| line.starts_with("// RUN:")).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_pass_has_a_lit_test() {
        register_passes();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut lines = vec![];
        ["lit-tests", "compiler/src", "dialects"].iter().for_each(|folder| run_lines(&root.join(folder), &mut lines));
        let named: BTreeSet<&str> = lines.iter().flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '-')).collect();
        let missing: Vec<&str> =
            winze_mlir::pass::registered().into_iter().map(|(name, _)| name).filter(|name| !named.contains(name)).collect();
        assert!(missing.is_empty(), "passes that no RUN line of an .mlir file names: {missing:?}");
    }
}
