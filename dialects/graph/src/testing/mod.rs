//! Seed -> random well-typed graph with inputs, for property tests: whatever compiles it must agree with [`crate::eval`].
//!
//! Values stay small and no op is discontinuous on floats, so that tolerances of single ops suffice for whole graphs.

use crate::{
    dim::Dim,
    tensor::{Scalar, Tensor},
    types::{Class, ElementType, TensorType},
};
use std::fmt::Write;
use winze_mlir::melior::Context;

/// A function `@k` of graph ops and what to call it with.
pub struct RandomGraph {
    /// A module with one function.
    pub text: String,
    pub inputs: Vec<Tensor>,
    /// Values of the symbols, `s0` first.
    pub symbols: Vec<i64>,
}

/// SplitMix64: small, seeded, the same everywhere.
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
}

/// A graph of about `ops` ops.
pub fn random_graph(seed: u64, ops: usize) -> RandomGraph {
    let context = Context::new();
    let mut g = Generator { context: &context, random: Random(seed), body: String::new(), values: vec![] };
    let symbols = vec![1 + g.random.below(5) as i64, g.random.below(4) as i64];
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
        let shape = r#type.shape(&symbols).expect("two symbols");
        let random = &mut g.random;
        inputs.push(Tensor::from_fn(element, &shape, |_| match element.class() {
            Class::Float => Scalar::Float(random.below(4001) as f64 / 1000.0 - 2.0),
            _ => Scalar::of(element, random.below(100) as i64),
        }));
        arguments.push(format!("%in{i}: {}", r#type.to_type(&context)));
        g.values.push(Value { name: format!("%in{i}"), r#type });
    }
    // Determines both symbols, whatever dims the other inputs have.
    let extents = TensorType::new(ElementType::U8, vec![Dim::symbol(0), Dim::symbol(1)]);
    let shape = extents.shape(&symbols).expect("two symbols");
    inputs.push(Tensor::from_fn(ElementType::U8, &shape, |i| Scalar::Unsigned(i as u64)));
    arguments.push(format!("%extents: {}", extents.to_type(&context)));
    g.values.push(Value { name: "%extents".into(), r#type: extents });
    for _ in 0..ops {
        g.step();
    }
    let last = g.values.last().cloned().expect("at least one input");
    let other = g.random.choose(&g.values).clone();
    let returned = if other.name == last.name { vec![last] } else { vec![last, other] };
    let names: Vec<_> = returned.iter().map(|value| value.name.clone()).collect();
    let types: Vec<_> = returned.iter().map(|value| value.r#type.to_type(&context).to_string()).collect();
    let types = types.join(", ");
    let text = format!(
        "func.func @k({}) -> ({types}) attributes {{graph.symbols = [\"a\", \"b\"]}} {{\n{}  return {} : {types}\n}}\n",
        arguments.join(", "),
        g.body,
        names.join(", ")
    );
    RandomGraph { text, inputs, symbols }
}

impl Generator<'_> {
    fn text(&self, r#type: &TensorType) -> String {
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
        match self.random.below(12) {
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
            _ if rank > 0 => {
                let axis = self.random.below(rank);
                self.push("reverse", &format!("{name} axes [{axis}] : {ty}"), x.r#type);
            }
            _ => {}
        }
    }

    fn last(&self) -> (String, String, TensorType) {
        let value = self.values.last().expect("an op was pushed");
        (value.name.clone(), self.text(&value.r#type), value.r#type.clone())
    }
}
