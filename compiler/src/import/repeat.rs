//! Loops over tensors as `graph.while`, for operators that go step by step.

use super::{error::Failure, node::NodeContext, value::Tensor};
use winze_graph::{
    dialect::{Add, DynamicUpdateSlice, Lt, While, Yield},
    dim::Dim,
    types::ElementType,
};
use winze_mlir::melior::ir::{Block, BlockLike, BlockRef, Region, RegionLike, Type, Value, ValueLike, operation::OperationLike};

/// A loop in the making: it counts its turns from 0 (0-d i64) and carries values, also such as come up while its body is filled.
pub struct Turns<'c, 'a> {
    before: Region<'c>,
    before_block: BlockRef<'c, 'a>,
    body: Region<'c>,
    /// Where the ops of a turn go.
    pub block: BlockRef<'c, 'a>,
    start: Vec<Value<'c, 'a>>,
    /// Number of the turn.
    pub counter: Tensor<'c, 'a>,
}

impl<'c, 'a> Turns<'c, 'a> {
    pub fn begin(cx: &mut NodeContext<'_, '_, 'c, 'a>) -> Result<Self, Failure> {
        let ((before, before_block), (body, block)) = (new_region(), new_region());
        let zero = cx.number(&Dim::from(0));
        let mut turns = Self { before, before_block, body, block, start: vec![], counter: zero.clone() };
        turns.counter = turns.carry(cx, &zero)?;
        Ok(turns)
    }

    /// Carries one more value: what it is in a turn. The next turn's is due at the end, in the same order.
    pub fn carry(&mut self, cx: &mut NodeContext<'_, '_, 'c, 'a>, initial: &Tensor<'c, 'a>) -> Result<Tensor<'c, 'a>, Failure> {
        check_plain(initial)?;
        let initial = cx.value(initial)?;
        self.start.push(initial);
        self.before_block.add_argument(initial.r#type(), cx.location);
        let now = self.block.add_argument(initial.r#type(), cx.location);
        // SAFETY: the block goes into an op of the function that is being built, or is dropped with an error.
        cx.wrap(unsafe { Value::from_raw(now.to_raw()) })
    }

    /// Carries a tensor of `count` slices along a new axis, of which each turn writes `part` at `at`: what the next turn sees.
    pub fn collect(
        &mut self,
        cx: &mut NodeContext<'_, '_, 'c, 'a>,
        part: &Tensor<'c, 'a>,
        (axis, count): (usize, &Dim),
        at: &Tensor<'c, 'a>,
    ) -> Result<Tensor<'c, 'a>, Failure> {
        check_plain(part)?;
        let (mut dims, mut one) = (part.dims().to_vec(), part.dims().to_vec());
        dims.insert(axis, count.clone());
        one.insert(axis, Dim::from(1));
        let zero = cx.scalar(part.element(), 0.0)?;
        let empty = cx.broadcast_to(&zero, &dims)?;
        let all = self.carry(cx, &empty)?;
        self.turn(cx, |cx| {
            let part = cx.reshape(part, one)?;
            let (all, part, at) = (cx.value(&all)?, cx.value(&part)?, cx.value(at)?);
            let op = DynamicUpdateSlice::create(cx.context(), cx.location, all, part, &[at], vec![axis as i64], &[all.r#type()]);
            cx.emit(op)
        })
    }

    /// Has `fill` make ops of a turn.
    pub fn turn<'x, 'p, R>(&self, cx: &mut NodeContext<'x, 'p, 'c, 'a>, fill: impl FnOnce(&mut NodeContext<'x, 'p, 'c, 'a>) -> R) -> R {
        within(cx, self.block, fill)
    }

    /// Ends the loop with what the next turn carries. Before each turn `go_on` says from the counter and the carried values (0-d bool) whether there is one.
    /// Results: the number of turns, then the last values.
    pub fn end(
        self,
        cx: &mut NodeContext<'_, '_, 'c, 'a>,
        next: &[Tensor<'c, 'a>],
        go_on: impl FnOnce(&mut NodeContext<'_, '_, 'c, 'a>, &[Tensor<'c, 'a>]) -> Result<Tensor<'c, 'a>, Failure>,
    ) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
        let types: Vec<Type<'c>> = self.start.iter().map(|value| value.r#type()).collect();
        let next = self.turn(cx, |cx| {
            let one = cx.number(&Dim::from(1));
            let counter = cx.binary(Add::create, &self.counter, &one)?;
            let value = |tensor| check_plain(tensor).and_then(|()| cx.value(tensor));
            std::iter::once(&counter).chain(next).map(value).collect::<Result<Vec<_>, Failure>>()
        })?;
        if !next.iter().map(|value| value.r#type()).eq(types.iter().copied()) {
            return Failure::invalid("the values that its steps carry change their types");
        }
        self.block.append_operation(Yield::create(cx.context(), cx.location, &next));
        let go_on = within(cx, self.before_block, |cx| {
            let mut carried = vec![];
            for i in 0..types.len() {
                let argument = self.before_block.argument(i).expect("one per carried value").to_raw();
                // SAFETY: as in `carry`.
                carried.push(cx.wrap(unsafe { Value::from_raw(argument) })?);
            }
            let go_on = go_on(cx, &carried)?;
            cx.value(&go_on)
        })?;
        self.before_block.append_operation(Yield::create(cx.context(), cx.location, &[go_on]));
        let op = cx.block.append_operation(While::create(cx.context(), cx.location, &self.start, [self.before, self.body], &types));
        let results: Vec<Value<'c, 'a>> = op.results().map(Into::into).collect();
        results.into_iter().map(|value| cx.wrap(value)).collect()
    }
}

/// Loops do not carry elements that stand for others.
fn check_plain(tensor: &Tensor) -> Result<(), Failure> {
    match tensor.narrow {
        Some(narrow) => Failure::unsupported(format!("element type {} of what a loop carries or collects", narrow.name)),
        None => Ok(()),
    }
}

/// A region with one block, and a reference to the block that outlives the borrow of the region.
pub fn new_region<'c, 'a>() -> (Region<'c>, BlockRef<'c, 'a>) {
    let region = Region::new();
    // SAFETY: the region owns the block and goes into an op of the function that is being built, or is dropped with an error.
    let block = unsafe { BlockRef::from_raw(region.append_block(Block::new(&[])).to_raw()) };
    (region, block)
}

/// Runs `action` with ops going to another block.
pub fn within<'x, 'p, 'c, 'a, R>(
    cx: &mut NodeContext<'x, 'p, 'c, 'a>,
    block: BlockRef<'c, 'a>,
    action: impl FnOnce(&mut NodeContext<'x, 'p, 'c, 'a>) -> R,
) -> R {
    let outer = std::mem::replace(&mut cx.block, block);
    let result = action(cx);
    cx.block = outer;
    result
}

impl<'c, 'a> NodeContext<'_, '_, 'c, 'a> {
    /// Runs `step` for 0, 1, ... below `count`. It sees the number of the step (0-d i64) and the carried values, and makes the next ones, of equal types.
    pub fn repeat(
        &mut self,
        count: &Dim,
        initial: &[Tensor<'c, 'a>],
        step: impl FnOnce(&mut Self, &Tensor<'c, 'a>, &[Tensor<'c, 'a>]) -> Result<Vec<Tensor<'c, 'a>>, Failure>,
    ) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
        let limit = self.extent(count, ElementType::I64)?;
        let mut turns = Turns::begin(self)?;
        let carried = initial.iter().map(|tensor| turns.carry(self, tensor)).collect::<Result<Vec<_>, _>>()?;
        let next = turns.turn(self, |cx| step(cx, &turns.counter, &carried))?;
        let mut results = turns.end(self, &next, |cx, carried| cx.compare(Lt::create, &carried[0], &limit))?;
        results.remove(0);
        Ok(results)
    }
}
