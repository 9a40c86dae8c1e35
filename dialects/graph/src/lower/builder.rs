//! Builds arith, math, linalg and tensor operations at the end of a block.
//!
//! Values handed out live as long as the function under construction, which the borrow checker cannot see across regions that are filled before
//! they are attached; they therefore have the lifetime of the context. A pass must not keep them beyond its run.

use crate::types::{Class, ElementType};
use winze_mlir::melior::{
    Context,
    ir::{
        AffineMap, Attribute, Block, BlockLike, BlockRef, Identifier, Location, OperationRef, Region, RegionLike, Type, TypeLike, Value,
        ValueLike,
        attribute::{FloatAttribute, IntegerAttribute},
        operation::OperationBuilder,
        r#type::IntegerType,
    },
};

pub type Val<'c> = Value<'c, 'c>;
pub type Op<'c> = OperationRef<'c, 'c>;
pub type Blk<'c> = BlockRef<'c, 'c>;
/// Builder inside the body of a kernel operation: operands and results are scalars.
pub type ScalarBuilder<'c> = Builder<'c>;

/// The same value, with the lifetime of the context.
pub fn lasting<'c>(value: Value<'c, '_>) -> Val<'c> {
    // SAFETY: values live until their operation is erased; see the head of this file.
    unsafe { Value::from_raw(value.to_raw()) }
}

/// The same operation, with the lifetime of the context.
pub fn lasting_op<'c>(op: OperationRef<'c, '_>) -> Op<'c> {
    // SAFETY: as for `lasting`.
    unsafe { OperationRef::from_raw(op.to_raw()) }
}

/// The same block, with the lifetime of the context.
pub fn lasting_block<'c>(block: BlockRef<'c, '_>) -> Blk<'c> {
    // SAFETY: as for `lasting`.
    unsafe { BlockRef::from_raw(block.to_raw()) }
}

/// Appends operations to a block, all with one location.
#[derive(Clone, Copy)]
pub struct Builder<'c> {
    pub context: &'c Context,
    pub location: Location<'c>,
    pub block: Blk<'c>,
}

impl<'c> Builder<'c> {
    pub fn attribute(&self, text: &str) -> Attribute<'c> {
        Attribute::parse(self.context, text).expect("attributes are written by this crate")
    }

    pub fn integer(&self, bits: u32) -> Type<'c> {
        IntegerType::new(self.context, bits).into()
    }

    pub fn index_type(&self) -> Type<'c> {
        Type::index(self.context)
    }

    pub fn f32(&self) -> Type<'c> {
        Type::float32(self.context)
    }

    /// Appends an operation with regions.
    pub fn build(
        &self,
        name: &str,
        operands: &[Val<'c>],
        results: &[Type<'c>],
        attributes: &[(&str, Attribute<'c>)],
        regions: Vec<Region<'c>>,
    ) -> Op<'c> {
        let attributes: Vec<_> = attributes.iter().map(|(name, value)| (Identifier::new(self.context, name), *value)).collect();
        let op = OperationBuilder::new(name, self.location)
            .add_operands(operands)
            .add_results(results)
            .add_attributes(&attributes)
            .add_regions_vec(regions)
            .build()
            .expect("an op with explicit types builds");
        lasting_op(self.block.append_operation(op))
    }

    /// Appends an operation without regions.
    pub fn op(&self, name: &str, operands: &[Val<'c>], results: &[Type<'c>], attributes: &[(&str, Attribute<'c>)]) -> Op<'c> {
        self.build(name, operands, results, attributes, vec![])
    }

    /// Appends an operation with one result.
    pub fn value(&self, name: &str, operands: &[Val<'c>], result: Type<'c>, attributes: &[(&str, Attribute<'c>)]) -> Val<'c> {
        first_result(self.op(name, operands, &[result], attributes))
    }

    /// An operation whose result has the type of its first operand.
    pub fn same(&self, name: &str, operands: &[Val<'c>]) -> Val<'c> {
        self.value(name, operands, operands[0].r#type(), &[])
    }

    /// A constant of an integer, index or float type.
    pub fn constant(&self, r#type: Type<'c>, value: f64) -> Val<'c> {
        let attribute: Attribute = if r#type.is_integer() || r#type.is_index() {
            return self.constant_int(r#type, value as i64);
        } else {
            FloatAttribute::new(self.context, r#type, value).into()
        };
        self.value("arith.constant", &[], r#type, &[("value", attribute)])
    }

    /// An integer or index constant; bits beyond the width are dropped.
    pub fn constant_int(&self, r#type: Type<'c>, value: i64) -> Val<'c> {
        self.value("arith.constant", &[], r#type, &[("value", IntegerAttribute::new(r#type, value).into())])
    }

    pub fn index(&self, value: i64) -> Val<'c> {
        self.constant_int(self.index_type(), value)
    }

    /// `arith.cmpi` by the name of the predicate: `slt`.
    pub fn cmpi(&self, predicate: &str, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        const NAMES: [&str; 10] = ["eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"];
        self.compare("arith.cmpi", &NAMES, predicate, a, b)
    }

    /// `arith.cmpf` by the name of the predicate: `olt`.
    pub fn cmpf(&self, predicate: &str, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        const NAMES: [&str; 16] =
            ["false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord", "ueq", "ugt", "uge", "ult", "ule", "une", "uno", "true"];
        self.compare("arith.cmpf", &NAMES, predicate, a, b)
    }

    fn compare(&self, name: &str, names: &[&str], predicate: &str, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        let number = names.iter().position(|n| *n == predicate).expect("a predicate of this crate");
        let predicate = IntegerAttribute::new(self.integer(64), number as i64).into();
        self.value(name, &[a, b], self.integer(1), &[("predicate", predicate)])
    }

    pub fn select(&self, condition: Val<'c>, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.value("arith.select", &[condition, a, b], a.r#type(), &[])
    }

    /// The index of a loop, inside a `linalg.generic`.
    pub fn loop_index(&self, position: usize) -> Val<'c> {
        let dim = IntegerAttribute::new(self.integer(64), position as i64).into();
        self.value("linalg.index", &[], self.index_type(), &[("dim", dim)])
    }

    pub fn extract(&self, tensor: Val<'c>, indices: &[Val<'c>]) -> Val<'c> {
        let element = {
            use winze_mlir::melior::ir::r#type::{RankedTensorType, ShapedTypeLike};
            RankedTensorType::try_from(tensor.r#type()).expect("a kernel's tensor").element()
        };
        self.value("tensor.extract", &[&[tensor], indices].concat(), element, &[])
    }

    /// `then` where the condition holds, else `otherwise`; only the chosen one is computed.
    pub fn if_else(
        &self,
        condition: Val<'c>,
        result: Type<'c>,
        then: impl FnOnce(&Self) -> Val<'c>,
        otherwise: impl FnOnce(&Self) -> Val<'c>,
    ) -> Val<'c> {
        let then = self.region(&[], |b, _| vec![then(b)], "scf.yield");
        let otherwise = self.region(&[], |b, _| vec![otherwise(b)], "scf.yield");
        first_result(self.build("scf.if", &[condition], &[result], &[], vec![then, otherwise]))
    }

    /// `scf.for` from 0 up to `bound` that carries values.
    pub fn count_to(
        &self,
        bound: Val<'c>,
        carried: &[Val<'c>],
        body: impl FnOnce(&Self, Val<'c>, &[Val<'c>]) -> Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        let types: Vec<Type> = carried.iter().map(|value| value.r#type()).collect();
        let arguments = [&[self.index_type()], &types[..]].concat();
        let region = self.region(&arguments, |b, values| body(b, values[0], &values[1..]), "scf.yield");
        let operands = [&[self.index(0), bound, self.index(1)], carried].concat();
        let op = self.build("scf.for", &operands, &types, &[], vec![region]);
        (0..types.len()).map(|i| lasting(op.result(i).expect("one per carried value").into())).collect()
    }

    /// A region of one block that ends with `terminator` on the values of `body`.
    pub fn region(&self, arguments: &[Type<'c>], body: impl FnOnce(&Self, &[Val<'c>]) -> Vec<Val<'c>>, terminator: &str) -> Region<'c> {
        let arguments: Vec<_> = arguments.iter().map(|r#type| (*r#type, self.location)).collect();
        let region = Region::new();
        let block = lasting_block(region.append_block(Block::new(&arguments)));
        let values: Vec<_> = (0..arguments.len()).map(|i| lasting(block.argument(i).expect("in range").into())).collect();
        let inner = Self { block, ..*self };
        let results = body(&inner, &values);
        inner.op(terminator, &results, &[], &[]);
        region
    }

    /// A stored element as a scalar: bool is `!= 0`.
    pub fn load(&self, element: ElementType, stored: Val<'c>) -> Val<'c> {
        if element != ElementType::Bool || stored.r#type() == self.integer(1) {
            return stored;
        }
        let zero = self.constant_int(stored.r#type(), 0);
        self.cmpi("ne", stored, zero)
    }

    /// A scalar as a stored element of type `storage`.
    pub fn store(&self, scalar: Val<'c>, storage: Type<'c>) -> Val<'c> {
        if scalar.r#type() == storage { scalar } else { self.value("arith.extui", &[scalar], storage, &[]) }
    }

    /// f16 and bf16 as f32, in which they are computed; others as they are.
    pub fn widen(&self, element: ElementType, scalar: Val<'c>) -> Val<'c> {
        if is_half(element) { self.value("arith.extf", &[scalar], self.f32(), &[]) } else { scalar }
    }

    /// A computed value rounded back to its element type.
    pub fn narrow(&self, element: ElementType, scalar: Val<'c>) -> Val<'c> {
        if is_half(element) { self.value("arith.truncf", &[scalar], element.to_scalar_type(self.context), &[]) } else { scalar }
    }

    /// The scalar type in which `element` is computed: f32 for f16 and bf16.
    pub fn compute_type(&self, element: ElementType) -> Type<'c> {
        if is_half(element) { self.f32() } else { element.to_scalar_type(self.context) }
    }

    /// A constant in the type in which `element` is computed.
    pub fn number(&self, element: ElementType, value: f64) -> Val<'c> {
        match element.class() {
            Class::Float => self.constant(self.compute_type(element), value),
            _ => self.constant_int(self.compute_type(element), value as i64),
        }
    }

    pub fn map_attribute(&self, map: AffineMap<'c>) -> Attribute<'c> {
        // SAFETY: the map belongs to this context.
        unsafe { Attribute::from_raw(winze_mlir::mlir_sys::mlirAffineMapAttrGet(map.to_raw())) }
    }
}

/// True for floats that are computed in f32.
pub fn is_half(element: ElementType) -> bool {
    matches!(element, ElementType::F16 | ElementType::BF16)
}

pub fn first_result<'c>(op: Op<'c>) -> Val<'c> {
    lasting(op.result(0).expect("an op with a result").into())
}
