//! Functions of `math/*.mlir` -> their bodies, cloned elementwise at a place in another module.
//!
//! A library function is straight-line code on scalars; on vectors every operation is cloned with the vector type and constants become
//! splats. Assumes that the dialects arith, func and math are loaded. Refuses functions and operand types that the library does not have.

use melior::{
    StringRef,
    ir::{
        Attribute, BlockLike, Identifier, Location, Module, Operation, OperationRef, Type, TypeLike, Value, ValueLike,
        operation::{OperationBuilder, OperationLike},
    },
};
use mlir_sys::*;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::OnceLock,
};

const FILES: &[&str] = &[
    include_str!("math/exp.mlir"),
    include_str!("math/log.mlir"),
    include_str!("math/hyperbolic.mlir"),
    include_str!("math/trig.mlir"),
    include_str!("math/inverse_trig.mlir"),
    include_str!("math/erf.mlir"),
    include_str!("math/power.mlir"),
    include_str!("math/remainder.mlir"),
    include_str!("math/convert.mlir"),
];

/// Text of every function by name. The library is parsed function by function, because a kernel needs few of them.
fn texts() -> &'static BTreeMap<&'static str, &'static str> {
    static TEXTS: OnceLock<BTreeMap<&'static str, &'static str>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let mut texts = BTreeMap::new();
        for file in FILES {
            for (start, _) in file.match_indices("func.func @") {
                let text = &file[start..];
                let text = &text[..text.find("\n}\n").expect("every library function ends with a brace on a line of its own") + 3];
                texts.insert(symbol(&text["func.func @".len()..]), text);
            }
        }
        texts
    })
}

fn symbol(text: &str) -> &str {
    &text[..text.find('(').expect("a symbol is followed by its operands")]
}

/// Whether the library has a function of this name, such as `exp_f32`.
pub fn has_function(name: &str) -> bool {
    texts().contains_key(name)
}

/// Names of all functions, sorted.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    texts().keys().copied()
}

/// Where cloned operations go: before an operation.
#[derive(Clone, Copy)]
pub struct Place<'c, 'a> {
    pub before: OperationRef<'c, 'a>,
    /// Location of all that is inserted.
    pub location: Location<'c>,
    /// Whether the target has fused multiply-add; without it, `math.fma` becomes a multiplication and an addition.
    pub fma: bool,
}

impl<'c: 'a, 'a> Place<'c, 'a> {
    pub fn insert(&self, operation: Operation<'c>) -> OperationRef<'c, 'a> {
        let block = self.before.block().expect("an operation to be replaced stands in a block");
        block.insert_operation_before(self.before, operation)
    }

    /// Builds an operation with one result.
    pub fn build(
        &self,
        name: &str,
        operands: &[Value<'c, 'a>],
        result: Type<'c>,
        attributes: &[(Identifier<'c>, Attribute<'c>)],
    ) -> Result<Value<'c, 'a>, String> {
        let operation = OperationBuilder::new(name, self.location)
            .add_operands(operands)
            .add_results(&[result])
            .add_attributes(attributes)
            .build()
            .map_err(|e| format!("expand-math: cannot build {name}: {e}"))?;
        let operation = self.insert(operation);
        Ok(operation.result(0).expect("the operation was built with a result").into())
    }
}

/// The functions needed in one place, parsed.
pub struct MathLibrary<'c> {
    /// Operations inside `_module`.
    functions: HashMap<String, MlirOperation>,
    _module: Module<'c>,
}

impl<'c> MathLibrary<'c> {
    /// Parses the functions in `names` and all that they call, in the context of `user`. Names that the library does not have are an error.
    pub fn parse<'n>(user: OperationRef<'c, '_>, names: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let mut open: Vec<&str> = names.into_iter().collect();
        let mut needed = BTreeSet::new();
        while let Some(name) = open.pop() {
            let (name, text) =
                texts().get_key_value(name).ok_or_else(|| format!("expand-math: the math library has no function {name}"))?;
            if needed.insert(*name) {
                open.extend(text.match_indices("func.call @").map(|(i, call)| symbol(&text[i + call.len()..])));
            }
        }
        let source: String = needed.iter().map(|name| texts()[name]).collect();
        // SAFETY: the context of a live operation, which outlives the module; a null module is an error below.
        let module = unsafe {
            let context = mlirOperationGetContext(user.to_raw());
            Module::from_option_raw(mlirModuleCreateParse(context, StringRef::new(&source).to_raw()))
        };
        let module = module.ok_or("expand-math: internal error: the math library does not parse; the diagnostics above say where")?;
        let mut functions = HashMap::new();
        for function in winze_mlir::walk::operations(module.body()) {
            let name = string_attribute(function, "sym_name").ok_or("expand-math: internal error: a function without a name")?;
            functions.insert(name, function.to_raw());
        }
        Ok(Self { functions, _module: module })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// Clones the body of function `name` before `place`, elementwise for vector operands of one shape; returns its results.
    pub fn inline<'a>(&self, name: &str, operands: &[Value<'c, 'a>], place: &Place<'c, 'a>) -> Result<Vec<Value<'c, 'a>>, String>
    where
        'c: 'a,
    {
        let without_fma = format!("{name}_nofma");
        let name = if !place.fma && self.functions.contains_key(&without_fma) { &without_fma } else { name };
        let &function = self.functions.get(name).ok_or_else(|| format!("expand-math: internal error: function {name} is not loaded"))?;
        // SAFETY: the function lives in our module.
        let function: OperationRef<'c, '_> = unsafe { OperationRef::from_raw(function) };
        let body = function
            .first_region()
            .and_then(|region| melior::ir::RegionLike::first_block(&region))
            .ok_or_else(|| format!("expand-math: internal error: function {name} has no body"))?;
        let shape = operands.first().ok_or_else(|| format!("expand-math: {name} without operands"))?.r#type();

        let mut values: HashMap<*const std::ffi::c_void, Value<'c, 'a>> = HashMap::new();
        for (index, &operand) in operands.iter().enumerate() {
            let argument = body.argument(index).map_err(|e| format!("expand-math: {name}: {e}"))?;
            if element_type(operand.r#type()) != argument.r#type() {
                return Err(format!("expand-math: {name} takes {} where {} was given", argument.r#type(), operand.r#type()));
            }
            values.insert(argument.to_raw().ptr, operand);
        }
        for operation in winze_mlir::walk::operations(body) {
            let mapped: Vec<Value<'c, 'a>> = operation.operands().map(|operand| values[&operand.to_raw().ptr]).collect();
            let identifier = operation.name();
            let results = match identifier.as_string_ref().as_str().unwrap_or_default() {
                "func.return" => return Ok(mapped),
                "func.call" => {
                    let callee = symbol_attribute(operation, "callee").ok_or("expand-math: internal error: a call without a callee")?;
                    self.inline(&callee, &mapped, place)?
                }
                "math.fma" if !place.fma => vec![multiply_add(&mapped, place)?],
                _ => {
                    let clone = place.insert(clone_with_shape(operation, &mapped, shape, place.location));
                    clone.results().map(Value::from).collect()
                }
            };
            for (result, value) in operation.results().zip(results) {
                values.insert(result.to_raw().ptr, value);
            }
        }
        Err(format!("expand-math: internal error: function {name} does not return"))
    }
}

/// a b + c as two operations.
pub fn multiply_add<'c: 'a, 'a>(operands: &[Value<'c, 'a>], place: &Place<'c, 'a>) -> Result<Value<'c, 'a>, String> {
    let ty = operands[0].r#type();
    let product = place.build("arith.mulf", &operands[..2], ty, &[])?;
    place.build("arith.addf", &[product, operands[2]], ty, &[])
}

/// A scalar operation of the library on values of the shape of `shape`.
fn clone_with_shape<'c: 'a, 'a>(
    operation: OperationRef<'c, '_>,
    operands: &[Value<'c, 'a>],
    shape: Type<'c>,
    location: Location<'c>,
) -> Operation<'c> {
    // SAFETY: cloning a live operation gives an owned one; the setters get live values, types and attributes of the same context.
    unsafe {
        let clone = mlirOperationClone(operation.to_raw());
        mlirOperationSetLocation(clone, location.to_raw());
        for (index, operand) in operands.iter().enumerate() {
            mlirOperationSetOperand(clone, index as isize, operand.to_raw());
        }
        for (index, result) in operation.results().enumerate() {
            mlirValueSetType(mlirOperationGetResult(clone, index as isize), with_element_type(shape, result.r#type()).to_raw());
        }
        let value = StringRef::new("value");
        let scalar = mlirOperationGetInherentAttributeByName(clone, value.to_raw());
        if shape.is_vector() && !scalar.ptr.is_null() {
            let ty = mlirValueGetType(mlirOperationGetResult(clone, 0));
            mlirOperationSetInherentAttributeByName(clone, value.to_raw(), mlirDenseElementsAttrSplatGet(ty, scalar));
        }
        Operation::from_raw(clone)
    }
}

/// Element type of a vector, any other type as it is.
pub fn element_type(ty: Type<'_>) -> Type<'_> {
    if !ty.is_vector() {
        return ty;
    }
    // SAFETY: a vector is a shaped type.
    unsafe { Type::from_raw(mlirShapedTypeGetElementType(ty.to_raw())) }
}

/// `element` in the shape of `shape`, which is a vector or stands for a scalar.
pub fn with_element_type<'c>(shape: Type<'c>, element: Type<'c>) -> Type<'c> {
    if !shape.is_vector() {
        return element;
    }
    let raw = shape.to_raw();
    // SAFETY: a vector type; the element types that arise here (integers and floats) are allowed in vectors.
    unsafe {
        let rank = mlirShapedTypeGetRank(raw) as isize;
        let sizes: Vec<i64> = (0..rank).map(|i| mlirShapedTypeGetDimSize(raw, i)).collect();
        let scalable: Vec<bool> = (0..rank).map(|i| mlirVectorTypeIsDimScalable(raw, i)).collect();
        Type::from_raw(mlirVectorTypeGetScalable(rank, sizes.as_ptr(), scalable.as_ptr(), element.to_raw()))
    }
}

/// Value of a string attribute.
pub fn string_attribute(operation: OperationRef<'_, '_>, name: &str) -> Option<String> {
    let attribute = melior::ir::attribute::StringAttribute::try_from(operation.attribute(name).ok()?).ok()?;
    Some(attribute.value().to_owned())
}

/// Value of a flat symbol reference.
pub fn symbol_attribute(operation: OperationRef<'_, '_>, name: &str) -> Option<String> {
    let attribute = melior::ir::attribute::FlatSymbolRefAttribute::try_from(operation.attribute(name).ok()?).ok()?;
    Some(attribute.value().to_owned())
}
