//! A physical device -> a logical device with one compute queue, on which recorded commands are submitted and waited for.
//! Uses nothing above Vulkan 1.1. A wait that lasts too long counts as a lost device; objects that a hung device may still use are leaked.

use super::{
    error::Check,
    instance::Instance,
    options::VulkanOptions,
    physical::{self, PhysicalDevice, Requirements},
};
use crate::{
    device::VulkanSelector,
    error::{Error, Result},
};
use ash::vk;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// One slice of a wait, in nanoseconds.
const WAIT_SLICE: u64 = 100_000_000;
/// How long dropping waits for a device that did not answer in time.
const LAST_CHANCE: Duration = Duration::from_secs(5);
/// How long a device may work on one submission, unless options say.
const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_IN_SOFTWARE: Duration = Duration::from_secs(600);

/// A logical device; destroyed when the last program, session and buffer on it is gone.
pub(super) struct Device {
    pub raw: ash::Device,
    pub physical: PhysicalDevice,
    /// Outlives the device.
    _instance: Arc<Instance>,
    pub options: VulkanOptions,
    pub pipeline_cache: vk::PipelineCache,
    queue: Mutex<vk::Queue>,
    submissions: AtomicU64,
    /// The device did not answer or was lost: no further use.
    dead: AtomicBool,
    /// It may still be running what was submitted, so nothing it could touch may be destroyed.
    hung: AtomicBool,
}

impl Device {
    /// Opens the device that the selector names, with every kernel feature it has.
    pub fn open(selector: &VulkanSelector, requirements: &Requirements<'_>, options: &VulkanOptions) -> Result<Arc<Self>> {
        let instance = Instance::open(options)?;
        let devices = physical::enumerate(&instance)?;
        let physical = physical::select(&devices, selector, requirements)?.clone();
        Self::create(instance, physical, options)
    }

    fn create(instance: Arc<Instance>, physical: PhysicalDevice, options: &VulkanOptions) -> Result<Arc<Self>> {
        let priorities = [1.0f32];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(physical.queue_family).queue_priorities(&priorities)];
        let extensions: Vec<_> = physical.extensions.iter().map(|name| name.as_ptr()).collect();
        let supported = physical.supported;
        let core = vk::PhysicalDeviceFeatures::default()
            .shader_int16(supported.int16)
            .shader_int64(supported.int64)
            .shader_float64(supported.float64);
        let mut storage16 = vk::PhysicalDevice16BitStorageFeatures::default().storage_buffer16_bit_access(supported.storage16);
        let mut storage8 = vk::PhysicalDevice8BitStorageFeatures::default().storage_buffer8_bit_access(supported.storage8);
        let mut arithmetic =
            vk::PhysicalDeviceShaderFloat16Int8Features::default().shader_float16(supported.float16).shader_int8(supported.int8);
        let mut info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .enabled_features(&core)
            .push_next(&mut storage16);
        // Both are known to the device wherever it has one of their features.
        if supported.storage8 {
            info = info.push_next(&mut storage8);
        }
        if supported.float16 || supported.int8 {
            info = info.push_next(&mut arithmetic);
        }
        // SAFETY: everything the call reads outlives it; the device is destroyed before the instance, which it keeps alive.
        unsafe {
            let raw = instance.raw.create_device(physical.raw, &info, None).check("vkCreateDevice")?;
            let queue = Mutex::new(raw.get_device_queue(physical.queue_family, 0));
            let mut device = Self {
                raw,
                physical,
                _instance: instance,
                options: options.clone(),
                pipeline_cache: vk::PipelineCache::null(),
                queue,
                submissions: AtomicU64::new(0),
                dead: AtomicBool::new(false),
                hung: AtomicBool::new(false),
            };
            device.pipeline_cache =
                device.raw.create_pipeline_cache(&vk::PipelineCacheCreateInfo::default(), None).check("vkCreatePipelineCache")?;
            Ok(Arc::new(device))
        }
    }

    /// Fails once the device was lost.
    pub fn check_alive(&self) -> Result<()> {
        match self.dead.load(Ordering::Acquire) {
            true => Err(Error::DeviceLost(format!("{} failed earlier; open it again or rerun on the cpu", self.physical.label()))),
            false => Ok(()),
        }
    }

    /// Submits command buffers in order; `fence` is signalled when they and everything submitted before have finished.
    ///
    /// # Safety
    /// The command buffers are recorded, and live until the fence has been waited for.
    pub unsafe fn submit(&self, commands: &[vk::CommandBuffer], fence: vk::Fence) -> Result<()> {
        self.check_alive()?;
        let number = self.submissions.fetch_add(1, Ordering::Relaxed);
        if self.options.lose_submission == Some(number) {
            self.dead.store(true, Ordering::Release);
            return Err(Error::DeviceLost("a test asked for it".into()));
        }
        let info = [vk::SubmitInfo::default().command_buffers(commands)];
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the lock makes this the only use of the queue.
        self.note(unsafe { self.raw.queue_submit(*queue, &info, fence) }.check("vkQueueSubmit"))
    }

    /// Waits for the fences and resets them. A device that does not answer within the timeout is dead from then on.
    pub fn wait(&self, fences: &[vk::Fence]) -> Result<()> {
        self.check_alive()?;
        let timeout = self.options.timeout.unwrap_or(if self.physical.is_software() { TIMEOUT_IN_SOFTWARE } else { TIMEOUT });
        if !self.wait_until(fences, timeout)? {
            self.dead.store(true, Ordering::Release);
            return Err(Error::DeviceLost(format!(
                "{} gave no answer for {} ms; raise the timeout or rerun on the cpu",
                self.physical.label(),
                timeout.as_millis()
            )));
        }
        // SAFETY: the fences are signalled, so the queue no longer refers to them.
        self.note(unsafe { self.raw.reset_fences(fences) }.check("vkResetFences"))
    }

    fn wait_until(&self, fences: &[vk::Fence], timeout: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            let left = u64::try_from(timeout.saturating_sub(start.elapsed()).as_nanos()).unwrap_or(u64::MAX);
            // SAFETY: the fences belong to this device.
            match unsafe { self.raw.wait_for_fences(fences, true, left.min(WAIT_SLICE)) } {
                Err(vk::Result::TIMEOUT) if left > 0 => {}
                Err(vk::Result::TIMEOUT) => return Ok(false),
                other => return self.note(other.check("vkWaitForFences")).map(|()| true),
            }
        }
    }

    /// Before destroying what unfinished submissions use: gives them a last chance to end. If they do not, nothing of this device is destroyed
    /// any more.
    pub fn settle(&self, fences: &[vk::Fence]) {
        // A lost device runs nothing any more, so an error settles it as well.
        if !fences.is_empty() && !self.wait_until(fences, LAST_CHANCE).unwrap_or(true) {
            self.hung.store(true, Ordering::Release);
        }
    }

    /// Whether objects of this device may be destroyed.
    pub fn can_destroy(&self) -> bool {
        !self.hung.load(Ordering::Acquire)
    }

    /// Submissions so far.
    pub fn submissions(&self) -> u64 {
        self.submissions.load(Ordering::Relaxed)
    }

    fn note<T>(&self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::DeviceLost(_))) {
            self.dead.store(true, Ordering::Release);
        }
        result
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.can_destroy() {
            return;
        }
        // SAFETY: whoever made objects of this device held it alive and has destroyed them; `can_destroy` says that nothing runs.
        unsafe {
            let _ = self.raw.device_wait_idle();
            self.raw.destroy_pipeline_cache(self.pipeline_cache, None);
            self.raw.destroy_device(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drivers that finish a submission before they return from it never time out, so the fence here belongs to none.
    #[test]
    fn a_wait_ends_in_time() {
        let options = VulkanOptions { timeout: Some(Duration::from_millis(150)), ..VulkanOptions::default() };
        let any = Requirements { profile: "test", api_version: vk::API_VERSION_1_1, features: &[] };
        let device = match Device::open(&VulkanSelector::Best, &any, &options) {
            Ok(device) => device,
            Err(error) => {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "skipped: {error}");
                return;
            }
        };
        // SAFETY: the fence is destroyed before the device, and no submission refers to it.
        unsafe {
            let fence = device.raw.create_fence(&vk::FenceCreateInfo::default(), None).unwrap();
            let start = Instant::now();
            let error = device.wait(&[fence]).unwrap_err();
            assert!(matches!(&error, Error::DeviceLost(why) if why.contains("gave no answer for 150 ms")), "{error}");
            assert!((150..2000).contains(&start.elapsed().as_millis()));
            assert!(matches!(device.check_alive(), Err(Error::DeviceLost(_))));
            device.raw.destroy_fence(fence, None);
        }
    }
}
