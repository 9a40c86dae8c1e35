//! Builds the scalar program of one invocation: nested scopes, each with the values already computed in it.
//!
//! Every pure operation is placed in the outermost scope where its operands exist and built once per scope, so that loop invariants and common
//! subexpressions need no later pass: a row's maximum is computed before the loop over the row. Nothing that reads memory leaves a conditional scope.

use crate::gpu::builder::{
    Op, Val, affine_maps, block_arguments, block_ref, build, defining_op, index_attribute, integer, key, name_of, results, val,
};
use melior::{
    Context,
    ir::{
        Attribute, AttributeLike, Block, BlockLike, BlockRef, Location, Operation, Region, RegionLike, Type, TypeLike, ValueLike,
        operation::{OperationBuilder, OperationLike, OperationMutLike},
    },
};
use std::collections::HashMap;
use winze_runtime::artifact::expr::{Expr, ExprOp};

/// What a value depends on: bit `d` for dim `d` of the probed result, `LOOP` for any reduction loop.
pub type Dependence = u64;
pub const LOOP: Dependence = 1 << 63;

struct Scope<'c> {
    block: BlockRef<'c, 'c>,
    /// Executed only under a condition: nothing that reads memory may be moved out.
    conditional: bool,
    elements: HashMap<(usize, Vec<usize>), Val<'c>>,
    pure_ops: HashMap<PureKey, Vec<Val<'c>>>,
}

#[derive(PartialEq, Eq, Hash)]
struct PureKey {
    name: String,
    operands: Vec<usize>,
    attributes: Vec<usize>,
    types: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Fact {
    depth: usize,
    dependence: Dependence,
}

pub struct Emitter<'c> {
    pub context: &'c Context,
    pub location: Location<'c>,
    scopes: Vec<Scope<'c>>,
    facts: HashMap<usize, Fact>,
    /// Index arguments of the kernel, for size expressions.
    symbols: Vec<Val<'c>>,
    sizes: HashMap<Expr, Val<'c>>,
    /// Dependences of every reduction met, without the probed dims' loops.
    pub reductions: Vec<Dependence>,
}

impl<'c> Emitter<'c> {
    /// `entry` is the function's entry block; everything built goes into it or into scopes opened inside.
    pub fn new(context: &'c Context, location: Location<'c>, entry: BlockRef<'c, 'c>, symbols: Vec<Val<'c>>) -> Self {
        let mut emitter =
            Self { context, location, scopes: vec![], facts: HashMap::new(), symbols, sizes: HashMap::new(), reductions: vec![] };
        emitter.push(entry, false);
        emitter
    }

    fn push(&mut self, block: BlockRef<'c, 'c>, conditional: bool) {
        self.scopes.push(Scope { block, conditional, elements: HashMap::new(), pure_ops: HashMap::new() });
    }

    pub fn index_type(&self) -> Type<'c> {
        Type::index(self.context)
    }

    fn fact(&self, value: Val<'c>) -> Fact {
        self.facts.get(&key(value)).copied().unwrap_or(Fact { depth: 0, dependence: 0 })
    }

    fn depth_of(&self, values: &[Val<'c>]) -> usize {
        values.iter().map(|v| self.fact(*v).depth).max().unwrap_or(0)
    }

    pub fn dependence_of(&self, values: &[Val<'c>]) -> Dependence {
        values.iter().fold(0, |acc, v| acc | self.fact(*v).dependence)
    }

    /// Records where a value that this emitter did not build itself lives, and what it depends on.
    pub fn declare(&mut self, value: Val<'c>, dependence: Dependence) {
        let depth = self.scopes.len() - 1;
        self.facts.insert(key(value), Fact { depth, dependence });
    }

    fn conditional_depth(&self) -> usize {
        self.scopes.iter().rposition(|s| s.conditional).unwrap_or(0)
    }

    /// The element computed before, if any scope here has it.
    pub fn remembered(&self, tensor: Val<'c>, indices: &[Val<'c>]) -> Option<Val<'c>> {
        let id = element_id(tensor, indices);
        self.scopes.iter().rev().find_map(|s| s.elements.get(&id)).copied()
    }

    /// Notes an element of a tensor in the innermost scope.
    pub fn remember(&mut self, tensor: Val<'c>, indices: &[Val<'c>], value: Val<'c>) {
        let id = element_id(tensor, indices);
        self.scopes.last_mut().expect("the entry scope is never closed").elements.insert(id, value);
    }

    /// Goes out to the outermost scope where memory may be read at `indices`; `resume` goes back in.
    #[must_use]
    pub fn rise(&mut self, indices: &[Val<'c>]) -> Suspended<'c> {
        let depth = self.depth_of(indices).max(self.conditional_depth());
        Suspended(self.scopes.split_off(depth + 1))
    }

    pub fn resume(&mut self, suspended: Suspended<'c>) {
        self.scopes.extend(suspended.0);
    }

    /// Appends to the innermost scope.
    pub fn append(&mut self, operation: Operation<'c>, dependence: Dependence) -> Op<'c> {
        let depth = self.scopes.len() - 1;
        let op: Op<'c> = self.scopes[depth].block.append_operation(operation);
        for i in 0..op.result_count() {
            if let Ok(result) = op.result(i) {
                self.facts.insert(key(val(result)), Fact { depth, dependence });
            }
        }
        op
    }

    /// Builds a pure operation in the outermost scope where its operands exist, or finds the one built before.
    pub fn pure_op(&mut self, operation: Operation<'c>) -> Result<Vec<Val<'c>>, String> {
        let operands: Vec<Val<'c>> = operation.operands().map(val).collect();
        let id = PureKey {
            name: operation.name().as_string_ref().as_str().unwrap_or_default().to_string(),
            operands: operands.iter().map(|v| key(*v)).collect(),
            attributes: operation.attributes().flat_map(|(n, a)| [n.to_raw().ptr as usize, a.to_raw().ptr as usize]).collect(),
            types: operation.results().map(|r| r.r#type().to_raw().ptr as usize).collect(),
        };
        let depth = self.depth_of(&operands);
        if let Some(found) = self.scopes[depth].pure_ops.get(&id) {
            return Ok(found.clone());
        }
        let dependence = self.dependence_of(&operands);
        let suspended = self.scopes.split_off(depth + 1);
        let op = self.append(operation, dependence);
        let values = results(op);
        self.scopes[depth].pure_ops.insert(id, values.clone());
        self.scopes.extend(suspended);
        Ok(values)
    }

    pub fn pure(
        &mut self,
        name: &str,
        operands: &[Val<'c>],
        r#type: Type<'c>,
        attributes: &[(&str, Attribute<'c>)],
    ) -> Result<Val<'c>, String> {
        let op = build(name, self.location, operands, &[r#type], attributes)?;
        Ok(self.pure_op(op)?[0])
    }

    /// A clone of a pure scalar operation on other operands.
    pub fn pure_clone(&mut self, op: Op<'c>, operands: &[Val<'c>]) -> Result<Vec<Val<'c>>, String> {
        // SAFETY: the clone is owned here until it is put into a block.
        let mut clone: Operation<'c> = unsafe { Operation::from_raw(mlir_sys::mlirOperationClone(op.to_raw())) };
        for (i, operand) in operands.iter().enumerate() {
            clone.set_operand(i, *operand);
        }
        self.pure_op(clone)
    }

    pub fn constant(&mut self, attribute: Attribute<'c>, r#type: Type<'c>) -> Result<Val<'c>, String> {
        self.pure("arith.constant", &[], r#type, &[("value", attribute)])
    }

    pub fn index(&mut self, value: i64) -> Result<Val<'c>, String> {
        self.constant(index_attribute(self.context, value), Type::index(self.context))
    }

    /// The constant that an index value is, if it is one.
    pub fn as_index_constant(&self, value: Val<'c>) -> Option<i64> {
        let (op, _) = defining_op(value)?;
        if name_of(op) != "arith.constant" {
            return None;
        }
        melior::ir::attribute::IntegerAttribute::try_from(op.attribute("value").ok()?).ok().map(|a| a.value())
    }

    /// Index arithmetic with the trivial cases folded.
    pub fn binary(&mut self, name: &str, lhs: Val<'c>, rhs: Val<'c>) -> Result<Val<'c>, String> {
        let (l, r) = (self.as_index_constant(lhs), self.as_index_constant(rhs));
        match (name, l, r) {
            ("arith.addi", Some(0), _) => return Ok(rhs),
            ("arith.addi" | "arith.subi", _, Some(0)) => return Ok(lhs),
            ("arith.muli", Some(1), _) => return Ok(rhs),
            ("arith.muli" | "arith.divui" | "arith.floordivsi", _, Some(1)) => return Ok(lhs),
            ("arith.muli", Some(0), _) | ("arith.muli", _, Some(0)) | ("arith.remui", _, Some(1)) => return self.index(0),
            ("arith.addi", Some(a), Some(b)) => return self.index(a + b),
            ("arith.subi", Some(a), Some(b)) => return self.index(a - b),
            ("arith.muli", Some(a), Some(b)) => return self.index(a * b),
            _ => {}
        }
        self.pure(name, &[lhs, rhs], self.index_type(), &[])
    }

    pub fn compare(&mut self, predicate: Compare, lhs: Val<'c>, rhs: Val<'c>) -> Result<Val<'c>, String> {
        let boolean = integer(self.context, 1);
        let predicate = melior::ir::attribute::IntegerAttribute::new(integer(self.context, 64), predicate as i64);
        self.pure("arith.cmpi", &[lhs, rhs], boolean, &[("predicate", predicate.into())])
    }

    /// The value of a size expression.
    pub fn size(&mut self, expr: &Expr) -> Result<Val<'c>, String> {
        if let Some(found) = self.sizes.get(expr) {
            return Ok(*found);
        }
        let mut stack: Vec<Val<'c>> = vec![];
        for op in &expr.0 {
            let value = match *op {
                ExprOp::Const(c) => self.index(c)?,
                ExprOp::Symbol(s) => {
                    *self.symbols.get(s as usize).ok_or(format!("size uses index argument {s}, which the kernel does not have"))?
                }
                _ => {
                    let (Some(rhs), Some(lhs)) = (stack.pop(), stack.pop()) else { return Err("malformed size expression".into()) };
                    self.binary(crate::gpu::sizes::arith_name(op), lhs, rhs)?
                }
            };
            stack.push(value);
        }
        let value = stack.pop().ok_or("empty size expression")?;
        self.sizes.insert(expr.clone(), value);
        Ok(value)
    }

    /// Opens `scf.for` from 0 to `bound`; what is built until `end_for` goes into its body.
    pub fn begin_for(&mut self, bound: Val<'c>, init: &[Val<'c>]) -> Result<Loop<'c>, String> {
        let (zero, one) = (self.index(0)?, self.index(1)?);
        let operands = [zero, bound, one].into_iter().chain(init.iter().copied()).collect();
        let types: Vec<Type<'c>> = std::iter::once(self.index_type()).chain(init.iter().map(|v| v.r#type())).collect();
        let arguments: Vec<_> = types.iter().map(|t| (*t, self.location)).collect();
        let (region, block) = region_with(&arguments);
        self.push(block, false);
        let arguments = block_arguments(block);
        for argument in &arguments {
            self.declare(*argument, LOOP);
        }
        Ok(Loop { region, operands, counter: arguments[0], running: arguments[1..].to_vec() })
    }

    /// Closes the loop; its running values become `next` after each turn. Returns the final ones.
    pub fn end_for(&mut self, frame: Loop<'c>, next: &[Val<'c>]) -> Result<Vec<Val<'c>>, String> {
        self.append(build("scf.yield", self.location, next, &[], &[])?, 0);
        let dependence = self.dependence_of(next) & !LOOP;
        self.scopes.pop();
        let dependence = dependence | self.dependence_of(&frame.operands);
        let types: Vec<Type<'c>> = frame.running.iter().map(|v| v.r#type()).collect();
        let op =
            OperationBuilder::new("scf.for", self.location).add_operands(&frame.operands).add_results(&types).add_regions([frame.region]);
        let op = self.append(op.build().map_err(|e| format!("cannot build scf.for: {e}"))?, dependence);
        Ok(results(op))
    }

    /// Opens one side of a conditional.
    pub fn begin_branch(&mut self) -> Region<'c> {
        let (region, block) = region_with(&[]);
        self.push(block, true);
        region
    }

    /// Closes the side with the values that it yields.
    pub fn end_branch(&mut self, region: Region<'c>, values: &[Val<'c>]) -> Result<Branch<'c>, String> {
        self.append(build("scf.yield", self.location, values, &[], &[])?, 0);
        let dependence = self.dependence_of(values);
        self.scopes.pop();
        Ok(Branch { region, types: values.iter().map(|v| v.r#type()).collect(), dependence })
    }

    /// Builds `scf.if` of two closed sides that yield the same types.
    pub fn if_else(&mut self, condition: Val<'c>, on_true: Branch<'c>, on_false: Option<Branch<'c>>) -> Result<Vec<Val<'c>>, String> {
        let mut dependence = self.dependence_of(&[condition]) | on_true.dependence;
        let else_region = on_false.map_or_else(Region::new, |branch| {
            dependence |= branch.dependence;
            branch.region
        });
        let op = OperationBuilder::new("scf.if", self.location)
            .add_operands(&[condition])
            .add_results(&on_true.types)
            .add_regions([on_true.region, else_region])
            .build()
            .map_err(|e| format!("cannot build scf.if: {e}"))?;
        let op = self.append(op, dependence);
        Ok(results(op))
    }

    /// Opens a scope over a block that the caller attaches itself.
    pub fn open(&mut self, block: BlockRef<'c, 'c>) {
        self.push(block, true);
    }

    pub fn close(&mut self) {
        self.scopes.pop();
    }
}

/// Scopes left by `rise`.
pub struct Suspended<'c>(Vec<Scope<'c>>);

/// An open loop.
pub struct Loop<'c> {
    region: Region<'c>,
    operands: Vec<Val<'c>>,
    pub counter: Val<'c>,
    pub running: Vec<Val<'c>>,
}

/// A closed side of a conditional.
pub struct Branch<'c> {
    region: Region<'c>,
    types: Vec<Type<'c>>,
    dependence: Dependence,
}

fn element_id(tensor: Val<'_>, indices: &[Val<'_>]) -> (usize, Vec<usize>) {
    (key(tensor), indices.iter().map(|i| key(*i)).collect())
}

/// Predicates of `arith.cmpi`.
#[derive(Clone, Copy)]
pub enum Compare {
    Eq = 0,
    SignedLess = 2,
    SignedGreaterEqual = 5,
    UnsignedLess = 6,
}

/// A region with one block. The block belongs to the region, which moves into an operation later; its address stays the same.
pub fn region_with<'c>(arguments: &[(Type<'c>, Location<'c>)]) -> (Region<'c>, BlockRef<'c, 'c>) {
    let region = Region::new();
    let block = region.append_block(Block::new(arguments));
    let block = block_ref(block);
    (region, block)
}

/// The maps of a linalg operation, one per operand.
pub fn indexing_maps<'c>(op: Op<'c>) -> Vec<melior::ir::AffineMap<'c>> {
    affine_maps(op, "indexing_maps")
}
