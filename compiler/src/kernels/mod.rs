//! The `kernels` stage: graph of a model -> host function with `graph.kernel` regions, and one module per kernel.

pub mod form_kernels;
pub mod outline_kernels;
