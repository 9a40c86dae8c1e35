//! A `linalg.generic` on memrefs, read into Rust: maps, iterators, operands, extents, and its body cloned as scalars or vectors.

use super::build::{Builder, V, lasting, lasting_block, lasting_op};
use melior::ir::{
    AffineExpr, AffineMap, AttributeLike, BlockLike, BlockRef, Operation, OperationRef, RegionLike, Type, TypeLike, Value, ValueLike,
    attribute::ArrayAttribute,
    operation::{OperationLike, OperationMutLike, OperationRefMut, OperationResult},
    r#type::{MemRefType, RankedTensorType, ShapedTypeLike},
};
use mlir_sys::mlirAffineMapAttrGetValue;
use std::collections::HashMap;
use winze_mlir::{
    attributes::{self, bit_width, segment_sizes},
    pass::PassOption,
    walk,
};

/// Option of the passes that make vectors.
pub const REGISTER_BITS: PassOption = PassOption { name: "bits", description: "width of a vector register", default: "256" };

/// Value of [`REGISTER_BITS`].
pub fn parse_register_bits(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(bits @ (128 | 256 | 512)) => Ok(bits),
        _ => Err(format!("option 'bits': '{text}' is not 128, 256 or 512")),
    }
}

/// What stands for values of a body.
pub type Values<'c> = HashMap<*const std::ffi::c_void, V<'c>>;

/// Writes what stands inside of loops, given their counters.
pub type LoopBody<'a, 'c> = dyn FnMut(&Builder<'c>, &mut Vec<V<'c>>) -> Result<(), String> + 'a;

/// The parts of a `linalg.generic` with memref operands.
pub struct Generic<'c> {
    pub op: OperationRef<'c, 'c>,
    /// One per operand, inputs first.
    pub maps: Vec<AffineMap<'c>>,
    pub operands: Vec<V<'c>>,
    pub inputs: usize,
    /// Per loop: is it a reduction?
    pub reduction: Vec<bool>,
    pub body: BlockRef<'c, 'c>,
}

impl<'c> Generic<'c> {
    pub fn read(op: OperationRef<'c, '_>) -> Result<Self, String> {
        let op = lasting_op(op);
        let array = |name: &str| {
            let attribute = op.attribute(name).ok().and_then(|a| ArrayAttribute::try_from(a).ok());
            let array = attribute.ok_or_else(|| format!("linalg.generic without '{name}'"))?;
            (0..array.len()).map(|i| array.element(i).map_err(|e| e.to_string())).collect::<Result<Vec<_>, _>>()
        };
        let maps = array("indexing_maps")?
            .into_iter()
            // SAFETY: the verifier of linalg.generic accepts affine maps only.
            .map(|a| unsafe { AffineMap::from_raw(mlirAffineMapAttrGetValue(a.to_raw())) })
            .collect();
        let reduction = array("iterator_types")?.into_iter().map(|a| a.to_string().contains("reduction")).collect();
        let body = op.region(0).ok().and_then(|region| region.first_block().map(lasting_block)).ok_or("linalg.generic without a body")?;
        let inputs = segment_sizes(op)[0];
        let operands: Vec<_> = op.operands().map(lasting).collect();
        if operands.iter().any(|value| RankedTensorType::try_from(value.r#type()).is_ok()) {
            return Err("linalg.generic is not bufferized".to_owned());
        }
        Ok(Self { op, maps, operands, inputs, reduction, body })
    }

    pub fn loops(&self) -> usize {
        self.reduction.len()
    }

    /// Type of an operand's buffer; `None` for a scalar operand.
    pub fn memref(&self, operand: usize) -> Option<MemRefType<'c>> {
        MemRefType::try_from(self.operands[operand].r#type()).ok()
    }

    /// Type of an operand's elements.
    pub fn element(&self, operand: usize) -> Type<'c> {
        self.memref(operand).map_or(self.operands[operand].r#type(), |memref| memref.element())
    }

    /// Is the last dim of an operand contiguous?
    pub fn is_contiguous(&self, operand: usize) -> bool {
        self.memref(operand).is_some_and(|memref| memref.strides_and_offset().0.last() == Some(&1))
    }

    fn static_size(&self, operand: usize, dim: usize) -> Option<i64> {
        self.memref(operand).and_then(|memref| static_size(memref, dim))
    }

    /// Operand and dimension whose size is the extent of loop `dim`.
    fn extent_source(&self, dim: usize) -> Option<(usize, usize)> {
        let results = self.maps.iter().enumerate().flat_map(|(operand, map)| (0..map.result_count()).map(move |i| (operand, i, map)));
        let mut found =
            results.filter(|(_, i, map)| map.result(*i).is_ok_and(|e| e.is_dim() && e.dim_position() == dim)).map(|(o, i, _)| (o, i));
        let first = found.clone().next();
        // A static size says more than a dynamic one.
        found.find(|(operand, i)| self.static_size(*operand, *i).is_some()).or(first)
    }

    /// Extent of loop `dim` if it is known.
    pub fn static_extent(&self, dim: usize) -> Option<i64> {
        let (operand, i) = self.extent_source(dim)?;
        self.static_size(operand, i)
    }

    /// Extent of loop `dim` as a value.
    pub fn extent(&self, builder: &Builder<'c>, dim: usize) -> Result<V<'c>, String> {
        let (operand, i) =
            self.extent_source(dim).ok_or_else(|| format!("loop {dim} of the linalg.generic indexes no operand by itself"))?;
        match self.static_size(operand, i) {
            Some(size) => builder.index(size),
            None => {
                let i = builder.index(i as i64)?;
                builder.value("memref.dim", &[self.operands[operand], i], builder.index_type(), &[])
            }
        }
    }

    /// Makes loops over the dims that `in_body` leaves, with `body` in the innermost; then destroys the operation, and the fill that `body` took up.
    pub fn replace_by_loops(
        &self,
        in_body: impl Fn(usize) -> bool,
        fill: Option<OperationRef<'c, 'c>>,
        body: &mut LoopBody<'_, 'c>,
    ) -> Result<(), String> {
        let builder = Builder::before(self.op)?;
        let outer: Vec<_> = (0..self.loops()).filter(|dim| !in_body(*dim)).collect();
        let mut counters = vec![builder.index(0)?; self.loops()];
        self.loops_over(&builder, &outer, &mut counters, body)?;
        walk::erase(self.op);
        fill.into_iter().for_each(walk::erase);
        Ok(())
    }

    /// A dim of extent 1 gets no loop.
    fn loops_over(
        &self,
        builder: &Builder<'c>,
        dims: &[usize],
        counters: &mut Vec<V<'c>>,
        body: &mut LoopBody<'_, 'c>,
    ) -> Result<(), String> {
        let Some((dim, rest)) = dims.split_first() else { return body(builder, counters) };
        if self.static_extent(*dim) == Some(1) {
            return self.loops_over(builder, rest, counters, body);
        }
        let (from, to, step) = (builder.index(0)?, self.extent(builder, *dim)?, builder.index(1)?);
        builder.for_loop(from, to, step, &[], |inner, counter, _| {
            counters[*dim] = counter;
            self.loops_over(inner, rest, counters, body)?;
            Ok(vec![])
        })?;
        Ok(())
    }

    /// Is loop `dim` used by the map of `operand`?
    pub fn uses(&self, operand: usize, dim: usize) -> bool {
        let map = self.maps[operand];
        (0..map.result_count()).any(|i| map.result(i).is_ok_and(|e| e.is_function_of_dim(dim)))
    }

    /// Indices of `operand` at loop counters `counters`, with `offset` added to loop `shifted`.
    pub fn indices(
        &self,
        builder: &Builder<'c>,
        operand: usize,
        counters: &[V<'c>],
        shifted: usize,
        offset: i64,
    ) -> Result<Vec<V<'c>>, String> {
        let (context, loops) = (builder.context(), self.loops());
        let shift: Vec<_> = (0..loops)
            .map(|dim| {
                let expr = AffineExpr::dim(context, dim);
                if dim == shifted && offset != 0 { expr + AffineExpr::constant(context, offset) } else { expr }
            })
            .collect();
        let shift = AffineMap::new(context, loops, 0, &shift);
        let map = self.maps[operand];
        (0..map.result_count())
            .map(|i| {
                let expr = map.result(i).map_err(|e| e.to_string())?.compose(shift);
                if expr.is_dim() {
                    return Ok(counters[expr.dim_position()]);
                }
                if expr.is_constant() {
                    return builder.index(expr.constant_value());
                }
                builder.apply(AffineMap::new(context, loops, 0, &[expr]), counters)
            })
            .collect()
    }

    /// Can the body be computed lane by lane? `linalg.index`, nested regions and memory accesses cannot.
    pub fn body_is_elementwise(&self) -> bool {
        walk::operations(self.body).all(|op| {
            let name = op.name();
            let name = name.as_string_ref().as_str().unwrap_or_default();
            let known = name == "linalg.yield" || ["arith.", "math."].iter().any(|dialect| name.starts_with(dialect));
            known && op.region_count() == 0 && op.results().all(|result| attributes::bit_width(result.r#type()).is_some())
        })
    }

    /// Operation by which the body adds to its one output, and by which partial results are combined; `None` if they cannot be.
    pub fn combination(&self) -> Option<String> {
        // yield combine(value, out) or combine(out, value), with no other use of out.
        let end = self.body.terminator()?;
        let combine = lasting_op(OperationResult::try_from(lasting(end.operand(0).ok()?)).ok()?.owner());
        let out = lasting(self.body.argument(self.inputs).ok()?.into());
        let uses = walk::uses(out).collect::<Vec<_>>();
        let added = match uses[..] {
            [(user, operand)] if user == combine => operand == 2,
            _ => return None,
        };
        match combine.name().as_string_ref().as_str().ok()? {
            // A sum of products: partial sums are added.
            "math.fma" if added => Some("arith.addf".to_owned()),
            name if combine.operand_count() == 2 => Some(name.to_owned()),
            _ => None,
        }
    }

    /// Can rests run under a mask? The lanes left out are computed with zeros. In registers below 512 bits only wide elements have masks.
    pub fn rests_can_be_masked(&self, bits: i64) -> bool {
        let divides = |op: OperationRef| {
            let name = op.name();
            let name = name.as_string_ref().as_str().unwrap_or_default();
            name.contains("div") && !name.ends_with("divf") || name.starts_with("arith.rem") && name != "arith.remf"
        };
        let is_wide = |operand| bit_width(self.element(operand)).is_some_and(|width| width >= 32);
        (bits >= 512 || (0..self.operands.len()).all(is_wide)) && !walk::operations(self.body).any(divides)
    }

    /// Clones what of the body follows from the given `arguments` alone, as scalars.
    pub fn clone_invariant(&self, builder: &Builder<'c>, arguments: &[Option<V<'c>>]) -> Result<Values<'c>, String> {
        let mut mapping = Values::new();
        for (i, value) in arguments.iter().enumerate() {
            if let Some(value) = value {
                let argument: Value = self.body.argument(i).map_err(|e| e.to_string())?.into();
                mapping.insert(argument.to_raw().ptr, *value);
            }
        }
        for op in walk::operations(self.body) {
            let name = op.name().as_string_ref().as_str().unwrap_or_default().to_owned();
            let operands: Option<Vec<_>> = op.operands().map(|value| mapping.get(&value.to_raw().ptr).copied()).collect();
            let Some(operands) = operands.filter(|_| name != "linalg.yield") else { continue };
            // SAFETY: a clone is an owned operation, attached at once and then changed through its own handle.
            let mut clone = unsafe {
                let clone = builder.insert(Operation::from_raw(mlir_sys::mlirOperationClone(op.to_raw())));
                OperationRefMut::from_raw(clone.to_raw())
            };
            clone.set_operands(&operands);
            for (old, new) in op.results().zip(clone.results()) {
                mapping.insert(old.to_raw().ptr, lasting(new.into()));
            }
        }
        Ok(mapping)
    }

    /// Clones the body with its arguments replaced by `arguments`; returns what it yields. With `lanes` every result is a vector of that
    /// many lanes, and scalar operands are broadcast.
    pub fn clone_body(&self, builder: &Builder<'c>, arguments: &[V<'c>], lanes: Option<i64>) -> Result<Vec<V<'c>>, String> {
        self.clone_rest(builder, &Values::new(), arguments, lanes)
    }

    /// As [`Self::clone_body`], without what `known` has already.
    pub fn clone_rest(
        &self,
        builder: &Builder<'c>,
        known: &Values<'c>,
        arguments: &[V<'c>],
        lanes: Option<i64>,
    ) -> Result<Vec<V<'c>>, String> {
        let mut mapping = known.clone();
        for (i, value) in arguments.iter().enumerate() {
            let argument: Value = self.body.argument(i).map_err(|e| e.to_string())?.into();
            mapping.insert(argument.to_raw().ptr, *value);
        }
        let lookup =
            |mapping: &HashMap<_, V<'c>>, value: Value<'c, '_>| mapping.get(&value.to_raw().ptr).copied().unwrap_or_else(|| lasting(value));
        for op in walk::operations(self.body) {
            let name = op.name().as_string_ref().as_str().unwrap_or_default().to_owned();
            if op.result_count() > 0 && op.results().all(|result| known.contains_key(&(result.to_raw().ptr as *const _))) {
                continue;
            }
            let mut operands: Vec<_> = op.operands().map(|value| lookup(&mapping, value)).collect();
            if name == "linalg.yield" {
                return operands.into_iter().map(|value| widen(builder, value, lanes)).collect();
            }
            if op.region_count() != 0 || name.starts_with("linalg.") || name.starts_with("tensor.") || name.starts_with("memref.") {
                return Err(format!("'{name}' inside a linalg.generic cannot be vectorized"));
            }
            let scalar = name == "arith.constant" || lanes.is_none();
            if !scalar {
                operands = operands.into_iter().map(|value| widen(builder, value, lanes)).collect::<Result<_, _>>()?;
            }
            // SAFETY: a clone is an owned operation, attached at once and then changed through its own handle.
            let mut clone = unsafe {
                let clone = builder.insert(Operation::from_raw(mlir_sys::mlirOperationClone(op.to_raw())));
                OperationRefMut::from_raw(clone.to_raw())
            };
            clone.set_operands(&operands);
            for (old, new) in op.results().zip(clone.results()) {
                let new = lasting(new.into());
                if !scalar {
                    new.set_type(vector_of(old.r#type(), lanes)?);
                }
                mapping.insert(old.to_raw().ptr, new);
            }
        }
        Err("linalg.generic body without linalg.yield".to_owned())
    }
}

/// Size of a memref's dimension if it is static.
pub fn static_size(memref: MemRefType<'_>, dim: usize) -> Option<i64> {
    // SAFETY: `dim` is below the rank: it comes from an indexing map of this memref.
    let size = unsafe { mlir_sys::mlirShapedTypeGetDimSize(memref.to_raw(), dim as isize) };
    (size >= 0).then_some(size)
}

/// `vector<lanes x element>`, or the type itself without lanes.
pub fn vector_of<'c>(element: Type<'c>, lanes: Option<i64>) -> Result<Type<'c>, String> {
    match lanes {
        None => Ok(element),
        Some(_) if element.is_vector() => Ok(element),
        Some(lanes) if element.is_integer() || element.is_index() || element.is_float() => Ok(Type::vector(&[lanes as u64], element)),
        Some(_) => Err(format!("values of type {element} cannot be vectorized")),
    }
}

/// `value` as a vector: broadcast if it is a scalar.
pub fn widen<'c>(builder: &Builder<'c>, value: V<'c>, lanes: Option<i64>) -> Result<V<'c>, String> {
    let wide = vector_of(value.r#type(), lanes)?;
    if wide == value.r#type() { Ok(value) } else { builder.value("vector.broadcast", &[value], wide, &[]) }
}
