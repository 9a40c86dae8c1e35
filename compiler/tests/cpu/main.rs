//! CPU kernels from the `linalg` stage to native code, run and compared with plain loops.

mod contractions;
mod elementwise;
mod errors;
mod payload;
mod reductions;
