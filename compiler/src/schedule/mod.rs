//! Kernel at the `linalg` stage -> the same kernel cut into tiles by a transform script.
//!
//! `select` chooses script, tile sizes and layouts from data tables; `apply` runs the script; `verify` compares the grid with the announced one.

mod select;

mod apply;

mod cut_pieces;

mod resolve_argument_dims;

pub use apply::{apply_schedule, expr_of_map, grid_of, kernel};
pub use select::{LoopRole, OpClass, RootLoop, Shapes, panel_width, select_schedule};

use std::collections::BTreeMap;
use winze_mlir::pass::register;
use winze_runtime::artifact::expr::Expr;

/// After the script. The first canonicalization leads `tensor.dim` of a filled destination back to the argument.
pub const SCHEDULED_PIPELINE: &str = "builtin.module(canonicalize,func.func(resolve-argument-dims),canonicalize,cse)";

/// Puts the passes of this stage into MLIR's registry.
pub fn register_passes() {
    register::<cut_pieces::CutPieces>();
    register::<resolve_argument_dims::ResolveArgumentDims>();
}

/// How a kernel is computed on a CPU target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Name of the class in the table: `contraction`, `elementwise`, ...
    pub class: String,
    /// File stem of the script under `scripts/`; empty for a kernel that is one tile.
    pub script: String,
    /// Tile size per loop of the root; 0 leaves a loop whole.
    pub tile: Vec<i64>,
    /// `rows` of a register tile and whatever else script and pipeline name as `$parameter$`.
    pub params: BTreeMap<String, String>,
    /// Lanes of a panel of packed weights: constants are packed `[ceil(N / panel)][reduction dims][panel]`, padded with zeros.
    pub panel: Option<i64>,
    /// Number of tiles over the kernel's dims, announced to the planner and compared with the script's result. `None` is derived.
    pub grid: Option<Expr>,
}

const SCRIPTS: &[(&str, &str)] = &[
    ("tile", include_str!("scripts/tile.mlir")),
    ("contraction_blocked", include_str!("scripts/contraction_blocked.mlir")),
    ("pieces", include_str!("scripts/pieces.mlir")),
    ("pad", include_str!("scripts/pad.mlir")),
];

/// Text of a script with its parameters filled in.
pub fn script_text(schedule: &Schedule) -> Result<String, String> {
    let (_, text) = SCRIPTS.iter().find(|(name, _)| *name == schedule.script).ok_or_else(|| {
        let known: Vec<_> = SCRIPTS.iter().map(|(name, _)| *name).collect();
        format!("schedule: there is no script '{}'; choose one of: {}", schedule.script, known.join(", "))
    })?;
    let tile: Vec<_> = schedule.tile.iter().map(i64::to_string).collect();
    fill(&text.replace("$tile$", &tile.join(", ")), &schedule.params)
}

/// Replaces every `$name$` in `text`.
pub fn fill(text: &str, params: &BTreeMap<String, String>) -> Result<String, String> {
    let mut text = text.to_owned();
    for (name, value) in params {
        text = text.replace(&format!("${name}$"), value);
    }
    match text.split('$').nth(1) {
        Some(name) => Err(format!("schedule: parameter '{name}' has no value")),
        None => Ok(text),
    }
}
