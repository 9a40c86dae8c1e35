//! Which ops of a block work on whole rows together: reductions along the last axes and the elementwise ops around them, as in layer normalization,
//! log softmax and the like, however an exporter wrote them.
//!
//! A row group ends in one elementwise op of the rows' full shape; everything else in it serves only the group. Its members are elementwise ops of
//! that shape, reductions of it along its last axes (the same for all), and what is computed per row between them. Epilogues of contractions stay
//! with their contraction.

use super::form_kernels::{kernel_role, shape, shape_of};
use melior::ir::{
    OperationRef, Value,
    operation::{OperationLike, OperationResult},
};
use std::collections::{BTreeSet, HashMap};
use winze_graph::{
    dialect::{Broadcast, Reduce},
    dim::Dim,
    op::Role,
    types::TensorType,
};
use winze_mlir::walk;

/// Positions of the members of every row group.
pub fn row_groups(ops: &[OperationRef]) -> Result<Vec<BTreeSet<usize>>, String> {
    let position: HashMap<*mut std::ffi::c_void, usize> = ops.iter().enumerate().map(|(i, op)| (op.to_raw().ptr, i)).collect();
    let roles = ops.iter().map(|op| kernel_role(*op)).collect::<Result<Vec<_>, _>>()?;
    let block = Block { ops, position, roles };
    let mut taken = BTreeSet::new();
    let mut groups = vec![];
    for last in (0..ops.len()).rev() {
        if taken.contains(&last) || block.roles[last] != Some(Role::Elementwise) {
            continue;
        }
        if let Some(group) = block.group_ending_in(last)
            && group.is_disjoint(&taken)
        {
            taken.extend(&group);
            groups.push(group);
        }
    }
    Ok(groups)
}

struct Block<'a, 'c> {
    ops: &'a [OperationRef<'c, 'a>],
    position: HashMap<*mut std::ffi::c_void, usize>,
    roles: Vec<Option<Role>>,
}

impl Block<'_, '_> {
    fn producer(&self, value: Value) -> Option<usize> {
        let result = OperationResult::try_from(value).ok()?;
        self.position.get(&result.owner().to_raw().ptr).copied()
    }

    fn group_ending_in(&self, last: usize) -> Option<BTreeSet<usize>> {
        let rows = shape(self.ops[last])?;
        let full = TensorType::of(self.ops[last].result(0).ok()?.into()).ok()?;
        // Of the axes before those that are reduced; known once a reduction was met.
        let mut kept: Option<usize> = None;
        let mut group = BTreeSet::from([last]);
        let mut per_row: Vec<usize> = vec![];
        // A producer whose users have all joined may join too, so this goes on until nothing joins.
        loop {
            let mut grown = false;
            let members: Vec<usize> = group.iter().copied().collect();
            for operand in members.iter().flat_map(|member| self.ops[*member].operands()) {
                let Some(made_by) = self.producer(operand).filter(|made_by| !group.contains(made_by)) else { continue };
                let op = self.ops[made_by];
                let only_here = op
                    .results()
                    .flat_map(|result| walk::users(result.into()))
                    .all(|user| self.position.get(&user.to_raw().ptr).is_some_and(|user| group.contains(user)));
                if !only_here || op.result_count() != 1 {
                    continue;
                }
                let fits = match self.roles[made_by] {
                    Some(Role::Reduction) => {
                        reduced(op, &rows).filter(|axes| kept.is_none_or(|kept| kept == *axes)).inspect(|axes| kept = Some(*axes)).is_some()
                    }
                    Some(Role::Elementwise) if shape(op).as_deref() == Some(&rows) => {
                        Broadcast::cast(op).is_some() || !self.follows_contraction(made_by)
                    }
                    Some(Role::Elementwise) if (0..full.rank()).any(|kept| is_per_row(op, &full.dims[..kept])) => {
                        per_row.push(made_by);
                        true
                    }
                    _ => false,
                };
                if fits {
                    group.insert(made_by);
                    grown = true;
                }
            }
            if !grown {
                break;
            }
        }
        let kept = &full.dims[..kept?];
        per_row.iter().all(|op| is_per_row(self.ops[*op], kept)).then_some(group)
    }

    /// Whether a contraction would take the op as its epilogue.
    fn follows_contraction(&self, op: usize) -> bool {
        self.ops[op].operands().any(|operand| {
            let Some(made_by) = self.producer(operand).filter(|made_by| shape(self.ops[*made_by]) == shape(self.ops[op])) else {
                return false;
            };
            let alone = walk::users(operand).all(|user| self.position.get(&user.to_raw().ptr) == Some(&op));
            alone
                && match self.roles[made_by] {
                    Some(Role::Contraction) => true,
                    Some(Role::Elementwise) => self.follows_contraction(made_by),
                    _ => false,
                }
        })
    }
}

/// Whether the result has the extents `kept`, perhaps followed by axes of extent 1.
fn is_per_row(op: OperationRef, kept: &[Dim]) -> bool {
    let dims = op.result(0).ok().and_then(|result| TensorType::of(result.into()).ok()).map(|result| result.dims);
    dims.is_some_and(|dims| dims.strip_prefix(kept).is_some_and(|tail| tail.iter().all(|dim| dim.as_static() == Some(1))))
}

/// Number of axes kept by a reduction of tensors of shape `rows` along their last axes.
fn reduced(op: OperationRef, rows: &str) -> Option<usize> {
    let reduce = Reduce::cast(op)?;
    let input = TensorType::of(reduce.input()).ok()?;
    let mut axes = reduce.axes();
    axes.sort_unstable();
    let kept = input.rank() - axes.len();
    // Without kept axes there would be one row and one tile.
    let trailing = !axes.is_empty() && kept > 0 && axes.iter().enumerate().all(|(i, axis)| *axis == (kept + i) as i64);
    (trailing && shape_of(reduce.input())? == rows).then_some(kept)
}
