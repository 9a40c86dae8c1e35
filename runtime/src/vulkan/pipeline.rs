//! The kernels of a variant -> compute pipelines, made once per program on a device.
//! Refuses kernels beyond the device's limits or with a code that does not match the manifest.

use super::{device::Device, error::Check, spirv};
use crate::{
    artifact::{
        expr::Expr,
        manifest::{Access, Code, Kernel},
    },
    error::{Error, Result},
};
use ash::vk;
use std::{ffi::CString, sync::Arc, thread};

/// Largest number of workgroups along one dim of a dispatch; the kernel ABI splits larger grids along y.
pub(super) const GRID_WIDTH: u32 = 65535;
/// Bytes of push constants every device has; the kernel ABI uses no more.
const PUSH_BYTES: u64 = 128;

/// A kernel, ready to be bound.
pub(super) struct Pipeline {
    device: Arc<Device>,
    pub set_layout: vk::DescriptorSetLayout,
    pub layout: vk::PipelineLayout,
    pub raw: vk::Pipeline,
    pub name: String,
    pub access: Vec<Access>,
    pub dims: u32,
    pub scalars: u32,
    /// The most turns that one invocation takes in all its loops, over the dims.
    turns: Expr,
}

impl Pipeline {
    fn new(device: &Arc<Device>, kernel: &Kernel, section: &[u8]) -> Result<Self> {
        let failed = |what: String| Error::Device(format!("kernel {}: {what}", kernel.name));
        let Code::Spirv { offset, bytes, entry, workgroup_size, turns } = &kernel.code else {
            return Err(failed("it has no SPIR-V code; compile again".into()));
        };
        check_limits(device, kernel, *workgroup_size).map_err(failed)?;
        let code = offset
            .checked_add(*bytes)
            .and_then(|end| section.get(usize::try_from(*offset).ok()?..usize::try_from(end).ok()?))
            .ok_or_else(|| failed("its code lies outside the artifact's section".into()))?;
        let words = spirv::check_module(code, entry, *workgroup_size, &device.physical).map_err(|why| failed(why + "; compile again"))?;
        let entry = CString::new(entry.as_str()).map_err(|_| failed("its entry point has a zero in its name".into()))?;
        let mut pipeline = Self {
            device: device.clone(),
            set_layout: vk::DescriptorSetLayout::null(),
            layout: vk::PipelineLayout::null(),
            raw: vk::Pipeline::null(),
            name: kernel.name.clone(),
            access: kernel.buffers.clone(),
            dims: kernel.dims,
            scalars: kernel.scalars,
            turns: turns.clone(),
        };
        let bindings: Vec<_> = (0..kernel.buffers.len() as u32)
            .map(|binding| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let push = [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::COMPUTE, offset: 0, size: pipeline.push_bytes() }];
        let push = if push[0].size == 0 { &[][..] } else { &push };
        // SAFETY: everything the calls read outlives them; what was made before a failure is destroyed by `Drop`.
        unsafe {
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            pipeline.set_layout = device.raw.create_descriptor_set_layout(&info, None).check("vkCreateDescriptorSetLayout")?;
            let sets = [pipeline.set_layout];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(push);
            pipeline.layout = device.raw.create_pipeline_layout(&info, None).check("vkCreatePipelineLayout")?;
            let module =
                device.raw.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None).check("vkCreateShaderModule")?;
            let stage = vk::PipelineShaderStageCreateInfo::default().stage(vk::ShaderStageFlags::COMPUTE).module(module).name(&entry);
            let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(pipeline.layout)];
            let made = device.raw.create_compute_pipelines(device.pipeline_cache, &info, None);
            device.raw.destroy_shader_module(module, None);
            pipeline.raw = made
                .map_err(|(made, result)| {
                    made.into_iter().filter(|p| *p != vk::Pipeline::null()).for_each(|p| device.raw.destroy_pipeline(p, None));
                    failed(format!("{} cannot compile it: {result}", device.physical.label()))
                })?
                .first()
                .copied()
                .ok_or_else(|| failed("the driver returned no pipeline".into()))?;
        }
        Ok(pipeline)
    }

    /// Dims as i32, then scalars as 64-bit words aligned to 8.
    pub fn push_bytes(&self) -> u32 {
        push_bytes(self.dims, self.scalars) as u32 // at most 128: `check_limits`
    }

    /// Says why the driver would not finish the loops of a dispatch, where it would not.
    pub fn check_turns(&self, dims: &[i64]) -> std::result::Result<(), String> {
        let Some(limit) = self.device.physical.max_turns() else { return Ok(()) };
        match self.turns.eval(dims) {
            Ok(turns) if turns <= limit => Ok(()),
            turns => {
                let turns = turns.map_or_else(|error| error.to_string(), |turns| turns.to_string());
                Err(format!(
                    "with dims {dims:?} an invocation takes {turns} turns of its loops, and the driver of {} ends loops after {limit}; compile for these \
                     sizes (--dim), so that loops are unrolled, or use other hardware or --device cpu",
                    self.device.physical.label()
                ))
            }
        }
    }

    /// Writes the push constants for one dispatch.
    pub fn push_constants(&self, dims: impl Iterator<Item = i64>, scalars: impl Iterator<Item = u64>, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        for (number, dim) in dims.enumerate() {
            let dim = i32::try_from(dim).map_err(|_| {
                Error::Run(format!(
                    "kernel {}: dim {number} is {dim}, beyond the 32 bits of Vulkan kernels; use smaller dims or the cpu",
                    self.name
                ))
            })?;
            into.extend_from_slice(&dim.to_le_bytes());
        }
        if self.scalars > 0 {
            into.resize(into.len().next_multiple_of(8), 0);
            scalars.for_each(|scalar| into.extend_from_slice(&scalar.to_le_bytes()));
        }
        Ok(())
    }
}

fn push_bytes(dims: u32, scalars: u32) -> u64 {
    let dims = u64::from(dims) * 4;
    if scalars == 0 { dims } else { dims.next_multiple_of(8) + u64::from(scalars) * 8 }
}

fn check_limits(device: &Device, kernel: &Kernel, workgroup: [u32; 3]) -> std::result::Result<(), String> {
    let (limits, label) = (&device.physical.limits, device.physical.label());
    let push = push_bytes(kernel.dims, kernel.scalars);
    if push > PUSH_BYTES {
        return Err(format!("its dims and scalars take {push} bytes of push constants, more than {PUSH_BYTES}; compile again"));
    }
    let buffers = limits.max_per_stage_descriptor_storage_buffers.min(limits.max_descriptor_set_storage_buffers);
    if kernel.buffers.len() as u64 > u64::from(buffers) {
        return Err(format!("it binds {} buffers, {label} at most {buffers}; compile for another profile", kernel.buffers.len()));
    }
    let invocations = workgroup.iter().map(|n| u64::from(*n)).product::<u64>();
    let fits = workgroup.iter().zip(limits.max_compute_work_group_size).all(|(n, max)| (1..=max).contains(n));
    if !fits || invocations > u64::from(limits.max_compute_work_group_invocations) {
        return Err(format!(
            "its workgroup {workgroup:?} exceeds the limits of {label} ({:?}, {} in all); compile for another profile",
            limits.max_compute_work_group_size, limits.max_compute_work_group_invocations
        ));
    }
    Ok(())
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.device.can_destroy() {
            // SAFETY: recordings that use it are gone; null handles are ignored.
            unsafe {
                self.device.raw.destroy_pipeline(self.raw, None);
                self.device.raw.destroy_pipeline_layout(self.layout, None);
                self.device.raw.destroy_descriptor_set_layout(self.set_layout, None);
            }
        }
    }
}

/// One pipeline per kernel, in order; drivers compile them on several threads.
pub(super) fn create_all(device: &Arc<Device>, kernels: &[Kernel], section: &[u8]) -> Result<Vec<Pipeline>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, 16);
    let share = kernels.len().div_ceil(threads).max(1);
    let make = |kernels: &[Kernel]| kernels.iter().map(|kernel| Pipeline::new(device, kernel, section)).collect::<Result<Vec<_>>>();
    if kernels.len() < 2 || threads < 2 {
        return make(kernels);
    }
    thread::scope(|scope| {
        let workers: Vec<_> = kernels.chunks(share).map(|part| scope.spawn(move || make(part))).collect();
        let parts: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        let mut pipelines = Vec::with_capacity(kernels.len());
        for part in parts {
            pipelines.extend(part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(pipelines)
    })
}

#[cfg(test)]
mod tests {
    use super::push_bytes;

    #[test]
    fn push_constant_layout() {
        assert_eq!(
            [(0, 0), (3, 0), (3, 1), (4, 2), (3, u32::MAX)].map(|(dims, scalars)| push_bytes(dims, scalars)),
            [0, 12, 24, 32, 16 + 8 * 0xffff_ffff]
        );
    }
}
