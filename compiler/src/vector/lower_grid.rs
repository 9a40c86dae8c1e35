//! `scf.forall` -> a loop over the linear tiles `begin..end`, two new trailing `index` arguments.
//!
//! Tiles are numbered row-major over the forall's dims, last fastest. A kernel without a forall is one tile. Refuses a second grid.

use super::build::{Builder, V, lasting, lasting_block, lasting_op};
use melior::{
    dialect::DialectHandle,
    ir::{
        AffineExpr, AffineMap, BlockLike, BlockRef, OperationRef, RegionLike, ValueLike,
        attribute::TypeAttribute,
        operation::{OperationLike, OperationMutLike, OperationRefMut},
        r#type::FunctionType,
    },
};
use winze_mlir::{attributes, pass::RustPass, walk};

/// Function attribute: the last two arguments are the tile range.
pub const GRID_LOWERED: &str = "winze.tile_range";

pub struct LowerGrid;

impl RustPass for LowerGrid {
    const ARGUMENT: &'static str = "lower-grid";
    const DESCRIPTION: &'static str = "Turn the grid of a kernel into a loop over a range of linear tiles";
    const ANCHOR: &'static str = "func.func";

    fn dialects() -> Vec<DialectHandle> {
        vec![DialectHandle::affine(), DialectHandle::arith(), DialectHandle::scf()]
    }

    fn from_options(_: &[&str]) -> Result<Self, String> {
        Ok(Self)
    }

    fn run(&self, func: OperationRef<'_, '_>) -> Result<(), String> {
        let func = lasting_op(func);
        if func.has_attribute(GRID_LOWERED) {
            return Err("lower-grid: the grid is lowered already".to_owned());
        }
        let block = entry_block(func)?;
        let holder = func.context();
        // SAFETY: melior's reference points into `holder`.
        let context = unsafe { holder.to_ref() };
        let index = melior::ir::Type::index(context);
        let [begin, end] = [(); 2].map(|()| lasting(block.add_argument(index, func.location())));
        let types: Vec<_> = (0..block.argument_count()).map(|i| block.argument(i).expect("in range").r#type()).collect();
        // SAFETY: the function is live; its type changes together with its block.
        unsafe {
            let mut func = OperationRefMut::from_raw(func.to_raw());
            func.set_attribute("function_type", TypeAttribute::new(FunctionType::new(context, &types, &[]).into()).into());
            func.set_attribute(GRID_LOWERED, melior::ir::Attribute::unit(context));
        }
        super::set_argument_attributes(func, types.len() - 1, types.len(), Builder::at_end(block, func.location()).attribute("{}")?)?;
        match find_grid(func)? {
            Some(grid) => lower(&Grid::read(grid)?, begin, end),
            None => wrap(block, begin, end),
        }
    }
}

/// First block of a function with a body.
pub fn entry_block<'c>(func: OperationRef<'c, 'c>) -> Result<BlockRef<'c, 'c>, String> {
    func.region(0).ok().and_then(|region| region.first_block().map(lasting_block)).ok_or_else(|| "a kernel needs a body".to_owned())
}

/// The one `scf.forall` of a kernel, which stands at the top of its body.
pub fn find_grid<'c>(func: OperationRef<'c, 'c>) -> Result<Option<OperationRef<'c, 'c>>, String> {
    let grids = walk::named(func, "scf.forall");
    match grids[..] {
        [] => Ok(None),
        [grid] if grid.block() == Some(entry_block(func)?) => Ok(Some(grid)),
        [_] => Err("the grid of a kernel must stand at the top of its body".to_owned()),
        _ => Err(format!("a kernel has one grid, this one has {}; let the schedule fuse its operations into one forall", grids.len())),
    }
}

/// Bounds of an `scf.forall`.
pub struct Grid<'c> {
    pub op: OperationRef<'c, 'c>,
    pub low: Vec<Bound<'c>>,
    pub high: Vec<Bound<'c>>,
    pub step: Vec<Bound<'c>>,
}

#[derive(Clone, Copy)]
pub enum Bound<'c> {
    Static(i64),
    Dynamic(V<'c>),
}

impl<'c> Grid<'c> {
    pub fn read(op: OperationRef<'c, 'c>) -> Result<Self, String> {
        if op.result_count() != 0 {
            return Err("lower-grid: the grid is not bufferized".to_owned());
        }
        let mut dynamic = op.operands().map(lasting);
        let mut bounds = |name: &str| {
            let list = attributes::get::<Vec<i64>>(op, name).ok_or_else(|| format!("scf.forall without '{name}'"))?;
            list.into_iter()
                .map(|value| match value {
                    i64::MIN => dynamic.next().map(Bound::Dynamic).ok_or_else(|| "scf.forall lacks a bound".to_owned()),
                    value => Ok(Bound::Static(value)),
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let (low, high, step) = (bounds("staticLowerBound")?, bounds("staticUpperBound")?, bounds("staticStep")?);
        Ok(Self { op, low, high, step })
    }
}

fn lower<'c>(grid: &Grid<'c>, begin: V<'c>, end: V<'c>) -> Result<(), String> {
    let builder = Builder::before(grid.op)?;
    let context = builder.context();
    let value = |bound: &Bound<'c>| match bound {
        Bound::Static(value) => builder.index(*value),
        Bound::Dynamic(value) => Ok(*value),
    };
    let symbol = |i| AffineExpr::symbol(context, i);
    let (mut low, mut step, mut count) = (vec![], vec![], vec![]);
    for i in 0..grid.low.len() {
        let (l, h, s) = (value(&grid.low[i])?, value(&grid.high[i])?, value(&grid.step[i])?);
        let map =
            AffineMap::new(context, 0, 3, &[AffineExpr::ceil_div(symbol(1) + symbol(0) * AffineExpr::constant(context, -1), symbol(2))]);
        count.push(builder.apply(map, &[l, h, s])?);
        low.push(l);
        step.push(s);
    }
    let one = builder.index(1)?;
    let body = grid.op.region(0).ok().and_then(|region| region.first_block().map(lasting_block)).ok_or("scf.forall without a body")?;
    builder.for_loop(begin, end, one, &[], |inner, tile, _| {
        let mut rest = tile;
        for i in (0..count.len()).rev() {
            let position = if i == 0 { rest } else { inner.binary("arith.remui", rest, count[i])? };
            if i != 0 {
                rest = inner.binary("arith.divui", rest, count[i])?;
            }
            let map = AffineMap::new(context, 1, 2, &[AffineExpr::dim(context, 0) * symbol(0) + symbol(1)]);
            let counter = inner.apply(map, &[position, step[i], low[i]])?;
            walk::replace_all_uses(lasting(body.argument(i).map_err(|e| e.to_string())?.into()), counter);
        }
        inner.take_operations(body, |name| name != "scf.forall.in_parallel");
        Ok(vec![])
    })?;
    walk::erase(grid.op);
    Ok(())
}

/// Runs the whole body once per tile: there is one tile.
fn wrap<'c>(block: BlockRef<'c, 'c>, begin: V<'c>, end: V<'c>) -> Result<(), String> {
    let terminator = lasting_op(block.terminator().ok_or("a kernel needs a terminator")?);
    let builder = Builder::before(terminator)?;
    let one = builder.index(1)?;
    builder.for_loop(begin, end, one, &[], |inner, _, _| {
        inner.take_operations(block, |name| !matches!(name, "func.return" | "memref.alloca" | "arith.constant"));
        Ok(vec![])
    })?;
    Ok(())
}
