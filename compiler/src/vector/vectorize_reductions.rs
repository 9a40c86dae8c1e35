//! Bufferized `linalg.generic` that reduces along a contiguous dim -> vectors of partial results, combined across lanes at the end of the dim.
//!
//! Assumes one output, whose value the body combines with a new one by one associative operation (sum, product, sum of
//! products, minimum, maximum, and, or, xor).
//! Further reduction loops stand outside and update the output once per run along the contiguous dim. The order of combination depends on the
//! extent and the target's vector width only. Other reductions are left alone.

use super::{
    build::{Builder, V},
    generic::{Generic, REGISTER_BITS, parse_register_bits, vector_of, widen},
};
use melior::{
    dialect::DialectHandle,
    ir::{AffineExpr, AffineMap, OperationRef, Type, ValueLike},
};
use winze_mlir::{
    attributes::bit_width,
    pass::{PassOption, RustPass},
};

/// Registers of partial results in the main loop, to hide the latency of the combining operation.
const UNROLL: i64 = 4;

pub struct VectorizeReductions {
    bits: i64,
}

impl RustPass for VectorizeReductions {
    const ARGUMENT: &'static str = "vectorize-reductions";
    const DESCRIPTION: &'static str = "Turn bufferized reductions along contiguous dims into vector loops";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] = &[REGISTER_BITS];

    fn dialects() -> Vec<DialectHandle> {
        super::vector_loop_dialects()
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { bits: parse_register_bits(values[0])? })
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        super::rewrite_each::<Self>(func, "linalg.generic", |op| match Reduction::find(&Generic::read(op)?, self.bits) {
            Some(reduction) => reduction.rewrite(),
            None => Ok(()),
        })
    }
}

/// Operation that combines, its kind in `vector.reduction`, and its neutral element.
fn combiner(name: &str, element: Type<'_>) -> Option<(&'static str, String)> {
    let bits = bit_width(element)?;
    let (lowest, highest) = (i128::from(-1i8) << (bits - 1), (1i128 << (bits - 1)) - 1);
    // Infinities as bit patterns: the textual form of floats has none.
    let infinity = |negative: bool| {
        let (exponent, mantissa) = match element.to_string().as_str() {
            "f64" => (11, 52),
            "f32" => (8, 23),
            "f16" => (5, 10),
            "bf16" => (8, 7),
            _ => return None,
        };
        let sign = u64::from(negative) << (exponent + mantissa);
        Some(format!("0x{:0width$X}", sign | (((1u64 << exponent) - 1) << mantissa), width = (bits / 4) as usize))
    };
    Some(match name {
        "arith.addf" => ("add", "-0.0".to_owned()),
        "arith.mulf" => ("mul", "1.0".to_owned()),
        "arith.maximumf" => ("maximumf", infinity(true)?),
        "arith.minimumf" => ("minimumf", infinity(false)?),
        "arith.addi" => ("add", "0".to_owned()),
        "arith.muli" => ("mul", "1".to_owned()),
        "arith.maxsi" => ("maxsi", lowest.to_string()),
        "arith.minsi" => ("minsi", highest.to_string()),
        "arith.maxui" => ("maxui", "0".to_owned()),
        "arith.minui" => ("minui", "-1".to_owned()),
        "arith.andi" => ("and", "-1".to_owned()),
        "arith.ori" => ("or", "0".to_owned()),
        "arith.xori" => ("xor", "0".to_owned()),
        _ => return None,
    })
}

struct Reduction<'a, 'c> {
    generic: &'a Generic<'c>,
    lane_loop: usize,
    /// Operation that combines two partial results.
    combine: String,
    kind: &'static str,
    neutral: String,
    lanes: i64,
    /// Whether the rest of a run is a vector under a mask.
    masks: bool,
}

impl<'a, 'c> Reduction<'a, 'c> {
    fn find(generic: &'a Generic<'c>, bits: i64) -> Option<Self> {
        let output = generic.inputs;
        if generic.operands.len() != output + 1 || !generic.body_is_elementwise() {
            return None;
        }
        // The contiguous dim of some input, reduced.
        let lane_loop = (0..generic.inputs)
            .filter_map(|operand| {
                let map = generic.maps[operand];
                let last = map.result(map.result_count().checked_sub(1)?).ok()?;
                (last.is_dim() && generic.reduction[last.dim_position()]).then(|| last.dim_position())
            })
            .next()?;
        for operand in 0..generic.inputs {
            let map = generic.maps[operand];
            let users = (0..map.result_count()).filter(|i| map.result(*i).is_ok_and(|e| e.is_function_of_dim(lane_loop))).count();
            let last_is_lane = || map.result(map.result_count() - 1).is_ok_and(|e| e.is_dim() && e.dim_position() == lane_loop);
            if users > 1 || (users == 1 && !(last_is_lane() && generic.is_contiguous(operand))) {
                return None;
            }
        }
        let combine = generic.combination()?;
        let (kind, neutral) = combiner(&combine, generic.element(output))?;
        let width = (0..generic.operands.len()).map(|i| bit_width(generic.element(i))).try_fold(8, |a, b| Some(a.max(b?)))?;
        let masks = generic.rests_can_be_masked(bits);
        Some(Self { generic, lane_loop, combine, kind, neutral, lanes: bits / i64::from(width), masks })
    }

    fn rewrite(&self) -> Result<(), String> {
        self.generic.replace_by_loops(|dim| dim == self.lane_loop, None, &mut |builder, counters| self.run(builder, counters))
    }

    /// One run along the contiguous dim: wide vectors, single vectors, then a masked one or scalars.
    fn run(&self, builder: &Builder<'c>, counters: &[V<'c>]) -> Result<(), String> {
        let output = self.generic.inputs;
        let element = self.generic.element(output);
        let place = self.generic.indices(builder, output, counters, self.lane_loop, 0)?;
        let target = [&[self.generic.operands[output]], &place[..]].concat();
        let mut total = builder.value("memref.load", &target, element, &[])?;
        let extent = self.generic.extent(builder, self.lane_loop)?;
        let known = self.generic.static_extent(self.lane_loop);
        let mut from = (builder.index(0)?, Some(0));
        for width in [self.lanes * UNROLL, self.lanes, 1] {
            let masked = self.masks && width == self.lanes && known.is_none_or(|known| known % width != 0);
            if !masked && known.is_some_and(|known| from.1.is_some_and(|from| known - from < width)) {
                continue;
            }
            let to = match known {
                _ if masked => (extent, known),
                Some(known) => (builder.index(known / width * width)?, Some(known / width * width)),
                None if width == 1 => (extent, None),
                None => {
                    let context = builder.context();
                    let step = AffineExpr::constant(context, width);
                    let map = AffineMap::new(context, 0, 1, &[AffineExpr::floor_div(AffineExpr::symbol(context, 0), step) * step]);
                    (builder.apply(map, &[extent])?, None)
                }
            };
            let start = if width == 1 { total } else { self.neutral(builder, element, width)? };
            let step = builder.index(width)?;
            let partial = builder.for_loop(from.0, to.0, step, &[start], |inner, counter, carried| {
                let mut counters = counters.to_vec();
                counters[self.lane_loop] = counter;
                let mask = match masked {
                    true => Some(inner.first_lanes(inner.binary("arith.subi", extent, counter)?, width)?),
                    false => None,
                };
                let mut arguments = vec![];
                for operand in 0..self.generic.inputs {
                    arguments.push(self.load(inner, operand, &counters, width, mask)?);
                }
                arguments.push(carried[0]);
                let next = self.generic.clone_body(inner, &arguments, (width > 1).then_some(width))?;
                let Some(mask) = mask else { return Ok(next) };
                Ok(vec![inner.value("arith.select", &[mask, next[0], carried[0]], carried[0].r#type(), &[])?])
            })?;
            total = if width == 1 { partial[0] } else { self.fold(builder, total, partial[0], element)? };
            from = to;
            if masked {
                break;
            }
        }
        builder.op("memref.store", &[&[total], &target[..]].concat(), &[], &[])?;
        Ok(())
    }

    fn neutral(&self, builder: &Builder<'c>, element: Type<'c>, width: i64) -> Result<V<'c>, String> {
        let value = builder.attribute(&format!("{} : {element}", self.neutral))?;
        let scalar = builder.value("arith.constant", &[], element, &[("value", value)])?;
        widen(builder, scalar, Some(width))
    }

    /// Combines the lanes of `partial` and `total`.
    fn fold(&self, builder: &Builder<'c>, total: V<'c>, partial: V<'c>, element: Type<'c>) -> Result<V<'c>, String> {
        let is_float = self.combine.ends_with('f');
        let kind = builder.attribute(&format!("#vector.kind<{}>", self.kind))?;
        let flags = builder.attribute("#arith.fastmath<reassoc,contract>")?;
        let with_flags = |first: (&'static str, _)| if is_float { vec![first, ("fastmath", flags)] } else { vec![first] };
        let folded = builder.value("vector.reduction", &[partial], element, &with_flags(("kind", kind)))?;
        let attributes = if is_float { vec![("fastmath", flags)] } else { vec![] };
        builder.value(&self.combine, &[total, folded], element, &attributes)
    }

    fn load(&self, builder: &Builder<'c>, operand: usize, counters: &[V<'c>], width: i64, mask: Option<V<'c>>) -> Result<V<'c>, String> {
        let base = self.generic.operands[operand];
        if self.generic.memref(operand).is_none() {
            return Ok(base);
        }
        let element = self.generic.element(operand);
        let place = self.generic.indices(builder, operand, counters, self.lane_loop, 0)?;
        if width == 1 || !self.generic.uses(operand, self.lane_loop) {
            return builder.value("memref.load", &[&[base], &place[..]].concat(), element, &[]);
        }
        builder.load_vector(base, &place, vector_of(element, Some(width))?, mask)
    }
}
