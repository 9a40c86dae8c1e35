//! Greedy rewriting with patterns written in Rust.
//!
//! melior's driver leaks the frozen pattern set and every closure in it; this one frees both.

use crate::{catch, diagnostics::emit_error, str_to_raw};
use melior::{
    Context, PatternRewriter, RewriterBase,
    ir::{OperationRef, operation::OperationLike},
};
use mlir_sys::{
    MlirContext, MlirLogicalResult, MlirOperation, MlirPatternRewriter, MlirRewritePattern, MlirRewritePatternCallbacks,
    MlirRewritePatternSet, mlirApplyPatternsAndFoldGreedilyWithOp, mlirFreezeRewritePattern, mlirFrozenRewritePatternSetDestroy,
    mlirGreedyRewriteDriverConfigCreate, mlirGreedyRewriteDriverConfigDestroy, mlirOpRewritePatternCreate, mlirRewritePatternSetAdd,
    mlirRewritePatternSetCreate,
};
use std::{ffi::c_void, marker::PhantomData};

/// Rewrites `op` through the rewriter; `Ok(false)` means the pattern does not apply and changed nothing.
pub trait Pattern: for<'c, 'a> Fn(OperationRef<'c, 'a>, &RewriterBase<'c, 'a>) -> Result<bool, String> + 'static {}
impl<F> Pattern for F where F: for<'c, 'a> Fn(OperationRef<'c, 'a>, &RewriterBase<'c, 'a>) -> Result<bool, String> + 'static {}

/// Patterns for one context.
pub struct PatternSet<'c> {
    raw: MlirRewritePatternSet,
    context: MlirContext,
    _context: PhantomData<&'c Context>,
}

impl<'c> PatternSet<'c> {
    pub fn new(context: &'c Context) -> Self {
        // SAFETY: the context outlives the set.
        let raw = unsafe { mlirRewritePatternSetCreate(context.to_raw()) };
        Self { raw, context: context.to_raw(), _context: PhantomData }
    }

    /// A set that MLIR owns, inside a canonicalization hook.
    pub(crate) fn borrowed(context: &'c Context, raw: MlirRewritePatternSet) -> Self {
        Self { raw, context: context.to_raw(), _context: PhantomData }
    }

    /// Adds a pattern for operations named `root`.
    pub fn add<F: Pattern>(&mut self, root: &str, benefit: u32, pattern: F) -> &mut Self {
        let callbacks =
            MlirRewritePatternCallbacks { construct: None, destruct: Some(destruct::<F>), matchAndRewrite: Some(match_and_rewrite::<F>) };
        let user_data = Box::into_raw(Box::new(pattern)).cast();
        // SAFETY: the set takes the pattern, whose destructor frees the closure.
        unsafe {
            let pattern =
                mlirOpRewritePatternCreate(str_to_raw(root), benefit, self.context, callbacks, user_data, 0, std::ptr::null_mut());
            mlirRewritePatternSetAdd(self.raw, pattern);
        }
        self
    }

    /// Applies the patterns inside `op` until nothing changes, folding on the way.
    pub fn apply_greedily(self, op: OperationRef<'c, '_>) -> Result<(), String> {
        // SAFETY: freezing consumes the set; frozen set and configuration are destroyed here.
        let converged = unsafe {
            let frozen = mlirFreezeRewritePattern(self.raw);
            let config = mlirGreedyRewriteDriverConfigCreate();
            let result = mlirApplyPatternsAndFoldGreedilyWithOp(op.to_raw(), frozen, config);
            mlirGreedyRewriteDriverConfigDestroy(config);
            mlirFrozenRewritePatternSetDestroy(frozen);
            result.value != 0
        };
        if converged { Ok(()) } else { Err("greedy rewriting did not converge".into()) }
    }
}

unsafe extern "C" fn destruct<F>(user_data: *mut c_void) {
    // SAFETY: made by Box::into_raw in `add`, destroyed once by MLIR.
    drop(unsafe { Box::from_raw(user_data.cast::<F>()) });
}

unsafe extern "C" fn match_and_rewrite<F: Pattern>(
    _: MlirRewritePattern,
    op: MlirOperation,
    rewriter: MlirPatternRewriter,
    user_data: *mut c_void,
) -> MlirLogicalResult {
    // SAFETY: the driver passes live objects; `user_data` is the boxed closure.
    let (op, rewriter, pattern) = unsafe { (OperationRef::from_raw(op), PatternRewriter::from_raw(rewriter), &*user_data.cast::<F>()) };
    let location = op.location();
    let applied = catch(|| pattern(op, &rewriter.as_rewriter_base())).and_then(|result| result).unwrap_or_else(|message| {
        emit_error(location, &message);
        false
    });
    MlirLogicalResult { value: applied.into() }
}
