pub mod llvm;

pub mod stage;

pub mod context;

pub mod kernel_unit;

pub mod gpu;

pub mod spirv;
