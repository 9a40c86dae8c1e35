//! Class, loops and target of a kernel -> its schedule, from the numbers in tables/cpu.toml. A pure function.

use super::Schedule;
use crate::llvm::CpuTarget;
use serde::Deserialize;
use std::{collections::BTreeMap, fmt, sync::LazyLock};
use winze_runtime::artifact::expr::{Expr, ExprOp};

static TABLE: LazyLock<BTreeMap<String, Entry>> =
    LazyLock::new(|| toml::from_str(include_str!("tables/cpu.toml")).expect("tables/cpu.toml is part of this crate and read by its tests"));

/// What a whole loop of unknown extent is taken for when the other loops are cut.
const UNKNOWN_EXTENT: i64 = 1024;

/// Rows of unknown length share their tile with others where it has room for at least this many elements, and are cut into parts no shorter.
const SHORT_ROW: i64 = 512;

/// What a kernel's root computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpClass {
    /// Matrix products and convolutions on packed constants: docs/schedules.md says how they are written.
    Contraction,
    Elementwise,
    Reduction,
    Pooling,
    /// Several passes over a row: softmax, layer norm, ...
    Normalization,
    /// Transpose, slice, concat, broadcast, gather.
    Copy,
    /// `tensor.pad` under a root that copies it.
    Pad,
    /// Pieces put into the result: concat, pad.
    Pieces,
    /// One tile: loops that carry values, results without dims.
    Sequential,
}

impl OpClass {
    pub const ALL: [Self; 9] = [
        Self::Contraction,
        Self::Elementwise,
        Self::Reduction,
        Self::Pooling,
        Self::Normalization,
        Self::Copy,
        Self::Pad,
        Self::Pieces,
        Self::Sequential,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Contraction => "contraction",
            Self::Elementwise => "elementwise",
            Self::Reduction => "reduction",
            Self::Pooling => "pooling",
            Self::Normalization => "normalization",
            Self::Copy => "copy",
            Self::Pad => "pad",
            Self::Pieces => "pieces",
            Self::Sequential => "sequential",
        }
    }
}

impl fmt::Display for OpClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One loop of the kernel's root, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootLoop {
    /// Over the kernel's dims.
    pub extent: Expr,
    pub role: LoopRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopRole {
    /// May be cut anywhere.
    Free,
    /// Runs inside every tile: a reduction of the root, or a dim that a producer reduces.
    Whole,
    /// Contractions: the dim whose weights are packed into panels.
    Panel,
}

/// What the choice depends on besides class and target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shapes {
    pub loops: Vec<RootLoop>,
    /// The loop along which elements are contiguous in what is read and written.
    pub run: Option<usize>,
    /// Bits of the widest element that the kernel computes with.
    pub element_bits: u32,
    /// Lanes of a contraction's panels where the kernel says so; the table's otherwise.
    pub panel: Option<i64>,
    /// A contraction that packs its right side in every tile.
    pub packs: bool,
    /// Extents of the reductions among a contraction's loops; 0 for other loops, and for extents that only a run knows.
    pub reductions: Vec<i64>,
}

#[derive(Deserialize)]
struct Entry {
    contraction: ContractionEntry,
    loops: LoopsEntry,
}

#[derive(Deserialize)]
struct ContractionEntry {
    panel_registers: i64,
    rows: i64,
    narrow_rows: i64,
    tile_rows: i64,
    packing_tile_rows: i64,
    panel_bytes: i64,
}

#[derive(Deserialize)]
struct LoopsEntry {
    rows: i64,
    tile_elements: i64,
    row_tile_elements: i64,
    run_elements: i64,
}

/// Chooses how a kernel is computed on `target`.
pub fn select_schedule(class: OpClass, shapes: &Shapes, target: &CpuTarget) -> Result<Schedule, String> {
    let entry = TABLE.get(&target.vector_bits.to_string()).ok_or_else(|| {
        format!("schedule: tables/cpu.toml has no entry for {}-bit vectors; target '{}' needs one", target.vector_bits, target.name)
    })?;
    let panels = shapes.loops.iter().filter(|l| l.role == LoopRole::Panel).count();
    if panels != usize::from(class == OpClass::Contraction) {
        return Err(format!("schedule: a {class} kernel has {panels} panel loops; only a contraction has one"));
    }
    let bytes = i64::from(shapes.element_bits.clamp(8, 64) / 8);
    let lanes = i64::from(target.vector_bits / 8) / bytes;
    let params = [("bits", target.vector_bits.to_string()), ("vnni", target.has_vnni().to_string()), ("rows", "1".to_owned())];
    let mut params = params.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>();
    let mut panel = None;
    let (budget, unit) = match class {
        OpClass::Contraction => {
            let width = shapes.loops.iter().find(|l| l.role == LoopRole::Panel).and_then(|l| l.extent.as_constant());
            let narrow = width.is_some_and(|width| width <= lanes);
            let rows = if narrow { entry.contraction.narrow_rows } else { entry.contraction.rows };
            panel = shapes.panel.or(Some(if narrow { lanes } else { lanes * entry.contraction.panel_registers }));
            params.insert("rows".to_owned(), rows.to_string());
            (if shapes.packs { entry.contraction.packing_tile_rows } else { entry.contraction.tile_rows }, rows)
        }
        OpClass::Normalization => (entry.loops.row_tile_elements, lanes),
        _ => (entry.loops.tile_elements, lanes),
    };
    // MLIR's tiling fails on a loop without iterations, and there is nothing to divide.
    let is_empty = shapes.loops.iter().any(|l| l.extent.as_constant() == Some(0));
    let tile = match class {
        OpClass::Sequential => vec![],
        _ if is_empty => vec![0; shapes.loops.len()],
        OpClass::Contraction => tile(&shapes.loops, panel, (budget, 1), unit, 1),
        _ => {
            let runs = shapes.run.is_some_and(|run| shapes.loops[run].role == LoopRole::Free);
            let least = if runs { entry.loops.run_elements } else { 1 };
            tile(&shapes.loops, panel, (budget, least), unit, entry.loops.rows)
        }
    };
    if class == OpClass::Pieces {
        let sizes: Vec<_> = tile.iter().map(i64::to_string).collect();
        params.insert("pieces".to_owned(), sizes.join("x"));
    }
    let blocks = panel.and_then(|panel| reduction_blocks(&shapes.reductions, panel * bytes, entry.contraction.panel_bytes));
    let script = match (class, blocks) {
        _ if tile.iter().all(|size| *size == 0) => "",
        (OpClass::Pad, _) => "pad",
        (OpClass::Pieces, _) => "pieces",
        (OpClass::Contraction, Some(blocks)) => {
            let sizes: Vec<_> = blocks.iter().map(i64::to_string).collect();
            params.insert("reduction".to_owned(), sizes.join(", "));
            "contraction_blocked"
        }
        _ => "tile",
    };
    let grid = shapes.loops.iter().zip(&tile).filter(|(_, size)| **size != 0).fold(Expr::constant(1), |grid, (root_loop, size)| {
        let count =
            if *size == 1 { root_loop.extent.clone() } else { Expr::binary(ExprOp::CeilDiv, &root_loop.extent, &Expr::constant(*size)) };
        if grid == Expr::constant(1) { count } else { Expr::binary(ExprOp::Mul, &grid, &count) }
    });
    Ok(Schedule { class: class.name().to_owned(), script: script.to_owned(), tile, params, panel, grid: Some(grid) })
}

/// Lanes of a weight panel for a contraction with `width` results of `element_bits` in the packed dim: how constants are packed.
pub fn panel_width(width: i64, element_bits: u32, target: &CpuTarget) -> Result<i64, String> {
    let shapes =
        Shapes { loops: vec![RootLoop { extent: Expr::constant(width), role: LoopRole::Panel }], element_bits, ..Shapes::default() };
    let schedule = select_schedule(OpClass::Contraction, &shapes, target)?;
    Ok(schedule.panel.expect("contractions have panels"))
}

/// Tile sizes that cut the longest of a contraction's reductions into equal blocks, so that a panel's part of a block, of `line` bytes for each step, has
/// at most `most` bytes; 0 leaves a loop whole. `None` where the whole panel is as small as that, and where the extent has no such divisor.
fn reduction_blocks(reductions: &[i64], line: i64, most: i64) -> Option<Vec<i64>> {
    let (longest, length) = reductions.iter().copied().enumerate().max_by_key(|(_, length)| *length).filter(|(_, length)| *length > 0)?;
    let steps: i64 = reductions.iter().filter(|length| **length > 0).product();
    let needed = (steps * line).cdiv(most);
    let count = (needed..=length.min(2 * needed)).find(|count| length % count == 0).filter(|count| *count > 1)?;
    Some((0..reductions.len()).map(|i| if i == longest { length / count } else { 0 }).collect())
}

/// Takes loops whole from the innermost outwards while they fit the budget, cuts the one that does not, and leaves 1 of those outside. As an innermost
/// loop of unknown extent may be short, it shares the budget with `rows` iterations of the loops outside of it. However much of the budget whole loops
/// use up, `least` iterations of the others are taken.
fn tile(loops: &[RootLoop], panel: Option<i64>, (budget, least): (i64, i64), unit: i64, rows: i64) -> Vec<i64> {
    let whole = loops.iter().filter(|l| l.role == LoopRole::Whole).map(|l| l.extent.as_constant().unwrap_or(UNKNOWN_EXTENT));
    let whole = whole.fold(1, i64::saturating_mul);
    let mut left = (budget / whole.max(1)).max(least);
    let outer =
        |inner: usize| loops[..loops.len() - 1 - inner].iter().any(|l| l.role == LoopRole::Free && l.extent.as_constant() != Some(1));
    let (mut cut, mut shared) = (false, false);
    let mut sizes: Vec<_> = loops
        .iter()
        .rev()
        .enumerate()
        .map(|(inner, root_loop)| match root_loop.role {
            LoopRole::Whole => 0,
            LoopRole::Panel => panel.expect("only contractions have panel loops"),
            LoopRole::Free if cut => 1,
            LoopRole::Free => match root_loop.extent.as_constant() {
                Some(extent) if extent <= left => {
                    left /= extent.max(1);
                    // A whole loop is no dim of the grid, unless it is alone.
                    0
                }
                None if !shared && rows > 1 && left >= SHORT_ROW && outer(inner) => {
                    shared = true;
                    let size = (left / rows).max(SHORT_ROW);
                    left = rows;
                    size
                }
                known => {
                    cut = true;
                    let size = match known {
                        // Equal tiles, in whole register tiles.
                        Some(extent) => extent.cdiv(extent.cdiv(left)).next_multiple(unit).min(left.next_multiple(unit)),
                        None => left,
                    };
                    if known == Some(size) { 0 } else { size.max(1) }
                }
            },
        })
        .collect();
    sizes.reverse();
    sizes
}

trait Divide {
    fn cdiv(self, rhs: i64) -> i64;
    fn next_multiple(self, unit: i64) -> i64;
}

impl Divide for i64 {
    fn cdiv(self, rhs: i64) -> i64 {
        (self + rhs - 1) / rhs
    }

    /// Numbers below a unit stay as they are.
    fn next_multiple(self, unit: i64) -> i64 {
        if self < unit { self } else { self.cdiv(unit) * unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(extent: Expr) -> RootLoop {
        RootLoop { extent, role: LoopRole::Free }
    }

    fn known(sizes: &[i64]) -> Vec<RootLoop> {
        sizes.iter().map(|size| free(Expr::constant(*size))).collect()
    }

    fn select(class: OpClass, loops: Vec<RootLoop>) -> Schedule {
        select_schedule(class, &Shapes { loops, element_bits: 32, ..Shapes::default() }, &CpuTarget::named("x86-64-v4").unwrap()).unwrap()
    }

    #[test]
    fn matrix_product_of_unknown_height() {
        let panel = RootLoop { extent: Expr::constant(1000), role: LoopRole::Panel };
        let schedule = select(OpClass::Contraction, vec![free(Expr::symbol(0)), panel]);
        assert_eq!((schedule.tile, schedule.panel), (vec![112, 32], Some(32)));
        assert_eq!(schedule.grid.unwrap().eval(&[200]), Ok(2 * 32));
    }

    #[test]
    fn convolution_cuts_rows_of_the_image() {
        let panel = RootLoop { extent: Expr::constant(64), role: LoopRole::Panel };
        let schedule = select(OpClass::Contraction, [known(&[1]), vec![panel], known(&[56, 56])].concat());
        assert_eq!(schedule.tile, [1, 32, 2, 0]);
        assert_eq!(schedule.grid, Some(Expr::constant(56)));
    }

    #[test]
    fn elementwise_takes_inner_loops_whole() {
        let schedule = select(OpClass::Elementwise, known(&[8, 64, 56, 56]));
        assert_eq!(schedule.tile, [1, 5, 0, 0]);
        assert_eq!(select(OpClass::Elementwise, known(&[10])).script, "");
        assert_eq!(select(OpClass::Copy, vec![free(Expr::symbol(0)), free(Expr::constant(0))]).script, "");
    }

    #[test]
    fn rows_that_are_reduced_stay_whole() {
        let row = RootLoop { extent: Expr::constant(1000), role: LoopRole::Whole };
        let schedule = select(OpClass::Normalization, vec![free(Expr::symbol(0)), row]);
        assert_eq!(schedule.tile, [4, 0]);
    }

    #[test]
    fn rows_of_unknown_length_share_a_tile() {
        let [n, h, w] = [0, 1, 2].map(|i| free(Expr::symbol(i)));
        let image = vec![n.clone(), free(Expr::constant(64)), h, w.clone()];
        assert_eq!(select(OpClass::Elementwise, image).tile, [1, 1, 8, 2048]);
        assert_eq!(select(OpClass::Elementwise, vec![n, w]).tile, [8, 2048]);
        assert_eq!(select(OpClass::Elementwise, vec![free(Expr::symbol(0))]).tile, [16384]);
        // What a softmax keeps of its rows has no room for more of them.
        let row = RootLoop { extent: Expr::symbol(2), role: LoopRole::Whole };
        let heads = free(Expr::constant(12));
        assert_eq!(select(OpClass::Normalization, vec![heads, free(Expr::symbol(1)), row]).tile, [1, 4, 0]);
    }

    #[test]
    fn runs_beside_whole_loops_stay_long() {
        let whole = RootLoop { extent: Expr::constant(1024), role: LoopRole::Whole };
        let tile_of = |class, loops, run| {
            let shapes = Shapes { loops, run, element_bits: 32, ..Shapes::default() };
            select_schedule(class, &shapes, &CpuTarget::named("x86-64-v4").unwrap()).unwrap().tile
        };
        assert_eq!(tile_of(OpClass::Reduction, [vec![whole.clone()], known(&[1000])].concat(), Some(1)), [0, 128]);
        assert_eq!(tile_of(OpClass::Reduction, [known(&[1000]), vec![whole.clone()]].concat(), None), [16, 0]);
        assert_eq!(tile_of(OpClass::Normalization, [known(&[1]), vec![whole], known(&[56, 56])].concat(), Some(3)), [1, 0, 2, 0]);
    }

    #[test]
    fn long_reductions_are_cut_into_equal_blocks() {
        let panel = RootLoop { extent: Expr::constant(1024), role: LoopRole::Panel };
        let select = |reductions: &[i64]| {
            let loops = vec![free(Expr::symbol(0)), panel.clone()];
            let shapes = Shapes { loops, element_bits: 32, reductions: reductions.to_vec(), ..Shapes::default() };
            let schedule = select_schedule(OpClass::Contraction, &shapes, &CpuTarget::named("x86-64-v4").unwrap()).unwrap();
            (schedule.script, schedule.params.get("reduction").cloned())
        };
        let blocked = |sizes: &str| ("contraction_blocked".to_owned(), Some(sizes.to_owned()));
        assert_eq!(select(&[0, 0, 8192, 0]), blocked("0, 0, 2048, 0"));
        assert_eq!(select(&[0, 0, 1024, 3, 3, 0]), blocked("0, 0, 128, 0, 0, 0"));
        // Short enough; unknown; a prime.
        for whole in [[0, 0, 1024, 0], [0; 4], [0, 0, 8191, 0]] {
            assert_eq!(select(&whole), ("tile".to_owned(), None));
        }
    }

    #[test]
    fn every_target_has_a_table() {
        for name in CpuTarget::names() {
            assert!(panel_width(64, 32, &CpuTarget::named(&name).unwrap()).unwrap() >= 8);
        }
    }
}
