//! A counted loop over tensors as `graph.while`, for operators that go step by step.

use super::{
    error::Failure,
    node::NodeContext,
    value::{Data, Tensor},
};
use winze_graph::{
    dialect::{Add, Lt, While, Yield},
    dim::Dim,
    types::ElementType,
};
use winze_mlir::melior::ir::{Block, BlockLike, BlockRef, Location, Region, RegionLike, Type, Value, ValueLike, operation::OperationLike};

impl<'c, 'a> NodeContext<'_, '_, 'c, 'a> {
    /// Runs `step` for 0, 1, ... below `count`. It sees the number of the step (0-d i64) and the carried values, and makes the next ones, of equal types.
    pub fn repeat(
        &mut self,
        count: &Dim,
        initial: &[Tensor<'c, 'a>],
        step: impl FnOnce(&mut Self, &Tensor<'c, 'a>, &[Tensor<'c, 'a>]) -> Result<Vec<Tensor<'c, 'a>>, Failure>,
    ) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
        let limit = self.extent(count, ElementType::I64)?;
        let zero = self.counter(0);
        let start = [&[zero], initial].concat().iter().map(|tensor| self.value(tensor)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<Type<'c>> = start.iter().map(|value| value.r#type()).collect();
        let arguments: Vec<(Type<'c>, Location<'c>)> = types.iter().map(|r#type| (*r#type, self.location)).collect();

        let (before, _) = self.region(&arguments, |cx, carried| Ok(vec![cx.compare(Lt::create, &carried[0], &limit)?]))?;
        let (body, next) = self.region(&arguments, |cx, carried| {
            let one = cx.counter(1);
            let next = cx.binary(Add::create, &carried[0], &one)?;
            Ok([vec![next], step(cx, &carried[0], &carried[1..])?].concat())
        })?;
        if next != types {
            return Failure::invalid("the values that its steps carry change their types");
        }
        let op = self.block.append_operation(While::create(self.context(), self.location, &start, [before, body], &types));
        let results: Vec<Value<'c, 'a>> = op.results().skip(1).map(Into::into).collect();
        results.into_iter().map(|value| self.wrap(value)).collect()
    }

    fn counter(&self, value: i64) -> Tensor<'c, 'a> {
        Tensor::integers(ElementType::I64, &[], vec![value.into()])
    }

    /// A region whose one block yields what `fill` makes of its arguments, and the types of that.
    fn region(
        &mut self,
        arguments: &[(Type<'c>, Location<'c>)],
        fill: impl FnOnce(&mut Self, &[Tensor<'c, 'a>]) -> Result<Vec<Tensor<'c, 'a>>, Failure>,
    ) -> Result<(Region<'c>, Vec<Type<'c>>), Failure> {
        let region = Region::new();
        // SAFETY: the region owns the block and goes into an op of the function that is being built, or is dropped with an error.
        let block: BlockRef<'c, 'a> = unsafe { BlockRef::from_raw(region.append_block(Block::new(arguments)).to_raw()) };
        let mut carried = vec![];
        for i in 0..arguments.len() {
            let argument: Value<'c, 'a> = block.argument(i).expect("made with the block").into();
            carried.push(Tensor { data: Data::Value(argument), ..self.wrap(argument)? });
        }
        let outer = std::mem::replace(&mut self.block, block);
        let yielded =
            fill(self, &carried).and_then(|tensors| tensors.iter().map(|tensor| self.value(tensor)).collect::<Result<Vec<_>, _>>());
        self.block = outer;
        let yielded = yielded?;
        block.append_operation(Yield::create(self.context(), self.location, &yielded));
        Ok((region, yielded.iter().map(|value| value.r#type()).collect()))
    }
}
