//! `graph.top_k`: positions of the best elements of each row. Rows are independent; equal elements keep their order.

use crate::{
    dialect::TopK,
    dim::Dim,
    eval::EvalContext,
    infer::{attribute, operand_type},
    lower::{Builder, LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::{Scalar, Tensor},
    types::{Class, ElementType, TensorType},
};
use winze_mlir::{
    melior::ir::{OperationRef, Type, ValueLike},
    op_hooks::{InferContext, OpHooks},
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.top_k",
    role: Role::DataMovement,
    hooks: OpHooks { verify: None, infer: Some(infer), canonicalize: None },
    eval,
    lower,
    scalar: None,
};

fn infer<'c>(cx: &InferContext<'c, '_>) -> Result<Vec<Type<'c>>, String> {
    let (input, k) = (operand_type(cx, 0)?, attribute::<i64>(cx, "k")?);
    let Some((last, rows)) = input.dims.split_last() else { return Err("a 0-d input has no rows".into()) };
    if k < 0 || last.as_static().is_some_and(|extent| extent < k) {
        return Err(format!("{k} of {last} elements"));
    }
    Ok(vec![TensorType::new(ElementType::I32, [rows, &[Dim::from(k)]].concat()).to_type(cx.context)])
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
    k: i64,
    smallest: bool,
}

impl<'c> Search<'c> {
    /// Whether `a` comes before `b`, which stands in front of it.
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
    let search = Search { input, element: of_input.element, count: *count, k: TopK(op).k(), smallest: TopK(op).smallest() };
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
        None => b.count_to(search.count, &[result], |b, i, result| vec![insert(b, search, row, i, result[0])])[0],
    }
}

/// Puts position `i` among the best of those before it, if it belongs there.
fn insert<'c>(b: &Builder<'c>, search: &Search<'c>, row: &[Val<'c>], i: Val<'c>, result: Val<'c>) -> Val<'c> {
    if search.k == 0 {
        return result;
    }
    let k = b.index(search.k);
    let place = |j: Val<'c>| [row, &[j]].concat();
    let kept = |b: &Builder<'c>, tensor: Val<'c>, j: Val<'c>| {
        let stored = b.extract(tensor, &place(j));
        b.value("arith.index_cast", &[stored], b.index_type(), &[])
    };
    let set = |b: &Builder<'c>, tensor: Val<'c>, j: Val<'c>, position: Val<'c>| {
        let stored = b.value("arith.index_cast", &[position], ElementType::I32.to_scalar_type(b.context), &[]);
        b.value("tensor.insert", &[&[stored, tensor], &place(j)[..]].concat(), tensor.r#type(), &[])
    };
    let own = search.at(b, row, i);
    let filled = b.same("arith.minsi", &[i, k]);
    let last = b.same("arith.subi", &[k, b.index(1)]);
    let open = b.cmpi("slt", i, k);
    // The last of the best is compared where there is one.
    let bit = b.integer(1);
    let accepted = b.if_else(open, bit, |b| b.constant_int(bit, 1), |b| search.better(b, own, search.at(b, row, kept(b, result, last))));
    let put = |b: &Builder<'c>| {
        let end = b.same("arith.minsi", &[filled, last]);
        // From the end: worse ones move back by one, until a better one stands in front.
        let moved = b.count_to(end, &[result, end], |b, step, carried| {
            let (tensor, at) = (carried[0], carried[1]);
            let j = b.same("arith.subi", &[end, step]);
            let here = b.cmpi("eq", j, at);
            let before = b.same("arith.subi", &[j, b.index(1)]);
            let position = kept(b, tensor, before);
            let worse = search.better(b, own, search.at(b, row, position));
            let moves = b.same("arith.andi", &[here, worse]);
            let tensor = b.if_else(moves, tensor.r#type(), |b| set(b, tensor, j, position), |_| tensor);
            vec![tensor, b.select(moves, before, at)]
        });
        set(b, moved[0], moved[1], i)
    };
    b.if_else(accepted, result.r#type(), put, |_| result)
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
