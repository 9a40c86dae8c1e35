//! Generated: registration, typed wrappers, constructors and reference of the dialect.
#![allow(unused_imports, unused_variables, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/ops.rs"));
