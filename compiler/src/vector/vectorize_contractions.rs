//! Bufferized contraction -> loops around register tiles: the accumulators of `rows` x panel stay in vector registers over all reduction loops.
//!
//! Assumes a `linalg.generic` tagged `winze.contraction` with two inputs and one output, where the last loop of the output is the panel: it is the
//! last dimension of the second input (contiguous, static) and does not index the first. One more parallel loop indexes the first input and the
//! output but not the second: the rows. Any maps are allowed besides, so matrix products and convolutions of any layout are the same to it.
//! A `linalg.fill` of the whole output right before becomes the accumulators' start value.
//!
//! Remainders run at their exact size: `scf.index_switch` chooses among the sizes below `rows` when the extent is dynamic.

use super::{
    build::{Builder, V, lasting, lasting_block, lasting_op},
    generic::{Generic, vector_of, widen},
};
use melior::{
    dialect::DialectHandle,
    ir::{AffineExpr, AffineMap, OperationRef, operation::OperationLike},
};
use winze_mlir::{
    pass::{PassOption, RustPass},
    walk,
};

/// Attribute of the operations this pass rewrites.
pub const CONTRACTION: &str = "winze.contraction";

pub struct VectorizeContractions {
    rows: i64,
}

impl RustPass for VectorizeContractions {
    const ARGUMENT: &'static str = "vectorize-contractions";
    const DESCRIPTION: &'static str = "Turn bufferized contractions into loops around register tiles";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[PassOption { name: "rows", description: "rows of a register tile", default: "8" }];

    fn dialects() -> Vec<DialectHandle> {
        super::vector_loop_dialects()
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        match values[0].parse() {
            Ok(rows) if (1..=64).contains(&rows) => Ok(Self { rows }),
            _ => Err(format!("option 'rows': '{}' is not a number from 1 to 64", values[0])),
        }
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        walk::find(lasting_op(op), |op| op.has_attribute(CONTRACTION))
            .into_iter()
            .try_for_each(|op| Contraction::read(op, self.rows)?.rewrite())
    }
}

struct Contraction<'c> {
    generic: Generic<'c>,
    /// Loop over the panel's lanes.
    panel: usize,
    lanes: i64,
    /// Loop whose iterations become rows of a tile, and how many.
    row: usize,
    rows: i64,
    /// Value all accumulators start from, with the fill that says so.
    start: Option<(V<'c>, OperationRef<'c, 'c>)>,
}

impl<'c> Contraction<'c> {
    fn read(op: OperationRef<'c, 'c>, rows: i64) -> Result<Self, String> {
        let generic = Generic::read(op).map_err(|e| format!("vectorize-contractions: {e}"))?;
        let reject = |why: &str| Err(format!("vectorize-contractions: {why}; see docs/schedules.md for the form of a contraction"));
        if generic.inputs != 2 || generic.operands.len() != 3 {
            return reject("a contraction has two inputs and one output");
        }
        if (0..3).any(|operand| generic.memref(operand).is_none()) {
            return reject("an operand of the contraction is a scalar");
        }
        let last_dim = |operand: usize| {
            let map = generic.maps[operand];
            let last = map.result_count().checked_sub(1)?;
            map.result(last).ok().filter(AffineExpr::is_dim).map(|expr| expr.dim_position())
        };
        let Some(panel) = last_dim(2).filter(|panel| last_dim(1) == Some(*panel) && !generic.uses(0, *panel)) else {
            return reject("the last dimension of the output is not the panel of the second input");
        };
        let Some(lanes) = generic.static_extent(panel) else {
            return reject("the panel width is not static");
        };
        if ![1, 2].into_iter().all(|operand| generic.is_contiguous(operand)) {
            return reject("the panel is not contiguous");
        }
        let candidates = (0..generic.loops()).filter(|dim| {
            !generic.reduction[*dim] && *dim != panel && generic.uses(0, *dim) && generic.uses(2, *dim) && !generic.uses(1, *dim)
        });
        let long = candidates.clone().rfind(|dim| generic.static_extent(*dim) != Some(1));
        let Some(row) = long.or(candidates.clone().next_back()) else {
            return reject("no loop runs over rows of the first input and the output alone");
        };
        let rows = match generic.static_extent(row) {
            // Equal tiles instead of full ones and a small rest.
            Some(extent) => (extent.max(1) as u64).div_ceil((extent.max(1) as u64).div_ceil(rows as u64)) as i64,
            None => rows,
        };
        let start = start_value(&generic);
        Ok(Self { generic, panel, lanes, row, rows, start })
    }

    fn rewrite(&self) -> Result<(), String> {
        self.generic.replace_by_loops(
            |dim| self.generic.reduction[dim] || dim == self.panel || dim == self.row,
            self.start.map(|(_, fill)| fill),
            &mut |builder, counters| self.row_loop(builder, counters),
        )
    }

    /// Full tiles, then the rest at its exact size.
    fn row_loop(&self, builder: &Builder<'c>, counters: &mut Vec<V<'c>>) -> Result<(), String> {
        let (from, step) = (builder.index(0)?, builder.index(self.rows)?);
        let (full, rest) = match self.generic.static_extent(self.row) {
            Some(extent) => (builder.index(extent - extent % self.rows)?, Err(extent % self.rows)),
            None => {
                let extent = self.generic.extent(builder, self.row)?;
                let context = builder.context();
                let (symbol, rows) = (AffineExpr::symbol(context, 0), AffineExpr::constant(context, self.rows));
                let full = AffineExpr::floor_div(symbol, rows) * rows;
                let rest = AffineExpr::modulo(symbol, rows);
                let full = builder.apply(AffineMap::new(context, 0, 1, &[full]), &[extent])?;
                (full, Ok(builder.apply(AffineMap::new(context, 0, 1, &[rest]), &[extent])?))
            }
        };
        builder.for_loop(from, full, step, &[], |inner, counter, _| {
            counters[self.row] = counter;
            self.tile(inner, counters, self.rows)?;
            Ok(vec![])
        })?;
        counters[self.row] = full;
        match rest {
            Err(0) => Ok(()),
            Err(rest) => self.tile(builder, counters, rest),
            Ok(rest) => {
                let sizes: Vec<_> = (1..self.rows).collect();
                builder.switch(rest, &sizes, |inner, rows| self.tile(inner, counters, rows))
            }
        }
    }

    /// One register tile of `rows` rows from `counters[row]` on.
    fn tile(&self, builder: &Builder<'c>, counters: &[V<'c>], rows: i64) -> Result<(), String> {
        let output = self.generic.operands[2];
        let element = self.generic.element(2);
        let vector = vector_of(element, Some(self.lanes))?;
        let places: Vec<_> = (0..rows).map(|r| self.generic.indices(builder, 2, counters, self.row, r)).collect::<Result<_, _>>()?;
        let accumulators: Vec<_> = match self.start {
            Some((value, _)) => vec![widen(builder, value, Some(self.lanes))?; rows as usize],
            None => places
                .iter()
                .map(|place| builder.value("vector.load", &[&[output], &place[..]].concat(), vector, &[]))
                .collect::<Result<_, _>>()?,
        };
        let reductions: Vec<_> = (0..self.generic.loops()).filter(|dim| self.generic.reduction[*dim]).collect();
        let mut counters = counters.to_vec();
        let sums = self.reduction_loops(builder, &reductions, &mut counters, &accumulators)?;
        for (sum, place) in sums.into_iter().zip(&places) {
            builder.op("vector.store", &[&[sum, output], &place[..]].concat(), &[], &[])?;
        }
        Ok(())
    }

    fn reduction_loops(
        &self,
        builder: &Builder<'c>,
        dims: &[usize],
        counters: &mut Vec<V<'c>>,
        accumulators: &[V<'c>],
    ) -> Result<Vec<V<'c>>, String> {
        let Some((dim, rest)) = dims.split_first() else {
            return self.step(builder, counters, accumulators);
        };
        if self.generic.static_extent(*dim) == Some(1) {
            return self.reduction_loops(builder, rest, counters, accumulators);
        }
        let (from, to, step) = (builder.index(0)?, self.generic.extent(builder, *dim)?, builder.index(1)?);
        builder.for_loop(from, to, step, accumulators, |inner, counter, carried| {
            counters[*dim] = counter;
            self.reduction_loops(inner, rest, counters, carried)
        })
    }

    /// One step of the reduction for all rows: a panel of the second input times a broadcast element of the first per row.
    fn step(&self, builder: &Builder<'c>, counters: &[V<'c>], accumulators: &[V<'c>]) -> Result<Vec<V<'c>>, String> {
        let [lhs, rhs] = [self.generic.operands[0], self.generic.operands[1]];
        let panel_type = vector_of(self.generic.element(1), Some(self.lanes))?;
        let place = self.generic.indices(builder, 1, counters, self.row, 0)?;
        let panel = builder.value("vector.load", &[&[rhs], &place[..]].concat(), panel_type, &[])?;
        let mut next = Vec::new();
        for (r, accumulator) in accumulators.iter().enumerate() {
            let place = self.generic.indices(builder, 0, counters, self.row, r as i64)?;
            let element = builder.value("memref.load", &[&[lhs], &place[..]].concat(), self.generic.element(0), &[])?;
            let sums = self.generic.clone_body(builder, &[element, panel, *accumulator], Some(self.lanes))?;
            next.push(sums[0]);
        }
        Ok(next)
    }
}

/// The fill right before `generic` that sets its whole output, if there is one.
pub fn start_value<'c>(generic: &Generic<'c>) -> Option<(V<'c>, OperationRef<'c, 'c>)> {
    let mut fill = None;
    for op in walk::operations(lasting_block(generic.op.block()?)) {
        if op == generic.op {
            break;
        }
        let name = op.name();
        let name = name.as_string_ref().as_str().ok()?;
        if name == "linalg.fill" && lasting(op.operand(1).ok()?) == generic.operands[generic.inputs] {
            fill = Some((lasting(op.operand(0).ok()?), lasting_op(op)));
        } else if !(name.starts_with("arith.") || matches!(name, "affine.apply" | "affine.min" | "memref.subview")) {
            // Only what cannot touch memory may stand between.
            fill = None;
        }
    }
    fill
}
