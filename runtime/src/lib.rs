//! Loads Winze artifacts (`.wz`) and runs them on CPU or any Vulkan device. No MLIR, no LLVM, no graph.

pub mod artifact;

pub mod error;
pub mod memory;
pub mod npy;
pub mod program;
pub mod tensor;

pub mod backend;
pub mod cpu;
#[cfg(feature = "vulkan")]
pub mod vulkan;

pub mod device;
pub mod session;

#[cfg(feature = "capi")]
pub mod capi;

pub use {
    artifact::manifest::ElementType,
    device::{DeviceChoice, devices},
    error::Error,
    program::Program,
    session::{Session, SessionOptions},
    tensor::{Tensor, TensorView},
};
