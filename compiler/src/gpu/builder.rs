//! Short forms for building and reading IR in the Vulkan passes: constants, types, attributes, walking, moving.
//!
//! Handles are live: passes own the IR while they run and keep no handle of what they erase. Every `unsafe` here rests on that.

use melior::{
    Context,
    ir::{
        AffineMap, Attribute, AttributeLike, BlockLike, BlockRef, Identifier, Location, Operation, OperationRef, RegionLike, Type, Value,
        ValueLike,
        attribute::{DenseI64ArrayAttribute, IntegerAttribute},
        operation::{OperationBuilder, OperationLike, OperationRefMut, OperationResult},
    },
};
use winze_mlir::walk;

/// A value for as long as the IR lives. Passes own the IR while they run.
pub type Val<'c> = Value<'c, 'c>;
pub type Op<'c> = OperationRef<'c, 'c>;

/// Extends the borrow of an operation to the lifetime of its context.
pub fn op_ref<'c>(op: &impl OperationLikeRaw) -> Op<'c> {
    unsafe { OperationRef::from_raw(op.raw()) }
}

pub use winze_mlir::context::context_of;

/// The marker of a dynamic extent in types and attributes.
pub fn dynamic_size() -> i64 {
    // SAFETY: returns a constant.
    unsafe { mlir_sys::mlirShapedTypeGetDynamicSize() }
}

/// A live operation as a mutable one.
pub fn op_mut<'c>(op: Op<'c>) -> OperationRefMut<'c, 'c> {
    // SAFETY: passes own the IR while they run.
    unsafe { OperationRefMut::from_raw(op.to_raw()) }
}

/// Anything that names an operation.
pub trait OperationLikeRaw {
    fn raw(&self) -> mlir_sys::MlirOperation;
}

impl OperationLikeRaw for OperationRef<'_, '_> {
    fn raw(&self) -> mlir_sys::MlirOperation {
        self.to_raw()
    }
}

impl OperationLikeRaw for Operation<'_> {
    fn raw(&self) -> mlir_sys::MlirOperation {
        self.to_raw()
    }
}

pub fn val<'c>(value: impl ValueLike<'c>) -> Val<'c> {
    unsafe { Value::from_raw(value.to_raw()) }
}

/// Identity of a value, as a map key.
pub fn key(value: Val<'_>) -> usize {
    value.to_raw().ptr as usize
}

pub fn name_of(op: Op<'_>) -> String {
    op.name().as_string_ref().as_str().unwrap_or_default().to_string()
}

pub fn operands<'c>(op: Op<'c>) -> Vec<Val<'c>> {
    (0..op.operand_count()).filter_map(|i| op.operand(i).ok()).map(val).collect()
}

/// The operation that defines the value, and which of its results it is.
pub fn defining_op<'c>(value: Val<'c>) -> Option<(Op<'c>, usize)> {
    let result = OperationResult::try_from(value).ok()?;
    Some((op_ref(&result.owner()), result.result_number()))
}

pub fn has_uses(value: Val<'_>) -> bool {
    walk::users(value).next().is_some()
}

pub fn affine_map<'c>(attribute: Attribute<'c>) -> Option<AffineMap<'c>> {
    unsafe {
        mlir_sys::mlirAttributeIsAAffineMap(attribute.to_raw())
            .then(|| AffineMap::from_raw(mlir_sys::mlirAffineMapAttrGetValue(attribute.to_raw())))
    }
}

/// The elements of an array attribute of affine maps.
pub fn affine_maps<'c>(op: Op<'c>, attribute: &str) -> Vec<AffineMap<'c>> {
    let Ok(attribute) = op.attribute(attribute) else { return vec![] };
    let raw = attribute.to_raw();
    unsafe {
        if !mlir_sys::mlirAttributeIsAArray(raw) {
            return vec![];
        }
        (0..mlir_sys::mlirArrayAttrGetNumElements(raw))
            .filter_map(|i| affine_map(Attribute::from_raw(mlir_sys::mlirArrayAttrGetElement(raw, i))))
            .collect()
    }
}

/// The elements of a `DenseI64ArrayAttr`.
pub fn i64_array(op: Op<'_>, attribute: &str) -> Vec<i64> {
    let Ok(Ok(array)) = op.attribute(attribute).map(DenseI64ArrayAttribute::try_from) else { return vec![] };
    (0..array.len()).filter_map(|i| array.element(i).ok()).collect()
}

/// The nested arrays of a reassociation attribute.
pub fn reassociation(op: Op<'_>) -> Vec<Vec<usize>> {
    let Ok(attribute) = op.attribute("reassociation") else { return vec![] };
    unsafe {
        let list = |raw: mlir_sys::MlirAttribute| -> Vec<mlir_sys::MlirAttribute> {
            if !mlir_sys::mlirAttributeIsAArray(raw) {
                return vec![];
            }
            (0..mlir_sys::mlirArrayAttrGetNumElements(raw)).map(|i| mlir_sys::mlirArrayAttrGetElement(raw, i)).collect()
        };
        list(attribute.to_raw())
            .into_iter()
            .map(|group| list(group).into_iter().map(|e| mlir_sys::mlirIntegerAttrGetValueInt(e) as usize).collect())
            .collect()
    }
}

/// The lengths of an operation's operand groups.
pub fn segment_sizes(op: Op<'_>) -> Vec<usize> {
    use melior::ir::attribute::DenseI32ArrayAttribute;
    let Ok(Ok(array)) = op.attribute("operandSegmentSizes").map(DenseI32ArrayAttribute::try_from) else { return vec![] };
    (0..array.len()).filter_map(|i| array.element(i).ok()).map(|n| n as usize).collect()
}

pub fn integer(context: &Context, bits: u32) -> Type<'_> {
    melior::ir::r#type::IntegerType::new(context, bits).into()
}

/// Width of a signless integer type.
pub fn integer_width(r#type: Type<'_>) -> Option<u32> {
    unsafe { mlir_sys::mlirTypeIsAInteger(melior::ir::TypeLike::to_raw(&r#type)) }
        .then(|| unsafe { mlir_sys::mlirIntegerTypeGetWidth(melior::ir::TypeLike::to_raw(&r#type)) })
}

/// Extents of a tensor or memref type; `None` is a dynamic one.
pub fn extents(r#type: Type<'_>) -> Option<Vec<Option<i64>>> {
    let raw = melior::ir::TypeLike::to_raw(&r#type);
    unsafe {
        if !mlir_sys::mlirTypeIsAShaped(raw) || !mlir_sys::mlirShapedTypeHasRank(raw) {
            return None;
        }
        Some(
            (0..mlir_sys::mlirShapedTypeGetRank(raw))
                .map(|d| {
                    (!mlir_sys::mlirShapedTypeIsDynamicDim(raw, d as isize)).then(|| mlir_sys::mlirShapedTypeGetDimSize(raw, d as isize))
                })
                .collect(),
        )
    }
}

pub fn element_type(r#type: Type<'_>) -> Option<Type<'_>> {
    let raw = melior::ir::TypeLike::to_raw(&r#type);
    unsafe { mlir_sys::mlirTypeIsAShaped(raw).then(|| Type::from_raw(mlir_sys::mlirShapedTypeGetElementType(raw))) }
}

pub fn is_tensor(r#type: Type<'_>) -> bool {
    unsafe { mlir_sys::mlirTypeIsATensor(melior::ir::TypeLike::to_raw(&r#type)) }
}

pub fn is_memref(r#type: Type<'_>) -> bool {
    unsafe { mlir_sys::mlirTypeIsAMemRef(melior::ir::TypeLike::to_raw(&r#type)) }
}

/// An operation from its parts. Only malformed attributes can make this fail, which is a fault of the caller.
pub fn build<'c>(
    name: &str,
    location: Location<'c>,
    operands: &[Val<'c>],
    results: &[Type<'c>],
    attributes: &[(&str, Attribute<'c>)],
) -> Result<Operation<'c>, String> {
    // SAFETY: locations live as long as their context.
    let context = unsafe { winze_mlir::context::from_raw(mlir_sys::mlirLocationGetContext(location.to_raw())) };
    let attributes: Vec<_> = attributes.iter().map(|(name, a)| (Identifier::new(context, name), *a)).collect();
    OperationBuilder::new(name, location)
        .add_operands(operands)
        .add_results(results)
        .add_attributes(&attributes)
        .build()
        .map_err(|e| format!("cannot build {name}: {e}"))
}

pub fn index_attribute(context: &Context, value: i64) -> Attribute<'_> {
    IntegerAttribute::new(Type::index(context), value).into()
}

pub fn parse_attribute<'c>(context: &'c Context, text: &str) -> Result<Attribute<'c>, String> {
    Attribute::parse(context, text).ok_or_else(|| format!("attribute `{text}` does not parse"))
}

/// `operandSegmentSizes` and the like.
pub fn segments<'c>(context: &'c Context, sizes: &[i32]) -> Attribute<'c> {
    melior::ir::attribute::DenseI32ArrayAttribute::new(context, sizes).into()
}

/// Extends the borrow of a block to the lifetime of its context.
pub fn block_ref<'c>(block: BlockRef<'_, '_>) -> BlockRef<'c, 'c> {
    unsafe { BlockRef::from_raw(block.to_raw()) }
}

/// Dialects that melior has no handle for.
pub fn vector_dialect() -> melior::dialect::DialectHandle {
    // SAFETY: the handle is a static table inside MLIR.
    unsafe { melior::dialect::DialectHandle::from_raw(mlir_sys::mlirGetDialectHandle__vector__()) }
}

pub fn spirv_dialect() -> melior::dialect::DialectHandle {
    // SAFETY: see `vector_dialect`.
    unsafe { melior::dialect::DialectHandle::from_raw(mlir_sys::mlirGetDialectHandle__spirv__()) }
}

/// Inserts operations before one.
pub struct Before<'c> {
    pub op: Op<'c>,
    pub context: &'c Context,
    pub location: Location<'c>,
}

impl<'c> Before<'c> {
    pub fn new(context: &'c Context, op: Op<'c>) -> Self {
        Self { op, context, location: op.location() }
    }

    pub fn insert(
        &self,
        name: &str,
        operands: &[Val<'c>],
        results: &[Type<'c>],
        attributes: &[(&str, Attribute<'c>)],
    ) -> Result<Op<'c>, String> {
        let block = self.op.block().ok_or("operation outside a block")?;
        Ok(op_ref(&block.insert_operation_before(self.op, build(name, self.location, operands, results, attributes)?)))
    }

    pub fn one(&self, name: &str, operands: &[Val<'c>], result: Type<'c>, attributes: &[(&str, Attribute<'c>)]) -> Result<Val<'c>, String> {
        self.insert(name, operands, &[result], attributes)?.result(0).map(val).map_err(|e| e.to_string())
    }

    pub fn constant(&self, r#type: Type<'c>, value: i64) -> Result<Val<'c>, String> {
        self.one("arith.constant", &[], r#type, &[("value", IntegerAttribute::new(r#type, value).into())])
    }
}

/// Every operation below one, outermost first, in program order.
pub fn operations_below<'c>(op: Op<'c>) -> Vec<Op<'c>> {
    let mut all = vec![];
    for block in blocks_of(op) {
        for inner in operations_in(block) {
            all.push(inner);
            all.extend(operations_below(inner));
        }
    }
    all
}

/// The blocks of an operation's regions.
pub fn blocks_of<'c>(op: Op<'c>) -> Vec<BlockRef<'c, 'c>> {
    let first = |r: usize| op.region(r).ok().and_then(|r| r.first_block()).map(|b| block_ref(b));
    (0..op.region_count()).flat_map(|r| std::iter::successors(first(r), |b| b.next_in_region().map(|b| block_ref(b)))).collect()
}

/// The operations of a block.
pub fn operations_in<'c>(block: BlockRef<'c, 'c>) -> Vec<Op<'c>> {
    std::iter::successors(block.first_operation().map(|o| op_ref(&o)), |o| o.next_in_block().map(|o| op_ref(&o))).collect()
}

pub fn block_arguments<'c>(block: BlockRef<'c, 'c>) -> Vec<Val<'c>> {
    (0..block.argument_count()).filter_map(|i| block.argument(i).ok()).map(val).collect()
}

pub fn results<'c>(op: Op<'c>) -> Vec<Val<'c>> {
    (0..op.result_count()).filter_map(|i| op.result(i).ok()).map(val).collect()
}

/// A float attribute of any float type.
pub fn float_attribute<'c>(r#type: Type<'c>, value: f64) -> Attribute<'c> {
    let raw = melior::ir::TypeLike::to_raw(&r#type);
    // SAFETY: the type is a float type, and carries its context.
    unsafe { Attribute::from_raw(mlir_sys::mlirFloatAttrDoubleGet(mlir_sys::mlirTypeGetContext(raw), raw, value)) }
}

pub fn math_dialect() -> melior::dialect::DialectHandle {
    // SAFETY: see `vector_dialect`.
    unsafe { melior::dialect::DialectHandle::from_raw(mlir_sys::mlirGetDialectHandle__math__()) }
}
