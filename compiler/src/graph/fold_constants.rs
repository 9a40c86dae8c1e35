//! `fold-constants`: ops over constants -> constants, whatever their size.
//!
//! Small results are computed here by reference evaluation; larger ones become expressions of the constant store, which computes them while the
//! artifact is written. Splat constants stay splats and broadcasts of constants stay broadcasts: a kernel repeats elements for nothing. What would
//! make the artifact larger (by more than [`MAX_GROWTH`]), unless it is a weight of a contraction, and large results of other ops than data movement and elementwise ones are left to the run.
//! Not in the registry of passes, because it fills the constant store. Assumes nothing, refuses nothing.

use crate::{
    constants::{ConstantStore, ConstantType, Expression, Repeated},
    kernels::insert::insert,
};
use melior::ir::{BlockRef, Module, OperationRef, Value, ValueLike, operation::OperationLike};
use std::collections::{HashMap, HashSet};
use winze_graph::{
    dialect::{Broadcast, Concat, Constant, Convert, Reshape, Reverse, Slice, Transpose, Weight},
    eval::EvalContext,
    op::{self, OpDefinition, Role, op_name},
    ops::constant::{MAX_BYTES, read_constant, read_splat, write_constant},
    tensor::{Scalar, Tensor},
    types::TensorType,
};
use winze_mlir::{context::context_of, locations, walk};

/// Most elements of an operand or result that are evaluated at once.
pub const MAX_ELEMENTS: i64 = 1 << 14;

/// The same for reductions, whose results are small.
pub const MAX_REDUCED: i64 = 1 << 22;

/// Bytes by which a folded constant may be larger than what it is made of.
const MAX_GROWTH: usize = 1 << 16;

/// What is known of a value.
#[derive(Clone)]
enum Contents {
    /// All elements are the same.
    Splat(Scalar),
    Small(Tensor),
    Stored(String),
    /// What a large broadcast makes.
    Repeated(Repeated),
}

#[derive(Clone)]
struct Known {
    contents: Contents,
    r#type: ConstantType,
    /// Bytes of the constants it is made of.
    made_of: usize,
}

/// Replaces what can be computed in every function of a module.
pub fn fold_constants(module: &Module, store: &mut ConstantStore) -> Result<(), String> {
    let mut folder = Folder { store, known: HashMap::new(), computed: vec![] };
    walk::blocks(module.as_operation()).into_iter().for_each(|block| folder.visit(block));
    folder.replace()
}

struct Folder<'s, 'c, 'a> {
    store: &'s mut ConstantStore,
    known: HashMap<usize, Known>,
    /// Ops of known results that are no constants yet, operands before users.
    computed: Vec<OperationRef<'c, 'a>>,
}

fn key(value: Value) -> usize {
    value.to_raw().ptr as usize
}

impl<'c: 'a, 'a> Folder<'_, 'c, 'a> {
    fn visit(&mut self, block: BlockRef<'c, 'a>) {
        for op in walk::operations(block) {
            walk::blocks(op).into_iter().for_each(|inner| self.visit(inner));
            let Some(known) = self.compute(op) else { continue };
            let Ok(result) = op.result(0) else { continue };
            self.known.insert(key(result.into()), known);
            if Constant::cast(op).is_none() && Weight::cast(op).is_none() {
                self.computed.push(op);
            }
        }
    }

    /// The only result of an op, if it can be known.
    fn compute(&mut self, op: OperationRef<'c, 'a>) -> Option<Known> {
        if op.result_count() != 1 || op.region_count() != 0 {
            return None;
        }
        let tensor = TensorType::of(op.result(0).ok()?.into()).ok()?;
        let r#type = ConstantType::new(tensor.element, tensor.static_shape()?);
        if let Some(weight) = Weight::cast(op) {
            let id = weight.id().to_string();
            let known = self.store.type_of(&id).is_ok_and(|stored| *stored == r#type);
            return known.then(|| Known { contents: Contents::Stored(id), made_of: r#type.bytes(), r#type });
        }
        if let Some(constant) = Constant::cast(op) {
            return Some(Known { contents: constant_contents(constant, &r#type)?, made_of: r#type.bytes().min(MAX_BYTES), r#type });
        }
        let definition = op::find_for(op)?;
        let operands = op.operands().map(|operand| self.known.get(&key(operand)).cloned()).collect::<Option<Vec<_>>>()?;
        let contents = fold_splats(op, &definition, &operands, &r#type)
            .or_else(|| self.evaluate(op, &definition, &operands, &r#type))
            .or_else(|| self.express(op, &definition, &operands, &r#type))?;
        Some(Known { contents, made_of: operands.iter().map(|operand| operand.made_of).sum(), r#type })
    }

    fn evaluate(&self, op: OperationRef, definition: &OpDefinition, operands: &[Known], r#type: &ConstantType) -> Option<Contents> {
        let limit = if definition.role == Role::Reduction { MAX_REDUCED } else { MAX_ELEMENTS };
        let small = |r#type: &ConstantType| r#type.checked_elements().is_some_and(|count| count as i64 <= limit);
        let computes = !matches!(definition.role, Role::Control | Role::Constant);
        if !computes || !small(r#type) || !operands.iter().all(|operand| small(&operand.r#type)) {
            return None;
        }
        let operands = operands.iter().map(|operand| self.tensor(operand)).collect::<Option<Vec<_>>>()?;
        let results = (definition.eval)(&EvalContext::new(&[]), op, &operands).ok()?;
        results.into_iter().next().map(Contents::Small)
    }

    fn tensor(&self, known: &Known) -> Option<Tensor> {
        match &known.contents {
            Contents::Small(tensor) => Some(tensor.clone()),
            Contents::Stored(id) => self.store.tensor(id).ok(),
            Contents::Splat(element) => {
                let shape: Vec<usize> = known.r#type.dims.iter().map(|dim| *dim as usize).collect();
                Some(Tensor::from_fn(known.r#type.element, &shape, |_| *element))
            }
            Contents::Repeated(_) => None,
        }
    }

    /// The op as an expression of the store; nothing is computed yet.
    fn express(
        &mut self,
        op: OperationRef<'c, 'a>,
        definition: &OpDefinition,
        operands: &[Known],
        r#type: &ConstantType,
    ) -> Option<Contents> {
        let name = name_of(op);
        if let Some(broadcast) = Broadcast::cast(op) {
            let axes = broadcast.axes().into_iter().map(|axis| axis as usize).collect();
            return Some(Contents::Repeated(Repeated { input: self.stored(&name, &operands[0])?, axes }));
        }
        let expression = match definition.scalar {
            Some(form) => {
                let operands = operands.iter().map(|operand| self.repeated(&name, operand)).collect::<Option<_>>()?;
                Expression::Elementwise { name: op_name(op), form, operands, r#type: r#type.clone() }
            }
            None => {
                let inputs = operands.iter().map(|operand| self.stored(&name, operand)).collect::<Option<Vec<_>>>()?;
                move_elements(op, inputs, operands, r#type)?
            }
        };
        Some(Contents::Stored(self.store.add_expression(&name, expression).ok()?))
    }

    /// The id of a constant of which every element is stored.
    fn stored(&mut self, name: &str, known: &Known) -> Option<String> {
        match &known.contents {
            Contents::Stored(id) => Some(id.clone()),
            Contents::Small(tensor) => self.store.add_tensor(name, tensor).ok(),
            Contents::Splat(_) | Contents::Repeated(_) => None,
        }
    }

    fn repeated(&mut self, name: &str, known: &Known) -> Option<Repeated> {
        match &known.contents {
            Contents::Repeated(repeated) => Some(repeated.clone()),
            Contents::Splat(element) => {
                let scalar = Tensor::scalar(known.r#type.element, *element);
                Some(Repeated { input: self.store.add_tensor(name, &scalar).ok()?, axes: vec![] })
            }
            _ => Some(Repeated { input: self.stored(name, known)?, axes: (0..known.r#type.dims.len()).collect() }),
        }
    }

    /// Puts constants in the place of computed ops whose values the rest of the graph needs. The others are left without users.
    fn replace(mut self) -> Result<(), String> {
        let computed: HashSet<usize> = self.computed.iter().map(|op| op.to_raw().ptr as usize).collect();
        let mut kept = HashSet::new();
        for op in std::mem::take(&mut self.computed).into_iter().rev() {
            let result: Value = op.result(0).map_err(|e| e.to_string())?.into();
            let at = |op: &OperationRef| op.to_raw().ptr as usize;
            if !walk::users(result).any(|user| !computed.contains(&at(&user)) || kept.contains(&at(&user))) {
                continue;
            }
            match self.constant(op, &self.known[&key(result)].clone())? {
                Some(constant) => walk::replace_all_uses(result, constant),
                None => _ = kept.insert(at(&op)),
            }
        }
        Ok(())
    }

    /// A constant in front of `op` with its value, unless computing it in the run is better.
    fn constant(&mut self, op: OperationRef<'c, 'a>, known: &Known) -> Result<Option<Value<'c, 'a>>, String> {
        let (context, location) = (context_of(op), op.location());
        let result = TensorType::fixed(known.r#type.element, &known.r#type.dims).to_type(context);
        let dense = |tensor: &Tensor| {
            let r#type = tensor.tensor_type().to_type(context);
            insert(op, Constant::create(context, location, write_constant(context, tensor), &[r#type]))
        };
        let splat = matches!(known.contents, Contents::Splat(_));
        let grows = !splat && known.r#type.bytes() > known.made_of.max(MAX_GROWTH);
        if Broadcast::cast(op).is_some() || (grows && !feeds_contraction(op)) {
            return Ok(None);
        }
        Ok(Some(match &known.contents {
            Contents::Splat(element) => {
                let scalar = dense(&Tensor::scalar(known.r#type.element, *element));
                insert(op, Broadcast::create(context, location, scalar, vec![], &[result]))
            }
            Contents::Small(tensor) if known.r#type.bytes() <= MAX_BYTES => dense(tensor),
            Contents::Repeated(_) => return Ok(None),
            _ => {
                let Some(id) = self.stored(&name_of(op), known) else { return Ok(None) };
                insert(op, Weight::create(context, location, id, None, &[result]))
            }
        }))
    }
}

/// Whether a product or convolution reads the only result of `op`: its weights stand in panels when they are constants.
fn feeds_contraction(op: OperationRef) -> bool {
    let contracts = |user: OperationRef| op::find_for(user).is_some_and(|definition| definition.role == Role::Contraction);
    op.result(0).is_ok_and(|result| walk::users(result.into()).any(contracts))
}

/// A name for what an op computes: its node's.
fn name_of(op: OperationRef) -> String {
    locations::node_names(op.location()).into_iter().next().unwrap_or_else(|| "folded".into())
}

/// Elements of a constant in the IR; a large one is a splat.
fn constant_contents(constant: Constant, r#type: &ConstantType) -> Option<Contents> {
    if r#type.checked_elements()? as i64 <= MAX_ELEMENTS {
        return read_constant(constant.value()).ok().map(Contents::Small);
    }
    read_splat(constant.value()).map(Contents::Splat)
}

/// What moves or combines splats gives a splat.
fn fold_splats(op: OperationRef, definition: &OpDefinition, operands: &[Known], r#type: &ConstantType) -> Option<Contents> {
    if r#type.checked_elements()? as i64 <= MAX_ELEMENTS {
        return None;
    }
    let splat = |known: &Known| match &known.contents {
        Contents::Splat(element) => Some(*element),
        Contents::Small(tensor) if tensor.count() == 1 => Some(tensor.get(0)),
        _ => None,
    };
    let elements = operands.iter().map(splat).collect::<Option<Vec<Scalar>>>()?;
    match (definition.role, definition.scalar) {
        (Role::View, _) => elements.first().copied().map(Contents::Splat),
        (_, Some(form)) => Some(Contents::Splat((form.eval)(operands.last()?.r#type.element, &elements).wrap(r#type.element))),
        _ => None,
    }
    .filter(|_| op.operand_count() > 0)
}

/// An op that only moves elements, or converts them.
fn move_elements(op: OperationRef, inputs: Vec<String>, operands: &[Known], r#type: &ConstantType) -> Option<Expression> {
    let first = inputs.first()?.clone();
    let axes = |list: Vec<i64>| list.into_iter().map(|axis| axis as usize).collect::<Vec<_>>();
    let extents = &operands.first()?.r#type.dims;
    Some(if Reshape::cast(op).is_some() {
        Expression::Reshape { input: first, dims: r#type.dims.clone() }
    } else if let Some(transpose) = Transpose::cast(op) {
        Expression::Transpose { input: first, permutation: axes(transpose.permutation()) }
    } else if let Some(reverse) = Reverse::cast(op) {
        Expression::Reverse { input: first, axes: axes(reverse.axes()) }
    } else if let Some(slice) = Slice::cast(op).filter(|slice| slice.strides().iter().all(|stride| *stride == 1)) {
        let from_end = |(start, extent): (&i64, &i64)| if *start < 0 { (start + extent).max(0) } else { *start.min(extent) };
        let starts: Vec<i64> = slice.starts().iter().zip(extents).map(from_end).collect();
        let limits = starts.iter().zip(&r#type.dims).map(|(start, extent)| start + extent).collect();
        Expression::Slice { input: first, starts, limits }
    } else if let Some(concat) = Concat::cast(op) {
        Expression::Concat { inputs, axis: concat.axis() as usize }
    } else if Convert::cast(op).is_some_and(|convert| !convert.saturate()) {
        Expression::Cast { input: first, element: r#type.element }
    } else {
        return None;
    })
}
