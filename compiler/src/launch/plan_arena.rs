//! `plan-arena`: a `launch.program` with unplaced arena buffers -> the same program with an offset for each and the size of the arena.
//!
//! A buffer lives from its first use to its last, counted in the block that makes it: a use inside a loop or branch counts as a use by the whole of it.
//! Where a dispatch may run in place and its input dies there, output and input share a buffer.

use super::{IN_PLACE_ATTRIBUTE, convert_graph_to_launch::root_of, extents, plan};
use melior::ir::{
    BlockRef, OperationRef, Type, Value, ValueLike,
    operation::{OperationLike, OperationResult},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::c_void,
};
use winze_graph::dim::Dim;
use winze_launch as launch;
use winze_mlir::{
    attributes,
    pass::{PassOption, RustPass},
    walk,
};

/// The pass.
pub struct PlanArena {
    /// Every offset is a multiple of this many bytes.
    align: i64,
    /// Fewest bytes that an element takes.
    min_bytes: i64,
    /// Whether dispatches may run in place.
    in_place: bool,
}

impl RustPass for PlanArena {
    const ARGUMENT: &'static str = "plan-arena";
    const DESCRIPTION: &'static str = "Give every buffer its place in the arena";
    const ANCHOR: &'static str = "launch.program";
    const OPTIONS: &'static [PassOption] = &[
        PassOption { name: "align", description: "bytes that offsets are multiples of", default: "64" },
        PassOption { name: "min-bytes", description: "fewest bytes per stored element: 1 on CPU, 4 on Vulkan", default: "1" },
        PassOption { name: "in-place", description: "let declared pairs share a buffer: true or false", default: "true" },
    ];

    fn from_options(values: &[&str]) -> Result<Self, String> {
        let number = |i: usize| {
            let name = Self::OPTIONS[i].name;
            values[i]
                .parse::<i64>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| format!("option '{name}': '{}' is no positive number", values[i]))
        };
        let in_place = values[2].parse().map_err(|_| format!("option 'in-place': '{}' is neither true nor false", values[2]))?;
        Ok(Self { align: number(0)?, min_bytes: number(1)?, in_place })
    }

    fn run(&self, program: OperationRef<'_, '_>) -> Result<(), String> {
        let context = winze_mlir::context::context_of(program);
        let mut spans = Spans::default();
        spans.number(program);
        let found = found_sizes(program)?;
        let mut members: Vec<Member> = vec![];
        let mut error = None;
        walk::walk(program, &mut |op| {
            if let Some(arena) = launch::Arena::cast(op) {
                match self.member(arena, &spans, &found) {
                    Ok(Some(member)) => members.push(member),
                    Ok(None) => {}
                    Err(message) => error = Some(message),
                }
            }
            error.take().map_or(Ok(()), Err)
        })?;
        let shared = if self.in_place { share_in_place(program, &mut members, &spans)? } else { (0..members.len()).collect() };

        let roots: Vec<usize> = (0..members.len()).filter(|&i| shared[i] == i).collect();
        let lifetimes: Vec<plan::Lifetime> = roots.iter().map(|&i| members[i].lifetime.clone()).collect();
        let planned = plan::plan(&lifetimes, self.align);
        let offset_of: HashMap<usize, &Dim> = roots.iter().copied().zip(&planned.offsets).collect();
        for (i, member) in members.iter().enumerate() {
            let offset = extents::to_attribute(context, std::slice::from_ref(offset_of[&shared[i]]));
            attributes::set(member.op, "offset", offset);
        }
        attributes::set(program, "arena", extents::to_attribute(context, &[planned.arena]));
        Ok(())
    }
}

/// An arena buffer with its lifetime.
struct Member<'c, 'a> {
    op: OperationRef<'c, 'a>,
    lifetime: plan::Lifetime,
}

impl PlanArena {
    /// The lifetime of an arena buffer, which has room for its largest extents; `None` if nothing uses it.
    fn member<'c, 'a>(
        &self,
        arena: launch::Arena<'c, 'a>,
        spans: &Spans,
        found: &HashMap<u32, Dim>,
    ) -> Result<Option<Member<'c, 'a>>, String> {
        let dims = extents::from_attribute(arena.extents())?;
        let bytes = dims.iter().fold(Dim::from(self.element_bytes(arena.result().r#type())?), |bytes, dim| &bytes * &largest(dim, found));
        let mut uses = vec![];
        collect_uses(arena.result(), &mut uses);
        let block = arena.op().block().ok_or("plan-arena: a buffer stands outside any block")?;
        let uses: Vec<(usize, usize)> = uses.into_iter().map(|user| spans.in_block(user, block)).collect();
        let (Some(first), Some(last)) = (uses.iter().map(|u| u.0).min(), uses.iter().map(|u| u.1).max()) else { return Ok(None) };
        Ok(Some(Member { op: arena.op(), lifetime: plan::Lifetime { bytes, first, last } }))
    }

    fn element_bytes(&self, memref: Type) -> Result<i64, String> {
        match attributes::bit_width(extents::element_of(memref)) {
            Some(bits) => Ok(i64::from(bits.div_ceil(8)).max(self.min_bytes)),
            None => Err(format!("plan-arena: {memref} has elements of unknown size")),
        }
    }
}

/// Largest values of the symbols that are found while running, over those before them.
fn found_sizes(program: OperationRef) -> Result<HashMap<u32, Dim>, String> {
    let mut found: HashMap<u32, Dim> = HashMap::new();
    walk::walk(program, &mut |op| {
        let Some(set) = launch::SetSymbol::cast(op) else { return Ok::<(), String>(()) };
        let bounds = extents::from_attribute(set.bounds())?;
        let [_, upper] = &bounds[..] else { return Err("plan-arena: a size without a largest value".into()) };
        let upper = largest(upper, &found);
        match found.entry(set.symbol() as u32) {
            Entry::Vacant(entry) => _ = entry.insert(upper),
            Entry::Occupied(entry) if *entry.get() == upper => {}
            Entry::Occupied(entry) => {
                return Err(format!("plan-arena: \"{}\" has the largest values {} and {upper}", set.what(), entry.get()));
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// An extent no smaller than `dim`, over symbols that are known before the run. Those that are left open begin at 0.
fn largest(dim: &Dim, found: &HashMap<u32, Dim>) -> Dim {
    if found.is_empty() {
        return dim.clone();
    }
    let largest = dim.range(&|symbol| found.get(&symbol).map(|upper| (Dim::from(0), upper.clone()))).1;
    let open = found.iter().any(|(symbol, upper)| upper.as_symbol() == Some(*symbol) && largest.uses(*symbol));
    if open && !largest.is_never_negative() { largest.magnitude() } else { largest }
}

/// Operations that read or write a buffer, also through views.
fn collect_uses<'c, 'a>(buffer: Value<'c, 'a>, uses: &mut Vec<OperationRef<'c, 'a>>) {
    for user in walk::users(buffer) {
        match launch::View::cast(user) {
            Some(view) => collect_uses(view.result(), uses),
            None => uses.push(user),
        }
    }
}

/// Position of every operation, and the last position inside it.
#[derive(Default)]
struct Spans(HashMap<*mut c_void, (usize, usize)>, usize);

impl Spans {
    fn number(&mut self, op: OperationRef) {
        let first = self.1;
        self.1 += 1;
        for block in walk::blocks(op) {
            for inner in walk::operations(block) {
                self.number(inner);
            }
        }
        self.0.insert(op.to_raw().ptr, (first, self.1 - 1));
    }

    /// Positions of the operation of `block` that is `op` or holds it.
    fn in_block(&self, mut op: OperationRef, block: BlockRef) -> (usize, usize) {
        while op.block().is_some_and(|own| own.to_raw().ptr != block.to_raw().ptr) {
            // SAFETY: uses are dominated by the buffer, so its block is found on the way up.
            op = unsafe { OperationRef::from_raw(mlir_sys::mlirOperationGetParentOperation(op.to_raw())) };
        }
        self.0[&op.to_raw().ptr]
    }
}

/// Lets outputs take the buffer of an input that dies at the dispatch. Returns, per member, the member whose place it has.
fn share_in_place(program: OperationRef, members: &mut [Member], spans: &Spans) -> Result<Vec<usize>, String> {
    let mut shared: Vec<usize> = (0..members.len()).collect();
    let index: HashMap<*mut c_void, usize> = members.iter().enumerate().map(|(i, member)| (member.op.to_raw().ptr, i)).collect();
    let member_of = |buffer: Value| {
        let owner = OperationResult::try_from(root_of(buffer)).ok()?.owner();
        index.get(&owner.to_raw().ptr).copied()
    };
    walk::walk(program, &mut |op| -> Result<(), String> {
        let Some(dispatch) = launch::Dispatch::cast(op) else { return Ok(()) };
        let pairs: Vec<i64> = attributes::get(op, IN_PLACE_ATTRIBUTE).unwrap_or_default();
        let buffers = dispatch.buffers();
        let position = spans.0[&op.to_raw().ptr].0;
        for pair in pairs.chunks_exact(2) {
            let buffer = |i: i64| usize::try_from(i).ok().and_then(|i| buffers.get(i)).copied();
            let (Some(from), Some(to)) = (buffer(pair[0]), buffer(pair[1])) else {
                let kernel = dispatch.kernel();
                return Err(format!(
                    "plan-arena: {IN_PLACE_ATTRIBUTE} of \"{kernel}\" names the arguments {} and {}, which it lacks",
                    pair[0], pair[1]
                ));
            };
            let (Some(input), Some(output)) = (member_of(from), member_of(to)) else { continue };
            // Another argument must not read the buffer that is overwritten.
            let other_reader =
                (0..buffers.len()).any(|i| i != pair[0] as usize && member_of(buffers[i]).is_some_and(|m| shared[m] == shared[input]));
            let root = shared[input];
            let same_block = members[root].op.block().map(|b| b.to_raw().ptr) == members[output].op.block().map(|b| b.to_raw().ptr);
            let dies = members[root].lifetime.last == position && members[output].lifetime.first == position;
            if same_block
                && dies
                && !other_reader
                && shared[output] == output
                && members[root].lifetime.bytes == members[output].lifetime.bytes
            {
                shared[output] = root;
                members[root].lifetime.last = members[output].lifetime.last;
                break;
            }
        }
        Ok(())
    })?;
    Ok(shared)
}
