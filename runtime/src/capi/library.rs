//! Kernels in a shared library: each is a function of its name, as `wz_kernel` of the header has it, and called without a user pointer. The text
//! `NAME_signature`, where the library has it, is compared with what an artifact says.

use super::{CKernel, extern_kernel};
use crate::{
    artifact::manifest::Extern,
    error::{Error, Result},
    session::{ExternCall, ExternKernels},
};
use libloading::{Library, Symbol};
use std::{
    ffi::{CStr, c_char},
    path::{Path, PathBuf},
    ptr,
    sync::Arc,
};

/// A loaded library. Its code stays loaded while a kernel of it is registered anywhere.
pub struct KernelLibrary {
    library: Arc<Library>,
    path: PathBuf,
}

impl KernelLibrary {
    /// Loads a library, which runs its constructors.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |why: String| Error::Run(format!("the library {} cannot be loaded: {why}", path.display()));
        // A path, never a name that is searched for.
        let absolute = path.canonicalize().map_err(|e| failed(e.to_string()))?;
        // SAFETY: whoever names a library of kernels asks for its code to be run.
        let library = unsafe { Library::new(&absolute) }.map_err(|e| failed(e.to_string()))?;
        Ok(Self { library: Arc::new(library), path: path.into() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Registers what it has of the kernels that a program calls; how many these are.
    pub fn register(&self, externals: &[Extern], kernels: &mut ExternKernels) -> usize {
        externals.iter().filter(|external| self.register_one(&external.name, kernels)).count()
    }

    fn register_one(&self, name: &str, kernels: &mut ExternKernels) -> bool {
        // SAFETY: by the contract of such libraries.
        let Ok(kernel) = (unsafe { self.library.get::<CKernel>(name) }) else { return false };
        // SAFETY: the closure below keeps the library, and with it the function.
        let (kernel, library) = (unsafe { extern_kernel(*kernel, ptr::null_mut()) }, self.library.clone());
        let kernel = Arc::new(move |call: &mut ExternCall<'_>| {
            let _loaded = &library;
            kernel(call)
        });
        match self.signature(name) {
            Some(signature) => kernels.register_typed(name, signature, kernel),
            None => kernels.register(name, kernel),
        }
        true
    }

    fn signature(&self, name: &str) -> Option<String> {
        // SAFETY: by the contract of such libraries it is an array of characters that ends with a zero.
        unsafe {
            let text: Symbol<*const c_char> = self.library.get(format!("{name}_signature")).ok()?;
            let start = text.try_as_raw_ptr()?.cast::<c_char>();
            CStr::from_ptr(start).to_str().ok().map(str::to_owned)
        }
    }
}
