//! Scheduled kernel on tensors -> vectors and loops on the kernel's own buffers, then the kernel ABI.
//!
//! Passes stand in the order of the pipeline. After this stage a kernel holds arith, math, scf, memref, vector and llvm operations, allocates
//! nothing, and is two functions: the entry of the kernel ABI and its body.

pub mod pack_panels;

pub mod unpack_panels;

pub mod drop_results;

pub mod place_buffers;

pub mod allow_contraction;

pub mod vectorize_contractions;

pub mod vectorize_windows;

pub mod expand_copies;

pub mod vectorize_elementwise;

pub mod vectorize_reductions;

pub mod expand_math;

pub mod flatten_fills;

pub mod lower_grid;

pub mod lower_kernel_abi;

pub mod bounds;

pub mod build;

pub mod generic;

pub mod math_library;

use build::{V, lasting_op};
use melior::{
    dialect::DialectHandle,
    ir::{
        Attribute, OperationRef,
        attribute::ArrayAttribute,
        operation::{OperationLike, OperationMutLike, OperationRefMut},
    },
};
use winze_mlir::{
    pass::{RustPass, register},
    walk,
};

/// Bufferizes into the kernel's arguments and forms register tiles and vectors. `$rows$` and `$bits$` are parameters of the schedule.
pub const VECTOR_PIPELINE: &str = "builtin.module(\
    func.func(pack-panels,unpack-panels),canonicalize,cse,\
    eliminate-empty-tensors,empty-tensor-to-alloc-tensor,\
    one-shot-bufferize{bufferize-function-boundaries=1 function-boundary-type-conversion=identity-layout-map},canonicalize,cse,\
    fold-memref-alias-ops,canonicalize,cse,\
    func.func(drop-results,place-buffers),\
    func.func(allow-contraction,vectorize-contractions{rows=$rows$ bits=$bits$ vnni=$vnni$}),\
    func.func(expand-copies,flatten-fills,vectorize-windows{bits=$bits$}),linalg-generalize-named-ops,func.func(vectorize-elementwise{bits=$bits$},vectorize-reductions{bits=$bits$}),\
    func.func(convert-linalg-to-loops),cse,expand-math,canonicalize,cse,loop-invariant-code-motion)";

/// Gives the kernel its entry.
pub const ABI_PIPELINE: &str = "builtin.module(func.func(lower-grid),lower-kernel-abi,canonicalize,cse)";

/// Puts the passes of this stage into MLIR's registry.
pub fn register_passes() {
    register::<pack_panels::PackPanels>();
    register::<unpack_panels::UnpackPanels>();
    register::<drop_results::DropResults>();
    register::<place_buffers::PlaceBuffers>();
    register::<allow_contraction::AllowContraction>();
    register::<vectorize_contractions::VectorizeContractions>();
    register::<vectorize_windows::VectorizeWindows>();
    register::<expand_copies::ExpandCopies>();
    register::<flatten_fills::FlattenFills>();
    register::<vectorize_elementwise::VectorizeElementwise>();
    register::<vectorize_reductions::VectorizeReductions>();
    register::<expand_math::ExpandMath>();
    register::<lower_grid::LowerGrid>();
    register::<lower_kernel_abi::LowerKernelAbi>();
}

/// Rewrites every operation called `name` in `func`; errors name pass `P`.
pub fn rewrite_each<'c, P: RustPass>(
    func: OperationRef<'c, '_>,
    name: &str,
    mut rewrite: impl FnMut(OperationRef<'c, 'c>) -> Result<(), String>,
) -> Result<(), String> {
    walk::named(lasting_op(func), name).into_iter().try_for_each(|op| rewrite(op).map_err(|e| format!("{}: {e}", P::ARGUMENT)))
}

/// Dialects whose ops loops over vectors are made of.
fn vector_loop_dialects() -> Vec<DialectHandle> {
    // SAFETY: a handle is a static of MLIR.
    let vector = unsafe { DialectHandle::from_raw(mlir_sys::mlirGetDialectHandle__vector__()) };
    vec![DialectHandle::affine(), DialectHandle::arith(), DialectHandle::memref(), DialectHandle::scf(), vector]
}

/// Replaces the results of `op` and destroys it.
pub fn replace<'c>(op: OperationRef<'c, 'c>, values: &[V<'c>]) {
    for (old, new) in op.results().zip(values) {
        walk::replace_all_uses(old.into(), *new);
    }
    walk::erase(op);
}

/// Sets the attributes of one of `count` arguments; the others keep theirs.
fn set_argument_attributes<'c>(func: OperationRef<'c, 'c>, argument: usize, count: usize, dictionary: Attribute<'c>) -> Result<(), String> {
    let func = lasting_op(func);
    let holder = func.context();
    // SAFETY: melior's reference points into `holder`.
    let context = unsafe { holder.to_ref() };
    let empty = Attribute::parse(context, "{}").ok_or("an empty dictionary does not parse")?;
    let old = func.attribute("arg_attrs").ok().and_then(|a| ArrayAttribute::try_from(a).ok());
    let mut list: Vec<_> = (0..count).map(|i| old.and_then(|old| old.element(i).ok()).unwrap_or(empty)).collect();
    list[argument] = dictionary;
    // SAFETY: the function is live; only its attribute changes.
    unsafe { OperationRefMut::from_raw(func.to_raw()) }.set_attribute("arg_attrs", ArrayAttribute::new(context, &list).into());
    Ok(())
}
