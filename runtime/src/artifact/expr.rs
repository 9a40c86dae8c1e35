//! Integer expressions over symbols, in postfix form: evaluated without recursion or allocation, so untrusted ones are safe.

use serde::{Deserialize, Serialize};

/// Deepest operand stack an expression may need.
pub const MAX_STACK: usize = 32;

/// An expression in postfix order. `[Symbol(0), Const(64), Mul]` is `s0 * 64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expr(pub Vec<ExprOp>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExprOp {
    Const(i64),
    Symbol(u32),
    Add,
    Sub,
    Mul,
    FloorDiv,
    CeilDiv,
    Mod,
    Min,
    Max,
}

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    #[error("malformed expression")]
    Malformed,
    #[error("expression uses symbol s{0}, which does not exist")]
    UnknownSymbol(u32),
    #[error("division by zero or a negative number in a size expression")]
    DivisionByZero,
    #[error("size expression does not fit 64 bits")]
    Overflow,
}

impl Expr {
    pub fn constant(value: i64) -> Self {
        Self(vec![ExprOp::Const(value)])
    }

    pub fn symbol(index: u32) -> Self {
        Self(vec![ExprOp::Symbol(index)])
    }

    /// `lhs op rhs`, folded when both are constant.
    pub fn binary(op: ExprOp, lhs: &Expr, rhs: &Expr) -> Self {
        let mut ops = lhs.0.clone();
        ops.extend_from_slice(&rhs.0);
        ops.push(op);
        let expr = Self(ops);
        match (lhs.as_constant(), rhs.as_constant()) {
            (Some(_), Some(_)) => expr.eval(&[]).map_or(expr, Self::constant),
            _ => expr,
        }
    }

    /// The value, if the expression is a single constant.
    pub fn as_constant(&self) -> Option<i64> {
        match self.0[..] {
            [ExprOp::Const(value)] => Some(value),
            _ => None,
        }
    }

    /// In infix form for people: `(batch + 1) * 64`, with `name` giving the symbols' names.
    pub fn to_text(&self, name: &dyn Fn(u32) -> String) -> String {
        let mut stack: Vec<(String, bool)> = Vec::new();
        for op in &self.0 {
            let sign = match *op {
                ExprOp::Const(value) => {
                    stack.push((value.to_string(), true));
                    continue;
                }
                ExprOp::Symbol(symbol) => {
                    stack.push((name(symbol), true));
                    continue;
                }
                ExprOp::Add => "+",
                ExprOp::Sub => "-",
                ExprOp::Mul => "*",
                ExprOp::FloorDiv => "floordiv",
                ExprOp::CeilDiv => "ceildiv",
                ExprOp::Mod => "mod",
                ExprOp::Min => "min",
                ExprOp::Max => "max",
            };
            let (Some((rhs, rhs_atom)), Some((lhs, lhs_atom))) = (stack.pop(), stack.pop()) else { return "?".into() };
            let wrap = |text: String, atom: bool| if atom { text } else { format!("({text})") };
            stack.push(match op {
                ExprOp::Min | ExprOp::Max => (format!("{sign}({lhs}, {rhs})"), true),
                _ => (format!("{} {sign} {}", wrap(lhs, lhs_atom), wrap(rhs, rhs_atom)), false),
            });
        }
        stack.pop().map_or_else(|| "?".into(), |(text, _)| text)
    }

    /// Whether `eval` with this many symbols can fail only for its values: no operand missing or left over, the stack deep enough.
    pub fn check(&self, symbols: usize) -> Result<(), ExprError> {
        let mut depth = 0usize;
        for op in &self.0 {
            match *op {
                ExprOp::Symbol(s) if s as usize >= symbols => return Err(ExprError::UnknownSymbol(s)),
                ExprOp::Const(_) | ExprOp::Symbol(_) => depth += 1,
                _ if depth < 2 => return Err(ExprError::Malformed),
                _ => depth -= 1,
            }
            if depth > MAX_STACK {
                return Err(ExprError::Malformed);
            }
        }
        if depth == 1 { Ok(()) } else { Err(ExprError::Malformed) }
    }

    /// Whether the expression uses a symbol that satisfies `is`.
    pub fn uses(&self, mut is: impl FnMut(u32) -> bool) -> bool {
        self.0.iter().any(|op| matches!(op, ExprOp::Symbol(symbol) if is(*symbol)))
    }

    /// Smallest and largest value where each symbol is in a range. Divisors that can be zero or negative count as 1 there, because no run
    /// gets to a size that divides by them.
    pub fn range(&self, range_of: impl Fn(u32) -> Option<(i64, i64)>) -> Result<(i64, i64), ExprError> {
        let mut stack = [(0i64, 0i64); MAX_STACK];
        let mut depth = 0;
        for op in &self.0 {
            let value = match *op {
                ExprOp::Const(value) => (value, value),
                ExprOp::Symbol(s) => range_of(s).ok_or(ExprError::UnknownSymbol(s))?,
                _ => {
                    if depth < 2 {
                        return Err(ExprError::Malformed);
                    }
                    depth -= 2;
                    apply_to_ranges(*op, stack[depth], stack[depth + 1])?
                }
            };
            *stack.get_mut(depth).ok_or(ExprError::Malformed)? = value;
            depth += 1;
        }
        if depth == 1 { Ok(stack[0]) } else { Err(ExprError::Malformed) }
    }

    /// Value for the given symbols; floor division and modulo round toward negative infinity.
    pub fn eval(&self, symbols: &[i64]) -> Result<i64, ExprError> {
        let mut stack = [0i64; MAX_STACK];
        let mut depth = 0;
        for op in &self.0 {
            let value = match *op {
                ExprOp::Const(value) => value,
                ExprOp::Symbol(s) => *symbols.get(s as usize).ok_or(ExprError::UnknownSymbol(s))?,
                _ => {
                    if depth < 2 {
                        return Err(ExprError::Malformed);
                    }
                    depth -= 2;
                    apply(*op, stack[depth], stack[depth + 1])?
                }
            };
            *stack.get_mut(depth).ok_or(ExprError::Malformed)? = value;
            depth += 1;
        }
        if depth == 1 { Ok(stack[0]) } else { Err(ExprError::Malformed) }
    }
}

fn apply(op: ExprOp, lhs: i64, rhs: i64) -> Result<i64, ExprError> {
    if rhs <= 0 && matches!(op, ExprOp::FloorDiv | ExprOp::CeilDiv | ExprOp::Mod) {
        return Err(ExprError::DivisionByZero);
    }
    match op {
        ExprOp::Add => lhs.checked_add(rhs),
        ExprOp::Sub => lhs.checked_sub(rhs),
        ExprOp::Mul => lhs.checked_mul(rhs),
        ExprOp::FloorDiv => Some(lhs.div_euclid(rhs)),
        ExprOp::CeilDiv => Some(lhs.div_euclid(rhs) + i64::from(lhs.rem_euclid(rhs) != 0)),
        ExprOp::Mod => Some(lhs.rem_euclid(rhs)),
        ExprOp::Min => Some(lhs.min(rhs)),
        ExprOp::Max => Some(lhs.max(rhs)),
        ExprOp::Const(_) | ExprOp::Symbol(_) => return Err(ExprError::Malformed),
    }
    .ok_or(ExprError::Overflow)
}

fn apply_to_ranges(op: ExprOp, lhs: (i64, i64), rhs: (i64, i64)) -> Result<(i64, i64), ExprError> {
    let divides = matches!(op, ExprOp::FloorDiv | ExprOp::CeilDiv | ExprOp::Mod);
    let rhs = if divides { (rhs.0.max(1), rhs.1.max(1)) } else { rhs };
    if op == ExprOp::Mod {
        return Ok((0, (rhs.1 - 1).min(if lhs.0 >= 0 { lhs.1 } else { i64::MAX })));
    }
    // Every other operator is monotone in each operand, so the extremes are at corners.
    let corners = [apply(op, lhs.0, rhs.0)?, apply(op, lhs.0, rhs.1)?, apply(op, lhs.1, rhs.0)?, apply(op, lhs.1, rhs.1)?];
    Ok(corners.into_iter().fold((i64::MAX, i64::MIN), |(low, high), corner| (low.min(corner), high.max(corner))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_value() {
        use ExprOp::*;
        let ranges = |symbol: u32| [(2, 5), (0, 4)].get(symbol as usize).copied();
        for ops in [
            vec![Symbol(0), Symbol(1), Sub, Const(3), Mul],
            vec![Symbol(0), Symbol(1), Mul, Const(-2), Mul, Const(7), Add],
            vec![Const(3), Symbol(1), Sub, Symbol(0), FloorDiv],
            vec![Symbol(1), Const(-9), Add, Const(2), CeilDiv],
            vec![Symbol(1), Symbol(0), Mod, Symbol(0), Max],
            vec![Symbol(1), Symbol(0), Min],
        ] {
            let expr = Expr(ops);
            let (low, high) = expr.range(ranges).unwrap();
            let values: Vec<i64> = (2..=5).flat_map(|a| (0..=4).map(move |b| [a, b])).map(|s| expr.eval(&s).unwrap()).collect();
            assert!(values.iter().all(|value| (low..=high).contains(value)), "{expr:?}: {low}..={high}");
        }
        // A divisor of 0 stops the run before there is a size.
        assert_eq!(Expr(vec![Symbol(0), Symbol(1), FloorDiv]).range(ranges), Ok((0, 5)));
        assert_eq!(Expr(vec![Symbol(0), Const(0), FloorDiv]).range(ranges), Ok((2, 5)));
    }

    fn eval(op: ExprOp, lhs: i64, rhs: i64) -> Result<i64, ExprError> {
        Expr(vec![ExprOp::Symbol(0), ExprOp::Symbol(1), op]).eval(&[lhs, rhs])
    }

    #[test]
    fn values_round_toward_negative_infinity_or_are_errors() {
        for lhs in -7..=7 {
            for rhs in 1..=3 {
                let exact = lhs as f64 / rhs as f64;
                assert_eq!(eval(ExprOp::FloorDiv, lhs, rhs), Ok(exact.floor() as i64));
                assert_eq!(eval(ExprOp::CeilDiv, lhs, rhs), Ok(exact.ceil() as i64));
                assert_eq!(eval(ExprOp::Mod, lhs, rhs), Ok(lhs - exact.floor() as i64 * rhs));
            }
        }
        for op in [ExprOp::FloorDiv, ExprOp::CeilDiv, ExprOp::Mod] {
            for rhs in [0, -1, i64::MIN] {
                assert_eq!(eval(op, i64::MIN, rhs), Err(ExprError::DivisionByZero));
            }
        }
        assert_eq!(eval(ExprOp::CeilDiv, i64::MAX, 2), Ok(1 << 62));
        for (op, lhs, rhs) in [(ExprOp::Add, i64::MAX, 1), (ExprOp::Sub, i64::MIN, 1), (ExprOp::Mul, i64::MAX, 2)] {
            assert_eq!(eval(op, lhs, rhs), Err(ExprError::Overflow));
        }
        assert_eq!((eval(ExprOp::Min, -1, 2), eval(ExprOp::Max, -1, 2)), (Ok(-1), Ok(2)));
    }

    #[test]
    fn check_agrees_with_eval() {
        let malformed: [&[ExprOp]; 4] = [&[], &[ExprOp::Add], &[ExprOp::Const(1), ExprOp::Add], &[ExprOp::Const(1), ExprOp::Const(2)]];
        for ops in malformed {
            let expr = Expr(ops.to_vec());
            assert_eq!((expr.check(0), expr.eval(&[])), (Err(ExprError::Malformed), Err(ExprError::Malformed)));
        }
        for depth in [MAX_STACK, MAX_STACK + 1] {
            let mut ops = vec![ExprOp::Const(1); depth];
            ops.extend(vec![ExprOp::Add; depth - 1]);
            let expr = Expr(ops);
            assert_eq!((expr.check(0).is_ok(), expr.eval(&[]).is_ok()), (depth == MAX_STACK, depth == MAX_STACK));
        }
        assert_eq!(Expr::symbol(2).check(2), Err(ExprError::UnknownSymbol(2)));
        assert_eq!(Expr::symbol(2).eval(&[0, 0]), Err(ExprError::UnknownSymbol(2)));
    }

    #[test]
    fn text_is_infix() {
        let name = |s: u32| ["batch", "width"][s as usize].to_owned();
        let sum = Expr::binary(ExprOp::Add, &Expr::symbol(0), &Expr::constant(1));
        let product = Expr::binary(ExprOp::Mul, &sum, &Expr::constant(64));
        assert_eq!(product.to_text(&name), "(batch + 1) * 64");
        assert_eq!(Expr::binary(ExprOp::Min, &product, &Expr::symbol(1)).to_text(&name), "min((batch + 1) * 64, width)");
        assert_eq!(Expr::binary(ExprOp::Mul, &Expr::constant(6), &Expr::constant(7)), Expr::constant(42));
    }
}
