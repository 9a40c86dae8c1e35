//! LLVM dialect -> LLVM IR -> object files -> the CPU image of a variant.

mod codegen;
mod image;
mod target;

pub use codegen::LlvmModule;
pub use image::{CpuImage, link_image};
pub use target::CpuTarget;
