//! Writes kernels, compiles them into one image, loads it and calls them.

use std::{collections::BTreeMap, ffi::c_void, ptr};
use winze_compiler::{
    kernel_unit::{KernelUnit, NoObserver},
    llvm::{CpuKernel, CpuTarget, CpuUnit, compile_kernels},
    schedule::{LoopRole, OpClass, RootLoop, Shapes, select_schedule},
};
use winze_runtime::artifact::expr::Expr;

/// Targets that this machine can run.
pub fn targets() -> Vec<CpuTarget> {
    ["native", "x86-64-v3"].into_iter().map(|name| CpuTarget::named(name).unwrap()).collect()
}

pub fn constant(extent: i64, role: LoopRole) -> RootLoop {
    RootLoop { extent: Expr::constant(extent), role }
}

pub fn symbol(index: u32, role: LoopRole) -> RootLoop {
    RootLoop { extent: Expr::symbol(index), role }
}

/// A kernel with the schedule that the table chooses for it.
pub fn unit(name: &str, class: OpClass, loops: Vec<RootLoop>, target: &CpuTarget, module: String) -> CpuUnit {
    unit_of(name, class, (loops, vec![]), target, module)
}

/// The same with the extents of what a contraction adds up.
pub fn unit_of(name: &str, class: OpClass, (loops, reductions): (Vec<RootLoop>, Vec<i64>), target: &CpuTarget, module: String) -> CpuUnit {
    let schedule = select_schedule(class, &Shapes { loops, reductions, element_bits: 32, ..Shapes::default() }, target).unwrap();
    let kernel = KernelUnit { name: name.to_owned(), class: class.name().to_owned(), module: module.into_bytes() };
    CpuUnit { kernel, schedule, in_place: vec![] }
}

/// Compiled and loaded kernels.
pub struct Loaded {
    library: libloading::Library,
    kernels: BTreeMap<String, CpuKernel>,
    _file: tempfile::NamedTempFile,
}

pub fn load(units: &[CpuUnit], target: &CpuTarget) -> Loaded {
    let (image, kernels) = compile_kernels(units, target, 2, &NoObserver).unwrap_or_else(|e| panic!("{}: {e}", target.name));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &image.bytes).unwrap();
    // SAFETY: the image was just made and has no initializers.
    let library = unsafe { libloading::Library::new(file.path()) }.unwrap();
    Loaded { library, kernels: kernels.into_iter().map(|kernel| (kernel.name.clone(), kernel)).collect(), _file: file }
}

#[repr(C)]
struct Args {
    buffers: *const *mut c_void,
    dims: *const i64,
    scalars: *const u64,
    workspace: *mut c_void,
    workspace_size: u64,
    cancel: *const u32,
}

impl Loaded {
    /// Runs all tiles of a kernel in two calls; the last buffers are outputs.
    pub fn call(&self, name: &str, buffers: &[*mut c_void], dims: &[i64]) {
        let tiles = self.tiles(name, dims);
        // Out of order and in two ranges: tiles do not depend on each other.
        self.call_range(name, buffers, dims, tiles / 2..tiles, ptr::null());
        self.call_range(name, buffers, dims, 0..tiles / 2, ptr::null());
    }

    pub fn tiles(&self, name: &str, dims: &[i64]) -> u32 {
        self.kernels[name].grid.eval(dims).unwrap() as u32
    }

    /// Runs some tiles, which stop when `cancel` is set.
    pub fn call_range(&self, name: &str, buffers: &[*mut c_void], dims: &[i64], range: std::ops::Range<u32>, cancel: *const u32) {
        type Entry = unsafe extern "C" fn(*const Args, u32, u32) -> i32;
        let kernel = &self.kernels[name];
        let size = kernel.workspace.eval(dims).unwrap() as usize;
        let mut workspace = vec![0u8; size + 64];
        let offset = workspace.as_ptr().align_offset(64);
        let args = Args {
            buffers: buffers.as_ptr(),
            dims: dims.as_ptr(),
            scalars: ptr::null(),
            workspace: workspace[offset..].as_mut_ptr().cast(),
            workspace_size: size as u64,
            cancel,
        };
        // SAFETY: the callers pass buffers of the sizes that the kernel's signature and dims say.
        unsafe {
            let entry: libloading::Symbol<Entry> = self.library.get(name.as_bytes()).unwrap();
            assert_eq!(entry(&args, range.start, range.end), 0);
        }
    }
}

/// A pointer to the elements, for `Loaded::call`.
pub fn raw<T>(values: &[T]) -> *mut c_void {
    values.as_ptr().cast_mut().cast()
}

/// Reproducible values in -1..1 that are exact in f32 with few bits, so that sums of products stay exact.
pub fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 58) as f32 - 31.5) / 32.0
        })
        .collect()
}

/// A guard value behind every output, to see writes past its end.
pub const GUARD: f32 = 12345.0;

pub fn output(count: usize) -> Vec<f32> {
    vec![GUARD; count + 16]
}

pub fn assert_output(what: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= tolerance * e.abs().max(1.0) || a.to_bits() == e.to_bits(), "{what}: element {i} is {a}, expected {e}");
    }
    assert!(actual[expected.len()..].iter().all(|value| *value == GUARD), "{what}: written past the end");
}
