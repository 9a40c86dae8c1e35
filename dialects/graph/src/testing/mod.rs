//! Seed -> random well-typed graph with inputs, for property tests: whatever compiles it must agree with [`crate::eval`].
//!
//! Values stay small and no op is discontinuous on floats, so that tolerances of single ops suffice for whole graphs.

mod layers;

pub use layers::random_layers;

use crate::{
    dim::Dim,
    tensor::{Scalar, Tensor},
    types::{Class, ElementType, TensorType},
};
use std::fmt::Write;
use winze_mlir::melior::{
    Context,
    dialect::DialectRegistry,
    utility::{register_all_dialects, register_all_passes},
};

/// A context with MLIR's dialects and passes, and this dialect.
pub fn context() -> Context {
    static PASSES: std::sync::Once = std::sync::Once::new();
    PASSES.call_once(register_all_passes);
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    crate::register(&registry);
    let context = Context::new_with_registry(&registry, false);
    context.load_all_available_dialects();
    context
}

/// A function `@k` of graph ops and what to call it with.
pub struct RandomGraph {
    /// A module with one function.
    pub text: String,
    pub inputs: Vec<Tensor>,
    /// Values of the symbols, `s0` first.
    pub symbols: Vec<i64>,
}

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn choose<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.below(items.len())]
    }
}

#[derive(Clone)]
struct Value {
    name: String,
    r#type: TensorType,
}

struct Generator<'c> {
    context: &'c Context,
    random: Random,
    body: String,
    values: Vec<Value>,
    /// Values that stand for the symbols in the text.
    fixed: Option<Vec<i64>>,
}

/// A graph of about `ops` ops.
pub fn random_graph(seed: u64, ops: usize) -> RandomGraph {
    generate(seed, ops, false, None, false)
}

/// The same graph with inputs for other values of its symbols (the first is at least 1); its text has these extents in place of symbols if they are `fixed`.
pub fn random_graph_at(seed: u64, ops: usize, symbols: [i64; 2], fixed: bool) -> RandomGraph {
    generate(seed, ops, false, Some(symbols), fixed)
}

/// The same with tensors whose extent is a count that the graph makes: symbol 2, which `symbols` lacks.
pub fn random_sized_graph(seed: u64, ops: usize) -> RandomGraph {
    generate(seed, ops, true, None, false)
}

fn generate(seed: u64, ops: usize, sized: bool, at: Option<[i64; 2]>, fixed: bool) -> RandomGraph {
    let context = Context::new();
    let mut g = Generator { context: &context, random: Random(seed), body: String::new(), values: vec![], fixed: None };
    let drawn = [1 + g.random.below(5) as i64, g.random.below(4) as i64];
    let symbols = at.unwrap_or(drawn).to_vec();
    g.fixed = fixed.then(|| symbols.clone());
    let (mut arguments, mut inputs) = (vec![], vec![]);
    for i in 0..2 + g.random.below(2) {
        let element = *g.random.choose(&[ElementType::F32, ElementType::F32, ElementType::F64, ElementType::I32, ElementType::U8]);
        let dims = (0..1 + g.random.below(3))
            .map(|_| match g.random.below(4) {
                0 => Dim::symbol(g.random.below(2) as u32),
                extent => Dim::from(extent as i64 + 1),
            })
            .collect();
        let r#type = TensorType::new(element, dims);
        let contents = |random: &mut Random, symbols: &[i64]| {
            let shape = r#type.shape(symbols).expect("two symbols");
            Tensor::from_fn(element, &shape, |_| match element.class() {
                Class::Float => Scalar::Float(random.below(4001) as f64 / 1000.0 - 2.0),
                _ => Scalar::of(element, random.below(100) as i64),
            })
        };
        inputs.push(contents(&mut g.random.clone(), &symbols));
        // So that what follows is the same graph for all sizes.
        contents(&mut g.random, &drawn);
        arguments.push(format!("%in{i}: {}", g.text(&r#type)));
        g.values.push(Value { name: format!("%in{i}"), r#type });
    }
    // Determines both symbols, whatever dims the other inputs have.
    let extents = TensorType::new(ElementType::U8, vec![Dim::symbol(0), Dim::symbol(1)]);
    let shape = extents.shape(&symbols).expect("two symbols");
    inputs.push(Tensor::from_fn(ElementType::U8, &shape, |i| Scalar::Unsigned(i as u64)));
    arguments.push(format!("%extents: {}", g.text(&extents)));
    g.values.push(Value { name: "%extents".into(), r#type: extents });
    if sized {
        g.find_size();
    }
    for _ in 0..ops {
        g.step();
    }
    let last = g.values.last().cloned().expect("at least one input");
    let other = g.random.choose(&g.values).clone();
    let returned = if other.name == last.name { vec![last] } else { vec![last, other] };
    let names: Vec<_> = returned.iter().map(|value| value.name.clone()).collect();
    let types: Vec<_> = returned.iter().map(|value| g.text(&value.r#type)).collect();
    let types = types.join(", ");
    let text = format!(
        "func.func @k({}) -> ({types}) attributes {{graph.symbols = [{}]}} {{\n{}  return {} : {types}\n}}\n",
        arguments.join(", "),
        match (sized, fixed) {
            (_, true) => "",
            (true, false) => "\"a\", \"b\", \"found\"",
            (false, false) => "\"a\", \"b\"",
        },
        g.body,
        names.join(", ")
    );
    RandomGraph { text, inputs, symbols }
}

impl Generator<'_> {
    /// Counts the odd elements of `%extents`, and adds values that have as many elements.
    fn find_size(&mut self) {
        let (all, found) = ("affine_map<()[s0, s1] -> (s0, s1)>", "affine_map<()[s0, s1, s2] -> (s2)>");
        let line = "affine_map<()[s0, s1] -> (s0 * s1)>";
        self.body += &format!(
            "  %numbers = graph.convert %extents : tensor<?x?xui8, {all}> -> tensor<?x?xi64, {all}>
  %one = graph.constant dense<1> : tensor<i64>
  %ones = graph.broadcast %one axes [] : tensor<i64> -> tensor<?x?xi64, {all}>
  %odd = graph.and %numbers, %ones : tensor<?x?xi64, {all}>
  %count = graph.reduce \"add\" %odd axes [0, 1] : tensor<?x?xi64, {all}>
  graph.size %count symbol 2 bounds affine_map<()[s0, s1] -> (0, s0 * s1)> : tensor<i64>
  %line = graph.reshape %extents : tensor<?x?xui8, {all}> -> tensor<?xui8, {line}>
  %first = graph.dynamic_slice %line at(%count) axes [0] : (tensor<?xui8, {line}>, tensor<i64>) -> tensor<?xui8, {found}>
  %places = graph.iota axis 0 : tensor<?xf32, {found}>
  %waves = graph.sin %places : tensor<?xf32, {found}>
"
        );
        for (name, element) in [("%first", ElementType::U8), ("%waves", ElementType::F32)] {
            self.values.push(Value { name: name.into(), r#type: TensorType::new(element, vec![Dim::symbol(2)]) });
        }
    }

    fn text(&self, r#type: &TensorType) -> String {
        let fixed = self.fixed.as_ref().and_then(|symbols| r#type.dims.iter().map(|dim| dim.eval(symbols).map(Dim::from)).collect());
        let r#type = fixed.map_or_else(|| r#type.clone(), |dims| TensorType::new(r#type.element, dims));
        r#type.to_type(self.context).to_string()
    }

    /// Appends an op with one result; `rest` is everything after the name of the op.
    fn push(&mut self, op: &str, rest: &str, r#type: TensorType) {
        let name = format!("%{}", self.values.len());
        // A number alone would clash with the order in which MLIR numbers results.
        let name = name.replace('%', "%v");
        writeln!(self.body, "  {name} = graph.{op} {rest}").expect("writing to a string");
        self.values.push(Value { name, r#type });
    }

    fn step(&mut self) {
        let x = self.random.choose(&self.values).clone();
        let (name, ty, rank) = (x.name.clone(), self.text(&x.r#type), x.r#type.rank());
        let float = x.r#type.element.is_float();
        match self.random.below(24) {
            0 | 1 if float => {
                let op = *self.random.choose(&["neg", "abs", "tanh", "logistic", "sin", "erf", "atan"]);
                self.push(op, &format!("{name} : {ty}"), x.r#type);
            }
            0 | 1 => self.push("not", &format!("{name} : {ty}"), x.r#type),
            2 | 3 => {
                let peers: Vec<Value> = self.values.iter().filter(|v| v.r#type == x.r#type).cloned().collect();
                let y = self.random.choose(&peers).name.clone();
                let op = *self.random.choose(&["add", "sub", "maximum", "minimum"]);
                self.push(op, &format!("{name}, {y} : {ty}"), x.r#type);
            }
            4 if rank > 1 => {
                let by = 1 + self.random.below(rank - 1);
                let permutation: Vec<usize> = (0..rank).map(|i| (i + by) % rank).collect();
                let dims = permutation.iter().map(|i| x.r#type.dims[*i].clone()).collect();
                self.push("transpose", &format!("{name} permutation {permutation:?} : {ty}"), TensorType::new(x.r#type.element, dims));
            }
            5 if rank > 1 => {
                let mut dims = x.r#type.dims.clone();
                let (a, b) = (dims.remove(0), dims.remove(0));
                dims.insert(0, &a * &b);
                let result = TensorType::new(x.r#type.element, dims);
                let to = self.text(&result);
                self.push("reshape", &format!("{name} : {ty} -> {to}"), result);
            }
            6 if rank < 3 => {
                let mut dims = x.r#type.dims.clone();
                dims.insert(0, Dim::from(2));
                let result = TensorType::new(x.r#type.element, dims);
                let (to, axes) = (self.text(&result), (1..=rank).collect::<Vec<_>>());
                self.push("broadcast", &format!("{name} axes {axes:?} : {ty} -> {to}"), result);
            }
            7 if rank > 0 => {
                let mut result = x.r#type.clone();
                result.dims[0] = &result.dims[0] + &result.dims[0];
                self.push("concat", &format!("{name}, {name} axis 0 : {ty}, {ty}"), result);
            }
            8 if rank > 0 => {
                let axis = self.random.below(rank);
                let kind = *self.random.choose(&["add", "max", "min"]);
                let mut result = x.r#type.clone();
                result.dims.remove(axis);
                self.push("reduce", &format!("{kind:?} {name} axes [{axis}] : {ty}"), result);
                if float && kind != "add" {
                    // An empty maximum is infinite; bring it back.
                    let (name, ty, r#type) = self.last();
                    self.push("tanh", &format!("{name} : {ty}"), r#type);
                }
            }
            9 if rank > 0 && float => {
                let axis = self.random.below(rank);
                self.push("softmax", &format!("{name} axis {axis} : {ty}"), x.r#type);
            }
            10 if rank > 0 && float => {
                // Gram matrix over the last axis, brought back to small values.
                let last = rank - 1;
                let dims: Vec<Dim> = [&x.r#type.dims[..last], &x.r#type.dims[..last]].concat();
                let rest = format!("{name}, {name} batch [] x [] contract [{last}] x [{last}] : {ty}, {ty}");
                if dims.len() <= 4 {
                    self.push("dot_general", &rest, TensorType::new(x.r#type.element, dims));
                    let (name, ty, r#type) = self.last();
                    self.push("tanh", &format!("{name} : {ty}"), r#type);
                }
            }
            11 => {
                let element = *self.random.choose(&[ElementType::F32, ElementType::F64]);
                let result = x.r#type.with_element(element);
                let to = self.text(&result);
                self.push("convert", &format!("{name} : {ty} -> {to}"), result);
            }
            12 if rank > 0 => self.push_slice(&x),
            13 if rank > 0 => self.push_pad(&x),
            14 if rank > 0 => self.push_window(&x),
            15 if float => self.push_conv(&x),
            16 => self.push_if(&x),
            17 => self.push_while(&x),
            18 if rank > 0 => {
                self.push_gather(&x);
            }
            // Positions are i64: one value as input and as positions cannot be updated where it stands in a single kernel.
            19 if rank > 0 && x.r#type.element != ElementType::I64 => self.push_scatter(&x),
            20 | 21 if rank > 0 => self.push_box(&x),
            22 if rank > 0 && float => self.push_rows(&x),
            23 if !float => self.push_narrow(&x),
            _ if rank > 0 => {
                let axis = self.random.below(rank);
                self.push("reverse", &format!("{name} axes [{axis}] : {ty}"), x.r#type);
            }
            _ => {}
        }
    }

    /// Every second element of one axis, from a random start; a symbolic axis stays whole.
    fn push_slice(&mut self, x: &Value) {
        let (rank, axis) = (x.r#type.rank(), self.random.below(x.r#type.rank()));
        let (mut starts, mut limits, mut strides) = (vec![0; rank], vec![i64::MAX; rank], vec![1; rank]);
        let mut result = x.r#type.clone();
        if let Some(extent) = result.dims[axis].as_static() {
            starts[axis] = self.random.below(extent as usize + 1) as i64;
            limits[axis] = extent;
            strides[axis] = 2;
            result.dims[axis] = Dim::from((extent - starts[axis] + 1) / 2);
        }
        let rest = format!("{} starts {starts:?} limits {limits:?} strides {strides:?} : {}", x.name, self.text(&x.r#type));
        self.push("slice", &rest, result);
    }

    /// One element in front of an axis, and one behind each of its elements where their number is known.
    fn push_pad(&mut self, x: &Value) {
        let (rank, axis) = (x.r#type.rank(), self.random.below(x.r#type.rank()));
        let value = TensorType::new(x.r#type.element, vec![]);
        let text = self.text(&value);
        let literal = if x.r#type.element.is_float() { "1.5" } else { "7" };
        self.push("constant", &format!("dense<{literal}> : {text}"), value);
        let (fill, ..) = self.last();
        let (mut low, mut interior) = (vec![0; rank], vec![0; rank]);
        let mut result = x.r#type.clone();
        low[axis] = 1;
        if let Some(extent @ 1..) = result.dims[axis].as_static() {
            interior[axis] = 1;
            result.dims[axis] = Dim::from(2 * extent);
        } else {
            result.dims[axis] = &result.dims[axis] + &Dim::from(1);
        }
        let high = vec![0; rank];
        let rest = format!("{}, {fill} low {low:?} high {high:?} interior {interior:?} : {}, {text}", x.name, self.text(&x.r#type));
        self.push("pad", &rest, result);
    }

    /// A window of two with a border of one along an axis, which grows by one.
    fn push_window(&mut self, x: &Value) {
        let (rank, axis) = (x.r#type.rank(), self.random.below(x.r#type.rank()));
        let kind = *self.random.choose(&["add", "max", "min"]);
        let (ones, zeros) = (vec![1; rank], vec![0; rank]);
        let (mut window, mut border) = (ones.clone(), zeros);
        window[axis] = 2;
        border[axis] = 1;
        let mut result = x.r#type.clone();
        result.dims[axis] = &result.dims[axis] + &Dim::from(1);
        let rest = format!(
            "{kind:?} {} window {window:?} strides {ones:?} low {border:?} high {border:?} dilation {ones:?} : {}",
            x.name,
            self.text(&x.r#type)
        );
        self.push("reduce_window", &rest, result);
        if x.r#type.element.is_float() {
            // The window of an empty axis holds the neutral element alone, which may be infinite.
            let (name, ty, r#type) = self.last();
            self.push("tanh", &format!("{name} : {ty}"), r#type);
        }
    }

    /// A convolution of two channels with a filter of the same values, both made by broadcasting.
    fn push_conv(&mut self, x: &Value) {
        let Some(extent) = x.r#type.dims.first().cloned().filter(|_| x.r#type.rank() == 1) else { return };
        let element = x.r#type.element;
        let image = TensorType::new(element, vec![Dim::from(2), Dim::from(2), extent.clone(), extent.clone()]);
        let filter = TensorType::new(element, vec![Dim::from(4), Dim::from(2), Dim::from(3), Dim::from(3)]);
        let (from, image_text, filter_text) = (self.text(&x.r#type), self.text(&image), self.text(&filter));
        let axis = 2 + self.random.below(2);
        self.push("broadcast", &format!("{} axes [{axis}] : {from} -> {image_text}", x.name), image);
        let (image, ..) = self.last();
        self.push("constant", &format!("dense<0.25> : {filter_text}"), filter);
        let (filter, ..) = self.last();
        let result = TensorType::new(element, vec![Dim::from(2), Dim::from(4), extent.clone(), extent]);
        let rest = format!(
            "{image}, {filter} strides [1, 1] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 1 : {image_text}, {filter_text}"
        );
        self.push("conv", &rest, result);
        let (name, ty, r#type) = self.last();
        self.push("tanh", &format!("{name} : {ty}"), r#type);
    }

    /// A position that only a run knows, 0-d.
    fn push_position(&mut self) -> String {
        let [byte, position] = [ElementType::U8, ElementType::I64].map(|element| TensorType::new(element, vec![]));
        let (extents, from, to) = (self.text(&self.extents()), self.text(&byte), self.text(&position));
        self.push("reduce", &format!("\"max\" %extents axes [0, 1] : {extents}"), byte);
        let (name, ..) = self.last();
        self.push("convert", &format!("{name} : {from} -> {to}"), position);
        self.last().0
    }

    /// The input that determines the symbols.
    fn extents(&self) -> TensorType {
        self.values.iter().find(|value| value.name == "%extents").expect("every graph has it").r#type.clone()
    }

    /// Three slices along an axis, at positions of which some lie outside; returns the positions, their type and the axis.
    fn push_gather(&mut self, x: &Value) -> (String, String, usize) {
        let axis = self.random.below(x.r#type.rank());
        let position = self.push_position();
        let r#type = TensorType::new(ElementType::I64, vec![Dim::from(3), Dim::from(1)]);
        let text = self.text(&r#type);
        self.push("broadcast", &format!("{position} axes [] : tensor<i64> -> {text}"), r#type.clone());
        let (base, ..) = self.last();
        self.push("constant", &format!("dense<[[0], [-2], [1]]> : {text}"), r#type.clone());
        let (offsets, ..) = self.last();
        self.push("add", &format!("{base}, {offsets} : {text}"), r#type);
        let (positions, ..) = self.last();
        let mut result = x.r#type.clone();
        result.dims[axis] = Dim::from(3);
        let rest = format!("{}, {positions} axes [{axis}] batch [] x [] at {axis} : {}, {text}", x.name, self.text(&x.r#type));
        self.push("gather", &rest, result);
        (positions, text, axis)
    }

    /// What was gathered, put back or folded where it came from.
    fn push_scatter(&mut self, x: &Value) {
        let (positions, of_positions, axis) = self.push_gather(x);
        let (updates, of_updates, _) = self.last();
        let kind = *self.random.choose(&["set", "add", "max"]);
        let rest = format!(
            "{kind:?} {}, {positions}, {updates} axes [{axis}] batch [] x [] at {axis} : {}, {of_positions}, {of_updates}",
            x.name,
            self.text(&x.r#type)
        );
        self.push("scatter", &rest, x.r#type.clone());
        if x.r#type.element.is_float() {
            let (name, ty, r#type) = self.last();
            self.push("tanh", &format!("{name} : {ty}"), r#type);
        }
    }

    /// A box of one element along an axis of known extent, and the same written elsewhere.
    fn push_box(&mut self, x: &Value) {
        let axis = self.random.below(x.r#type.rank());
        if x.r#type.dims[axis].as_static().is_none_or(|extent| extent == 0) {
            return;
        }
        let (first, second) = (self.push_position(), self.push_position());
        let mut part = x.r#type.clone();
        part.dims[axis] = Dim::from(1);
        let (whole, of_part) = (self.text(&x.r#type), self.text(&part));
        self.push("dynamic_slice", &format!("{} at({first}) axes [{axis}] : ({whole}, tensor<i64>) -> {of_part}", x.name), part.clone());
        let (mut name, ..) = self.last();
        if x.r#type.element.is_float() {
            self.push("neg", &format!("{name} : {of_part}"), part);
            name = self.last().0;
        }
        let rest = format!("{}, {name} at({second}) axes [{axis}] : ({whole}, {of_part}, tensor<i64>) -> {whole}", x.name);
        self.push("dynamic_update_slice", &rest, x.r#type.clone());
    }

    /// Rows normalised by two reductions, as softmax and layer norm are when they are written out.
    fn push_rows(&mut self, x: &Value) {
        let (last, ty) = (x.r#type.rank() - 1, self.text(&x.r#type));
        let mut row = x.r#type.clone();
        row.dims.pop();
        let (of_row, axes) = (self.text(&row), (0..last).collect::<Vec<_>>());
        let reduced = |g: &mut Self, kind: &str, value: &str| {
            g.push("reduce", &format!("{kind:?} {value} axes [{last}] : {ty}"), row.clone());
            let (name, ..) = g.last();
            g.push("broadcast", &format!("{name} axes {axes:?} : {of_row} -> {ty}"), x.r#type.clone());
            g.last().0
        };
        let apply = |g: &mut Self, op: &str, operands: &str| {
            g.push(op, &format!("{operands} : {ty}"), x.r#type.clone());
            g.last().0
        };
        let highest = reduced(self, "max", &x.name);
        let centred = apply(self, "sub", &format!("{}, {highest}", x.name));
        let weights = apply(self, "exp", &centred);
        let sum = reduced(self, "add", &weights);
        let scale = apply(self, "rsqrt", &sum);
        apply(self, "mul", &format!("{weights}, {scale}"));
    }

    /// Cut to a narrower integer, which counts by its own bits from there on, and widened again.
    fn push_narrow(&mut self, x: &Value) {
        let element = *self.random.choose(&[ElementType::I8, ElementType::U8, ElementType::I16, ElementType::U16, ElementType::I64]);
        let narrow = x.r#type.with_element(element);
        let (ty, to) = (self.text(&x.r#type), self.text(&narrow));
        self.push("convert", &format!("{} : {ty} -> {to}", x.name), narrow.clone());
        let (name, ..) = self.last();
        self.push("add", &format!("{name}, {name} : {to}"), narrow);
        let (name, ..) = self.last();
        self.push("convert", &format!("{name} : {to} -> {ty}"), x.r#type.clone());
    }

    /// A truth that only a run knows: whether the maximum of a value is less than a constant.
    fn push_condition(&mut self, x: &Value) -> String {
        let axes: Vec<usize> = (0..x.r#type.rank()).collect();
        let scalar = TensorType::new(x.r#type.element, vec![]);
        let text = self.text(&scalar);
        self.push("reduce", &format!("\"max\" {} axes {axes:?} : {}", x.name, self.text(&x.r#type)), scalar.clone());
        let (maximum, ..) = self.last();
        let literal = if scalar.element.is_float() { "0.5" } else { "50" };
        self.push("constant", &format!("dense<{literal}> : {text}"), scalar.clone());
        let (limit, ..) = self.last();
        // Not among the values: few ops take bools.
        let condition = format!("%c{}", self.values.len());
        writeln!(self.body, "  {condition} = graph.lt {maximum}, {limit} : {text}").expect("writing to a string");
        condition
    }

    fn push_if(&mut self, x: &Value) {
        let condition = self.push_condition(x);
        let (ty, i) = (self.text(&x.r#type), self.values.len());
        let name = &x.name;
        let rest = format!(
            "{condition} : tensor<i1> -> {ty} {{\n    %t{i} = graph.abs {name} : {ty}\n    graph.yield %t{i} : {ty}\n  }} else {{\n    \
             graph.yield {name} : {ty}\n  }}"
        );
        self.push("if", &rest, x.r#type.clone());
    }

    /// Three steps of adding a value to a state that began as it.
    fn push_while(&mut self, x: &Value) {
        let counter = TensorType::new(ElementType::I64, vec![]);
        self.push("constant", "dense<0> : tensor<i64>", counter.clone());
        let (start, ..) = self.last();
        let (ty, i, name) = (self.text(&x.r#type), self.values.len(), &x.name);
        let rest = format!(
            "{start}, {name} : tensor<i64>, {ty} while {{\n  ^bb0(%i{i}: tensor<i64>, %x{i}: {ty}):\n    \
             %n{i} = graph.constant dense<3> : tensor<i64>\n    %m{i} = graph.lt %i{i}, %n{i} : tensor<i64>\n    \
             graph.yield %m{i} : tensor<i1>\n  }} do {{\n  ^bb0(%i{i}: tensor<i64>, %x{i}: {ty}):\n    \
             %o{i} = graph.constant dense<1> : tensor<i64>\n    %j{i} = graph.add %i{i}, %o{i} : tensor<i64>\n    \
             %y{i} = graph.add %x{i}, {name} : {ty}\n    graph.yield %j{i}, %y{i} : tensor<i64>, {ty}\n  }} -> tensor<i64>, {ty}"
        );
        let state = format!("%w{i}#1");
        writeln!(self.body, "  %w{i}:2 = graph.while {rest}").expect("writing to a string");
        self.values.push(Value { name: state, r#type: x.r#type.clone() });
    }

    fn last(&self) -> (String, String, TensorType) {
        let value = self.values.last().expect("an op was pushed");
        (value.name.clone(), self.text(&value.r#type), value.r#type.clone())
    }
}
