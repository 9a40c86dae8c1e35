//! Folding many elements into one: the kinds of graph.reduce and graph.reduce_window, their neutral elements, and accumulation in a wider type.

use crate::{
    lower::{LowerContext, Op, Part, ScalarBuilder, Val, is_half},
    tensor::Scalar,
    types::{Class, ElementType},
};
use winze_mlir::melior::ir::ValueLike;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fold {
    Add,
    Mul,
    Max,
    Min,
    And,
    Or,
}

impl Fold {
    /// The kind called `name`, if `element` has it.
    pub fn parse(name: &str, element: ElementType) -> Result<Self, String> {
        let fold = match name {
            "add" => Self::Add,
            "mul" => Self::Mul,
            "max" => Self::Max,
            "min" => Self::Min,
            "and" => Self::And,
            "or" => Self::Or,
            _ => return Err(format!("kind '{name}' is unknown; use add, mul, max, min, and, or")),
        };
        let fits = match fold {
            Self::And | Self::Or => element.class() != Class::Float,
            _ => element.class() != Class::Bool,
        };
        if fits {
            Ok(fold)
        } else {
            Err(format!("kind '{name}' is not defined for {element}; bool has and and or, floats have add, mul, max, min"))
        }
    }

    /// Result of folding nothing.
    pub fn neutral(self, element: ElementType) -> Scalar {
        let bits = element.bits();
        match (self, element.class()) {
            (Self::Add | Self::Or, _) => Scalar::of(element, 0),
            (Self::Mul, _) => Scalar::of(element, 1),
            (Self::Max, Class::Float) => Scalar::Float(f64::NEG_INFINITY),
            (Self::Min, Class::Float) => Scalar::Float(f64::INFINITY),
            (Self::Max, Class::Signed) => Scalar::Signed(i64::MIN >> (64 - bits)),
            (Self::Min, Class::Signed) => Scalar::Signed(i64::MAX >> (64 - bits)),
            (Self::Max, _) => Scalar::Unsigned(0),
            (Self::Min, _) => Scalar::Unsigned(u64::MAX >> (64 - bits)),
            (Self::And, Class::Bool) => Scalar::Bool(true),
            (Self::And, Class::Signed) => Scalar::Signed(-1),
            (Self::And, _) => Scalar::Unsigned(u64::MAX >> (64 - bits)),
        }
    }

    /// Folds one more element, without rounding or wrapping.
    pub fn eval(self, a: Scalar, b: Scalar) -> Scalar {
        use Scalar::{Bool, Float, Signed, Unsigned};
        match (a, b) {
            (Float(a), Float(b)) => Float(match self {
                Self::Add => a + b,
                Self::Mul => a * b,
                _ if a.is_nan() || b.is_nan() => f64::NAN,
                Self::Max => a.max(b),
                _ => a.min(b),
            }),
            (Signed(a), Signed(b)) => Signed(match self {
                Self::Add => a.wrapping_add(b),
                Self::Mul => a.wrapping_mul(b),
                Self::Max => a.max(b),
                Self::Min => a.min(b),
                Self::And => a & b,
                Self::Or => a | b,
            }),
            (Bool(a), Bool(b)) => Bool(if self == Self::And { a && b } else { a || b }),
            (a, b) => Unsigned(match (self, a.u64(), b.u64()) {
                (Self::Add, a, b) => a.wrapping_add(b),
                (Self::Mul, a, b) => a.wrapping_mul(b),
                (Self::Max, a, b) => a.max(b),
                (Self::Min, a, b) => a.min(b),
                (Self::And, a, b) => a & b,
                (Self::Or, a, b) => a | b,
            }),
        }
    }

    /// Folds one more element in a kernel. Sums and products may be reassociated.
    pub fn lower<'c>(self, b: &ScalarBuilder<'c>, element: ElementType, accumulator: Val<'c>, x: Val<'c>) -> Val<'c> {
        let signed = element.class() == Class::Signed;
        let name = match (self, element.is_float()) {
            (Self::Add, true) => "arith.addf",
            (Self::Mul, true) => "arith.mulf",
            (Self::Max, true) => "arith.maximumf",
            (Self::Min, true) => "arith.minimumf",
            (Self::Add, false) => "arith.addi",
            (Self::Mul, false) => "arith.muli",
            (Self::Max, false) if signed => "arith.maxsi",
            (Self::Min, false) if signed => "arith.minsi",
            (Self::Max, false) => "arith.maxui",
            (Self::Min, false) => "arith.minui",
            (Self::And, _) => "arith.andi",
            (Self::Or, _) => "arith.ori",
        };
        if element.is_float() && matches!(self, Self::Add | Self::Mul) {
            let fastmath = b.attribute("#arith.fastmath<reassoc>");
            return b.value(name, &[accumulator, x], x.r#type(), &[("fastmath", fastmath)]);
        }
        b.same(name, &[accumulator, x])
    }
}

/// A scalar constant in the type in which `element` is computed; bool as i1.
pub fn constant<'c>(b: &ScalarBuilder<'c>, element: ElementType, value: Scalar) -> Val<'c> {
    match value {
        Scalar::Float(value) => b.constant(b.compute_type(element), value),
        other => b.constant_int(b.compute_type(element), other.i64()),
    }
}

/// The element type in which elements of `element` are folded: f32 for f16 and bf16.
pub fn accumulator(element: ElementType) -> ElementType {
    if is_half(element) { ElementType::F32 } else { element }
}

/// Fills the destination of result 0 (for f16 and bf16: a temporary of f32) with `neutral`, lets `build` fold into it, and rounds.
pub fn accumulate<'c>(
    cx: &mut LowerContext<'c>,
    op: Op<'c>,
    neutral: impl Fn(ElementType) -> Scalar,
    build: impl FnOnce(&mut LowerContext<'c>, Part<'c>) -> Result<Val<'c>, String>,
) -> Result<Val<'c>, String> {
    let result = cx.result_type(op, 0)?;
    let element = accumulator(result.element);
    let storage = cx.storage(element);
    let start = cx.builder.store(constant(&cx.builder, element, neutral(element)), storage);
    let map = cx.identity(result.rank());
    if element == result.element {
        let destination = cx.destination(op, 0)?;
        let tensor = cx.fill(start, destination);
        return build(cx, Part { tensor, element, map });
    }
    let wide = cx.empty(storage, &result.dims)?;
    let tensor = cx.fill(start, wide);
    let folded = build(cx, Part { tensor, element, map: map.clone() })?;
    let destination = cx.destination(op, 0)?;
    Ok(cx.map(&[Part { tensor: folded, element, map }], destination, result.element, |b, x| b.narrow(result.element, x[0])))
}
