//! The tensor-graph dialect: computations of a model before any target is known. One folder per op under `ops/`.
//!
//! [`register`] makes the dialect, its hooks and its passes known. [`op`] says what an op is to the compiler, [`eval`] what a graph means,
//! [`lower`] how a kernel of graph ops becomes linalg.

pub mod dialect;
pub mod dim;
pub mod eval;
pub mod infer;
pub mod lower;
pub mod op;
pub mod ops;
pub mod tensor;
pub mod testing;
pub mod types;

pub use op::register;
