//! SPIR-V: what stands between `convert-gpu-to-spirv` and a binary that Vulkan accepts.

mod binary;
pub mod finish_interface;
pub mod mark_exact;

pub use binary::{binary, buffer_access, required_features};

/// Registers the passes of this stage.
pub fn register_passes() {
    winze_mlir::pass::register::<mark_exact::MarkExact>();
    winze_mlir::pass::register::<finish_interface::FinishInterface>();
}
