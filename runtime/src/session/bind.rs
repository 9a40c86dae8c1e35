//! Inputs of a run -> values of the function's symbols. Checks element types, ranks, fixed and derived dims, ranges; names what differs.

use crate::{
    artifact::{
        expr::{Expr, ExprOp},
        manifest::{FixedInput, Function, Port},
    },
    error::{Error, Result},
    tensor::{Shape, Tensor, TensorView},
};

/// Not bound yet; dims are never negative.
const UNBOUND: i64 = -1;

/// Fills `symbols` (cleared first) from the dims of the inputs.
pub fn bind_symbols(function: &Function, inputs: &[TensorView<'_>], symbols: &mut Vec<i64>) -> Result<()> {
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
        for (dim, actual) in port.dims.iter().zip(input.dims) {
            if let [ExprOp::Symbol(symbol)] = dim.0[..] {
                let bound = &mut symbols[symbol as usize];
                if *bound == UNBOUND {
                    *bound = *actual;
                } else if *bound != *actual {
                    let name = &function.symbols[symbol as usize].name;
                    return Err(mismatch(format!("{}, but {name} is {bound} by an earlier dim", input.shape())));
                }
            }
        }
    }
    check_symbols(function, symbols)?;
    for (port, input) in function.inputs.iter().zip(inputs) {
        for (dim, actual) in port.dims.iter().zip(input.dims) {
            if !matches!(dim.eval(symbols), Ok(value) if value == *actual) {
                let mut expected = port_text(function, port);
                if let Ok(dims) = port.dims.iter().map(|d| d.eval(symbols)).collect::<std::result::Result<Vec<_>, _>>() {
                    let solved = Shape(port.element, &dims).to_string();
                    if solved != expected {
                        expected = format!("{expected} = {solved}");
                    }
                }
                return Err(Error::Input { input: port.name.clone(), expected, got: input.shape().to_string() });
            }
        }
    }
    function.fixed.iter().try_for_each(|fixed| check_fixed(function, fixed, &inputs[fixed.input as usize]))
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

/// Checks that every symbol has a value in its range.
pub fn check_symbols(function: &Function, symbols: &[i64]) -> Result<()> {
    if symbols.len() != function.symbols.len() {
        return Err(Error::Bind(format!("{} takes {} dims, got {}", function.name, function.symbols.len(), symbols.len())));
    }
    for (symbol, value) in function.symbols.iter().zip(symbols) {
        if *value == UNBOUND {
            return Err(Error::Bind(format!(
                "no input of {} determines the dim {}; it can only be called with it given",
                function.name, symbol.name
            )));
        }
        if *value < symbol.min || symbol.max.is_some_and(|max| *value > max) {
            let range = symbol.max.map_or_else(|| format!("at least {}", symbol.min), |max| format!("{} to {max}", symbol.min));
            return Err(Error::Bind(format!("dim {} is {value}, the model was compiled for {range}", symbol.name)));
        }
    }
    Ok(())
}

/// Dims of a port for bound symbols, into `dims` (cleared first).
pub fn eval_dims(function: &Function, port: &Port, symbols: &[i64], dims: &mut Vec<i64>) -> Result<()> {
    dims.clear();
    for dim in &port.dims {
        match dim.eval(symbols) {
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
    format!("{}[{}]", port.element, dims.join(" x "))
}

fn describe(function: &Function, port: &Port) -> String {
    format!("{}: {}", port.name, port_text(function, port))
}

fn dim_text(function: &Function, dim: &Expr) -> String {
    let name = |symbol: u32| function.symbols.get(symbol as usize).map_or_else(|| format!("s{symbol}"), |s| s.name.clone());
    let text = dim.to_text(&name);
    if dim.0.len() > 1 { format!("({text})") } else { text }
}
