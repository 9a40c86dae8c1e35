//! A backend that executes nothing: finds the largest workspace of a run before it happens, counts what it copies, and refuses kernels whose results would overlap
//! their other arguments. It cannot see past the first value that is loaded from a buffer.

use crate::{
    artifact::manifest::{Access, Variant},
    backend::{
        Backend, CopyCommand, DispatchCommand, DispatchTiming, HostInput, HostOutput, HostRegion, MemoryFigures, Plan, Region, StateBuffer,
        StateMemory,
    },
    error::{Error, Result},
};
use std::sync::{Arc, atomic::AtomicU32};

/// Schedule class of kernels that compute nothing.
const COPY: &str = "copy";

pub struct Measure<'a> {
    variant: &'a Variant,
    pub workspace: u64,
    /// Bytes that are only moved: written by kernels that compute nothing, and by copies.
    pub copied: u64,
    /// A value was loaded, so what follows is unknown.
    pub stopped: bool,
}

impl<'a> Measure<'a> {
    pub fn new(variant: &'a Variant) -> Self {
        Self { variant, workspace: 0, copied: 0, stopped: false }
    }
}

impl Backend for Measure<'_> {
    fn prepare(&mut self, _plan: &Plan<'_>) -> Result<()> {
        Ok(())
    }

    fn state_buffer(&mut self, _bytes: u64) -> Result<Box<dyn StateBuffer>> {
        Err(Error::Run("nothing is kept without a device".into()))
    }

    fn holds(&self, _buffer: &dyn StateBuffer) -> bool {
        false
    }

    unsafe fn begin(
        &mut self,
        _inputs: &[HostInput],
        _outputs: &[HostOutput],
        _states: &mut StateMemory,
        _cancel: &Arc<AtomicU32>,
    ) -> Result<()> {
        Ok(())
    }

    fn dispatch(&mut self, command: &DispatchCommand<'_>) -> Result<()> {
        self.workspace = self.workspace.max(command.workspace);
        let kernel = &self.variant.kernels[command.kernel as usize];
        if kernel.class == COPY && kernel.buffers.contains(&Access::Read) {
            let appends = |argument: usize| kernel.in_place.iter().any(|(input, output)| [*input, *output].contains(&(argument as u32)));
            // One that writes into its input in place moves what else it reads.
            let moved =
                kernel.buffers.iter().zip(command.buffers).enumerate().filter(|(argument, (access, _))| match kernel.in_place.is_empty() {
                    true => **access != Access::Read,
                    false => **access == Access::Read && !appends(*argument),
                });
            self.copied = self.copied.saturating_add(moved.map(|(_, (_, region))| region.bytes).sum());
        }
        let written = kernel.buffers.iter().enumerate().filter(|(_, access)| **access != Access::Read);
        for (output, _) in written {
            for (other, region) in command.buffers.iter().enumerate() {
                let written = command.buffers[output];
                let overlap = region.location == written.location
                    && region.offset < written.offset + written.bytes
                    && written.offset < region.offset + region.bytes;
                let declared = *region == written && kernel.in_place.contains(&(other as u32, output as u32));
                if other != output && overlap && !declared {
                    let nodes = &self.variant.dispatches[command.dispatch as usize].nodes;
                    return Err(Error::Run(format!(
                        "arguments {other} and {output} of kernel {} overlap at {}; the compiler planned wrongly",
                        kernel.name,
                        nodes.join(", ")
                    )));
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, command: &CopyCommand) -> Result<()> {
        self.copied = self.copied.saturating_add(command.src.bytes);
        Ok(())
    }

    fn write(&mut self, _region: Region, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn barrier(&mut self) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, _region: Region, _into: &mut [u8]) -> Result<()> {
        self.stopped = true;
        Err(Error::Cancelled)
    }

    fn call_host(&mut self, _regions: &[Region], _call: &mut dyn FnMut(&[HostRegion]) -> Result<()>) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn abort(&mut self) {}

    fn set_profiling(&mut self, _on: bool) {}

    fn timings(&self) -> &[DispatchTiming] {
        &[]
    }

    fn memory(&self) -> MemoryFigures {
        MemoryFigures::default()
    }

    fn describe(&self) -> String {
        "nothing".into()
    }
}
