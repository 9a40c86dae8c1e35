//! `linalg.fill` of elements that are contiguous over several dims (`winze.contiguous`) -> the same of one dim, so that short rows share vectors.

use super::{
    build::{Builder, V, lasting},
    generic::static_size,
};
use melior::{
    dialect::DialectHandle,
    ir::{
        OperationRef, ValueLike,
        operation::{OperationLike, OperationMutLike, OperationRefMut},
        r#type::{MemRefType, ShapedTypeLike},
    },
};
use winze_mlir::{attributes, pass::RustPass, walk};

/// Attribute of fills whose elements are contiguous. Whoever puts it there has made sure; types do not tell.
pub const CONTIGUOUS: &str = "winze.contiguous";

pub struct FlattenFills;

impl RustPass for FlattenFills {
    const ARGUMENT: &'static str = "flatten-fills";
    const DESCRIPTION: &'static str = "Make one dim of those that a fill has and that are contiguous";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        super::vector_loop_dialects()
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        super::rewrite_each::<Self>(func, "linalg.fill", |op| if op.has_attribute(CONTIGUOUS) { rewrite(op) } else { Ok(()) })
    }
}

fn rewrite<'c>(op: OperationRef<'c, 'c>) -> Result<(), String> {
    let target = lasting(op.operand(1).map_err(|e| e.to_string())?);
    let memref = MemRefType::try_from(target.r#type()).map_err(|e| e.to_string())?;
    if memref.rank() > 1 {
        walk::set_operand(op, 1, flat(&Builder::before(op)?, target, memref)?);
    }
    // SAFETY: nothing else refers to the attributes of this operation.
    let mut op = unsafe { OperationRefMut::from_raw(op.to_raw()) };
    op.remove_attribute(CONTIGUOUS).map_err(|e| e.to_string())
}

/// All elements of a buffer as one dim.
fn flat<'c>(builder: &Builder<'c>, buffer: V<'c>, memref: MemRefType<'c>) -> Result<V<'c>, String> {
    let (rank, element) = (memref.rank(), memref.element());
    let types = [&[builder.parse_type(&format!("memref<{element}>"))?][..], &vec![builder.index_type(); 1 + 2 * rank]].concat();
    let parts = builder.op("memref.extract_strided_metadata", &[buffer], &types, &[])?;
    let part = |i: usize| parts.result(i).map(|result| lasting(result.into())).map_err(|e| e.to_string());
    let known = (0..rank).map(|dim| static_size(memref, dim)).product::<Option<i64>>();
    let mut operands = vec![part(0)?, part(1)?];
    if known.is_none() {
        operands.push((1..rank).try_fold(part(2)?, |size, dim| builder.binary("arith.muli", size, part(2 + dim)?))?);
    }
    let list = |number: i64| builder.attribute(&format!("array<i64: {number}>"));
    let attributes = [
        ("static_offsets", list(i64::MIN)?),
        ("static_sizes", list(known.unwrap_or(i64::MIN))?),
        ("static_strides", list(1)?),
        ("operandSegmentSizes", attributes::segments(builder.context(), &[1, 1, i32::from(known.is_none()), 0])),
    ];
    let size = known.map_or("?".to_owned(), |size| size.to_string());
    let row = builder.parse_type(&format!("memref<{size}x{element}, strided<[1], offset: ?>>"))?;
    builder.value("memref.reinterpret_cast", &operands, row, &attributes)
}
