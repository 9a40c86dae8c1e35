//! LLVM-dialect module or LLVM IR text -> optimized LLVM IR -> assembly or object, in this process. The safe face of LLVM's C API.
//!
//! Assumes that the MLIR context has the LLVM translations registered. Every call owns an LLVM context, so calls run in parallel.

use super::CpuTarget;
use llvm_sys::{
    core::*,
    error::{LLVMDisposeErrorMessage, LLVMErrorRef, LLVMGetErrorMessage},
    ir_reader::LLVMParseIRInContext2,
    prelude::*,
    target::*,
    target_machine::*,
    transforms::pass_builder::*,
};
use melior::ir::OperationRef;
use std::{
    ffi::{CStr, CString, c_char},
    ptr,
    sync::Once,
};

/// Processor and feature string of this machine, as LLVM names them.
pub(super) struct HostCpu {
    pub cpu: String,
    pub features: String,
}

pub(super) fn host_cpu() -> HostCpu {
    // SAFETY: both functions return a fresh C string or null, which `take_message` frees.
    unsafe { HostCpu { cpu: take_message(LLVMGetHostCPUName()), features: take_message(LLVMGetHostCPUFeatures()) } }
}

/// An LLVM module in a context of its own, bound to a target.
pub struct LlvmModule {
    context: LLVMContextRef,
    module: LLVMModuleRef,
    machine: Machine,
}

impl LlvmModule {
    /// Translates a module in the LLVM dialect.
    pub fn from_mlir(module: OperationRef<'_, '_>, target: &CpuTarget) -> Result<Self, String> {
        let machine = Machine::new(target)?;
        // SAFETY: the new context outlives the module made in it; `Drop` frees both in the right order.
        unsafe {
            let context = LLVMContextCreate();
            let raw = mlir_sys::mlirTranslateModuleToLLVMIR(module.to_raw(), context.cast()) as LLVMModuleRef;
            if raw.is_null() {
                LLVMContextDispose(context);
                return Err("llvm: translation to LLVM IR failed; the module holds operations of other dialects".to_owned());
            }
            Self::bound(context, raw, machine)
        }
    }

    /// Parses LLVM IR text.
    pub fn from_text(name: &str, text: &str, target: &CpuTarget) -> Result<Self, String> {
        let machine = Machine::new(target)?;
        let text = CString::new(text).map_err(|_| format!("llvm: {name} holds a zero byte"))?;
        // SAFETY: the buffer copies `text`; the parser does not take it over, so it is freed here in every case.
        unsafe {
            let context = LLVMContextCreate();
            let buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(text.as_ptr(), text.as_bytes().len(), c"kernel".as_ptr());
            let (mut module, mut message) = (ptr::null_mut(), ptr::null_mut());
            let failed = LLVMParseIRInContext2(context, buffer, &mut module, &mut message) != 0;
            LLVMDisposeMemoryBuffer(buffer);
            if failed {
                let message = take_message(message);
                LLVMContextDispose(context);
                return Err(format!("llvm: {name} does not parse: {message}"));
            }
            Self::bound(context, module, machine)
        }
    }

    unsafe fn bound(context: LLVMContextRef, module: LLVMModuleRef, machine: Machine) -> Result<Self, String> {
        unsafe {
            LLVMSetTarget(module, machine.triple.as_ptr());
            let layout = LLVMCreateTargetDataLayout(machine.machine);
            LLVMSetModuleDataLayout(module, layout);
            LLVMDisposeTargetData(layout);
        }
        Ok(Self { context, module, machine })
    }

    /// Runs LLVM's pipeline for the target's level, with both vectorizers.
    pub fn optimize(&self) -> Result<(), String> {
        // SAFETY: module and machine live as long as `self`.
        unsafe {
            let options = LLVMCreatePassBuilderOptions();
            LLVMPassBuilderOptionsSetLoopVectorization(options, 1);
            LLVMPassBuilderOptionsSetLoopInterleaving(options, 1);
            LLVMPassBuilderOptionsSetSLPVectorization(options, 1);
            // Register tiles fill the registers: unrolling their loops spills (measured: 0.95 of peak becomes 0.6).
            LLVMPassBuilderOptionsSetLoopUnrolling(options, 0);
            let pipeline = match self.machine.level {
                0 => c"default<O0>",
                1 => c"default<O1>",
                2 => c"default<O2>",
                _ => c"default<O3>",
            };
            let error = LLVMRunPasses(self.module, pipeline.as_ptr(), self.machine.machine, options);
            LLVMDisposePassBuilderOptions(options);
            check(error, "optimization")
        }
    }

    /// The module as LLVM IR text.
    pub fn ir(&self) -> String {
        // SAFETY: returns a fresh C string.
        unsafe { take_message(LLVMPrintModuleToString(self.module)) }
    }

    /// The module as assembly text.
    pub fn assembly(&self) -> Result<String, String> {
        self.emit(LLVMCodeGenFileType::LLVMAssemblyFile).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The module as an object file.
    pub fn object(&self) -> Result<Vec<u8>, String> {
        self.emit(LLVMCodeGenFileType::LLVMObjectFile)
    }

    fn emit(&self, kind: LLVMCodeGenFileType) -> Result<Vec<u8>, String> {
        // SAFETY: emission changes the module, so it works on a clone; the buffer is freed after its bytes are copied.
        unsafe {
            let module = LLVMCloneModule(self.module);
            let (mut buffer, mut message) = (ptr::null_mut(), ptr::null_mut());
            let failed = LLVMTargetMachineEmitToMemoryBuffer(self.machine.machine, module, kind, &mut message, &mut buffer) != 0;
            LLVMDisposeModule(module);
            if failed {
                return Err(format!("llvm: code generation failed: {}", take_message(message)));
            }
            let bytes = std::slice::from_raw_parts(LLVMGetBufferStart(buffer).cast::<u8>(), LLVMGetBufferSize(buffer)).to_vec();
            LLVMDisposeMemoryBuffer(buffer);
            Ok(bytes)
        }
    }
}

impl Drop for LlvmModule {
    fn drop(&mut self) {
        // SAFETY: both were made by this type and are used by nobody else.
        unsafe {
            LLVMDisposeModule(self.module);
            LLVMContextDispose(self.context);
        }
    }
}

struct Machine {
    machine: LLVMTargetMachineRef,
    triple: CString,
    level: u8,
}

impl Machine {
    fn new(target: &CpuTarget) -> Result<Self, String> {
        initialize_targets();
        let c = |text: &str| CString::new(text).map_err(|_| format!("target: {:?} holds a zero byte", text));
        let (triple, cpu, features) = (c(&target.triple)?, c(&target.cpu)?, c(&target.features)?);
        // SAFETY: the C strings outlive the calls; the options are freed after the machine has copied them.
        unsafe {
            let (mut llvm_target, mut message) = (ptr::null_mut(), ptr::null_mut());
            if LLVMGetTargetFromTriple(triple.as_ptr(), &mut llvm_target, &mut message) != 0 {
                return Err(format!("target: LLVM does not know the triple '{}': {}", target.triple, take_message(message)));
            }
            let options = LLVMCreateTargetMachineOptions();
            LLVMTargetMachineOptionsSetCPU(options, cpu.as_ptr());
            LLVMTargetMachineOptionsSetFeatures(options, features.as_ptr());
            let level = match target.level {
                0 => LLVMCodeGenOptLevel::LLVMCodeGenLevelNone,
                1 => LLVMCodeGenOptLevel::LLVMCodeGenLevelLess,
                2 => LLVMCodeGenOptLevel::LLVMCodeGenLevelDefault,
                _ => LLVMCodeGenOptLevel::LLVMCodeGenLevelAggressive,
            };
            LLVMTargetMachineOptionsSetCodeGenOptLevel(options, level);
            LLVMTargetMachineOptionsSetRelocMode(options, LLVMRelocMode::LLVMRelocPIC);
            let machine = LLVMCreateTargetMachineWithOptions(llvm_target, triple.as_ptr(), options);
            LLVMDisposeTargetMachineOptions(options);
            if machine.is_null() {
                return Err(format!("target: LLVM cannot generate code for '{}'", target.name));
            }
            Ok(Self { machine, triple, level: target.level })
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody else.
        unsafe { LLVMDisposeTargetMachine(self.machine) }
    }
}

fn initialize_targets() {
    static ONCE: Once = Once::new();
    // SAFETY: registration functions without preconditions, called once.
    ONCE.call_once(|| unsafe {
        LLVMInitializeX86TargetInfo();
        LLVMInitializeX86Target();
        LLVMInitializeX86TargetMC();
        LLVMInitializeX86AsmPrinter();
        LLVMInitializeX86AsmParser();
    });
}

unsafe fn check(error: LLVMErrorRef, what: &str) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    unsafe {
        let message = LLVMGetErrorMessage(error);
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        LLVMDisposeErrorMessage(message);
        Err(format!("llvm: {what} failed: {text}"))
    }
}

unsafe fn take_message(message: *mut c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        LLVMDisposeMessage(message);
        text
    }
}
