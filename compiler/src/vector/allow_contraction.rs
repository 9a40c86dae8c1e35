//! Floating-point flags: `contract` everywhere, `reassoc` where a reduction combines its values. Never `nnan` or `ninf`.

use super::build::lasting_op;
use melior::{
    dialect::DialectHandle,
    ir::{
        Attribute, OperationRef,
        operation::{OperationLike, OperationMutLike, OperationRefMut},
    },
};
use winze_mlir::{pass::RustPass, walk};

pub struct AllowContraction;

impl RustPass for AllowContraction {
    const ARGUMENT: &'static str = "allow-contraction";
    const DESCRIPTION: &'static str = "Allow fused multiply-add, and reassociation inside reductions";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::arith()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let holder = func.context();
        // SAFETY: melior's reference points into `holder`.
        let context = unsafe { holder.to_ref() };
        let flags = |text: &str| Attribute::parse(context, text).ok_or_else(|| format!("allow-contraction: '{text}' does not parse"));
        let (contract, reduce) = (flags("#arith.fastmath<contract>")?, flags("#arith.fastmath<reassoc,contract>")?);
        walk::walk::<String>(lasting_op(func), &mut |op| {
            if !matches!(op.name().as_string_ref().as_str(), Ok("arith.addf" | "arith.subf" | "arith.mulf" | "arith.divf" | "arith.negf")) {
                return Ok(());
            }
            let reduces = op.parent_operation().is_some_and(|parent| {
                parent.attribute("iterator_types").is_ok_and(|iterators| iterators.to_string().contains("reduction"))
            });
            // SAFETY: the operation is live; only its flags change.
            let mut op = unsafe { OperationRefMut::from_raw(op.to_raw()) };
            op.set_attribute("fastmath", if reduces { reduce } else { contract });
            Ok(())
        })
    }
}
