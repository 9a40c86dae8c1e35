//! An open artifact, shared by threads and sessions. Constants are used where they are mapped; native images are mapped once, when first needed.

use crate::{
    artifact::{
        manifest::Manifest,
        reader::{OpenOptions, Reader},
    },
    cpu::image::Image,
    error::{Error, Result},
};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

/// A verified artifact. Cheap to clone; immutable.
#[derive(Clone, Debug)]
pub struct Program(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reader: Reader,
    /// One per variant.
    images: Vec<OnceLock<Arc<Image>>>,
    #[cfg(feature = "vulkan")]
    vulkan: crate::vulkan::LoadedVariants,
}

impl Program {
    /// Opens a file; constants are checked before they are first used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        Ok(Self::new(Reader::open(path.as_ref(), options)?))
    }

    /// Opens an artifact in memory; the bytes are copied once, and all of them are checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self::new(Reader::from_bytes(bytes, &OpenOptions::whole())?))
    }

    /// Opens an artifact that is part of this program (`winze compile --emit static-lib`). Nothing is copied or mapped.
    ///
    /// # Safety
    /// The bytes never change and may be executed.
    pub unsafe fn from_linked(bytes: &'static [u8]) -> Result<Self> {
        // SAFETY: as the caller promises.
        Ok(Self::new(unsafe { Reader::from_linked(bytes, &OpenOptions::default()) }?))
    }

    fn new(reader: Reader) -> Self {
        let images = reader.manifest().variants.iter().map(|_| OnceLock::new()).collect();
        Self(Arc::new(Inner {
            reader,
            images,
            #[cfg(feature = "vulkan")]
            vulkan: crate::vulkan::LoadedVariants::default(),
        }))
    }

    pub fn manifest(&self) -> &Manifest {
        self.0.reader.manifest()
    }

    /// Sections, constants and file figures.
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// Index of a function by name; the first one for `None`.
    pub fn function(&self, name: Option<&str>) -> Result<u32> {
        let functions = &self.manifest().functions;
        let Some(name) = name else { return Ok(0) };
        functions.iter().position(|f| f.name == name).map(|index| index as u32).ok_or_else(|| {
            let known: Vec<_> = functions.iter().map(|f| f.name.as_str()).collect();
            Error::Bind(format!("the artifact has no function \"{name}\"; it has {}", known.join(", ")))
        })
    }

    /// The native image of a CPU variant, mapped on the first call.
    pub(crate) fn image(&self, variant: u32) -> Result<Arc<Image>> {
        let slot = &self.0.images[variant as usize];
        if let Some(image) = slot.get() {
            return Ok(image.clone());
        }
        let image = Arc::new(Image::load(&self.0.reader, variant)?);
        Ok(slot.get_or_init(|| image).clone())
    }

    /// What sessions have loaded onto Vulkan devices.
    #[cfg(feature = "vulkan")]
    pub(crate) fn vulkan(&self) -> &crate::vulkan::LoadedVariants {
        &self.0.vulkan
    }
}
