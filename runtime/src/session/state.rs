//! Tensors that stay in a session from one run to the next: their extents and commits. Their memory is the backend's.
//!
//! A state that grows in place has one buffer with room for its capacity; a run writes only behind the rows that are held, so committing it is taking over
//! the new length. Any other state has two buffers, which a commit exchanges. Without a commit the state is as it was. Buffers stay where they are, on the
//! device, in the form that the device stores; the host sees copies of what is held.

use super::{
    bind::{UNBOUND, eval_dims, largest_dims, port_text},
    interpret::port_elements,
};
use crate::{
    artifact::{
        expr::Expr,
        manifest::{ElementType, Function, Growth, Manifest, State, Variant},
        program::Place,
    },
    backend::{Backend, Blocks, PortPlan, StateBuffer, StateMemory},
    error::{Error, Result},
    tensor::{self, Tensor, TensorView, element_count},
};

/// The states of a function, in the order of its description.
#[derive(Debug)]
pub struct States {
    pub(super) function: u32,
    values: Vec<Value>,
    /// One buffer per state, then one for what a run makes of those that do not grow in place. None until it is needed.
    memory: Vec<Option<Box<dyn StateBuffer>>>,
}

#[derive(Debug)]
struct Value {
    element: ElementType,
    /// How the device stores it.
    storage: ElementType,
    /// Extents; `UNBOUND` where they are left to the inputs, because nothing is held.
    dims: Vec<i64>,
    /// Extents that strides in memory follow: those held, with the capacity where it grows in place.
    room: Vec<i64>,
    /// A run or the caller gave it a value.
    given: bool,
}

/// Extents of a state that holds nothing: those known from the program, no rows.
fn empty_dims(state: &State) -> Vec<i64> {
    let extent = |(axis, dim): (usize, &Expr)| match state.growth {
        Some(growth) if growth.axis as usize == axis => 0,
        _ => dim.as_constant().unwrap_or(UNBOUND),
    };
    state.input.dims.iter().enumerate().map(extent).collect()
}

impl States {
    /// States that hold nothing: growing ones have no rows, others are zero.
    pub(super) fn new(index: u32, function: &Function) -> Self {
        let value = |state: &State| {
            let element = state.input.element;
            Value { element, storage: element, dims: empty_dims(state), room: vec![], given: false }
        };
        let memory = (0..2 * function.states.len()).map(|_| None).collect();
        Self { function: index, values: function.states.iter().map(value).collect(), memory }
    }

    /// Extents of each.
    pub(super) fn dims(&self) -> impl Iterator<Item = &[i64]> {
        self.values.iter().map(|value| &value.dims[..])
    }

    pub(super) fn bytes(&self) -> u64 {
        self.memory.iter().flatten().map(|buffer| buffer.bytes()).sum()
    }

    /// Whether any has a value that a run or the caller gave it.
    pub(super) fn given(&self) -> bool {
        self.values.iter().any(|value| value.given)
    }

    /// Whether all memory can be used by this backend.
    pub(super) fn are_held_by(&self, backend: &dyn Backend) -> bool {
        self.memory.iter().flatten().all(|buffer| backend.holds(&**buffer))
    }

    /// Holds nothing again; keeps the memory that the backend can use.
    pub(super) fn reset(&mut self, function: &Function, backend: &dyn Backend) -> Result<()> {
        for buffer in &mut self.memory {
            buffer.take_if(|buffer| !backend.holds(&**buffer));
        }
        for (index, (state, value)) in function.states.iter().zip(&mut self.values).enumerate() {
            (value.dims, value.given) = (empty_dims(state), false);
            if let (None, Some(buffer)) = (state.growth, &mut self.memory[index]) {
                buffer.clear()?;
            }
        }
        Ok(())
    }

    /// Fails where a run of `form` with these symbols would take a state of this `growth` beyond its capacity.
    pub(super) fn check_capacity(&self, form: &Function, symbols: &[i64], growth: impl Fn(&State) -> Option<Growth>) -> Result<()> {
        for (state, value) in form.states.iter().zip(&self.values) {
            let Some(Growth { axis, capacity, .. }) = growth(state) else { continue };
            let wanted = state.output.dims[axis as usize].eval(symbols).unwrap_or(i64::MAX);
            if !u64::try_from(wanted).is_ok_and(|wanted| wanted <= capacity) {
                let (state, held) = (state.input.name.clone(), value.dims[axis as usize]);
                return Err(Error::StateFull { state, axis, held, wanted, capacity });
            }
        }
        Ok(())
    }

    /// Holds only the first rows of what grows.
    pub(super) fn truncate(&mut self, function: &Function, length: u64) -> Result<()> {
        for (index, state) in function.states.iter().enumerate() {
            let Some(Growth { axis, in_place, .. }) = state.growth else { continue };
            let (axis, length) = (axis as usize, i64::try_from(length).unwrap_or(i64::MAX));
            let value = &self.values[index];
            if value.dims[axis] <= length {
                continue;
            }
            let mut dims = value.dims.clone();
            dims[axis] = length;
            if !in_place && let Some(buffer) = &mut self.memory[index] {
                let blocks = value.blocks(&dims, axis);
                let mut rows = vec![0; (blocks.count * blocks.bytes) as usize];
                buffer.read(blocks, &mut rows)?;
                buffer.write(Blocks { step: blocks.bytes, ..blocks }, &rows)?;
                self.values[index].room.clone_from(&dims);
            }
            self.values[index].dims = dims;
        }
        Ok(())
    }

    /// Makes room for a run of `form` with these symbols, and appends to `plans` what its memory looks like: all current values, then all next ones.
    pub(super) fn make_room(
        &mut self,
        form: &Function,
        symbols: &[i64],
        storage: &[ElementType],
        backend: &mut dyn Backend,
        (dims, plans): (&mut Vec<i64>, &mut Vec<PortPlan>),
    ) -> Result<()> {
        let first = plans.len();
        plan(form, symbols, storage, dims, plans)?;
        for (index, (state, value)) in form.states.iter().zip(&mut self.values).enumerate() {
            let buffer = &mut self.memory[index];
            if value.given && buffer.is_some() {
                continue;
            }
            room_dims(form, state, symbols, dims)?;
            let bytes = most_bytes(state, dims, storage[index])?;
            // What does not grow starts as zeros.
            let keeps = state.growth.is_some() || value.room == *dims;
            buffer.take_if(|_| !keeps);
            reserve(buffer, bytes, backend)?;
            (value.storage, value.room) = (storage[index], dims.clone());
        }
        for (index, state) in form.states.iter().enumerate().filter(|(_, state)| state.in_place().is_none()) {
            largest_dims(form, &state.output, symbols, dims)?;
            let bytes = most_bytes(state, dims, storage[index])?.max(plans[first + form.states.len() + index].stored_bytes());
            reserve(&mut self.memory[form.states.len() + index], bytes, backend)?;
        }
        Ok(())
    }

    /// Memory in the order of the plans.
    pub(super) fn memory(&mut self) -> &mut StateMemory {
        &mut self.memory
    }

    /// Takes over what a successful run of `form` made; `symbols` are those after the run.
    pub(super) fn commit(&mut self, form: &Function, symbols: &[i64]) -> Result<()> {
        // Extents of what does not grow in place may be known only now.
        self.check_capacity(form, symbols, |state| state.growth)?;
        let count = form.states.len();
        for (index, (state, value)) in form.states.iter().zip(&mut self.values).enumerate() {
            eval_dims(form, &state.output, symbols, &mut value.dims)?;
            value.given = true;
            if state.in_place().is_none() {
                self.memory.swap(index, count + index);
                value.room.clone_from(&value.dims);
            }
        }
        Ok(())
    }

    /// Extents of a state; `None` while it holds nothing.
    pub(super) fn held(&self, state: usize) -> Option<&[i64]> {
        Some(&self.values[state].dims[..]).filter(|dims| !dims.contains(&UNBOUND))
    }

    /// Rows along `axis`.
    pub(super) fn length(&self, state: usize, axis: usize) -> u64 {
        self.values[state].dims[axis].max(0) as u64
    }

    /// Whether these are states of such a function.
    pub(super) fn fit(&self, function: &Function) -> bool {
        let fits = |(state, value): (&State, &Value)| {
            value.element == state.input.element
                && value.dims.len() == state.input.dims.len()
                && value.dims.iter().zip(empty_dims(state)).zip(0..).all(|((held, known), axis)| {
                    let grows = state.growth.is_some_and(|growth| growth.axis == axis);
                    if grows {
                        state.growth.is_some_and(|growth| *held as u64 <= growth.capacity)
                    } else {
                        known == UNBOUND || *held == known
                    }
                })
        };
        self.values.len() == function.states.len() && function.states.iter().zip(&self.values).all(fits)
    }

    /// Gives a state a value, in memory of the backend.
    pub(super) fn set(
        &mut self,
        function: &Function,
        index: usize,
        view: &TensorView<'_>,
        storage: ElementType,
        backend: &mut dyn Backend,
    ) -> Result<()> {
        let state = &function.states[index];
        let expected = |dim: &Expr, extent: &i64| dim.as_constant().is_none_or(|known| known == *extent);
        let fits = view.element == state.input.element
            && view.dims.len() == state.input.dims.len()
            && state.input.dims.iter().zip(view.dims).all(|(dim, extent)| expected(dim, extent));
        if !fits {
            let got = view.shape();
            let expected = port_text(function, &state.input);
            return Err(Error::Bind(format!("the state \"{}\" is {expected}, got {got}", state.input.name)));
        }
        if let Some(Growth { axis, capacity, .. }) = state.growth {
            let wanted = view.dims[axis as usize];
            if u64::try_from(wanted).is_ok_and(|rows| rows > capacity) {
                return Err(Error::StateFull { state: state.input.name.clone(), axis, held: 0, wanted, capacity });
            }
        }
        let dense = Tensor::from_view(view)?;
        let mut room = view.dims.to_vec();
        if let Some(Growth { axis, capacity, .. }) = state.in_place() {
            room[axis as usize] = capacity as i64;
        }
        let bytes = most_bytes(state, &mut room, storage)?;
        let buffer = &mut self.memory[index];
        reserve(buffer, bytes, backend)?;
        let value = &mut self.values[index];
        (value.storage, value.room) = (storage, room);
        let blocks = value.blocks(view.dims, state.axis());
        if let Some(buffer) = buffer.as_mut().filter(|_| !dense.bytes().is_empty()) {
            if value.storage == value.element {
                buffer.write(blocks, dense.bytes())?;
            } else {
                let mut stored = vec![0; (blocks.count * blocks.bytes) as usize];
                tensor::store(value.element, value.storage, dense.bytes(), &mut stored);
                buffer.write(blocks, &stored)?;
            }
        }
        (value.dims, value.given) = (view.dims.to_vec(), true);
        Ok(())
    }

    /// A copy of what a state holds, without the room behind it.
    pub(super) fn read(&self, state: &State, index: usize) -> Result<Tensor> {
        let value = &self.values[index];
        let dims: Vec<i64> = value.dims.iter().map(|extent| (*extent).max(0)).collect();
        let mut dense = Tensor::zeros(value.element, &dims)?;
        let Some(buffer) = self.memory[index].as_ref().filter(|_| !dense.bytes().is_empty()) else { return Ok(dense) };
        let blocks = value.blocks(&dims, state.axis());
        if value.storage == value.element {
            buffer.read(blocks, dense.bytes_mut())?;
        } else {
            let mut stored = vec![0; (blocks.count * blocks.bytes) as usize];
            buffer.read(blocks, &mut stored)?;
            tensor::unstore(value.element, value.storage, &stored, dense.bytes_mut());
        }
        Ok(dense)
    }
}

impl Value {
    /// Where the first rows along `axis` stand in memory, as many as `dims` says: all of them that lie side by side are a block.
    fn blocks(&self, dims: &[i64], axis: usize) -> Blocks {
        let bytes = |dims: &[i64]| element_count(&dims[axis..]).unwrap_or(0) * self.storage.bytes() as u64;
        Blocks { count: element_count(&dims[..axis]).unwrap_or(0), bytes: bytes(dims), step: bytes(&self.room) }
    }
}

impl State {
    /// The axis along which it grows, if it does, else the first.
    fn axis(&self) -> usize {
        self.growth.map_or(0, |growth| growth.axis as usize)
    }
}

/// Makes sure of a buffer of at least so many bytes that the backend can use. A new one is zero.
fn reserve(buffer: &mut Option<Box<dyn StateBuffer>>, bytes: u64, backend: &mut dyn Backend) -> Result<()> {
    if buffer.as_ref().is_none_or(|buffer| buffer.bytes() < bytes || !backend.holds(&**buffer)) {
        *buffer = None; // the old one goes first: both at once would raise the peak
        *buffer = Some(backend.state_buffer(bytes)?);
    }
    Ok(())
}

/// What the memory of states looks like, before there is any: appended to `plans` as `make_room` does.
pub(super) fn plan(
    form: &Function,
    symbols: &[i64],
    storage: &[ElementType],
    dims: &mut Vec<i64>,
    plans: &mut Vec<PortPlan>,
) -> Result<()> {
    let plan = |state: &State, index: usize, elements| PortPlan { element: state.input.element, storage: storage[index], elements };
    for (index, state) in form.states.iter().enumerate() {
        room_dims(form, state, symbols, dims)?;
        plans.push(plan(state, index, port_elements(dims)?));
    }
    for (index, state) in form.states.iter().enumerate() {
        largest_dims(form, &state.output, symbols, dims)?;
        plans.push(plan(state, index, if state.in_place().is_some() { 0 } else { port_elements(dims)? }));
    }
    Ok(())
}

/// How a variant stores the states of each function, which all its forms share.
pub(super) fn storages(manifest: &Manifest, variant: &Variant) -> Vec<Vec<ElementType>> {
    let elements = |function: &Function| function.states.iter().map(|state| state.input.element).collect();
    let mut storages: Vec<Vec<ElementType>> = manifest.functions.iter().map(elements).collect();
    for (index, (form, program)) in manifest.functions.iter().zip(&variant.programs).enumerate() {
        let general = form.specializes.as_ref().map_or(index, |specialization| specialization.function as usize);
        for buffer in &program.buffers {
            if let Place::State { state, .. } | Place::NextState(state) = buffer.place {
                storages[general][state as usize] = buffer.storage;
            }
        }
    }
    storages
}

/// Bytes of a state with these extents, or of as many rows as it can have.
fn most_bytes(state: &State, dims: &mut [i64], storage: ElementType) -> Result<u64> {
    let Some(Growth { axis, capacity, .. }) = state.growth else {
        return Ok(port_elements(dims)? * storage.bytes() as u64);
    };
    let rows = std::mem::replace(&mut dims[axis as usize], capacity as i64);
    let elements = port_elements(dims);
    dims[axis as usize] = rows;
    Ok(elements? * storage.bytes() as u64)
}

/// Extents of a state's buffer: with room for the capacity, if it grows.
fn room_dims(form: &Function, state: &State, symbols: &[i64], dims: &mut Vec<i64>) -> Result<()> {
    eval_dims(form, &state.input, symbols, dims)?;
    if let Some(Growth { axis, capacity, .. }) = state.in_place() {
        dims[axis as usize] = capacity as i64;
    }
    Ok(())
}
