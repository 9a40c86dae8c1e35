//! The Winze compiler: a stage per module, in order.

// The importer's tests share their model builder with the integration tests.
#[cfg(test)]
extern crate self as winze_compiler;

pub mod stage;

pub mod context;

pub mod constants;

pub mod import;

pub mod graph;

pub mod kernel_unit;

pub mod kernels;

pub mod linalg;

pub mod schedule;

pub mod vector;

pub mod llvm;

pub mod gpu;

pub mod spirv;

pub mod launch;

mod parallel;

pub mod steps;

pub mod compile;

mod cache;

pub mod driver;
