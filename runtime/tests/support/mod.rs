//! Kernels, ports, buffers and instructions -> an artifact for tests, made by the same writer that the compiler uses.

use std::fs;
use winze_runtime::{
    artifact::{
        expr::{Expr, ExprOp},
        manifest::{Access, Code, Device, Dispatch, ElementType, Function, Kernel, MANIFEST_VERSION, Manifest, Port, Symbol, Variant},
        program::{self, Buffer, BufferId, Instruction, Place},
        writer::Writer,
    },
    program::Program,
};

/// `s0`.
pub fn sym(index: u32) -> Expr {
    Expr::symbol(index)
}

pub fn int(value: i64) -> Expr {
    Expr::constant(value)
}

/// An artifact with one function and one Vulkan variant.
pub struct Model {
    directory: tempfile::TempDir,
    writer: Writer,
    function: Function,
    kernels: Vec<Kernel>,
    spirv: Vec<u8>,
    pub features: Vec<String>,
    pub api_version: u32,
    buffers: Vec<Buffer>,
}

impl Model {
    pub fn new(symbols: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let writer = Writer::create(directory.path().join("model.wz")).unwrap();
        let symbols = symbols.iter().map(|name| Symbol { name: name.to_string(), min: 0, max: None }).collect();
        let function = Function { name: "main".into(), symbols, inputs: Vec::new(), outputs: Vec::new() };
        let (kernels, spirv, buffers) = Default::default();
        Self { directory, writer, function, kernels, spirv, features: Vec::new(), api_version: 1 << 22 | 1 << 12, buffers }
    }

    /// A kernel of workgroups of `group` invocations in x, one per `group` elements of its first dim. Returns the dispatch that uses it.
    pub fn kernel(&mut self, name: &str, module: &[u8], access: &[Access], dims: u32, scalars: u32, group: u32) -> u32 {
        let code = Code::Spirv {
            offset: self.spirv.len() as u64,
            bytes: module.len() as u64,
            entry: "main".into(),
            workgroup_size: [group, 1, 1],
        };
        self.spirv.extend_from_slice(module);
        self.kernels.push(Kernel {
            name: name.into(),
            class: "elementwise".into(),
            buffers: access.to_vec(),
            dims,
            scalars,
            grid: Expr::binary(ExprOp::CeilDiv, &sym(0), &int(group.into())),
            workspace: int(0),
            in_place: Vec::new(),
            code,
        });
        self.kernels.len() as u32 - 1
    }

    pub fn input(&mut self, element: ElementType, storage: ElementType, dims: &[Expr]) -> BufferId {
        let name = format!("in{}", self.function.inputs.len());
        self.function.inputs.push(Port { name, element, dims: dims.to_vec() });
        self.buffer(storage, dims, Place::Input(self.function.inputs.len() as u32 - 1))
    }

    pub fn output(&mut self, element: ElementType, storage: ElementType, dims: &[Expr]) -> BufferId {
        let name = format!("out{}", self.function.outputs.len());
        self.function.outputs.push(Port { name, element, dims: dims.to_vec() });
        self.buffer(storage, dims, Place::Output(self.function.outputs.len() as u32 - 1))
    }

    pub fn arena(&mut self, storage: ElementType, dims: &[Expr], offset: Expr) -> BufferId {
        self.buffer(storage, dims, Place::Arena(offset))
    }

    pub fn constant(&mut self, storage: ElementType, bytes: &[u8]) -> BufferId {
        let count = (bytes.len() / storage.bytes()) as u64;
        let index = self.writer.constant(storage, &[count], bytes).unwrap();
        self.buffer(storage, &[int(count as i64)], Place::Constant(index))
    }

    fn buffer(&mut self, storage: ElementType, dims: &[Expr], place: Place) -> BufferId {
        self.buffers.push(Buffer { storage, dims: dims.to_vec(), capacities: dims.to_vec(), place });
        self.buffers.len() as u32 - 1
    }

    /// The opened artifact; its program runs `code`.
    pub fn build(mut self, registers: u32, arena: Expr, code: Vec<Instruction>) -> Program {
        let spirv = self.writer.spirv(self.spirv);
        let dispatches = (0..self.kernels.len() as u32).map(|kernel| Dispatch { kernel, nodes: Vec::new() }).collect();
        let variant = Variant {
            target: "vulkan=test".into(),
            device: Device::Vulkan { profile: "test".into(), api_version: self.api_version, features: self.features, spirv },
            kernels: self.kernels,
            dispatches,
            programs: vec![program::Program { registers, buffers: self.buffers, arena, code }],
        };
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            producer: "test".into(),
            functions: vec![self.function],
            constants: Vec::new(),
            variants: vec![variant],
        };
        self.writer.finish(manifest).unwrap();
        Program::from_bytes(&fs::read(self.directory.path().join("model.wz")).unwrap()).unwrap()
    }
}
