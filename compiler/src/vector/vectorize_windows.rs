//! Bufferized `linalg.generic` over sliding windows (pooling, depthwise and grouped convolution) -> loops around register tiles.
//!
//! The vector loop is the last dim of the output; inputs are the same along it, or walk it with a step of one or two. A tile is a few rows of one or two
//! vectors, whose accumulators stay in registers over all taps; taps are unrolled and go by rows of the input, each of which is loaded once. With step
//! two every second lane of two overlapping vectors is taken, which reads nothing beyond the last tap. What is left of a row runs under a mask. Of an
//! unknown number of rows the last tile reaches back into the one before, and where rows of unknown length fit one vector, tiles have more rows.
//! Leaves alone: windows along the vector loop that are wider apart, narrow elements where the target masks only wide ones, rows shorter than four.

use super::{
    build::{Builder, V},
    generic::{Generic, REGISTER_BITS, parse_register_bits, vector_of, widen},
    vectorize_contractions::start_value,
};
use melior::{
    dialect::DialectHandle,
    ir::{AffineExpr, AffineMap, BlockLike, OperationRef, Type, ValueLike, attribute::DenseI64ArrayAttribute},
};
use std::collections::HashMap;
use winze_mlir::{
    attributes::bit_width,
    pass::{PassOption, RustPass},
    walk,
};

/// Accumulators of a register tile.
const ACCUMULATORS: i64 = 8;

/// Vectors of a tile along the vector loop.
const VECTORS: i64 = 2;

/// Most taps that are unrolled: all of a 5x5 window.
const UNROLLED_TAPS: i64 = 25;

/// Rows shorter than this are left to other passes.
const SHORTEST_ROW: i64 = 4;

pub struct VectorizeWindows {
    bits: i64,
}

impl RustPass for VectorizeWindows {
    const ARGUMENT: &'static str = "vectorize-windows";
    const DESCRIPTION: &'static str = "Turn bufferized windows (pooling, depthwise convolution) into loops around register tiles";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[REGISTER_BITS];

    fn dialects() -> Vec<DialectHandle> {
        super::vector_loop_dialects()
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { bits: parse_register_bits(values[0])? })
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        super::rewrite_each::<Self>(func, "linalg.generic", |op| match Windows::find(&Generic::read(op)?, self.bits) {
            Some(windows) => windows.rewrite(),
            None => Ok(()),
        })
    }
}

struct Windows<'a, 'c> {
    generic: &'a Generic<'c>,
    lane_loop: usize,
    /// Loop whose iterations become rows of a tile.
    row: Option<usize>,
    /// Per input: elements from lane to lane; 0 for the same element in all.
    steps: Vec<i64>,
    lanes: i64,
    /// Value all accumulators start from, with the fill that says so.
    start: Option<(V<'c>, OperationRef<'c, 'c>)>,
}

/// A vector of a tile: its row, and how many lanes stand before it in that row.
struct Part<'c> {
    row: i64,
    ahead: i64,
    lanes: Lanes<'c>,
}

/// Lanes of a vector that count: the first few, or all.
#[derive(Clone, Copy)]
enum Lanes<'c> {
    All,
    First(i64),
    Value(V<'c>),
}

impl<'a, 'c> Windows<'a, 'c> {
    fn find(generic: &'a Generic<'c>, bits: i64) -> Option<Self> {
        let output = generic.inputs;
        let reductions: Vec<usize> = (0..generic.loops()).filter(|dim| generic.reduction[*dim]).collect();
        let known = reductions.iter().all(|dim| generic.static_extent(*dim).is_some());
        if generic.operands.len() != output + 1 || reductions.is_empty() || !known || !generic.body_is_elementwise() {
            return None;
        }
        let last = |operand: usize| {
            let map = generic.maps[operand];
            map.result(map.result_count().checked_sub(1)?).ok()
        };
        let lane_loop = last(output).filter(AffineExpr::is_dim)?.dim_position();
        if generic.reduction[lane_loop]
            || !generic.is_contiguous(output)
            || generic.static_extent(lane_loop).is_some_and(|n| n < SHORTEST_ROW)
        {
            return None;
        }
        let slides = |operand: usize| {
            let map = generic.maps[operand];
            (0..map.result_count()).any(|i| map.result(i).is_ok_and(|e| !e.is_dim() && !e.is_constant()))
        };
        if !(0..generic.inputs).any(slides) {
            return None;
        }
        let mut steps = vec![];
        for operand in 0..generic.inputs {
            if !generic.uses(operand, lane_loop) {
                steps.push(0);
                continue;
            }
            let map = generic.maps[operand];
            let users = (0..map.result_count()).filter(|i| map.result(*i).is_ok_and(|e| e.is_function_of_dim(lane_loop))).count();
            let step = step_of(last(operand)?, lane_loop)?;
            let even = reductions.iter().all(|dim| last(operand).is_some_and(|e| step_of(e, *dim).is_some()));
            if users != 1 || !(1..=2).contains(&step) || !even || !generic.is_contiguous(operand) {
                return None;
            }
            steps.push(step);
        }
        let widths = (0..generic.operands.len()).map(|i| bit_width(generic.element(i))).collect::<Option<Vec<_>>>()?;
        let (widest, narrowest) = (*widths.iter().max()?, *widths.iter().min()?);
        if widest < 8 || (narrowest < 32 && bits < 512) {
            return None;
        }
        let mut rows = (0..generic.loops()).filter(|dim| {
            !generic.reduction[*dim] && *dim != lane_loop && generic.uses(output, *dim) && generic.static_extent(*dim) != Some(1)
        });
        let start = start_value(generic);
        Some(Self { generic, lane_loop, row: rows.next_back(), steps, lanes: bits / i64::from(widest), start })
    }

    fn rewrite(&self) -> Result<(), String> {
        self.generic.replace_by_loops(
            |dim| self.generic.reduction[dim] || dim == self.lane_loop || Some(dim) == self.row,
            self.start.map(|(_, fill)| fill),
            &mut |builder, counters| self.rows(builder, counters),
        )
    }

    /// Full tiles of rows; then a rest of known size in one tile.
    fn rows(&self, builder: &Builder<'c>, counters: &mut Vec<V<'c>>) -> Result<(), String> {
        let Some(row) = self.row else { return self.lanes(builder, counters, 1, VECTORS) };
        if let Some(extent) = self.generic.static_extent(self.lane_loop) {
            return self.tiles_of_rows(builder, counters, row, (extent as u64).div_ceil(self.lanes as u64).clamp(1, VECTORS as u64) as i64);
        }
        // A row of unknown length may fit one vector: then a tile has more rows.
        let length = self.generic.extent(builder, self.lane_loop)?;
        let is_short = builder.compare("sle", length, builder.index(self.lanes)?)?;
        builder
            .branch(is_short, |inner, is_short| self.tiles_of_rows(inner, &mut counters.clone(), row, if is_short { 1 } else { VECTORS }))
    }

    /// The rows in tiles of up to `vectors` vectors along a row.
    fn tiles_of_rows(&self, builder: &Builder<'c>, counters: &mut [V<'c>], row: usize, vectors: i64) -> Result<(), String> {
        let most = ACCUMULATORS / vectors;
        let from = builder.index(0)?;
        match self.generic.static_extent(row) {
            Some(extent) => {
                let tiles = (extent.max(1) as u64).div_ceil(most as u64);
                let rows = (extent.max(1) as u64).div_ceil(tiles) as i64;
                let full = extent / rows * rows;
                let (to, step) = (builder.index(full)?, builder.index(rows)?);
                if full == rows {
                    counters[row] = from;
                    self.lanes(builder, counters, rows, vectors)?;
                } else {
                    self.row_loop(builder, counters, row, (from, to, step), rows, vectors)?;
                }
                counters[row] = to;
                if extent > full { self.lanes(builder, counters, extent - full, vectors) } else { Ok(()) }
            }
            None => {
                let to = self.generic.extent(builder, row)?;
                // Only what starts from a fill may be computed twice.
                self.overlapping_rows(builder, counters, row, (to, if self.start.is_some() { most } else { 1 }, vectors))
            }
        }
    }

    /// An unknown number of rows: in tiles of `rows`, of which the last reaches back into the one before; fewer than that in smaller tiles.
    fn overlapping_rows(
        &self,
        builder: &Builder<'c>,
        counters: &mut [V<'c>],
        row: usize,
        (to, rows, vectors): (V<'c>, i64, i64),
    ) -> Result<(), String> {
        let (from, step) = (builder.index(0)?, builder.index(rows)?);
        if rows == 1 {
            return self.row_loop(builder, counters, row, (from, to, step), 1, vectors);
        }
        let fits = builder.compare("sge", to, step)?;
        builder.branch(fits, |builder, fits| {
            if !fits {
                return self.overlapping_rows(builder, counters, row, (to, rows / 2, vectors));
            }
            let last = add(builder, to, -rows)?;
            builder.for_loop(from, to, step, &[], |inner, counter, _| {
                let mut counters = counters.to_vec();
                counters[row] = inner.binary("arith.minsi", counter, last)?;
                self.lanes(inner, &mut counters, rows, vectors)?;
                Ok(vec![])
            })?;
            Ok(())
        })
    }

    fn row_loop(
        &self,
        builder: &Builder<'c>,
        counters: &mut [V<'c>],
        row: usize,
        (from, to, step): (V<'c>, V<'c>, V<'c>),
        rows: i64,
        vectors: i64,
    ) -> Result<(), String> {
        builder.for_loop(from, to, step, &[], |inner, counter, _| {
            let mut counters = counters.to_vec();
            counters[row] = counter;
            self.lanes(inner, &mut counters, rows, vectors)?;
            Ok(vec![])
        })?;
        Ok(())
    }

    /// Groups of `vectors` full vectors along the row, then what is left.
    fn lanes(&self, builder: &Builder<'c>, counters: &mut [V<'c>], rows: i64, vectors: i64) -> Result<(), String> {
        let group = self.lanes * VECTORS;
        let all = [Lanes::All; VECTORS as usize];
        match self.generic.static_extent(self.lane_loop) {
            Some(extent) => {
                let full = extent / group * group;
                self.lane_loop(builder, counters, (builder.index(0)?, builder.index(full)?), full / group, rows, &all)?;
                let mut left = vec![];
                let mut rest = extent - full;
                while rest > 0 {
                    left.push(if rest >= self.lanes { Lanes::All } else { Lanes::First(rest) });
                    rest -= self.lanes;
                }
                counters[self.lane_loop] = builder.index(full)?;
                if left.is_empty() { Ok(()) } else { self.tile(builder, counters, rows, &left) }
            }
            None => {
                let (mut from, to) = (builder.index(0)?, self.generic.extent(builder, self.lane_loop)?);
                if vectors > 1 {
                    let full = multiple_below(builder, to, group)?;
                    self.lane_loop(builder, counters, (from, full), i64::MAX, rows, &all)?;
                    from = full;
                }
                // No loop, in front of which what all taps share would be collected.
                let left = builder.binary("arith.subi", to, from)?;
                let is_left = builder.compare("sgt", left, builder.index(0)?)?;
                counters[self.lane_loop] = from;
                builder.branch(is_left, |inner, is_left| {
                    let rest = |i: i64| Ok(Lanes::Value(add(inner, left, -i * self.lanes)?));
                    let rests = (0..vectors).map(rest).collect::<Result<Vec<_>, String>>()?;
                    if is_left { self.tile(inner, counters, rows, &rests) } else { Ok(()) }
                })
            }
        }
    }

    fn lane_loop(
        &self,
        builder: &Builder<'c>,
        counters: &mut [V<'c>],
        (from, to): (V<'c>, V<'c>),
        times: i64,
        rows: i64,
        vectors: &[Lanes<'c>],
    ) -> Result<(), String> {
        match times {
            0 => Ok(()),
            1 => {
                counters[self.lane_loop] = from;
                self.tile(builder, counters, rows, vectors)
            }
            _ => {
                let step = builder.index(self.lanes * vectors.len() as i64)?;
                builder.for_loop(from, to, step, &[], |inner, counter, _| {
                    let mut counters = counters.to_vec();
                    counters[self.lane_loop] = counter;
                    self.tile(inner, &counters, rows, vectors)?;
                    Ok(vec![])
                })?;
                Ok(())
            }
        }
    }

    /// `rows` rows of `vectors` from `counters` on.
    fn tile(&self, builder: &Builder<'c>, counters: &[V<'c>], rows: i64, vectors: &[Lanes<'c>]) -> Result<(), String> {
        let output = self.generic.inputs;
        let of_row = |row| vectors.iter().enumerate().map(move |(i, lanes)| Part { row, ahead: i as i64 * self.lanes, lanes: *lanes });
        let parts: Vec<Part> = (0..rows).flat_map(of_row).collect();
        let place = |part: &Part<'c>| self.place(builder, output, &self.shifted(builder, counters, part.ahead)?, part.row);
        let accumulators = parts
            .iter()
            .map(|part| match self.start {
                Some((value, _)) => widen(builder, value, Some(self.lanes)),
                None => self.load(builder, output, 1, (self.generic.operands[output], place(part)?), part.lanes),
            })
            .collect::<Result<Vec<_>, String>>()?;
        let reductions: Vec<_> = (0..self.generic.loops()).filter(|dim| self.generic.reduction[*dim]).collect();
        let sums = self.taps(builder, &reductions, counters, &parts, &accumulators)?;
        for (sum, part) in sums.into_iter().zip(&parts) {
            builder.store_vector(sum, self.generic.operands[output], &place(part)?, self.mask(builder, part.lanes)?)?;
        }
        Ok(())
    }

    fn shifted(&self, builder: &Builder<'c>, counters: &[V<'c>], by: i64) -> Result<Vec<V<'c>>, String> {
        let mut counters = counters.to_vec();
        if by != 0 {
            counters[self.lane_loop] = add(builder, counters[self.lane_loop], by)?;
        }
        Ok(counters)
    }

    /// The reduction loops `dims` around the vectors of a tile; those outside have their counters already.
    fn taps(
        &self,
        builder: &Builder<'c>,
        dims: &[usize],
        counters: &[V<'c>],
        parts: &[Part<'c>],
        accumulators: &[V<'c>],
    ) -> Result<Vec<V<'c>>, String> {
        let extent = |dim: &usize| self.generic.static_extent(*dim).unwrap_or(i64::MAX);
        if dims.iter().map(extent).fold(1, i64::saturating_mul) <= UNROLLED_TAPS {
            return self.unrolled_taps(builder, dims, counters, parts, accumulators);
        }
        let (dim, rest) = dims.split_first().expect("without loops there is one tap");
        let mut counters = counters.to_vec();
        let (from, to, step) = (builder.index(0)?, builder.index(extent(dim))?, builder.index(1)?);
        builder.for_loop(from, to, step, accumulators, |inner, counter, carried| {
            counters[*dim] = counter;
            self.taps(inner, rest, &counters, parts, carried)
        })
    }

    /// All taps of `dims` for every vector of the tile: all that read one row of the input together, so that it is loaded once and soon forgotten.
    fn unrolled_taps(
        &self,
        builder: &Builder<'c>,
        dims: &[usize],
        counters: &[V<'c>],
        parts: &[Part<'c>],
        accumulators: &[V<'c>],
    ) -> Result<Vec<V<'c>>, String> {
        let mut windows: Vec<Vec<i64>> = vec![vec![]];
        for dim in dims {
            let extent = self.generic.static_extent(*dim).unwrap_or(0);
            windows = windows.iter().flat_map(|window| (0..extent).map(|tap| [&window[..], &[tap]].concat())).collect();
        }
        let sliding = self.sliding(dims);
        let mut steps = vec![];
        for (number, window) in windows.iter().enumerate() {
            // Taps along a row come before those across, so that sums of several rows grow at a time.
            let (across, along): (Vec<_>, Vec<_>) =
                dims.iter().zip(window).partition(|(dim, _)| sliding.is_some_and(|(position, _)| position.is_function_of_dim(**dim)));
            let along: Vec<i64> = along.into_iter().map(|(_, tap)| *tap).collect();
            for (i, part) in parts.iter().enumerate() {
                let input_row = sliding.map_or(0, |(position, row_loop)| {
                    let at = |dim, counter| step_of(position, dim).map_or(0, |step| step * counter);
                    across.iter().fold(at(row_loop, part.row), |sum, (dim, tap)| sum + at(**dim, **tap))
                });
                steps.push((input_row, along.clone(), number, i));
            }
        }
        steps.sort_unstable();
        let mut sums = accumulators.to_vec();
        // What is the same for all vectors of the tile, by tap and operand.
        let mut same: HashMap<(usize, usize), V<'c>> = HashMap::new();
        for (.., number, i) in steps {
            let mut arguments = vec![];
            for operand in 0..self.generic.inputs {
                let argument = self.generic.body.argument(operand).map_err(|e| e.to_string())?;
                arguments.push(match same.get(&(number, operand)) {
                    Some(value) => *value,
                    // Gives a loop its extent; never read.
                    None if walk::users(argument.into()).next().is_none() => sums[i],
                    None => {
                        let value = self.tap(builder, operand, counters, (dims, &windows[number]), &parts[i])?;
                        if self.steps[operand] == 0 && !self.row.is_some_and(|row| self.generic.uses(operand, row)) {
                            same.insert((number, operand), value);
                        }
                        value
                    }
                });
            }
            arguments.push(sums[i]);
            sums[i] = self.generic.clone_body(builder, &arguments, Some(self.lanes))?[0];
        }
        Ok(sums)
    }

    /// What one vector reads of an input at a tap: `window` has the counters of `dims`.
    fn tap(
        &self,
        builder: &Builder<'c>,
        operand: usize,
        counters: &[V<'c>],
        (dims, window): (&[usize], &[i64]),
        part: &Part<'c>,
    ) -> Result<V<'c>, String> {
        let base = self.generic.operands[operand];
        if self.generic.memref(operand).is_none() {
            return Ok(base);
        }
        let step = self.steps[operand];
        let (mut first, mut at) = (counters.to_vec(), counters.to_vec());
        for (dim, tap) in dims.iter().zip(window) {
            (first[*dim], at[*dim]) = (builder.index(0)?, builder.index(*tap)?);
        }
        let mut place = self.place(builder, operand, &at, part.row)?;
        if step == 0 {
            return self.load(builder, operand, step, (base, place), part.lanes);
        }
        // The row from its first tap on: how far a vector is from there is known.
        let map = self.generic.maps[operand];
        let along = map.result(map.result_count() - 1).map_err(|e| e.to_string())?;
        if let (Some(last), Some(start)) = (place.last_mut(), self.place(builder, operand, &first, part.row)?.last()) {
            *last = *start;
        }
        let steps = dims.iter().zip(window).map(|(dim, tap)| step_of(along, *dim).map(|step| step * tap));
        let ahead = steps.sum::<Option<i64>>().ok_or("the taps of a window are not evenly spaced")? + step * part.ahead;
        let row = builder.row(base, &place)?;
        self.load(builder, operand, step, (row, vec![builder.index(ahead)?]), part.lanes)
    }

    /// The index of an input that follows the rows of the tile and some of the taps, with the loop of the rows.
    fn sliding(&self, dims: &[usize]) -> Option<(AffineExpr<'c>, usize)> {
        let row_loop = self.row?;
        let maps = &self.generic.maps[..self.generic.inputs];
        let mut results = maps.iter().flat_map(|map| (0..map.result_count()).filter_map(|i| map.result(i).ok()));
        let slides = |e: &AffineExpr| e.is_function_of_dim(row_loop) && dims.iter().any(|dim| e.is_function_of_dim(*dim));
        results.find(slides).map(|position| (position, row_loop))
    }

    fn place(&self, builder: &Builder<'c>, operand: usize, counters: &[V<'c>], row: i64) -> Result<Vec<V<'c>>, String> {
        self.generic.indices(builder, operand, counters, self.row.unwrap_or(self.lane_loop), row)
    }

    /// Reads lanes of an operand that are `step` elements apart, from `place` of `base` on; one element if all are the same.
    fn load(
        &self,
        builder: &Builder<'c>,
        operand: usize,
        step: i64,
        (base, mut place): (V<'c>, Vec<V<'c>>),
        lanes: Lanes<'c>,
    ) -> Result<V<'c>, String> {
        let element = self.generic.element(operand);
        if step == 0 {
            return builder.value("memref.load", &[&[base], &place[..]].concat(), element, &[]);
        }
        if step == 1 {
            return self.vector(builder, base, element, &place, lanes);
        }
        // Lanes 0, 2, ... of the first vector, and the odd ones of another that starts one element before the end of the first: its last lane is the last tap.
        let count = self.lanes;
        let (first, second) = match lanes {
            Lanes::All => (Lanes::All, Some(Lanes::All)),
            Lanes::First(n) => {
                let (first, second) = ((2 * n - 1).min(count), 2 * n - count);
                (if first == count { Lanes::All } else { Lanes::First(first) }, (second > 0).then_some(Lanes::First(second)))
            }
            // A mask takes what exceeds its lanes for all, and less than nothing for none.
            Lanes::Value(n) => {
                let twice = builder.binary("arith.addi", n, n)?;
                (Lanes::Value(add(builder, twice, -1)?), Some(Lanes::Value(add(builder, twice, -count)?)))
            }
        };
        let low = self.vector(builder, base, element, &place, first)?;
        let high = match second {
            None => low,
            Some(second) => {
                if let Some(last) = place.last_mut() {
                    *last = add(builder, *last, count - 1)?;
                }
                self.vector(builder, base, element, &place, second)?
            }
        };
        let picked: Vec<i64> = (0..count).map(|lane| if 2 * lane < count { 2 * lane } else { 2 * lane + 1 }).collect();
        let mask = DenseI64ArrayAttribute::new(builder.context(), &picked);
        builder.value("vector.shuffle", &[low, high], low.r#type(), &[("mask", mask.into())])
    }

    fn vector(&self, builder: &Builder<'c>, base: V<'c>, element: Type<'c>, place: &[V<'c>], lanes: Lanes<'c>) -> Result<V<'c>, String> {
        builder.load_vector(base, place, vector_of(element, Some(self.lanes))?, self.mask(builder, lanes)?)
    }

    fn mask(&self, builder: &Builder<'c>, lanes: Lanes<'c>) -> Result<Option<V<'c>>, String> {
        let count = match lanes {
            Lanes::All => return Ok(None),
            Lanes::First(count) => builder.index(count)?,
            Lanes::Value(count) => count,
        };
        builder.first_lanes(count, self.lanes).map(Some)
    }
}

/// By how much `expr` grows with loop `dim`, if steadily.
fn step_of(expr: AffineExpr<'_>, dim: usize) -> Option<i64> {
    if !expr.is_function_of_dim(dim) {
        return Some(0);
    }
    if expr.is_dim() {
        return Some(1);
    }
    if expr.is_add() {
        return Some(step_of(expr.lhs(), dim)? + step_of(expr.rhs(), dim)?);
    }
    let factor = expr.is_mul().then(|| expr.rhs()).filter(AffineExpr::is_constant)?.constant_value();
    Some(step_of(expr.lhs(), dim)? * factor)
}

/// The largest multiple of `unit` that is not above `value`.
fn multiple_below<'c>(builder: &Builder<'c>, value: V<'c>, unit: i64) -> Result<V<'c>, String> {
    let context = builder.context();
    let unit = AffineExpr::constant(context, unit);
    let map = AffineMap::new(context, 0, 1, &[AffineExpr::floor_div(AffineExpr::symbol(context, 0), unit) * unit]);
    builder.apply(map, &[value])
}

fn add<'c>(builder: &Builder<'c>, value: V<'c>, by: i64) -> Result<V<'c>, String> {
    let by = builder.index(by)?;
    builder.binary("arith.addi", value, by)
}
