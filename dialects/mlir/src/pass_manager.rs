//! Textual pipelines whose failures keep every diagnostic, with hooks around each pass.

use crate::{
    catch,
    diagnostics::{self, Diagnostic, Severity},
    str_from_raw, str_to_raw,
};
use melior::{
    Context,
    ir::{Module, OperationRef},
    utility::parse_pass_pipeline,
};
use mlir_sys::{MlirOperation, MlirPassManager, MlirStringRef, mlirPassManagerEnableTiming};
use std::{
    ffi::c_void,
    path::Path,
    sync::{Arc, Mutex},
};

/// Why a pipeline failed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("pipeline `{pipeline}` cannot be parsed: {message}")]
    Parse { pipeline: String, message: String },
    #[error("pass `{pass}` failed{}", render(.diagnostics))]
    Run { pass: String, diagnostics: Vec<Diagnostic> },
}

fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().filter(|d| d.severity == Severity::Error).map(|d| format!(": {d}")).collect()
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
    Failed,
}

/// A pipeline that is ready to run.
pub struct PassManager<'c> {
    context: &'c Context,
    inner: melior::pass::PassManager<'c>,
    failed: Arc<Mutex<Option<String>>>,
}

impl<'c> PassManager<'c> {
    /// Parses a pipeline such as `builtin.module(func.func(cse),canonicalize)`.
    pub fn parse(context: &'c Context, pipeline: &str) -> Result<Self, PipelineError> {
        let inner = melior::pass::PassManager::new(context);
        let (parsed, diagnostics) = diagnostics::collect(context, || parse_pass_pipeline(inner.as_operation_pass_manager(), pipeline));
        parsed.map_err(|error| PipelineError::Parse { pipeline: pipeline.into(), message: format!("{error}{}", render(&diagnostics)) })?;
        // MLIR would refuse another anchor only when running, and blame no pass.
        let anchored = inner.as_operation_pass_manager().to_string();
        if !anchored.starts_with("builtin.module(") && !anchored.starts_with("any(") {
            let message = "the outermost operation is not builtin.module; wrap it in `builtin.module(...)`".into();
            return Err(PipelineError::Parse { pipeline: pipeline.into(), message });
        }
        let manager = Self { context, inner, failed: Arc::default() };
        let failed = Arc::clone(&manager.failed);
        manager.add_hook(move |when, name, argument, _| {
            if when == When::Failed
                && let Ok(mut failed) = failed.lock()
            {
                failed.get_or_insert_with(|| if argument.is_empty() { name.into() } else { argument.into() });
            }
        });
        Ok(manager)
    }

    /// Calls `hook(when, pass name, pass argument, op)` around every pass, possibly from worker threads.
    pub fn add_hook<F: Fn(When, &str, &str, OperationRef) + Send + Sync + 'static>(&self, hook: F) {
        let user = Box::into_raw(Box::new(hook)).cast();
        // SAFETY: the instrumentation owns the closure and frees it with the pass manager.
        unsafe { winzePassManagerAddHook(self.inner.to_raw(), call_hook::<F>, user, drop_hook::<F>) }
    }

    /// Writes a reproducer with the failing pipeline and its input to `file` when a pass fails or crashes. `local` narrows it to the failing pass.
    pub fn enable_crash_reproducer(&self, file: &Path, local: bool) {
        // SAFETY: the pass manager copies the path.
        unsafe { winzePassManagerEnableCrashReproducer(self.inner.to_raw(), str_to_raw(&file.to_string_lossy()), local) }
    }

    /// Prints a timing report to stderr when the manager is dropped.
    pub fn enable_timing(&self) {
        // SAFETY: the pass manager is live.
        unsafe { mlirPassManagerEnableTiming(self.inner.to_raw()) }
    }

    pub fn enable_verifier(&self, enabled: bool) {
        self.inner.enable_verifier(enabled);
    }

    /// Runs the pipeline; returns warnings and remarks, or the failed pass with all diagnostics.
    pub fn run(&self, module: &mut Module<'c>) -> Result<Vec<Diagnostic>, PipelineError> {
        let (result, diagnostics) = diagnostics::collect(self.context, || self.inner.run(module));
        match result {
            Ok(()) => Ok(diagnostics),
            Err(_) => {
                let pass = self.failed.lock().ok().and_then(|mut failed| failed.take()).unwrap_or_else(|| "(verifier)".into());
                Err(PipelineError::Run { pass, diagnostics })
            }
        }
    }
}

type RawHook = unsafe extern "C" fn(*mut c_void, i32, MlirStringRef, MlirStringRef, MlirOperation);

unsafe extern "C" {
    fn winzePassManagerAddHook(pm: MlirPassManager, hook: RawHook, user: *mut c_void, drop: unsafe extern "C" fn(*mut c_void));
    fn winzePassManagerEnableCrashReproducer(pm: MlirPassManager, file: MlirStringRef, local: bool);
}

unsafe extern "C" fn call_hook<F: Fn(When, &str, &str, OperationRef)>(
    user: *mut c_void,
    when: i32,
    name: MlirStringRef,
    argument: MlirStringRef,
    op: MlirOperation,
) {
    let when = match when {
        0 => When::Before,
        1 => When::After,
        _ => When::Failed,
    };
    // SAFETY: the instrumentation passes live names and a live op; `user` is the closure. A panicking hook is ignored: it only observes.
    let _ = catch(|| unsafe { (*user.cast::<F>())(when, str_from_raw(name), str_from_raw(argument), OperationRef::from_raw(op)) });
}

unsafe extern "C" fn drop_hook<F>(user: *mut c_void) {
    // SAFETY: made by Box::into_raw in `add_hook`, dropped once.
    drop(unsafe { Box::from_raw(user.cast::<F>()) });
}
