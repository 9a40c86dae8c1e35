//! Attribute values to and from Rust types, as the generated op wrappers use them.

use melior::{
    Context,
    ir::{
        Attribute, AttributeLike, OperationRef, Type, TypeLike,
        attribute::{ArrayAttribute, DenseI32ArrayAttribute, DenseI64ArrayAttribute, FloatAttribute, IntegerAttribute, StringAttribute},
        operation::OperationLike,
        r#type::IntegerType,
    },
};

/// A Rust value with an attribute form.
pub trait AttributeValue<'c>: Sized {
    fn from_attribute(attribute: Attribute<'c>) -> Option<Self>;
    fn to_attribute(self, context: &'c Context) -> Attribute<'c>;
}

/// Attribute `name` of `op` as a Rust value; `None` if absent or of another kind.
pub fn get<'c, T: AttributeValue<'c>>(op: OperationRef<'c, '_>, name: &str) -> Option<T> {
    T::from_attribute(op.attribute(name).ok()?)
}

/// An entry of a dictionary as a Rust value; `None` if absent or of another kind.
pub fn entry<'c, T: AttributeValue<'c>>(dictionary: Attribute<'c>, name: &str) -> Option<T> {
    // SAFETY: guarded by the type check; a missing entry is a null attribute.
    let raw = unsafe {
        if !mlir_sys::mlirAttributeIsADictionary(dictionary.to_raw()) {
            return None;
        }
        mlir_sys::mlirDictionaryAttrGetElementByName(dictionary.to_raw(), crate::str_to_raw(name))
    };
    // SAFETY: not null, and as old as the dictionary.
    if raw.ptr.is_null() { None } else { T::from_attribute(unsafe { Attribute::from_raw(raw) }) }
}

/// An entry of the dictionary that a function has for argument or result `i`; `list` is `arg_attrs` or `res_attrs`.
pub fn port_entry<'c, T: AttributeValue<'c>>(func: OperationRef<'c, '_>, list: &str, i: usize, name: &str) -> Option<T> {
    let list = ArrayAttribute::try_from(get::<Attribute>(func, list)?).ok()?;
    entry(list.element(i).ok()?, name)
}

/// Sets or replaces attribute `name`.
pub fn set<'c>(op: OperationRef<'c, '_>, name: &str, value: Attribute<'c>) {
    // SAFETY: op and value are live; the name is copied.
    unsafe { mlir_sys::mlirOperationSetAttributeByName(op.to_raw(), crate::str_to_raw(name), value.to_raw()) }
}

impl<'c> AttributeValue<'c> for i64 {
    fn from_attribute(attribute: Attribute<'c>) -> Option<Self> {
        IntegerAttribute::try_from(attribute).ok().map(|integer| integer.value())
    }

    fn to_attribute(self, context: &'c Context) -> Attribute<'c> {
        IntegerAttribute::new(IntegerType::new(context, 64).into(), self).into()
    }
}

impl<'c> AttributeValue<'c> for f64 {
    fn from_attribute(attribute: Attribute<'c>) -> Option<Self> {
        FloatAttribute::try_from(attribute).ok().map(|float| float.value())
    }

    fn to_attribute(self, context: &'c Context) -> Attribute<'c> {
        FloatAttribute::new(context, Type::float64(context), self).into()
    }
}

impl<'c> AttributeValue<'c> for Vec<i64> {
    fn from_attribute(attribute: Attribute<'c>) -> Option<Self> {
        let array = DenseI64ArrayAttribute::try_from(attribute).ok()?;
        (0..array.len()).map(|i| array.element(i).ok()).collect()
    }

    fn to_attribute(self, context: &'c Context) -> Attribute<'c> {
        DenseI64ArrayAttribute::new(context, &self).into()
    }
}

impl<'c> AttributeValue<'c> for String {
    fn from_attribute(attribute: Attribute<'c>) -> Option<Self> {
        StringAttribute::try_from(attribute).ok().map(|string| string.value().to_string())
    }

    fn to_attribute(self, context: &'c Context) -> Attribute<'c> {
        StringAttribute::new(context, &self).into()
    }
}

impl<'c> AttributeValue<'c> for Vec<String> {
    fn from_attribute(attribute: Attribute<'c>) -> Option<Self> {
        let array = ArrayAttribute::try_from(attribute).ok()?;
        (0..array.len()).map(|i| String::from_attribute(array.element(i).ok()?)).collect()
    }

    fn to_attribute(self, context: &'c Context) -> Attribute<'c> {
        let strings: Vec<Attribute> = self.into_iter().map(|string| string.to_attribute(context)).collect();
        ArrayAttribute::new(context, &strings).into()
    }
}

impl<'c> AttributeValue<'c> for Attribute<'c> {
    fn from_attribute(attribute: Attribute<'c>) -> Option<Self> {
        Some(attribute)
    }

    fn to_attribute(self, _: &'c Context) -> Attribute<'c> {
        self
    }
}

/// Width of an integer or float type in bits; `None` for anything else.
pub fn bit_width(r#type: Type) -> Option<u32> {
    // SAFETY: each query is guarded by its type check.
    unsafe {
        let raw = r#type.to_raw();
        if mlir_sys::mlirTypeIsAInteger(raw) {
            Some(mlir_sys::mlirIntegerTypeGetWidth(raw))
        } else if mlir_sys::mlirTypeIsAFloat(raw) {
            Some(mlir_sys::mlirFloatTypeGetWidth(raw))
        } else {
            None
        }
    }
}

/// `operandSegmentSizes` of an op with several variadic operands.
pub fn segment_sizes(op: OperationRef) -> Vec<usize> {
    let sizes = op.attribute("operandSegmentSizes").ok().and_then(|a| DenseI32ArrayAttribute::try_from(a).ok());
    let sizes = sizes.expect("verified");
    (0..sizes.len()).map(|i| sizes.element(i).expect("in range") as usize).collect()
}

/// Attribute form of operand segment sizes.
pub fn segments<'c>(context: &'c Context, sizes: &[i32]) -> Attribute<'c> {
    DenseI32ArrayAttribute::new(context, sizes).into()
}
