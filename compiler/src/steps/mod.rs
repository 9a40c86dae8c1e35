//! Running what compiles a module: a pipeline or an action on one module at one stage, as a tracing span, with what is known of it at hand when
//! it fails, panics or crashes: stage, pass, kernel, model nodes and a reproducer.

pub mod crash;
pub mod progress;

use crate::stage::Stage;
use crash::Record;
use melior::{
    Context,
    ir::{
        Module,
        operation::{OperationLike, OperationPrintingFlags},
    },
};
use std::{
    cell::RefCell,
    fmt, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use tracing::{Level, span::EnteredSpan};
use winze_mlir::{
    locations,
    pass_manager::{PassManager, When},
    walk,
};

/// Nodes that a message names; others are counted.
const NAMED_NODES: usize = 4;

static REPRODUCERS: OnceLock<PathBuf> = OnceLock::new();

/// Where failed and crashed steps leave their input. Only the first call counts; without one nothing is kept.
pub fn keep_reproducers(folder: &Path) {
    let _ = REPRODUCERS.set(folder.to_path_buf());
}

/// A stage of the whole module, or of one kernel.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub stage: Stage,
    pub kernel: Option<&'a str>,
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.stage)?;
        self.kernel.map_or(Ok(()), |kernel| write!(f, ": kernel @{kernel}"))
    }
}

/// Runs passes. The error names the pass and where the input is kept.
pub fn run_pipeline<'c>(context: &'c Context, module: &mut Module<'c>, step: Step, pipeline: &str) -> Result<(), String> {
    let manager = PassManager::parse(context, pipeline).map_err(|e| e.to_string())?;
    manager.add_hook(|when, name, argument, _| {
        let name = if argument.is_empty() { name } else { argument };
        match when {
            When::Before => {
                crash::enter_pass(name);
                enter_span(name);
            }
            When::After | When::Failed => leave_span(),
        }
    });
    let header = format!(
        "// Run with: winze opt --run-reproducer FILE\n{{-# external_resources: {{ mlir_reproducer: {{ pipeline: \"{}\", disable_threading: true, \
         verify_each: true }} }} #-}}\n",
        pipeline.replace('\\', "\\\\").replace('"', "\\\"")
    );
    recorded(module, step, "", &header, |module| manager.run(module).map(|_| ()).map_err(|e| e.to_string()))
}

/// Does something else than running passes, such as code generation; `what` names it.
pub fn run_action<'c, R>(
    module: &mut Module<'c>,
    step: Step,
    what: &str,
    action: impl FnOnce(&mut Module<'c>) -> Result<R, String>,
) -> Result<R, String> {
    recorded(module, step, what, &format!("// The input of: {what}\n"), action)
}

fn recorded<'c, R>(
    module: &mut Module<'c>,
    step: Step,
    what: &str,
    header: &str,
    action: impl FnOnce(&mut Module<'c>) -> Result<R, String>,
) -> Result<R, String> {
    let kernel = step.kernel.unwrap_or("module");
    let _span = tracing::info_span!("step", stage = step.stage.name(), kernel, what).entered();
    let Some(folder) = REPRODUCERS.get() else { return action(module) };
    let flags = OperationPrintingFlags::new().enable_debug_info(true, false);
    let text = module.as_operation().to_string_with_flags(flags).map_err(|e| e.to_string())?;
    // Kernel names hold no separators; files of one process and stage differ in them.
    let file = folder.join(format!("winze-reproducer-{}-{kernel}-{}.mlir", std::process::id(), step.stage));
    let record = Record::new(&format!("{step}{}", nodes(module)), what, &file, header, text);
    let current = crash::watch(&record);
    let result = action(module);
    drop(current);
    result.map_err(|message| {
        // What a profile lacks is no failure of the compiler.
        if message.contains("unsupported: ") {
            return message;
        }
        match fs::write(&file, record.reproducer()) {
            Ok(()) => format!("{message}; reproducer: {}", file.display()),
            Err(error) => format!("{message}; no reproducer: {}: {error}", file.display()),
        }
    })
}

/// ` of "conv1", "relu1"`, or nothing.
fn nodes(module: &Module) -> String {
    let mut names: Vec<String> = vec![];
    let _ = walk::walk(module.as_operation(), &mut |op| {
        for name in locations::node_names(op.location()) {
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > NAMED_NODES {
                return Err(());
            }
        }
        Ok(())
    });
    let more = if names.len() > NAMED_NODES { ", ..." } else { "" };
    let quoted: Vec<_> = names.iter().take(NAMED_NODES).map(|name| format!("{name:?}")).collect();
    if quoted.is_empty() { String::new() } else { format!(" of {}{more}", quoted.join(", ")) }
}

thread_local! {
    /// Passes nest: adaptors run those of functions.
    static SPANS: RefCell<Vec<EnteredSpan>> = const { RefCell::new(vec![]) };
}

fn enter_span(name: &str) {
    if tracing::enabled!(Level::DEBUG) {
        SPANS.with_borrow_mut(|spans| spans.push(tracing::debug_span!("pass", name).entered()));
    }
}

fn leave_span() {
    // Dropped after the borrow ends: closing a span runs subscribers.
    drop(SPANS.with_borrow_mut(Vec::pop));
}
