//! Builds vector, scf, memref and arith operations in front of an operation or at the end of a block.
//!
//! Values handed out live as long as the module under construction, which the borrow checker cannot see across regions that are filled before they
//! are attached; `Builder` therefore gives them the lifetime of the context. A pass must not keep them beyond its run.

use melior::{
    Context, ContextRef,
    ir::{
        AffineMap, Attribute, Block, BlockLike, BlockRef, Identifier, Location, Operation, OperationRef, Region, RegionLike, Type,
        TypeLike, Value, ValueLike,
        attribute::IntegerAttribute,
        operation::{OperationBuilder, OperationLike},
        r#type::{MemRefType, ShapedTypeLike},
    },
};
use winze_mlir::{attributes, walk};

pub type V<'c> = Value<'c, 'c>;

/// Where and with what location operations are made.
#[derive(Clone, Copy)]
pub struct Builder<'c> {
    context: ContextRef<'c>,
    pub location: Location<'c>,
    block: BlockRef<'c, 'c>,
    before: Option<OperationRef<'c, 'c>>,
}

/// The same value, with the lifetime of the context.
pub fn lasting<'c>(value: Value<'c, '_>) -> V<'c> {
    // SAFETY: values live until their operation is erased; see the head of this file.
    unsafe { Value::from_raw(value.to_raw()) }
}

/// The same operation, with the lifetime of the context.
pub fn lasting_op<'c>(op: OperationRef<'c, '_>) -> OperationRef<'c, 'c> {
    // SAFETY: as for `lasting`.
    unsafe { OperationRef::from_raw(op.to_raw()) }
}

/// The same block, with the lifetime of the context.
pub fn lasting_block<'c>(block: BlockRef<'c, '_>) -> BlockRef<'c, 'c> {
    // SAFETY: as for `lasting`.
    unsafe { BlockRef::from_raw(block.to_raw()) }
}

impl<'c> Builder<'c> {
    /// Inserts before `op`, with its location.
    pub fn before(op: OperationRef<'c, '_>) -> Result<Self, String> {
        let op = lasting_op(op);
        let block = op.block().ok_or("an operation outside of any block cannot be rewritten")?;
        Ok(Self { context: op.context(), location: op.location(), block, before: Some(op) })
    }

    /// Appends to `block`.
    pub fn at_end(block: BlockRef<'c, '_>, location: Location<'c>) -> Self {
        Self { context: location.context(), location, block: lasting_block(block), before: None }
    }

    /// The context, to be used at once: melior's reference to it points into this builder.
    pub fn location(&self) -> Location<'c> {
        self.location
    }

    pub fn context(&self) -> &'c Context {
        // SAFETY: a context is used by handle; what is made in it does not keep the reference.
        unsafe { self.context.to_ref() }
    }

    pub fn insert(&self, op: Operation<'c>) -> OperationRef<'c, 'c> {
        match self.before {
            Some(before) => self.block.insert_operation_before(before, op),
            None => self.block.append_operation(op),
        }
    }

    /// Any operation; `Err` names it if MLIR refuses to build it.
    pub fn op(
        &self,
        name: &str,
        operands: &[V<'c>],
        results: &[Type<'c>],
        attributes: &[(&str, Attribute<'c>)],
    ) -> Result<OperationRef<'c, 'c>, String> {
        self.op_with_regions(name, operands, results, attributes, vec![])
    }

    pub fn op_with_regions(
        &self,
        name: &str,
        operands: &[V<'c>],
        results: &[Type<'c>],
        attributes: &[(&str, Attribute<'c>)],
        regions: Vec<Region<'c>>,
    ) -> Result<OperationRef<'c, 'c>, String> {
        let attributes: Vec<_> = attributes.iter().map(|(key, value)| (Identifier::new(self.context(), key), *value)).collect();
        let op = OperationBuilder::new(name, self.location)
            .add_operands(operands)
            .add_results(results)
            .add_attributes(&attributes)
            .add_regions_vec(regions)
            .build()
            .map_err(|_| format!("'{name}' cannot be built"))?;
        Ok(self.insert(op))
    }

    /// An operation with one result.
    pub fn value(&self, name: &str, operands: &[V<'c>], result: Type<'c>, attributes: &[(&str, Attribute<'c>)]) -> Result<V<'c>, String> {
        let op = self.op(name, operands, &[result], attributes)?;
        Ok(lasting(op.result(0).map_err(|e| e.to_string())?.into()))
    }

    pub fn index_type(&self) -> Type<'c> {
        Type::index(self.context())
    }

    pub fn index(&self, value: i64) -> Result<V<'c>, String> {
        let attribute = IntegerAttribute::new(self.index_type(), value);
        self.value("arith.constant", &[], self.index_type(), &[("value", attribute.into())])
    }

    pub fn attribute(&self, text: &str) -> Result<Attribute<'c>, String> {
        Attribute::parse(self.context(), text).ok_or_else(|| format!("attribute '{text}' does not parse"))
    }

    pub fn parse_type(&self, text: &str) -> Result<Type<'c>, String> {
        Type::parse(self.context(), text).ok_or_else(|| format!("type '{text}' does not parse"))
    }

    /// `affine.apply` of a map with one result; operands are dims, then symbols.
    pub fn apply(&self, map: AffineMap<'c>, operands: &[V<'c>]) -> Result<V<'c>, String> {
        // SAFETY: makes an attribute that the context owns.
        let map = unsafe { Attribute::from_raw(mlir_sys::mlirAffineMapAttrGet(map.to_raw())) };
        self.value("affine.apply", operands, self.index_type(), &[("map", map)])
    }

    /// Reads a vector; with a mask the lanes that it leaves out are zero and not read.
    pub fn load_vector(&self, base: V<'c>, place: &[V<'c>], vector: Type<'c>, mask: Option<V<'c>>) -> Result<V<'c>, String> {
        let target = [&[base], place].concat();
        let Some(mask) = mask else { return self.value("vector.load", &target, vector, &[]) };
        // SAFETY: a live vector type.
        let element = unsafe { Type::from_raw(mlir_sys::mlirShapedTypeGetElementType(vector.to_raw())) };
        let zero = self.attribute(&format!("dense<{}> : {vector}", if element.is_float() { "0.0" } else { "0" }))?;
        let zeros = self.value("arith.constant", &[], vector, &[("value", zero)])?;
        self.value("vector.maskedload", &[&target[..], &[mask, zeros]].concat(), vector, &[])
    }

    /// Writes a vector; with a mask the lanes that it leaves out are not written.
    pub fn store_vector(&self, value: V<'c>, base: V<'c>, place: &[V<'c>], mask: Option<V<'c>>) -> Result<(), String> {
        match mask {
            None => self.op("vector.store", &[&[value, base], place].concat(), &[], &[])?,
            Some(mask) => self.op("vector.maskedstore", &[&[base], place, &[mask, value]].concat(), &[], &[])?,
        };
        Ok(())
    }

    /// The elements of a buffer whose last dim is contiguous from `place` on, to be read at known distances: addresses are computed once.
    pub fn row(&self, base: V<'c>, place: &[V<'c>]) -> Result<V<'c>, String> {
        let memref = MemRefType::try_from(base.r#type()).map_err(|e| e.to_string())?;
        let (rank, element) = (memref.rank(), memref.element());
        let types = [&[self.parse_type(&format!("memref<{element}>"))?][..], &vec![self.index_type(); 1 + 2 * rank]].concat();
        let parts = self.op("memref.extract_strided_metadata", &[base], &types, &[])?;
        let part = |i: usize| parts.result(i).map(|result| lasting(result.into())).map_err(|e| e.to_string());
        let mut offset = part(1)?;
        for (dim, index) in place.iter().enumerate() {
            let distance = if dim + 1 == rank { *index } else { self.binary("arith.muli", *index, part(2 + rank + dim)?)? };
            offset = self.binary("arith.addi", offset, distance)?;
        }
        let list = |number: i64| self.attribute(&format!("array<i64: {number}>"));
        let attributes = [
            ("static_offsets", list(i64::MIN)?),
            ("static_sizes", list(i64::MIN)?),
            ("static_strides", list(1)?),
            ("operandSegmentSizes", attributes::segments(self.context(), &[1, 1, 1, 0])),
        ];
        let row = self.parse_type(&format!("memref<?x{element}, strided<[1], offset: ?>>"))?;
        self.value("memref.reinterpret_cast", &[part(0)?, offset, part(1 + rank)?], row, &attributes)
    }

    /// A mask of the first `count` of `lanes` lanes; all of them if there are not more, none if it is negative.
    pub fn first_lanes(&self, count: V<'c>, lanes: i64) -> Result<V<'c>, String> {
        let mask = self.parse_type(&format!("vector<{lanes}xi1>"))?;
        self.value("vector.create_mask", &[count], mask, &[])
    }

    /// `lhs op rhs` on index values, e.g. `arith.addi`.
    pub fn binary(&self, name: &str, lhs: V<'c>, rhs: V<'c>) -> Result<V<'c>, String> {
        self.value(name, &[lhs, rhs], lhs.r#type(), &[])
    }

    /// `arith.cmpi` of index values with a signed or equality predicate as it is written: `slt`, `eq`, ...
    pub fn compare(&self, predicate: &str, lhs: V<'c>, rhs: V<'c>) -> Result<V<'c>, String> {
        let names = ["eq", "ne", "slt", "sle", "sgt", "sge"];
        let number =
            names.iter().position(|name| *name == predicate).ok_or_else(|| format!("'{predicate}' is no predicate of arith.cmpi"))?;
        self.value("arith.cmpi", &[lhs, rhs], self.parse_type("i1")?, &[("predicate", self.attribute(&format!("{number} : i64"))?)])
    }

    /// `scf.for` from `from` to `to` by `step`; `body` gets the counter and the carried values and returns the next ones.
    pub fn for_loop(
        &self,
        from: V<'c>,
        to: V<'c>,
        step: V<'c>,
        init: &[V<'c>],
        body: impl FnOnce(&Self, V<'c>, &[V<'c>]) -> Result<Vec<V<'c>>, String>,
    ) -> Result<Vec<V<'c>>, String> {
        let types: Vec<_> = init.iter().map(|value| value.r#type()).collect();
        let (region, block) = self.region(&[&[self.index_type()], &types[..]].concat());
        let inner = Self::at_end(block, self.location);
        let carried: Vec<_> = (1..=init.len()).map(|i| lasting(block.argument(i).expect("made above").into())).collect();
        let next = body(&inner, lasting(block.argument(0).expect("made above").into()), &carried)?;
        inner.op("scf.yield", &next, &[], &[])?;
        let operands: Vec<_> = [from, to, step].into_iter().chain(init.iter().copied()).collect();
        let op = self.op_with_regions("scf.for", &operands, &types, &[], vec![region])?;
        Ok(op.results().map(|result| lasting(result.into())).collect())
    }

    /// `scf.if` without results: `body(builder, whether)` for both branches.
    pub fn branch(&self, condition: V<'c>, mut body: impl FnMut(&Self, bool) -> Result<(), String>) -> Result<(), String> {
        let mut regions = vec![];
        for whether in [true, false] {
            let (region, block) = self.region(&[]);
            let inner = Self::at_end(block, self.location);
            body(&inner, whether)?;
            inner.op("scf.yield", &[], &[], &[])?;
            regions.push(region);
        }
        self.op_with_regions("scf.if", &[condition], &[], &[], regions)?;
        Ok(())
    }

    /// `scf.index_switch` without results: `body(builder, case)` for each of `cases`, nothing otherwise.
    pub fn switch(&self, selector: V<'c>, cases: &[i64], mut body: impl FnMut(&Self, i64) -> Result<(), String>) -> Result<(), String> {
        let mut regions = Vec::new();
        for case in std::iter::once(None).chain(cases.iter().map(Some)) {
            let (region, block) = self.region(&[]);
            let inner = Self::at_end(block, self.location);
            if let Some(case) = case {
                body(&inner, *case)?;
            }
            inner.op("scf.yield", &[], &[], &[])?;
            regions.push(region);
        }
        let list: Vec<_> = cases.iter().map(i64::to_string).collect();
        let cases = self.attribute(&format!("array<i64: {}>", list.join(", ")))?;
        self.op_with_regions("scf.index_switch", &[selector], &[], &[("cases", cases)], regions)?;
        Ok(())
    }

    /// A region with one block that has arguments of these types.
    pub fn region(&self, arguments: &[Type<'c>]) -> (Region<'c>, BlockRef<'c, 'c>) {
        let arguments: Vec<_> = arguments.iter().map(|ty| (*ty, self.location)).collect();
        let region = Region::new();
        let block = lasting_block(region.append_block(Block::new(&arguments)));
        (region, block)
    }

    /// Moves the operations of `block` whose name `wanted` accepts to the end of this builder's block.
    pub fn take_operations(&self, block: BlockRef<'c, 'c>, wanted: impl Fn(&str) -> bool) {
        for op in walk::operations(block) {
            if op.name().as_string_ref().as_str().is_ok_and(&wanted) {
                // SAFETY: removing gives up the old block's ownership, which appending hands to the new one.
                unsafe {
                    mlir_sys::mlirOperationRemoveFromParent(op.to_raw());
                    self.insert(Operation::from_raw(op.to_raw()));
                }
            }
        }
    }
}
