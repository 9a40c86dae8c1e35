//! The host-program dialect: what the runtime does, in order, on planned buffers. Arithmetic and control flow are upstream `arith` and `scf`.
#![allow(unused_imports, unused_variables, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/ops.rs"));
