//! Locations of model nodes: `NameLoc(node, FileLineCol(model, node index, output index))`, fused on merging.

use melior::{
    Context,
    ir::{Attribute, Location, Value, ValueLike},
};
use mlir_sys::MlirLocation;

/// Names of the model nodes in a location, in order of appearance.
pub fn node_names(location: Location) -> Vec<String> {
    let mut names = vec![];
    collect_names(location.to_raw(), &mut names);
    names
}

fn collect_names(location: MlirLocation, names: &mut Vec<String>) {
    // SAFETY: each query is guarded by the check of the location's kind.
    unsafe {
        if mlir_sys::mlirLocationIsAName(location) {
            let name = mlir_sys::mlirIdentifierStr(mlir_sys::mlirLocationNameGetName(location));
            let name = crate::str_from_raw(name).to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        } else if mlir_sys::mlirLocationIsAFused(location) {
            let count = mlir_sys::mlirLocationFusedGetNumLocations(location) as usize;
            let mut parts = vec![MlirLocation { ptr: std::ptr::null() }; count];
            mlir_sys::mlirLocationFusedGetLocations(location, parts.as_mut_ptr());
            for part in parts {
                collect_names(part, names);
            }
        } else if mlir_sys::mlirLocationIsACallSite(location) {
            collect_names(mlir_sys::mlirLocationCallSiteGetCallee(location), names);
        }
    }
}

/// One location for ops that are merged.
pub fn fuse<'c>(context: &'c Context, locations: &[Location<'c>]) -> Location<'c> {
    let mut distinct: Vec<Location> = vec![];
    for location in locations {
        if !distinct.contains(location) {
            distinct.push(*location);
        }
    }
    match distinct[..] {
        [] => Location::unknown(context),
        [only] => only,
        // SAFETY: a null attribute means "no metadata".
        _ => Location::fused(context, &distinct, unsafe { Attribute::from_raw(mlir_sys::mlirAttributeGetNull()) }),
    }
}

/// Location of what defines a value.
pub fn of_value<'c>(value: Value<'c, '_>) -> Location<'c> {
    // SAFETY: values are live; the location lives as long as the context.
    unsafe { Location::from_raw(mlir_sys::mlirValueGetLocation(value.to_raw())) }
}

/// Whether a location says nothing: unknown, or fused from nothing else.
pub fn is_unknown(location: Location) -> bool {
    let text = location.to_string();
    text == "loc(unknown)" || text == "loc(fused[unknown])"
}
