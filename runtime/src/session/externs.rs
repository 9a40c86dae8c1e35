//! Kernels that the host brings, by name, for `CallExtern`.

use crate::{
    artifact::manifest::{ElementType, Extern},
    backend::HostRegion,
    error::{Error, Result},
    tensor::Element,
};
use std::{collections::HashMap, fmt, sync::Arc};

/// What a host kernel is called with: inputs, then outputs, in stored form and C order.
pub struct ExternCall<'a> {
    pub(crate) buffers: &'a [HostRegion],
    pub(crate) storage: &'a [ElementType],
    pub(crate) inputs: usize,
    /// Values of the names in the kernel's signature, in the order in which they appear.
    pub dims: &'a [i64],
    /// Raw registers: i64, bits of an f64, or bool as 0 or 1.
    pub scalars: &'a [u64],
}

impl ExternCall<'_> {
    /// Number of buffers.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Address, bytes and writability of a buffer: outputs are written. Inputs overlap only where the model passes one tensor twice.
    pub fn raw(&self, index: usize) -> Option<(ElementType, HostRegion)> {
        let region = *self.buffers.get(index)?;
        Some((*self.storage.get(index)?, HostRegion { writable: index >= self.inputs, ..region }))
    }

    /// Elements of a buffer, if it has this type.
    pub fn slice<T: Element>(&self, index: usize) -> Option<&[T]> {
        let (storage, region) = self.raw(index).filter(|(storage, _)| *storage == T::TYPE)?;
        // SAFETY: the region is valid during the call, aligned for its elements and holds whole ones; `&self` keeps `slice_mut` away.
        Some(unsafe { std::slice::from_raw_parts(region.data.cast(), region.bytes / storage.bytes()) })
    }

    /// Elements of a writable buffer, if it has this type.
    pub fn slice_mut<T: Element>(&mut self, index: usize) -> Option<&mut [T]> {
        let (storage, region) = self.raw(index).filter(|(storage, region)| *storage == T::TYPE && region.writable)?;
        // SAFETY: as above, and `&mut self` keeps every other slice away.
        Some(unsafe { std::slice::from_raw_parts_mut(region.data.cast(), region.bytes / storage.bytes()) })
    }
}

/// A host kernel; an error stops the run with its text.
pub type ExternKernel = Arc<dyn Fn(&mut ExternCall<'_>) -> std::result::Result<(), String> + Send + Sync>;

/// Host kernels by name.
#[derive(Clone, Default)]
pub struct ExternKernels(HashMap<String, (Option<String>, ExternKernel)>);

impl ExternKernels {
    pub fn register(&mut self, name: impl Into<String>, kernel: ExternKernel) {
        self.0.insert(name.into(), (None, kernel));
    }

    /// Registers a kernel that serves calls of one signature only, as `winze inspect` shows it; spaces do not count.
    pub fn register_typed(&mut self, name: impl Into<String>, signature: impl Into<String>, kernel: ExternKernel) {
        self.0.insert(name.into(), (Some(signature.into()), kernel));
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The kernel for an entry of the artifact; an error if there is none, or one with another signature.
    pub fn resolve(&self, external: &Extern) -> Result<&ExternKernel> {
        let Extern { name, signature, .. } = external;
        let Some((own, kernel)) = self.0.get(name) else {
            return Err(Error::Run(format!(
                "no external kernel is registered as \"{name}\", which the model calls as {signature}; register it before running"
            )));
        };
        let plain = |text: &str| text.split_whitespace().collect::<String>();
        match own.as_ref().filter(|own| plain(own) != plain(signature)) {
            Some(own) => Err(Error::Run(format!(
                "the external kernel \"{name}\" is {own}, but the model calls it as {signature}; compile it with the declaration of this kernel"
            ))),
            None => Ok(kernel),
        }
    }
}

impl fmt::Debug for ExternKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
