//! Room for sizes that are found while running and that nothing bounds. It starts at nothing. A run that finds a larger size stops there and is started
//! again with more room; its inputs and states are as they were. Runs of sizes that were seen before are not started again.

use super::{Session, bind::set_found, interpret::size};
use crate::{
    artifact::manifest::Function,
    error::{Error, Result},
    memory,
};

/// Takes over larger room from `symbols`.
pub fn keep(function: &Function, symbols: &[i64], rooms: &mut [i64]) {
    for (index, (room, value)) in rooms.iter_mut().zip(symbols).enumerate() {
        if function.is_open(index as u32) {
            *room = (*room).max(*value);
        }
    }
}

impl Session {
    /// Makes room for what a run of `function` has found, which stopped because of `symbol`: more than that for sizes that grew before, as much as ever for
    /// others. Where memory does not suffice, exactly for what this run has found.
    pub(super) fn make_room(&mut self, function: u32, symbol: u32) -> Result<()> {
        let program = self.program.clone();
        let description = &program.manifest().functions[function as usize];
        let found = self.machine.found().to_vec();
        let grown = |(room, found): (&i64, &i64)| if found > room { room.saturating_mul(2).max(*found) } else { *room };
        let generous = self.rooms[function as usize].iter().zip(&found).map(grown).collect();
        let wanted = found[symbol as usize];
        let mut most = self.options.max_bytes;
        if most.is_none() {
            most = memory::available().map(|bytes| bytes.saturating_add(self.backend.memory().arena));
        }
        let mut why = String::new();
        for rooms in [generous, found] {
            match self.planned_bytes(description, function, &rooms) {
                Ok(bytes) if most.is_none_or(|most| bytes <= most) => {
                    self.rooms[function as usize] = rooms;
                    return self.make_ready(function);
                }
                Ok(bytes) => why = format!("the run would need {bytes} bytes, of which {} are there", most.unwrap_or(0)),
                Err(Error::Run(error)) => why = error,
                Err(error) => why = error.to_string(),
            }
        }
        let what = &description.symbols[symbol as usize].name;
        Err(Error::Run(format!("{what} is {wanted}: {why}; give inputs that ask for less")))
    }

    /// Bytes of arena and outputs with such room; leaves the symbols so.
    fn planned_bytes(&mut self, description: &Function, function: u32, rooms: &[i64]) -> Result<u64> {
        set_found(description, rooms, &mut self.symbols)?;
        let variant = &self.program.manifest().variants[self.variant as usize];
        let ports = (&mut self.inputs, &mut self.outputs);
        super::plan_ports(variant, description, function, &self.symbols, &mut self.dims, ports)?;
        let arena = size(&variant.programs[function as usize].arena, &self.symbols, "the arena")?;
        Ok(self.outputs.iter().fold(arena, |sum, output| sum.saturating_add(output.host_bytes())))
    }
}
