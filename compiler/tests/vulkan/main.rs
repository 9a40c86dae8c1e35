//! Kernels at the `linalg` stage, compiled for each Vulkan profile and run on a device: numbers against plain loops.
//! Without a Vulkan device, without its validation layer or without spirv-val the tests say so on stderr.

mod harness;

mod arithmetic;
mod contraction;
mod data_movement;
mod graph_ops;
mod reduction;
mod refusals;
