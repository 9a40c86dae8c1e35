//! The `.wz` file: container, manifest, launch programs.

pub mod expr;
pub mod manifest;
pub mod program;
