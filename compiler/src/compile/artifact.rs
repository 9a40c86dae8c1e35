//! Compiled kernels, launch programs and the constant store -> the parts of an artifact.

use super::{CompileError, Target};
use crate::{
    constants::{ConstantStore, Expression},
    graph::bind_state::{STATE_ARGUMENTS, STATE_RESULTS, STATES},
    launch::{
        encode::{Resolver, encode, expr_of},
        extents,
    },
};
use melior::ir::{
    Attribute, BlockLike, Module, OperationRef, Value, ValueLike,
    attribute::{ArrayAttribute, TypeAttribute},
    operation::OperationLike,
};
use std::collections::{HashMap, HashSet};
use winze_graph::{
    ops::size::Bound,
    types::{ElementType, MODEL_TYPE, NAME, SPECIALIZES, SYMBOL_BOUNDS, TensorType, symbol_names},
};
use winze_launch as launch;
use winze_mlir::{attributes, walk};
use winze_runtime::artifact::{
    expr::Expr,
    manifest::{
        Device, Dispatch, ElementType as Storage, Extern, FixedInput, Function, Growth, Kernel, Port, Specialization, State, Symbol,
        Variant,
    },
    writer::Writer,
};

/// Code of a variant.
pub struct Compiled {
    pub kernels: Vec<Kernel>,
    /// ELF image or SPIR-V modules.
    pub image: Vec<u8>,
    pub features: Vec<String>,
}

/// Attribute of an argument: the only value that the function was made for.
const VALUE: &str = "graph.value";

/// Entry points of a graph module.
pub fn functions(module: &Module) -> Result<Vec<Function>, CompileError> {
    walk::operations(module.body())
        .filter(|op| op.name().as_string_ref().as_str() == Ok("func.func"))
        .map(|func| function(func).map_err(CompileError::Failed))
        .collect()
}

fn function(func: OperationRef) -> Result<Function, String> {
    let block = walk::blocks(func).into_iter().next().ok_or("artifact: a function without a body")?;
    let bounds: Vec<i64> = attributes::get(func, SYMBOL_BOUNDS).unwrap_or_default();
    let found: HashMap<u32, Expr> = Bound::all(func)?.iter().map(|bound| (bound.symbol, expr_of(&bound.upper))).collect();
    let symbol = |(i, name): (usize, String)| Symbol {
        name,
        min: 0,
        max: bounds.get(i).copied().filter(|max| *max < i64::MAX),
        upper: found.get(&(i as u32)).cloned(),
    };
    let symbols = symbol_names(func).into_iter().enumerate().map(symbol).collect();
    // What states take the place of is no port.
    let taken = |name: &str, every: usize| -> HashSet<usize> {
        let numbers: Vec<i64> = attributes::get(func, name).unwrap_or_default();
        numbers.chunks_exact(every).map(|entry| entry[0] as usize).collect()
    };
    let (state_arguments, state_results) = (taken(STATE_ARGUMENTS, 2), taken(STATE_RESULTS, 3));
    let arguments: Vec<usize> = (0..block.argument_count()).filter(|i| !state_arguments.contains(i)).collect();
    let inputs = arguments
        .iter()
        .map(|i| port(func, "arg_attrs", "input", *i, block.argument(*i).map_err(|e| e.to_string())?.into()))
        .collect::<Result<_, String>>()?;
    let terminator = block.terminator().ok_or("artifact: a function without a terminator")?;
    let results = terminator.operands().enumerate().filter(|(i, _)| !state_results.contains(i));
    let outputs = results.map(|(i, value)| port(func, "res_attrs", "output", i, value)).collect::<Result<_, String>>()?;
    let states = attributes::get::<Attribute>(func, STATES).and_then(|states| ArrayAttribute::try_from(states).ok());
    let states = states.iter().flat_map(|states| (0..states.len()).filter_map(|i| states.element(i).ok()));
    let states = states.map(state).collect::<Result<_, String>>()?;
    let fixed = arguments
        .iter()
        .enumerate()
        .filter_map(|(i, argument)| Some((i, attributes::port_entry::<Attribute>(func, "arg_attrs", *argument, VALUE)?)));
    let fixed = fixed.map(|(i, value)| {
        let bytes = winze_graph::ops::constant::read_constant(value)?.to_bytes();
        Ok(FixedInput { input: i as u32, bytes })
    });
    let fixed = fixed.collect::<Result<_, String>>()?;
    let values: Option<Vec<i64>> = attributes::get(func, SPECIALIZES);
    let specializes = values.map(|values| Specialization {
        function: 0,
        symbols: values.into_iter().map(|value| (value != i64::MIN).then_some(value)).collect(),
    });
    Ok(Function {
        name: attributes::get(func, "sym_name").unwrap_or_else(|| "main".into()),
        symbols,
        inputs,
        outputs,
        states,
        fixed,
        specializes,
    })
}

/// A state, from its dictionary.
fn state(entry: Attribute) -> Result<State, String> {
    let missing = |name: &str| format!("artifact: a state without '{name}'");
    let number = |name: &str| attributes::entry::<i64>(entry, name);
    let element = attributes::entry::<Attribute>(entry, "element").and_then(|element| TypeAttribute::try_from(element).ok());
    let element = storage_of(ElementType::from_type(element.ok_or_else(|| missing("element"))?.value())?);
    let port = |name: &str, dims: &str| -> Result<Port, String> {
        let extents = extents::from_attribute(attributes::entry(entry, dims).ok_or_else(|| missing(dims))?)?;
        let name = attributes::entry(entry, name).ok_or_else(|| missing(name))?;
        Ok(Port { name, element, dims: extents.iter().map(expr_of).collect(), model_type: None })
    };
    let index = |name: &str| number(name).map(|index| index as u32).ok_or_else(|| missing(name));
    let in_place = number("in_place").is_some_and(|in_place| in_place != 0);
    let growth =
        number("axis").zip(number("capacity")).map(|(axis, capacity)| Growth { axis: axis as u32, capacity: capacity as u64, in_place });
    let (input, output) = (port("input", "dims")?, port("output", "next")?);
    Ok(State { input, output, input_index: index("input_index")?, output_index: index("output_index")?, growth })
}

fn port(func: OperationRef, list: &str, kind: &str, i: usize, value: Value) -> Result<Port, String> {
    let TensorType { element, dims } = TensorType::of(value)?;
    let name: Option<String> = attributes::port_entry(func, list, i, NAME);
    Ok(Port {
        name: name.unwrap_or_else(|| format!("{kind}_{i}")),
        element: storage_of(element),
        dims: dims.iter().map(expr_of).collect(),
        model_type: attributes::port_entry(func, list, i, MODEL_TYPE),
    })
}

/// The runtime's name of an element type.
pub fn storage_of(element: ElementType) -> Storage {
    match element {
        ElementType::F64 => Storage::F64,
        ElementType::F32 => Storage::F32,
        ElementType::F16 => Storage::F16,
        ElementType::BF16 => Storage::BF16,
        ElementType::I64 => Storage::I64,
        ElementType::I32 => Storage::I32,
        ElementType::I16 => Storage::I16,
        ElementType::I8 => Storage::I8,
        ElementType::U64 => Storage::U64,
        ElementType::U32 => Storage::U32,
        ElementType::U16 => Storage::U16,
        ElementType::U8 => Storage::U8,
        ElementType::Bool => Storage::Bool,
    }
}

/// Writes constants and code of a variant and encodes its programs.
pub fn variant(
    host: &Module,
    store: &mut ConstantStore,
    target: &Target,
    compiled: Compiled,
    writer: &mut Writer,
) -> Result<Variant, CompileError> {
    let kernel_index = compiled.kernels.iter().enumerate().map(|(i, kernel)| (kernel.name.clone(), i as u32)).collect();
    let names = walk::operations(host.body()).filter_map(launch::Program::cast).map(|program| program.sym_name()).collect();
    let mut linker = Linker { store, target, writer, kernel_index, names, dispatches: vec![], externs: vec![] };
    let mut programs = vec![];
    for op in walk::operations(host.body()) {
        if let Some(program) = launch::Program::cast(op) {
            programs.push(encode(program, &mut linker).map_err(CompileError::Failed)?);
        }
    }
    let (dispatches, externs) = (linker.dispatches, linker.externs);
    let device = match target {
        Target::Cpu(cpu) => {
            Device::Cpu { triple: cpu.triple.clone(), features: compiled.features, image: writer.cpu_image(compiled.image) }
        }
        Target::Vulkan(profile) => Device::Vulkan {
            profile: profile.name.clone(),
            api_version: profile.packed_api_version(),
            features: compiled.features,
            spirv: writer.spirv(compiled.image),
        },
    };
    Ok(Variant { target: target.to_string(), device, kernels: compiled.kernels, dispatches, externs, programs })
}

/// Resolves what launch programs name.
struct Linker<'a> {
    store: &'a mut ConstantStore,
    target: &'a Target,
    writer: &'a mut Writer,
    kernel_index: HashMap<String, u32>,
    names: Vec<String>,
    dispatches: Vec<Dispatch>,
    externs: Vec<Extern>,
}

impl Resolver for Linker<'_> {
    fn storage(&self, element: ElementType) -> Result<Storage, String> {
        match self.target {
            Target::Cpu(_) => Ok(storage_of(element)),
            Target::Vulkan(profile) => profile.storage(storage_of(element)),
        }
    }

    fn constant(&mut self, op: launch::Constant) -> Result<u32, String> {
        let element = ElementType::from_type(extents::element_of(op.result().r#type()))?;
        let storage = self.storage(element)?;
        let (dims, bytes) = match op.value() {
            Some(value) => {
                let tensor = winze_graph::ops::constant::read_constant(value)?;
                (tensor.shape.iter().map(|extent| *extent as i64).collect(), tensor.to_bytes())
            }
            None => {
                let id = resolve(self.store, &op.id())?;
                let dims = self.store.type_of(&id).map_err(|e| e.to_string())?.dims.clone();
                if storage.bytes() == element.bytes() {
                    let extents: Vec<u64> = dims.iter().map(|extent| *extent as u64).collect();
                    let store = &*self.store;
                    let written = self.writer.constant_from(storage, &extents, |out| store.write(&id, out).map_err(std::io::Error::other));
                    return written.map_err(|e| e.to_string());
                }
                (dims, self.store.read(&id).map_err(|e| e.to_string())?.into_owned())
            }
        };
        let extents: Vec<u64> = dims.iter().map(|extent: &i64| *extent as u64).collect();
        let bytes = widen(element, storage, bytes)?;
        self.writer.constant(storage, &extents, &bytes).map_err(|e| e.to_string())
    }

    fn dispatch(&mut self, kernel: &str, nodes: Vec<String>) -> Result<u32, String> {
        let kernel = *self.kernel_index.get(kernel).ok_or_else(|| format!("kernel @{kernel} was not compiled"))?;
        self.dispatches.push(Dispatch { kernel, nodes });
        Ok(self.dispatches.len() as u32 - 1)
    }

    fn external(&mut self, external: Extern) -> Result<u32, String> {
        let position = self.externs.iter().position(|known| known.name == external.name).unwrap_or_else(|| {
            self.externs.push(external.clone());
            self.externs.len() - 1
        });
        let known = &self.externs[position];
        if *known != external {
            let Extern { name, signature, .. } = known;
            return Err(format!(
                "the kernel \"{name}\" is called as {signature} and as {}; give one of them another name",
                external.signature
            ));
        }
        Ok(position as u32)
    }

    fn function(&self, name: &str) -> Result<u32, String> {
        self.names.iter().position(|known| known == name).map(|i| i as u32).ok_or_else(|| format!("there is no program @{name}"))
    }
}

/// Elements as a target stores them.
fn widen(element: ElementType, storage: Storage, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    match (element.bytes(), storage.bytes()) {
        (from, to) if from == to => Ok(bytes),
        (from, 4) if !element.is_float() && from < 4 => {
            let signed = element.class() == winze_graph::types::Class::Signed;
            let widened = bytes.chunks_exact(from).flat_map(|chunk| {
                let mut word = if signed && chunk[from - 1] & 0x80 != 0 { [0xff; 4] } else { [0; 4] };
                word[..from].copy_from_slice(chunk);
                word
            });
            Ok(widened.collect())
        }
        (from, to) => Err(format!("constants of {from} bytes per element cannot be stored with {to}")),
    }
}

/// The id in the store of a weight whose name ends in packing steps: `fc1.weight|transpose:1,0|panels:32`.
fn resolve(store: &mut ConstantStore, id: &str) -> Result<String, String> {
    if store.contains(id) {
        return Ok(id.to_string());
    }
    let (base, step) =
        id.rsplit_once('|').ok_or_else(|| format!("there is no constant '{id}'; give the side file that belongs to this module"))?;
    let input = resolve(store, base)?;
    let (name, argument) = step.split_once(':').unwrap_or((step, ""));
    let malformed = || format!("constant '{id}' ends in '{step}', which is no packing step");
    let numbers: Vec<i64> = argument.split(',').map(|n| n.parse().map_err(|_| malformed())).collect::<Result<_, _>>()?;
    let expression = match (name, &numbers[..]) {
        ("transpose", permutation) => Expression::Transpose { input, permutation: permutation.iter().map(|axis| *axis as usize).collect() },
        ("reshape", dims) => Expression::Reshape { input, dims: dims.to_vec() },
        ("extend", dims) => extend(store, input, dims).ok_or_else(malformed)?,
        ("panels", [panel]) => Expression::PackMatrix { input, panel: *panel },
        ("merge_groups", [groups, merged]) => Expression::MergeGroups { input, groups: *groups, merged: *merged },
        ("filter_panels", [panel]) => Expression::PackFilter { input, panel: *panel, channels_last: false },
        ("filter_panels_last", [panel]) => Expression::PackFilter { input, panel: *panel, channels_last: true },
        _ => return Err(malformed()),
    };
    store.add_expression(id, expression).map_err(|e| e.to_string())
}

/// Zeros behind the elements of `input` along each axis, up to these extents.
fn extend(store: &ConstantStore, input: String, dims: &[i64]) -> Option<Expression> {
    let from = store.type_of(&input).ok()?;
    let high = from.dims.iter().zip(dims).map(|(from, to)| to - from).collect();
    let value = vec![0; from.element.bytes()];
    (from.dims.len() == dims.len()).then(|| Expression::Pad { low: vec![0; dims.len()], high, value, input })
}
