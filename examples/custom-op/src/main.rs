//! `custom-opt FILE.mlir ...`: all that `winze opt` does, and the op and the pass of this crate.

use std::process::exit;
use winze_mlir::{
    melior::{
        dialect::DialectRegistry,
        utility::{register_all_dialects, register_all_passes},
    },
    tools::opt_main,
};

fn main() {
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    register_all_passes();
    winze_graph::register(&registry);
    custom_op::register(&registry);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    exit(opt_main("custom-opt", &arguments, &registry));
}
