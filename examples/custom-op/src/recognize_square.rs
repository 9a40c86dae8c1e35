//! `custom-recognize-square`: `graph.mul` of a float value with itself -> `custom.square`. Leaves every other op as it is.

use crate::dialect::Square;
use winze_graph::types::{Class, TensorType};
use winze_mlir::{
    context::context_of,
    melior::{
        dialect::DialectHandle,
        ir::{OperationRef, ValueLike, operation::OperationLike},
    },
    pass::RustPass,
    rewrite::PatternSet,
};

/// The pass.
pub struct RecognizeSquare;

impl RustPass for RecognizeSquare {
    const ARGUMENT: &'static str = "custom-recognize-square";
    const DESCRIPTION: &'static str = "Turn products of a value with itself into custom.square";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![crate::dialect::handle()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let context = context_of(func);
        let mut patterns = PatternSet::new(context);
        patterns.add("graph.mul", 1, |op, rewriter| {
            let (lhs, rhs) = (op.operand(0).map_err(|e| e.to_string())?, op.operand(1).map_err(|e| e.to_string())?);
            if lhs != rhs || TensorType::of(lhs)?.element.class() != Class::Float {
                return Ok(false);
            }
            let square = rewriter.insert(Square::create(context_of(op), op.location(), lhs, &[lhs.r#type()]));
            rewriter.replace_op_with_operation(op, square);
            Ok(true)
        });
        patterns.apply_greedily(func)
    }
}
