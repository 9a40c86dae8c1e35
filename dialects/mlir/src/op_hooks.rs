//! Verification, result-type inference and canonicalization of ODS ops, written in Rust.
//!
//! The C++ that winze-mlir-build generates for a dialect calls the `winze_rs_*` functions below for every op whose ODS record asks for a
//! custom verifier, `InferTypeOpInterface` or a canonicalizer; they look the op up among the registered hooks.

use crate::{catch, diagnostics::emit_error, rewrite::PatternSet, str_from_raw};
use melior::{
    Context,
    ir::{Attribute, AttributeLike, Location, OperationRef, Type, TypeLike, Value, operation::OperationLike},
};
use mlir_sys::{MlirAttribute, MlirContext, MlirLocation, MlirOperation, MlirRewritePatternSet, MlirStringRef, MlirType, MlirValue};
use std::{
    collections::HashMap,
    ffi::c_void,
    sync::{LazyLock, RwLock},
};

/// What result-type inference sees: the op does not exist yet.
pub struct InferContext<'c, 'a> {
    pub context: &'c Context,
    pub location: Location<'c>,
    pub operands: Vec<Value<'c, 'a>>,
    /// Dictionary of inherent and discardable attributes.
    pub attributes: Attribute<'c>,
}

impl<'c> InferContext<'c, '_> {
    /// Attribute by name, if present.
    pub fn attribute(&self, name: &str) -> Option<Attribute<'c>> {
        // SAFETY: `attributes` is a live dictionary; a missing entry is a null attribute.
        unsafe {
            let raw = mlir_sys::mlirDictionaryAttrGetElementByName(self.attributes.to_raw(), crate::str_to_raw(name));
            (!raw.ptr.is_null()).then(|| Attribute::from_raw(raw))
        }
    }
}

pub type Verify = fn(OperationRef) -> Result<(), String>;
pub type Infer = for<'c, 'a> fn(&InferContext<'c, 'a>) -> Result<Vec<Type<'c>>, String>;
pub type Canonicalize = fn(&mut PatternSet);

/// Hooks of one op; `None` means accept, cannot infer, no patterns.
#[derive(Clone, Copy, Default)]
pub struct OpHooks {
    pub verify: Option<Verify>,
    pub infer: Option<Infer>,
    pub canonicalize: Option<Canonicalize>,
}

static HOOKS: LazyLock<RwLock<HashMap<&'static str, OpHooks>>> = LazyLock::new(Default::default);

/// Registers the hooks of op `name` (with its dialect prefix). A later registration replaces an earlier one.
pub fn register(name: &'static str, hooks: OpHooks) {
    HOOKS.write().expect("no hook registration panics").insert(name, hooks);
}

fn hooks_of(name: &str) -> OpHooks {
    HOOKS.read().expect("no hook registration panics").get(name).copied().unwrap_or_default()
}

fn report(location: Location, result: Result<Result<(), String>, String>) -> bool {
    match result.and_then(|inner| inner) {
        Ok(()) => true,
        Err(message) => {
            emit_error(location, &message);
            false
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn winze_rs_verify(op: MlirOperation) -> bool {
    // SAFETY: MLIR verifies live operations.
    let op = unsafe { OperationRef::from_raw(op) };
    let name = op.name();
    let Some(verify) = hooks_of(name.as_string_ref().as_str().unwrap_or("")).verify else { return true };
    report(op.location(), catch(|| verify(op)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn winze_rs_infer(
    name: MlirStringRef,
    context: MlirContext,
    location: MlirLocation,
    operand_count: isize,
    operands: *const MlirValue,
    attributes: MlirAttribute,
    push: unsafe extern "C" fn(*mut c_void, MlirType),
    out: *mut c_void,
) -> bool {
    // SAFETY: the generated caller passes live IR that outlives this call.
    let (name, location, cx) = unsafe {
        let location = Location::from_raw(location);
        let cx = InferContext {
            context: crate::context::from_raw(context),
            location,
            operands: (0..operand_count as usize).map(|i| Value::from_raw(*operands.add(i))).collect(),
            attributes: Attribute::from_raw(attributes),
        };
        (str_from_raw(name), location, cx)
    };
    let infer = hooks_of(name).infer;
    report(
        location,
        catch(|| {
            let infer = infer.ok_or_else(|| format!("no result-type inference is registered for {name}"))?;
            for r#type in infer(&cx)? {
                // SAFETY: `out` is the caller's vector.
                unsafe { push(out, r#type.to_raw()) }
            }
            Ok(())
        }),
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn winze_rs_canonicalize(name: MlirStringRef, set: MlirRewritePatternSet, context: MlirContext) {
    // SAFETY: MLIR owns the set and keeps it alive during the call.
    let (name, context) = unsafe { (str_from_raw(name), crate::context::from_raw(context)) };
    if let Some(canonicalize) = hooks_of(name).canonicalize {
        // A panic while only adding patterns leaves a smaller, still valid set.
        let _ = catch(|| canonicalize(&mut PatternSet::borrowed(context, set)));
    }
}
