//! An op and a pass of one's own: a dialect built from `custom.td`, the definition of its op, a pass. [`register`] makes Winze know all three.

pub mod dialect;
pub mod recognize_square;
pub mod square;

use std::sync::Once;
use winze_mlir::melior::dialect::DialectRegistry;

/// Puts the dialect into `registry`, the op and the pass into the process.
pub fn register(registry: &DialectRegistry) {
    static ONCE: Once = Once::new();
    dialect::handle().insert_dialect(registry);
    ONCE.call_once(|| {
        winze_graph::op::register_op(&square::DEFINITION);
        winze_mlir::pass::register::<recognize_square::RecognizeSquare>();
    });
}
