//! Loads Winze artifacts (`.wz`) and runs them on CPU or any Vulkan device. No MLIR, no LLVM, no graph.

pub mod artifact;
