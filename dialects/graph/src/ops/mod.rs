//! The ops: one folder each. A new op is an `include` in graph.td, and a `mod` line and a line in [`all`] here.

pub mod elementwise;

pub mod constant;
pub mod convert;
pub mod dim;
pub mod iota;
pub mod size;
pub mod weight;

pub mod append;
pub mod broadcast;
pub mod concat;
pub mod dynamic_slice;
pub mod gather;
pub mod pad;
pub mod require;
pub mod reshape;
pub mod scatter;
pub mod slice;
pub mod top_k;
pub mod transpose;
pub mod tree_leaf;

pub mod conv;
pub mod dot_general;
pub mod packed_conv;
pub mod packed_dot;
pub mod reduce;
pub mod reduce_window;
pub mod softmax;

pub mod fold;
pub mod window;

pub mod call_extern;
pub mod cumulative;
pub mod fail;
pub mod r#if;
pub mod kernel;
pub mod r#while;
pub mod r#yield;

use crate::op::OpDefinition;

/// Definitions of all ops of the dialect.
pub fn all() -> Vec<OpDefinition> {
    let mut all = elementwise::table::ROWS.to_vec();
    all.extend([
        constant::DEFINITION,
        weight::DEFINITION,
        iota::DEFINITION,
        dim::DEFINITION,
        size::DEFINITION,
        convert::CONVERT,
        convert::BITCAST,
        broadcast::DEFINITION,
        reshape::DEFINITION,
        transpose::DEFINITION,
        require::DEFINITION,
        slice::SLICE,
        slice::SYMBOLIC,
        slice::REVERSE,
        dynamic_slice::SLICE,
        dynamic_slice::UPDATE,
        append::DEFINITION,
        concat::DEFINITION,
        gather::DEFINITION,
        scatter::DEFINITION,
        top_k::DEFINITION,
        tree_leaf::DEFINITION,
        pad::DEFINITION,
        packed_dot::DEFINITION,
        packed_conv::DEFINITION,
        dot_general::DEFINITION,
        conv::DEFINITION,
        reduce::DEFINITION,
        reduce_window::DEFINITION,
        softmax::DEFINITION,
        r#if::DEFINITION,
        r#while::DEFINITION,
        r#yield::DEFINITION,
        call_extern::DEFINITION,
        fail::DEFINITION,
        kernel::DEFINITION,
        cumulative::DEFINITION,
    ]);
    all
}
