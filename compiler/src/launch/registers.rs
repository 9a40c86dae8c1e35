//! Host arithmetic of a launch program: `arith` ops on i64 and i1 registers.

use melior::{
    Context,
    ir::{
        BlockLike, BlockRef, Identifier, Location, Operation, OperationRef, Type, Value, ValueLike, attribute::IntegerAttribute,
        operation::OperationBuilder, r#type::IntegerType,
    },
};
use winze_graph::{
    dim::{Dim, DimStep},
    op::op_name,
    types::{ElementType, TensorType},
};
use winze_launch as launch;

/// arith's comparison predicates, by number.
const EQ: i64 = 0;
const NE: i64 = 1;
const LT: i64 = 2;
const LE: i64 = 3;
const GT: i64 = 4;
const GE: i64 = 5;

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

    /// An op whose operands and result have one type.
    pub fn same(self, name: &str, lhs: Value<'c, '_>, rhs: Value<'c, '_>) -> Value<'c, 'a> {
        self.op(name, &[lhs, rhs], lhs.r#type())
    }

    /// `arith.cmpi` of signed integers.
    fn compare(self, predicate: i64, lhs: Value<'c, '_>, rhs: Value<'c, '_>) -> Value<'c, 'a> {
        let predicate = IntegerAttribute::new(self.integer(), predicate).into();
        let op = OperationBuilder::new("arith.cmpi", self.location)
            .add_attributes(&[(Identifier::new(self.context, "predicate"), predicate)])
            .add_operands(&[lhs, rhs])
            .add_results(&[self.boolean()])
            .build();
        append(self.block, op.expect("a comparison builds"))
    }

    fn select(self, condition: Value<'c, '_>, on_true: Value<'c, '_>, on_false: Value<'c, '_>) -> Value<'c, 'a> {
        self.op("arith.select", &[condition, on_true, on_false], on_true.r#type())
    }

    /// An elementwise or view op of the graph dialect on scalars of i64 and bool, with the same values as on tensors.
    pub fn graph_op(self, op: OperationRef<'c, '_>, operands: &[Value<'c, 'a>]) -> Result<Value<'c, 'a>, String> {
        let name = op_name(op);
        let first = *operands.first().ok_or_else(|| format!("'{name}' without operands is no host scalar"))?;
        let second = operands.get(1).copied().unwrap_or(first);
        let bools = first.r#type() == self.boolean();
        let arithmetic = |on_bool: &str, on_int: &str| self.same(if bools { on_bool } else { on_int }, first, second);
        Ok(match name.as_str() {
            "graph.reshape" => first,
            "graph.convert" => {
                let result: Value = op.result(0).map_err(|e| e.to_string())?.into();
                match (bools, TensorType::of(result)?.element == ElementType::Bool) {
                    (true, false) => self.op("arith.extui", &[first], self.integer()),
                    (false, true) => self.compare(NE, first, self.number(0)),
                    _ => first,
                }
            }
            "graph.select" => self.select(first, second, *operands.get(2).ok_or("a select without three operands")?),
            "graph.add" => self.same("arith.addi", first, second),
            "graph.sub" => self.same("arith.subi", first, second),
            "graph.mul" => self.same("arith.muli", first, second),
            "graph.div" => self.divide(first, second).0,
            "graph.rem" => {
                let (quotient, divisor, _) = self.divide(first, second);
                self.same("arith.subi", first, self.same("arith.muli", quotient, divisor))
            }
            "graph.mod" => {
                let (_, divisor, floor) = self.divide(first, second);
                self.same("arith.subi", first, self.same("arith.muli", floor, divisor))
            }
            "graph.neg" => self.same("arith.subi", self.number(0), first),
            "graph.abs" => self.same("arith.maxsi", first, self.same("arith.subi", self.number(0), first)),
            "graph.minimum" => arithmetic("arith.andi", "arith.minsi"),
            "graph.maximum" => arithmetic("arith.ori", "arith.maxsi"),
            "graph.and" => self.same("arith.andi", first, second),
            "graph.or" => self.same("arith.ori", first, second),
            "graph.xor" => self.same("arith.xori", first, second),
            "graph.not" => self.same("arith.xori", first, self.constant(first.r#type(), -1)),
            "graph.eq" => self.compare(EQ, first, second),
            "graph.ne" => self.compare(NE, first, second),
            "graph.lt" => self.compare(LT, first, second),
            "graph.le" => self.compare(LE, first, second),
            "graph.gt" => self.compare(GT, first, second),
            "graph.ge" => self.compare(GE, first, second),
            _ => return Err(format!("'{name}' is no host scalar")),
        })
    }

    /// Quotient toward zero, -1 for a divisor of zero; the divisor and the floored quotient as remainders need them: 0 and any for a divisor of zero.
    fn divide(self, lhs: Value<'c, 'a>, rhs: Value<'c, 'a>) -> (Value<'c, 'a>, Value<'c, 'a>, Value<'c, 'a>) {
        let zero = self.number(0);
        let undefined = self.compare(EQ, rhs, zero);
        let divisor = self.select(undefined, self.number(1), rhs);
        let floor = self.same("arith.floordivsi", lhs, divisor);
        let exact = self.compare(EQ, self.same("arith.muli", floor, divisor), lhs);
        // A negative quotient that is not exact lies one below the truncated one.
        let upward =
            self.same("arith.andi", self.compare(LT, floor, zero), self.same("arith.xori", exact, self.constant(self.boolean(), 1)));
        let truncated = self.same("arith.addi", floor, self.op("arith.extui", &[upward], self.integer()));
        (self.select(undefined, self.number(-1), truncated), rhs, floor)
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
