//! The op registry: what each op of a graph means to the compiler, beside what ODS says.
//!
//! An op of another dialect takes part in the same way: build its ODS with winze-mlir-build and register an [`OpDefinition`] of its full name.

use crate::{
    dialect,
    eval::EvalContext,
    lower::{LowerContext, Op, ScalarBuilder, Val},
    ops,
    tensor::{Scalar, Tensor},
    types::ElementType,
};
use std::{
    collections::HashMap,
    sync::{LazyLock, Once, RwLock},
};
use winze_mlir::{
    melior::{dialect::DialectRegistry, ir::OperationRef},
    op_hooks::{self, Canonicalize, OpHooks},
};

/// How kernel forming treats an op.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// One result element from the operands' elements at the same index.
    Elementwise,
    /// Each result element is an element of an operand at an index given by an affine map: reshape, transpose, broadcast, slice, reverse.
    View,
    /// Sums of products: dot_general, conv.
    Contraction,
    /// Folds whole axes.
    Reduction,
    /// Folds sliding windows.
    Window,
    /// Normalises along an axis.
    Softmax,
    /// Moves elements with conditions on the index, or makes them from it: concat, pad, iota.
    DataMovement,
    /// A value known to the compiler, or an extent.
    Constant,
    /// Holds regions or ends them.
    Control,
}

/// Results of an op for operand values; the op gives attributes and result types.
pub type Eval = for<'c, 'a> fn(&EvalContext, OperationRef<'c, 'a>, &[Tensor]) -> Result<Vec<Tensor>, String>;
/// Lowered results of an op; operands are read through the context.
pub type Lower = for<'c> fn(&mut LowerContext<'c>, Op<'c>) -> Result<Vec<Val<'c>>, String>;
/// Element of the result from elements of the operands. The element type is the last operand's.
pub type EvalScalar = fn(ElementType, &[Scalar]) -> Scalar;
/// The same as operations on scalars. The element type is the last operand's. f16 and bf16 come and go as f32, bool as i1.
pub type LowerScalar = for<'c> fn(&ScalarBuilder<'c>, Op<'c>, ElementType, &[Val<'c>]) -> Val<'c>;

/// One element of an elementwise op.
#[derive(Clone, Copy)]
pub struct ScalarForm {
    pub eval: EvalScalar,
    pub lower: LowerScalar,
}

/// An op. `name` is its full name: `graph.softmax`.
#[derive(Clone, Copy)]
pub struct OpDefinition {
    pub name: &'static str,
    pub role: Role,
    /// Verifier, result-type inference and canonicalization, as far as the ODS record asks for them.
    pub hooks: OpHooks,
    pub eval: Eval,
    pub lower: Lower,
    /// Scalar form of an elementwise op, also used inside epilogues of other kernels.
    pub scalar: Option<ScalarForm>,
}

impl OpDefinition {
    /// An elementwise op by its scalar form; evaluation and lowering follow from it.
    pub const fn elementwise(name: &'static str, eval: EvalScalar, lower: LowerScalar) -> Self {
        Self {
            name,
            role: Role::Elementwise,
            hooks: OpHooks { verify: None, infer: None, canonicalize: None },
            eval: ops::elementwise::eval,
            lower: ops::elementwise::lower,
            scalar: Some(ScalarForm { eval, lower }),
        }
    }

    /// The same with patterns for its canonical form.
    pub const fn canonicalized(self, canonicalize: Canonicalize) -> Self {
        Self { hooks: OpHooks { canonicalize: Some(canonicalize), ..self.hooks }, ..self }
    }
}

static OPS: LazyLock<RwLock<HashMap<&'static str, OpDefinition>>> = LazyLock::new(Default::default);

/// Registers an op with its hooks. A later registration replaces an earlier one.
pub fn register_op(definition: &OpDefinition) {
    op_hooks::register(definition.name, definition.hooks);
    OPS.write().expect("no registration panics").insert(definition.name, *definition);
}

/// The definition of the op called `name` (`graph.softmax`).
pub fn find(name: &str) -> Option<OpDefinition> {
    OPS.read().expect("no registration panics").get(name).copied()
}

/// The definition of an operation.
pub fn find_for(op: OperationRef) -> Option<OpDefinition> {
    find(&op_name(op))
}

/// Full name of an operation.
pub fn op_name(op: OperationRef) -> String {
    use winze_mlir::melior::ir::operation::OperationLike;
    op.name().as_string_ref().as_str().unwrap_or("").to_string()
}

/// Puts the graph dialect into `registry` and all its hooks and passes into the process. Call it as often as you like, from any thread.
pub fn register(registry: &DialectRegistry) {
    static ONCE: Once = Once::new();
    dialect::handle().insert_dialect(registry);
    ONCE.call_once(|| {
        for definition in ops::all() {
            register_op(&definition);
        }
        winze_mlir::pass::register::<crate::lower::ConvertGraphToLinalg>();
        winze_mlir::pass::register::<crate::lower::PlaceInDestinations>();
        winze_mlir::pass::register::<crate::lower::CopySlices>();
    });
}
