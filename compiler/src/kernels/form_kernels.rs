//! `form-kernels`: a function of graph ops -> the same function where every computation stands in a `graph.kernel` region.
//!
//! Grouping is decided here, once. Every group has one result, so a kernel stands where its last op stood and no cycle can arise:
//! a producer joins its consumer's group only when nothing else uses it. A group holds at most one op that is not elementwise (its root);
//! elementwise ops of the same shape follow a root (epilogue) or feed it (prologue). Broadcasts and splat constants are cloned into each
//! group that reads them. No group reads more tensors than the target's kernels may (`max-buffers`). Reductions along the last axes and what is elementwise around them are one group where it ends in the rows' shape
//! (`row_groups`), whatever their number. Reshapes, weights and other constants stay outside: the planner makes them views and constant buffers.
//! So do host scalars (`mark-host-scalars`), which the launch program computes in registers.
//! Assumes canonicalized, CSE'd graph ops with inferred types; refuses ops that have no role in the op registry.

use super::{insert::insert, row_groups::row_groups};
use crate::{graph::bind_state::STATE_ARGUMENTS, launch::HOST_ATTRIBUTE};
use melior::ir::{
    AttributeLike, Block, BlockLike, BlockRef, Location, Operation, OperationRef, Region, RegionLike, Type, Value, ValueLike,
    block::BlockArgument,
    operation::{OperationLike, OperationResult},
};
use std::collections::{BTreeSet, HashMap};
use winze_graph::{
    dialect::{Append, Broadcast, Concat, Constant, Kernel, Reduce, Reshape, Slice, SymbolicSlice, Yield},
    op::{self, Role},
    ops::dim::only_measured,
    types::TensorType,
};
use winze_mlir::{
    attributes,
    context::context_of,
    locations,
    pass::{PassOption, RustPass},
    walk,
};

/// The pass.
pub struct FormKernels {
    /// Tensors that a kernel may have at most, its result included.
    max_buffers: usize,
}

impl RustPass for FormKernels {
    const ARGUMENT: &'static str = "form-kernels";
    const DESCRIPTION: &'static str = "Group graph ops into graph.kernel regions";
    const ANCHOR: &'static str = "func.func";

    const OPTIONS: &'static [PassOption] = &[PassOption {
        name: "max-buffers",
        description: "tensors that a kernel may have at most, its result included; 0: any number",
        default: "0",
    }];

    fn from_options(values: &[&str]) -> Result<Self, String> {
        match values[0].parse().map_err(|_| format!("option 'max-buffers': '{}' is no number", values[0]))? {
            0 => Ok(Self { max_buffers: usize::MAX }),
            max_buffers @ 3.. => Ok(Self { max_buffers }),
            few => Err(format!("option 'max-buffers': {few} are too few for an op with two operands")),
        }
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        for block in walk::blocks(func) {
            form_in_block(block, self.max_buffers)?;
        }
        Ok(())
    }
}

/// Schedule class of a kernel, by what its root does.
fn class_of(role: Role) -> &'static str {
    match role {
        Role::Contraction => "contraction",
        Role::Reduction => "reduction",
        Role::Window => "window",
        Role::Softmax => "softmax",
        Role::DataMovement => "copy",
        Role::Elementwise | Role::View | Role::Constant | Role::Control => "elementwise",
    }
}

/// Ops that will be one kernel.
struct Group {
    /// Positions in the block, ascending.
    ops: BTreeSet<usize>,
    /// Role of the root, Softmax for a row group, Elementwise when there is neither.
    role: Role,
}

fn form_in_block(block: BlockRef, max_buffers: usize) -> Result<(), String> {
    for op in walk::operations(block) {
        for inner in walk::blocks(op) {
            form_in_block(inner, max_buffers)?;
        }
    }
    split_concats(block, max_buffers)?;
    broadcast_row_values(block)?;
    clone_per_user(block, |op| Broadcast::cast(op).is_some());
    clone_per_user(block, is_state_read);
    let ops: Vec<OperationRef> = walk::operations(block).collect();
    let groups = group(&ops, max_buffers)?;
    for group in groups {
        outline(&ops, &group)?;
    }
    erase_unused(block);
    Ok(())
}

fn group(ops: &[OperationRef], max_buffers: usize) -> Result<Vec<Group>, String> {
    let position: HashMap<*mut std::ffi::c_void, usize> = ops.iter().enumerate().map(|(i, op)| (op.to_raw().ptr, i)).collect();
    let producer = |value: Value| {
        let result = OperationResult::try_from(value).ok()?;
        position.get(&result.owner().to_raw().ptr).copied()
    };
    let mut groups: Vec<Option<Group>> = vec![];
    let mut group_of: HashMap<usize, usize> = HashMap::new();
    for members in row_groups(ops)?.into_iter().filter(|members| buffers_of(ops, members) <= max_buffers) {
        group_of.extend(members.iter().map(|op| (*op, groups.len())));
        groups.push(Some(Group { ops: members, role: Role::Softmax }));
    }
    for (i, op) in ops.iter().enumerate() {
        if group_of.contains_key(&i) {
            continue;
        }
        let Some(role) = kernel_role(*op)? else { continue };
        let mut merged = Group { ops: BTreeSet::from([i]), role };
        // A producer whose users have all joined may join too, so this goes on until nothing joins.
        while let Some(index) = joining(ops, &merged, &groups, &group_of, max_buffers, producer) {
            let candidate = groups[index].take().expect("only existing groups join");
            if candidate.role != Role::Elementwise {
                merged.role = candidate.role;
            }
            merged.ops.extend(candidate.ops);
        }
        let index = groups.len();
        for &op in &merged.ops {
            group_of.insert(op, index);
        }
        groups.push(Some(merged));
    }
    join_slices(ops, &mut groups, &mut group_of, producer);
    join_state_reads(ops, &mut groups, &mut group_of, producer);
    let mut groups: Vec<Group> = groups.into_iter().flatten().collect();
    groups.sort_by_key(|group| *group.ops.last().expect("groups are not empty"));
    Ok(groups)
}

/// Lets slices without steps join the elementwise group that alone uses them: it reads the part of the operand in place.
fn join_slices(
    ops: &[OperationRef],
    groups: &mut [Option<Group>],
    group_of: &mut HashMap<usize, usize>,
    producer: impl Fn(Value) -> Option<usize>,
) {
    for (i, op) in ops.iter().enumerate() {
        let Some(slice) = Slice::cast(*op).filter(|slice| slice.strides().iter().all(|stride| *stride == 1)) else { continue };
        let Some(own) = group_of.get(&i).copied() else { continue };
        let mut users = BTreeSet::new();
        for user in walk::users(slice.result()) {
            let position = user.results().next().and_then(|result| producer(result.into()));
            users.insert(position.and_then(|position| group_of.get(&position)).copied());
        }
        let [Some(user)] = users.into_iter().collect::<Vec<_>>()[..] else { continue };
        let elementwise = groups[user].as_ref().is_some_and(|group| group.role == Role::Elementwise);
        if user != own && elementwise && groups[own].as_ref().is_some_and(|group| group.ops.len() == 1) {
            groups[own] = None;
            groups[user].as_mut().expect("checked above").ops.insert(i);
            group_of.insert(i, user);
        }
    }
}

/// Lets reads of states join the group that uses them, whatever it computes.
fn join_state_reads(
    ops: &[OperationRef],
    groups: &mut [Option<Group>],
    group_of: &mut HashMap<usize, usize>,
    producer: impl Fn(Value) -> Option<usize>,
) {
    for (i, op) in ops.iter().enumerate().filter(|(_, op)| is_state_read(**op)) {
        let users: Vec<OperationRef> = op.results().flat_map(|result| walk::users(result.into())).collect();
        let user = users.first().and_then(|user| producer(user.results().next()?.into()));
        if let (Some(own), Some(user)) = (group_of.get(&i).copied(), user.and_then(|user| group_of.get(&user).copied())) {
            groups[own] = None;
            groups[user].as_mut().expect("ops refer to groups that exist").ops.insert(i);
            group_of.insert(i, user);
        }
    }
}

/// A group whose result only `merged` uses, and that fuses into it.
fn joining(
    ops: &[OperationRef],
    merged: &Group,
    groups: &[Option<Group>],
    group_of: &HashMap<usize, usize>,
    max_buffers: usize,
    producer: impl Fn(Value) -> Option<usize>,
) -> Option<usize> {
    for &member in &merged.ops {
        for operand in ops[member].operands() {
            let Some(made_by) = producer(operand).filter(|made_by| !merged.ops.contains(made_by)) else { continue };
            let Some(index) = group_of.get(&made_by).copied() else { continue };
            let Some(candidate) = &groups[index] else { continue };
            let users: Vec<OperationRef> = ops[made_by].results().flat_map(|result| walk::users(result.into())).collect();
            let joined = |user: &OperationRef| merged.ops.iter().any(|&i| ops[i] == *user);
            let last = candidate.ops.last() == Some(&made_by);
            if !last || !users.iter().all(joined) || !users.iter().all(|user| fuses(candidate, merged, ops[made_by], *user)) {
                continue;
            }
            if max_buffers == usize::MAX || buffers_of(ops, &(&candidate.ops | &merged.ops)) <= max_buffers {
                return Some(index);
            }
        }
    }
    None
}

/// Tensors of a kernel of these ops: what they read from outside, and the result.
fn buffers_of(ops: &[OperationRef], members: &BTreeSet<usize>) -> usize {
    let inside: BTreeSet<_> = members.iter().flat_map(|i| ops[*i].results().map(|result| result.to_raw().ptr)).collect();
    let operands = members.iter().flat_map(|i| ops[*i].operands());
    let outside = operands.filter(|operand| !inside.contains(&operand.to_raw().ptr) && splat_constant(*operand).is_none());
    outside.map(|operand| operand.to_raw().ptr).collect::<BTreeSet<_>>().len() + 1
}

/// Makes concatenations of more tensors than a kernel may have ones of concatenations.
fn split_concats(block: BlockRef, max_buffers: usize) -> Result<(), String> {
    for concat in walk::operations(block).filter_map(Concat::cast).collect::<Vec<_>>() {
        let op = concat.op();
        let mut parts: Vec<Value> = op.operands().collect();
        if parts.len() < max_buffers {
            continue;
        }
        while parts.len() > 1 {
            let join = |parts: &[Value<'_, '_>]| -> Result<Value, String> {
                // SAFETY: the new op stands in front of `op`, as long as it.
                let joined = insert(op, Concat::create(context_of(op), op.location(), parts, concat.axis())?);
                Ok(unsafe { Value::from_raw(joined.to_raw()) })
            };
            parts = parts.chunks(max_buffers - 1).map(join).collect::<Result<_, _>>()?;
        }
        walk::replace_all_uses(concat.result(), parts[0]);
        walk::erase(op);
    }
    Ok(())
}

/// Makes reshapes that only append axes of extent 1 to something computed, for elementwise users, broadcasts: a kernel can hold those.
fn broadcast_row_values(block: BlockRef) -> Result<(), String> {
    for op in walk::operations(block).filter(|op| Reshape::cast(*op).is_some()).collect::<Vec<_>>() {
        let result: Value = op.result(0).map_err(|e| e.to_string())?.into();
        let operand = op.operand(0).map_err(|e| e.to_string())?;
        let Ok(producer) = OperationResult::try_from(operand) else { continue };
        let (from, to) = (TensorType::of(operand)?, TensorType::of(result)?);
        let appends = to.dims.strip_prefix(&from.dims[..]).is_some_and(|tail| tail.iter().all(|dim| dim.as_static() == Some(1)));
        let elementwise = |op: OperationRef| matches!(kernel_role(op), Ok(Some(Role::Elementwise)));
        let computed = elementwise(producer.owner()) || Reduce::cast(producer.owner()).is_some();
        if !appends || !computed || !walk::users(result).all(elementwise) {
            continue;
        }
        let axes = (0..from.rank() as i64).collect();
        let broadcast = Broadcast::create(context_of(op), op.location(), operand, axes, &[result.r#type()]);
        let broadcast = op.block().ok_or("form-kernels: an op stands outside any block")?.insert_operation_before(op, broadcast);
        walk::replace_all_uses(result, broadcast.result(0).map_err(|e| e.to_string())?.into());
        walk::erase(op);
    }
    Ok(())
}

/// Gives every user of such an op its own copy, so that it fuses into each of them.
fn clone_per_user(block: BlockRef, is: impl Fn(OperationRef) -> bool) {
    for op in walk::operations(block).filter(|op| is(*op)).collect::<Vec<_>>() {
        let result: Value = op.result(0).expect("verified").into();
        for user in walk::users(result).skip(1).collect::<Vec<_>>() {
            let copy = op.block().expect("stands in a block").insert_operation_after(op, walk::copy(op));
            for i in (0..user.operand_count()).filter(|&i| user.operand(i).is_ok_and(|operand| operand == result)) {
                walk::set_operand(user, i, copy.result(0).expect("verified").into());
            }
        }
    }
}

/// Whether the op is a box of a state, which kernels read where it is.
fn is_state_read(op: OperationRef) -> bool {
    let Some(slice) = SymbolicSlice::cast(op).filter(|slice| slice.strides().iter().all(|stride| *stride == 1)) else { return false };
    is_state(slice.input())
}

/// Whether a tensor is a part of a state, or a reshape of one.
fn is_state(tensor: Value) -> bool {
    if let Ok(argument) = BlockArgument::try_from(tensor) {
        let pairs: Vec<i64> =
            argument.owner().parent_operation().and_then(|func| attributes::get(func, STATE_ARGUMENTS)).unwrap_or_default();
        return pairs.chunks_exact(2).any(|pair| pair[0] == argument.argument_number() as i64);
    }
    OperationResult::try_from(tensor).is_ok_and(|state| match Reshape::cast(state.owner()) {
        Some(reshape) => is_state(reshape.input()),
        None => Append::cast(state.owner()).is_some(),
    })
}

/// Role of an op that is computed in a kernel; `None` for what the host program does itself.
pub(super) fn kernel_role(op: OperationRef) -> Result<Option<Role>, String> {
    let name = op.name();
    let name = name.as_string_ref().as_str().unwrap_or("");
    if op.attribute(HOST_ATTRIBUTE).is_ok()
        || only_measured(op)
        || matches!(name, "graph.reshape" | "graph.require" | "graph.kernel" | "graph.yield" | "func.return")
    {
        return Ok(None);
    }
    let definition = op::find(name)
        .ok_or_else(|| format!("form-kernels: no op definition for '{name}' at {}; register one (docs/add-an-op.md)", op.location()))?;
    Ok(match definition.role {
        Role::Constant | Role::Control => None,
        Role::View if name == Broadcast::NAME => Some(Role::Elementwise),
        Role::View => Some(Role::DataMovement),
        role => Some(role),
    })
}

/// Whether `producer`, the last op of `candidate`, may join `group`, where `consumer` uses it.
fn fuses(candidate: &Group, group: &Group, producer: OperationRef, consumer: OperationRef) -> bool {
    let Ok(Some(consumer_role)) = kernel_role(consumer) else { return false };
    match (candidate.role, consumer_role) {
        (Role::Elementwise, Role::Elementwise) => true,
        // A prologue is computed where the root reads it; data movement, windows and contractions would compute it more than once.
        (Role::Elementwise, Role::Reduction) => true,
        // An epilogue has the shape of the root, and only contraction schedules know one. A group has one root.
        (Role::Contraction, Role::Elementwise) => group.role == Role::Elementwise && shape(producer) == shape(consumer),
        _ => false,
    }
}

/// [`shape_of`] the only result.
pub(super) fn shape(op: OperationRef) -> Option<String> {
    shape_of(op.result(0).ok()?.into())
}

/// Extents and encoding of a tensor, without the element type.
pub(super) fn shape_of(value: Value) -> Option<String> {
    let text = value.r#type().to_string();
    let dims = text.strip_prefix("tensor<")?;
    let element = dims.split([',', '>']).next()?.rsplit('x').next()?.len();
    let extents = &dims[..dims.split([',', '>']).next()?.len() - element];
    let encoding = dims.split_once(',').map_or("", |(_, encoding)| encoding);
    Some(format!("{extents}{encoding}"))
}

/// Clones a group into a kernel in place of its last op.
fn outline(ops: &[OperationRef], group: &Group) -> Result<(), String> {
    let last = ops[*group.ops.last().expect("groups are not empty")];
    let context = context_of(last);
    let body = Block::new(&[]);
    let mut mapped: HashMap<*const std::ffi::c_void, Value> = HashMap::new();
    let mut inputs: Vec<Value> = vec![];
    for &position in &group.ops {
        let op = ops[position];
        let clone = body.append_operation(walk::copy(op));
        for (i, operand) in op.operands().enumerate() {
            let key = operand.to_raw().ptr;
            let inner = match mapped.get(&key) {
                Some(value) => *value,
                None => {
                    let value: Value = match splat_constant(operand) {
                        Some(constant) => {
                            let constant = body.insert_operation_before(clone, constant);
                            constant.result(0).expect("constants have a result").into()
                        }
                        None => {
                            inputs.push(operand);
                            body.add_argument(operand.r#type(), locations::of_value(operand))
                        }
                    };
                    // SAFETY: the value lives as long as the block that now holds it.
                    let value = unsafe { Value::from_raw(value.to_raw()) };
                    mapped.insert(key, value);
                    value
                }
            };
            walk::set_operand(clone, i, inner);
        }
        for (old, new) in op.results().zip(clone.results()) {
            // SAFETY: as above.
            mapped.insert(old.to_raw().ptr, unsafe { Value::from_raw(new.to_raw()) });
        }
    }
    let results: Vec<Value> = last.results().map(|result| mapped[&result.to_raw().ptr]).collect();
    body.append_operation(Yield::create(context, last.location(), &results));
    let region = Region::new();
    region.append_block(body);

    let nodes = group.ops.iter().flat_map(|&position| locations::node_names(ops[position].location()));
    let mut seen = BTreeSet::new();
    let nodes: Vec<String> = nodes.filter(|node| seen.insert(node.clone())).collect();
    let types: Vec<Type> = last.results().map(|result| result.r#type()).collect();
    let locations: Vec<Location> = group.ops.iter().map(|&position| ops[position].location()).collect();
    let location = locations::fuse(context, &locations);
    let kernel = Kernel::create(context, location, &inputs, class_of(group.role).into(), None, nodes, [region], &types);
    let block = last.block().ok_or("form-kernels: an op stands outside any block")?;
    let kernel = block.insert_operation_before(last, kernel);
    for (old, new) in last.results().zip(kernel.results()) {
        walk::replace_all_uses(old.into(), new.into());
    }
    Ok(())
}

/// A copy of the splat constant that defines `value`, if one does.
fn splat_constant<'c>(value: Value<'c, '_>) -> Option<Operation<'c>> {
    let owner = OperationResult::try_from(value).ok()?.owner();
    let constant = Constant::cast(owner)?;
    let text = constant.value();
    // SAFETY: a live attribute; the query only reads it.
    let splat =
        unsafe { mlir_sys::mlirElementsAttrGetNumElements(text.to_raw()) <= 1 || mlir_sys::mlirDenseElementsAttrIsSplat(text.to_raw()) };
    splat.then(|| walk::copy(owner))
}

/// Erases pure graph ops without uses, last first: those that kernels replaced and constants that were cloned.
fn erase_unused(block: BlockRef) {
    let ops: Vec<OperationRef> = walk::operations(block).collect();
    for op in ops.into_iter().rev() {
        let name = op.name();
        let name = name.as_string_ref().as_str().unwrap_or("");
        let terminator = matches!(name, "graph.yield" | "func.return");
        if !terminator && op.result_count() > 0 && op.results().all(|result| walk::users(result.into()).next().is_none()) {
            walk::erase(op);
        }
    }
}
