//! `.npy` files <-> tensors. Files are mapped, and used where they stand if their bytes are little-endian; C and Fortran order, any byte order,
//! 0-d and empty arrays, format versions 1 to 3. Refuses Python objects, text, complex numbers and records, and sizes that do not fit the file.

use crate::{
    artifact::manifest::ElementType,
    tensor::{Tensor, TensorView, element_count},
};
use memmap2::Mmap;
use std::{borrow::Cow, fs::File, io::Write, path::Path};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Data starts at a multiple of this, as numpy writes it.
const ALIGNMENT: usize = 64;

/// An array in a file.
pub struct Array {
    pub element: ElementType,
    pub dims: Vec<i64>,
    /// Of Fortran order; C order has none.
    strides: Option<Vec<i64>>,
    data: Data,
}

enum Data {
    Mapped {
        map: Mmap,
        start: usize,
        length: usize,
    },
    /// Byte order reversed.
    Owned(Vec<u8>),
}

impl Array {
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let file = File::open(path).map_err(|error| failed(&error))?;
        if !file.metadata().map_err(|error| failed(&error))?.is_file() {
            return Err(failed(&"not a file"));
        }
        // SAFETY: a private read-only mapping; truncating the file meanwhile raises SIGBUS, as with any mapping.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| failed(&error))?;
        let (header, start) = Header::parse(&map).map_err(|why| failed(&why))?;
        let (element, big_endian) = header.element().map_err(|why| failed(&why))?;
        let bytes = element_count(&header.dims).and_then(|count| count.checked_mul(element.bytes() as u64));
        let available = (map.len() - start) as u64;
        let Some(length) = bytes.filter(|bytes| *bytes <= available) else {
            return Err(failed(&format!(
                "the shape {:?} needs more than the {available} bytes that follow the header; the file is truncated",
                header.dims
            )));
        };
        let length = length as usize;
        let strides = (header.fortran_order && header.dims.len() > 1).then(|| fortran_strides(&header.dims));
        let data = if big_endian && element.bytes() > 1 {
            let mut swapped = map[start..start + length].to_vec();
            swapped.chunks_exact_mut(element.bytes()).for_each(<[u8]>::reverse);
            Data::Owned(swapped)
        } else {
            Data::Mapped { map, start, length }
        };
        Ok(Self { element, dims: header.dims, strides, data })
    }

    /// The array as a tensor; uint16 is also how bfloat16 is stored.
    pub fn view_as(&self, wanted: ElementType) -> TensorView<'_> {
        let is_bfloat16 = (self.element, wanted) == (ElementType::U16, ElementType::BF16);
        let data = match &self.data {
            Data::Mapped { map, start, length } => &map[*start..*start + *length],
            Data::Owned(bytes) => bytes,
        };
        TensorView { element: if is_bfloat16 { wanted } else { self.element }, dims: &self.dims, strides: self.strides.as_deref(), data }
    }

    /// Part `index` of the first axis, as [`Self::view_as`] would show it; `None` outside of it.
    pub fn part_as(&self, wanted: ElementType, index: usize) -> Option<TensorView<'_>> {
        let whole = self.view_as(wanted);
        let (count, dims) = whole.dims.split_first()?;
        if i64::try_from(index).ok()? >= *count {
            return None;
        }
        let size = whole.element.bytes();
        // Of Fortran order, parts are interleaved.
        let (strides, start, end) = match whole.strides.and_then(<[i64]>::split_first) {
            Some((stride, strides)) => (Some(strides), usize::try_from(*stride).ok()? * index * size, whole.data.len()),
            None => {
                let bytes = usize::try_from(element_count(dims)?).ok()? * size;
                (None, bytes * index, bytes * (index + 1))
            }
        };
        Some(TensorView { element: whole.element, dims, strides, data: whole.data.get(start..end)? })
    }
}

/// Saturating: dims that overflow belong to empty arrays, of which no element is read.
fn fortran_strides(dims: &[i64]) -> Vec<i64> {
    let mut next = 1i64;
    let stride = |dim: &i64| {
        let this = next;
        next = next.saturating_mul(*dim);
        this
    };
    dims.iter().map(stride).collect()
}

/// What the text in front of the data says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    dims: Vec<i64>,
}

impl Header {
    /// The header and where the data starts.
    fn parse(file: &[u8]) -> Result<(Self, usize), String> {
        if !file.starts_with(MAGIC) {
            return Err("not a .npy file; save the array with numpy.save".to_owned());
        }
        let damaged = || "the .npy header is damaged".to_owned();
        let (from, length) = match (file.get(6).copied(), file.get(8..10), file.get(8..12)) {
            (Some(1), Some(&[a, b]), _) => (10, u16::from_le_bytes([a, b]) as usize),
            (Some(2 | 3), _, Some(&[a, b, c, d])) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
            (Some(version), Some(_), _) if version > 3 => return Err(format!("unknown version {version} of the .npy format")),
            _ => return Err(damaged()),
        };
        let text = file.get(from..from + length).and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(damaged)?;
        Ok((Dictionary { rest: text.trim() }.parse().ok_or_else(damaged)??, from + length))
    }

    /// Element type, and whether it is big-endian.
    fn element(&self) -> Result<(ElementType, bool), String> {
        let (order, kind) = self.descr.split_at_checked(1).unwrap_or(("", ""));
        let element = match kind {
            "b1" => ElementType::Bool,
            "i1" => ElementType::I8,
            "i2" => ElementType::I16,
            "i4" => ElementType::I32,
            "i8" => ElementType::I64,
            "u1" => ElementType::U8,
            "u2" => ElementType::U16,
            "u4" => ElementType::U32,
            "u8" => ElementType::U64,
            "f2" => ElementType::F16,
            "f4" => ElementType::F32,
            "f8" => ElementType::F64,
            _ => return Err(format!("elements of type '{}' are not supported; use bool, integers or floats up to 64 bits", self.descr)),
        };
        Ok((element, order == ">"))
    }
}

/// The Python dictionary of a header: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
struct Dictionary<'a> {
    rest: &'a str,
}

impl<'a> Dictionary<'a> {
    /// `None` for bad syntax; an error for what is well-formed but not supported.
    fn parse(mut self) -> Option<Result<Header, String>> {
        let mut header = Header::default();
        let mut seen = [false; 3];
        self.token("{")?;
        while self.token("}").is_none() {
            let key = self.string()?;
            self.token(":")?;
            let which = ["descr", "fortran_order", "shape"].iter().position(|known| *known == key)?;
            match which {
                0 if self.rest.starts_with('[') => return Some(Err("records are not supported; save each field by itself".to_owned())),
                0 => header.descr = self.string()?.to_owned(),
                1 => header.fortran_order = self.token("True").is_some() || self.token("False").map(|()| false)?,
                _ => header.dims = self.tuple()?,
            }
            seen[which] = true;
            if self.token(",").is_none() && !self.rest.starts_with('}') {
                return None;
            }
        }
        (seen == [true; 3] && self.rest.is_empty()).then_some(Ok(header))
    }

    fn token(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?.trim_start();
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.rest[1..].split_once(quote)?;
        self.rest = rest.trim_start();
        Some(text)
    }

    fn tuple(&mut self) -> Option<Vec<i64>> {
        self.token("(")?;
        let mut dims = Vec::new();
        while self.token(")").is_none() {
            let digits = self.rest.find(|c: char| !c.is_ascii_digit())?;
            dims.push(self.rest[..digits].parse().ok()?);
            // Python 2 wrote long integers as `3L`.
            self.rest = self.rest[digits..].trim_start_matches('L').trim_start();
            if self.token(",").is_none() && !self.rest.starts_with(')') {
                return None;
            }
        }
        Some(dims)
    }
}

fn descr(element: ElementType) -> &'static str {
    match element {
        ElementType::Bool => "|b1",
        ElementType::I8 => "|i1",
        ElementType::U8 => "|u1",
        ElementType::I16 => "<i2",
        ElementType::I32 => "<i4",
        ElementType::I64 => "<i8",
        ElementType::U16 | ElementType::BF16 => "<u2",
        ElementType::U32 => "<u4",
        ElementType::U64 => "<u8",
        ElementType::F16 => "<f2",
        ElementType::F32 => "<f4",
        ElementType::F64 => "<f8",
    }
}

fn header(element: ElementType, dims: &[i64]) -> Vec<u8> {
    let mut shape: String = dims.iter().map(|dim| format!("{dim}, ")).collect();
    if dims.len() == 1 {
        shape.truncate(shape.len() - 1);
    } else {
        shape.truncate(shape.len().saturating_sub(2));
    }
    let mut text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}", descr(element));
    let padding = (10 + text.len() + 1).next_multiple_of(ALIGNMENT) - (10 + text.len() + 1);
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    // 65,535 bytes of text would take thousands of dims.
    let length = u16::try_from(text.len()).expect("a tensor has few dims");
    [&MAGIC[..], &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat()
}

/// Writes a tensor in C order; bfloat16 as uint16.
pub fn write(path: &Path, tensor: &TensorView<'_>) -> Result<(), String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let elements = c_order(tensor).map_err(|why| failed(&why))?;
    let mut file = File::create(path).map_err(|error| failed(&error))?;
    file.write_all(&header(tensor.element, tensor.dims)).and_then(|()| file.write_all(&elements)).map_err(|error| failed(&error))
}

/// The elements of a tensor in C order, copied only if they are not.
pub fn c_order<'a>(tensor: &TensorView<'a>) -> Result<Cow<'a, [u8]>, String> {
    if tensor.strides.is_none() {
        return Ok(Cow::Borrowed(tensor.data));
    }
    let copy = Tensor::from_view(tensor).map_err(|error| error.to_string())?;
    Ok(Cow::Owned(copy.bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, text: &str, data: &[u8]) -> tempfile::NamedTempFile {
        let mut bytes = [&MAGIC[..], &[version, 0]].concat();
        match version {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        bytes.extend(data);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn refused(version: u8, text: &str, data: &[u8]) -> String {
        Array::open(file(version, text, data).path()).err().expect("the file is refused")
    }

    #[test]
    fn reads_every_order_and_version() {
        let little: Vec<u8> = (0..6i16).flat_map(i16::to_le_bytes).collect();
        let big: Vec<u8> = (0..6i16).flat_map(i16::to_be_bytes).collect();
        let cases = [
            (1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }", &little, [0, 1, 2, 3, 4, 5]),
            (2, "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3), }   \n", &big, [0, 1, 2, 3, 4, 5]),
            (3, "{\"shape\": (2L, 3L), 'fortran_order': True, 'descr': '<i2'}", &little, [0, 2, 4, 1, 3, 5]),
            (1, "{'descr': '>i2', 'fortran_order': True, 'shape': (2,3)}", &big, [0, 2, 4, 1, 3, 5]),
        ];
        for (version, text, data, expected) in cases {
            let array = Array::open(file(version, text, data).path()).unwrap();
            let view = array.view_as(ElementType::I16);
            assert_eq!(view.dims, [2, 3]);
            let elements: Vec<i16> = c_order(&view).unwrap().chunks(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
            assert_eq!(elements, expected, "{text}");
        }
    }

    #[test]
    fn reads_scalars_and_empty_arrays() {
        let scalar = Array::open(file(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }", &[1]).path()).unwrap();
        assert_eq!((scalar.dims.as_slice(), scalar.view_as(ElementType::Bool).data), (&[][..], &[1][..]));
        let empty =
            Array::open(file(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (9223372036854775807, 0, 4), }", &[]).path()).unwrap();
        assert!(empty.view_as(ElementType::F32).check().is_ok());
    }

    #[test]
    fn refuses_damage_with_a_reason() {
        assert!(refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", &[0; 11]).contains("truncated"));
        assert!(
            refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", &[0; 11]).contains("truncated")
        );
        assert!(refused(1, "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]).contains("'<c8'"));
        assert!(refused(1, "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", &[0; 8]).contains("'|O'"));
        assert!(refused(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", &[0; 8]).contains("records"));
        for damaged in ["", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", "{'shape': (-1,)}", "{'é"]
        {
            assert!(refused(1, damaged, &[]).contains("damaged"), "{damaged}");
        }
        assert!(refused(9, "", &[]).contains("version 9"));
        let other = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(other.path(), b"hello").unwrap();
        assert!(Array::open(other.path()).err().unwrap().contains("not a .npy file"));
        assert!(Array::open(Path::new("/no/such/file.npy")).err().unwrap().contains("/no/such/file.npy"));
    }

    #[test]
    fn reads_what_it_writes_and_aligns_the_data() {
        for dims in [&[][..], &[4], &[2, 2], &[0, 3]] {
            let count = element_count(dims).unwrap() as usize;
            let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            write(file.path(), &TensorView::of(dims, &values)).unwrap();
            let array = Array::open(file.path()).unwrap();
            assert_eq!((array.element, array.dims.as_slice()), (ElementType::F32, dims));
            assert_eq!(array.view_as(ElementType::F32).as_slice::<f32>(), Some(&values[..]));
        }
    }

    #[test]
    fn bfloat16_is_stored_as_uint16() {
        assert!(String::from_utf8_lossy(&header(ElementType::BF16, &[1])).contains("'<u2'"));
        let array = Array::open(file(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }", &[0x80, 0x3f]).path()).unwrap();
        assert_eq!(array.view_as(ElementType::BF16).element, ElementType::BF16);
        assert_eq!(array.view_as(ElementType::F32).element, ElementType::U16);
    }
}
