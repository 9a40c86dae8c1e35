//! Short forms for building and reading IR in the Vulkan passes: constants, types, attributes, errors with the operation's name.

use melior::{
    Context,
    ir::{
        AffineMap, Attribute, AttributeLike, Identifier, Location, Operation, OperationRef, Type, Value, ValueLike,
        attribute::{DenseI64ArrayAttribute, IntegerAttribute},
        operation::{OperationBuilder, OperationLike, OperationResult},
    },
};

/// A value for as long as the IR lives. Passes own the IR while they run.
pub type Val<'c> = Value<'c, 'c>;
pub type Op<'c> = OperationRef<'c, 'c>;

/// Extends the borrow of an operation to the lifetime of its context.
pub fn op_ref<'c>(op: &impl OperationLikeRaw) -> Op<'c> {
    unsafe { OperationRef::from_raw(op.raw()) }
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
    unsafe { !mlir_sys::mlirValueGetFirstUse(value.to_raw()).ptr.is_null() }
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
    let context = unsafe { location.context().to_ref() };
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
pub fn block_ref<'c>(block: melior::ir::BlockRef<'_, '_>) -> melior::ir::BlockRef<'c, 'c> {
    use melior::ir::BlockLike;
    unsafe { melior::ir::BlockRef::from_raw(block.to_raw()) }
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
