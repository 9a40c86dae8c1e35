//! Kernels that the host brings, by name, for `CallExtern`.

use crate::{artifact::manifest::ElementType, backend::HostRegion, tensor::Element};
use std::{collections::HashMap, fmt, sync::Arc};

/// What a host kernel is called with. Its buffers are in stored form, C order.
pub struct ExternCall<'a> {
    pub(crate) buffers: &'a [HostRegion],
    pub(crate) storage: &'a [ElementType],
    pub dims: &'a [i64],
    /// Raw registers: i64, bits of an f64, or bool as 0 or 1.
    pub scalars: &'a [u64],
}

impl ExternCall<'_> {
    /// Number of buffers.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Address, bytes and writability of a buffer. Buffers may overlap only if the model's author passed one twice.
    pub fn raw(&self, index: usize) -> Option<(ElementType, HostRegion)> {
        Some((*self.storage.get(index)?, *self.buffers.get(index)?))
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
pub type ExternKernel = Arc<dyn Fn(&mut ExternCall<'_>) -> Result<(), String> + Send + Sync>;

/// Host kernels by name.
#[derive(Clone, Default)]
pub struct ExternKernels(HashMap<String, ExternKernel>);

impl ExternKernels {
    pub fn register(&mut self, name: impl Into<String>, kernel: ExternKernel) {
        self.0.insert(name.into(), kernel);
    }

    pub fn get(&self, name: &str) -> Option<&ExternKernel> {
        self.0.get(name)
    }
}

impl fmt::Debug for ExternKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
