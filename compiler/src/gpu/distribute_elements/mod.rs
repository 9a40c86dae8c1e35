//! `distribute-elements`: kernel functions on tensors -> functions on memrefs with one `scf.forall` over result elements, scalar code inside.
//!
//! Each iteration computes one element of every result, or one row where a reduction serves a whole row (softmax, layer norm). Intermediate tensors
//! are never stored: an element is computed where it is read, once per scope, so no temporaries of any size are needed. Assumes linalg.generic for all
//! linalg operations (run `linalg-generalize-named-ops` and `convert-elementwise-to-linalg` first) and `winze.dims` on arguments with dynamic dims.
//! Refuses control flow over whole tensors.

mod element;
pub(super) mod emitter;
mod linalg_body;
mod shape;

use crate::gpu::{
    builder::{
        Op, Val, affine_map, block_arguments, blocks_of, build, context_of, defining_op, dynamic_size, element_type, extents, i64_array,
        is_memref, is_tensor, key, name_of, op_ref, operands, operations_in, parse_attribute, segments,
    },
    sizes,
};
use element::Elements;
use emitter::{Compare, Dependence, Emitter, region_with};
use melior::{
    Context,
    dialect::DialectHandle,
    ir::{
        Attribute, BlockLike, BlockRef, Operation, OperationRef, Region, Type, ValueLike,
        attribute::{DenseI64ArrayAttribute, StringAttribute, TypeAttribute},
        operation::{OperationBuilder, OperationLike},
        r#type::{FunctionType, MemRefType},
    },
};
use winze_mlir::{
    attributes,
    pass::{PassOption, RustPass},
    walk,
};
use winze_runtime::artifact::expr::Expr;

pub struct DistributeElements;

impl RustPass for DistributeElements {
    const ARGUMENT: &'static str = "distribute-elements";
    const DESCRIPTION: &'static str = "Compute each result element of a kernel, or each row, in one iteration of one scf.forall";
    const ANCHOR: &'static str = "builtin.module";
    const OPTIONS: &'static [PassOption] = &[];

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::scf(), DialectHandle::arith(), DialectHandle::memref(), DialectHandle::func()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        let module = op_ref(&op);
        let Some(body) = blocks_of(module).first().copied() else { return Ok(()) };
        for op in operations_in(body) {
            if name_of(op) == "func.func" {
                distribute(op, body)?;
            }
        }
        Ok(())
    }
}

/// A result of the kernel: its value, the tensor argument that it goes to, its extents and the dims that make up the grid. Where only a box of the
/// argument is written, these are those of the box, and `inserted` is the `tensor.insert_slice` that says where it starts.
struct KernelResult<'c> {
    tensor: Val<'c>,
    destination: usize,
    shape: Vec<Expr>,
    grid: Vec<usize>,
    inserted: Option<Op<'c>>,
}

impl KernelResult<'_> {
    fn grid_sizes(&self) -> Vec<Expr> {
        self.grid.iter().map(|d| self.shape[*d].clone()).collect()
    }
}

fn distribute<'c>(function: Op<'c>, module: BlockRef<'c, 'c>) -> Result<(), String> {
    let context = context_of(function);
    let location = function.location();
    let Some(old) = blocks_of(function).first().copied() else { return Ok(()) }; // a declaration
    let arguments = block_arguments(old);
    if arguments.iter().any(|a| !is_tensor(a.r#type()) && is_memref(a.r#type())) {
        return Ok(()); // bufferized by another schedule
    }
    let dims = argument_dims(function, &arguments)?;
    let mut types: Vec<Type<'c>> = vec![];
    for argument in &arguments {
        types.push(if is_tensor(argument.r#type()) { memref_of(argument.r#type())? } else { argument.r#type() });
    }

    let (region, entry) = region_with(&types.iter().map(|t| (*t, location)).collect::<Vec<_>>());
    let new_arguments = block_arguments(entry);
    let tensors: Vec<usize> = (0..arguments.len()).filter(|i| is_tensor(arguments[*i].r#type())).collect();

    let returned = old.terminator().map(|t| operands(op_ref(&t))).unwrap_or_default();
    let mut results = vec![];
    for (r, tensor) in returned.iter().enumerate() {
        let destination = *(tensors.len().checked_sub(returned.len()).and_then(|first| tensors.get(first + r)))
            .ok_or("distribute-elements: the kernel returns more tensors than it has destinations; add one argument per result")?;
        let inserted = box_of(*tensor, arguments[destination]);
        let (tensor, shape) = match inserted {
            Some(op) => {
                let mut elements = elements_for(context, function, entry, &arguments, &new_arguments, &dims);
                (operands(op)[0], elements.mixed_sizes(op, "static_sizes", 3)?)
            }
            None => (*tensor, dims[destination].clone().ok_or("distribute-elements: destination of unknown size")?),
        };
        let grid = grid_dims(context, function, tensor, &shape, &arguments, &new_arguments, &dims)?;
        results.push(KernelResult { tensor, destination, shape, grid, inserted });
    }

    let mut elements = elements_for(context, function, entry, &arguments, &new_arguments, &dims);
    let forall = build_grid(&mut elements, &results, &new_arguments)?;
    elements.emitter.append(forall, 0);
    elements.emitter.append(build("func.return", location, &[], &[], &[])?, 0);

    let arg_attrs: Vec<String> = arguments
        .iter()
        .enumerate()
        .map(|(i, _)| {
            attributes::port_entry::<Attribute>(function, "arg_attrs", i, "winze.dims")
                .map_or("{}".to_string(), |a| format!("{{winze.dims = {a}}}"))
        })
        .collect();
    let name = function.attribute("sym_name").map_err(|e| e.to_string())?;
    let name = StringAttribute::try_from(name).map_err(|e| e.to_string())?;
    let new = OperationBuilder::new("func.func", location)
        .add_attributes(&[
            (melior::ir::Identifier::new(context, "sym_name"), name.into()),
            (
                melior::ir::Identifier::new(context, "function_type"),
                TypeAttribute::new(FunctionType::new(context, &types, &[]).into()).into(),
            ),
            (melior::ir::Identifier::new(context, "arg_attrs"), parse_attribute(context, &format!("[{}]", arg_attrs.join(", ")))?),
        ])
        .add_regions([region])
        .build()
        .map_err(|e| format!("cannot build func.func: {e}"))?;
    module.insert_operation_before(function, new);
    walk::erase(function); // kernels are not called
    Ok(())
}

/// The `tensor.insert_slice` without strides that puts a box into what `destination` holds, if that is what `tensor` is.
fn box_of<'c>(tensor: Val<'c>, destination: Val<'c>) -> Option<Op<'c>> {
    let (op, _) = defining_op(tensor).filter(|(op, _)| name_of(*op) == "tensor.insert_slice")?;
    let inputs = operands(op);
    let rank = |tensor: Val<'c>| extents(tensor.r#type()).map(|extents| extents.len());
    let whole_rows = i64_array(op, "static_strides").iter().all(|stride| *stride == 1) && rank(inputs[0]) == rank(destination);
    (inputs[1] == destination && whole_rows).then_some(op)
}

fn memref_of<'c>(tensor: Type<'c>) -> Result<Type<'c>, String> {
    let dynamic = dynamic_size();
    let extents = extents(tensor).ok_or("distribute-elements: argument tensor without a rank")?;
    let extents: Vec<i64> = extents.into_iter().map(|e| e.unwrap_or(dynamic)).collect();
    let element = element_type(tensor).ok_or("distribute-elements: argument is no tensor")?;
    Ok(MemRefType::new(element, &extents, None, None).into())
}

/// Extents of every tensor argument, from its type and `winze.dims`.
pub fn argument_dims<'c>(function: Op<'c>, arguments: &[Val<'c>]) -> Result<Vec<Option<Vec<Expr>>>, String> {
    let mut all = vec![];
    for (i, argument) in arguments.iter().enumerate() {
        let Some(extents) = extents(argument.r#type()) else {
            all.push(None);
            continue;
        };
        let mut dynamic = match attributes::port_entry::<Attribute>(function, "arg_attrs", i, "winze.dims").and_then(affine_map) {
            Some(map) => sizes::from_dims_map(map)?,
            None => vec![],
        }
        .into_iter();
        let shape = extents
            .into_iter()
            .map(|e| e.map(Expr::constant).or_else(|| dynamic.next()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| format!("argument {i} has dynamic dims without an expression at {}; add winze.dims", function.location()))?;
        all.push(Some(shape));
    }
    Ok(all)
}

fn elements_for<'c>(
    context: &'c Context,
    function: Op<'c>,
    entry: BlockRef<'c, 'c>,
    arguments: &[Val<'c>],
    new_arguments: &[Val<'c>],
    dims: &[Option<Vec<Expr>>],
) -> Elements<'c> {
    let symbols: Vec<Val<'c>> = new_arguments.iter().copied().filter(|a| a.r#type() == Type::index(context)).collect();
    let mut elements = Elements::new(Emitter::new(context, function.location(), entry, symbols));
    let mut symbol = 0;
    for ((old, new), dims) in arguments.iter().zip(new_arguments).zip(dims) {
        if let Some(shape) = dims {
            elements.arguments.insert(key(*old), (*new, shape.clone()));
        } else if old.r#type() == Type::index(context) {
            elements.scalars.insert(key(*old), (*new, Some(Expr::symbol(symbol))));
            symbol += 1;
        } else {
            elements.scalars.insert(key(*old), (*new, None));
        }
    }
    elements
}

/// Which dims of a result become the grid: all, unless its producers contain reductions whose value serves several elements; then the dims that
/// all these reductions depend on. Found by building the code of one element into blocks that are thrown away.
fn grid_dims<'c>(
    context: &'c Context,
    function: Op<'c>,
    tensor: Val<'c>,
    shape: &[Expr],
    arguments: &[Val<'c>],
    new_arguments: &[Val<'c>],
    dims: &[Option<Vec<Expr>>],
) -> Result<Vec<usize>, String> {
    if shape.len() > 62 {
        return Err("distribute-elements: result of more than 62 dims".into());
    }
    let location = function.location();
    let (_outer, entry) = region_with(&[]);
    let (_inner, probe) = region_with(&vec![(Type::index(context), location); shape.len()]);
    let mut elements = elements_for(context, function, entry, arguments, new_arguments, dims);
    elements.emitter.open(probe);
    let mut indices = block_arguments(probe);
    let mut units = 0;
    for (d, index) in indices.iter_mut().enumerate() {
        elements.emitter.declare(*index, 1 << d);
        if shape[d].as_constant() == Some(1) {
            units |= 1 << d;
            *index = elements.emitter.index(0)?;
        }
    }
    elements.element(tensor, &indices)?;
    let all: Dependence = (1 << shape.len()) - 1;
    let chosen = elements.emitter.reductions.iter().fold(all, |acc, d| acc & (d | units));
    Ok((0..shape.len()).filter(|d| chosen & (1 << d) != 0).collect())
}

/// The `scf.forall` over all iterations, and the size computations before it.
fn build_grid<'c>(elements: &mut Elements<'c>, results: &[KernelResult<'c>], new_arguments: &[Val<'c>]) -> Result<Operation<'c>, String> {
    // Results with the same grid share an iteration; others take part in the same loop under a condition.
    let mut groups: Vec<(Vec<Expr>, Vec<&KernelResult<'c>>)> = vec![];
    for result in results {
        let sizes = result.grid_sizes();
        match groups.iter_mut().find(|(s, _)| *s == sizes) {
            Some((_, members)) => members.push(result),
            None => groups.push((sizes, vec![result])),
        }
    }
    let totals: Vec<Expr> = groups.iter().map(|(sizes, _)| sizes::product(sizes)).collect();
    let total = totals.iter().cloned().reduce(|a, b| element::max(&a, &b)).unwrap_or(Expr::constant(0));
    let bound = total.as_constant().is_none().then(|| elements.emitter.size(&total)).transpose()?;

    let context = elements.emitter.context;
    let location = elements.emitter.location;
    let (region, block) = region_with(&[(Type::index(context), location)]);
    elements.emitter.open(block);
    let iteration = block_arguments(block)[0];
    elements.emitter.declare(iteration, 0);
    for ((sizes, members), total) in groups.iter().zip(&totals) {
        if groups.len() == 1 {
            build_group(elements, sizes, members, iteration, new_arguments)?;
            continue;
        }
        let bound = elements.emitter.size(total)?;
        let inside = elements.emitter.compare(Compare::UnsignedLess, iteration, bound)?;
        let branch = elements.emitter.begin_branch();
        build_group(elements, sizes, members, iteration, new_arguments)?;
        let branch = elements.emitter.end_branch(branch, &[])?;
        elements.emitter.if_else(inside, branch, None)?;
    }
    let (parallel, _) = region_with(&[]);
    let terminator = OperationBuilder::new("scf.forall.in_parallel", location).add_regions([parallel]).build();
    elements.emitter.append(terminator.map_err(|e| format!("cannot build scf.forall.in_parallel: {e}"))?, 0);
    elements.emitter.close();
    forall(context, location, region, total.as_constant(), bound)
}

fn forall<'c>(
    context: &'c Context,
    location: melior::ir::Location<'c>,
    region: Region<'c>,
    constant: Option<i64>,
    bound: Option<Val<'c>>,
) -> Result<Operation<'c>, String> {
    let dynamic = dynamic_size();
    let array = |value: i64| -> Attribute<'c> { DenseI64ArrayAttribute::new(context, &[value]).into() };
    let attribute = |name: &str, value: Attribute<'c>| (melior::ir::Identifier::new(context, name), value);
    OperationBuilder::new("scf.forall", location)
        .add_operands(bound.as_slice())
        .add_attributes(&[
            attribute("staticLowerBound", array(0)),
            attribute("staticUpperBound", array(constant.unwrap_or(dynamic))),
            attribute("staticStep", array(1)),
            attribute("operandSegmentSizes", segments(context, &[0, bound.is_some() as i32, 0, 0])),
        ])
        .add_regions([region])
        .build()
        .map_err(|e| format!("cannot build scf.forall: {e}"))
}

/// Code of one iteration for results that share the grid.
fn build_group<'c>(
    elements: &mut Elements<'c>,
    sizes: &[Expr],
    members: &[&KernelResult<'c>],
    iteration: Val<'c>,
    new_arguments: &[Val<'c>],
) -> Result<(), String> {
    let position = elements.delinearize(iteration, sizes)?;
    for result in members {
        let mut indices: Vec<Option<Val<'c>>> = vec![None; result.shape.len()];
        for (d, index) in result.grid.iter().zip(&position) {
            indices[*d] = Some(*index);
        }
        build_rows(elements, result, &mut indices, 0, new_arguments[result.destination])?;
    }
    Ok(())
}

/// Loops over the dims that the grid leaves, around the store of one element.
fn build_rows<'c>(
    elements: &mut Elements<'c>,
    result: &KernelResult<'c>,
    indices: &mut Vec<Option<Val<'c>>>,
    dim: usize,
    destination: Val<'c>,
) -> Result<(), String> {
    if dim == result.shape.len() {
        let indices: Vec<Val<'c>> = indices.iter().copied().flatten().collect();
        let value = elements.element(result.tensor, &indices)?;
        let indices = match result.inserted {
            Some(op) => {
                let starts = elements.mixed_values(op, "static_offsets", 2)?;
                let inside = starts.into_iter().zip(indices);
                inside.map(|(start, index)| elements.emitter.binary("arith.addi", start, index)).collect::<Result<_, _>>()?
            }
            None => indices,
        };
        let operands: Vec<Val<'c>> = [value, destination].into_iter().chain(indices).collect();
        let store = build("memref.store", elements.emitter.location, &operands, &[], &[])?;
        elements.emitter.append(store, 0);
        return Ok(());
    }
    if indices[dim].is_some() {
        return build_rows(elements, result, indices, dim + 1, destination);
    }
    let bound = elements.emitter.size(&result.shape[dim])?;
    let frame = elements.emitter.begin_for(bound, &[])?;
    indices[dim] = Some(frame.counter);
    build_rows(elements, result, indices, dim + 1, destination)?;
    indices[dim] = None;
    elements.emitter.end_for(frame, &[])?;
    Ok(())
}
