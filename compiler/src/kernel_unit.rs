//! A kernel on its way through code generation: an independent module at the `linalg` stage, compiled by any worker.

use crate::stage::Stage;

/// One kernel (ARCHITECTURE.md section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelUnit {
    /// Symbol of its one public function.
    pub name: String,
    /// Schedule class: `contraction`, `elementwise`, `reduction`, `pooling`, `softmax`, `copy`, ...
    pub class: String,
    /// MLIR text or bytecode of a builtin module with that function.
    pub module: Vec<u8>,
}

/// Sees a kernel at each stage: stage, kernel name, module as text. Called from worker threads, never for a stage that it does not want.
pub trait StageObserver: Sync {
    fn wants(&self, stage: Stage, kernel: &str) -> bool;
    fn observe(&self, stage: Stage, kernel: &str, text: &str);
}

/// Sees nothing.
pub struct NoObserver;

impl StageObserver for NoObserver {
    fn wants(&self, _: Stage, _: &str) -> bool {
        false
    }

    fn observe(&self, _: Stage, _: &str, _: &str) {}
}
