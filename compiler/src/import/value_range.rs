//! An integer value of the IR -> extents that its elements are between, where the ops that compute it tell.
//!
//! Sizes that are computed while running need a largest value before; most follow from dims: counts of elements, positions, clamped numbers.

use winze_graph::{
    dialect::AnyOp,
    dim::Dim,
    ops::constant::read_constant,
    types::{ElementType, TensorType},
};
use winze_mlir::melior::ir::{
    OperationRef, Value,
    operation::{OperationLike, OperationResult},
};

/// Ops that are looked through, one behind the other.
const MAX_DEPTH: usize = 64;

/// Smallest and largest value, each as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub low: Option<Dim>,
    pub high: Option<Dim>,
}

impl Range {
    fn new(low: i64, high: Dim) -> Self {
        Self { low: Some(Dim::from(low)), high: Some(high) }
    }

    fn exactly(value: Dim) -> Self {
        Self { low: Some(value.clone()), high: Some(value) }
    }

    /// Known to be at least 0.
    fn is_natural(&self) -> bool {
        self.low.as_ref().and_then(Dim::as_static).is_some_and(|low| low >= 0)
    }

    /// What holds the elements of both.
    fn join(self, other: Self) -> Self {
        let natural = self.is_natural() && other.is_natural();
        let low = self.low.zip(other.low).and_then(|(a, b)| ordered(a, b)).map(|(low, _)| low);
        let high = self.high.zip(other.high).and_then(|(a, b)| match ordered(a.clone(), b.clone()) {
            Some((_, high)) => Some(high),
            // Of two that are not negative the sum is no smaller.
            None => natural.then(|| &a + &b),
        });
        Self { low, high }
    }
}

/// The smaller and the larger of two, where their difference tells.
fn ordered(a: Dim, b: Dim) -> Option<(Dim, Dim)> {
    let difference = (&a - &b).as_static()?;
    Some(if difference <= 0 { (a, b) } else { (b, a) })
}

/// An extent that is at least each of two.
pub fn larger(a: Dim, b: Dim) -> Dim {
    ordered(a.clone(), b.clone()).map_or_else(|| &a + &b, |(_, larger)| larger)
}

/// The range of a value; `from` gives those of values that no op computes.
pub fn range_of(value: Value, from: &dyn Fn(Value) -> Option<Range>) -> Range {
    visit(value, from, 0)
}

fn visit(value: Value, from: &dyn Fn(Value) -> Option<Range>, depth: usize) -> Range {
    if let Some(known) = from(value) {
        return known;
    }
    let Ok(r#type) = TensorType::of(value) else { return Range::default() };
    if r#type.element == ElementType::Bool {
        return Range::new(0, Dim::from(1));
    }
    let Ok(result) = OperationResult::try_from(value) else { return Range::default() };
    let owner = result.owner();
    if r#type.element.is_float() || depth > MAX_DEPTH {
        return Range::default();
    }
    of_op(owner, &r#type, from, depth + 1)
}

fn of_op(op: OperationRef, r#type: &TensorType, from: &dyn Fn(Value) -> Option<Range>, depth: usize) -> Range {
    let operand = |i: usize| op.operand(i).map_or_else(|_| Range::default(), |value| visit(value, from, depth));
    let sum = |a: Option<Dim>, b: Option<Dim>| a.zip(b).map(|(a, b)| &a + &b);
    match AnyOp::cast(op) {
        Some(AnyOp::Constant(constant)) => {
            let Ok(tensor) = read_constant(constant.value()) else { return Range::default() };
            let items = || (0..tensor.count()).map(|i| tensor.get(i).i64());
            match (items().min(), items().max()) {
                (Some(low), Some(high)) => Range::new(low, Dim::from(high)),
                _ => Range::exactly(Dim::from(0)),
            }
        }
        Some(AnyOp::Dim(dim)) => match TensorType::of(dim.input()) {
            Ok(input) => input.dims.get(dim.axis() as usize).cloned().map_or_else(Range::default, Range::exactly),
            Err(_) => Range::default(),
        },
        Some(AnyOp::Iota(iota)) => match r#type.dims.get(iota.axis() as usize) {
            Some(extent) => Range::new(0, extent.clone()),
            None => Range::default(),
        },
        // Narrowing may wrap, but sizes are taken to fit.
        Some(
            AnyOp::Convert(_)
            | AnyOp::Reshape(_)
            | AnyOp::Broadcast(_)
            | AnyOp::Slice(_)
            | AnyOp::DynamicSlice(_)
            | AnyOp::Transpose(_)
            | AnyOp::Reverse(_)
            | AnyOp::Gather(_),
        ) => operand(0),
        Some(AnyOp::Concat(_)) => (1..op.operand_count()).fold(operand(0), |all, i| all.join(operand(i))),
        Some(AnyOp::Select(_)) => operand(1).join(operand(2)),
        Some(AnyOp::Add(_)) => {
            let (a, b) = (operand(0), operand(1));
            Range { low: sum(a.low, b.low), high: sum(a.high, b.high) }
        }
        Some(AnyOp::Sub(_)) => {
            let (a, b) = (operand(0), operand(1));
            let negated = |dim: Option<Dim>| dim.map(|dim| &Dim::from(0) - &dim);
            Range { low: sum(a.low, negated(b.high)), high: sum(a.high, negated(b.low)) }
        }
        Some(AnyOp::Mul(_)) => {
            let (a, b) = (operand(0), operand(1));
            if !a.is_natural() || !b.is_natural() {
                return Range::default();
            }
            Range { low: Some(Dim::from(0)), high: a.high.zip(b.high).map(|(a, b)| &a * &b) }
        }
        Some(AnyOp::Div(_)) => {
            let (a, b) = (operand(0), operand(1));
            match b.low.as_ref().and_then(Dim::as_static) {
                Some(by) if by > 0 && a.is_natural() => {
                    Range { low: Some(Dim::from(0)), high: a.high.map(|a| a.floor_div(&Dim::from(by))) }
                }
                _ => Range::default(),
            }
        }
        Some(AnyOp::Mod(_)) => match operand(1) {
            Range { low: Some(low), high } if low.as_static().is_some_and(|low| low > 0) => Range { low: Some(Dim::from(0)), high },
            _ => Range::default(),
        },
        Some(AnyOp::Minimum(_)) => {
            let (a, b) = (operand(0), operand(1));
            let low = a.low.zip(b.low).and_then(|(a, b)| ordered(a, b)).map(|(low, _)| low);
            // Either bounds the smaller one; one that is a number bounds best.
            let high = match (a.high, b.high) {
                (Some(a), Some(b)) => {
                    Some(ordered(a.clone(), b.clone()).map_or_else(|| if b.as_static().is_some() { b } else { a }, |o| o.0))
                }
                (a, b) => a.or(b),
            };
            Range { low, high }
        }
        Some(AnyOp::Maximum(_)) => {
            let (a, b) = (operand(0), operand(1));
            let low = match (a.low.clone(), b.low.clone()) {
                (Some(a), Some(b)) => {
                    Some(ordered(a.clone(), b.clone()).map_or_else(|| if b.as_static().is_some() { b } else { a }, |o| o.1))
                }
                (a, b) => a.or(b),
            };
            // max(x, 0) is at most x where x is at least 0, and 0 elsewhere.
            let floor = |range: &Range| range.low == range.high && range.low.as_ref().and_then(Dim::as_static) == Some(0);
            let high = match (floor(&a), floor(&b)) {
                (true, _) => b.high,
                (_, true) => a.high,
                _ => a.join(b).high,
            };
            Range { low, high }
        }
        Some(AnyOp::Reduce(reduce)) => {
            let x = operand(0);
            match reduce.kind().as_str() {
                "max" | "min" => x,
                "add" if x.is_natural() => {
                    let Ok(input) = TensorType::of(reduce.input()) else { return Range::default() };
                    let count = reduce.axes().iter().fold(Dim::from(1), |count, axis| &count * &input.dims[*axis as usize]);
                    Range { low: Some(Dim::from(0)), high: x.high.map(|high| &high * &count) }
                }
                _ => Range::default(),
            }
        }
        _ => Range::default(),
    }
}
