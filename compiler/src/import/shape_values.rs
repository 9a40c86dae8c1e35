//! Small tensors of integers (whatever their element type), evaluated beside the IR with symbolic dims as values.
//!
//! Exporters compute shapes with Shape, Gather, Concat, Mul and the like. Such values become [`Data::Integers`] and no ops; operands such as
//! the shape of a Reshape then follow from the dims of the graph's inputs. Anything not listed here, or not provable, is left to the IR.

use super::{
    proto::{NodeProto, attribute_type},
    value::{Data, Tensor},
};
use crate::constants::{ConstantStore, Scalar};
use std::cell::RefCell;
use winze_graph::{dim::Dim, types::ElementType};

/// More elements than a shape computation has.
const MAX_ITEMS: usize = 1024;

/// Integers beyond this are not exact in f32.
const F32_EXACT: u64 = 1 << 24;

/// Contents of an integer or bool tensor, or of floats that were cast from such, if known.
pub fn integers(tensor: &Tensor, store: &ConstantStore) -> Option<Vec<Dim>> {
    match &tensor.data {
        // Sizes are not written in such types.
        _ if tensor.narrow.is_some() => None,
        _ if tensor.r#type.count().as_static() == Some(0) => Some(vec![]),
        Data::Integers(items) => Some(items.clone()),
        Data::Constant(id) if !tensor.element().is_float() && store.type_of(id).ok()?.elements() <= MAX_ITEMS => {
            let (element, bytes) = (tensor.element(), store.read(id).ok()?);
            bytes.chunks_exact(element.bytes()).map(|item| Scalar::read(element, item).to_i64().map(Dim::from)).collect()
        }
        _ => None,
    }
}

/// A known tensor.
struct Known {
    element: ElementType,
    shape: Vec<i64>,
    items: Vec<Dim>,
}

impl Known {
    fn of(tensor: &Tensor, store: &ConstantStore) -> Option<Self> {
        Some(Self { element: tensor.element(), shape: tensor.r#type.static_shape()?, items: integers(tensor, store)? })
    }

    fn with_shape(self, shape: Vec<i64>) -> Option<Self> {
        (shape.iter().product::<i64>() == self.items.len() as i64).then_some(Self { shape, ..self })
    }
}

/// The first output of `node`, if all it needs is known.
pub fn evaluate<'c, 'a>(
    node: &NodeProto,
    version: i64,
    inputs: &[Option<Tensor<'c, 'a>>],
    store: &ConstantStore,
) -> Option<Tensor<'c, 'a>> {
    if node.output.iter().skip(1).any(|name| !name.is_empty()) || node.attribute.iter().any(|a| !a.ref_attr_name.is_empty()) {
        return None;
    }
    let asked = RefCell::new(vec![]);
    let attribute = |name: &str| {
        let found = node.attribute.iter().find(|attribute| attribute.name == name);
        asked.borrow_mut().extend(found.map(|attribute| attribute.name.as_str()));
        found
    };
    let int =
        |name: &str, default: i64| attribute(name).map_or(Some(default), |a| (a.r#type == attribute_type::INT).then_some(a.i.unwrap_or(0)));
    let tensor = |i: usize| inputs.get(i)?.as_ref();
    let known = |i: usize| Known::of(tensor(i)?, store);
    let fixed = |i: usize| known(i)?.items.iter().map(Dim::as_static).collect::<Option<Vec<i64>>>();
    // Axes as an attribute, as they were before version 13, or as an operand.
    let axes = || attribute("axes").map_or_else(|| tensor(1).map(|_| fixed(1)), |a| Some(Some(a.ints.clone())));
    let result = match node.op_type.as_str() {
        "Shape" => {
            let dims = tensor(0)?.dims();
            let clamp = |at: i64| (if at < 0 { at.saturating_add(dims.len() as i64) } else { at }).clamp(0, dims.len() as i64) as usize;
            let (start, end) = (clamp(int("start", 0)?), clamp(int("end", i64::MAX)?));
            let items = dims.get(start..end.max(start))?.to_vec();
            Known { element: ElementType::I64, shape: vec![items.len() as i64], items }
        }
        "Size" => Known { element: ElementType::I64, shape: vec![], items: vec![tensor(0)?.r#type.count()] },
        "Identity" => known(0)?,
        "Cast" => {
            // Both are about floats of 8 bits.
            let _ = (attribute("saturate"), attribute("round_mode"));
            let (x, to) = (known(0)?, super::tensor::element_type(int("to", 0)? as i32).ok()?);
            match to {
                ElementType::I64 => Known { element: to, ..x },
                // Extents are taken to fit i32, as in every runtime that has i32 shapes.
                ElementType::I32 if x.items.iter().all(|item| item.as_static().is_none_or(|v| i32::try_from(v).is_ok())) => {
                    Known { element: to, ..x }
                }
                // Extents are exact in f32; larger ones do not come up in practice.
                ElementType::F32 if x.items.iter().all(|item| item.as_static().is_none_or(|v| v.unsigned_abs() <= F32_EXACT)) => {
                    Known { element: to, ..x }
                }
                ElementType::F64 => Known { element: to, ..x },
                ElementType::Bool => {
                    let items = x.items.iter().map(|item| item.as_static().map(|v| Dim::from(i64::from(v != 0)))).collect::<Option<_>>()?;
                    Known { element: to, items, ..x }
                }
                _ => return None,
            }
        }
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "And" | "Or" => {
            if version < 7 {
                return None;
            }
            if node.op_type == "Mod" && int("fmod", 0)? != 0 {
                return None;
            }
            let (a, b) = (known(0)?, known(1)?);
            let compares = matches!(node.op_type.as_str(), "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual");
            let element = if compares { ElementType::Bool } else { a.element };
            if a.element != b.element || (!compares && !matches!(a.element, ElementType::I64 | ElementType::I32 | ElementType::Bool)) {
                return None;
            }
            elementwise(element, &a, &b, |x, y| binary(&node.op_type, x, y))?
        }
        "Max" | "Min" => {
            let mut all = (0..inputs.len()).map(known).collect::<Option<Vec<_>>>()?.into_iter();
            let first = all.next()?;
            all.try_fold(first, |a, b| elementwise(a.element, &a, &b, |x, y| binary(&node.op_type, x, y)))?
        }
        "Neg" | "Not" | "Abs" => {
            let x = known(0)?;
            let item = |item: &Dim| match node.op_type.as_str() {
                "Neg" => Some(&Dim::from(0) - item),
                "Abs" => item.as_static()?.checked_abs().map(Dim::from),
                _ => Some(Dim::from(i64::from(item.as_static()? == 0))),
            };
            Known { items: x.items.iter().map(item).collect::<Option<_>>()?, ..x }
        }
        "Where" => {
            let (condition, a, b) = (known(0)?, known(1)?, known(2)?);
            let picks =
                elementwise(a.element, &condition, &elementwise(a.element, &a, &b, |x, _| Some(x.clone()))?, |c, _| Some(c.clone()))?;
            let xs = elementwise(a.element, &a, &picks, |x, _| Some(x.clone()))?;
            let ys = elementwise(a.element, &b, &picks, |y, _| Some(y.clone()))?;
            let choose = |((pick, x), y): ((&Dim, &Dim), &Dim)| Some(if pick.as_static()? != 0 { x.clone() } else { y.clone() });
            let items = picks.items.iter().zip(&xs.items).zip(&ys.items).map(choose).collect::<Option<_>>()?;
            Known { items, ..xs }
        }
        "Concat" => {
            let parts = (0..inputs.len()).map(known).collect::<Option<Vec<_>>>()?;
            let element = parts.first()?.element;
            let axis = int("axis", 0)?;
            if !(-1..=0).contains(&axis) || parts.iter().any(|part| part.shape.len() != 1 || part.element != element) {
                return None;
            }
            let items: Vec<Dim> = parts.into_iter().flat_map(|part| part.items).collect();
            Known { element, shape: vec![items.len() as i64], items }
        }
        "Gather" => {
            let (x, indices) = (known(0)?, known(1)?);
            let axis = int("axis", 0)?;
            if x.shape.len() != 1 || !(-1..=0).contains(&axis) {
                return None;
            }
            let pick = |index: &Dim| {
                let index = index.as_static()?;
                x.items.get(usize::try_from(if index < 0 { index + x.items.len() as i64 } else { index }).ok()?).cloned()
            };
            Known { element: x.element, shape: indices.shape.clone(), items: indices.items.iter().map(pick).collect::<Option<_>>()? }
        }
        "Slice" => {
            let x = known(0)?;
            let list = |name: &str, i: usize| attribute(name).map_or_else(|| fixed(i), |a| Some(a.ints.clone()));
            let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
            let steps = if tensor(4).is_some() { fixed(4)? } else { vec![1] };
            let ([start], [end], [step], 1) = (&starts[..], &ends[..], &steps[..], x.shape.len()) else { return None };
            let items: Vec<Dim> = slice_indices(*start, *end, *step, x.items.len() as i64)?.map(|i| x.items[i as usize].clone()).collect();
            Known { element: x.element, shape: vec![items.len() as i64], items }
        }
        "Squeeze" => {
            let x = known(0)?;
            let shape = match axes() {
                Some(axes) => {
                    let axes = super::node::normalize_axes(&axes?, x.shape.len()).ok()?;
                    x.shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, dim)| *dim).collect()
                }
                None => x.shape.iter().copied().filter(|dim| *dim != 1).collect(),
            };
            x.with_shape(shape)?
        }
        "Unsqueeze" => {
            let (x, axes) = (known(0)?, axes()??);
            let axes = super::node::normalize_axes(&axes, x.shape.len() + axes.len()).ok()?;
            let mut shape = x.shape.clone();
            axes.iter().for_each(|axis| shape.insert(*axis, 1));
            x.with_shape(shape)?
        }
        "Reshape" if version >= 5 => {
            let (x, to, zero) = (known(0)?, fixed(1)?, int("allowzero", 0)? != 0);
            let mut shape: Vec<i64> = to
                .iter()
                .enumerate()
                .map(|(i, dim)| if *dim == 0 && !zero { x.shape.get(i).copied().unwrap_or(0) } else { *dim })
                .collect();
            if let Some(free) = shape.iter().position(|dim| *dim == -1) {
                let rest: i64 = shape.iter().filter(|dim| **dim != -1).product();
                shape[free] = if rest == 0 { return None } else { x.items.len() as i64 / rest };
            }
            x.with_shape(shape)?
        }
        "ConstantOfShape" => {
            let value = match attribute("value") {
                Some(a) => a.t.as_ref()?,
                None => return None,
            };
            let (element, shape) = (super::tensor::element_type(value.data_type).ok()?, fixed(0)?);
            let count = usize::try_from(super::importer::checked_bytes(&shape, 1)?).ok().filter(|count| *count <= MAX_ITEMS)?;
            let item = match (element, &value.raw_data) {
                (ElementType::I64 | ElementType::I32, Some(raw)) if raw.len() == element.bytes() => Scalar::read(element, raw).to_i64()?,
                (ElementType::I64, None) => *value.int64_data.first()?,
                (ElementType::I32, None) => i64::from(*value.int32_data.first()?),
                _ => return None,
            };
            if shape.iter().any(|dim| *dim < 0) {
                return None;
            }
            Known { element, shape, items: vec![Dim::from(item); count] }
        }
        "Range" => {
            let _ = attribute("stash_type");
            let (start, limit, step) = (fixed(0)?, fixed(1)?, fixed(2)?);
            let ([start], [limit], [step]) = (&start[..], &limit[..], &step[..]) else { return None };
            if *step == 0 {
                return None;
            }
            let inside = |at: &i64| if *step > 0 { at < limit } else { at > limit };
            let next = |at: &i64| at.checked_add(*step);
            let items: Vec<Dim> = std::iter::successors(Some(*start), next).take_while(inside).take(MAX_ITEMS + 1).map(Dim::from).collect();
            if items.len() > MAX_ITEMS {
                return None;
            }
            Known { element: known(0)?.element, shape: vec![items.len() as i64], items }
        }
        "ReduceProd" | "ReduceSum" => {
            let x = known(0)?;
            let whole = match axes() {
                Some(axes) => axes?.len() == x.shape.len() && x.shape.len() == 1,
                None => x.shape.len() == 1 && int("noop_with_empty_axes", 0)? == 0,
            };
            if !whole || !matches!(x.element, ElementType::I64 | ElementType::I32) {
                return None;
            }
            let product = node.op_type == "ReduceProd";
            let item =
                x.items.iter().fold(Dim::from(i64::from(product)), |folded, item| if product { &folded * item } else { &folded + item });
            let shape = if int("keepdims", 1)? != 0 { vec![1] } else { vec![] };
            Known { element: x.element, shape, items: vec![item] }
        }
        _ => return None,
    };
    // What it does not know is for the operator's own import.
    let whole = node.attribute.iter().all(|attribute| asked.borrow().contains(&attribute.name.as_str()));
    (whole && result.items.len() <= MAX_ITEMS).then(|| Tensor::integers(result.element, &result.shape, result.items))
}

fn binary(op: &str, x: &Dim, y: &Dim) -> Option<Dim> {
    let both = x.as_static().zip(y.as_static());
    let truth = |holds: bool| Some(Dim::from(i64::from(holds)));
    match (op, both) {
        ("Add", None) => Some(x + y),
        ("Sub", None) => Some(x - y),
        ("Mul", None) => Some(x * y),
        ("Add", Some((x, y))) => x.checked_add(y).map(Dim::from),
        ("Sub", Some((x, y))) => x.checked_sub(y).map(Dim::from),
        ("Mul", Some((x, y))) => x.checked_mul(y).map(Dim::from),
        ("Div", Some((x, y))) => x.checked_div(y).map(Dim::from),
        // Rounds down where ONNX truncates: the same for extents, which are at least 0.
        ("Div", None) if y.as_static().is_none_or(|y| y > 0) => Some(x.floor_div(y)),
        ("Mod", Some((x, y))) if y > 0 => Some(Dim::from(x.rem_euclid(y))),
        ("Mod", None) if y.as_static().is_some_and(|y| y > 0) => Some(x.modulo(y)),
        ("Equal", Some((x, y))) => truth(x == y),
        ("Equal", None) if x == y => truth(true),
        // A symbol is at least 0.
        ("Equal", None) if x.as_symbol().is_some() && y.as_static().is_some_and(|y| y < 0) => truth(false),
        ("Equal", None) if y.as_symbol().is_some() && x.as_static().is_some_and(|x| x < 0) => truth(false),
        ("Greater", Some((x, y))) => truth(x > y),
        ("Less", Some((x, y))) => truth(x < y),
        ("GreaterOrEqual", Some((x, y))) => truth(x >= y),
        ("LessOrEqual", Some((x, y))) => truth(x <= y),
        ("And", Some((x, y))) => truth(x != 0 && y != 0),
        ("Or", Some((x, y))) => truth(x != 0 || y != 0),
        ("Max", Some((x, y))) => Some(Dim::from(x.max(y))),
        ("Min", Some((x, y))) => Some(Dim::from(x.min(y))),
        _ => None,
    }
}

/// Broadcasts equal shapes, or one element to the other's shape.
fn elementwise(element: ElementType, a: &Known, b: &Known, op: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Known> {
    let (shape, count) = if a.shape == b.shape || b.items.len() == 1 && a.shape.len() >= b.shape.len() {
        (a.shape.clone(), a.items.len())
    } else if a.items.len() == 1 && b.shape.len() >= a.shape.len() {
        (b.shape.clone(), b.items.len())
    } else {
        return None;
    };
    let at = |known: &Known, i: usize| known.items[if known.items.len() == 1 { 0 } else { i }].clone();
    let items = (0..count).map(|i| op(&at(a, i), &at(b, i))).collect::<Option<_>>()?;
    Some(Known { element, shape, items })
}

/// Indices that ONNX's Slice takes of an axis.
pub fn slice_indices(start: i64, end: i64, step: i64, extent: i64) -> Option<impl Iterator<Item = i64>> {
    let clamp = |at: i64, low: i64, high: i64| (if at < 0 { at.saturating_add(extent) } else { at }).clamp(low, high);
    let (start, end) = match step {
        0 => return None,
        _ if extent == 0 => (0, 0),
        1.. => (clamp(start, 0, extent), clamp(end, 0, extent)),
        // `end` may be -1, before the first element; one that is written as -1 means the last.
        _ => (clamp(start, 0, extent - 1), clamp(end, -1, extent - 1)),
    };
    let inside = move |at: &i64| (if step > 0 { *at < end } else { *at > end }) && (0..extent).contains(at);
    Some(std::iter::successors(Some(start), move |at| at.checked_add(step)).take_while(inside))
}
