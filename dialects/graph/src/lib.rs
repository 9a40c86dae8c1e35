//! The tensor-graph dialect: computations of a model before any target is known. One folder per op under `ops/`.

pub mod dialect;
pub mod dim;
pub mod types;
