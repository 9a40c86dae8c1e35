//! Host arithmetic of a launch program: `arith` ops on i64 and i1 registers.

use melior::{
    Context,
    ir::{
        BlockLike, BlockRef, Identifier, Location, Operation, Type, Value, ValueLike, attribute::IntegerAttribute,
        operation::OperationBuilder, r#type::IntegerType,
    },
};
use winze_graph::dim::{Dim, DimStep};
use winze_launch as launch;

/// Appends an op with one result and returns the result.
pub fn append<'c, 'a>(block: BlockRef<'c, 'a>, op: Operation<'c>) -> Value<'c, 'a> {
    let op = block.append_operation(op);
    // SAFETY: the result lives as long as the block.
    unsafe { Value::from_raw(op.result(0).expect("the op has a result").to_raw()) }
}

/// Appends host arithmetic to a block.
#[derive(Clone, Copy)]
pub struct Registers<'c, 'a> {
    pub context: &'c Context,
    pub block: BlockRef<'c, 'a>,
    pub location: Location<'c>,
}

impl<'c, 'a> Registers<'c, 'a> {
    pub fn integer(self) -> Type<'c> {
        IntegerType::new(self.context, 64).into()
    }

    pub fn boolean(self) -> Type<'c> {
        IntegerType::new(self.context, 1).into()
    }

    pub fn op(self, name: &str, operands: &[Value<'c, '_>], result: Type<'c>) -> Value<'c, 'a> {
        let op = OperationBuilder::new(name, self.location).add_operands(operands).add_results(&[result]).build();
        append(self.block, op.expect("arithmetic builds"))
    }

    /// A constant of type `integer` or `boolean`.
    pub fn constant(self, r#type: Type<'c>, value: i64) -> Value<'c, 'a> {
        let value = IntegerAttribute::new(r#type, value).into();
        let op = OperationBuilder::new("arith.constant", self.location)
            .add_attributes(&[(Identifier::new(self.context, "value"), value)])
            .add_results(&[r#type])
            .build();
        append(self.block, op.expect("a constant builds"))
    }

    /// An i64 constant.
    pub fn number(self, value: i64) -> Value<'c, 'a> {
        self.constant(self.integer(), value)
    }

    /// The value of an extent.
    pub fn extent(self, dim: &Dim) -> Result<Value<'c, 'a>, String> {
        let mut stack = vec![];
        for step in dim.postfix() {
            let value = match step {
                DimStep::Const(value) => self.number(value),
                DimStep::Symbol(symbol) => {
                    append(self.block, launch::Symbol::create(self.context, self.location, i64::from(symbol), &[self.integer()]))
                }
                DimStep::Add | DimStep::Mul | DimStep::FloorDiv => {
                    let name = match step {
                        DimStep::Add => "arith.addi",
                        DimStep::Mul => "arith.muli",
                        _ => "arith.floordivsi",
                    };
                    let (Some(b), Some(a)) = (stack.pop(), stack.pop()) else { return Err(format!("the extent {dim} is malformed")) };
                    self.op(name, &[a, b], self.integer())
                }
            };
            stack.push(value);
        }
        stack.pop().ok_or_else(|| format!("the extent {dim} is malformed"))
    }
}
