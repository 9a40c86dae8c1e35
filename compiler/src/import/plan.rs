//! What import takes for known about a model's inputs beyond the model itself, and where a value that is missing comes from.
//!
//! Import starts with nothing known. An op that needs a value while compiling names the inputs which that value is computed from; if all of them
//! are on offer they are fixed, and import starts over. Shapes on offer are used only when values alone do not suffice.

use super::{
    error::ImportError,
    narrow::ModelType,
    options::{ImportOptions, Offer, offers},
    proto::{DimensionValue, GraphProto, TypeValue, ValueInfoProto},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use winze_mlir::{
    melior::ir::{
        BlockLike, BlockRef, OperationRef, Value, ValueLike,
        operation::{OperationLike, OperationResult},
    },
    walk,
};

/// What one attempt takes for known.
pub struct Plan {
    pub offers: BTreeMap<String, Offer>,
    /// Inputs whose offered value is fixed.
    pub fixed: BTreeSet<String>,
    /// Symbolic dims of all inputs with an offer take its extents.
    pub fixes_dims: bool,
}

impl Plan {
    pub fn new(graph: &GraphProto, options: &ImportOptions) -> Result<Self, ImportError> {
        let inputs: Vec<&ValueInfoProto> = inputs(graph).collect();
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let mut offers = offers(options, &names)?;
        for input in inputs {
            let Some(offer) = offers.get(&input.name) else { continue };
            if fits(input, offer) {
                continue;
            }
            if offer.explicit {
                let what = format!("the file holds {} of shape {:?}, which the input `{}` is not", offer.element, offer.dims, input.name);
                return Err(ImportError::invalid(what, format!("--value {}", input.name), "give a value of the input's type"));
            }
            // The run will say what is wrong.
            offers.remove(&input.name);
        }
        Ok(Self { offers, fixed: BTreeSet::new(), fixes_dims: false })
    }

    /// Whether another attempt may get further than one that has needed `demands`.
    pub fn extend(&mut self, demands: BTreeSet<String>) -> bool {
        let known = self.fixed.len();
        self.fixed.extend(demands);
        if self.fixed.len() > known {
            return true;
        }
        !std::mem::replace(&mut self.fixes_dims, true) && !self.offers.is_empty()
    }

    /// Extents of symbolic dims that are fixed, by name.
    pub fn dims(&self, graph: &GraphProto) -> HashMap<String, i64> {
        self.dims_where(graph, |name| self.fixes_dims || self.fixed.contains(name))
    }

    /// Extents of symbolic dims in the inputs on offer, by name.
    pub fn offered_dims(&self, graph: &GraphProto) -> HashMap<String, i64> {
        self.dims_where(graph, |_| true)
    }

    fn dims_where(&self, graph: &GraphProto, wanted: impl Fn(&str) -> bool) -> HashMap<String, i64> {
        let mut dims = HashMap::new();
        for input in inputs(graph) {
            let Some(offer) = self.offers.get(&input.name).filter(|_| wanted(&input.name)) else { continue };
            for (name, extent) in symbols(input).zip(&offer.dims) {
                if let Some(name) = name {
                    dims.entry(name).or_insert(*extent);
                }
            }
        }
        dims
    }

    /// Whether the value of an input is known or can be had.
    pub fn has_value(&self, input: &str) -> bool {
        self.offers.get(input).is_some_and(|offer| offer.bytes.is_some())
    }
}

/// Inputs that a run gives.
fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    graph.input.iter().filter(|input| graph.initializer.iter().all(|tensor| tensor.name != input.name))
}

fn fits(input: &ValueInfoProto, offer: &Offer) -> bool {
    let Some(TypeValue::Tensor(tensor)) = input.r#type.as_ref().and_then(|r#type| r#type.value.as_ref()) else { return false };
    if !ModelType::of_number(tensor.elem_type).is_ok_and(|r#type| offer.holds(r#type.element)) {
        return false;
    }
    let Some(shape) = &tensor.shape else { return true };
    let equal = |(dim, extent): (&super::proto::DimensionProto, &i64)| match dim.value {
        Some(DimensionValue::Value(value)) => value < 0 || value == *extent,
        _ => true,
    };
    shape.dim.len() == offer.dims.len() && shape.dim.iter().zip(&offer.dims).all(equal)
}

/// Name of each dim of an input that is symbolic; of an input without a shape there is no end to them.
pub fn symbols(input: &ValueInfoProto) -> impl Iterator<Item = Option<String>> {
    let shape = match input.r#type.as_ref().and_then(|r#type| r#type.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => tensor.shape.as_ref(),
        _ => None,
    };
    let rank = shape.map_or(usize::MAX, |shape| shape.dim.len());
    (0..rank).map(move |axis| match shape.and_then(|shape| shape.dim[axis].value.as_ref()) {
        Some(DimensionValue::Value(value)) if *value >= 0 => None,
        // Some exporters call every dim that they do not know "?".
        Some(DimensionValue::Param(name)) if !name.is_empty() && name != "?" => Some(name.clone()),
        _ => Some(format!("{}_dim{axis}", input.name)),
    })
}

/// Positions of the arguments of `entry` that `value` is computed from; `None` if it depends on the turn of a loop.
pub fn sources(value: Value, entry: BlockRef) -> Option<BTreeSet<usize>> {
    let (mut found, mut seen, mut open) = (BTreeSet::new(), HashSet::new(), vec![value]);
    while let Some(value) = open.pop() {
        if !seen.insert(value.to_raw().ptr) {
            continue;
        }
        if let Some(argument) = walk::block_argument(value) {
            if argument.owner().to_raw().ptr == entry.to_raw().ptr {
                found.insert(argument.argument_number());
                continue;
            }
            // SAFETY: the op lives as long as the block does, which holds the argument.
            let owner = argument.owner().parent_operation()?.to_raw();
            let owner = unsafe { OperationRef::from_raw(owner) };
            open.extend(owner.operands());
            continue;
        }
        let owner = OperationResult::try_from(value).ok()?.owner().to_raw();
        // SAFETY: an op lives as long as its results.
        let owner: OperationRef = unsafe { OperationRef::from_raw(owner) };
        // An extent depends on no values.
        if owner.name().as_string_ref().as_str() == Ok("graph.dim") {
            continue;
        }
        open.extend(owner.operands());
        let _ = walk::walk(owner, &mut |inner| {
            open.extend(inner.operands());
            Ok::<(), ()>(())
        });
    }
    Some(found)
}
