//! Graph ops of one kernel -> linalg on tensors in destination-passing form.
//!
//! [`pipeline`] is the whole stage: conversion, elementwise fusion inside the kernel, and placing results and temporaries into destinations.

mod builder;
mod context;
mod convert;
mod copy_slices;
mod panels;
mod place;

pub use builder::{Blk, Builder, Op, ScalarBuilder, Val, is_half, lasting, lasting_block, lasting_op};
pub use context::{LowerContext, Part};
pub use convert::{ConvertGraphToLinalg, DIMS, SYMBOLS};
pub use copy_slices::CopySlices;
pub use panels::{contract_panels, pack_panels};
pub use place::{PIECES, PlaceInDestinations, ROOT};

/// Passes from a kernel function of graph ops to the `linalg` stage. `bool_bits` is the storage width of bool: 8 on CPU, 32 on Vulkan.
pub fn pipeline(bool_bits: u32) -> String {
    format!(
        "builtin.module(func.func(convert-graph-to-linalg{{bool-storage=i{bool_bits}}}),canonicalize,cse,linalg-fuse-elementwise-ops,canonicalize,cse,\
         func.func(place-in-destinations),canonicalize,cse,func.func(copy-slices))"
    )
}
