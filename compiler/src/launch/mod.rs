//! Host function with `graph.kernel` ops -> the launch program of a variant.
//!
//! `convert-graph-to-launch` gives every tensor a buffer, `plan-arena` gives every buffer of the arena its offset, `encode` writes the
//! program as the runtime's data.

pub mod convert_graph_to_launch;
pub mod encode;
pub mod extents;
mod plan;
pub mod plan_arena;
mod registers;

/// Name of the attribute on `graph.kernel` with the kernel it became.
pub const KERNEL_ATTRIBUTE: &str = "winze.kernel";
/// Function symbols that the kernel takes as dim arguments, in order.
pub const SYMBOLS_ATTRIBUTE: &str = "winze.symbols";
/// Pairs of kernel arguments (input, output) that may be one buffer, flattened.
pub const IN_PLACE_ATTRIBUTE: &str = "winze.in_place";

/// On an op: the launch program computes it in registers, or as a copy. On a loop or branch: positions of the results that are registers.
pub const HOST_ATTRIBUTE: &str = "winze.host";

/// Registers the passes of this stage.
pub fn register_passes() {
    winze_mlir::pass::register::<convert_graph_to_launch::ConvertGraphToLaunch>();
    winze_mlir::pass::register::<plan_arena::PlanArena>();
}
