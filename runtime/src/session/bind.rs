//! Inputs of a run -> values of the function's symbols. Checks element types, ranks, fixed and derived dims, ranges; names what differs.

use super::state::States;
use crate::{
    artifact::{
        expr::{Expr, ExprError, ExprOp},
        manifest::{FixedInput, Function, Port},
    },
    error::{Error, Result},
    tensor::{Shape, Tensor, TensorView},
};

use std::fmt::Write;

/// Not bound yet; dims are never negative.
pub const UNBOUND: i64 = -1;

/// Fills `symbols` (cleared first) from the dims of the inputs and of the states; those that are left open are as large as their `rooms`.
pub fn bind_symbols(function: &Function, inputs: &[TensorView<'_>], states: &States, rooms: &[i64], symbols: &mut Vec<i64>) -> Result<()> {
    if inputs.len() != function.inputs.len() {
        let names: Vec<_> = function.inputs.iter().map(|port| describe(function, port)).collect();
        return Err(Error::Bind(format!("expected {} inputs ({}), got {}", names.len(), names.join(", "), inputs.len())));
    }
    symbols.clear();
    symbols.resize(function.symbols.len(), UNBOUND);
    for (port, input) in function.inputs.iter().zip(inputs) {
        let mismatch = |got: String| Error::Input { input: port.name.clone(), expected: port_text(function, port), got };
        if input.element != port.element || input.dims.len() != port.dims.len() || input.dims.iter().any(|d| *d < 0) {
            return Err(mismatch(input.shape().to_string()));
        }
        input.check().map_err(|why| mismatch(format!("{} with {why}", input.shape())))?;
        bind_dims(&port.dims, input.dims, symbols).map_err(|symbol| {
            let (bound, name, by) = (symbols[symbol], &function.symbols[symbol].name, bound_by(function, symbol as u32));
            mismatch(format!("{}, but {name} is {bound}{by}", input.shape()))
        })?;
    }
    for (state, dims) in function.states.iter().zip(states.dims()) {
        bind_dims(&state.input.dims, dims, symbols).map_err(|symbol| {
            let (bound, name, by) = (symbols[symbol], &function.symbols[symbol].name, bound_by(function, symbol as u32));
            let (state, shape) = (&state.input.name, Shape(state.input.element, dims));
            Error::Bind(format!("the state \"{state}\" is {shape}, but {name} is {bound}{by}; reset the states"))
        })?;
    }
    set_found(function, rooms, symbols)?;
    check_ranges(function, symbols, &|symbol| bound_by(function, symbol))?;
    for (port, input) in function.inputs.iter().zip(inputs) {
        for (axis, (dim, actual)) in port.dims.iter().zip(input.dims).enumerate() {
            if !matches!(dim.eval(symbols), Ok(value) if value == *actual) {
                let mut expected = port_text(function, port);
                let mut got = input.shape().to_string();
                for symbol in (0..function.symbols.len() as u32).filter(|symbol| dim.uses(|used| used == *symbol)) {
                    let (name, value) = (&function.symbols[symbol as usize].name, symbols[symbol as usize]);
                    let _ = write!(got, ", of which dim {axis} does not fit: {name} is {value}{}", bound_by(function, symbol));
                }
                if let Ok(dims) = port.dims.iter().map(|d| d.eval(symbols)).collect::<std::result::Result<Vec<_>, _>>() {
                    let solved = Shape(port.element, &dims).to_string();
                    if solved != expected {
                        expected = format!("{expected} = {solved}");
                    }
                }
                return Err(Error::Input { input: port.name.clone(), expected, got });
            }
        }
    }
    for (state, dims) in function.states.iter().zip(states.dims()) {
        let fits = |(dim, actual): (&Expr, &i64)| *actual == UNBOUND || matches!(dim.eval(symbols), Ok(value) if value == *actual);
        if !state.input.dims.iter().zip(dims).all(fits) {
            let (name, shape) = (&state.input.name, Shape(state.input.element, dims));
            return Err(Error::Bind(format!("the state \"{name}\" is {shape}, not {}", port_text(function, &state.input))));
        }
    }
    function.fixed.iter().try_for_each(|fixed| check_fixed(function, fixed, &inputs[fixed.input as usize]))
}

/// Gives bare symbols among `dims` the extents that stand there, unless they are left open. Fails with a symbol that has another value already.
fn bind_dims(dims: &[Expr], extents: &[i64], symbols: &mut [i64]) -> std::result::Result<(), usize> {
    for (dim, actual) in dims.iter().zip(extents).filter(|(_, actual)| **actual != UNBOUND) {
        if let [ExprOp::Symbol(symbol)] = dim.0[..] {
            let bound = &mut symbols[symbol as usize];
            if *bound == UNBOUND {
                *bound = *actual;
            } else if *bound != *actual {
                return Err(symbol as usize);
            }
        }
    }
    Ok(())
}

/// Compares an input with the value that the program was compiled for.
fn check_fixed(function: &Function, fixed: &FixedInput, input: &TensorView<'_>) -> Result<()> {
    let differs = if input.is_c_order() { input.data != fixed.bytes } else { Tensor::from_view(input)?.bytes() != fixed.bytes };
    if !differs {
        return Ok(());
    }
    let name = &function.inputs[fixed.input as usize].name;
    Err(Error::Bind(format!(
        "the value of input \"{name}\" differs from the one that the model was compiled for; compile it again with --value {name}=FILE.npy"
    )))
}

/// Gives the symbols that are found while running their largest values: `rooms` has one per symbol, of which those count that are left open.
pub fn set_found(function: &Function, rooms: &[i64], symbols: &mut [i64]) -> Result<()> {
    for (index, symbol) in function.symbols.iter().enumerate() {
        let Some(upper) = &symbol.upper else { continue };
        if function.is_open(index as u32) {
            symbols[index] = rooms[index];
            continue;
        }
        let (known, _) = symbols.split_at(index);
        // What is missing among those before is reported as such.
        if upper.uses(|s| known[s as usize] == UNBOUND) {
            continue;
        }
        symbols[index] = match upper.eval(known) {
            Ok(value) => value.max(0),
            Err(error) => return Err(Error::Bind(format!("the largest value of {}: {error}", symbol.name))),
        };
    }
    Ok(())
}

/// Which dim of which input or state gives a symbol its value, for messages.
fn bound_by(function: &Function, symbol: u32) -> String {
    let alone = |dim: &Expr| matches!(dim.0[..], [ExprOp::Symbol(found)] if found == symbol);
    let inputs = function.inputs.iter().map(|port| ("input", port));
    let mut ports = inputs.chain(function.states.iter().map(|state| ("state", &state.input)));
    let place = ports.find_map(|(kind, port)| Some((kind, port, port.dims.iter().position(alone)?)));
    place.map_or_else(String::new, |(kind, port, axis)| format!(" by dim {axis} of {kind} \"{}\"", port.name))
}

/// Checks that every symbol has a value in its range.
pub fn check_symbols(function: &Function, symbols: &[i64]) -> Result<()> {
    check_ranges(function, symbols, &|_| String::new())
}

/// `by` tells where a value comes from.
fn check_ranges(function: &Function, symbols: &[i64], by: &dyn Fn(u32) -> String) -> Result<()> {
    if symbols.len() != function.symbols.len() {
        return Err(Error::Bind(format!("{} takes {} dims, got {}", function.name, function.symbols.len(), symbols.len())));
    }
    for (index, (symbol, value)) in function.symbols.iter().zip(symbols).enumerate() {
        if *value == UNBOUND {
            return Err(Error::Bind(format!(
                "no input of {} determines the dim {}; it can only be called with it given",
                function.name, symbol.name
            )));
        }
        if *value < symbol.min || symbol.max.is_some_and(|max| *value > max) {
            let range = symbol.max.map_or_else(|| format!("at least {}", symbol.min), |max| format!("{} to {max}", symbol.min));
            let by = by(index as u32);
            return Err(Error::Bind(format!("dim {} is {value}{by}, the model was compiled for {range}", symbol.name)));
        }
    }
    Ok(())
}

/// Dims of a port for bound symbols, into `dims` (cleared first).
pub fn eval_dims(function: &Function, port: &Port, symbols: &[i64], dims: &mut Vec<i64>) -> Result<()> {
    fill_dims(function, port, dims, |dim| dim.eval(symbols))
}

/// The largest dims that a port can have, into `dims` (cleared first): symbols found while running are between 0 and their value in `symbols`.
pub fn largest_dims(function: &Function, port: &Port, symbols: &[i64], dims: &mut Vec<i64>) -> Result<()> {
    if !function.symbols.iter().any(|symbol| symbol.upper.is_some()) {
        return eval_dims(function, port, symbols, dims);
    }
    let range = |symbol: u32| {
        let largest = *symbols.get(symbol as usize)?;
        Some((if function.symbols.get(symbol as usize)?.upper.is_some() { 0 } else { largest }, largest))
    };
    fill_dims(function, port, dims, |dim| dim.range(range).map(|(_, largest)| largest.max(0)))
}

fn fill_dims(
    function: &Function,
    port: &Port,
    dims: &mut Vec<i64>,
    value: impl Fn(&Expr) -> std::result::Result<i64, ExprError>,
) -> Result<()> {
    dims.clear();
    for dim in &port.dims {
        match value(dim) {
            Ok(value) if value >= 0 => dims.push(value),
            Ok(value) => return Err(Error::Bind(format!("a dim of {} would be {value}; use larger inputs", describe(function, port)))),
            Err(error) => return Err(Error::Bind(format!("{}: {error}", describe(function, port)))),
        }
    }
    Ok(())
}

/// The type of a port, for people: `f32[batch x 3]`.
pub fn port_text(function: &Function, port: &Port) -> String {
    let dims: Vec<_> = port.dims.iter().map(|dim| dim_text(function, dim)).collect();
    let holds = port.model_type.as_ref().map_or_else(String::new, |name| format!(" that holds {name}"));
    format!("{}[{}]{holds}", port.element, dims.join(" x "))
}

fn describe(function: &Function, port: &Port) -> String {
    format!("{}: {}", port.name, port_text(function, port))
}

fn dim_text(function: &Function, dim: &Expr) -> String {
    let name = |symbol: u32| function.symbols.get(symbol as usize).map_or_else(|| format!("s{symbol}"), |s| s.name.clone());
    let text = dim.to_text(&name);
    if dim.0.len() > 1 { format!("({text})") } else { text }
}
