//! A computed and an expected tensor -> a verdict: `|got - expected| <= atol + rtol * |expected|`, NaN equals NaN, shapes and types exact,
//! integers and bools exact. Says how many elements differ and shows the worst one.

use half::{bf16, f16};
use winze_runtime::{
    ElementType, TensorView, npy,
    tensor::{Shape, element_count},
};

/// Allowed differences; `None` takes the default of the element type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tolerance {
    pub rtol: Option<f64>,
    pub atol: Option<f64>,
}

impl Tolerance {
    fn of(self, element: ElementType) -> (f64, f64) {
        let (rtol, atol) = match element {
            ElementType::F64 => (1e-5, 1e-7),
            ElementType::F32 => (1e-3, 1e-5),
            ElementType::F16 => (1e-2, 1e-3),
            ElementType::BF16 => (2e-2, 1e-2),
            _ => return (0.0, 0.0),
        };
        (self.rtol.unwrap_or(rtol), self.atol.unwrap_or(atol))
    }
}

/// How far two equal tensors are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Largest |got - expected|.
    pub max_difference: f64,
}

/// Compares; the error says what differs.
pub fn compare(got: &TensorView<'_>, expected: &TensorView<'_>, tolerance: Tolerance) -> Result<Agreement, String> {
    let same_type = got.element == expected.element || (got.element, expected.element) == (ElementType::BF16, ElementType::F32);
    if !same_type || got.dims != expected.dims {
        return Err(format!("got {}, expected {}", got.shape(), Shape(expected.element, expected.dims)));
    }
    let (rtol, atol) = tolerance.of(got.element);
    let (got_elements, expected_elements) = (npy::c_order(got)?, npy::c_order(expected)?);
    let pairs = got_elements.chunks_exact(got.element.bytes()).zip(expected_elements.chunks_exact(expected.element.bytes()));
    let mut agreement = Agreement { max_difference: 0.0 };
    let mut differing = 0u64;
    let mut worst: Option<(usize, f64)> = None;
    for (index, (a, b)) in pairs.enumerate() {
        if a == b && got.element == expected.element {
            continue;
        }
        let (x, y) = (value(got.element, a), value(expected.element, b));
        // Equal infinities differ by NaN, so they are asked first.
        let difference = if x == y || (x.is_nan() && y.is_nan()) { 0.0 } else { (x - y).abs() };
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        let exact = !is_float(got.element);
        if exact || difference > atol + rtol * y.abs() || difference == f64::INFINITY {
            differing += 1;
            let excess = difference / (atol + rtol * y.abs()).max(f64::MIN_POSITIVE);
            if worst.is_none_or(|(_, largest)| excess > largest) {
                worst = Some((index, excess));
            }
        }
        agreement.max_difference = agreement.max_difference.max(difference);
    }
    let Some((index, _)) = worst else { return Ok(agreement) };
    let at = |bytes: &[u8], element: ElementType| text(element, &bytes[index * element.bytes()..(index + 1) * element.bytes()]);
    let count = element_count(got.dims).unwrap_or(0);
    Err(format!(
        "{differing} of {count} elements differ; the worst at {:?}: got {}, expected {}; allowed are {atol:e} + {rtol:e} * |expected|, \
         the largest difference is {:e}",
        position(index, got.dims),
        at(&got_elements, got.element),
        at(&expected_elements, expected.element),
        agreement.max_difference
    ))
}

/// Where element number `linear` stands.
fn position(linear: usize, dims: &[i64]) -> Vec<i64> {
    let mut rest = linear as i64;
    let mut position: Vec<i64> = dims.iter().rev().map(|dim| (rest % dim, rest /= dim).0).collect();
    position.reverse();
    position
}

pub fn is_float(element: ElementType) -> bool {
    matches!(element, ElementType::F16 | ElementType::BF16 | ElementType::F32 | ElementType::F64)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("an element has the bytes of its type")
}

/// The value, rounded for integers above 2^53.
fn value(element: ElementType, bytes: &[u8]) -> f64 {
    match element {
        ElementType::Bool | ElementType::U8 => f64::from(bytes[0]),
        ElementType::I8 => f64::from(bytes[0] as i8),
        ElementType::I16 => f64::from(i16::from_le_bytes(array(bytes))),
        ElementType::U16 => f64::from(u16::from_le_bytes(array(bytes))),
        ElementType::I32 => f64::from(i32::from_le_bytes(array(bytes))),
        ElementType::U32 => f64::from(u32::from_le_bytes(array(bytes))),
        ElementType::I64 => i64::from_le_bytes(array(bytes)) as f64,
        ElementType::U64 => u64::from_le_bytes(array(bytes)) as f64,
        ElementType::F16 => f16::from_le_bytes(array(bytes)).to_f64(),
        ElementType::BF16 => bf16::from_le_bytes(array(bytes)).to_f64(),
        ElementType::F32 => f64::from(f32::from_le_bytes(array(bytes))),
        ElementType::F64 => f64::from_le_bytes(array(bytes)),
    }
}

/// The value for people: floats with the digits that tell them apart, integers exactly.
pub fn text(element: ElementType, bytes: &[u8]) -> String {
    match element {
        ElementType::Bool => if bytes[0] == 0 { "false" } else { "true" }.to_owned(),
        ElementType::I64 => i64::from_le_bytes(array(bytes)).to_string(),
        ElementType::U64 => u64::from_le_bytes(array(bytes)).to_string(),
        ElementType::F16 | ElementType::BF16 | ElementType::F32 => {
            float_text(value(element, bytes), |x| format!("{}", x as f32), |x| format!("{:e}", x as f32))
        }
        ElementType::F64 => float_text(value(element, bytes), |x| format!("{x}"), |x| format!("{x:e}")),
        _ => format!("{}", value(element, bytes)),
    }
}

fn float_text(x: f64, plain: impl Fn(f64) -> String, scientific: impl Fn(f64) -> String) -> String {
    if x != 0.0 && x.is_finite() && !(1e-4..1e9).contains(&x.abs()) { scientific(x) } else { plain(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(got: &[f32], expected: &[f32], rtol: f64, atol: f64) -> Result<Agreement, String> {
        let (a, b) = ([got.len() as i64], [expected.len() as i64]);
        compare(&TensorView::of(&a, got), &TensorView::of(&b, expected), Tolerance { rtol: Some(rtol), atol: Some(atol) })
    }

    #[test]
    fn accepts_what_is_within_tolerance() {
        assert_eq!(f32s(&[1.0, 2.5], &[1.0, 2.0], 0.25, 0.0).unwrap().max_difference, 0.5);
        assert!(f32s(&[f32::NAN, f32::INFINITY, -0.0], &[f32::NAN, f32::INFINITY, 0.0], 0.0, 0.0).is_ok());
        assert!(f32s(&[], &[], 0.0, 0.0).is_ok());
    }

    #[test]
    fn shows_the_worst_difference() {
        let report = f32s(&[1.0, 2.0, 3.0], &[1.0, 2.5, 7.0], 0.01, 0.0).unwrap_err();
        assert!(report.starts_with("2 of 3 elements differ; the worst at [2]: got 3, expected 7;"), "{report}");
        assert!(f32s(&[f32::INFINITY], &[f32::NEG_INFINITY], 1.0, 1.0).is_err());
        assert!(f32s(&[1.0], &[f32::INFINITY], 1.0, 1.0).is_err());
        assert!(f32s(&[f32::NAN], &[1.0], 1.0, 1.0).is_err());
        assert!(f32s(&[1.0], &[f32::NAN], 1.0, 1.0).is_err());
    }

    #[test]
    fn shapes_and_types_are_exact() {
        assert_eq!(f32s(&[1.0], &[1.0, 2.0], 1.0, 1.0).unwrap_err(), "got f32[1], expected f32[2]");
        let report = compare(&TensorView::of(&[1], &[1i32]), &TensorView::of(&[1], &[1i64]), Tolerance::default());
        assert_eq!(report.unwrap_err(), "got i32[1], expected i64[1]");
    }

    #[test]
    fn integers_are_exact_whatever_the_tolerance() {
        let loose = Tolerance { rtol: Some(1.0), atol: Some(1.0) };
        let (a, b) = ([1i64 << 60, 7], [(1i64 << 60) + 1, 7]);
        let report = compare(&TensorView::of(&[2], &a), &TensorView::of(&[2], &b), loose).unwrap_err();
        assert!(
            report.starts_with("1 of 2 elements differ; the worst at [0]: got 1152921504606846976, expected 1152921504606846977"),
            "{report}"
        );
    }

    #[test]
    fn compares_bfloat16_with_floats() {
        let got = [bf16::from_f32(1.0)];
        assert!(compare(&TensorView::of(&[1], &got), &TensorView::of(&[1], &[1.001f32]), Tolerance::default()).is_ok());
        assert!(compare(&TensorView::of(&[1], &got), &TensorView::of(&[1], &[1.5f32]), Tolerance::default()).is_err());
    }

    #[test]
    fn positions_are_row_major() {
        assert_eq!(position(5, &[2, 3]), [1, 2]);
        assert_eq!(position(0, &[]), [] as [i64; 0]);
    }
}
