//! Bufferized `linalg.generic` -> loops over vectors along the contiguous dim of its outputs.
//!
//! The vector loop is the last dim of every output. Inputs are broadcast (they do not use it), contiguous along it, or transposed: contiguous along
//! another parallel loop. Transposed inputs are read in square blocks that are transposed in registers. Reduction loops run inside, with a vector of
//! accumulators. Everything else (gathers, strided inputs, reductions along the contiguous dim, `linalg.index`) is left to loops and LLVM.
//!
//! Rests of known size run at the next smaller power of two, down to scalars; those of unknown size under a mask, where the target has masks for the
//! elements and the body divides no integers (lanes left out are zero). Nothing is read or written outside the operands.

use super::{
    build::{Builder, V},
    generic::{Generic, REGISTER_BITS, Values, parse_register_bits},
};
use melior::{
    dialect::DialectHandle,
    ir::{AffineExpr, AffineMap, OperationRef, Type, attribute::DenseI64ArrayAttribute},
};
use winze_mlir::{
    attributes::bit_width,
    pass::{PassOption, RustPass},
};

/// Widest block that is transposed in registers.
const MAX_BLOCK: i64 = 16;

/// Registers of accumulators in reductions, to hide the latency of the combining operation and read long runs.
const ACCUMULATORS: i64 = 8;

pub struct VectorizeElementwise {
    bits: i64,
}

impl RustPass for VectorizeElementwise {
    const ARGUMENT: &'static str = "vectorize-elementwise";
    const DESCRIPTION: &'static str = "Turn bufferized elementwise operations and transpositions into vector loops";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[REGISTER_BITS];

    fn dialects() -> Vec<DialectHandle> {
        super::vector_loop_dialects()
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { bits: parse_register_bits(values[0])? })
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        super::rewrite_each::<Self>(func, "linalg.generic", |op| match Plan::find(&Generic::read(op)?, self.bits) {
            Some(plan) => plan.rewrite(),
            None => Ok(()),
        })
    }
}

/// How an operand is read along the vector loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Broadcast,
    Contiguous,
    Transposed,
}

struct Plan<'a, 'c> {
    generic: &'a Generic<'c>,
    forms: Vec<Form>,
    /// Loop along the vectors.
    lane_loop: usize,
    /// Loop along which transposed inputs are contiguous.
    block_loop: Option<usize>,
    /// Lanes of one register.
    lanes: i64,
    /// Whether rests of unknown size run under a mask.
    masks: bool,
}

/// A vector of some lanes, or a scalar for one; with a mask only part of it counts.
#[derive(Clone, Copy)]
struct Lanes<'c> {
    count: i64,
    mask: Option<V<'c>>,
}

impl Lanes<'_> {
    fn all(count: i64) -> Self {
        Self { count, mask: None }
    }
}

/// What the vectors of one row share: broadcast operands, and what of the body follows from them alone.
struct Row<'c> {
    operands: Vec<Option<V<'c>>>,
    known: Values<'c>,
}

/// Part of a loop.
#[derive(Clone, Copy)]
struct Range<'c> {
    from: Bound<'c>,
    to: Bound<'c>,
}

#[derive(Clone, Copy)]
enum Bound<'c> {
    Known(i64),
    Value(V<'c>),
}

impl<'a, 'c> Plan<'a, 'c> {
    fn find(generic: &'a Generic<'c>, bits: i64) -> Option<Self> {
        let outputs = generic.inputs..generic.operands.len();
        let last = |operand: usize| {
            let map = generic.maps[operand];
            map.result(map.result_count().checked_sub(1)?).ok()
        };
        let lane_loop = last(outputs.start).filter(AffineExpr::is_dim)?.dim_position();
        if generic.reduction[lane_loop] || !generic.body_is_elementwise() {
            return None;
        }
        let mut block_loop = None;
        let mut forms = vec![];
        for operand in 0..generic.operands.len() {
            let form = generic.form(operand, lane_loop)?;
            if outputs.contains(&operand) && (form != Form::Contiguous || last(operand)? != last(outputs.start)?) {
                return None;
            }
            if form == Form::Transposed {
                let other = last(operand)?.dim_position();
                if block_loop.is_some_and(|block| block != other) || generic.reduction.contains(&true) {
                    return None;
                }
                block_loop = Some(other);
            }
            forms.push(form);
        }
        let width = generic.operands.iter().enumerate().map(|(i, _)| bit_width(generic.element(i))).try_fold(8, |a, b| Some(a.max(b?)))?;
        let masks = generic.rests_can_be_masked(bits);
        Some(Self { generic, forms, lane_loop, block_loop, lanes: bits / i64::from(width), masks })
    }

    fn rewrite(&self) -> Result<(), String> {
        let in_body = |dim: usize| self.generic.reduction[dim] || dim == self.lane_loop || Some(dim) == self.block_loop;
        self.generic.replace_by_loops(in_body, None, &mut |builder, counters| {
            let lanes = self.whole(builder, self.lane_loop)?;
            match self.block_loop {
                None => {
                    let row = self.row(builder, counters)?;
                    let registers = if self.generic.reduction.contains(&true) { ACCUMULATORS } else { 2 };
                    self.strips(builder, counters, &row, lanes, self.lanes * registers)
                }
                Some(block_loop) => {
                    let blocks = self.whole(builder, block_loop)?;
                    self.blocks(builder, counters, blocks, lanes, self.lanes.min(MAX_BLOCK))
                }
            }
        })
    }

    fn whole(&self, builder: &Builder<'c>, dim: usize) -> Result<Range<'c>, String> {
        let to = match self.generic.static_extent(dim) {
            Some(extent) => Bound::Known(extent),
            None => Bound::Value(self.generic.extent(builder, dim)?),
        };
        Ok(Range { from: Bound::Known(0), to })
    }

    /// Reads and computes once what is the same along the lanes. With reductions inside, nothing is.
    fn row(&self, builder: &Builder<'c>, counters: &[V<'c>]) -> Result<Row<'c>, String> {
        let mut operands = vec![None; self.generic.inputs];
        if self.generic.reduction.contains(&true) {
            return Ok(Row { operands, known: Values::new() });
        }
        for (operand, value) in operands.iter_mut().enumerate() {
            if self.forms[operand] == Form::Broadcast {
                *value = Some(self.load(builder, operand, counters, (self.lane_loop, 0), Lanes::all(1))?);
            }
        }
        let known = self.generic.clone_invariant(builder, &operands)?;
        Ok(Row { operands, known })
    }

    /// Vectors of `width` lanes over `range`, then the rest in narrower ones or under a mask.
    fn strips(&self, builder: &Builder<'c>, counters: &mut [V<'c>], row: &Row<'c>, range: Range<'c>, width: i64) -> Result<(), String> {
        if range.is_empty() {
            return Ok(());
        }
        let (main, rest) = range.split(builder, width)?;
        main.for_each(builder, width, |inner, counter| self.strip(inner, counters, row, counter, Lanes::all(width)))?;
        match rest.to {
            _ if width == 1 => Ok(()),
            Bound::Value(to) if self.masks => rest.for_each(builder, self.lanes, |inner, counter| {
                let left = inner.binary("arith.subi", to, counter)?;
                let mask = Some(inner.first_lanes(left, self.lanes)?);
                self.strip(inner, counters, row, counter, Lanes { count: self.lanes, mask })
            }),
            _ => self.strips(builder, counters, row, rest, range.next_width(width)),
        }
    }

    /// The vector of a row that starts at `counter`.
    fn strip(&self, builder: &Builder<'c>, counters: &[V<'c>], row: &Row<'c>, counter: V<'c>, lanes: Lanes<'c>) -> Result<(), String> {
        let mut counters = counters.to_vec();
        counters[self.lane_loop] = counter;
        let initial = self.load_outputs(builder, &counters, lanes)?;
        let results = self.reduction_loops(builder, row, 0, &mut counters, lanes, &initial)?;
        self.store_outputs(builder, &counters, (self.lane_loop, 0), &results, lanes.mask)
    }

    fn load_outputs(&self, builder: &Builder<'c>, counters: &[V<'c>], lanes: Lanes<'c>) -> Result<Vec<V<'c>>, String> {
        (self.generic.inputs..self.generic.operands.len())
            .map(|operand| self.load(builder, operand, counters, (self.lane_loop, 0), lanes))
            .collect()
    }

    /// Runs the reduction loops from `dim` on around the body; without any it is the body alone.
    fn reduction_loops(
        &self,
        builder: &Builder<'c>,
        row: &Row<'c>,
        dim: usize,
        counters: &mut Vec<V<'c>>,
        lanes: Lanes<'c>,
        carried: &[V<'c>],
    ) -> Result<Vec<V<'c>>, String> {
        let Some(dim) = (dim..self.generic.loops()).find(|dim| self.generic.reduction[*dim]) else {
            let mut arguments = vec![];
            for operand in 0..self.generic.inputs {
                arguments.push(match row.operands[operand] {
                    Some(value) => value,
                    None => self.load(builder, operand, counters, (self.lane_loop, 0), lanes)?,
                });
            }
            arguments.extend_from_slice(carried);
            return self.generic.clone_rest(builder, &row.known, &arguments, (lanes.count > 1).then_some(lanes.count));
        };
        let (from, to, step) = (builder.index(0)?, self.generic.extent(builder, dim)?, builder.index(1)?);
        builder.for_loop(from, to, step, carried, |inner, counter, carried| {
            counters[dim] = counter;
            self.reduction_loops(inner, row, dim + 1, counters, lanes, carried)
        })
    }

    /// Square blocks of `size` over two loops, then the rests in smaller ones.
    fn blocks(&self, builder: &Builder<'c>, counters: &mut Vec<V<'c>>, rows: Range<'c>, lanes: Range<'c>, size: i64) -> Result<(), String> {
        if rows.is_empty() || lanes.is_empty() {
            return Ok(());
        }
        let block_loop = self.block_loop.expect("blocks are for transposed inputs");
        let ((main_rows, rest_rows), (main_lanes, rest_lanes)) = (rows.split(builder, size)?, lanes.split(builder, size)?);
        main_rows.for_each(builder, size, |inner, row| {
            counters[block_loop] = row;
            main_lanes.for_each(inner, size, |inner, lane| {
                counters[self.lane_loop] = lane;
                self.block(inner, counters, size)
            })
        })?;
        if size == 1 {
            return Ok(());
        }
        let next = rows.next_width(size).max(lanes.next_width(size));
        self.blocks(builder, counters, main_rows, rest_lanes, next)?;
        self.blocks(builder, counters, rest_rows, lanes, next)
    }

    fn block(&self, builder: &Builder<'c>, counters: &[V<'c>], size: i64) -> Result<(), String> {
        let block_loop = self.block_loop.expect("blocks are for transposed inputs");
        let mut columns = vec![];
        for operand in 0..self.generic.inputs {
            columns.push(match self.forms[operand] {
                Form::Transposed => {
                    let rows = (0..size)
                        .map(|lane| self.load(builder, operand, counters, (self.lane_loop, lane), Lanes::all(size)))
                        .collect::<Result<Vec<_>, _>>()?;
                    Some(transpose(builder, rows)?)
                }
                _ => None,
            });
        }
        for row in 0..size {
            let mut arguments = vec![];
            for operand in 0..self.generic.operands.len() {
                arguments.push(match columns.get(operand).and_then(Option::as_ref) {
                    Some(columns) => columns[row as usize],
                    None => self.load(builder, operand, counters, (block_loop, row), Lanes::all(size))?,
                });
            }
            let results = self.generic.clone_body(builder, &arguments, (size > 1).then_some(size))?;
            self.store_outputs(builder, counters, (block_loop, row), &results, None)?;
        }
        Ok(())
    }

    /// Reads lanes of an operand, or one element if it is the same for all lanes.
    fn load(
        &self,
        builder: &Builder<'c>,
        operand: usize,
        counters: &[V<'c>],
        shift: (usize, i64),
        lanes: Lanes<'c>,
    ) -> Result<V<'c>, String> {
        let (base, element) = (self.generic.operands[operand], self.generic.element(operand));
        if self.generic.memref(operand).is_none() {
            return Ok(base);
        }
        let place = self.generic.indices(builder, operand, counters, shift.0, shift.1)?;
        if lanes.count == 1 || self.forms[operand] == Form::Broadcast {
            return builder.value("memref.load", &[&[base], &place[..]].concat(), element, &[]);
        }
        builder.load_vector(base, &place, Type::vector(&[lanes.count as u64], element), lanes.mask)
    }

    fn store_outputs(
        &self,
        builder: &Builder<'c>,
        counters: &[V<'c>],
        shift: (usize, i64),
        results: &[V<'c>],
        mask: Option<V<'c>>,
    ) -> Result<(), String> {
        use melior::ir::{TypeLike, ValueLike};
        for (operand, result) in (self.generic.inputs..).zip(results) {
            let (base, place) = (self.generic.operands[operand], self.generic.indices(builder, operand, counters, shift.0, shift.1)?);
            if result.r#type().is_vector() {
                builder.store_vector(*result, base, &place, mask)?;
            } else {
                builder.op("memref.store", &[&[*result, base], &place[..]].concat(), &[], &[])?;
            }
        }
        Ok(())
    }
}

impl<'c> Generic<'c> {
    /// How `operand` is indexed along `lane_loop`; `None` if in a way that vectors cannot follow.
    fn form(&self, operand: usize, lane_loop: usize) -> Option<Form> {
        if !self.uses(operand, lane_loop) {
            return Some(Form::Broadcast);
        }
        let map = self.maps[operand];
        let rank = map.result_count();
        let users: Vec<_> = (0..rank).filter(|i| map.result(*i).is_ok_and(|e| e.is_function_of_dim(lane_loop))).collect();
        let contiguous = self.is_contiguous(operand);
        let last = map.result(rank - 1).ok()?;
        match users[..] {
            [user] if user + 1 == rank && contiguous && has_unit_step(last, lane_loop) => Some(Form::Contiguous),
            [user] if user + 1 < rank && contiguous && map.result(user).is_ok_and(|e| e.is_dim()) => {
                (last.is_dim() && !self.reduction[last.dim_position()]).then_some(Form::Transposed)
            }
            _ => None,
        }
    }
}

/// Does `expr` grow by one with loop `dim`? True for sums with the bare dim as one term.
fn has_unit_step(expr: AffineExpr<'_>, dim: usize) -> bool {
    if expr.is_dim() {
        return expr.dim_position() == dim;
    }
    expr.is_add() && {
        let (lhs, rhs) = (expr.lhs(), expr.rhs());
        (has_unit_step(lhs, dim) && !rhs.is_function_of_dim(dim)) || (has_unit_step(rhs, dim) && !lhs.is_function_of_dim(dim))
    }
}

impl<'c> Range<'c> {
    fn is_empty(self) -> bool {
        matches!((self.from, self.to), (Bound::Known(from), Bound::Known(to)) if from >= to)
    }

    /// Known rests take every power of two; unknown ones skip some, to keep the code small.
    fn next_width(self, width: i64) -> i64 {
        let known = matches!((self.from, self.to), (Bound::Known(_), Bound::Known(_)));
        if known { width / 2 } else { (width / 4).max(1) }
    }

    /// The part that whole steps cover, and the rest.
    fn split(self, builder: &Builder<'c>, step: i64) -> Result<(Self, Self), String> {
        let middle = match (self.from, self.to) {
            (_, to) if step == 1 => to,
            (Bound::Known(from), Bound::Known(to)) => Bound::Known(from + (to - from) / step * step),
            (from, to) => {
                let (from, to) = (from.value(builder)?, to.value(builder)?);
                let context = builder.context();
                let (a, b, step) = (AffineExpr::symbol(context, 0), AffineExpr::symbol(context, 1), AffineExpr::constant(context, step));
                let map = AffineExpr::floor_div(b + a * AffineExpr::constant(context, -1), step) * step + a;
                Bound::Value(builder.apply(AffineMap::new(context, 0, 2, &[map]), &[from, to])?)
            }
        };
        Ok((Self { from: self.from, to: middle }, Self { from: middle, to: self.to }))
    }

    fn for_each(
        self,
        builder: &Builder<'c>,
        step: i64,
        mut body: impl FnMut(&Builder<'c>, V<'c>) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.is_empty() {
            return Ok(());
        }
        if let (Bound::Known(from), Bound::Known(to)) = (self.from, self.to)
            && from + step == to
        {
            return body(builder, builder.index(from)?);
        }
        let (from, to, step) = (self.from.value(builder)?, self.to.value(builder)?, builder.index(step)?);
        builder.for_loop(from, to, step, &[], |inner, counter, _| {
            body(inner, counter)?;
            Ok(vec![])
        })?;
        Ok(())
    }
}

impl<'c> Bound<'c> {
    fn value(self, builder: &Builder<'c>) -> Result<V<'c>, String> {
        match self {
            Self::Known(value) => builder.index(value),
            Self::Value(value) => Ok(value),
        }
    }
}

/// Transposes a square of vectors by exchanging ever larger off-diagonal blocks (Eklundh 1972): log2(n) steps of n shuffles.
fn transpose<'c>(builder: &Builder<'c>, mut rows: Vec<V<'c>>) -> Result<Vec<V<'c>>, String> {
    use melior::ir::ValueLike;
    let size = rows.len();
    let mut half = 1;
    while half < size {
        let lane = |upper: bool| -> Vec<i64> {
            (0..size)
                .map(|lane| match (lane & half != 0, upper) {
                    (false, false) => lane,
                    (true, false) => size + lane - half,
                    (false, true) => lane + half,
                    (true, true) => size + lane,
                })
                .map(|lane| lane as i64)
                .collect()
        };
        let masks = [false, true].map(|upper| DenseI64ArrayAttribute::new(builder.context(), &lane(upper)));
        for first in (0..size).filter(|row| row & half == 0) {
            let pair = [rows[first], rows[first + half]];
            for (row, mask) in [first, first + half].into_iter().zip(masks) {
                rows[row] = builder.value("vector.shuffle", &pair, pair[0].r#type(), &[("mask", mask.into())])?;
            }
        }
        half *= 2;
    }
    Ok(rows)
}
