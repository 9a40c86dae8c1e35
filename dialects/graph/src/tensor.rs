//! Tensors as plain arrays, for reference evaluation and constant folding: row-major, one typed `Vec` per element type.

use crate::types::{Class, ElementType, TensorType};
use half::{bf16, f16};

/// Elements of a tensor.
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    F64(Vec<f64>),
    F32(Vec<f32>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    I8(Vec<i8>),
    U64(Vec<u64>),
    U32(Vec<u32>),
    U16(Vec<u16>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// One element, in the widest type of its class. Integers are always in the range of their element type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    Float(f64),
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
}

impl Scalar {
    /// The value of a float; other classes convert.
    pub fn f64(self) -> f64 {
        match self {
            Self::Float(v) => v,
            Self::Signed(v) => v as f64,
            Self::Unsigned(v) => v as f64,
            Self::Bool(v) => v.into(),
        }
    }

    /// The value as a signed integer; unsigned ones keep their bits, floats truncate and saturate.
    pub fn i64(self) -> i64 {
        match self {
            Self::Float(v) => v as i64,
            Self::Signed(v) => v,
            Self::Unsigned(v) => v as i64,
            Self::Bool(v) => v.into(),
        }
    }

    /// The bits of an integer as an unsigned one; floats truncate and saturate.
    pub fn u64(self) -> u64 {
        match self {
            Self::Float(v) => v as u64,
            Self::Signed(v) => v as u64,
            Self::Unsigned(v) => v,
            Self::Bool(v) => v.into(),
        }
    }

    /// False for zero.
    pub fn bool(self) -> bool {
        match self {
            Self::Float(v) => v != 0.0,
            Self::Signed(v) => v != 0,
            Self::Unsigned(v) => v != 0,
            Self::Bool(v) => v,
        }
    }

    /// The number `value` in the class of `element`.
    pub fn of(element: ElementType, value: i64) -> Self {
        match element.class() {
            Class::Float => Self::Float(value as f64),
            Class::Signed => Self::Signed(value),
            Class::Unsigned => Self::Unsigned(value as u64),
            Class::Bool => Self::Bool(value != 0),
        }
    }

    /// The value as an element of `element` has it: floats rounded, integers wrapped.
    pub fn wrap(self, element: ElementType) -> Self {
        let mut one = Tensor::zeros(element, &[1]);
        one.set(0, self);
        one.get(0)
    }
}

/// A tensor. The number of elements is the product of the shape.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

macro_rules! with_data {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            Data::F64($values) => $body,
            Data::F32($values) => $body,
            Data::F16($values) => $body,
            Data::BF16($values) => $body,
            Data::I64($values) => $body,
            Data::I32($values) => $body,
            Data::I16($values) => $body,
            Data::I8($values) => $body,
            Data::U64($values) => $body,
            Data::U32($values) => $body,
            Data::U16($values) => $body,
            Data::U8($values) => $body,
            Data::Bool($values) => $body,
        }
    };
}

/// A Rust type that elements have.
trait Element: Copy + Default {
    const SIZE: usize;
    fn to_scalar(self) -> Scalar;
    /// Floats round, integers wrap.
    fn from_scalar(scalar: Scalar) -> Self;
    fn write(self, bytes: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($type:ty, $class:ident($wide:ty), $to:expr, $from:expr) => {
        impl Element for $type {
            const SIZE: usize = size_of::<$type>();

            fn to_scalar(self) -> Scalar {
                let to: fn($type) -> $wide = $to;
                Scalar::$class(to(self))
            }

            fn from_scalar(scalar: Scalar) -> Self {
                let from: fn(Scalar) -> $type = $from;
                from(scalar)
            }

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("a chunk of the element's size"))
            }
        }
    };
}

element!(f64, Float(f64), |v| v, |s| s.f64());
element!(f32, Float(f64), |v| v.into(), |s| s.f64() as f32);
element!(f16, Float(f64), |v| v.into(), |s| f16::from_f64(s.f64()));
element!(bf16, Float(f64), |v| v.into(), |s| bf16::from_f64(s.f64()));
element!(i64, Signed(i64), |v| v, |s| s.i64());
element!(i32, Signed(i64), |v| v.into(), |s| s.i64() as i32);
element!(i16, Signed(i64), |v| v.into(), |s| s.i64() as i16);
element!(i8, Signed(i64), |v| v.into(), |s| s.i64() as i8);
element!(u64, Unsigned(u64), |v| v, |s| s.u64());
element!(u32, Unsigned(u64), |v| v.into(), |s| s.u64() as u32);
element!(u16, Unsigned(u64), |v| v.into(), |s| s.u64() as u16);
element!(u8, Unsigned(u64), |v| v.into(), |s| s.u64() as u8);

impl Element for bool {
    const SIZE: usize = 1;

    fn to_scalar(self) -> Scalar {
        Scalar::Bool(self)
    }

    fn from_scalar(scalar: Scalar) -> Self {
        scalar.bool()
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.push(self.into());
    }

    fn read(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
}

impl Tensor {
    /// All elements 0 or false.
    pub fn zeros(element: ElementType, shape: &[usize]) -> Self {
        let count = shape.iter().product();
        fn zeros<T: Element>(count: usize) -> Vec<T> {
            vec![T::default(); count]
        }
        let data = match element {
            ElementType::F64 => Data::F64(zeros(count)),
            ElementType::F32 => Data::F32(zeros(count)),
            ElementType::F16 => Data::F16(zeros(count)),
            ElementType::BF16 => Data::BF16(zeros(count)),
            ElementType::I64 => Data::I64(zeros(count)),
            ElementType::I32 => Data::I32(zeros(count)),
            ElementType::I16 => Data::I16(zeros(count)),
            ElementType::I8 => Data::I8(zeros(count)),
            ElementType::U64 => Data::U64(zeros(count)),
            ElementType::U32 => Data::U32(zeros(count)),
            ElementType::U16 => Data::U16(zeros(count)),
            ElementType::U8 => Data::U8(zeros(count)),
            ElementType::Bool => Data::Bool(zeros(count)),
        };
        Self { shape: shape.to_vec(), data }
    }

    /// Every element computed from its linear index.
    pub fn from_fn(element: ElementType, shape: &[usize], mut compute: impl FnMut(usize) -> Scalar) -> Self {
        let mut tensor = Self::zeros(element, shape);
        for i in 0..tensor.count() {
            tensor.set(i, compute(i));
        }
        tensor
    }

    /// Every element computed from its index along each axis.
    pub fn from_index_fn(element: ElementType, shape: &[usize], mut compute: impl FnMut(&[usize]) -> Scalar) -> Self {
        let mut index = vec![0; shape.len()];
        Self::from_fn(element, shape, |i| {
            if i > 0 {
                for axis in (0..shape.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < shape[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
            }
            compute(&index)
        })
    }

    pub fn scalar(element: ElementType, value: Scalar) -> Self {
        Self::from_fn(element, &[], |_| value)
    }

    pub fn element(&self) -> ElementType {
        match &self.data {
            Data::F64(_) => ElementType::F64,
            Data::F32(_) => ElementType::F32,
            Data::F16(_) => ElementType::F16,
            Data::BF16(_) => ElementType::BF16,
            Data::I64(_) => ElementType::I64,
            Data::I32(_) => ElementType::I32,
            Data::I16(_) => ElementType::I16,
            Data::I8(_) => ElementType::I8,
            Data::U64(_) => ElementType::U64,
            Data::U32(_) => ElementType::U32,
            Data::U16(_) => ElementType::U16,
            Data::U8(_) => ElementType::U8,
            Data::Bool(_) => ElementType::Bool,
        }
    }

    pub fn tensor_type(&self) -> TensorType {
        TensorType::fixed(self.element(), &self.shape.iter().map(|extent| *extent as i64).collect::<Vec<_>>())
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn count(&self) -> usize {
        with_data!(&self.data, values => values.len())
    }

    /// Element at a linear index.
    pub fn get(&self, i: usize) -> Scalar {
        with_data!(&self.data, values => values[i].to_scalar())
    }

    /// Writes the element at a linear index: floats round, integers wrap, bool is `!= 0`.
    pub fn set(&mut self, i: usize, value: Scalar) {
        with_data!(&mut self.data, values => values[i] = Element::from_scalar(value))
    }

    /// Element at an index along each axis.
    pub fn at(&self, index: &[usize]) -> Scalar {
        self.get(index.iter().zip(&self.shape).fold(0, |linear, (i, extent)| linear * extent + i))
    }

    /// The same elements under another shape.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self, String> {
        if shape.iter().product::<usize>() != self.count() {
            return Err(format!("{} elements of shape {:?} do not fill shape {shape:?}", self.count(), self.shape));
        }
        Ok(Self { shape: shape.to_vec(), data: self.data.clone() })
    }

    /// Little-endian bytes; bool is one byte, 0 or 1.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.count() * self.element().bytes());
        with_data!(&self.data, values => values.iter().for_each(|value| value.write(&mut bytes)));
        bytes
    }

    /// From little-endian bytes.
    pub fn from_bytes(element: ElementType, shape: &[usize], bytes: &[u8]) -> Result<Self, String> {
        fn fill<T: Element>(values: &mut [T], bytes: &[u8]) {
            for (value, chunk) in values.iter_mut().zip(bytes.chunks_exact(T::SIZE)) {
                *value = T::read(chunk);
            }
        }
        let size = shape.iter().try_fold(element.bytes(), |size, extent| size.checked_mul(*extent));
        if size != Some(bytes.len()) {
            return Err(format!("{} bytes do not fill a tensor of shape {shape:?} and element type {element}", bytes.len()));
        }
        let mut tensor = Self::zeros(element, shape);
        with_data!(&mut tensor.data, values => fill(values, bytes));
        Ok(tensor)
    }
}

/// A Rust type whose slices make tensors.
pub trait TensorElement: Copy {
    fn data(values: Vec<Self>) -> Data;
}

macro_rules! tensor_element {
    ($($type:ty => $variant:ident),*) => {
        $(impl TensorElement for $type {
            fn data(values: Vec<Self>) -> Data {
                Data::$variant(values)
            }
        })*
    };
}
tensor_element!(f64 => F64, f32 => F32, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, i16 => I16, i8 => I8,
                u64 => U64, u32 => U32, u16 => U16, u8 => U8, bool => Bool);

impl Tensor {
    /// A tensor from a shape and its elements; their numbers must agree.
    pub fn new<T: TensorElement>(shape: &[usize], values: &[T]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "elements of shape {shape:?}");
        Self { shape: shape.to_vec(), data: T::data(values.to_vec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_for_every_element_type() {
        for element in ElementType::ALL {
            let tensor = Tensor::from_fn(element, &[2, 3], |i| Scalar::of(element, i as i64));
            assert_eq!(tensor.element(), element);
            let bytes = tensor.to_bytes();
            assert_eq!(bytes.len(), 6 * element.bytes());
            assert_eq!(Tensor::from_bytes(element, &[2, 3], &bytes).unwrap(), tensor);
            assert!(Tensor::from_bytes(element, &[2, 4], &bytes).is_err());
        }
    }

    #[test]
    fn storing_rounds_and_wraps() {
        assert_eq!(Scalar::Signed(200).wrap(ElementType::I8), Scalar::Signed(-56));
        assert_eq!(Scalar::Unsigned(300).wrap(ElementType::U8), Scalar::Unsigned(44));
        assert_eq!(Scalar::Float(1.0 + 1e-4).wrap(ElementType::BF16), Scalar::Float(1.0));
        assert_eq!(Tensor::new(&[2, 2], &[1i32, 2, 3, 4]).at(&[1, 0]), Scalar::Signed(3));
    }
}
