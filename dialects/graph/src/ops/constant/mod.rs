//! `graph.constant`: a value that stands in the IR.

use crate::{
    dialect::{Broadcast, Constant},
    eval::EvalContext,
    lower::{LowerContext, Op, Val},
    op::{OpDefinition, Role},
    tensor::{Scalar, Tensor},
    types::{Class, ElementType, TensorType},
};
use winze_mlir::{
    melior::{
        Context,
        ir::{
            Attribute, AttributeLike, OperationRef, Type, TypeLike, Value,
            operation::{OperationLike, OperationResult},
            r#type::RankedTensorType,
        },
    },
    mlir_sys,
    op_hooks::OpHooks,
};

pub const DEFINITION: OpDefinition = OpDefinition {
    name: "graph.constant",
    role: Role::Constant,
    hooks: OpHooks { verify: Some(verify), infer: None, canonicalize: None },
    eval,
    lower,
    scalar: None,
};

/// Largest constant that is not a splat, in bytes.
pub const MAX_BYTES: usize = 1024;

fn value(op: OperationRef) -> Result<Tensor, String> {
    // SAFETY: attributes belong to the context, which outlives this call.
    read_constant(unsafe { Attribute::from_raw(op.attribute("value").map_err(|e| e.to_string())?.to_raw()) })
}

/// Elements of a `dense<...>` attribute of a graph tensor type.
pub fn read_constant(attribute: Attribute) -> Result<Tensor, String> {
    let raw = attribute.to_raw();
    // SAFETY: guarded by the type check; the raw data holds one element for a splat, else all of them.
    unsafe {
        if !mlir_sys::mlirAttributeIsADenseElements(raw) {
            return Err(format!("{attribute} is no dense constant; write dense<...>, or graph.weight for large data"));
        }
        let r#type = TensorType::from_type(Type::from_raw(mlir_sys::mlirAttributeGetType(raw)))?;
        let shape = r#type.shape(&[])?;
        let splat = mlir_sys::mlirDenseElementsAttrIsSplat(raw);
        if r#type.element == ElementType::Bool {
            let get = |i: usize| mlir_sys::mlirDenseElementsAttrGetBoolValue(raw, if splat { 0 } else { i as isize });
            return Ok(Tensor::from_fn(ElementType::Bool, &shape, |i| Scalar::Bool(get(i))));
        }
        let count: usize = if splat { 1 } else { shape.iter().product() };
        if count == 0 {
            return Ok(Tensor::zeros(r#type.element, &shape));
        }
        let data = mlir_sys::mlirDenseElementsAttrGetRawData(raw).cast::<u8>();
        let elements = Tensor::from_bytes(r#type.element, &[count], std::slice::from_raw_parts(data, count * r#type.element.bytes()))?;
        Ok(if splat { Tensor::from_fn(r#type.element, &shape, |_| elements.get(0)) } else { elements.reshaped(&shape)? })
    }
}

/// The element of a splat `dense<...>` attribute of any size.
pub fn read_splat(attribute: Attribute) -> Option<Scalar> {
    let raw = attribute.to_raw();
    // SAFETY: guarded by the type checks; the raw data of a splat holds one element.
    unsafe {
        if !mlir_sys::mlirAttributeIsADenseElements(raw) || !mlir_sys::mlirDenseElementsAttrIsSplat(raw) {
            return None;
        }
        let element = TensorType::from_type(Type::from_raw(mlir_sys::mlirAttributeGetType(raw))).ok()?.element;
        if element == ElementType::Bool {
            return Some(Scalar::Bool(mlir_sys::mlirDenseElementsAttrGetBoolValue(raw, 0)));
        }
        let data = mlir_sys::mlirDenseElementsAttrGetRawData(raw).cast::<u8>();
        Some(Tensor::from_bytes(element, &[1], std::slice::from_raw_parts(data, element.bytes())).ok()?.get(0))
    }
}

/// The element that a constant, or a broadcast of one, has everywhere.
pub fn splat_of(value: Value) -> Option<Scalar> {
    let producer = OperationResult::try_from(value).ok()?.owner();
    if let Some(broadcast) = Broadcast::cast(producer) {
        return splat_of(broadcast.input());
    }
    read_splat(Constant::cast(producer)?.value())
}

/// A `dense<...>` attribute with the elements of a tensor; equal elements make a splat.
pub fn write_constant<'c>(context: &'c Context, tensor: &Tensor) -> Attribute<'c> {
    dense(tensor.tensor_type().to_type(context), tensor)
}

/// Dense elements of `tensor` under a type of the same widths.
fn dense<'c>(r#type: Type<'c>, tensor: &Tensor) -> Attribute<'c> {
    let splat = tensor.count() > 0 && (1..tensor.count()).all(|i| tensor.get(i).to_bits() == tensor.get(0).to_bits());
    let count = if splat { 1 } else { tensor.count() };
    // SAFETY: the buffers hold `count` elements of the type's width.
    unsafe {
        if tensor.element() == ElementType::Bool {
            let bools: Vec<i32> = (0..count).map(|i| tensor.get(i).bool().into()).collect();
            let raw = mlir_sys::mlirDenseElementsAttrBoolGet(r#type.to_raw(), bools.len() as isize, bools.as_ptr());
            return Attribute::from_raw(raw);
        }
        let bytes = tensor.to_bytes();
        let size = count * tensor.element().bytes();
        Attribute::from_raw(mlir_sys::mlirDenseElementsAttrRawBufferGet(r#type.to_raw(), size, bytes.as_ptr().cast()))
    }
}

fn verify(op: OperationRef) -> Result<(), String> {
    let attribute = op.attribute("value").map_err(|e| e.to_string())?;
    let tensor = value(op)?;
    let bytes = tensor.count() * tensor.element().bytes();
    // SAFETY: `value` accepted the attribute as dense elements.
    if bytes > MAX_BYTES && !unsafe { mlir_sys::mlirDenseElementsAttrIsSplat(attribute.to_raw()) } {
        return Err(format!("constant of {bytes} bytes; constants above {MAX_BYTES} bytes are graph.weight"));
    }
    Ok(())
}

fn eval(_: &EvalContext, op: OperationRef, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
    Ok(vec![value(op)?])
}

fn lower<'c>(cx: &mut LowerContext<'c>, op: Op<'c>) -> Result<Vec<Val<'c>>, String> {
    let tensor = value(op)?;
    let r#type = cx.result_type(op, 0)?;
    let stored = cx.stored_type(&r#type);
    // Bool as the integer that stores it.
    let stored_tensor = match (tensor.element(), cx.storage(ElementType::Bool).to_string().as_str()) {
        (ElementType::Bool, "i8") => Tensor::from_fn(ElementType::I8, &tensor.shape, |i| tensor.get(i)),
        (ElementType::Bool, _) => Tensor::from_fn(ElementType::I32, &tensor.shape, |i| tensor.get(i)),
        _ => tensor,
    };
    debug_assert!(RankedTensorType::try_from(stored).is_ok());
    let value = cx.builder.value("arith.constant", &[], stored, &[("value", dense(stored, &stored_tensor))]);
    if !cx.has_destination(op, 0) {
        return Ok(vec![value]);
    }
    let destination = cx.destination(op, 0)?;
    Ok(vec![cx.copy(value, destination, r#type.element)])
}

impl Scalar {
    /// Equal only for equal values, NaN and zeros told apart.
    pub fn to_bits(self) -> (Class, u64) {
        match self {
            Self::Float(v) => (Class::Float, v.to_bits()),
            Self::Signed(v) => (Class::Signed, v as u64),
            Self::Unsigned(v) => (Class::Unsigned, v),
            Self::Bool(v) => (Class::Bool, v.into()),
        }
    }
}
