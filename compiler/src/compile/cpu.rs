//! Kernels at the `linalg` stage -> code of a CPU variant.

use super::{CompileError, artifact::Compiled};
use crate::{
    kernel_unit::{KernelUnit, StageObserver},
    linalg::read_root,
    llvm::{CpuTarget, CpuUnit, compile_kernels, kernel_context},
    parallel::map_with,
    schedule::{Shapes, select_schedule},
};
use melior::ir::{Attribute, BlockLike, Module, TypeLike, ValueLike, attribute::ArrayAttribute};
use winze_mlir::{attributes, walk};
use winze_runtime::artifact::manifest::{Access, Code, Kernel};

/// Chooses a schedule per kernel and compiles all. `in_place` has a list of argument pairs per kernel.
pub fn compile(
    units: &[KernelUnit],
    in_place: &[Vec<(u32, u32)>],
    target: &CpuTarget,
    jobs: usize,
    observer: &dyn StageObserver,
) -> Result<Compiled, CompileError> {
    let paired: Vec<(&KernelUnit, &Vec<(u32, u32)>)> = units.iter().zip(in_place).collect();
    let scheduled = map_with(&paired, jobs, kernel_context, |context, (unit, in_place)| {
        let text = std::str::from_utf8(&unit.module).map_err(|e| e.to_string())?;
        let module = Module::parse(context, text).ok_or_else(|| format!("schedule: kernel @{} does not parse", unit.name))?;
        let root = read_root(&module, &unit.class).map_err(|e| format!("kernel @{}: {e}", unit.name))?;
        let signature = Signature::read(&module)?;
        let shapes = Shapes {
            loops: root.loops,
            run: root.run,
            element_bits: root.element_bits,
            panel: root.panel,
            packs: root.packs,
            reductions: root.reductions,
        };
        let schedule = select_schedule(root.class, &shapes, target).map_err(|e| format!("kernel @{}: {e}", unit.name))?;
        Ok((CpuUnit { kernel: (*unit).clone(), schedule, in_place: (*in_place).clone() }, signature))
    });
    let scheduled: Vec<(CpuUnit, Signature)> = scheduled.into_iter().collect::<Result<_, String>>().map_err(CompileError::Failed)?;
    let (cpu_units, signatures): (Vec<CpuUnit>, Vec<Signature>) = scheduled.into_iter().unzip();
    let (image, kernels) = compile_kernels(&cpu_units, target, jobs, observer).map_err(CompileError::Failed)?;
    let kernels = kernels
        .into_iter()
        .zip(paired)
        .zip(signatures)
        .map(|((kernel, (unit, in_place)), signature)| {
            let entry = *image.entries.get(&kernel.name).ok_or_else(|| CompileError::internal("a kernel is missing in the image"))?;
            Ok(Kernel {
                name: kernel.name,
                class: unit.class.clone(),
                buffers: signature.buffers,
                dims: signature.dims,
                scalars: 0,
                grid: kernel.grid,
                workspace: kernel.workspace,
                in_place: in_place.clone(),
                code: Code::Native { entry },
            })
        })
        .collect::<Result<_, CompileError>>()?;
    Ok(Compiled { kernels, image: image.bytes, features: target.requires.clone() })
}

/// How a kernel's function is called.
struct Signature {
    buffers: Vec<Access>,
    dims: u32,
}

impl Signature {
    /// Tensors are inputs, those that may be written outputs; indices are dims.
    fn read(module: &Module) -> Result<Self, String> {
        let func = crate::schedule::kernel(module)?;
        let block = walk::blocks(func).into_iter().next().ok_or("schedule: a kernel without a body")?;
        let list = attributes::get::<Attribute>(func, "arg_attrs").and_then(|a| ArrayAttribute::try_from(a).ok());
        let mut signature = Self { buffers: vec![], dims: 0 };
        for i in 0..block.argument_count() {
            let r#type = block.argument(i).map_err(|e| e.to_string())?.r#type();
            if r#type.is_index() {
                signature.dims += 1;
                continue;
            }
            let writable =
                list.and_then(|list| list.element(i).ok()).is_some_and(|a| a.to_string().contains("bufferization.writable = true"));
            signature.buffers.push(if writable { Access::Write } else { Access::Read });
        }
        Ok(signature)
    }
}
