//! An open program and the options about devices -> a session and the function to run; a finished run -> a Chrome trace. Never silent: a
//! missing device that is replaced by the CPU is a warning, or an error with `--require-device`.

use crate::{
    arguments::ModelOptions,
    console::{Console, Failure},
    model,
};
use serde_json::json;
use std::path::Path;
use winze_runtime::{
    DeviceChoice, Program, Session, SessionOptions, artifact::manifest::Extern, capi::KernelLibrary, session::ExternKernels,
};

pub struct Ready {
    pub session: Session,
    pub function: u32,
}

pub fn start(program: &Program, options: &ModelOptions, console: &Console) -> Result<Ready, Failure> {
    let choice: DeviceChoice = options.device.parse().map_err(|error: winze_runtime::Error| Failure::Usage(error.to_string()))?;
    let function = program.function(options.function.as_deref())?;
    let mut settings = SessionOptions::default();
    settings.threads = options.threads.map(usize::from);
    settings.max_iterations = options.max_iterations.unwrap_or(settings.max_iterations);
    settings.fall_back = !options.require_device;
    settings.externs = kernels(program, options)?;
    let mut session = match Session::new(program, &choice, settings.clone()) {
        Err(error) if choice != DeviceChoice::Cpu && !options.require_device => {
            let session = Session::new(program, &DeviceChoice::Cpu, settings).map_err(|_| Failure::from(error_copy(&error)))?;
            console.warning(&format!("{error}; running on the cpu (--require-device makes this an error)"));
            session
        }
        session => session?,
    };
    session.set_profiling(options.trace.is_some());
    console.note(&format!("{} runs variant {}", session.describe(), program.manifest().variants[session.variant() as usize].target));
    Ok(Ready { session, function })
}

/// The kernels that the program calls, from the libraries that the user names.
fn kernels(program: &Program, options: &ModelOptions) -> Result<ExternKernels, Failure> {
    let failed = |error: winze_runtime::Error| Failure::Failed(format!("extern: {}", error.to_string().trim_start_matches("run: ")));
    let called: Vec<Extern> = program.manifest().variants.iter().flat_map(|variant| &variant.externs).cloned().collect();
    let mut kernels = ExternKernels::default();
    for file in options.externs.iter().filter(|file| !model::is_declaration(file)) {
        let library = KernelLibrary::open(file).map_err(failed)?;
        if library.register(&called, &mut kernels) == 0 {
            let names = called.iter().map(|external| external.name.as_str()).collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "none".into() } else { names };
            return Err(Failure::Failed(format!("extern: {} has none of the kernels that the model calls: {names}", file.display())));
        }
    }
    for external in &called {
        if !kernels.contains(&external.name) {
            let Extern { name, signature, .. } = external;
            let what = format!("extern: the model calls the kernel \"{name}\", {signature}; give the library that has it with --extern");
            return Err(Failure::Failed(what));
        }
        kernels.resolve(external).map_err(failed)?;
    }
    Ok(kernels)
}

/// The device's error is the one that the user asked about, even if the CPU cannot help either.
fn error_copy(error: &winze_runtime::Error) -> winze_runtime::Error {
    winze_runtime::Error::Device(error.to_string().trim_start_matches("device: ").to_owned())
}

/// Passes on what happened during runs, such as a fallback.
pub fn report_notices(session: &Session, console: &Console) {
    for notice in session.notices() {
        console.warning(notice);
    }
}

/// Writes the dispatches of the last run for chrome://tracing or Perfetto.
pub fn write_trace(session: &Session, path: &Path) -> Result<(), Failure> {
    let variant = &session.program().manifest().variants[session.variant() as usize];
    let events: Vec<_> = session
        .timings()
        .iter()
        .map(|timing| {
            let dispatch = &variant.dispatches[timing.dispatch as usize];
            let kernel = &variant.kernels[dispatch.kernel as usize];
            json!({
                "name": kernel.name, "cat": kernel.class, "ph": "X", "pid": 1, "tid": 1,
                "ts": timing.start_ns as f64 / 1e3, "dur": timing.duration_ns as f64 / 1e3,
                "args": {"dispatch": timing.dispatch, "nodes": dispatch.nodes},
            })
        })
        .collect();
    let text = json!({"displayTimeUnit": "ns", "traceEvents": events}).to_string();
    std::fs::write(path, text).map_err(|error| Failure::Failed(format!("trace: {}: {error}", path.display())))
}
