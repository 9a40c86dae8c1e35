//! The `kernels` stage: graph of a model -> host function with `graph.kernel` regions, and one module per kernel.

pub mod form_kernels;
pub(crate) mod insert;
pub mod mark_host_scalars;
pub mod merge_axes;
pub mod outline_kernels;
pub mod pack_weights;
pub mod pad_inputs;
pub mod split_reductions;

mod row_groups;

/// Registers the passes of this stage.
pub fn register_passes() {
    winze_mlir::pass::register::<pad_inputs::PadInputs>();
    winze_mlir::pass::register::<pack_weights::PackWeights>();
    winze_mlir::pass::register::<split_reductions::SplitReductions>();
    winze_mlir::pass::register::<mark_host_scalars::MarkHostScalars>();
    winze_mlir::pass::register::<form_kernels::FormKernels>();
    winze_mlir::pass::register::<merge_axes::MergeAxes>();
}
