//! Tensors in host memory: borrowed views, owned tensors, element types by name, conversion between host and stored element types.

use crate::{
    artifact::manifest::ElementType,
    error::{Error, Result},
    memory::AlignedBytes,
};
use half::{bf16, f16};
use std::fmt;

impl ElementType {
    pub const ALL: [Self; 13] = [
        Self::Bool,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
    ];

    /// As in messages and IR: `f32`, `bf16`, `i64`, `ui8`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "ui8",
            Self::U16 => "ui16",
            Self::U32 => "ui32",
            Self::U64 => "ui64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `f32[2 x 3]`, `i64[]`: an element type and extents, for messages.
pub struct Shape<'a>(pub ElementType, pub &'a [i64]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.0)?;
        for (i, dim) in self.1.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { " x " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// Number of elements; `None` if negative or too large.
pub fn element_count(dims: &[i64]) -> Option<u64> {
    if dims.contains(&0) {
        return dims.iter().all(|d| *d >= 0).then_some(0);
    }
    dims.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?))
}

/// A tensor in the caller's memory.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    pub element: ElementType,
    pub dims: &'a [i64],
    /// Distance of neighbours per dim, in elements, not negative; `None` is C order without gaps.
    pub strides: Option<&'a [i64]>,
    pub data: &'a [u8],
}

impl<'a> TensorView<'a> {
    pub fn new(element: ElementType, dims: &'a [i64], data: &'a [u8]) -> Self {
        Self { element, dims, strides: None, data }
    }

    pub fn of<T: Element>(dims: &'a [i64], data: &'a [T]) -> Self {
        Self::new(T::TYPE, dims, T::bytes(data))
    }

    pub fn shape(&self) -> Shape<'a> {
        Shape(self.element, self.dims)
    }

    /// The elements, if they are of this type, in C order and aligned.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        if T::TYPE != self.element || !self.is_direct() {
            return None;
        }
        // SAFETY: `Element` types have no invalid bit patterns, and `is_direct` checked alignment and size.
        Some(unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), self.data.len() / size_of::<T>()) })
    }

    /// Whether the data is C order without gaps, of the right size and aligned for its elements.
    pub fn is_direct(&self) -> bool {
        let size = self.element.bytes();
        self.is_c_order()
            && self.data.as_ptr().addr().is_multiple_of(size)
            && element_count(self.dims) == Some((self.data.len() / size) as u64)
            && self.data.len().is_multiple_of(size)
    }

    /// Whether the data is C order without gaps.
    pub fn is_c_order(&self) -> bool {
        let Some(strides) = self.strides else { return true };
        let mut expected = 1i64;
        strides.len() == self.dims.len()
            && strides.iter().zip(self.dims).rev().all(|(stride, dim)| {
                let fits = *dim <= 1 || *stride == expected;
                expected = expected.saturating_mul(*dim);
                fits
            })
    }

    /// Why the data does not hold the elements that dims and strides name.
    pub fn check(&self) -> std::result::Result<(), String> {
        let count = element_count(self.dims).ok_or("negative or too large dims")?;
        let size = self.element.bytes() as u64;
        let Some(strides) = self.strides else {
            return if Some(self.data.len() as u64) == count.checked_mul(size) {
                Ok(())
            } else {
                Err(format!("{} bytes of data", self.data.len()))
            };
        };
        if strides.len() != self.dims.len() || strides.iter().any(|s| *s < 0) {
            return Err(format!("strides {strides:?}"));
        }
        let last =
            strides.iter().zip(self.dims).try_fold(0u64, |n, (s, d)| n.checked_add((*s as u64).checked_mul((*d - 1).max(0) as u64)?));
        let needed = last.and_then(|last| last.checked_add(1)?.checked_mul(size));
        if count == 0 || needed.is_some_and(|needed| needed <= self.data.len() as u64) {
            return Ok(());
        }
        Err(format!("strides {strides:?} that leave its {} bytes of data", self.data.len()))
    }

    /// Copies the elements to C order. `check` has passed and `into` has the size.
    pub(crate) fn copy_to(&self, into: &mut [u8]) {
        let size = self.element.bytes();
        let Some(strides) = self.strides.filter(|_| !self.is_c_order()) else {
            into.copy_from_slice(&self.data[..into.len()]);
            return;
        };
        for (linear, out) in into.chunks_exact_mut(size).enumerate() {
            let (mut rest, mut at) = (linear, 0);
            for (dim, stride) in self.dims.iter().zip(strides).rev() {
                at += rest % *dim as usize * *stride as usize;
                rest /= *dim as usize;
            }
            out.copy_from_slice(&self.data[at * size..(at + 1) * size]);
        }
    }
}

/// A tensor that owns its elements, in C order, 64-byte aligned.
#[derive(Debug)]
pub struct Tensor {
    element: ElementType,
    dims: Vec<i64>,
    bytes: usize,
    data: AlignedBytes,
}

impl Tensor {
    /// All zero.
    pub fn zeros(element: ElementType, dims: &[i64]) -> Result<Self> {
        let mut tensor = Self::empty(element);
        tensor.reshape(dims)?;
        Ok(tensor)
    }

    /// A copy of a view of any strides.
    pub fn from_view(view: &TensorView<'_>) -> Result<Self> {
        view.check().map_err(|why| Error::Bind(format!("a tensor {} has {why}", view.shape())))?;
        let mut tensor = Self::zeros(view.element, view.dims)?;
        view.copy_to(tensor.bytes_mut());
        Ok(tensor)
    }

    pub(crate) const fn empty(element: ElementType) -> Self {
        Self { element, dims: Vec::new(), bytes: 0, data: AlignedBytes::empty() }
    }

    /// Takes another shape; keeps the memory if it suffices. Contents are unspecified afterwards.
    pub(crate) fn reshape(&mut self, dims: &[i64]) -> Result<()> {
        let bytes = element_count(dims).and_then(|n| n.checked_mul(self.element.bytes() as u64)).filter(|n| *n <= isize::MAX as u64);
        let bytes = bytes.ok_or_else(|| Error::Bind(format!("a tensor {} is too large", Shape(self.element, dims))))?;
        self.data.grow(bytes, "bind", "a tensor")?;
        self.dims.clear();
        self.dims.extend_from_slice(dims);
        self.bytes = bytes as usize;
        Ok(())
    }

    pub fn element(&self) -> ElementType {
        self.element
    }

    pub fn dims(&self) -> &[i64] {
        &self.dims
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data.as_slice()[..self.bytes]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data.as_mut_slice()[..self.bytes]
    }

    pub fn view(&self) -> TensorView<'_> {
        TensorView::new(self.element, &self.dims, self.bytes())
    }

    /// The elements, if they are of this type.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        self.view().as_slice()
    }
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        let mut copy = Self::empty(self.element);
        copy.reshape(&self.dims).expect("a tensor of this size exists already");
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

/// Rust types with the layout of an element type.
///
/// # Safety
/// The type is plain data without padding, valid for every bit pattern, and has the size of `TYPE`.
pub unsafe trait Element: Copy + 'static {
    const TYPE: ElementType;

    fn bytes(elements: &[Self]) -> &[u8] {
        // SAFETY: plain data without padding.
        unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
    }
}

macro_rules! elements {
    ($($rust:ty => $element:ident),* $(,)?) => {
        $(
            // SAFETY: a number without padding, every bit pattern valid.
            unsafe impl Element for $rust {
                const TYPE: ElementType = ElementType::$element;
            }
        )*
    };
}

elements! {
    i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    f16 => F16, bf16 => BF16, f32 => F32, f64 => F64,
}

/// Whether a device may store `element` as `storage`: the same type, an integer of the same size, a wider type that holds every value, or bool
/// as any integer.
pub fn is_storable(element: ElementType, storage: ElementType) -> bool {
    use ElementType::*;
    element == storage
        || (element.bytes() == storage.bytes() && storage != Bool && !is_float(element) && !is_float(storage))
        || matches!(
            (element, storage),
            (Bool, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
                | (I8, I16 | I32 | I64)
                | (I16, I32 | I64)
                | (U8, U16 | U32 | I16 | I32 | I64)
                | (U16, U32 | I32 | I64)
                | (F16 | BF16, F32 | F64)
                | (F32, F64)
        )
}

/// Host elements -> stored elements. Both slices hold the same number of elements, and `is_storable(element, storage)`.
pub fn store(element: ElementType, storage: ElementType, host: &[u8], stored: &mut [u8]) {
    convert(element, host, storage, stored);
}

/// Stored elements -> host elements, the inverse of [`store`].
pub fn unstore(element: ElementType, storage: ElementType, stored: &[u8], host: &mut [u8]) {
    convert(storage, stored, element, host);
}

fn convert(from: ElementType, source: &[u8], to: ElementType, target: &mut [u8]) {
    if from == to {
        target.copy_from_slice(source);
        return;
    }
    for (source, target) in source.chunks_exact(from.bytes()).zip(target.chunks_exact_mut(to.bytes())) {
        match to {
            ElementType::F16 => target.copy_from_slice(&f16::from_f64(read_f64(from, source)).to_le_bytes()),
            ElementType::BF16 => target.copy_from_slice(&bf16::from_f64(read_f64(from, source)).to_le_bytes()),
            ElementType::F32 => target.copy_from_slice(&(read_f64(from, source) as f32).to_le_bytes()),
            ElementType::F64 => target.copy_from_slice(&read_f64(from, source).to_le_bytes()),
            ElementType::Bool => target[0] = u8::from(source.iter().any(|b| *b != 0)),
            _ => target.copy_from_slice(&read_i64(from, source).to_le_bytes()[..to.bytes()]),
        }
    }
}

/// One integer or bool (0 or 1) as i64; u64 keeps its bits.
pub(crate) fn read_i64(element: ElementType, bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    wide[..element.bytes()].copy_from_slice(&bytes[..element.bytes()]);
    let value = u64::from_le_bytes(wide);
    match element {
        ElementType::Bool => i64::from(value != 0),
        ElementType::I8 => i64::from(value as i8),
        ElementType::I16 => i64::from(value as i16),
        ElementType::I32 => i64::from(value as i32),
        _ => value as i64,
    }
}

/// One element of a floating-point type (or an integer) as f64.
pub(crate) fn read_f64(element: ElementType, bytes: &[u8]) -> f64 {
    match (element, bytes) {
        (ElementType::F16, [a, b, ..]) => f16::from_le_bytes([*a, *b]).to_f64(),
        (ElementType::BF16, [a, b, ..]) => bf16::from_le_bytes([*a, *b]).to_f64(),
        (ElementType::F32, [a, b, c, d, ..]) => f64::from(f32::from_le_bytes([*a, *b, *c, *d])),
        (ElementType::F64, _) => f64::from_bits(read_i64(ElementType::U64, bytes) as u64),
        _ => read_i64(element, bytes) as f64,
    }
}

/// Whether values of this type go into f64 registers.
pub(crate) fn is_float(element: ElementType) -> bool {
    matches!(element, ElementType::F16 | ElementType::BF16 | ElementType::F32 | ElementType::F64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair that may be stored survives the way there and back, for extreme values.
    #[test]
    fn storing_and_unstoring_is_lossless() {
        for element in ElementType::ALL {
            for storage in ElementType::ALL.into_iter().filter(|storage| is_storable(element, *storage)) {
                let size = element.bytes();
                let mut host: Vec<u8> = match element {
                    ElementType::Bool => vec![0, 1, 1, 0],
                    // Powers of two, infinities; no NaN payloads, which conversions may change.
                    ElementType::F16 => [0x3c00u16, 0xfc00, 0x0001, 0x8000].map(u16::to_le_bytes).concat(),
                    ElementType::BF16 => [0x3f80u16, 0xff80, 0x0001, 0x8000].map(u16::to_le_bytes).concat(),
                    ElementType::F32 => [1f32, f32::NEG_INFINITY, f32::from_bits(1), -0.0].map(f32::to_le_bytes).concat(),
                    _ => [vec![0; size], vec![0xff; size], vec![0x80; size], vec![0x7f; size]].concat(),
                };
                let mut stored = vec![0xaa; 4 * storage.bytes()];
                store(element, storage, &host, &mut stored);
                let original = std::mem::replace(&mut host, vec![0xaa; 4 * size]);
                unstore(element, storage, &stored, &mut host);
                assert_eq!(host, original, "{element} as {storage}");
            }
        }
        let mut stored = [0; 8];
        store(ElementType::Bool, ElementType::I32, &[1, 0], &mut stored);
        assert_eq!(stored, [1, 0, 0, 0, 0, 0, 0, 0]);
        store(ElementType::I8, ElementType::I32, &[0xff, 2], &mut stored);
        assert_eq!(stored, [0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0]);
        assert!(!is_storable(ElementType::F32, ElementType::I32) && !is_storable(ElementType::I64, ElementType::I32));
        assert!(is_storable(ElementType::U8, ElementType::I8) && !is_storable(ElementType::I8, ElementType::Bool));
    }

    #[test]
    fn counting_elements_never_overflows() {
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[i64::MAX, i64::MAX, 0]), Some(0));
        assert_eq!(element_count(&[i64::MAX, 3]), None);
        assert_eq!(element_count(&[-1, 0]), None);
    }

    #[test]
    fn views_check_their_strides() {
        let data = [0f32; 6];
        let view = |strides| TensorView { strides: Some(strides), ..TensorView::of(&[2, 3], &data) };
        assert!(view(&[3, 1]).is_direct() && view(&[3, 1]).check().is_ok());
        assert!(!view(&[1, 2]).is_direct() && view(&[1, 2]).check().is_ok());
        assert!(view(&[4, 1]).check().is_err() && view(&[-3, 1]).check().is_err() && view(&[1]).check().is_err());
        assert!(view(&[i64::MAX, i64::MAX]).check().is_err());
        assert!(Tensor::from_view(&view(&[4, 1])).is_err());
        assert_eq!(Tensor::from_view(&TensorView::of(&[2, 3], &data)).unwrap().as_slice::<f32>(), Some(&data[..]));
    }
}
