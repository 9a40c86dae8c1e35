//! Extents of axes: integer polynomials over the symbols of a function, with floor division.
//!
//! Equal extents have one normal form, so equal tensors have equal MLIR types: sums are flattened and sorted, ceiling division and modulo are
//! written with floor division, exact divisions are carried out. Symbols are at least 0. Refuses affine dims (`d0`): a type has no loops.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::{Add, Mul, Sub},
};
use winze_mlir::melior::{Context, ir::AffineExpr};

/// An extent. `Dim::from(3)` is static, `Dim::symbol(0)` is the first symbol of the function.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dim {
    /// Product of atoms (sorted; empty for the constant) -> non-zero coefficient.
    terms: BTreeMap<Vec<Atom>, i64>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(u32),
    FloorDiv(Box<Dim>, Box<Dim>),
}

/// One step of an extent in postfix order; see [`Dim::postfix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DimStep {
    Const(i64),
    Symbol(u32),
    Add,
    Mul,
    FloorDiv,
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Self { terms: (value != 0).then_some((vec![], value)).into_iter().collect() }
    }
}

impl Dim {
    pub fn symbol(position: u32) -> Self {
        Self::atom(Atom::Symbol(position))
    }

    fn atom(atom: Atom) -> Self {
        Self { terms: [(vec![atom], 1)].into() }
    }

    /// The value of a static extent.
    pub fn as_static(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&vec![]).copied(),
            _ => None,
        }
    }

    /// Position of a bare symbol.
    pub fn as_symbol(&self) -> Option<u32> {
        match self.terms.first_key_value() {
            Some((atoms, 1)) if self.terms.len() == 1 => match atoms[..] {
                [Atom::Symbol(position)] => Some(position),
                _ => None,
            },
            _ => None,
        }
    }

    /// Number of symbols that a map over this extent needs: the highest used plus one.
    pub fn symbol_count(&self) -> u32 {
        let count = |atom: &Atom| match atom {
            Atom::Symbol(position) => position + 1,
            Atom::FloorDiv(a, b) => a.symbol_count().max(b.symbol_count()),
        };
        self.terms.keys().flatten().map(count).max().unwrap_or(0)
    }

    /// Whether a symbol occurs.
    pub fn uses(&self, symbol: u32) -> bool {
        self.terms.keys().flatten().any(|atom| match atom {
            Atom::Symbol(position) => *position == symbol,
            Atom::FloorDiv(a, b) => a.uses(symbol) || b.uses(symbol),
        })
    }

    /// Value for given symbols; `None` if a symbol is missing or arithmetic overflows.
    pub fn eval(&self, symbols: &[i64]) -> Option<i64> {
        self.terms.iter().try_fold(0i64, |sum, (atoms, coefficient)| {
            let product = atoms.iter().try_fold(*coefficient, |product, atom| {
                product.checked_mul(match atom {
                    Atom::Symbol(position) => *symbols.get(*position as usize)?,
                    Atom::FloorDiv(a, b) => floor_div(a.eval(symbols)?, b.eval(symbols)?)?,
                })
            })?;
            sum.checked_add(product)
        })
    }

    /// The extent with every symbol replaced.
    pub fn substitute(&self, replacement: &mut impl FnMut(u32) -> Dim) -> Dim {
        let mut sum = Dim::default();
        for (atoms, coefficient) in &self.terms {
            let mut product = Dim::from(*coefficient);
            for atom in atoms {
                product = &product
                    * &match atom {
                        Atom::Symbol(position) => replacement(*position),
                        Atom::FloorDiv(a, b) => a.substitute(replacement).floor_div(&b.substitute(replacement)),
                    };
            }
            sum = &sum + &product;
        }
        sum
    }

    /// Extents that this one is between, where `range` gives what a symbol is between and `None` keeps it. Divisors count as at least 1.
    pub fn range(&self, range: &dyn Fn(u32) -> Option<(Dim, Dim)>) -> (Dim, Dim) {
        let (mut low, mut high) = (Dim::default(), Dim::default());
        for (atoms, coefficient) in &self.terms {
            let (mut least, mut most, mut signed) = (Dim::from(1), Dim::from(1), false);
            for atom in atoms {
                let (a, b) = match atom {
                    Atom::Symbol(position) => range(*position).unwrap_or_else(|| (Dim::symbol(*position), Dim::symbol(*position))),
                    Atom::FloorDiv(a, b) => divide_ranges(a.range(range), b.range(range)),
                };
                signed |= a.is_signed();
                // Of factors that may be negative only the magnitudes count.
                let b = if a.is_signed() { &b.magnitude() + &a.magnitude() } else { b };
                (least, most) = (&least * &a, &most * &b);
            }
            if signed {
                least = &Dim::default() - &most;
            }
            let k = Dim::from(*coefficient);
            let (a, b) = if *coefficient < 0 { (&most * &k, &least * &k) } else { (&least * &k, &most * &k) };
            (low, high) = (&low + &a, &high + &b);
        }
        (low, high)
    }

    /// Whether the value may be negative, as far as the normal form shows.
    fn is_signed(&self) -> bool {
        self.terms.iter().any(|(atoms, k)| *k < 0 || atoms.iter().any(Atom::is_signed))
    }

    /// An extent no smaller than the absolute value.
    pub fn magnitude(&self) -> Dim {
        self.terms.iter().fold(Dim::default(), |sum, (atoms, k)| {
            let product = atoms.iter().fold(Dim::from(k.saturating_abs()), |product, atom| {
                &product
                    * &match atom {
                        Atom::FloorDiv(a, b) if a.is_signed() => &a.magnitude().floor_div(b) + &Dim::from(1),
                        other => Self::atom(other.clone()),
                    }
            });
            &sum + &product
        })
    }

    /// `self / divisor` rounded down. The divisor is positive.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if divisor.as_static() == Some(1) {
            return self.clone();
        }
        if let Some(quotient) = self.exact_div(divisor) {
            return quotient;
        }
        let Some(c) = divisor.as_static().filter(|c| *c > 0) else {
            return Self::atom(Atom::FloorDiv(Box::new(self.clone()), Box::new(divisor.clone())));
        };
        // (c q + r) / c = q + r / c.
        let (mut whole, mut rest) = (Dim::default(), Dim::default());
        for (atoms, k) in &self.terms {
            if k % c == 0 {
                whole.terms.insert(atoms.clone(), k / c);
            } else if atoms.is_empty() {
                whole = &whole + &Dim::from(k.div_euclid(c));
                rest.terms.insert(vec![], k.rem_euclid(c));
            } else {
                rest.terms.insert(atoms.clone(), *k);
            }
        }
        // floor((g x + k) / (g c)) = floor((x + floor(k / g)) / c).
        let g = rest.terms.iter().filter(|(atoms, _)| !atoms.is_empty()).fold(c, |g, (_, k)| gcd(g, *k));
        let rest = Dim { terms: rest.terms.into_iter().map(|(atoms, k)| (atoms, k.div_euclid(g))).filter(|(_, k)| *k != 0).collect() };
        let c = c / g;
        let divided = match rest.as_static() {
            Some(value) => Dim::from(value.div_euclid(c)),
            None if c == 1 => rest,
            None => match rest.terms.first_key_value() {
                // x / a / b = x / (a b).
                Some((atoms, 1)) if rest.terms.len() == 1 && atoms.len() == 1 => match &atoms[0] {
                    Atom::FloorDiv(x, a) if a.as_static().is_some_and(|a| a > 0) => {
                        return &whole + &x.floor_div(&(a.as_ref() * &Dim::from(c)));
                    }
                    _ => Self::atom(Atom::FloorDiv(Box::new(rest), Box::new(Dim::from(c)))),
                },
                _ => Self::atom(Atom::FloorDiv(Box::new(rest), Box::new(Dim::from(c)))),
            },
        };
        &whole + &divided
    }

    /// `self / divisor` rounded up. The divisor is positive.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        (&(self + divisor) - &Dim::from(1)).floor_div(divisor)
    }

    /// Remainder of [`Dim::floor_div`].
    pub fn modulo(&self, divisor: &Dim) -> Dim {
        self - &(divisor * &self.floor_div(divisor))
    }

    /// The quotient if it is a polynomial: one division by the leading term per step.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        let (lead, lead_k) = divisor.terms.last_key_value()?;
        let (mut rest, mut quotient) = (self.clone(), Dim::default());
        // Each step removes a term of `rest` and adds smaller ones; the bound stops divisions that would not end.
        for _ in 0..64 {
            let Some((atoms, k)) = rest.terms.iter().rev().find(|(atoms, k)| *k % lead_k == 0 && remove_all(atoms, lead).is_some()) else {
                break;
            };
            let factor = Dim { terms: [(remove_all(atoms, lead).expect("just found"), k / lead_k)].into() };
            rest = &rest - &(&factor * divisor);
            quotient = &quotient + &factor;
        }
        rest.terms.is_empty().then_some(quotient)
    }

    /// True if this is a multiple of `factor` for all symbols, as far as the normal form shows.
    pub fn is_multiple_of(&self, factor: i64) -> bool {
        factor != 0 && self.terms.values().all(|k| k % factor == 0)
    }

    /// True if this is at least 0 for all symbols, as far as the normal form shows.
    pub fn is_never_negative(&self) -> bool {
        let nonnegative = |atom: &Atom| match atom {
            Atom::Symbol(_) => true,
            Atom::FloorDiv(a, b) => a.is_never_negative() && b.is_never_negative(),
        };
        self.terms.iter().all(|(atoms, k)| *k >= 0 && atoms.iter().all(nonnegative))
    }

    /// Number of symbols and operations: of two equal extents the simpler one is the better name.
    pub fn complexity(&self) -> usize {
        let size = |atom: &Atom| match atom {
            Atom::Symbol(_) => 1,
            Atom::FloorDiv(a, b) => 1 + a.complexity() + b.complexity(),
        };
        self.terms.iter().map(|(atoms, k)| atoms.iter().map(size).sum::<usize>() + usize::from(*k != 1 && !atoms.is_empty())).sum()
    }

    /// `(coefficient, primitive)` with `self = coefficient * primitive`, where the coefficients of `primitive` have no common divisor. 0 is `0 * 1`.
    pub fn factor(&self) -> (i64, Dim) {
        match self.terms.values().fold(0, |g, k| gcd(g, *k)) {
            0 => (0, Self::from(1)),
            g => (g, Dim { terms: self.terms.iter().map(|(atoms, k)| (atoms.clone(), k / g)).collect() }),
        }
    }

    /// Extents no smaller than `dims`, over fewer different factors, none of which is negative: where both `x` and `(x + r) floordiv k` are factors
    /// of some, all that follows from `x` is written with the quotient of the largest such `k`, so that sizes of an image and of its halves can be
    /// compared. Terms with a negative coefficient stay.
    pub fn over_common_factors(dims: &[Dim]) -> Vec<Dim> {
        let dims: Vec<Dim> = dims.iter().map(Self::over_unsigned_factors).collect();
        let factors: BTreeSet<&Atom> = dims.iter().flat_map(|dim| dim.terms.keys().flatten()).collect();
        // Per dividend that is no quotient itself: the coarsest quotient, its k, and the most that the dividend is.
        let mut coarsest: BTreeMap<&Atom, (i64, &Atom, Dim)> = BTreeMap::new();
        for factor in &factors {
            let (mut k, mut atom, mut most) = (1_i64, *factor, Self::atom((*factor).clone()));
            while let Some((dividend, added, divisor)) = atom.quotient() {
                // x <= k * floor((x + r) / k) + k - 1 - r.
                most = &(&most * &Dim::from(divisor)) + &Dim::from((divisor - 1).saturating_sub(added));
                (k, atom) = (k.saturating_mul(divisor), dividend);
            }
            if coarsest.get(atom).is_none_or(|(known, ..)| *known < k) {
                coarsest.insert(atom, (k, factor, most));
            }
        }
        let rewritten: BTreeMap<&Atom, Dim> = factors
            .iter()
            .map(|factor| {
                let (_, coarse, most) = &coarsest[factor.dividend()];
                let bound = if factor == coarse { most.clone() } else { factor.substitute_dividend(most) };
                let simple = factor != coarse && bound.terms.keys().flatten().all(|atom| atom == *coarse);
                (*factor, if simple { bound } else { Self::atom((*factor).clone()) })
            })
            .collect();
        let rewrite = |dim: &Dim| {
            dim.terms.iter().fold(Dim::default(), |sum, (atoms, coefficient)| {
                let keep = *coefficient < 0;
                let product = atoms.iter().fold(Dim::from(*coefficient), |product, atom| {
                    &product * &if keep { Self::atom(atom.clone()) } else { rewritten[atom].clone() }
                });
                &sum + &product
            })
        };
        dims.iter().map(rewrite).collect()
    }

    /// An extent no smaller, in which no factor can be negative.
    fn over_unsigned_factors(&self) -> Dim {
        self.terms.iter().fold(Dim::default(), |sum, (atoms, k)| {
            let term = Dim { terms: [(atoms.clone(), *k)].into() };
            &sum + &if atoms.iter().any(Atom::is_signed) { term.magnitude() } else { term }
        })
    }

    /// An extent no smaller than either of two without negative factors: the larger coefficient of each product of factors.
    pub fn join(&self, other: &Dim) -> Dim {
        let products: BTreeSet<&Vec<Atom>> = self.terms.keys().chain(other.terms.keys()).collect();
        let coefficient = |dim: &Dim, atoms: &Vec<Atom>| dim.terms.get(atoms).copied().unwrap_or(0);
        let larger = |atoms: &&Vec<Atom>| coefficient(self, atoms).max(coefficient(other, atoms));
        Dim { terms: products.into_iter().map(|atoms| (atoms.clone(), larger(&atoms))).filter(|(_, k)| *k != 0).collect() }
    }

    /// The extent as an expression over symbols, built the same way every time.
    pub fn to_affine<'c>(&self, context: &'c Context) -> AffineExpr<'c> {
        let constant = |value| AffineExpr::constant(context, value);
        let mut sum: Option<AffineExpr> = None;
        // Constants stand last, as MLIR prints them.
        let (constants, others): (Vec<_>, Vec<_>) = self.terms.iter().partition(|(atoms, _)| atoms.is_empty());
        for (atoms, coefficient) in others.into_iter().chain(constants) {
            let mut product: Option<AffineExpr> = None;
            for atom in atoms {
                let factor = match atom {
                    Atom::Symbol(position) => AffineExpr::symbol(context, *position as usize),
                    Atom::FloorDiv(a, b) => AffineExpr::floor_div(a.to_affine(context), b.to_affine(context)),
                };
                product = Some(product.map_or(factor, |p| p * factor));
            }
            let term = match (product, *coefficient) {
                (Some(product), 1) => product,
                (Some(product), k) => product * constant(k),
                (None, k) => constant(k),
            };
            sum = Some(sum.map_or(term, |s| s + term));
        }
        sum.unwrap_or_else(|| constant(0))
    }

    /// Reads an expression over symbols. Fails on loop dims and on divisions by what may be zero or negative.
    pub fn from_affine(expr: AffineExpr) -> Result<Self, String> {
        if expr.is_constant() {
            return Ok(Self::from(expr.constant_value()));
        }
        if expr.is_symbol() {
            return Ok(Self::symbol(expr.symbol_position() as u32));
        }
        if !expr.is_binary() {
            return Err(format!("extent '{expr}' uses a loop dim; extents are written over symbols (s0, s1, ...)"));
        }
        let (a, b) = (Self::from_affine(expr.lhs())?, Self::from_affine(expr.rhs())?);
        if expr.is_add() {
            return Ok(&a + &b);
        }
        if expr.is_mul() {
            return Ok(&a * &b);
        }
        if b.as_static().is_some_and(|b| b <= 0) {
            return Err(format!("extent '{expr}' divides by {b}; divisors are positive"));
        }
        Ok(if expr.is_floor_div() {
            a.floor_div(&b)
        } else if expr.is_ceil_div() {
            a.ceil_div(&b)
        } else {
            a.modulo(&b)
        })
    }

    /// The extent in postfix order, for stack machines: every operator takes the two values before it.
    pub fn postfix(&self) -> Vec<DimStep> {
        let mut steps = vec![];
        self.push_postfix(&mut steps);
        steps
    }

    fn push_postfix(&self, steps: &mut Vec<DimStep>) {
        if self.terms.is_empty() {
            steps.push(DimStep::Const(0));
        }
        for (i, (atoms, coefficient)) in self.terms.iter().enumerate() {
            for (j, atom) in atoms.iter().enumerate() {
                match atom {
                    Atom::Symbol(position) => steps.push(DimStep::Symbol(*position)),
                    Atom::FloorDiv(a, b) => {
                        a.push_postfix(steps);
                        b.push_postfix(steps);
                        steps.push(DimStep::FloorDiv);
                    }
                }
                if j > 0 {
                    steps.push(DimStep::Mul);
                }
            }
            if atoms.is_empty() || *coefficient != 1 {
                steps.push(DimStep::Const(*coefficient));
                if !atoms.is_empty() {
                    steps.push(DimStep::Mul);
                }
            }
            if i > 0 {
                steps.push(DimStep::Add);
            }
        }
    }
}

/// Quotients, rounded down. A divisor that is not a constant may be as small as 1.
fn divide_ranges((low, high): (Dim, Dim), (least, most): (Dim, Dim)) -> (Dim, Dim) {
    if least == most && !least.is_signed() {
        return (low.floor_div(&least), high.floor_div(&least));
    }
    let high = match least.as_static() {
        Some(least) if least > 1 && !high.is_signed() => high.floor_div(&Dim::from(least)),
        _ if !high.is_signed() => high,
        _ => high.magnitude(),
    };
    (if low.is_signed() { &Dim::default() - &low.magnitude() } else { Dim::default() }, high)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    (b > 0).then(|| a.div_euclid(b))
}

/// `atoms` without one occurrence of each of `divisor`.
fn remove_all(atoms: &[Atom], divisor: &[Atom]) -> Option<Vec<Atom>> {
    let mut rest = atoms.to_vec();
    for atom in divisor {
        rest.remove(rest.iter().position(|a| a == atom)?);
    }
    Some(rest)
}

impl Atom {
    /// Whether the value may be negative, as far as the normal form shows.
    fn is_signed(&self) -> bool {
        matches!(self, Self::FloorDiv(a, _) if a.is_signed())
    }

    /// `(x, r, k)` if this is `floor((x + r) / k)` for one factor `x`.
    fn quotient(&self) -> Option<(&Atom, i64, i64)> {
        let Self::FloorDiv(dividend, divisor) = self else { return None };
        let k = divisor.as_static().filter(|k| *k > 0)?;
        let constant = dividend.terms.get(&vec![]).copied().unwrap_or(0);
        let mut others = dividend.terms.iter().filter(|(atoms, _)| !atoms.is_empty());
        match (others.next()?, others.next()) {
            ((atoms, 1), None) if atoms.len() == 1 => Some((&atoms[0], constant, k)),
            _ => None,
        }
    }

    /// What quotients of quotients divide.
    fn dividend(&self) -> &Atom {
        self.quotient().map_or(self, |(x, ..)| x.dividend())
    }

    /// This with another value for what it divides.
    fn substitute_dividend(&self, value: &Dim) -> Dim {
        let Some((x, added, k)) = self.quotient() else { return value.clone() };
        (&x.substitute_dividend(value) + &Dim::from(added)).floor_div(&Dim::from(k))
    }
}

impl Add for &Dim {
    type Output = Dim;

    fn add(self, other: Self) -> Dim {
        let mut terms = self.terms.clone();
        for (atoms, k) in &other.terms {
            let sum = terms.get(atoms).copied().unwrap_or(0).saturating_add(*k);
            if sum == 0 {
                terms.remove(atoms);
            } else {
                terms.insert(atoms.clone(), sum);
            }
        }
        Dim { terms }
    }
}

impl Mul for &Dim {
    type Output = Dim;

    #[expect(clippy::suspicious_arithmetic_impl, reason = "a product of sums is a sum of products")]
    fn mul(self, other: Self) -> Dim {
        let mut product = Dim::default();
        for (a, ka) in &self.terms {
            for (b, kb) in &other.terms {
                let mut atoms = [&a[..], &b[..]].concat();
                atoms.sort();
                product = &product + &Dim { terms: [(atoms, ka.saturating_mul(*kb))].into() };
            }
        }
        product
    }
}

impl Sub for &Dim {
    type Output = Dim;

    fn sub(self, other: Self) -> Dim {
        self + &(other * &Dim::from(-1))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        for (i, (atoms, k)) in self.terms.iter().rev().enumerate() {
            let sign = if i == 0 { "" } else { " + " };
            let factors: Vec<String> = atoms
                .iter()
                .map(|atom| match atom {
                    Atom::Symbol(position) => format!("s{position}"),
                    Atom::FloorDiv(a, b) => format!("({a}) floordiv ({b})"),
                })
                .chain((atoms.is_empty() || *k != 1).then(|| k.to_string()))
                .collect();
            write!(f, "{sign}{}", factors.join(" * "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(position: u32) -> Dim {
        Dim::symbol(position)
    }

    #[test]
    fn normal_forms_are_equal() {
        let three = Dim::from(3);
        assert_eq!(&(&s(0) + &three) - &s(0), three);
        assert_eq!((&s(0) * &Dim::from(12)).floor_div(&Dim::from(4)), &s(0) * &three);
        assert_eq!((&(&s(0) * &Dim::from(4)) + &Dim::from(6)).floor_div(&Dim::from(4)), &s(0) + &Dim::from(1));
        assert_eq!(s(0).floor_div(&Dim::from(2)).floor_div(&three), s(0).floor_div(&Dim::from(6)));
        assert_eq!((&(&s(0) * &s(1)) * &Dim::from(12)).floor_div(&(&s(0) * &Dim::from(4))), &s(1) * &three);
        let sum = &s(0) + &s(1);
        assert_eq!((&sum * &three).floor_div(&sum), three);
        assert_eq!((&sum * &sum).floor_div(&sum), sum);
        assert_eq!((&s(0) * &Dim::from(4)).modulo(&Dim::from(2)), Dim::from(0));
        assert_eq!(s(0).floor_div(&s(0)), Dim::from(1));
        assert_eq!((&s(0) + &Dim::from(1)).exact_div(&s(0)), None);
    }

    #[test]
    fn ranges_hold_every_value() {
        let (three, n) = (Dim::from(3), s(1));
        // s0 is found while running, at most s1 + 2.
        let upper = &n + &Dim::from(2);
        for dim in [
            s(0),
            &(&s(0) * &three) - &Dim::from(4),
            &n - &s(0),
            (&n - &s(0)).floor_div(&three),
            &(&n - &s(0)).floor_div(&three) * &s(0),
            &(&Dim::from(1) - &s(0)).floor_div(&Dim::from(2)) * &(&n - &s(0)).floor_div(&three),
            (&s(0) * &n).ceil_div(&three),
            s(0).modulo(&three),
        ] {
            let (low, high) = dim.range(&|symbol| (symbol == 0).then(|| (Dim::default(), upper.clone())));
            assert!(low.symbol_count() != 1 && high.symbol_count() != 1, "{low} to {high}");
            for n in 0..7 {
                for found in 0..=n + 2 {
                    let value = dim.eval(&[found, n]).unwrap();
                    let (low, high) = (low.eval(&[-1, n]).unwrap(), high.eval(&[-1, n]).unwrap());
                    assert!((low..=high).contains(&value), "{dim} = {value} at {found}, {n}: {low} to {high}");
                }
            }
        }
    }

    #[test]
    fn affine_round_trip_keeps_values() {
        let context = Context::new();
        let two = Dim::from(2);
        for dim in [
            Dim::from(0),
            s(1),
            &(&s(0) + &s(1)) - &two,
            s(0).floor_div(&two),
            s(0).ceil_div(&two),
            s(0).modulo(&two),
            &s(0) * &s(1),
            (&s(0) * &s(1)).floor_div(&s(2)),
            (&(&s(0) * &Dim::from(3)) - &Dim::from(7)).floor_div(&two),
        ] {
            let expr = dim.to_affine(&context);
            let read = Dim::from_affine(expr).unwrap();
            assert_eq!(read, dim);
            assert_eq!(read.to_affine(&context), expr);
            assert!(dim.eval(&[11, 5, 4]).is_some());
        }
        assert_eq!((&(&s(0) * &Dim::from(3)) - &Dim::from(7)).floor_div(&two).eval(&[2]), Some(-1));
        assert_eq!(s(0).ceil_div(&two).eval(&[7]), Some(4));
        assert_eq!(s(0).modulo(&two).eval(&[7]), Some(1));
    }

    #[test]
    fn postfix_computes_the_same() {
        let dim = &(&s(0) * &s(1)).floor_div(&Dim::from(4)) + &Dim::from(7);
        let mut stack: Vec<i64> = vec![];
        for step in dim.postfix() {
            let value = match step {
                DimStep::Const(value) => value,
                DimStep::Symbol(position) => [10, 3][position as usize],
                _ => {
                    let (b, a) = (stack.pop().unwrap(), stack.pop().unwrap());
                    match step {
                        DimStep::Add => a + b,
                        DimStep::Mul => a * b,
                        _ => a.div_euclid(b),
                    }
                }
            };
            stack.push(value);
        }
        assert_eq!(stack, [dim.eval(&[10, 3]).unwrap()]);
    }
}
