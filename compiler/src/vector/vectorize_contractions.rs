//! Bufferized contraction -> loops around register tiles: the accumulators of `rows` x panel stay in vector registers over all reduction loops.
//!
//! Assumes a `linalg.generic` tagged `winze.contraction` with two inputs and one output, where the last loop of the output is the panel: it is the
//! last dimension of the second input (contiguous, static) and does not index the first. One more parallel loop indexes the first input and the
//! output but not the second: the rows. Any maps are allowed besides, so matrix products and convolutions of any layout are the same to it.
//! Bytes that stand in fours (the last loop of the second input has four iterations, contiguous in the first input as well; unsigned in the first,
//! signed in the second, added up in i32) take one instruction per register and four with VNNI, exactly; else two of 16-bit pairs.
//! A `linalg.fill` of the whole output right before becomes the accumulators' start value.
//! Tiles of few rows, whose sums would wait for each other, add up every second, fourth or eighth step in accumulators of their own.
//!
//! Remainders run at their exact size: `scf.index_switch` chooses among the sizes below `rows` when the extent is dynamic.

use super::{
    build::{Builder, V, lasting, lasting_block, lasting_op},
    generic::{Generic, REGISTER_BITS, parse_register_bits, vector_of, widen},
};
use melior::{
    dialect::DialectHandle,
    ir::{AffineExpr, AffineMap, OperationRef, Type, TypeLike, ValueLike, operation::OperationLike},
};
use winze_mlir::{
    attributes,
    pass::{PassOption, RustPass},
    walk,
};

/// Registers of accumulators that hide the latency of adding a product to a sum.
const ACCUMULATORS: i64 = 8;

/// Attribute of the operations this pass rewrites.
pub const CONTRACTION: &str = "winze.contraction";

#[derive(Clone, Copy)]
pub struct VectorizeContractions {
    rows: i64,
    bits: i64,
    vnni: bool,
}

impl RustPass for VectorizeContractions {
    const ARGUMENT: &'static str = "vectorize-contractions";
    const DESCRIPTION: &'static str = "Turn bufferized contractions into loops around register tiles";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[
        PassOption { name: "rows", description: "rows of a register tile", default: "8" },
        REGISTER_BITS,
        PassOption { name: "vnni", description: "whether the target multiplies and adds bytes in fours", default: "false" },
    ];

    fn dialects() -> Vec<DialectHandle> {
        let mut dialects = super::vector_loop_dialects();
        dialects.push(DialectHandle::llvm());
        dialects
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        let rows = values[0].parse().ok().filter(|rows| (1..=64).contains(rows));
        let rows = rows.ok_or_else(|| format!("option 'rows': '{}' is not a number from 1 to 64", values[0]))?;
        let vnni = values[2].parse().map_err(|_| format!("option 'vnni': '{}' is not true or false", values[2]))?;
        Ok(Self { rows, bits: parse_register_bits(values[1])?, vnni })
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        walk::find(lasting_op(op), |op| op.has_attribute(CONTRACTION))
            .into_iter()
            .try_for_each(|op| Contraction::read(op, *self)?.rewrite())
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
    /// How bytes in fours are multiplied, if they are.
    fours: Option<Fours>,
    /// Registers that a row of accumulators takes.
    registers: i64,
    /// Reduction loop of which few rows take several steps at once, and the operation that adds their sums.
    parts: Option<(usize, String)>,
    /// Value all accumulators start from, with the fill that says so.
    start: Option<(V<'c>, OperationRef<'c, 'c>)>,
}

impl<'c> Contraction<'c> {
    fn read(op: OperationRef<'c, 'c>, options: VectorizeContractions) -> Result<Self, String> {
        let generic = Generic::read(op).map_err(|e| format!("vectorize-contractions: {e}"))?;
        let reject = |why: &str| Err(format!("vectorize-contractions: {why}; see docs/schedules.md for the form of a contraction"));
        if generic.inputs != 2 || generic.operands.len() != 3 {
            return reject("a contraction has two inputs and one output");
        }
        if (0..3).any(|operand| generic.memref(operand).is_none()) {
            return reject("an operand of the contraction is a scalar");
        }
        let from_end = |operand: usize, n: usize| {
            let map = generic.maps[operand];
            let position = map.result_count().checked_sub(1 + n)?;
            map.result(position).ok().filter(AffineExpr::is_dim).map(|expr| expr.dim_position())
        };
        let within = from_end(1, 0).filter(|last| are_fours(&generic, *last));
        let panel_of_weights = from_end(1, usize::from(within.is_some()));
        let Some(panel) = from_end(2, 0).filter(|panel| panel_of_weights == Some(*panel) && !generic.uses(0, *panel)) else {
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
            Some(extent) => (extent.max(1) as u64).div_ceil((extent.max(1) as u64).div_ceil(options.rows as u64)) as i64,
            None => options.rows,
        };
        let start = start_value(&generic);
        let fours = within.map(|within| Fours { within, lanes: (options.bits / 32).min(lanes), vnni: options.vnni });
        if fours.is_some_and(|fours| lanes % fours.lanes != 0) {
            return reject("the panel of bytes in fours is no whole number of registers");
        }
        let registers = attributes::bit_width(generic.element(2)).map_or(1, |bits| (lanes * i64::from(bits) / options.bits).max(1));
        let longest = (0..generic.loops()).filter(|dim| generic.reduction[*dim]).max_by_key(|dim| generic.static_extent(*dim));
        let add = generic.combination().filter(|name| fours.is_none() && matches!(name.as_str(), "arith.addf" | "arith.addi"));
        let parts = longest.zip(add);
        Ok(Self { generic, panel, lanes, row, rows, fours, registers, parts, start })
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
        let within = self.fours.map(|fours| fours.within);
        let reductions: Vec<_> = (0..self.generic.loops()).filter(|dim| self.generic.reduction[*dim] && Some(*dim) != within).collect();
        let mut counters = counters.to_vec();
        let sums = match self.fours {
            None => self.sums(builder, &reductions, &mut counters, &accumulators)?,
            Some(fours) => {
                // A register each: what is loaded per register is used up before the next.
                let split: Result<Vec<_>, String> =
                    accumulators.iter().map(|whole| split(builder, *whole, self.lanes, fours.lanes)).collect();
                let sums = self.reduction_loops(builder, &reductions, &mut counters, &split?.concat(), None)?;
                let rows = sums.chunks_exact((self.lanes / fours.lanes) as usize);
                rows.map(|parts| join(builder, parts, fours.lanes, vector)).collect::<Result<_, _>>()?
            }
        };
        for (sum, place) in sums.into_iter().zip(&places) {
            builder.op("vector.store", &[&[sum, output], &place[..]].concat(), &[], &[])?;
        }
        Ok(())
    }

    /// Number of steps that a tile of `rows` rows takes at once, each with accumulators of its own.
    fn steps_at_once(&self, rows: i64) -> i64 {
        let Some((dim, _)) = self.parts else { return 1 };
        let steps = ACCUMULATORS / (rows * self.registers).max(1);
        // A loop with a single turn has nothing to gain.
        let most = self.generic.static_extent(dim).map_or(i64::MAX, |extent| extent / 2);
        1 << steps.min(most).max(1).ilog2()
    }

    /// All steps of the reduction. Where few rows would leave sums waiting for each other, several steps run side by side and their sums are added at
    /// the end; what is left of the loop is added to the first of them.
    fn sums(&self, builder: &Builder<'c>, dims: &[usize], counters: &mut Vec<V<'c>>, accumulators: &[V<'c>]) -> Result<Vec<V<'c>>, String> {
        let at_once = self.steps_at_once(accumulators.len() as i64);
        let Some((long, add)) = self.parts.as_ref().filter(|_| at_once > 1) else {
            return self.reduction_loops(builder, dims, counters, accumulators, None);
        };
        let rows = accumulators.len();
        let zeros =
            builder.attribute(&format!("dense<0{}> : {}", if add == "arith.addf" { ".0" } else { "" }, accumulators[0].r#type()))?;
        let zero = builder.value("arith.constant", &[], accumulators[0].r#type(), &[("value", zeros)])?;
        let started = [accumulators, &vec![zero; rows * (at_once as usize - 1)]].concat();
        let context = builder.context();
        let extent = self.generic.extent(builder, *long)?;
        let steps = AffineExpr::constant(context, at_once);
        let whole = AffineExpr::floor_div(AffineExpr::symbol(context, 0), steps) * steps;
        let (from, whole) = (builder.index(0)?, builder.apply(AffineMap::new(context, 0, 1, &[whole]), &[extent])?);
        let range = Steps { dim: *long, from, to: whole, at_once };
        let mut sums = self.reduction_loops(builder, dims, counters, &started, Some(range))?;
        let mut count = at_once as usize;
        while count > 1 {
            count /= 2;
            let halves = sums.split_at(count * rows);
            sums = halves.0.iter().zip(halves.1).map(|(low, high)| builder.binary(add, *low, *high)).collect::<Result<_, _>>()?;
        }
        if self.generic.static_extent(*long).is_some_and(|extent| extent % at_once == 0) {
            return Ok(sums);
        }
        let rest = Steps { dim: *long, from: whole, to: extent, at_once: 1 };
        self.reduction_loops(builder, dims, counters, &sums, Some(rest))
    }

    /// The loops over `dims`; of one of them perhaps only some steps, several at once.
    fn reduction_loops(
        &self,
        builder: &Builder<'c>,
        dims: &[usize],
        counters: &mut Vec<V<'c>>,
        accumulators: &[V<'c>],
        part: Option<Steps<'c>>,
    ) -> Result<Vec<V<'c>>, String> {
        let Some((dim, rest)) = dims.split_first() else {
            return match part {
                Some(part) => self.steps(builder, counters, accumulators, part),
                None => self.step(builder, counters, accumulators),
            };
        };
        let part_of_dim = part.filter(|part| part.dim == *dim);
        if part_of_dim.is_none() && self.generic.static_extent(*dim) == Some(1) {
            return self.reduction_loops(builder, rest, counters, accumulators, part);
        }
        let (from, to, step) = match part_of_dim {
            Some(part) => (part.from, part.to, builder.index(part.at_once)?),
            None => (builder.index(0)?, self.generic.extent(builder, *dim)?, builder.index(1)?),
        };
        builder.for_loop(from, to, step, accumulators, |inner, counter, carried| {
            counters[*dim] = counter;
            self.reduction_loops(inner, rest, counters, carried, part)
        })
    }

    /// Steps side by side, each for its own part of the accumulators.
    fn steps(&self, builder: &Builder<'c>, counters: &[V<'c>], accumulators: &[V<'c>], part: Steps<'c>) -> Result<Vec<V<'c>>, String> {
        let mut counters = counters.to_vec();
        let (first, context) = (counters[part.dim], builder.context());
        let mut next = vec![];
        for (i, accumulators) in (0i64..).zip(accumulators.chunks_exact(accumulators.len() / part.at_once as usize)) {
            if i > 0 {
                let later = AffineExpr::symbol(context, 0) + AffineExpr::constant(context, i);
                counters[part.dim] = builder.apply(AffineMap::new(context, 0, 1, &[later]), &[first])?;
            }
            next.extend(self.step(builder, &counters, accumulators)?);
        }
        Ok(next)
    }

    /// One step of the reduction for all rows: a panel of the second input times a broadcast element of the first per row.
    fn step(&self, builder: &Builder<'c>, counters: &[V<'c>], accumulators: &[V<'c>]) -> Result<Vec<V<'c>>, String> {
        if let Some(fours) = self.fours {
            return self.step_of_fours(builder, counters, accumulators, fours);
        }
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

    /// The same for four steps at once: a panel of fours times a broadcast four per row.
    fn step_of_fours(&self, builder: &Builder<'c>, counters: &[V<'c>], accumulators: &[V<'c>], fours: Fours) -> Result<Vec<V<'c>>, String> {
        let [lhs, rhs] = [self.generic.operands[0], self.generic.operands[1]];
        let (byte, sum) = (self.generic.element(0), self.generic.element(2));
        let place = self.generic.indices(builder, 1, counters, self.row, 0)?;
        let bytes = vector_of(byte, Some(4 * self.lanes))?;
        let panel = builder.value("vector.load", &[&[rhs], &place[..]].concat(), bytes, &[])?;
        let registers = split(builder, panel, 4 * self.lanes, 4 * fours.lanes)?;
        let registers = registers.into_iter().map(|register| fours.prepare(builder, register, true)).collect::<Result<Vec<_>, _>>()?;
        let mut next = Vec::new();
        for (r, accumulators) in accumulators.chunks_exact(registers.len()).enumerate() {
            let place = self.generic.indices(builder, 0, counters, self.row, r as i64)?;
            let four = builder.value("vector.load", &[&[lhs], &place[..]].concat(), vector_of(byte, Some(4))?, &[])?;
            let four = builder.value("vector.bitcast", &[four], vector_of(sum, Some(1))?, &[])?;
            let row = builder.value("vector.broadcast", &[four], vector_of(sum, Some(fours.lanes))?, &[])?;
            let row = builder.value("vector.bitcast", &[row], vector_of(byte, Some(4 * fours.lanes))?, &[])?;
            let row = fours.prepare(builder, row, false)?;
            for (accumulator, register) in accumulators.iter().zip(&registers) {
                next.push(fours.multiply_add(builder, *accumulator, &row, register)?);
            }
        }
        Ok(next)
    }
}

/// Part of a reduction loop.
#[derive(Clone, Copy)]
struct Steps<'c> {
    dim: usize,
    from: V<'c>,
    to: V<'c>,
    /// Steps that an iteration takes.
    at_once: i64,
}

/// Products of unsigned and signed bytes, four to a lane of a register.
#[derive(Clone, Copy)]
struct Fours {
    /// Loop over the elements of a four.
    within: usize,
    /// Lanes of a register.
    lanes: i64,
    vnni: bool,
}

impl Fours {
    /// A register of fours as the instructions want it: as it is with VNNI, else its even and its odd bytes in 16 bits each.
    fn prepare<'c>(self, builder: &Builder<'c>, bytes: V<'c>, signed: bool) -> Result<Vec<V<'c>>, String> {
        if self.vnni {
            return Ok(vec![bytes]);
        }
        let wide = builder.parse_type(&format!("vector<{}xi16>", 2 * self.lanes))?;
        let constant = |value: i64| {
            let value = builder.attribute(&format!("dense<{value}> : {wide}"))?;
            builder.value("arith.constant", &[], wide, &[("value", value)])
        };
        let pairs = builder.value("vector.bitcast", &[bytes], wide, &[])?;
        let eight = constant(8)?;
        let even = match signed {
            true => builder.binary("arith.shrsi", builder.binary("arith.shli", pairs, eight)?, eight)?,
            false => builder.binary("arith.andi", pairs, constant(255)?)?,
        };
        Ok(vec![even, builder.binary(if signed { "arith.shrsi" } else { "arith.shrui" }, pairs, eight)?])
    }

    /// `sum` and the products of what [`Self::prepare`] made of a row and a panel.
    fn multiply_add<'c>(self, builder: &Builder<'c>, sum: V<'c>, row: &[V<'c>], panel: &[V<'c>]) -> Result<V<'c>, String> {
        let bits = 32 * self.lanes;
        let call = |name: &str, operands: &[V<'c>]| {
            let attributes = [
                ("intrin", builder.attribute(&format!("\"{name}\""))?),
                ("op_bundle_sizes", builder.attribute("array<i32>")?),
                ("operandSegmentSizes", attributes::segments(builder.context(), &[operands.len() as i32, 0])),
            ];
            builder.value("llvm.call_intrinsic", operands, sum.r#type(), &attributes)
        };
        if self.vnni {
            return call(&format!("llvm.x86.avx512.vpdpbusd.{bits}"), &[sum, row[0], panel[0]]);
        }
        let name = match bits {
            512 => "llvm.x86.avx512.pmaddw.d.512",
            256 => "llvm.x86.avx2.pmadd.wd",
            _ => "llvm.x86.sse2.pmadd.wd",
        };
        row.iter().zip(panel).try_fold(sum, |sum, (row, panel)| builder.binary("arith.addi", sum, call(name, &[*row, *panel])?))
    }
}

/// Whether loop `dim` runs over the four bytes of a lane, unsigned in the first input, signed in the second, added up in i32.
fn are_fours(generic: &Generic, dim: usize) -> bool {
    let bits = |operand: usize| attributes::bit_width(generic.element(operand)).filter(|_| generic.element(operand).is_integer());
    let mut body = walk::operations(generic.body).map(|op| op.name().as_string_ref().as_str().unwrap_or_default().to_string());
    let names = ["arith.extui", "arith.extsi", "arith.muli", "arith.addi", "linalg.yield"];
    generic.reduction[dim]
        && generic.static_extent(dim) == Some(4)
        && [0, 1, 2].map(bits) == [Some(8), Some(8), Some(32)]
        && names.iter().all(|name| body.next().as_deref() == Some(*name))
        && generic.is_contiguous(0)
}

/// Vectors of `lanes` lanes that make up one of `all`.
fn split<'c>(builder: &Builder<'c>, whole: V<'c>, all: i64, lanes: i64) -> Result<Vec<V<'c>>, String> {
    if all == lanes {
        return Ok(vec![whole]);
    }
    // SAFETY: a live vector type.
    let element = unsafe { Type::from_raw(mlir_sys::mlirShapedTypeGetElementType(whole.r#type().to_raw())) };
    let part = Type::vector(&[lanes as u64], element);
    let list = |n: i64| builder.attribute(&format!("[{n}]"));
    (0..all / lanes)
        .map(|i| {
            let slice = [("offsets", list(i * lanes)?), ("sizes", list(lanes)?), ("strides", list(1)?)];
            builder.value("vector.extract_strided_slice", &[whole], part, &slice)
        })
        .collect()
}

/// Vectors of `lanes` lanes each, one after the other.
fn join<'c>(builder: &Builder<'c>, parts: &[V<'c>], lanes: i64, joined: Type<'c>) -> Result<V<'c>, String> {
    if let [whole] = parts {
        return Ok(*whole);
    }
    let zeros = builder.attribute(&format!("dense<0> : {joined}"))?;
    let mut whole = builder.value("arith.constant", &[], joined, &[("value", zeros)])?;
    for (i, part) in parts.iter().enumerate() {
        let attributes = [("offsets", builder.attribute(&format!("[{}]", i as i64 * lanes))?), ("strides", builder.attribute("[1]")?)];
        whole = builder.value("vector.insert_strided_slice", &[*part, whole], joined, &attributes)?;
    }
    Ok(whole)
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
