//! Element types of ONNX that the graph dialect lacks: integers of 2 and 4 bits, floats of 4 to 8.
//!
//! A tensor of one is a graph tensor of i8 or ui8: integers as their values, floats as their codes in the lowest bits. Its type stands beside it in
//! [`Tensor`]. Operators that move elements keep it, those that convert elements (ops/cast.rs, ops/quantize.rs) know it, all others refuse it.

use super::{
    error::Failure,
    importer::domain,
    proto::{NodeProto, data_type},
    value::Tensor,
};
use std::fmt;
use winze_graph::types::ElementType;

/// A type of less than 8 bits, or a float of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    pub name: &'static str,
    pub bits: u32,
    pub form: NarrowForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NarrowForm {
    Signed,
    Unsigned,
    Float(FloatFormat),
    /// A power of two without sign: exponents that count from -127, the last of which is NaN.
    Exponent,
}

/// Sign, exponent and fraction, from the highest bit down; exponent 0 is that of 1 without the leading one, as in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatFormat {
    pub exponent: u32,
    pub mantissa: u32,
    pub bias: u32,
    pub specials: Specials,
}

/// Codes that are no finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// The highest exponent is infinity and NaN.
    Ieee,
    /// All ones is NaN; no infinity.
    OneNan,
    /// The sign alone is NaN; no infinity and no negative zero.
    NanForNegativeZero,
    None,
}

impl FloatFormat {
    /// The bit of the sign; those below it are the magnitude.
    pub fn sign(&self) -> u32 {
        self.exponent + self.mantissa
    }

    /// Magnitude of the largest finite number.
    pub fn largest(&self) -> u32 {
        let all = (1 << self.sign()) - 1;
        match self.specials {
            Specials::Ieee => all - (1 << self.mantissa),
            Specials::OneNan => all - 1,
            Specials::NanForNegativeZero | Specials::None => all,
        }
    }

    /// Code of NaN; where there is none, that of ONNX's reference for it.
    pub fn nan(&self) -> u32 {
        let all = (1 << self.sign()) - 1;
        match self.specials {
            Specials::Ieee => self.beyond() + (1 << (self.mantissa - 1)),
            Specials::OneNan => all,
            Specials::NanForNegativeZero | Specials::None => 1 << self.sign(),
        }
    }

    /// Code of what is beyond the largest number, where it is not taken for that.
    pub fn beyond(&self) -> u32 {
        match self.specials {
            Specials::Ieee => self.largest() + 1,
            Specials::None => self.largest(),
            _ => self.nan(),
        }
    }
}

const fn integer(name: &'static str, bits: u32, form: NarrowForm) -> Narrow {
    Narrow { name, bits, form }
}

const fn float(name: &'static str, [exponent, mantissa, bias]: [u32; 3], specials: Specials) -> Narrow {
    Narrow { name, bits: 1 + exponent + mantissa, form: NarrowForm::Float(FloatFormat { exponent, mantissa, bias, specials }) }
}

/// Each with its number in ONNX.
static TYPES: &[(i32, Narrow)] = &[
    (data_type::FLOAT8E4M3FN, float("float8e4m3fn", [4, 3, 7], Specials::OneNan)),
    (data_type::FLOAT8E4M3FNUZ, float("float8e4m3fnuz", [4, 3, 8], Specials::NanForNegativeZero)),
    (data_type::FLOAT8E5M2, float("float8e5m2", [5, 2, 15], Specials::Ieee)),
    (data_type::FLOAT8E5M2FNUZ, float("float8e5m2fnuz", [5, 2, 16], Specials::NanForNegativeZero)),
    (data_type::UINT4, integer("uint4", 4, NarrowForm::Unsigned)),
    (data_type::INT4, integer("int4", 4, NarrowForm::Signed)),
    (data_type::FLOAT4E2M1, float("float4e2m1", [2, 1, 1], Specials::None)),
    (data_type::FLOAT8E8M0, Narrow { name: "float8e8m0", bits: 8, form: NarrowForm::Exponent }),
    (data_type::UINT2, integer("uint2", 2, NarrowForm::Unsigned)),
    (data_type::INT2, integer("int2", 2, NarrowForm::Signed)),
    (data_type::FLOAT6E2M3, float("float6e2m3", [2, 3, 1], Specials::None)),
    (data_type::FLOAT6E3M2, float("float6e3m2", [3, 2, 3], Specials::None)),
];

impl Narrow {
    /// The type in the graph dialect.
    pub fn storage(&self) -> ElementType {
        if self.form == NarrowForm::Signed { ElementType::I8 } else { ElementType::U8 }
    }

    pub fn is_float(&self) -> bool {
        matches!(self.form, NarrowForm::Float(_) | NarrowForm::Exponent)
    }

    /// Least and largest integer.
    pub fn range(&self) -> [f64; 2] {
        let count = f64::from(1u32 << self.bits);
        if self.form == NarrowForm::Signed { [-count / 2.0, count / 2.0 - 1.0] } else { [0.0, count - 1.0] }
    }
}

/// An element type of a model: one of the graph dialect, and if it only stands for a narrower one, that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelType {
    pub element: ElementType,
    pub narrow: Option<&'static Narrow>,
}

impl ModelType {
    /// The type with a number of ONNX.
    pub fn of_number(number: i32) -> Result<Self, Failure> {
        match TYPES.iter().find(|(known, _)| *known == number) {
            Some((_, narrow)) => Ok(Self { element: narrow.storage(), narrow: Some(narrow) }),
            None => Ok(super::tensor::element_type(number)?.into()),
        }
    }
}

impl From<ElementType> for ModelType {
    fn from(element: ElementType) -> Self {
        Self { element, narrow: None }
    }
}

impl fmt::Display for ModelType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.narrow {
            Some(narrow) => f.write_str(narrow.name),
            None => self.element.fmt(f),
        }
    }
}

/// ONNX's name of a narrow type.
pub fn name_of(number: i32) -> Option<&'static str> {
    TYPES.iter().find(|(known, _)| *known == number).map(|(_, narrow)| narrow.name)
}

/// The type of all elements that an operator takes from its inputs as they are; an error if it does something else with narrow ones, or mixes types. `None`:
/// it moves none, or makes elements of its own.
pub fn moved(node: &NodeProto, inputs: &[Option<Tensor>]) -> Result<Option<&'static Narrow>, Failure> {
    let narrow = |i: usize| inputs.get(i)?.as_ref()?.narrow;
    let Some((first, r#type)) = (0..inputs.len()).find_map(|i| Some((i, narrow(i)?))) else { return Ok(None) };
    let operator = if domain(&node.domain).is_empty() { node.op_type.as_str() } else { "" };
    let elements = match operator {
        "Cast" | "CastLike" | "BitCast" | "QuantizeLinear" | "DequantizeLinear" | "IsNaN" | "IsInf" | "Shape" | "Size" => return Ok(None),
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Slice" | "Split" | "Gather" | "GatherElements"
        | "GatherND" | "Compress" | "Expand" | "Tile" | "DepthToSpace" | "SpaceToDepth" => vec![0],
        "Concat" => (0..inputs.len()).collect(),
        "Where" => vec![1, 2],
        "ScatterND" | "ScatterElements" if !node.attribute.iter().any(|attribute| attribute.name == "reduction") => vec![0, 2],
        // Its elements are 0 where none are given, which this type lacks.
        "Pad" if r#type.form != NarrowForm::Exponent => vec![0, 2],
        _ => return Failure::unsupported(format!("element type {} of input {first}", r#type.name)),
    };
    let given = |i: usize| inputs.get(i).is_some_and(|input| input.is_some());
    match (0..inputs.len()).find(|i| given(*i) && elements.contains(i) != narrow(*i).is_some() || narrow(*i).is_some_and(|n| n != r#type)) {
        Some(i) => {
            let other = inputs[i].as_ref().map_or_else(String::new, |input| input.model_type().to_string());
            Failure::invalid(format!("element type {} of input {first}, and {other} of input {i}", r#type.name))
        }
        None => Ok(Some(r#type)),
    }
}
