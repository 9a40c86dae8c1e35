//! Chains as layers of a model make them: contractions with constant weights, factors and shifts per channel around them, transposes in between.

use super::{Generator, Random, RandomGraph, Value};
use crate::{
    dim::Dim,
    tensor::{Scalar, Tensor},
    types::{ElementType, TensorType},
};
use winze_mlir::melior::Context;

/// A graph of about `layers` layers on a tensor of rank 3 whose first extent is a symbol.
pub fn random_layers(seed: u64, layers: usize) -> RandomGraph {
    let context = Context::new();
    let mut g = Generator { context: &context, random: Random(seed), body: String::new(), values: vec![], fixed: None };
    let symbols = vec![1 + g.random.below(3) as i64];
    let r#type = TensorType::new(ElementType::F32, vec![Dim::symbol(0), Dim::from(4), Dim::from(6)]);
    let shape = r#type.shape(&symbols).expect("one symbol");
    let random = &mut g.random;
    let inputs = vec![Tensor::from_fn(ElementType::F32, &shape, |_| Scalar::Float(random.below(4001) as f64 / 1000.0 - 2.0))];
    let argument = format!("%in0: {}", g.text(&r#type));
    let mut x = Value { name: "%in0".into(), r#type };
    for _ in 0..layers {
        x = g.layer(&x);
    }
    let ty = g.text(&x.r#type);
    let text =
        format!("func.func @k({argument}) -> {ty} attributes {{graph.symbols = [\"a\"]}} {{\n{}  return {} : {ty}\n}}\n", g.body, x.name);
    RandomGraph { text, inputs, symbols }
}

impl Generator<'_> {
    fn layer(&mut self, x: &Value) -> Value {
        match self.random.below(6) {
            0 | 1 => self.affine(x),
            2 => self.permuted(x),
            3 => self.dense(x),
            4 => self.convolved(x),
            _ => self.correlated(x),
        }
    }

    fn pushed(&mut self, op: &str, rest: &str, r#type: TensorType) -> Value {
        self.push(op, rest, r#type);
        self.values.last().cloned().expect("an op was pushed")
    }

    /// Small numbers, none of them 0.
    fn constant(&mut self, extents: &[i64]) -> Value {
        let count: i64 = extents.iter().product();
        let mut numbers: Vec<f64> =
            (0..count).map(|_| (1.0 + self.random.below(7) as f64) / if self.random.below(2) == 0 { 4.0 } else { -4.0 }).collect();
        let literal = literal(extents, &mut numbers);
        let r#type = TensorType::fixed(ElementType::F32, extents);
        let text = self.text(&r#type);
        self.pushed("constant", &format!("dense<{literal}> : {text}"), r#type)
    }

    /// A factor or shift that varies along one axis at most.
    fn affine(&mut self, x: &Value) -> Value {
        let ty = self.text(&x.r#type);
        let axis = self.random.below(x.r#type.rank());
        let (extents, axes) = match (x.r#type.dims[axis].as_static(), self.random.below(3)) {
            (Some(extent), 0) => (vec![extent], vec![axis]),
            (Some(extent), 1) => {
                ((0..x.r#type.rank()).map(|i| if i == axis { extent } else { 1 }).collect(), (0..x.r#type.rank()).collect())
            }
            _ => (vec![], vec![]),
        };
        let constant = self.constant(&extents);
        let from = self.text(&constant.r#type);
        let along = self.pushed("broadcast", &format!("{} axes {axes:?} : {from} -> {ty}", constant.name), x.r#type.clone());
        let op = *self.random.choose(&["add", "sub", "mul", "div"]);
        let pair = match (op, self.random.below(3)) {
            ("add" | "sub" | "mul", 0) => format!("{}, {}", along.name, x.name),
            _ => format!("{}, {}", x.name, along.name),
        };
        self.pushed(op, &format!("{pair} : {ty}"), x.r#type.clone())
    }

    fn permuted(&mut self, x: &Value) -> Value {
        let mut rest: Vec<usize> = (0..x.r#type.rank()).collect();
        let permutation: Vec<usize> = (0..rest.len()).map(|_| rest.remove(self.random.below(rest.len()))).collect();
        let dims = permutation.iter().map(|axis| x.r#type.dims[*axis].clone()).collect();
        let ty = self.text(&x.r#type);
        self.pushed("transpose", &format!("{} permutation {permutation:?} : {ty}", x.name), TensorType::new(ElementType::F32, dims))
    }

    /// A product of one axis with a matrix.
    fn dense(&mut self, x: &Value) -> Value {
        let known: Vec<usize> = (0..x.r#type.rank()).filter(|axis| x.r#type.dims[*axis].as_static().is_some()).collect();
        if known.is_empty() {
            return x.clone();
        }
        let axis = *self.random.choose(&known);
        let (depth, width) = (x.r#type.dims[axis].as_static().expect("chosen so"), 2 + self.random.below(4) as i64);
        let contract = self.random.below(2);
        let weight = self.constant(&if contract == 0 { [depth, width] } else { [width, depth] });
        let (ty, weight_text) = (self.text(&x.r#type), self.text(&weight.r#type));
        let mut dims = x.r#type.dims.clone();
        dims.remove(axis);
        let rest =
            |a: &str, b: &str, contract: [usize; 2]| format!("{a}, {b} batch [] x [] contract [{}] x [{}] : ", contract[0], contract[1]);
        if self.random.below(3) == 0 {
            dims.insert(0, Dim::from(width));
            let text = rest(&weight.name, &x.name, [contract, axis]) + &format!("{weight_text}, {ty}");
            return self.pushed("dot_general", &text, TensorType::new(ElementType::F32, dims));
        }
        dims.push(Dim::from(width));
        let text = rest(&x.name, &weight.name, [axis, contract]) + &format!("{ty}, {weight_text}");
        self.pushed("dot_general", &text, TensorType::new(ElementType::F32, dims))
    }

    /// A convolution over the last axis, with all channels or each on its own.
    fn convolved(&mut self, x: &Value) -> Value {
        let [_, channels, length] = &x.r#type.dims[..] else { return x.clone() };
        let Some(channels) = channels.as_static() else { return x.clone() };
        let border = self.random.below(2) as i64;
        let result_length = length + &Dim::from(2 * border - 2);
        if length.as_static().is_none_or(|length| length < 3) {
            return x.clone();
        }
        let (filter, groups) = match self.random.below(2) {
            0 => ([3, channels, 3], 1),
            _ => ([channels, 1, 3], channels),
        };
        let weight = self.constant(&filter);
        let (ty, weight_text) = (self.text(&x.r#type), self.text(&weight.r#type));
        let dims = vec![x.r#type.dims[0].clone(), Dim::from(filter[0]), result_length];
        let rest = format!(
            "{}, {} strides [1] low [{border}] high [{border}] dilation [1] x [1] groups {groups} : {ty}, {weight_text}",
            x.name, weight.name
        );
        self.pushed("conv", &rest, TensorType::new(ElementType::F32, dims))
    }

    /// Products of all pairs of columns, kept small.
    fn correlated(&mut self, x: &Value) -> Value {
        let ty = self.text(&x.r#type);
        let small = self.pushed("tanh", &format!("{} : {ty}", x.name), x.r#type.clone());
        let turned = self.permuted(&small);
        let (contract, dims) = (x.r#type.dims[2].clone(), &turned.r#type.dims);
        let (Some(axis), Some(batch)) =
            (dims.iter().rposition(|dim| *dim == contract), dims.iter().position(|dim| *dim == x.r#type.dims[0]))
        else {
            return small;
        };
        if axis == batch {
            return small;
        }
        let free = 3 - axis - batch;
        let result = TensorType::new(ElementType::F32, vec![x.r#type.dims[0].clone(), x.r#type.dims[1].clone(), dims[free].clone()]);
        let to = self.text(&turned.r#type);
        let rest = format!("{}, {} batch [0] x [{batch}] contract [2] x [{axis}] : {ty}, {to}", small.name, turned.name);
        self.pushed("dot_general", &rest, result)
    }
}

/// Nested brackets with numbers taken from the end of a list.
fn literal(extents: &[i64], numbers: &mut Vec<f64>) -> String {
    let Some((extent, inner)) = extents.split_first() else { return format!("{:?}", numbers.pop().expect("one number per element")) };
    let parts: Vec<String> = (0..*extent).map(|_| literal(inner, numbers)).collect();
    format!("[{}]", parts.join(", "))
}
