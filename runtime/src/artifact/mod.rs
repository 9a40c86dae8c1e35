//! The `.wz` file: container, manifest, launch programs.

pub mod expr;
pub mod manifest;
pub mod program;

pub mod container;
pub mod reader;
pub mod verify;
pub mod writer;
