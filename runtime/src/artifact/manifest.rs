//! What an artifact says about itself: functions, constants and, per target, kernels and launch programs. Serialized with postcard.
//!
//! These types are the contract between compiler and runtime. They are plain data; `verify` (verify.rs) checks every index before anything uses them.

use super::{
    expr::{Expr, ExprOp},
    program::Program,
};
use serde::{Deserialize, Serialize};

/// Version of the manifest, launch-program and kernel-ABI layouts described by these types.
pub const MANIFEST_VERSION: u32 = 11;

/// Element type of a tensor, as ONNX and the host see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ElementType {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

impl ElementType {
    /// Bytes per element in host memory (bool is one byte, 0 or 1).
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

/// The whole manifest section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    /// Compiler name and version, e.g. `winze 0.1.0`.
    pub producer: String,
    pub functions: Vec<Function>,
    /// Constants of all variants, stored once per content.
    pub constants: Vec<Constant>,
    pub variants: Vec<Variant>,
}

/// One entry point of the model (`main` for most models).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// Symbolic dims, numbered from 0; `Expr::symbol(i)` in ports, buffers and arena sizes of this function means `symbols[i]`.
    pub symbols: Vec<Symbol>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Inputs that the runtime keeps from one run to the next, with the outputs that are their next values. They are no ports: neither `inputs` nor
    /// `outputs` holds them.
    pub states: Vec<State>,
    /// Inputs that the program takes for known; a run with other values is refused. At most one per input.
    pub fixed: Vec<FixedInput>,
    /// Set where this is a form of another function for certain values of its symbols. A session that is asked for that function runs the first
    /// such form whose values are those of the inputs.
    pub specializes: Option<Specialization>,
}

impl Function {
    /// Whether a symbol is found while running and nothing bounds it. In arena sizes and offsets it stands for the room that the session makes for it,
    /// which is at least its value.
    pub fn is_open(&self, symbol: u32) -> bool {
        let upper = self.symbols.get(symbol as usize).and_then(|symbol| symbol.upper.as_ref());
        upper.is_some_and(|upper| matches!(upper.0[..], [ExprOp::Symbol(itself)] if itself == symbol))
    }
}

/// What a specialised function stands for. Its own symbols are those of `function` that have no value here, in the same order; its ports are the same
/// but for their dims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specialization {
    /// Comes before this one and specialises nothing itself.
    pub function: u32,
    /// One per symbol of `function`: the value that this one was compiled for, or `None` for any.
    pub symbols: Vec<Option<i64>>,
}

impl Specialization {
    /// Whether it serves these values of the symbols of `function`.
    pub fn serves(&self, symbols: &[i64]) -> bool {
        self.symbols.iter().zip(symbols).all(|(fixed, value)| fixed.is_none_or(|fixed| fixed == *value))
    }
}

/// The value that an input was compiled for. The dims of its port are constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FixedInput {
    pub input: u32,
    /// Little-endian elements in C order.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Symbol {
    pub name: String,
    pub min: i64,
    pub max: Option<i64>,
    /// `None`: the inputs determine it. Else the program finds it while running, and this is its largest value, over the symbols before it;
    /// the symbol itself leaves it open (`Function::is_open`).
    pub upper: Option<Expr>,
}

/// An input or output tensor. An input dim that is a bare symbol binds it; any other expression is checked against the bound symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub element: ElementType,
    pub dims: Vec<Expr>,
    /// Name of the element type in the model, where `element` only holds its elements: integers of 2 and 4 bits as their values, floats of 4 to 8 as codes.
    pub model_type: Option<String>,
}

/// A tensor that stays in the session: an input of the model whose next value is one of its outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What a run finds. Bare symbols among the dims are bound by the state as by any input.
    pub input: Port,
    /// What it leaves behind, of the same element type.
    pub output: Port,
    /// Where the input stood among the inputs of the model and the output among its outputs.
    pub input_index: u32,
    pub output_index: u32,
    /// `None`: it keeps its extents.
    pub growth: Option<Growth>,
}

/// How a state grows: along one axis, up to `capacity` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    pub axis: u32,
    pub capacity: u64,
    /// Whether rows are appended to a buffer that has room for all of them, so that rows never move. Else, as for a state that keeps its extents, a run makes
    /// the next value in a buffer of its own, which takes the place of the old one.
    pub in_place: bool,
}

impl State {
    /// The growth of a state that grows in place.
    pub fn in_place(&self) -> Option<Growth> {
        self.growth.filter(|growth| growth.in_place)
    }

    /// Extents that strides follow, over the function's symbols.
    pub fn capacities(&self) -> impl Iterator<Item = Expr> {
        self.input.dims.iter().enumerate().map(|(axis, dim)| match self.in_place() {
            Some(growth) if growth.axis as usize == axis => Expr::constant(growth.capacity as i64),
            _ => dim.clone(),
        })
    }
}

/// Bytes in the constants section: C-order elements of `storage`, 64-byte aligned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    pub storage: ElementType,
    pub dims: Vec<u64>,
    /// Relative to the start of the constants section.
    pub offset: u64,
    pub bytes: u64,
    /// BLAKE3 of the bytes.
    pub hash: [u8; 32],
    /// Of the bytes; compared before they are used.
    pub crc32: u32,
}

/// Everything compiled for one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// As given to `--target`, resolved: `cpu=x86-64-v4`, `vulkan=vulkan1.1-min`.
    pub target: String,
    pub device: Device,
    pub kernels: Vec<Kernel>,
    /// Uses of kernels, in program order; `Instruction::Dispatch` refers to them.
    pub dispatches: Vec<Dispatch>,
    /// Kernels that the host brings; `Instruction::CallExtern` refers to them.
    pub externs: Vec<Extern>,
    /// One per function, in the same order.
    pub programs: Vec<Program>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Device {
    /// `image`: index of the section with the ELF image. `features`: names as in /proc/cpuinfo or `std::arch::is_x86_feature_detected`.
    Cpu { triple: String, features: Vec<String>, image: u32 },
    /// `api_version`: at least this (major << 22 | minor << 12). `features`: `int64`, `float64`, `storage16`, `float16`, ...
    /// `spirv`: index of the section that `Code::Spirv` points into.
    Vulkan { profile: String, api_version: u32, features: Vec<String>, spirv: u32 },
}

/// Code, compiled once however often it is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    pub name: String,
    /// Schedule class: `contraction`, `elementwise`, `reduction`, `pooling`, `softmax`, `copy`, ...
    pub class: String,
    /// How each buffer argument is used, in order.
    pub buffers: Vec<Access>,
    /// Number of dim arguments.
    pub dims: u32,
    /// Number of scalar arguments.
    pub scalars: u32,
    /// Number of tiles (CPU) or workgroups (Vulkan), over the kernel's dim arguments.
    pub grid: Expr,
    /// Bytes of workspace per concurrent call, over the kernel's dim arguments.
    pub workspace: Expr,
    /// (input argument, output argument) pairs that may be the same buffer.
    pub in_place: Vec<(u32, u32)>,
    pub code: Code,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Code {
    /// Address of the entry relative to the image base.
    Native { entry: u64 },
    /// Byte range in the SPIR-V section, entry point and workgroup size. `turns`: the most that one invocation takes in all its loops, over the kernel's
    /// dim arguments.
    Spirv { offset: u64, bytes: u64, entry: String, workgroup_size: [u32; 3], turns: Expr },
}

/// A kernel that the host registers by name before a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extern {
    /// Unique in its variant.
    pub name: String,
    /// For people and for comparison: `(f32[n, m], f32[k], alpha: float) -> (f32[n, m - k + 1])`.
    pub signature: String,
    /// How the buffers that it reads are stored, in order.
    pub inputs: Vec<ElementType>,
    /// How the buffers that it writes are stored; they follow the inputs.
    pub outputs: Vec<ElementType>,
    /// Number of dims: the names of the signature, in the order in which they appear.
    pub dims: u32,
    /// Number of scalars: the parameters of the signature, in order.
    pub scalars: u32,
}

/// A use of a kernel and the model nodes that it computes (for profiles, logs and hooks).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    pub kernel: u32,
    pub nodes: Vec<String>,
}
