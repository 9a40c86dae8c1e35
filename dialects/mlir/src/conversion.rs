//! Dialect conversion: what is legal, how types convert, and a pattern per illegal op.

use crate::{catch, diagnostics::emit_error, str_to_raw};
use melior::{
    Context, RewriterBase,
    ir::{OperationRef, Type, TypeLike, Value, operation::OperationLike},
};
use mlir_sys::{
    MlirContext, MlirFrozenRewritePatternSet, MlirOperation, MlirRewritePatternSet, MlirRewriterBase, MlirStringRef, MlirType, MlirValue,
    mlirFreezeRewritePattern, mlirFrozenRewritePatternSetDestroy, mlirRewritePatternSetCreate, mlirRewritePatternSetDestroy,
};
use std::{any::Any, ffi::c_void, marker::PhantomData};

type Raw = *mut c_void;

unsafe extern "C" {
    fn winzeTypeConverterCreate() -> Raw;
    fn winzeTypeConverterDestroy(types: Raw);
    fn winzeTypeConverterAdd(types: Raw, convert: unsafe extern "C" fn(Raw, MlirType, *mut MlirType) -> i32, user: Raw);
    fn winzeTypeConverterConvert(types: Raw, r#type: MlirType) -> MlirType;
    fn winzeTargetCreate(context: MlirContext) -> Raw;
    fn winzeTargetDestroy(target: Raw);
    fn winzeTargetLegalDialect(target: Raw, name: MlirStringRef);
    fn winzeTargetIllegalDialect(target: Raw, name: MlirStringRef);
    fn winzeTargetLegalUnknown(target: Raw);
    fn winzeTargetDynamicallyLegalOp(
        target: Raw,
        context: MlirContext,
        name: MlirStringRef,
        legal: unsafe extern "C" fn(Raw, MlirOperation) -> bool,
        user: Raw,
    );
    fn winzeConversionAddPattern(
        set: MlirRewritePatternSet,
        types: Raw,
        root: MlirStringRef,
        benefit: u32,
        context: MlirContext,
        rewrite: unsafe extern "C" fn(Raw, MlirOperation, isize, *const MlirValue, MlirRewriterBase, Raw) -> bool,
        user: Raw,
        drop: unsafe extern "C" fn(Raw),
    );
    fn winzeConversionAddFunctions(set: MlirRewritePatternSet, types: Raw, target: Raw);
    fn winzeApplyConversion(op: MlirOperation, target: Raw, patterns: MlirFrozenRewritePatternSet, full: bool) -> bool;
}

/// What a type conversion says about a type.
pub enum Converted<'c> {
    /// Ask the conversions added earlier; types nobody handles stay as they are.
    NotHandled,
    To(Type<'c>),
    Illegal,
}

/// Converts a type inside a pattern; `None` if it has no legal form.
pub type ConvertType<'x> = dyn Fn(Type<'x>) -> Option<Type<'x>> + 'x;

/// A conversion being described. `apply` runs it once; everything is freed with it.
pub struct Conversion<'c> {
    types: Raw,
    target: Raw,
    set: MlirRewritePatternSet,
    context: MlirContext,
    callbacks: Vec<Box<dyn Any>>,
    _context: PhantomData<&'c Context>,
}

impl<'c> Conversion<'c> {
    pub fn new(context: &'c Context) -> Self {
        // SAFETY: the context outlives the conversion.
        unsafe {
            Self {
                types: winzeTypeConverterCreate(),
                target: winzeTargetCreate(context.to_raw()),
                set: mlirRewritePatternSetCreate(context.to_raw()),
                context: context.to_raw(),
                callbacks: vec![],
                _context: PhantomData,
            }
        }
    }

    pub fn convert_types<F: Fn(Type<'c>) -> Converted<'c> + 'static>(mut self, convert: F) -> Self {
        let callback = Box::new(convert);
        // SAFETY: the box lives in `callbacks` until the converter is destroyed.
        unsafe { winzeTypeConverterAdd(self.types, convert_type::<F>, (&raw const *callback).cast_mut().cast()) };
        self.callbacks.push(callback);
        self
    }

    pub fn legal_dialect(self, name: &str) -> Self {
        // SAFETY: the target copies the name.
        unsafe { winzeTargetLegalDialect(self.target, str_to_raw(name)) };
        self
    }

    pub fn illegal_dialect(self, name: &str) -> Self {
        // SAFETY: as above.
        unsafe { winzeTargetIllegalDialect(self.target, str_to_raw(name)) };
        self
    }

    /// Everything that nothing else says something about is legal.
    pub fn legal_by_default(self) -> Self {
        // SAFETY: the target is live.
        unsafe { winzeTargetLegalUnknown(self.target) };
        self
    }

    pub fn legal_if<F: Fn(OperationRef) -> bool + 'static>(mut self, op: &str, legal: F) -> Self {
        let callback = Box::new(legal);
        // SAFETY: the box lives in `callbacks` until the target is destroyed.
        unsafe {
            let user = (&raw const *callback).cast_mut().cast();
            winzeTargetDynamicallyLegalOp(self.target, self.context, str_to_raw(op), is_legal::<F>, user);
        }
        self.callbacks.push(callback);
        self
    }

    /// Converts the signatures of `func.func`, `func.call` and `func.return`.
    pub fn functions(self) -> Self {
        // SAFETY: all three objects are live.
        unsafe { winzeConversionAddFunctions(self.set, self.types, self.target) };
        self
    }

    /// Adds a pattern that gets the op, its converted operands, the rewriter and the type conversion.
    pub fn pattern<F>(self, root: &str, rewrite: F) -> Self
    where
        F: for<'x, 'a> Fn(OperationRef<'x, 'a>, &[Value<'x, 'a>], &RewriterBase<'x, 'a>, &ConvertType<'x>) -> Result<bool, String>
            + 'static,
    {
        let user = Box::into_raw(Box::new(rewrite)).cast();
        // SAFETY: the pattern owns the closure and frees it through `drop_box`.
        unsafe {
            winzeConversionAddPattern(self.set, self.types, str_to_raw(root), 1, self.context, run_pattern::<F>, user, drop_box::<F>)
        };
        self
    }

    /// Converts what is inside `op`: everything (`full`) or only what is illegal.
    pub fn apply(self, op: OperationRef<'c, '_>, full: bool) -> Result<(), String> {
        // SAFETY: freezing empties the set; the frozen set is destroyed here, before the converter its patterns point at.
        let converted = unsafe {
            let frozen = mlirFreezeRewritePattern(self.set);
            let converted = winzeApplyConversion(op.to_raw(), self.target, frozen, full);
            mlirFrozenRewritePatternSetDestroy(frozen);
            converted
        };
        if converted { Ok(()) } else { Err("dialect conversion failed".into()) }
    }
}

impl Drop for Conversion<'_> {
    fn drop(&mut self) {
        // SAFETY: all three were made in `new` and are destroyed once, patterns first; `callbacks` go last.
        unsafe {
            mlirRewritePatternSetDestroy(self.set);
            winzeTargetDestroy(self.target);
            winzeTypeConverterDestroy(self.types);
        }
    }
}

unsafe extern "C" fn convert_type<'c, F: Fn(Type<'c>) -> Converted<'c>>(user: Raw, input: MlirType, output: *mut MlirType) -> i32 {
    // SAFETY: `user` is the closure, `input` a live type, `output` the caller's slot.
    match catch(|| unsafe { (*user.cast::<F>())(Type::from_raw(input)) }) {
        Ok(Converted::NotHandled) => 0,
        Ok(Converted::To(r#type)) => {
            unsafe { *output = r#type.to_raw() };
            1
        }
        Ok(Converted::Illegal) | Err(_) => 2,
    }
}

unsafe extern "C" fn is_legal<F: Fn(OperationRef) -> bool>(user: Raw, op: MlirOperation) -> bool {
    // SAFETY: `user` is the closure, `op` live.
    catch(|| unsafe { (*user.cast::<F>())(OperationRef::from_raw(op)) }).unwrap_or(false)
}

unsafe extern "C" fn drop_box<F>(user: Raw) {
    // SAFETY: made by Box::into_raw in `pattern`, dropped once.
    drop(unsafe { Box::from_raw(user.cast::<F>()) });
}

unsafe extern "C" fn run_pattern<F>(
    user: Raw,
    op: MlirOperation,
    operand_count: isize,
    operands: *const MlirValue,
    rewriter: MlirRewriterBase,
    types: Raw,
) -> bool
where
    F: for<'x, 'a> Fn(OperationRef<'x, 'a>, &[Value<'x, 'a>], &RewriterBase<'x, 'a>, &ConvertType<'x>) -> Result<bool, String>,
{
    // SAFETY: the driver passes live objects; `user` is the closure.
    let (op, operands, rewriter, rewrite) = unsafe {
        let operands: Vec<Value> = (0..operand_count as usize).map(|i| Value::from_raw(*operands.add(i))).collect();
        (OperationRef::from_raw(op), operands, RewriterBase::from_raw(rewriter), &*user.cast::<F>())
    };
    let convert = |r#type: Type| {
        // SAFETY: the converter lives during the conversion; a null type means "no legal form".
        unsafe {
            let converted = winzeTypeConverterConvert(types, r#type.to_raw());
            (!converted.ptr.is_null()).then(|| Type::from_raw(converted))
        }
    };
    catch(|| rewrite(op, &operands, &rewriter, &convert)).and_then(|result| result).unwrap_or_else(|message| {
        emit_error(op.location(), &message);
        false
    })
}
