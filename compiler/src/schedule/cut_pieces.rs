//! `cut-pieces`: a kernel that fills and inserts pieces into its destination (pad, concat) -> the same per tile, one iteration of an `scf.forall` each.
//!
//! Assumes one result, which is a chain of `tensor.insert_slice` and `linalg.fill` on a destination, where every piece is a copy of an argument. Along a
//! loop that is cut every piece starts at 0 and is as long as the result; the lowering of the op names the others (`winze.pieces`).

use crate::vector::{
    build::{Builder, V, lasting, lasting_block, lasting_op},
    flatten_fills::CONTIGUOUS,
    lower_grid::entry_block,
};
use melior::{
    dialect::DialectHandle,
    ir::{
        AffineExpr, AffineMap, Attribute, BlockLike, OperationRef, Type, TypeLike, ValueLike,
        attribute::DenseI64ArrayAttribute,
        operation::{OperationLike, OperationResult},
        r#type::{RankedTensorType, ShapedTypeLike},
    },
};
use winze_mlir::{
    attributes,
    pass::{PassOption, RustPass},
    walk,
};

/// Marks an extent that is not known.
const DYNAMIC: i64 = i64::MIN;

pub struct CutPieces {
    tile: Vec<i64>,
}

impl RustPass for CutPieces {
    const ARGUMENT: &'static str = "cut-pieces";
    const DESCRIPTION: &'static str = "Cut a kernel that puts pieces into its destination into tiles";
    const ANCHOR: &'static str = "func.func";
    const OPTIONS: &'static [PassOption] =
        &[PassOption { name: "tile", description: "tile size per dim of the result, as 1x4x0; 0 leaves a dim whole", default: "0" }];

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::affine(), DialectHandle::arith(), DialectHandle::linalg(), DialectHandle::scf(), DialectHandle::tensor()]
    }

    fn from_options(values: &[&str]) -> Result<Self, String> {
        let tile: Option<Vec<i64>> = values[0].split('x').map(|size| size.parse().ok().filter(|size| *size >= 0)).collect();
        let tile = tile.ok_or_else(|| format!("option 'tile': '{}' is no list of sizes like 1x4x0", values[0]))?;
        Ok(Self { tile })
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let func = lasting_op(func);
        let end = lasting_op(entry_block(func)?.terminator().ok_or("cut-pieces: a kernel needs a terminator")?);
        let result = lasting(end.operand(0).map_err(|_| "cut-pieces: the kernel has no result")?);
        let (destination, links) = chain(result)?;
        let cut = self.cut(end, destination, &links).map_err(|e| format!("cut-pieces: {e}"))?;
        walk::set_operand(end, 0, cut);
        Ok(())
    }
}

/// One write into the destination.
enum Link<'c> {
    Fill(OperationRef<'c, 'c>),
    Piece { source: V<'c>, offsets: Vec<Number<'c>>, sizes: Vec<Number<'c>>, strides: Vec<i64> },
}

#[derive(Clone, Copy)]
enum Number<'c> {
    Known(i64),
    Value(V<'c>),
}

/// What writes `value`, first write first, and the destination below all.
fn chain<'c>(mut value: V<'c>) -> Result<(V<'c>, Vec<Link<'c>>), String> {
    let mut links = vec![];
    while let Ok(result) = OperationResult::try_from(value) {
        let op = lasting_op(result.owner());
        let name = op.name();
        let next = match name.as_string_ref().as_str().unwrap_or_default() {
            "linalg.fill" => {
                links.push(Link::Fill(op));
                1
            }
            "tensor.insert_slice" => {
                links.push(piece(op)?);
                1
            }
            other => return Err(format!("cut-pieces: '{other}' is neither a fill nor a piece")),
        };
        value = lasting(op.operand(next).map_err(|e| e.to_string())?);
    }
    links.reverse();
    Ok((value, links))
}

fn piece<'c>(insert: OperationRef<'c, 'c>) -> Result<Link<'c>, String> {
    let mut source = lasting(insert.operand(0).map_err(|e| e.to_string())?);
    // A copy into the slice, which the insertion itself does as well.
    if let Ok(result) = OperationResult::try_from(source) {
        let copy = result.owner();
        if copy.name().as_string_ref().as_str() != Ok("linalg.generic") {
            return Err("cut-pieces: a piece is no copy of an argument".to_owned());
        }
        source = lasting(copy.operand(0).map_err(|e| e.to_string())?);
    }
    let mut dynamic = insert.operands().skip(2).map(lasting).collect::<Vec<_>>().into_iter();
    let mut numbers = |name: &str| {
        let list = attributes::get::<Vec<i64>>(insert, name).ok_or_else(|| format!("cut-pieces: insert_slice without '{name}'"))?;
        list.into_iter()
            .map(|number| match number {
                DYNAMIC => dynamic.next().map(Number::Value).ok_or_else(|| "cut-pieces: insert_slice lacks an operand".to_owned()),
                known => Ok(Number::Known(known)),
            })
            .collect::<Result<Vec<_>, String>>()
    };
    let strides = attributes::get::<Vec<i64>>(insert, "static_strides").ok_or("cut-pieces: insert_slice without strides")?;
    Ok(Link::Piece { source, offsets: numbers("static_offsets")?, sizes: numbers("static_sizes")?, strides })
}

impl CutPieces {
    fn cut<'c>(&self, end: OperationRef<'c, 'c>, destination: V<'c>, links: &[Link<'c>]) -> Result<V<'c>, String> {
        let builder = Builder::before(end)?;
        let r#type = RankedTensorType::try_from(destination.r#type()).map_err(|e| e.to_string())?;
        let extents: Vec<Number> = (0..r#type.rank())
            .map(|dim| match static_extent(r#type, dim) {
                Some(extent) => Ok(Number::Known(extent)),
                None => {
                    let dim = builder.index(dim as i64)?;
                    Ok(Number::Value(builder.value("tensor.dim", &[destination, dim], builder.index_type(), &[])?))
                }
            })
            .collect::<Result<_, String>>()?;
        if self.tile.len() != extents.len() {
            return Err(format!("{} tile sizes for a result of rank {}", self.tile.len(), extents.len()));
        }
        let cut: Vec<usize> = (0..extents.len()).filter(|dim| self.tile[*dim] != 0).collect();
        let counters = vec![builder.index_type(); cut.len()];
        let (region, block) = builder.region(&[&counters[..], &[destination.r#type()]].concat());
        let inner = Builder::at_end(block, builder.location);
        let argument = |i: usize| block.argument(i).map(|a| lasting(a.into())).map_err(|e| e.to_string());
        let (mut from, mut sizes) = (vec![Number::Known(0); extents.len()], extents.clone());
        for (i, dim) in cut.iter().enumerate() {
            let counter = argument(i)?;
            from[*dim] = Number::Value(counter);
            sizes[*dim] = tile_size(&inner, self.tile[*dim], extents[*dim], counter)?;
        }
        let shared = argument(cut.len())?;
        let ones = vec![1; extents.len()];
        let mut part = slice(&inner, "tensor.extract_slice", &[shared], None, &from, &sizes, &ones)?;
        for link in links {
            part = match link {
                Link::Fill(fill) => {
                    let copy = inner.insert(walk::copy(*fill));
                    walk::set_operand(copy, 1, part);
                    if self.is_contiguous() {
                        attributes::set(copy, CONTIGUOUS, Attribute::unit(builder.context()));
                    }
                    let result = lasting(copy.result(0).map_err(|e| e.to_string())?.into());
                    walk::set_type(result, part.r#type());
                    result
                }
                Link::Piece { source, offsets, sizes: lengths, strides } => {
                    let (mut at, mut lengths) = (offsets.clone(), lengths.clone());
                    for dim in &cut {
                        (at[*dim], lengths[*dim]) = (Number::Known(0), sizes[*dim]);
                    }
                    let source = slice(&inner, "tensor.extract_slice", &[*source], None, &from, &lengths, &ones)?;
                    slice(&inner, "tensor.insert_slice", &[source, part], Some(part.r#type()), &at, &lengths, strides)?
                }
            };
        }
        let (parallel, writes) = inner.region(&[]);
        slice_op(
            &Builder::at_end(lasting_block(writes), builder.location),
            "tensor.parallel_insert_slice",
            &[part, shared],
            &[],
            &from,
            &sizes,
            &ones,
        )?;
        inner.op_with_regions("scf.forall.in_parallel", &[], &[], &[], vec![parallel])?;

        let upper: Vec<Number> = cut.iter().map(|dim| extents[*dim]).collect();
        let (bounds, dynamic) = split(&upper);
        let list = |values: &[i64]| Attribute::from(DenseI64ArrayAttribute::new(builder.context(), values));
        let steps: Vec<i64> = cut.iter().map(|dim| self.tile[*dim]).collect();
        let attributes = [
            ("staticLowerBound", list(&vec![0; cut.len()])),
            ("staticUpperBound", list(&bounds)),
            ("staticStep", list(&steps)),
            ("operandSegmentSizes", attributes::segments(builder.context(), &[0, dynamic.len() as i32, 0, 1])),
        ];
        let operands = [&dynamic[..], &[destination]].concat();
        let grid = builder.op_with_regions("scf.forall", &operands, &[destination.r#type()], &attributes, vec![region])?;
        Ok(lasting(grid.result(0).map_err(|e| e.to_string())?.into()))
    }
}

impl CutPieces {
    /// Whether the elements of a tile stand side by side in the destination: one dim at most is cut into more than one, and those inside of it are whole.
    fn is_contiguous(&self) -> bool {
        self.tile.iter().skip_while(|size| **size == 1).skip(1).all(|size| *size == 0)
    }
}

fn static_extent(r#type: RankedTensorType, dim: usize) -> Option<i64> {
    // SAFETY: the callers stay below the rank.
    let extent = unsafe { mlir_sys::mlirShapedTypeGetDimSize(r#type.to_raw(), dim as isize) };
    (extent >= 0).then_some(extent)
}

/// Elements of a tile that starts at `counter`.
fn tile_size<'c>(builder: &Builder<'c>, tile: i64, extent: Number<'c>, counter: V<'c>) -> Result<Number<'c>, String> {
    if tile == 1 || matches!(extent, Number::Known(extent) if extent % tile == 0) {
        return Ok(Number::Known(tile));
    }
    let context = builder.context();
    let constant = |value| AffineExpr::constant(context, value);
    let (position, operands, symbols) = match extent {
        Number::Known(extent) => (constant(extent), vec![counter], 0),
        Number::Value(extent) => (AffineExpr::symbol(context, 0), vec![counter, extent], 1),
    };
    let rest = position + AffineExpr::dim(context, 0) * constant(-1);
    let map = AffineMap::new(context, 1, symbols, &[constant(tile), rest]);
    // SAFETY: makes an attribute that the context owns.
    let map = unsafe { Attribute::from_raw(mlir_sys::mlirAffineMapAttrGet(map.to_raw())) };
    Ok(Number::Value(builder.value("affine.min", &operands, builder.index_type(), &[("map", map)])?))
}

/// Numbers as MLIR holds them: static ones in a list, the others as operands.
fn split<'c>(numbers: &[Number<'c>]) -> (Vec<i64>, Vec<V<'c>>) {
    let mut dynamic = vec![];
    let known = numbers
        .iter()
        .map(|number| match number {
            Number::Known(value) => *value,
            Number::Value(value) => {
                dynamic.push(*value);
                DYNAMIC
            }
        })
        .collect();
    (known, dynamic)
}

/// A slice op with one result; without `result` it has the type of the slice.
fn slice<'c>(
    builder: &Builder<'c>,
    name: &str,
    tensors: &[V<'c>],
    result: Option<Type<'c>>,
    offsets: &[Number<'c>],
    sizes: &[Number<'c>],
    strides: &[i64],
) -> Result<V<'c>, String> {
    let source = RankedTensorType::try_from(tensors[0].r#type()).map_err(|e| e.to_string())?;
    let extents: Vec<u64> = split(sizes).0.into_iter().map(|extent| extent as u64).collect();
    let result = result.unwrap_or_else(|| RankedTensorType::new(&extents, source.element(), None).into());
    let op = slice_op(builder, name, tensors, &[result], offsets, sizes, strides)?;
    Ok(lasting(op.result(0).map_err(|e| e.to_string())?.into()))
}

fn slice_op<'c>(
    builder: &Builder<'c>,
    name: &str,
    tensors: &[V<'c>],
    results: &[Type<'c>],
    offsets: &[Number<'c>],
    sizes: &[Number<'c>],
    strides: &[i64],
) -> Result<OperationRef<'c, 'c>, String> {
    let ((at, at_values), (lengths, length_values)) = (split(offsets), split(sizes));
    let list = |values: &[i64]| Attribute::from(DenseI64ArrayAttribute::new(builder.context(), values));
    let mut segments = vec![1; tensors.len()];
    segments.extend([at_values.len() as i32, length_values.len() as i32, 0]);
    let attributes = [
        ("static_offsets", list(&at)),
        ("static_sizes", list(&lengths)),
        ("static_strides", list(strides)),
        ("operandSegmentSizes", attributes::segments(builder.context(), &segments)),
    ];
    builder.op(name, &[tensors, &at_values, &length_values].concat(), results, &attributes)
}
