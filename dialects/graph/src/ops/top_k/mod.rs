//! `graph.top_k`: positions of the best elements of each row. Rows are independent; equal elements keep their order.

use crate::{
    dialect::TopK,
    eval::EvalContext,
    infer::unary_types,
    lower::{Builder, LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::{Scalar, Tensor},
    types::{Class, ElementType},
};
use winze_mlir::{
    melior::ir::{OperationRef, ValueLike},
    op_hooks::OpHooks,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.top_k",
    role: Role::DataMovement,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn verify(op: OperationRef) -> Result<(), String> {
    let (input, result) = unary_types(op)?;
    let (Some((count, rows)), Some((k, result_rows))) = (input.dims.split_last(), result.dims.split_last()) else {
        return Err("a 0-d input has no rows".into());
    };
    if result.element != ElementType::I32 || result_rows != rows {
        return Err(format!(
            "the result of {:?} is {} {:?}; positions of k are i32 {rows:?} and k",
            input.dims, result.element, result.dims
        ));
    }
    match (k.as_static(), count.as_static()) {
        (Some(k), Some(count)) if k > count => Err(format!("{k} of {count} elements")),
        _ => Ok(()),
    }
}

fn eval(cx: &EvalContext, op: OperationRef, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let (input, smallest, (result, shape)) = (&inputs[0], TopK(op).smallest(), cx.result_type(op, 0)?);
    let (count, k) = (input.shape.last().copied().unwrap_or(0), shape.last().copied().unwrap_or(0));
    if k > count {
        return Err(format!("{k} of {count} elements"));
    }
    let unsigned = input.element().class() == Class::Unsigned;
    Ok(vec![Tensor::from_index_fn(result.element, &shape, |index| {
        let row = &index[..index.len() - 1];
        let key = |i: usize| {
            let x = input.at(&[row, &[i]].concat());
            if unsigned { i128::from(x.u64()) } else { i128::from(x.i64()) }
        };
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|i| if smallest { key(*i) } else { -key(*i) });
        Scalar::of(ElementType::I32, order[index[index.len() - 1]] as i64)
    })])
}

/// What both forms know of the op.
struct Search<'c> {
    input: Val<'c>,
    element: ElementType,
    count: Val<'c>,
    k: Val<'c>,
    smallest: bool,
}

impl<'c> Search<'c> {
    /// Whether element `x` is better than `y`.
    fn better(&self, b: &Builder<'c>, x: Val<'c>, y: Val<'c>) -> Val<'c> {
        let predicate = match (self.element.class(), self.smallest) {
            (Class::Unsigned, false) => "ugt",
            (Class::Unsigned, true) => "ult",
            (_, false) => "sgt",
            (_, true) => "slt",
        };
        b.cmpi(predicate, x, y)
    }

    fn at(&self, b: &Builder<'c>, row: &[Val<'c>], i: Val<'c>) -> Val<'c> {
        b.extract(self.input, &[row, &[i]].concat())
    }
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let (input, of_input) = cx.operand(op, 0)?;
    let extents = of_input.dims.iter().map(|dim| cx.extent(dim)).collect::<Result<Vec<_>, _>>()?;
    let (count, rows) = extents.split_last().expect("inference refuses a 0-d input");
    let k = cx.extent(cx.result_type(op, 0)?.dims.last().expect("as many axes as the input"))?;
    let search = Search { input, element: of_input.element, count: *count, k, smallest: TopK(op).smallest() };
    let destination = cx.destination(op, 0)?;
    let value = if cx.has_tensor_loops() {
        rows_in_order(&cx.builder, &search, rows, &mut vec![], destination)
    } else {
        cx.map(&[], destination, ElementType::I32, |b, _| {
            let index: Vec<Val> = (0..extents.len()).map(|i| b.loop_index(i)).collect();
            let (rank, row) = index.split_last().expect("as many loops as axes");
            by_bits(b, &search, row, *rank)
        })
    };
    Ok(vec![value])
}

/// Loops over the rows; each fills its part of the result.
fn rows_in_order<'c>(b: &Builder<'c>, search: &Search<'c>, extents: &[Val<'c>], row: &mut Vec<Val<'c>>, result: Val<'c>) -> Val<'c> {
    match extents.get(row.len()) {
        Some(extent) => b.count_to(*extent, &[result], |b, i, result| {
            row.push(i);
            let next = rows_in_order(b, search, extents, row, result[0]);
            row.pop();
            vec![next]
        })[0],
        None => Heap { search, row }.best(b, result),
    }
}

/// The best positions so far as a binary heap in a row of the result: the children of place `j` stand at `2j + 1` and `2j + 2`, the worst of all at 0.
struct Heap<'a, 'c> {
    search: &'a Search<'c>,
    row: &'a [Val<'c>],
}

impl<'c> Heap<'_, 'c> {
    /// The first `k` positions become a heap, better ones replace its worst, and what is left is put in order from the worst to the best.
    fn best(&self, b: &Builder<'c>, result: Val<'c>) -> Val<'c> {
        let (k, zero, one) = (self.search.k, b.index(0), b.index(1));
        let result = b.count_to(k, &[result], |b, j, result| vec![self.set(b, result[0], j, j)])[0];
        let half = b.same("arith.shrui", &[k, one]);
        let result = b.count_to(half, &[result], |b, step, result| {
            let j = b.same("arith.subi", &[b.same("arith.subi", &[half, one]), step]);
            vec![self.sift(b, result[0], j, self.get(b, result[0], j), k)]
        })[0];
        let rest = b.same("arith.subi", &[self.search.count, k]);
        // Nothing is better than the worst of none.
        let rest = b.select(b.cmpi("eq", k, zero), zero, rest);
        let result = b.count_to(rest, &[result], |b, step, result| {
            let i = b.same("arith.addi", &[k, step]);
            let key = self.search.at(b, self.row, i);
            let worst = self.search.at(b, self.row, self.get(b, result[0], zero));
            let better = self.search.better(b, key, worst);
            vec![b.if_else(better, result[0].r#type(), |b| self.sift(b, result[0], zero, i, k), |_| result[0])]
        })[0];
        b.count_to(k, &[result], |b, step, result| {
            let last = b.same("arith.subi", &[b.same("arith.subi", &[k, one]), step]);
            let moved = self.get(b, result[0], last);
            let result = self.set(b, result[0], last, self.get(b, result[0], zero));
            vec![self.sift(b, result, zero, moved, last)]
        })[0]
    }

    /// Puts `position` at place `hole` of the first `size` places, or further down: worse children move up.
    fn sift(&self, b: &Builder<'c>, result: Val<'c>, hole: Val<'c>, position: Val<'c>, size: Val<'c>) -> Val<'c> {
        let (one, bit, tensor) = (b.index(1), b.integer(1), result.r#type());
        let moved = b.count_to(self.levels(b, size), &[result, hole], |b, _, carried| {
            let (result, hole) = (carried[0], carried[1]);
            let left = b.same("arith.addi", &[b.same("arith.addi", &[hole, hole]), one]);
            let right = b.same("arith.addi", &[left, one]);
            let has_right = b.cmpi("slt", right, size);
            let is_right = |b: &Builder<'c>| self.comes_before(b, self.get(b, result, left), self.get(b, result, right));
            let is_right = b.if_else(has_right, bit, is_right, |b| b.constant_int(bit, 0));
            let child = b.select(is_right, right, left);
            let has_child = b.cmpi("slt", child, size);
            let moves = |b: &Builder<'c>| self.comes_before(b, position, self.get(b, result, child));
            let moves = b.if_else(has_child, bit, moves, |b| b.constant_int(bit, 0));
            let result = b.if_else(moves, tensor, |b| self.set(b, result, hole, self.get(b, result, child)), |_| result);
            vec![result, b.select(moves, child, hole)]
        });
        self.set(b, moved[0], moved[1], position)
    }

    /// How often a place of the first `size` can move down: the bits of `size`.
    fn levels(&self, b: &Builder<'c>, size: Val<'c>) -> Val<'c> {
        let i64 = b.integer(64);
        let size = b.value("arith.index_cast", &[size], i64, &[]);
        let levels = b.same("arith.subi", &[b.constant_int(i64, 64), b.same("math.ctlz", &[size])]);
        b.value("arith.index_cast", &[levels], b.index_type(), &[])
    }

    /// Whether one position comes before another: its element is better, or equal and further in front.
    fn comes_before(&self, b: &Builder<'c>, i: Val<'c>, j: Val<'c>) -> Val<'c> {
        let (x, y) = (self.search.at(b, self.row, i), self.search.at(b, self.row, j));
        let first = b.same("arith.andi", &[b.cmpi("eq", x, y), b.cmpi("slt", i, j)]);
        b.same("arith.ori", &[self.search.better(b, x, y), first])
    }

    fn get(&self, b: &Builder<'c>, result: Val<'c>, place: Val<'c>) -> Val<'c> {
        let stored = b.extract(result, &[self.row, &[place]].concat());
        b.value("arith.index_cast", &[stored], b.index_type(), &[])
    }

    fn set(&self, b: &Builder<'c>, result: Val<'c>, place: Val<'c>, position: Val<'c>) -> Val<'c> {
        let stored = b.value("arith.index_cast", &[position], ElementType::I32.to_scalar_type(b.context), &[]);
        b.value("tensor.insert", &[&[stored, result], self.row, &[place]].concat(), result.r#type(), &[])
    }
}

/// The position of one rank. The element is found from its highest bit on: a bit is set where enough elements are no smaller.
fn by_bits<'c>(b: &Builder<'c>, search: &Search<'c>, row: &[Val<'c>], rank: Val<'c>) -> Val<'c> {
    let bits = search.element.bits();
    let (scalar, one) = (search.element.to_scalar_type(b.context), b.index(1));
    // Unsigned, and the larger the better.
    let flipped = match (search.element.class(), search.smallest) {
        (Class::Unsigned, false) => 0,
        (Class::Unsigned, true) => -1,
        (_, false) => i64::MIN >> (64 - bits),
        (_, true) => !(i64::MIN >> (64 - bits)),
    };
    let key = |b: &Builder<'c>, i: Val<'c>| b.same("arith.xori", &[search.at(b, row, i), b.constant_int(scalar, flipped)]);
    let how_many = |b: &Builder<'c>, predicate: &'static str, bound: Val<'c>| {
        b.count_to(search.count, &[b.index(0)], |b, i, count| {
            let counts = b.cmpi(predicate, key(b, i), bound);
            vec![b.select(counts, b.same("arith.addi", &[count[0], one]), count[0])]
        })[0]
    };
    let found = b.count_to(b.index(i64::from(bits)), &[b.constant_int(scalar, 0)], |b, step, found| {
        let top = b.constant_int(scalar, i64::MIN >> (64 - bits));
        let amount = b.value("arith.index_cast", &[step], scalar, &[]);
        let with = b.same("arith.ori", &[found[0], b.same("arith.shrui", &[top, amount])]);
        let enough = b.cmpi("sgt", how_many(b, "uge", with), rank);
        vec![b.select(enough, with, found[0])]
    })[0];
    // Among equals, the ranks that are left count from the front.
    let left = b.same("arith.subi", &[rank, how_many(b, "ugt", found)]);
    let position = b.count_to(search.count, &[b.index(0), b.index(0)], |b, i, carried| {
        let equal = b.cmpi("eq", key(b, i), found);
        let wanted = b.same("arith.andi", &[equal, b.cmpi("eq", carried[0], left)]);
        let seen = b.select(equal, b.same("arith.addi", &[carried[0], one]), carried[0]);
        vec![seen, b.select(wanted, i, carried[1])]
    })[1];
    b.value("arith.index_cast", &[position], ElementType::I32.to_scalar_type(b.context), &[])
}
