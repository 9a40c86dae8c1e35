//! Kernel text -> SPIR-V for a profile -> spirv-val -> run on whatever Vulkan device there is (a software renderer will do), under validation.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU32},
};
use winze_compiler::{
    gpu::{VulkanKernel, VulkanProfile, compile_kernels},
    kernel_unit::KernelUnit,
};
use winze_runtime::{
    artifact::{
        expr::Expr,
        manifest::{Access, Code, Device, Dispatch, ElementType, Function, Kernel, MANIFEST_VERSION, Manifest, Variant},
        program::{self, Instruction},
        writer::Writer,
    },
    backend::{DispatchCommand, HostInput, HostOutput, Location, Plan, PortPlan, Region},
    device::VulkanSelector,
    error::Error,
    program::Program,
    tensor::{Element, is_storable},
    vulkan::{Messages, VulkanOptions, VulkanProgram, devices},
};

pub const MIN: &str = "vulkan1.1-min";
pub const DESKTOP: &str = "vulkan1.3-desktop";

/// Not captured by the test harness, unlike `eprintln!`.
fn report(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

pub fn unit(text: &str) -> KernelUnit {
    let name = text.split_once("func.func @").and_then(|(_, rest)| rest.split_once('(')).expect("a kernel function").0;
    KernelUnit { name: name.into(), class: "elementwise".into(), module: text.as_bytes().to_vec() }
}

/// The kernel, accepted by spirv-val where that is installed.
pub fn compile(unit: &KernelUnit, profile: &str) -> Result<VulkanKernel, String> {
    let profile = VulkanProfile::named(profile).unwrap();
    let kernel = compile_kernels(std::slice::from_ref(unit), profile, 1).map_err(|e| e[0].to_string())?.remove(0);
    validate(&kernel, profile);
    Ok(kernel)
}

/// The message of the error that compiling gives.
pub fn compile_error(text: &str, profile: &str) -> String {
    compile_kernels(&[unit(text)], VulkanProfile::named(profile).unwrap(), 1).expect_err("the kernel must be refused")[0].to_string()
}

fn validate(kernel: &VulkanKernel, profile: &VulkanProfile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &kernel.spirv).unwrap();
    let run = Command::new("spirv-val").arg("--target-env").arg(&profile.spirv_val_env).arg(file.path()).stdin(Stdio::null()).output();
    match run {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "spirv-val refuses {} for {}: {text}", kernel.name, profile.name);
        }
        Err(error) => report(&format!("spirv-val was not run: {error}")),
    }
}

/// Elements of a tensor and their type.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    pub element: ElementType,
    pub bytes: Vec<u8>,
}

impl Data {
    pub fn of<T: Element>(values: &[T]) -> Self {
        Self { element: T::TYPE, bytes: T::bytes(values).to_vec() }
    }

    pub fn bools(values: &[bool]) -> Self {
        Self { element: ElementType::Bool, bytes: values.iter().map(|v| u8::from(*v)).collect() }
    }

    pub fn to<T: Element>(&self) -> Vec<T> {
        assert_eq!(self.element, T::TYPE);
        // SAFETY: every bit pattern of an element type is valid, and the read is unaligned.
        self.bytes.chunks_exact(size_of::<T>()).map(|c| unsafe { c.as_ptr().cast::<T>().read_unaligned() }).collect()
    }

    fn len(&self) -> usize {
        self.bytes.len() / self.element.bytes()
    }
}

/// A kernel on a device.
pub struct Loaded {
    kernel: VulkanKernel,
    program: VulkanProgram,
    messages: Messages,
    _one_at_a_time: MutexGuard<'static, ()>,
}

/// The kernel, ready to run; `None` without a device.
pub fn load(text: &str, profile: &str) -> Option<Loaded> {
    load_unit(&unit(text), profile).unwrap_or_else(|e| panic!("{profile}: {e}"))
}

/// The same for a kernel that may be refused.
pub fn load_unit(unit: &KernelUnit, profile_name: &str) -> Result<Option<Loaded>, String> {
    static LOCK: Mutex<()> = Mutex::new(());
    let kernel = compile(unit, profile_name)?;
    let guard = LOCK.lock().unwrap_or_else(|e| e.into_inner());
    if devices().is_empty() {
        report(&format!("kernel {} was compiled but not run: there is no Vulkan device", kernel.name));
        return Ok(None);
    }
    let program = artifact(&kernel, VulkanProfile::named(profile_name).unwrap());
    let messages = Messages::default();
    let options = VulkanOptions { validation: Some(messages.clone()), ..VulkanOptions::default() };
    let loaded = match VulkanProgram::load(&program, 0, &VulkanSelector::Best, &options) {
        Err(error) if error.to_string().contains("VK_LAYER_KHRONOS_validation") => {
            report(&format!("not validated: {error}"));
            VulkanProgram::load(&program, 0, &VulkanSelector::Best, &VulkanOptions::default())
        }
        other => other,
    };
    Ok(Some(Loaded { kernel, program: loaded.unwrap(), messages, _one_at_a_time: guard }))
}

fn artifact(kernel: &VulkanKernel, profile: &VulkanProfile) -> Program {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel.wz");
    let mut writer = Writer::create(&path).unwrap();
    let spirv = writer.spirv(kernel.spirv.clone());
    let variant = Variant {
        target: format!("vulkan={}", profile.name),
        device: Device::Vulkan {
            profile: profile.name.clone(),
            api_version: profile.packed_api_version(),
            features: profile.features.clone(),
            spirv,
        },
        kernels: vec![Kernel {
            name: kernel.name.clone(),
            class: "elementwise".into(),
            buffers: kernel.access.clone(),
            dims: kernel.dims,
            scalars: 0,
            grid: kernel.grid.clone(),
            workspace: Expr::constant(0),
            in_place: vec![],
            code: Code::Spirv {
                offset: 0,
                bytes: kernel.spirv.len() as u64,
                entry: kernel.entry.clone(),
                workgroup_size: kernel.workgroup_size,
                turns: kernel.turns.clone(),
            },
        }],
        dispatches: vec![Dispatch { kernel: 0, nodes: vec![] }],
        externs: vec![],
        programs: vec![program::Program { registers: 0, buffers: vec![], arena: Expr::constant(0), code: vec![Instruction::Return] }],
    };
    let function = Function { name: "main".into(), ..Function::default() };
    let (version, producer) = (MANIFEST_VERSION, "test".into());
    writer.finish(Manifest { version, producer, functions: vec![function], constants: vec![], variants: vec![variant] }).unwrap();
    Program::from_bytes(&std::fs::read(&path).unwrap()).unwrap()
}

impl Loaded {
    /// Runs the kernel once. Outputs start out filled with a pattern, so that an element left unwritten shows.
    pub fn run(&mut self, dims: &[i64], inputs: &[Data], outputs: &[(ElementType, usize)]) -> Vec<Data> {
        self.try_run(dims, inputs, outputs).unwrap()
    }

    /// The same where the device may refuse these dims.
    pub fn try_run(&mut self, dims: &[i64], inputs: &[Data], outputs: &[(ElementType, usize)]) -> Result<Vec<Data>, Error> {
        let storage = &self.kernel.storage;
        assert_eq!(storage.len(), inputs.len() + outputs.len());
        let port = |element: ElementType, storage: ElementType, elements: usize| {
            // Storage is signless.
            let storage = if is_storable(element, storage) { storage } else { element };
            PortPlan { element, storage, elements: elements as u64 }
        };
        let in_ports: Vec<_> = inputs.iter().zip(storage).map(|(d, s)| port(d.element, *s, d.len())).collect();
        let out_ports: Vec<_> = outputs.iter().zip(&storage[inputs.len()..]).map(|((e, n), s)| port(*e, *s, *n)).collect();
        for (plan, s) in in_ports.iter().chain(&out_ports).zip(storage) {
            assert_eq!(plan.storage.bytes(), s.bytes(), "storage of {:?} is {s:?}", plan.element);
        }
        let mut results: Vec<Data> =
            outputs.iter().map(|(element, n)| Data { element: *element, bytes: vec![0xCD; n * element.bytes()] }).collect();
        let host_in: Vec<_> = inputs.iter().map(|d| HostInput { data: d.bytes.as_ptr(), bytes: d.bytes.len() }).collect();
        let host_out: Vec<_> = results.iter_mut().map(|d| HostOutput { data: d.bytes.as_mut_ptr(), bytes: d.bytes.len() }).collect();
        let regions: Vec<Region> = (in_ports.iter().enumerate().map(|(i, p)| (Location::Input(i as u32), p)))
            .chain(out_ports.iter().enumerate().map(|(i, p)| (Location::Output(i as u32), p)))
            .map(|(location, p)| Region { location, offset: 0, bytes: p.stored_bytes() })
            .collect();

        let mut backend = self.program.backend().unwrap();
        backend.prepare(&Plan { function: 0, inputs: &in_ports, outputs: &out_ports, arena_bytes: 0, workspace_bytes: 0 }).unwrap();
        // SAFETY: the memory outlives the run.
        unsafe { backend.begin(&host_in, &host_out, &mut [], &Arc::new(AtomicU32::new(0))) }.unwrap();
        let grid = self.kernel.grid.eval(dims).unwrap() as u32;
        if grid > 0 {
            let command = DispatchCommand { dispatch: 0, kernel: 0, buffers: &regions, dims, scalars: &[], grid, workspace: 0 };
            backend.dispatch(&command)?;
        }
        backend.finish()?;
        Ok(results)
    }

    pub fn access(&self) -> &[Access] {
        &self.kernel.access
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let messages = self.messages.all();
        if !std::thread::panicking() {
            assert_eq!(messages, [""; 0], "validation of {}", self.kernel.name);
        }
    }
}

/// Loads the kernel on each profile and lets `test` run it.
pub fn on_profiles(text: &str, profiles: &[&str], test: impl Fn(&mut Loaded, &str)) {
    for profile in profiles {
        if let Some(mut loaded) = load(text, profile) {
            test(&mut loaded, profile);
        }
    }
}

/// Reproducible numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// In `-1..1`.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}

/// Largest difference over the scale `1 + |want|` stays within `tolerance`; NaN equals NaN.
pub fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let close = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance * (1.0 + w.abs());
        assert!(close, "{what}: element {i} is {g}, want {w}");
    }
}
