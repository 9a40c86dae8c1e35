//! `--emit STAGE[/KERNEL]`: writes the IR of a stage to a folder or to stdout.

use super::{CompileError, text_of};
use crate::{kernel_unit::StageObserver, stage::Stage};
use melior::ir::Module;
use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// What to write out.
#[derive(Clone, Debug)]
pub struct Emit {
    /// `None` for every stage.
    pub stage: Option<Stage>,
    /// Only kernels with this text in their name.
    pub kernel: Option<String>,
    /// Folder for `STAGE/[TARGET/]NAME.mlir`; `None` prints.
    pub folder: Option<PathBuf>,
}

/// Writes stages out as they come. Shared by worker threads.
pub struct Dump {
    emit: Option<Emit>,
    shared: Arc<Mutex<Written>>,
}

#[derive(Default)]
struct Written {
    /// Kernel texts in order of name, to be printed when all workers are done.
    printed: Vec<(String, String)>,
    error: Option<String>,
}

impl Dump {
    pub fn new(emit: Option<Emit>) -> Result<Self, CompileError> {
        if let Some(folder) = emit.as_ref().and_then(|emit| emit.folder.as_ref()) {
            fs::create_dir_all(folder).map_err(|e| CompileError::failed(format!("--emit: {}: {e}", folder.display())))?;
        }
        Ok(Self { emit, shared: Arc::default() })
    }

    fn wants(&self, stage: Stage) -> bool {
        self.emit.as_ref().is_some_and(|emit| emit.stage.is_none_or(|wanted| wanted == stage))
    }

    /// Whether only stages up to this one are wanted.
    pub fn done_after(&self, stage: Stage) -> bool {
        self.emit.as_ref().and_then(|emit| emit.stage).is_some_and(|wanted| wanted <= stage)
    }

    /// Writes a whole-module stage.
    pub fn module(&mut self, stage: Stage, target: Option<&str>, module: &Module) -> Result<(), CompileError> {
        if self.wants(stage) {
            let text = text_of(module)?;
            write(self.emit.as_ref().expect("wanted"), &self.shared, stage, target, "module", &text);
            self.check()?;
        }
        Ok(())
    }

    /// Sees kernels of one target.
    pub fn observer(&self, target: &str) -> impl StageObserver + use<> {
        Observer { emit: self.emit.clone(), shared: Arc::clone(&self.shared), target: target.to_string() }
    }

    /// Prints what workers left, in order, and reports the first error.
    pub fn check(&self) -> Result<(), CompileError> {
        let mut shared = self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.printed.sort();
        for (_, text) in shared.printed.drain(..) {
            println!("{text}");
        }
        shared.error.take().map_or(Ok(()), |message| Err(CompileError::failed(message)))
    }
}

fn write(emit: &Emit, shared: &Mutex<Written>, stage: Stage, target: Option<&str>, name: &str, text: &str) {
    let mut shared = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(folder) = &emit.folder else {
        let title = target.map_or_else(|| name.to_string(), |target| format!("{target} {name}"));
        shared.printed.push((format!("{stage} {title}"), format!("// {stage}: {title}\n{text}")));
        return;
    };
    let mut path = folder.join(stage.to_string());
    if let Some(target) = target {
        path.push(target);
    }
    // A stage may show several forms of a kernel: the LLVM dialect, LLVM IR, assembly.
    let file =
        (0..).map(|i| path.join(if i == 0 { format!("{name}.mlir") } else { format!("{name}.{i}.txt") })).find(|file| !file.exists());
    let written = fs::create_dir_all(&path).and_then(|()| fs::write(file.expect("numbers do not end"), text));
    if let Err(error) = written {
        shared.error.get_or_insert_with(|| format!("--emit: {}: {error}", path.display()));
    }
}

struct Observer {
    emit: Option<Emit>,
    shared: Arc<Mutex<Written>>,
    target: String,
}

impl StageObserver for Observer {
    fn wants(&self, stage: Stage, kernel: &str) -> bool {
        self.emit.as_ref().is_some_and(|emit| {
            emit.stage.is_none_or(|wanted| wanted == stage) && emit.kernel.as_ref().is_none_or(|part| kernel.contains(part.as_str()))
        })
    }

    fn observe(&self, stage: Stage, kernel: &str, text: &str) {
        if let Some(emit) = &self.emit {
            write(emit, &self.shared, stage, Some(&self.target), kernel, text);
        }
    }
}
