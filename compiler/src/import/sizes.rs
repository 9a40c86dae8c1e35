//! Sizes that are computed while running: values of the IR -> symbols of the function, by `graph.size`.
//!
//! The memory plan has room for a size's largest value: what the op knows, what the value's own computation tells, or what the user gives
//! with `--max-size`. The smaller of a user's and a proven one is not worked out: the user's counts. A size without one is left open: its own symbol is
//! its largest value, and sessions make room for what their runs find.

use super::{
    error::Failure,
    importer::Importer,
    node::NodeContext,
    repeat::within,
    value::{Data, Tensor},
    value_range::{Range, range_of},
};
use std::{collections::HashMap, ffi::c_void};
use winze_graph::{
    dialect::Size,
    dim::Dim,
    types::{ElementType, TensorType, dims_attribute},
};
use winze_mlir::melior::ir::{BlockLike, BlockRef, Value, ValueLike};

/// What a symbol's value is taken from.
#[derive(Clone, Copy)]
pub enum SymbolSource<'c, 'a> {
    /// Extent of an axis.
    Axis(Value<'c, 'a>, i64),
    /// A 0-d i64 tensor.
    Value(Value<'c, 'a>),
}

/// What import knows of sizes that are computed while running.
#[derive(Default)]
pub struct Sizes {
    /// Largest value of each such symbol, over symbols before it.
    pub uppers: HashMap<u32, Dim>,
    /// Elements of values that have become symbols, in the blocks that are open.
    known: Vec<((*const c_void, usize), Dim)>,
}

impl Sizes {
    /// Mark to return to when a block ends: its symbols mean nothing outside.
    pub fn mark(&self) -> usize {
        self.known.len()
    }

    pub fn forget(&mut self, mark: usize) {
        self.known.truncate(mark);
    }

    /// Forgets the symbols from number `count` on.
    pub fn truncate(&mut self, count: u32) {
        self.uppers.retain(|symbol, _| *symbol < count);
        self.known.retain(|(_, dim)| dim.symbol_count() <= count);
    }

    fn find(&self, value: Value, index: usize) -> Option<Dim> {
        let key = (value.to_raw().ptr, index);
        self.known.iter().find(|(known, _)| *known == key).map(|(_, dim)| dim.clone())
    }

    /// Extents that `dim` is between, over symbols that inputs determine.
    pub fn range(&self, dim: &Dim) -> (Dim, Dim) {
        dim.range(&|symbol| {
            let upper = self.uppers.get(&symbol)?;
            Some((Dim::from(0), if upper.as_symbol() == Some(symbol) { upper.clone() } else { self.range(upper).1 }))
        })
    }
}

impl<'c, 'a> Importer<'_, 'c, 'a> {
    /// What `--max-size` says about sizes that the value called `name` decides.
    pub fn max_size(&self, name: &str) -> Option<i64> {
        let named = self.max_sizes.iter().rev().find(|setting| setting.name.as_deref() == Some(name));
        named.or_else(|| self.max_sizes.iter().rev().find(|setting| setting.name.is_none())).map(|setting| setting.max)
    }
}

impl<'c, 'a> NodeContext<'_, '_, 'c, 'a> {
    /// Range of the elements of an integer tensor.
    pub fn range(&self, tensor: &Tensor<'c, 'a>) -> Range {
        let sizes = &self.importer.sizes;
        match &tensor.data {
            Data::Value(value) => range_of(*value, &|value| {
                let dim = sizes.find(value, 0).filter(|_| TensorType::of(value).is_ok_and(|r#type| r#type.dims.is_empty()))?;
                Some(Range { low: Some(dim.clone()), high: Some(dim) })
            }),
            _ => match self.integers(tensor).as_deref() {
                Some([only]) => Range { low: Some(only.clone()), high: Some(only.clone()) },
                _ => Range::default(),
            },
        }
    }

    /// Name of the model's value that operand `i` is.
    pub fn operand_name(&self, i: usize) -> &str {
        self.node.input.get(i).map_or("", String::as_str)
    }

    /// Whether a value is left to the run: nobody offers the inputs that decide it.
    pub fn is_run_time(&self, tensor: &Tensor<'c, 'a>) -> bool {
        matches!(tensor.data, Data::Value(_)) && !self.importer.is_offered(tensor)
    }

    /// The extent that a 0-d integer tensor holds, at least 0: what is known of it, or a new symbol. `upper` is the largest value that makes
    /// sense, if there is one; `what` names the size in messages and `from` the model's value that the user can give a `--max-size` for.
    pub fn size(&mut self, value: &Tensor<'c, 'a>, what: &str, from: &str, upper: Option<Dim>) -> Result<Dim, Failure> {
        self.size_at_most(value, what, from, |cx, value| upper.or_else(|| cx.range(value).high))
    }

    /// The same for one of several extents whose product is known: the product of their largest values would be far more.
    pub fn factor(&mut self, value: &Tensor<'c, 'a>, what: &str) -> Result<Dim, Failure> {
        self.size_at_most(value, what, "", |_, _| None)
    }

    fn size_at_most(
        &mut self,
        value: &Tensor<'c, 'a>,
        what: &str,
        from: &str,
        upper: impl FnOnce(&Self, &Tensor<'c, 'a>) -> Option<Dim>,
    ) -> Result<Dim, Failure> {
        if let Some([known]) = self.integers(value).as_deref() {
            return Ok(known.clone());
        }
        let value = self.convert(value, ElementType::I64)?;
        let value = self.reshape(&value, vec![])?;
        let ir = self.value(&value)?;
        if let Some(known) = self.importer.sizes.find(ir, 0) {
            return Ok(known);
        }
        let given = self.importer.max_size(from).map(Dim::from);
        let upper = given.or_else(|| upper(self, &value));
        let symbol = self.bind(ir, what, &Dim::from(0), upper.as_ref())?;
        self.importer.sizes.known.push(((ir.to_raw().ptr, 0), symbol.clone()));
        Ok(symbol)
    }

    /// Makes the run stop unless the value of a 0-d integer tensor is between two extents.
    pub fn check_size(&mut self, value: &Tensor<'c, 'a>, what: &str, lower: &Dim, upper: &Dim) -> Result<(), Failure> {
        let value = self.convert(value, ElementType::I64)?;
        let value = self.reshape(&value, vec![])?;
        let value = self.value(&value)?;
        self.bind(value, what, lower, Some(upper)).map(drop)
    }

    /// A new symbol with that value; without `upper` it is left open.
    fn bind(&mut self, value: Value<'c, 'a>, what: &str, lower: &Dim, upper: Option<&Dim>) -> Result<Dim, Failure> {
        let symbol = self.declare(value, what, upper);
        let position = symbol.as_symbol().expect("a new symbol");
        let upper = self.importer.sizes.uppers[&position].clone();
        self.set(position, value, [lower, &upper]);
        Ok(symbol)
    }

    /// A new symbol that is left open and gets its value in several places: of each, the block and the value, a 0-d integer.
    pub fn size_in_blocks(&mut self, places: [(BlockRef<'c, 'a>, &Tensor<'c, 'a>); 2], what: &str) -> Result<Dim, Failure> {
        let mut symbol = None;
        for (block, value) in places {
            within(self, block, |cx| {
                let value = cx.value(value)?;
                let dim = symbol.get_or_insert_with(|| cx.declare(value, what, None)).clone();
                cx.set(dim.as_symbol().expect("a new symbol"), value, [&Dim::from(0), &dim]);
                Ok::<_, Failure>(())
            })?;
        }
        symbol.ok_or_else(|| Failure::Invalid("a size without a value".into()))
    }

    /// Gives an open symbol its value here, too: what stands in this block and those inside takes it from there.
    pub fn size_again(&mut self, symbol: &Dim, value: &Tensor<'c, 'a>) -> Result<(), Failure> {
        let value = self.value(value)?;
        let position = symbol.as_symbol().ok_or_else(|| Failure::Invalid(format!("{symbol} is no symbol")))?;
        self.set(position, value, [&Dim::from(0), symbol]);
        self.importer.symbol_sources[position as usize] = SymbolSource::Value(value);
        self.importer.sizes.known.push(((value.to_raw().ptr, 0), symbol.clone()));
        Ok(())
    }

    fn set(&mut self, position: u32, value: Value<'c, 'a>, bounds: [&Dim; 2]) {
        let bounds = dims_attribute(self.context(), bounds.into_iter());
        self.block.append_operation(Size::create(self.context(), self.location, value, i64::from(position), bounds));
    }

    fn declare(&mut self, value: Value<'c, 'a>, what: &str, upper: Option<&Dim>) -> Dim {
        let symbols = &mut self.importer.symbols;
        let position = symbols.len() as u32;
        let itself = Dim::symbol(position);
        let upper = upper.unwrap_or(&itself);
        let mut name = format!("{what} of {}", self.name);
        let copies =
            symbols.iter().filter(|symbol| symbol.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" #")));
        let copies = copies.count();
        if copies > 0 {
            name = format!("{name} #{}", copies + 1);
        }
        symbols.push(name);
        self.importer.symbol_sources.push(SymbolSource::Value(value));
        self.importer.sizes.uppers.insert(position, upper.clone());
        itself
    }

    /// Operand `i`, if its contents decide something but are left to the run.
    pub fn open_operand(&self, i: usize) -> Option<Tensor<'c, 'a>> {
        self.optional(i).filter(|tensor| self.is_run_time(tensor) && tensor.r#type.count().as_static() != Some(0))
    }

    /// Extents that operand `i` lists: known ones, or symbols. `upper` is the largest value that makes sense for each.
    pub fn sizes_input(&mut self, i: usize, what: &str, upper: impl Fn(usize) -> Option<Dim>) -> Result<Vec<Dim>, Failure> {
        let Some(list) = self.open_operand(i) else { return self.dims_input(i, what) };
        let from = self.operand_name(i).to_string();
        let elements = self.elements(&list)?;
        elements.iter().enumerate().map(|(at, element)| self.size(element, what, &from, upper(at))).collect()
    }

    /// A 0-d i64 tensor of an extent.
    pub fn number(&self, dim: &Dim) -> Tensor<'c, 'a> {
        Tensor::integers(ElementType::I64, &[], vec![dim.clone()])
    }

    /// Elements of a 1-d integer tensor of static length, each as a 0-d tensor.
    pub fn elements(&mut self, list: &Tensor<'c, 'a>) -> Result<Vec<Tensor<'c, 'a>>, Failure> {
        let Some(count) = list.r#type.count().as_static() else {
            return Failure::unsupported("a list of symbolic length that decides about shapes");
        };
        if let Some(items) = self.integers(list) {
            return Ok(items.into_iter().map(|item| Tensor::integers(ElementType::I64, &[], vec![item])).collect());
        }
        let list = self.convert(list, ElementType::I64)?;
        let list = self.reshape(&list, vec![Dim::from(count)])?;
        (0..count)
            .map(|i| {
                let part = self.slice_axis(&list, 0, i, i + 1)?;
                self.reshape(&part, vec![])
            })
            .collect()
    }
}
