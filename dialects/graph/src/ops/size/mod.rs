//! `graph.size`: gives a symbol of the function the value of a scalar that is computed while running.

use crate::{dialect::Size, dim::Dim, op::OpDefinition, ops::r#yield::control, tensor::Tensor, types::dims_of_attribute};
use winze_mlir::{melior::ir::OperationRef, walk};

pub const DEFINITION: OpDefinition = control("graph.size", Some(verify));

/// What a `graph.size` says: the symbol, its smallest and its largest value.
pub struct Bound {
    pub symbol: u32,
    pub lower: Dim,
    pub upper: Dim,
}

impl Bound {
    /// Whether nothing is known about the largest value, so that a session finds out how much room there must be.
    pub fn is_open(&self) -> bool {
        self.upper.as_symbol() == Some(self.symbol)
    }

    pub fn of(size: &Size) -> Result<Self, String> {
        let symbol = u32::try_from(size.symbol()).map_err(|_| format!("symbol {} is negative", size.symbol()))?;
        match <[Dim; 2]>::try_from(dims_of_attribute(size.bounds())?) {
            Ok([lower, upper]) => Ok(Self { symbol, lower, upper }),
            Err(dims) => Err(format!("'bounds' has {} results; give the smallest and the largest value", dims.len())),
        }
    }

    /// Those of a function, in order.
    pub fn all(function: OperationRef) -> Result<Vec<Self>, String> {
        let mut all = vec![];
        walk::walk(function, &mut |op| {
            Size::cast(op).map_or(Ok(()), |size| {
                all.push(Self::of(&size)?);
                Ok::<(), String>(())
            })
        })?;
        Ok(all)
    }
}

fn verify(op: OperationRef) -> Result<(), String> {
    let bound = Bound::of(&Size(op))?;
    let upper = if bound.is_open() { 0 } else { bound.upper.symbol_count() };
    let uses = bound.lower.symbol_count().max(upper);
    if uses > bound.symbol {
        return Err(format!("the bounds of symbol {} use symbol {}; they are over symbols before it", bound.symbol, uses - 1));
    }
    Ok(())
}

/// Symbol values after this op, for evaluation.
pub fn eval(op: OperationRef, operands: &[Tensor], symbols: &[i64]) -> Result<Vec<i64>, String> {
    let bound = Bound::of(&Size(op))?;
    let value = operands.first().ok_or("a size without a value")?.get(0).i64();
    let limit = |dim: &Dim| dim.eval(symbols).ok_or_else(|| format!("bound {dim} of symbol {} has no value", bound.symbol));
    let (lower, upper) = (limit(&bound.lower)?, if bound.is_open() { i64::MAX } else { limit(&bound.upper)? });
    if !(lower.max(0)..=upper).contains(&value) {
        return Err(format!("the size is {value}; it must be {} to {upper}", lower.max(0)));
    }
    let mut symbols = symbols.to_vec();
    symbols.resize(symbols.len().max(bound.symbol as usize + 1), -1);
    symbols[bound.symbol as usize] = value;
    Ok(symbols)
}
