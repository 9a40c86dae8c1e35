//! The image section of a CPU variant -> executable memory.

use crate::{
    artifact::reader::Reader,
    error::{Error, Result},
};

/// A mapped native image.
#[derive(Debug)]
pub struct Image {}

impl Image {
    pub fn load(_reader: &Reader, _variant: u32) -> Result<Self> {
        Err(Error::Device("no image".into()))
    }
}
