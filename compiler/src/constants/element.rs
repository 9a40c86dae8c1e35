//! Element conversion, as `graph.convert` defines it.
//!
//! Float to integer truncates toward zero and saturates, NaN gives 0; integer to a narrower integer wraps; to bool is `!= 0`; floats round
//! to nearest even, once.

use half::{bf16, f16};
use winze_graph::types::ElementType::{self, *};

/// One element, wide enough to hold any type exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    Float(f64),
    Signed(i64),
    Unsigned(u64),
}

impl Scalar {
    /// Reads an element. `bytes` has the size of `element`.
    pub fn read(element: ElementType, bytes: &[u8]) -> Self {
        macro_rules! number {
            ($t:ty) => {
                <$t>::from_le_bytes(bytes.try_into().expect("one element"))
            };
        }
        match element {
            Bool => Self::Unsigned(u64::from(bytes[0] != 0)),
            I8 => Self::Signed(number!(i8).into()),
            I16 => Self::Signed(number!(i16).into()),
            I32 => Self::Signed(number!(i32).into()),
            I64 => Self::Signed(number!(i64)),
            U8 => Self::Unsigned(bytes[0].into()),
            U16 => Self::Unsigned(number!(u16).into()),
            U32 => Self::Unsigned(number!(u32).into()),
            U64 => Self::Unsigned(number!(u64)),
            F16 => Self::Float(number!(f16).to_f64()),
            BF16 => Self::Float(number!(bf16).to_f64()),
            F32 => Self::Float(number!(f32).into()),
            F64 => Self::Float(number!(f64)),
        }
    }

    /// The element as reference evaluation holds it.
    pub fn to_graph(self, element: ElementType) -> winze_graph::tensor::Scalar {
        match self {
            Self::Unsigned(x) if element == Bool => winze_graph::tensor::Scalar::Bool(x != 0),
            Self::Float(x) => winze_graph::tensor::Scalar::Float(x),
            Self::Signed(x) => winze_graph::tensor::Scalar::Signed(x),
            Self::Unsigned(x) => winze_graph::tensor::Scalar::Unsigned(x),
        }
    }

    /// The reverse of [`Self::to_graph`].
    pub fn from_graph(scalar: winze_graph::tensor::Scalar) -> Self {
        match scalar {
            winze_graph::tensor::Scalar::Float(x) => Self::Float(x),
            winze_graph::tensor::Scalar::Signed(x) => Self::Signed(x),
            winze_graph::tensor::Scalar::Unsigned(x) => Self::Unsigned(x),
            winze_graph::tensor::Scalar::Bool(x) => Self::Unsigned(x.into()),
        }
    }

    /// Appends the element, converted to `element`.
    pub fn write(self, element: ElementType, out: &mut Vec<u8>) {
        macro_rules! integer {
            ($t:ty) => {
                match self {
                    // Rust's float-to-integer casts truncate, saturate and turn NaN into 0; integer casts wrap.
                    Self::Float(x) => out.extend((x as $t).to_le_bytes()),
                    Self::Signed(x) => out.extend((x as $t).to_le_bytes()),
                    Self::Unsigned(x) => out.extend((x as $t).to_le_bytes()),
                }
            };
        }
        match element {
            Bool => out.push(u8::from(match self {
                Self::Float(x) => x != 0.0,
                Self::Signed(x) => x != 0,
                Self::Unsigned(x) => x != 0,
            })),
            I8 => integer!(i8),
            I16 => integer!(i16),
            I32 => integer!(i32),
            I64 => integer!(i64),
            U8 => integer!(u8),
            U16 => integer!(u16),
            U32 => integer!(u32),
            U64 => integer!(u64),
            F16 => out.extend(f16::from_f64(self.to_f64()).to_le_bytes()),
            BF16 => out.extend(bf16::from_f64(self.to_f64()).to_le_bytes()),
            F32 => integer!(f32),
            F64 => integer!(f64),
        }
    }

    pub fn to_f64(self) -> f64 {
        match self {
            Self::Float(x) => x,
            Self::Signed(x) => x as f64,
            Self::Unsigned(x) => x as f64,
        }
    }

    /// The value, if it is an integer type's and fits.
    pub fn to_i64(self) -> Option<i64> {
        match self {
            Self::Float(_) => None,
            Self::Signed(x) => Some(x),
            Self::Unsigned(x) => i64::try_from(x).ok(),
        }
    }
}

/// Converts whole elements from one type to another, appending to `out`.
pub fn cast_bytes(from: ElementType, to: ElementType, input: &[u8], out: &mut Vec<u8>) {
    if from == to {
        return out.extend_from_slice(input);
    }
    for element in input.chunks_exact(from.bytes()) {
        Scalar::read(from, element).write(to, out);
    }
}
