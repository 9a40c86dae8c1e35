//! Native code on the machine's own cores: image loader, feature check, thread pool, backend.

pub mod elf;
pub mod features;
pub mod fpu;
pub mod image;
pub mod pool;

pub mod backend;
