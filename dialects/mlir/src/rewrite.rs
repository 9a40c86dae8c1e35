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
    mlirRewritePatternSetCreate, mlirRewritePatternSetDestroy,
};
use std::{
    ffi::c_void,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Rewrites `op` through the rewriter; `Ok(false)` means the pattern does not apply and changed nothing. Canonicalization runs one pattern on
/// several threads.
pub trait Pattern: for<'c, 'a> Fn(OperationRef<'c, 'a>, &RewriterBase<'c, 'a>) -> Result<bool, String> + Send + Sync + 'static {}
impl<F> Pattern for F where F: for<'c, 'a> Fn(OperationRef<'c, 'a>, &RewriterBase<'c, 'a>) -> Result<bool, String> + Send + Sync + 'static {}

/// Patterns for one context.
pub struct PatternSet<'c> {
    raw: MlirRewritePatternSet,
    /// Whether MLIR owns the set.
    borrowed: bool,
    failed: Arc<AtomicBool>,
    context: MlirContext,
    _context: PhantomData<&'c Context>,
}

impl<'c> PatternSet<'c> {
    pub fn new(context: &'c Context) -> Self {
        // SAFETY: the context outlives the set.
        let raw = unsafe { mlirRewritePatternSetCreate(context.to_raw()) };
        Self { raw, borrowed: false, failed: Arc::default(), context: context.to_raw(), _context: PhantomData }
    }

    /// A set that MLIR owns, inside a canonicalization hook.
    pub(crate) fn borrowed(context: &'c Context, raw: MlirRewritePatternSet) -> Self {
        Self { raw, borrowed: true, failed: Arc::default(), context: context.to_raw(), _context: PhantomData }
    }

    /// Adds a pattern for operations named `root`.
    pub fn add<F: Pattern>(&mut self, root: &str, benefit: u32, pattern: F) -> &mut Self {
        let callbacks =
            MlirRewritePatternCallbacks { construct: None, destruct: Some(destruct::<F>), matchAndRewrite: Some(match_and_rewrite::<F>) };
        let user_data = Box::into_raw(Box::new(Callback { pattern, failed: Arc::clone(&self.failed) })).cast();
        // SAFETY: the set takes the pattern, whose destructor frees the closure.
        unsafe {
            let pattern =
                mlirOpRewritePatternCreate(str_to_raw(root), benefit, self.context, callbacks, user_data, 0, std::ptr::null_mut());
            mlirRewritePatternSetAdd(self.raw, pattern);
        }
        self
    }

    /// Applies the patterns inside `op` until nothing changes, folding on the way. An error of a pattern, reported as a diagnostic where its op
    /// is, does not stop the others but makes the result an error.
    pub fn apply_greedily(self, op: OperationRef<'c, '_>) -> Result<(), String> {
        // SAFETY: freezing empties the set; frozen set and configuration are destroyed here, the set on drop.
        let converged = unsafe {
            let frozen = mlirFreezeRewritePattern(self.raw);
            let config = mlirGreedyRewriteDriverConfigCreate();
            let result = mlirApplyPatternsAndFoldGreedilyWithOp(op.to_raw(), frozen, config);
            mlirGreedyRewriteDriverConfigDestroy(config);
            mlirFrozenRewritePatternSetDestroy(frozen);
            result.value != 0
        };
        if self.failed.load(Ordering::Relaxed) {
            return Err("a rewrite pattern failed".into());
        }
        if converged { Ok(()) } else { Err("greedy rewriting did not converge".into()) }
    }
}

impl Drop for PatternSet<'_> {
    fn drop(&mut self) {
        if !self.borrowed {
            // SAFETY: made in `new`, destroyed once; it frees the patterns that were not frozen.
            unsafe { mlirRewritePatternSetDestroy(self.raw) }
        }
    }
}

/// What a pattern in MLIR owns.
struct Callback<F> {
    pattern: F,
    failed: Arc<AtomicBool>,
}

unsafe extern "C" fn destruct<F>(user_data: *mut c_void) {
    // SAFETY: made by Box::into_raw in `add`, destroyed once by MLIR.
    drop(unsafe { Box::from_raw(user_data.cast::<Callback<F>>()) });
}

unsafe extern "C" fn match_and_rewrite<F: Pattern>(
    _: MlirRewritePattern,
    op: MlirOperation,
    rewriter: MlirPatternRewriter,
    user_data: *mut c_void,
) -> MlirLogicalResult {
    // SAFETY: the driver passes live objects; `user_data` is the boxed callback.
    let (op, rewriter, callback) =
        unsafe { (OperationRef::from_raw(op), PatternRewriter::from_raw(rewriter), &*user_data.cast::<Callback<F>>()) };
    let location = op.location();
    let applied = catch(|| (callback.pattern)(op, &rewriter.as_rewriter_base())).and_then(|result| result).unwrap_or_else(|message| {
        callback.failed.store(true, Ordering::Relaxed);
        emit_error(location, &message);
        false
    });
    MlirLogicalResult { value: applied.into() }
}
