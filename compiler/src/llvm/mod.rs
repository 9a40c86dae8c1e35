//! LLVM dialect -> LLVM IR -> object files -> the CPU image of a variant.

mod codegen;
mod compile;
mod image;
mod target;

pub use codegen::LlvmModule;
pub use compile::{CpuKernel, CpuUnit, LLVM_PIPELINE, compile_kernels, kernel_context, lower_cpu};
pub use image::{CpuImage, find_tool, link_image};
pub use target::CpuTarget;
