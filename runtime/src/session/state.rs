//! Tensors that stay in a session from one run to the next: their memory, extents and commits.
//!
//! A state that grows in place has one buffer with room for its capacity; a run writes only behind the rows that are held, so committing it is taking over
//! the new length. Any other state has two buffers, which a commit exchanges. Without a commit the state is as it was.

use super::{
    bind::{UNBOUND, eval_dims, largest_dims, port_text},
    interpret::port_elements,
};
use crate::{
    artifact::{
        expr::Expr,
        manifest::{ElementType, Function, Growth, State},
    },
    backend::{HostOutput, PortPlan},
    error::{Error, Result},
    tensor::{Tensor, TensorView, element_count},
};

/// The states of a function, in the order of its description.
#[derive(Debug)]
pub struct States {
    pub(super) function: u32,
    values: Vec<Value>,
}

#[derive(Debug)]
struct Value {
    /// Extents; `UNBOUND` where they are left to the inputs, because nothing is held.
    dims: Vec<i64>,
    /// With room for the capacity, if it grows in place.
    current: Tensor,
    /// What a run makes, if it does not.
    next: Tensor,
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
            Value { dims: empty_dims(state), current: Tensor::empty(element), next: Tensor::empty(element) }
        };
        Self { function: index, values: function.states.iter().map(value).collect() }
    }

    /// Extents of each.
    pub(super) fn dims(&self) -> impl Iterator<Item = &[i64]> {
        self.values.iter().map(|value| &value.dims[..])
    }

    pub(super) fn bytes(&self) -> u64 {
        self.values.iter().map(|value| (value.current.bytes().len() + value.next.bytes().len()) as u64).sum()
    }

    /// Holds nothing again; keeps the memory.
    pub(super) fn reset(&mut self, function: &Function) {
        for (state, value) in function.states.iter().zip(&mut self.values) {
            value.dims = empty_dims(state);
            if state.in_place().is_none() {
                value.current.bytes_mut().fill(0);
            }
        }
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
        for (state, value) in function.states.iter().zip(&mut self.values) {
            let Some(Growth { axis, in_place, .. }) = state.growth else { continue };
            let (axis, length) = (axis as usize, i64::try_from(length).unwrap_or(i64::MAX));
            if value.dims[axis] > length {
                value.dims[axis] = length;
                if !in_place {
                    value.current = dense(&value.current, axis, &value.dims)?;
                }
            }
        }
        Ok(())
    }

    /// Makes room for a run of `form` with these symbols, and appends to `plans` what its memory looks like: all current values, then all next ones.
    pub(super) fn make_room(&mut self, form: &Function, symbols: &[i64], dims: &mut Vec<i64>, plans: &mut Vec<PortPlan>) -> Result<()> {
        for (state, value) in form.states.iter().zip(&mut self.values) {
            room_dims(form, state, symbols, dims)?;
            // Its extents are other ones than before only where it holds nothing.
            if value.current.dims() != dims {
                value.current = Tensor::zeros(state.input.element, dims)?;
            }
            plans.push(plan_of(&value.current));
        }
        for (state, value) in form.states.iter().zip(&mut self.values) {
            if state.in_place().is_none() {
                largest_dims(form, &state.output, symbols, dims)?;
                value.next.reshape(dims)?;
            }
            plans.push(plan_of(&value.next));
        }
        Ok(())
    }

    /// Memory in the order of the plans.
    pub(super) fn memory(&mut self, outputs: &mut Vec<HostOutput>) {
        let host = |tensor: &mut Tensor| {
            let bytes = tensor.bytes_mut();
            HostOutput { data: bytes.as_mut_ptr(), bytes: bytes.len() }
        };
        outputs.extend(self.values.iter_mut().map(|value| host(&mut value.current)));
        outputs.extend(self.values.iter_mut().map(|value| host(&mut value.next)));
    }

    /// Takes over what a successful run of `form` made; `symbols` are those after the run.
    pub(super) fn commit(&mut self, form: &Function, symbols: &[i64]) -> Result<()> {
        // Extents of what does not grow in place may be known only now.
        self.check_capacity(form, symbols, |state| state.growth)?;
        for (state, value) in form.states.iter().zip(&mut self.values) {
            eval_dims(form, &state.output, symbols, &mut value.dims)?;
            if state.in_place().is_none() {
                std::mem::swap(&mut value.current, &mut value.next);
                value.current.reshape(&value.dims)?;
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
            value.current.element() == state.input.element
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

    /// Gives a state a value.
    pub(super) fn set(&mut self, function: &Function, index: usize, view: &TensorView<'_>) -> Result<()> {
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
        let value = &mut self.values[index];
        match state.in_place() {
            None => value.current = dense,
            Some(Growth { axis, capacity, .. }) => {
                let (axis, mut dims) = (axis as usize, view.dims.to_vec());
                dims[axis] = capacity as i64;
                if value.current.dims() != dims {
                    value.current = Tensor::zeros(state.input.element, &dims)?;
                }
                let (from, to) = (row_bytes(&dense, view.dims, axis), row_bytes(&value.current, &dims, axis));
                if from > 0 {
                    let blocks = dense.bytes().chunks_exact(from).zip(value.current.bytes_mut().chunks_exact_mut(to));
                    blocks.for_each(|(from, to)| to[..from.len()].copy_from_slice(from));
                }
            }
        }
        value.dims = view.dims.to_vec();
        Ok(())
    }

    /// A copy of what a state holds, without the room behind it.
    pub(super) fn read(&self, state: &State, index: usize) -> Result<Tensor> {
        let value = &self.values[index];
        let dims: Vec<i64> = value.dims.iter().map(|extent| (*extent).max(0)).collect();
        dense(&value.current, state.growth.map_or(0, |growth| growth.axis as usize), &dims)
    }
}

/// The first rows along `axis` of a tensor, as many as `dims` says.
fn dense(tensor: &Tensor, axis: usize, dims: &[i64]) -> Result<Tensor> {
    let mut dense = Tensor::zeros(tensor.element(), dims)?;
    if dense.bytes().is_empty() {
        return Ok(dense);
    }
    let (from, to) = (row_bytes(tensor, tensor.dims(), axis), row_bytes(&dense, dims, axis));
    let blocks = tensor.bytes().chunks_exact(from).zip(dense.bytes_mut().chunks_exact_mut(to));
    blocks.for_each(|(from, to)| to.copy_from_slice(&from[..to.len()]));
    Ok(dense)
}

/// Bytes of all rows along `axis` that lie side by side; the whole tensor where it has no axes.
fn row_bytes(tensor: &Tensor, dims: &[i64], axis: usize) -> usize {
    element_count(&dims[axis.min(dims.len())..]).unwrap_or(0) as usize * tensor.element().bytes()
}

/// What the memory of states looks like, before there is any: appended to `plans` as `make_room` does.
pub(super) fn plan(form: &Function, symbols: &[i64], dims: &mut Vec<i64>, plans: &mut Vec<PortPlan>) -> Result<()> {
    for state in &form.states {
        room_dims(form, state, symbols, dims)?;
        plans.push(plan_for(state.input.element, port_elements(dims)?));
    }
    for state in &form.states {
        largest_dims(form, &state.output, symbols, dims)?;
        let elements = if state.in_place().is_some() { 0 } else { port_elements(dims)? };
        plans.push(plan_for(state.input.element, elements));
    }
    Ok(())
}

fn plan_of(tensor: &Tensor) -> PortPlan {
    plan_for(tensor.element(), (tensor.bytes().len() / tensor.element().bytes()) as u64)
}

fn plan_for(element: ElementType, elements: u64) -> PortPlan {
    PortPlan { element, storage: element, elements }
}

/// Extents of a state's buffer: with room for the capacity, if it grows.
fn room_dims(form: &Function, state: &State, symbols: &[i64], dims: &mut Vec<i64>) -> Result<()> {
    eval_dims(form, &state.input, symbols, dims)?;
    if let Some(Growth { axis, capacity, .. }) = state.in_place() {
        dims[axis as usize] = capacity as i64;
    }
    Ok(())
}
