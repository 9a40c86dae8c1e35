//! `convert-graph-to-linalg`: kernel function of graph ops -> linalg on tensors, with destinations and extents as arguments.
//!
//! Assumes one block without control flow or weights. The function gains one destination per result and one index per symbol that its types use; the
//! attribute `winze.symbols` lists these symbols. Refuses ops without a definition.

use super::{
    builder::{Builder, lasting, lasting_block, lasting_op},
    context::{LowerContext, key},
};
use crate::{
    dim::Dim,
    op::{self, op_name},
    types::{ElementType, TensorType, dims_attribute, starts_of},
};
use std::collections::{BTreeMap, HashMap};
use winze_mlir::{
    attributes::{self, AttributeValue},
    melior::{
        Context,
        dialect::DialectHandle,
        ir::{
            Attribute, AttributeLike, Block, BlockLike, Location, OperationRef, RegionLike, Type, ValueLike,
            attribute::{ArrayAttribute, TypeAttribute},
            operation::{OperationLike, OperationMutLike, OperationRefMut},
            r#type::{FunctionType, IntegerType},
        },
    },
    mlir_sys,
    pass::{PassOption, RustPass},
    walk,
};

/// Argument attribute: extents of the argument's dynamic dims over the kernel's index arguments.
pub const DIMS: &str = "winze.dims";
/// Function attribute: which symbols the index arguments are.
pub const SYMBOLS: &str = "winze.symbols";
const PASS: &str = "convert-graph-to-linalg";

pub struct ConvertGraphToLinalg {
    bool_bits: u32,
}

impl RustPass for ConvertGraphToLinalg {
    const ARGUMENT: &'static str = PASS;
    const DESCRIPTION: &'static str = "Lower the graph ops of a kernel to linalg on tensors in destination-passing form";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] =
        &[PassOption { name: "bool-storage", description: "integer type of stored bools: i8 or i32", default: "i8" }];

    fn dialects() -> Vec<DialectHandle> {
        // SAFETY: handles are statics of MLIR.
        let (math, bufferization) = unsafe {
            (
                DialectHandle::from_raw(mlir_sys::mlirGetDialectHandle__math__()),
                DialectHandle::from_raw(mlir_sys::mlirGetDialectHandle__bufferization__()),
            )
        };
        let (linalg, tensor, arith, affine, scf) =
            (DialectHandle::linalg(), DialectHandle::tensor(), DialectHandle::arith(), DialectHandle::affine(), DialectHandle::scf());
        vec![linalg, tensor, arith, affine, scf, math, bufferization]
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        match values {
            ["i8"] => Ok(Self { bool_bits: 8 }),
            ["i32"] => Ok(Self { bool_bits: 32 }),
            _ => Err(format!("bool-storage is i8 or i32, not {}", values.join(" "))),
        }
    }

    fn run(&self, function: OperationRef<'_, '_>) -> Result<(), String> {
        let context = winze_mlir::context::context_of(function);
        let function = lasting_op(function);
        let region = function.region(0).map_err(|e| format!("{PASS}: {e}"))?;
        let Some(old) = region.first_block().map(lasting_block) else { return Ok(()) };
        let kernel = Kernel::read(context, old, self.bool_bits)?;
        let new = lasting_block(region.append_block(Block::new(&kernel.arguments)));
        let lowered = kernel.lower(context, old, new, self.bool_bits);
        // SAFETY: no operation of one block uses a value of the other, and the block is not used afterwards.
        drop(unsafe { if lowered.is_ok() { old } else { new }.detach() });
        lowered?;
        kernel.write_signature(context, function);
        Ok(())
    }
}

/// The signature to be made.
struct Kernel<'c> {
    inputs: Vec<TensorType>,
    results: Vec<TensorType>,
    /// Symbols of the graph, in the order of the index arguments.
    symbols: Vec<u32>,
    arguments: Vec<(Type<'c>, Location<'c>)>,
}

impl<'c> Kernel<'c> {
    fn read(context: &'c Context, block: super::Blk<'c>, bool_bits: u32) -> Result<Self, String> {
        let tensor_type = |value: winze_mlir::melior::ir::Value<'c, '_>| TensorType::of(value).map_err(|e| format!("{PASS}: {e}"));
        let arguments: Vec<_> = (0..block.argument_count()).map(|i| lasting(block.argument(i).expect("in range").into())).collect();
        let inputs = arguments.iter().map(|a| tensor_type(*a)).collect::<Result<Vec<_>, _>>()?;
        let end = block.terminator().ok_or_else(|| format!("{PASS}: the kernel's block has no terminator"))?;
        let results = end.operands().map(tensor_type).collect::<Result<Vec<_>, _>>()?;
        let mut types = [&inputs[..], &results].concat();
        for op in walk::operations(block) {
            for result in op.results() {
                types.push(tensor_type(result.into())?);
            }
        }
        let starts: Vec<Dim> = walk::operations(block).flat_map(starts_of).collect();
        let mut symbols: Vec<u32> = vec![];
        for dim in types.iter().flat_map(|r#type| &r#type.dims).chain(&starts) {
            dim.substitute(&mut |symbol| {
                symbols.push(symbol);
                Dim::default()
            });
        }
        symbols.sort();
        symbols.dedup();

        let stored = |r#type: &TensorType| -> Type<'c> {
            let storage = match r#type.element {
                ElementType::Bool => IntegerType::new(context, bool_bits).into(),
                element => element.to_scalar_type(context),
            };
            winze_mlir::melior::ir::r#type::RankedTensorType::new(&r#type.extents(), storage, None).into()
        };
        let mut signature: Vec<_> = inputs.iter().zip(&arguments).map(|(r#type, a)| (stored(r#type), a.location())).collect();
        signature.extend(results.iter().map(|r#type| (stored(r#type), end.location())));
        signature.extend(symbols.iter().map(|_| (Type::index(context), end.location())));
        Ok(Self { inputs, results, symbols, arguments: signature })
    }

    fn lower(&self, context: &'c Context, old: super::Blk<'c>, new: super::Blk<'c>, bool_bits: u32) -> Result<(), String> {
        let argument = |i: usize| lasting(new.argument(i).expect("made with the block").into());
        let end = lasting_op(old.terminator().expect("read before"));
        let (first_destination, first_symbol) = (self.inputs.len(), self.inputs.len() + self.results.len());
        let mut cx = LowerContext {
            builder: Builder { context, location: end.location(), block: new },
            bool_bits,
            symbols: self.symbols.iter().enumerate().map(|(i, s)| (*s, argument(first_symbol + i))).collect::<BTreeMap<_, _>>(),
            values: (0..self.inputs.len()).map(|i| (key(old.argument(i).expect("in range").into()), argument(i))).collect(),
            destinations: HashMap::new(),
        };
        for (i, result) in end.operands().enumerate() {
            if result.is_operation_result() {
                cx.destinations.entry(key(result)).or_insert_with(|| argument(first_destination + i));
            }
        }
        let offered: HashMap<usize, _> = cx.destinations.clone();
        for op in walk::operations(old).map(lasting_op) {
            if op.to_raw().ptr == end.to_raw().ptr {
                break;
            }
            cx.builder.location = op.location();
            let name = op_name(op);
            let at = |message: String| format!("{PASS}: {message} at {name} {}", op.location());
            let definition = op::find(&name).ok_or_else(|| at("no lowering is registered for this op; register an OpDefinition".into()))?;
            let results = (definition.lower)(&mut cx, op).map_err(at)?;
            for (i, value) in results.into_iter().enumerate() {
                let result = op.result(i).map_err(|e| at(e.to_string()))?;
                let expected = cx.stored_type(&TensorType::of(result.into()).map_err(at)?);
                if value.r#type() != expected {
                    return Err(at(format!("internal error: lowered to {}, expected {expected}", value.r#type())));
                }
                cx.values.insert(key(result.into()), value);
            }
        }
        cx.builder.location = end.location();
        let mut returned = vec![];
        for (i, result) in end.operands().enumerate() {
            let (value, destination) = (cx.value(result).map_err(|e| format!("{PASS}: {e}"))?, argument(first_destination + i));
            // Written by its op, unless that op is a view, or the value is returned twice or is an input.
            let written = offered.get(&key(result)) == Some(&destination) && !cx.destinations.contains_key(&key(result));
            returned.push(if written { value } else { cx.copy(value, destination, self.results[i].element) });
        }
        cx.builder.op("func.return", &returned, &[], &[]);
        Ok(())
    }

    fn write_signature(&self, context: &'c Context, function: super::Op<'c>) {
        let types: Vec<Type> = self.arguments.iter().map(|(r#type, _)| *r#type).collect();
        let destinations = &types[self.inputs.len()..self.inputs.len() + self.results.len()];
        let dims = |r#type: &TensorType| {
            let renamed: Vec<Dim> = r#type.dims.iter().filter(|dim| dim.as_static().is_none()).map(|dim| self.renumber(dim)).collect();
            (!renamed.is_empty()).then(|| (DIMS, dims_attribute(context, renamed.iter())))
        };
        let old = attributes::get::<Attribute>(function, "arg_attrs").and_then(|a| ArrayAttribute::try_from(a).ok());
        let mut arguments: Vec<Attribute> = vec![];
        for (i, input) in self.inputs.iter().enumerate() {
            let kept = old.and_then(|old| old.element(i).ok());
            arguments.push(dictionary(context, kept, dims(input)));
        }
        let writable = ("bufferization.writable", true_attribute(context));
        arguments.extend(self.results.iter().map(|result| dictionary(context, None, [Some(writable), dims(result)].into_iter().flatten())));
        arguments.extend(self.symbols.iter().map(|_| dictionary(context, None, None)));
        // SAFETY: the function is live; type, attributes and body change together.
        let mut function_mut = unsafe { OperationRefMut::from_raw(function.to_raw()) };
        function_mut.set_attribute("function_type", TypeAttribute::new(FunctionType::new(context, &types, destinations).into()).into());
        attributes::set(function, "arg_attrs", ArrayAttribute::new(context, &arguments).into());
        attributes::set(function, SYMBOLS, self.symbols.iter().map(|s| i64::from(*s)).collect::<Vec<_>>().to_attribute(context));
        // Absent where results have no attributes.
        let _ = function_mut.remove_attribute("res_attrs");
    }

    /// Symbols of the graph -> positions of the index arguments.
    fn renumber(&self, dim: &Dim) -> Dim {
        dim.substitute(&mut |symbol| Dim::symbol(self.symbols.binary_search(&symbol).expect("collected from the same types") as u32))
    }
}

fn true_attribute(context: &Context) -> Attribute<'_> {
    winze_mlir::melior::ir::attribute::BoolAttribute::new(context, true).into()
}

/// A dictionary with the entries of `base` and `added`.
fn dictionary<'c>(
    context: &'c Context,
    base: Option<Attribute<'c>>,
    added: impl IntoIterator<Item = (&'static str, Attribute<'c>)>,
) -> Attribute<'c> {
    // SAFETY: names and values belong to `context`; `base` is a dictionary, as argument attributes are.
    unsafe {
        let mut entries: Vec<mlir_sys::MlirNamedAttribute> = vec![];
        if let Some(base) = base {
            let count = mlir_sys::mlirDictionaryAttrGetNumElements(base.to_raw());
            entries.extend((0..count).map(|i| mlir_sys::mlirDictionaryAttrGetElement(base.to_raw(), i)));
        }
        for (name, value) in added {
            let name = winze_mlir::melior::ir::Identifier::new(context, name);
            entries.push(mlir_sys::mlirNamedAttributeGet(name.to_raw(), value.to_raw()));
        }
        Attribute::from_raw(mlir_sys::mlirDictionaryAttrGet(context.to_raw(), entries.len() as isize, entries.as_ptr()))
    }
}
