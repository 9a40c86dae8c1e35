//! Loads the Vulkan loader at run time, creates an instance and, on request, collects what the validation layers say.
//! Refuses loaders below Vulkan 1.1 and validation without the layer.

use super::{error::Check, options::VulkanOptions};
use crate::error::{Error, Result};
use ash::{ext, khr, vk};
use std::{
    ffi::{CStr, c_char, c_void},
    sync::{Arc, Mutex, PoisonError, Weak},
};

const VALIDATION_LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// Warnings and errors of the validation layers. Clones share them; one that is kept also sees what the destruction of the device brings up.
#[derive(Clone, Debug, Default)]
pub struct Messages(Arc<Mutex<Vec<String>>>);

/// Whether they share their messages.
impl PartialEq for Messages {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Messages {}

impl Messages {
    /// Everything reported so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn push(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }
}

/// # Safety
/// The layers call this with valid data and the pointer given at registration, which points to a `Messages`.
unsafe extern "system" fn collect(
    severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: see above; `Instance` keeps the `Messages` alive longer than the instance.
    let (messages, text) = unsafe {
        let text = data.as_ref().and_then(|data| data.message_as_c_str());
        (&*user.cast::<Messages>(), text.map_or_else(String::new, |text| text.to_string_lossy().into_owned()))
    };
    let kind = if severity.contains(vk::DebugUtilsMessageSeverityFlagsEXT::ERROR) { "error" } else { "warning" };
    messages.push(format!("{kind}: {text}"));
    vk::FALSE
}

/// A Vulkan instance; destroyed when dropped.
pub struct Instance {
    /// Held because its library must stay loaded.
    _entry: ash::Entry,
    pub(super) raw: ash::Instance,
    /// What the host asks for: devices are used up to this version.
    pub(super) api_version: u32,
    messenger: Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    /// Boxed because the layers hold its address.
    _messages: Box<Messages>,
}

impl Instance {
    /// An instance for these options; without validation the one that is in use already, if any, since making one takes drivers long.
    pub fn open(options: &VulkanOptions) -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Instance>> = Mutex::new(Weak::new());
        if options.validation.is_some() {
            return Self::new(options);
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = shared.upgrade() {
            return Ok(instance);
        }
        let instance = Self::new(options)?;
        *shared = Arc::downgrade(&instance);
        Ok(instance)
    }

    fn new(options: &VulkanOptions) -> Result<Arc<Self>> {
        // SAFETY: loading the system's Vulkan loader runs its initializers, as for every Vulkan program.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| {
            Error::Device(format!("no Vulkan loader on this machine ({error}); install a Vulkan driver or use --device cpu"))
        })?;
        let messages = Box::new(options.validation.clone().unwrap_or_default());
        let validation = options.validation.is_some();
        // SAFETY: every pointer handed over in this block outlives the call it is handed to; `messages` outlives the instance.
        unsafe {
            let loader = entry.try_enumerate_instance_version().check("vkEnumerateInstanceVersion")?.unwrap_or(vk::API_VERSION_1_0);
            if loader < vk::API_VERSION_1_1 {
                return Err(Error::Device("the Vulkan loader offers only version 1.0; install one for 1.1 or later".into()));
            }
            let api_version = loader.min(vk::API_VERSION_1_3);
            let (mut layers, mut extensions): (Vec<*const c_char>, Vec<*const c_char>) = (Vec::new(), Vec::new());
            let mut flags = vk::InstanceCreateFlags::empty();
            let available = entry.enumerate_instance_extension_properties(None).check("vkEnumerateInstanceExtensionProperties")?;
            if available.iter().any(|e| e.extension_name_as_c_str() == Ok(khr::portability_enumeration::NAME)) {
                extensions.push(khr::portability_enumeration::NAME.as_ptr());
                flags |= vk::InstanceCreateFlags::ENUMERATE_PORTABILITY_KHR;
            }
            if validation {
                let installed = entry.enumerate_instance_layer_properties().check("vkEnumerateInstanceLayerProperties")?;
                if !installed.iter().any(|layer| layer.layer_name_as_c_str() == Ok(VALIDATION_LAYER)) {
                    return Err(Error::Device("VK_LAYER_KHRONOS_validation is not installed; install the validation layers".into()));
                }
                layers.push(VALIDATION_LAYER.as_ptr());
                extensions.extend([ext::debug_utils::NAME.as_ptr(), ext::validation_features::NAME.as_ptr()]);
            }
            let application = vk::ApplicationInfo::default().application_name(c"winze").engine_name(c"winze").api_version(api_version);
            let enabled = [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];
            let mut features = vk::ValidationFeaturesEXT::default().enabled_validation_features(&enabled);
            let mut early = messenger_info(&messages);
            let mut info = vk::InstanceCreateInfo::default()
                .flags(flags)
                .application_info(&application)
                .enabled_layer_names(&layers)
                .enabled_extension_names(&extensions);
            if validation {
                info = info.push_next(&mut features).push_next(&mut early);
            }
            let raw = entry.create_instance(&info, None).map_err(|result| match result {
                vk::Result::ERROR_INCOMPATIBLE_DRIVER => {
                    Error::Device("no Vulkan driver is installed; install one or use --device cpu".into())
                }
                other => Error::Device(format!("vkCreateInstance failed: {other}")),
            })?;
            let mut instance = Self { _entry: entry, raw, api_version, messenger: None, _messages: messages };
            if validation {
                let utils = ext::debug_utils::Instance::new(&instance._entry, &instance.raw);
                let messenger = utils
                    .create_debug_utils_messenger(&messenger_info(&instance._messages), None)
                    .check("vkCreateDebugUtilsMessengerEXT")?;
                instance.messenger = Some((utils, messenger));
            }
            Ok(Arc::new(instance))
        }
    }
}

fn messenger_info(messages: &Messages) -> vk::DebugUtilsMessengerCreateInfoEXT<'static> {
    use vk::{DebugUtilsMessageSeverityFlagsEXT as Severity, DebugUtilsMessageTypeFlagsEXT as Type};
    let mut info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(Severity::WARNING | Severity::ERROR)
        .message_type(Type::VALIDATION | Type::PERFORMANCE)
        .pfn_user_callback(Some(collect));
    info.p_user_data = std::ptr::from_ref(messages).cast_mut().cast();
    info
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: devices hold the instance alive, so nothing of it is in use any more.
        unsafe {
            if let Some((utils, messenger)) = &self.messenger {
                utils.destroy_debug_utils_messenger(*messenger, None);
            }
            self.raw.destroy_instance(None);
        }
    }
}
