//! Element types and tensor types of the graph dialect, to and from MLIR types; names of a function's symbols.
//!
//! A tensor type with dynamic dims carries an affine map as encoding, one result per `?`, over as many symbols as the highest used plus one.
//! Refuses unranked tensors, missing or surplus encodings, and element types outside [`ElementType`].

use crate::dim::Dim;
use std::fmt;
use winze_mlir::{
    attributes::{self, AttributeValue},
    melior::{
        Context,
        ir::{
            AffineMap, Attribute, AttributeLike, OperationRef, Type, TypeLike, Value, ValueLike,
            r#type::{IntegerType, RankedTensorType, ShapedTypeLike},
        },
    },
    mlir_sys::{
        mlirAffineMapAttrGet, mlirAffineMapAttrGetValue, mlirAttributeIsAAffineMap, mlirShapedTypeGetDimSize, mlirShapedTypeGetDynamicSize,
        mlirTypeIsABF16, mlirTypeIsAF16, mlirTypeIsAF32, mlirTypeIsAF64,
    },
};

/// Attribute of a function: names of its symbols, `s0` first.
pub const SYMBOLS: &str = "graph.symbols";
/// Attribute of a function: largest values of its symbols, in order; the largest i64 is no bound.
pub const SYMBOL_BOUNDS: &str = "graph.symbol_bounds";
/// Attribute of arguments and results: the name of the model's input or output.
pub const NAME: &str = "graph.name";
/// Attribute of arguments and results: the model's element type, where the tensor only holds its elements (floats as codes).
pub const MODEL_TYPE: &str = "graph.model_type";
/// Attribute of a function: values of the symbols of the first function of its module that this one is a form for; the least i64 is any value.
pub const SPECIALIZES: &str = "graph.specializes";

/// Type of a tensor's elements. Signless integers of MLIR are signed; `i1` is bool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ElementType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

/// Which arithmetic an element type has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Float,
    Signed,
    Unsigned,
    Bool,
}

impl ElementType {
    pub const ALL: [Self; 13] = {
        use ElementType::*;
        [F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, Bool]
    };

    pub fn class(self) -> Class {
        use ElementType::*;
        match self {
            F64 | F32 | F16 | BF16 => Class::Float,
            I64 | I32 | I16 | I8 => Class::Signed,
            U64 | U32 | U16 | U8 => Class::Unsigned,
            Bool => Class::Bool,
        }
    }

    /// Width of the value; 1 for bool.
    pub fn bits(self) -> u32 {
        use ElementType::*;
        match self {
            F64 | I64 | U64 => 64,
            F32 | I32 | U32 => 32,
            F16 | BF16 | I16 | U16 => 16,
            I8 | U8 => 8,
            Bool => 1,
        }
    }

    /// Bytes of an element of a constant or a [`Tensor`](crate::tensor::Tensor).
    pub fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    pub fn is_float(self) -> bool {
        self.class() == Class::Float
    }

    /// As written in tensor types.
    pub fn name(self) -> &'static str {
        use ElementType::*;
        match self {
            F64 => "f64",
            F32 => "f32",
            F16 => "f16",
            BF16 => "bf16",
            I64 => "i64",
            I32 => "i32",
            I16 => "i16",
            I8 => "i8",
            U64 => "ui64",
            U32 => "ui32",
            U16 => "ui16",
            U8 => "ui8",
            Bool => "i1",
        }
    }

    pub fn from_type(r#type: Type) -> Result<Self, String> {
        // Asked for, not printed: every look at a tensor's type comes by here.
        let integer = IntegerType::try_from(r#type).ok().filter(|integer| !integer.is_signed());
        let raw = r#type.to_raw();
        let is = |element: &Self| match element {
            // SAFETY: questions to a live type.
            Self::F64 => unsafe { mlirTypeIsAF64(raw) },
            // SAFETY: as above.
            Self::F32 => unsafe { mlirTypeIsAF32(raw) },
            // SAFETY: as above.
            Self::F16 => unsafe { mlirTypeIsAF16(raw) },
            // SAFETY: as above.
            Self::BF16 => unsafe { mlirTypeIsABF16(raw) },
            _ => integer
                .is_some_and(|integer| integer.width() == element.bits() && integer.is_unsigned() == (element.class() == Class::Unsigned)),
        };
        let unsupported = || format!("element type {type} is not supported; use f64, f32, f16, bf16, i8 to i64, ui8 to ui64 or i1");
        Self::ALL.into_iter().find(is).ok_or_else(unsupported)
    }

    pub fn to_type(self, context: &Context) -> Type<'_> {
        use ElementType::*;
        match self {
            F64 => Type::float64(context),
            F32 => Type::float32(context),
            F16 => Type::float16(context),
            BF16 => Type::bfloat16(context),
            U64 | U32 | U16 | U8 => IntegerType::unsigned(context, self.bits()).into(),
            I64 | I32 | I16 | I8 | Bool => IntegerType::new(context, self.bits()).into(),
        }
    }

    /// Type of a value inside a kernel: signless.
    pub fn to_scalar_type(self, context: &Context) -> Type<'_> {
        if self.is_float() { self.to_type(context) } else { IntegerType::new(context, self.bits()).into() }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Element type and extents of a ranked tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorType {
    pub element: ElementType,
    pub dims: Vec<Dim>,
}

impl TensorType {
    pub fn new(element: ElementType, dims: Vec<Dim>) -> Self {
        Self { element, dims }
    }

    /// A type with static extents.
    pub fn fixed(element: ElementType, extents: &[i64]) -> Self {
        Self { element, dims: extents.iter().map(|extent| Dim::from(*extent)).collect() }
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The same extents with another element type.
    pub fn with_element(&self, element: ElementType) -> Self {
        Self { element, dims: self.dims.clone() }
    }

    /// Number of elements.
    pub fn count(&self) -> Dim {
        self.dims.iter().fold(Dim::from(1), |product, dim| &product * dim)
    }

    /// All extents, if all are static.
    pub fn static_shape(&self) -> Option<Vec<i64>> {
        self.dims.iter().map(Dim::as_static).collect()
    }

    /// Extents for given symbols.
    pub fn shape(&self, symbols: &[i64]) -> Result<Vec<usize>, String> {
        let extent = |dim: &Dim| {
            let value = dim.eval(symbols).ok_or_else(|| format!("extent {dim} needs more symbol values than {symbols:?}"))?;
            usize::try_from(value).map_err(|_| format!("extent {dim} is {value} for symbols {symbols:?}; extents are at least 0"))
        };
        self.dims.iter().map(extent).collect()
    }

    pub fn of(value: Value) -> Result<Self, String> {
        Self::from_type(value.r#type())
    }

    pub fn from_type(r#type: Type) -> Result<Self, String> {
        let tensor = RankedTensorType::try_from(r#type).map_err(|_| format!("{type} is not a ranked tensor"))?;
        let element = ElementType::from_type(tensor.element())?;
        // SAFETY: no arguments.
        let dynamic = unsafe { mlirShapedTypeGetDynamicSize() };
        // SAFETY: a live ranked tensor type, indices below its rank.
        let extents: Vec<i64> = unsafe { (0..tensor.rank()).map(|i| mlirShapedTypeGetDimSize(r#type.to_raw(), i as isize)).collect() };
        let unknown = extents.iter().filter(|extent| **extent == dynamic).count();
        let map = tensor.encoding().map(|encoding| read_map(encoding).ok_or(encoding)).transpose();
        let map = map.map_err(|encoding| format!("{type} has the encoding {encoding}; a graph tensor carries an affine map or nothing"))?;
        let results = map.map_or(0, |map| map.result_count());
        if results != unknown {
            return Err(format!("{type} has {unknown} dynamic dims and {results} extents in its encoding; give one result per '?'"));
        }
        let mut results = (0..results).map(|i| Dim::from_affine(map.expect("has results").result(i).expect("in range")));
        let dims = extents
            .into_iter()
            .map(|extent| if extent == dynamic { results.next().expect("one per dynamic dim") } else { Ok(Dim::from(extent)) })
            .collect::<Result<_, _>>()?;
        Ok(Self { element, dims })
    }

    pub fn to_type<'c>(&self, context: &'c Context) -> Type<'c> {
        let dynamic: Vec<&Dim> = self.dims.iter().filter(|dim| dim.as_static().is_none()).collect();
        let encoding = (!dynamic.is_empty()).then(|| dims_attribute(context, dynamic.into_iter()));
        RankedTensorType::new(&self.extents(), self.element.to_type(context), encoding).into()
    }

    /// Extents as MLIR counts them: dynamic ones have its sentinel.
    pub fn extents(&self) -> Vec<u64> {
        // SAFETY: no arguments.
        let dynamic = unsafe { mlirShapedTypeGetDynamicSize() };
        self.dims.iter().map(|dim| dim.as_static().unwrap_or(dynamic) as u64).collect()
    }
}

/// Extents as an affine-map attribute over symbols, as tensor encodings and `winze.dims` hold them.
pub fn dims_attribute<'c, 'd>(context: &'c Context, dims: impl Iterator<Item = &'d Dim> + Clone) -> Attribute<'c> {
    let symbols = dims.clone().map(Dim::symbol_count).max().unwrap_or(0);
    let exprs: Vec<_> = dims.map(|dim| dim.to_affine(context)).collect();
    let map = AffineMap::new(context, 0, symbols as usize, &exprs);
    // SAFETY: the map belongs to `context`.
    unsafe { Attribute::from_raw(mlirAffineMapAttrGet(map.to_raw())) }
}

/// Extents in such an attribute.
pub fn dims_of_attribute(attribute: Attribute) -> Result<Vec<Dim>, String> {
    let map = read_map(attribute).ok_or_else(|| format!("{attribute} is no affine map"))?;
    (0..map.result_count()).map(|i| Dim::from_affine(map.result(i).map_err(|e| e.to_string())?)).collect()
}

/// Extents that an op computes with though none of its types has them: starts of boxes.
pub fn starts_of(op: OperationRef) -> Vec<Dim> {
    attributes::get(op, "starts").and_then(|starts: Attribute| dims_of_attribute(starts).ok()).unwrap_or_default()
}

fn read_map<'c>(attribute: Attribute<'c>) -> Option<AffineMap<'c>> {
    // SAFETY: guarded by the type check.
    unsafe { mlirAttributeIsAAffineMap(attribute.to_raw()).then(|| AffineMap::from_raw(mlirAffineMapAttrGetValue(attribute.to_raw()))) }
}

/// Names of the symbols of a function, `s0` first; empty where it has none.
pub fn symbol_names(function: OperationRef) -> Vec<String> {
    attributes::get(function, SYMBOLS).unwrap_or_default()
}

/// Names the symbols of a function.
pub fn set_symbol_names<'c>(context: &'c Context, function: OperationRef<'c, '_>, names: Vec<String>) {
    attributes::set(function, SYMBOLS, names.to_attribute(context));
}

/// An axis as an index, if it is one of `rank` axes.
pub fn check_axis(axis: i64, rank: usize) -> Result<usize, String> {
    usize::try_from(axis)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} is outside the {rank} axes of the tensor; count from 0"))
}

/// Axes as distinct indices.
pub fn check_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let checked = axes.iter().map(|axis| check_axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    match (1..checked.len()).find(|i| checked[..*i].contains(&checked[*i])) {
        Some(i) => Err(format!("axis {} is named twice", checked[i])),
        None => Ok(checked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_round_trip() {
        let context = Context::new();
        for text in [
            "tensor<f32>",
            "tensor<2x0xui8>",
            "tensor<4xi1>",
            "tensor<?x3x?xbf16, affine_map<()[s0, s1] -> (s0, s1 floordiv 2)>>",
            "tensor<?x?xf32, affine_map<()[s0, s1] -> (s1, s0 * s1 + 1)>>",
            "tensor<?xi64, affine_map<()[s0] -> (s0 mod 4)>>",
        ] {
            let parsed = Type::parse(&context, text).unwrap();
            let tensor = TensorType::from_type(parsed).unwrap();
            assert_eq!(tensor.to_type(&context), parsed, "{text}");
        }
    }

    #[test]
    fn malformed_types_are_refused() {
        let context = Context::new();
        for (text, message) in [
            ("tensor<*xf32>", "not a ranked tensor"),
            ("tensor<?xf32>", "1 dynamic dims and 0 extents"),
            ("tensor<2xf32, affine_map<()[s0] -> (s0)>>", "0 dynamic dims and 1 extents"),
            ("tensor<?xf32, affine_map<(d0) -> (d0)>>", "loop dim"),
            ("tensor<?xf32, 3>", "affine map or nothing"),
            ("tensor<2xi4>", "element type i4 is not supported"),
        ] {
            let error = TensorType::from_type(Type::parse(&context, text).unwrap()).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
