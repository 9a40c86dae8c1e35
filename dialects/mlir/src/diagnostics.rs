//! Diagnostics as values: severity, message, location and notes.

use crate::str_to_raw;
use melior::{
    Context,
    diagnostic::{Diagnostic as RawDiagnostic, DiagnosticHandlerId, DiagnosticSeverity},
    ir::Location,
};
use mlir_sys::{MlirLocation, MlirStringRef};
use std::{
    fmt,
    sync::{Arc, Mutex},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
    Note,
    Remark,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    /// As MLIR prints it: `loc("conv1"("model.onnx":3:0))`.
    pub location: String,
    pub notes: Vec<Diagnostic>,
}

impl Diagnostic {
    fn from_raw(raw: &RawDiagnostic) -> Self {
        let severity = match raw.severity() {
            DiagnosticSeverity::Error => Severity::Error,
            DiagnosticSeverity::Warning => Severity::Warning,
            DiagnosticSeverity::Note => Severity::Note,
            DiagnosticSeverity::Remark => Severity::Remark,
        };
        let notes = (0..raw.note_count()).filter_map(|i| raw.note(i).ok()).map(|note| Self::from_raw(&note)).collect();
        Self { severity, message: raw.to_string(), location: raw.location().to_string(), notes }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} at {}", self.message, self.location)?;
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}

/// Runs `action` and returns its result with every diagnostic that `context` emitted meanwhile, from any of its threads. Of nested
/// collectors the innermost gets a diagnostic.
pub fn collect<R>(context: &Context, action: impl FnOnce() -> R) -> (R, Vec<Diagnostic>) {
    let collected = Arc::new(Mutex::new(vec![]));
    let sink = Arc::clone(&collected);
    let _handler = Attached(
        context,
        context.attach_diagnostic_handler(move |raw| {
            if let Ok(mut diagnostics) = sink.lock() {
                diagnostics.push(Diagnostic::from_raw(&raw));
            }
            true
        }),
    );
    let result = action();
    let diagnostics = collected.lock().map(|mut d| std::mem::take(&mut *d)).unwrap_or_default();
    (result, diagnostics)
}

/// A handler that is detached when the collector ends, also by a panic.
struct Attached<'c>(&'c Context, DiagnosticHandlerId);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.detach_diagnostic_handler(self.1);
    }
}

unsafe extern "C" {
    fn winzeEmit(location: MlirLocation, severity: i32, message: MlirStringRef, note_location: MlirLocation, note: MlirStringRef);
}

/// Emits a diagnostic, with one attached note if given.
pub fn emit(location: Location, severity: Severity, message: &str, note: Option<(Location, &str)>) {
    let severity = match severity {
        Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Note | Severity::Remark => 2,
    };
    let (note_location, note) = match note {
        Some((location, text)) => (location.to_raw(), text),
        None => (MlirLocation { ptr: std::ptr::null() }, ""),
    };
    // SAFETY: locations are live and the shim copies both texts.
    unsafe { winzeEmit(location.to_raw(), severity, str_to_raw(message), note_location, str_to_raw(note)) }
}

pub fn emit_error(location: Location, message: &str) {
    emit(location, Severity::Error, message, None);
}
