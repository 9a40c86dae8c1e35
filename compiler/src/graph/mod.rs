//! The `graph` stage: the imported model, simplified; what every target shares.

pub(crate) mod chain;
mod constness;

pub mod quantize_products;

pub mod quantize_softmax;

pub mod narrow_products;

pub mod move_transposes;

pub mod fold_scales;

pub mod fold_constants;

pub mod prune_branches;

pub mod bind_state;

use crate::constants::ConstantStore;
use crate::{
    stage::Stage,
    steps::{Step, run_action, run_pipeline},
};
use fold_constants::fold_constants;
use melior::{Context, ir::Module};

/// Before constants are folded: passes may leave arithmetic on constants.
const PIPELINE: &str = "builtin.module(canonicalize,cse,canonicalize,func.func(quantize-products,quantize-softmax,narrow-products),canonicalize,func.func(move-transposes),canonicalize,func.func(fold-scales))";

/// After that.
const CLEANUP: &str = "builtin.module(canonicalize,func.func(prune-branches),canonicalize,cse,canonicalize,func.func(bind-state),canonicalize,func.func(move-transposes),canonicalize,symbol-dce)";

/// Simplifies an imported module.
pub fn simplify<'c>(context: &'c Context, module: &mut Module<'c>, store: &mut ConstantStore) -> Result<(), String> {
    let step = Step { stage: Stage::Graph, kernel: None };
    run_pipeline(context, module, step, PIPELINE)?;
    run_action(module, step, "fold-constants", |module| fold_constants(module, store))?;
    run_pipeline(context, module, step, CLEANUP)
}

/// Registers the passes of this stage.
pub fn register_passes() {
    winze_mlir::pass::register::<quantize_products::QuantizeProducts>();
    winze_mlir::pass::register::<quantize_softmax::QuantizeSoftmax>();
    winze_mlir::pass::register::<narrow_products::NarrowProducts>();
    winze_mlir::pass::register::<move_transposes::MoveTransposes>();
    winze_mlir::pass::register::<fold_scales::FoldScales>();
    winze_mlir::pass::register::<prune_branches::PruneBranches>();
    winze_mlir::pass::register::<bind_state::BindState>();
}
