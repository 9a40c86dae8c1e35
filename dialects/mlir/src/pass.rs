//! Passes written in Rust that live in MLIR's global registry like upstream ones: textual pipelines, options, `--help`, reproducers.

use crate::{catch, diagnostics::emit_error, str_from_raw, str_to_raw};
use melior::{
    StringRef,
    dialect::DialectHandle,
    ir::{OperationRef, operation::OperationLike, r#type::TypeId},
};
use mlir_sys::{MlirDialectHandle, MlirOperation, MlirStringCallback, MlirStringRef, MlirTypeID};
use std::{collections::BTreeMap, ffi::c_void, sync::Mutex};

/// One option of a pass: `name=value` in a textual pipeline, a flag on the command line.
pub struct PassOption {
    pub name: &'static str,
    pub description: &'static str,
    pub default: &'static str,
}

/// A pass. MLIR clones passes and runs them on several threads, so all state is in the value parsed from the options.
pub trait RustPass: Sized + Send + Sync + 'static {
    /// Name in pipelines, also the file stem: `graph-fold-constants`.
    const ARGUMENT: &'static str;
    const DESCRIPTION: &'static str;
    /// Operation the pass runs on; empty for any.
    const ANCHOR: &'static str = "";
    const OPTIONS: &'static [PassOption] = &[];

    /// Dialects whose operations the pass may create.
    fn dialects() -> Vec<DialectHandle> {
        vec![]
    }

    /// Parses option values, given in the order of `OPTIONS`.
    fn from_options(values: &[&str]) -> Result<Self, String>;

    /// Changes `op`; an error is emitted as a diagnostic at `op` and fails the pipeline.
    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String>;
}

#[repr(C)]
struct RawOption {
    name: MlirStringRef,
    description: MlirStringRef,
    default: MlirStringRef,
}

#[repr(C)]
struct RawDescription {
    id: MlirTypeID,
    name: MlirStringRef,
    argument: MlirStringRef,
    description: MlirStringRef,
    anchor: MlirStringRef,
    dialect_count: usize,
    dialects: *const MlirDialectHandle,
    option_count: usize,
    options: *const RawOption,
    validate: unsafe extern "C" fn(*const MlirStringRef, usize, MlirStringCallback, *mut c_void) -> bool,
    run: unsafe extern "C" fn(MlirOperation, *const MlirStringRef, usize) -> bool,
}

unsafe extern "C" {
    fn winzeRegisterPass(description: *const RawDescription);
}

static REGISTERED: Mutex<BTreeMap<&'static str, &'static str>> = Mutex::new(BTreeMap::new());

/// Names and descriptions of the registered Rust passes, sorted.
pub fn registered() -> Vec<(&'static str, &'static str)> {
    REGISTERED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().map(|(name, description)| (*name, *description)).collect()
}

/// Puts `P` into MLIR's global registry, before pipelines are parsed. Registering a name again changes nothing.
pub fn register<P: RustPass>() {
    if REGISTERED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(P::ARGUMENT, P::DESCRIPTION).is_some() {
        return;
    }
    // The registry keeps pointers for the life of the process, so the description is leaked on purpose.
    #[repr(align(16))]
    struct Identity(#[allow(dead_code)] u64);
    let identity: &'static Identity = Box::leak(Box::new(Identity(0)));
    let options: Vec<RawOption> = P::OPTIONS
        .iter()
        .map(|o| RawOption { name: str_to_raw(o.name), description: str_to_raw(o.description), default: str_to_raw(o.default) })
        .collect();
    let dialects: Vec<MlirDialectHandle> = P::dialects().iter().map(|handle| handle.to_raw()).collect();
    let (options, dialects) = (options.leak(), dialects.leak());
    let description = Box::leak(Box::new(RawDescription {
        id: TypeId::create(identity).to_raw(),
        name: str_to_raw(std::any::type_name::<P>()),
        argument: str_to_raw(P::ARGUMENT),
        description: str_to_raw(P::DESCRIPTION),
        anchor: str_to_raw(P::ANCHOR),
        dialect_count: dialects.len(),
        dialects: dialects.as_ptr(),
        option_count: options.len(),
        options: options.as_ptr(),
        validate: validate::<P>,
        run: run::<P>,
    }));
    // SAFETY: everything the description points at is 'static.
    unsafe { winzeRegisterPass(description) }
}

unsafe fn texts<'a>(values: *const MlirStringRef, count: usize) -> Vec<&'a str> {
    // SAFETY: the shim passes `count` strings that live during the call.
    (0..count).map(|i| unsafe { str_from_raw(*values.add(i)) }).collect()
}

unsafe extern "C" fn validate<P: RustPass>(
    values: *const MlirStringRef,
    count: usize,
    report: MlirStringCallback,
    user_data: *mut c_void,
) -> bool {
    // SAFETY: see `texts`.
    let values = unsafe { texts(values, count) };
    match catch(|| P::from_options(&values)).and_then(|parsed| parsed) {
        Ok(_) => true,
        Err(message) => {
            if let Some(report) = report {
                // SAFETY: the callback copies the text.
                unsafe { report(StringRef::new(&message).to_raw(), user_data) }
            }
            false
        }
    }
}

unsafe extern "C" fn run<P: RustPass>(op: MlirOperation, values: *const MlirStringRef, count: usize) -> bool {
    // SAFETY: MLIR hands over a live operation; for values see `texts`.
    let (op, values) = unsafe { (OperationRef::from_raw(op), texts(values, count)) };
    match catch(|| P::from_options(&values).and_then(|pass| pass.run(op))).and_then(|result| result) {
        Ok(()) => true,
        Err(message) => {
            emit_error(op.location(), &message);
            false
        }
    }
}
