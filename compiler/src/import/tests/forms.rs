//! Operands that decide about shapes, as constants and as inputs: both forms give the same, by reference evaluation.

use super::*;
use winze_graph::{
    eval::{EvalContext, eval_function},
    tensor::Tensor,
};
use winze_mlir::{melior::ir::OperationRef, walk};

/// An operator on data, [f32 inputs with their dims], and on operands that decide: their types, dims and values.
struct Case {
    node: NodeProto,
    data: Vec<(&'static str, Vec<usize>)>,
    operands: Vec<Operand>,
}

#[derive(Clone)]
enum Operand {
    Longs(&'static str, Vec<usize>, Vec<i64>),
    Floats(&'static str, Vec<usize>, Vec<f32>),
}

impl Operand {
    fn name(&self) -> &'static str {
        match self {
            Self::Longs(name, ..) | Self::Floats(name, ..) => name,
        }
    }

    fn info(&self) -> ValueInfoProto {
        let (element, dims) = match self {
            Self::Longs(_, dims, _) => (data_type::INT64, dims),
            Self::Floats(_, dims, _) => (data_type::FLOAT, dims),
        };
        info(self.name(), element, &dims.iter().map(ToString::to_string).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn constant(&self) -> TensorProto {
        let extents = |dims: &[usize]| dims.iter().map(|extent| *extent as i64).collect::<Vec<_>>();
        match self {
            Self::Longs(name, dims, values) => TensorProto { dims: extents(dims), ..longs(name, values) },
            Self::Floats(name, dims, values) => floats(name, &extents(dims), values),
        }
    }

    fn tensor(&self) -> Tensor {
        match self {
            Self::Longs(_, dims, values) => Tensor::new(dims, values),
            Self::Floats(_, dims, values) => Tensor::new(dims, values),
        }
    }
}

impl Case {
    fn evaluate(&self, constant: bool) -> Vec<Tensor> {
        let texts = |dims: &[usize]| dims.iter().map(ToString::to_string).collect::<Vec<_>>();
        let data = self.data.iter().map(|(name, dims)| {
            let dims = texts(dims);
            info(name, data_type::FLOAT, &dims.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let mut inputs: Vec<ValueInfoProto> = data.collect();
        let fill = |count: usize| (0..count).map(|i| ((i * 7 + 3) % 11) as f32 - 4.0).collect::<Vec<f32>>();
        let mut values: Vec<Tensor> = self.data.iter().map(|(_, dims)| Tensor::new(dims, &fill(dims.iter().product()))).collect();
        let mut constants = vec![];
        for operand in &self.operands {
            if constant {
                constants.push(operand.constant());
            } else {
                inputs.push(operand.info());
                values.push(operand.tensor());
            }
        }
        let outputs = self.node.output.iter().map(|name| info(name, data_type::FLOAT, &["?"])).collect();
        let model = model(graph(vec![self.node.clone()], inputs, outputs, constants));
        let context = new_context();
        let what = format!("{} with {} operands", self.node.op_type, if constant { "constant" } else { "open" });
        let imported = import(&context, &model, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
        let function: OperationRef = walk::operations(imported.module.body()).next().expect("a function");
        let weights = |id: &str| imported.store.tensor(id);
        let cx = EvalContext { weights: &weights, ..EvalContext::new(&[]) };
        eval_function(&cx, function, &values).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    fn check(&self) {
        let (expected, actual) = (self.evaluate(true), self.evaluate(false));
        for (expected, actual) in expected.iter().zip(&actual) {
            assert_eq!(actual.shape, expected.shape, "{}", self.node.op_type);
            for i in 0..expected.count() {
                let (a, b) = (actual.get(i).f64(), expected.get(i).f64());
                assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0) || a == b, "{} element {i}: {a}, not {b}", self.node.op_type);
            }
        }
    }
}

fn case(op: &str, inputs: &[&str], attributes: Vec<AttributeProto>, data: &[(&'static str, &[usize])], operands: &[Operand]) {
    let data = data.iter().map(|(name, dims)| (*name, dims.to_vec())).collect();
    Case { node: node(op, inputs, &["y"], attributes), data, operands: operands.to_vec() }.check();
}

fn list(name: &'static str, values: &[i64]) -> Operand {
    Operand::Longs(name, vec![values.len()], values.to_vec())
}

fn scalar(name: &'static str, value: i64) -> Operand {
    Operand::Longs(name, vec![], vec![value])
}

#[test]
fn reductions_by_axes() {
    for (axes, keep) in [(&[1][..], 0), (&[-1, 0], 1), (&[0, 1, 2], 0)] {
        for op in ["ReduceSum", "ReduceL2", "ReduceLogSumExp"] {
            case(op, &["x", "a"], vec![int("keepdims", keep)], &[("x", &[2, 3, 4])], &[list("a", axes)]);
        }
    }
    // Axes without elements.
    for op in ["ReduceSum", "ReduceL1", "ReduceMax", "ReduceLogSumExp"] {
        case(op, &["x", "a"], vec![int("keepdims", 0)], &[("x", &[2, 0, 4])], &[list("a", &[1])]);
        case(op, &["x", "a"], vec![], &[("x", &[2, 0, 4])], &[list("a", &[-2])]);
    }
}

#[test]
fn shapes() {
    case("CenterCropPad", &["x", "s"], vec![], &[("x", &[5, 4])], &[list("s", &[2, 7])]);
    case("CenterCropPad", &["x", "s"], vec![ints("axes", &[-1])], &[("x", &[5, 4])], &[list("s", &[3])]);
    case("AffineGrid", &["x", "s"], vec![], &[("x", &[2, 2, 3])], &[list("s", &[2, 1, 3, 4])]);
    case("AffineGrid", &["x", "s"], vec![int("align_corners", 1)], &[("x", &[1, 3, 4])], &[list("s", &[1, 1, 2, 1, 3])]);
    case("Unsqueeze", &["x", "s"], vec![], &[("x", &[3, 5])], &[list("s", &[0, 2])]);
    case("Reshape", &["x", "s"], vec![], &[("x", &[3, 4])], &[list("s", &[2, 2, -1])]);
}

#[test]
fn blocks_of_images() {
    let blocks = [list("i", &[5, 5]), list("b", &[2, 3])];
    let overlapping = vec![ints("strides", &[2, 1]), ints("pads", &[1, 0, 0, 1]), ints("dilations", &[1, 2])];
    // 3 starts along the first axis and 2 along the second.
    case("Col2Im", &["x", "i", "b"], overlapping, &[("x", &[1, 12, 6])], &blocks);
    case("Col2Im", &["x", "i", "b"], vec![], &[("x", &[2, 6, 12])], &blocks);
}

#[test]
fn smooth_resizing() {
    for mode in ["linear", "cubic"] {
        for outside in [0, 1] {
            let attributes = || vec![string("mode", mode), int("antialias", 1), int("exclude_outside", outside)];
            let sizes = [Operand::Floats("none", vec![0], vec![]), list("s", &[1, 1, 3, 9])];
            case("Resize", &["x", "none", "none", "s"], attributes(), &[("x", &[1, 1, 8, 5])], &sizes);
            let scales = [Operand::Floats("none", vec![0], vec![]), Operand::Floats("s", vec![2], vec![0.6, 0.3])];
            case("Resize", &["x", "none", "s"], attributes(), &[("x", &[7, 10])], &scales);
        }
    }
}

#[test]
fn signals() {
    for op in ["HannWindow", "HammingWindow", "BlackmanWindow"] {
        for (size, periodic) in [(10, 1), (7, 0), (1, 0)] {
            case(op, &["n"], vec![int("periodic", periodic)], &[], &[scalar("n", size)]);
        }
    }
    for (inverse, onesided) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for axis in [1, -2, 0] {
            let attributes = || vec![int("inverse", inverse), int("onesided", onesided)];
            let parts = if inverse == 1 || onesided == 0 { 2 } else { 1 };
            let mut node = node("DFT", &["x", "", "a"], &["y"], attributes());
            let data = vec![("x", vec![4, 5, parts])];
            Case { node: node.clone(), data: data.clone(), operands: vec![scalar("a", axis)] }.check();
            for length in [3, 6, 9] {
                node.input = vec!["x".into(), "l".into(), "a".into()];
                Case { node: node.clone(), data: data.clone(), operands: vec![scalar("l", length), scalar("a", axis)] }.check();
            }
        }
    }
    case("STFT", &["x", "s", "", "l"], vec![], &[("x", &[2, 20, 1])], &[scalar("s", 3), scalar("l", 8)]);
    case("STFT", &["x", "s", "w"], vec![int("onesided", 0)], &[("x", &[1, 17, 2]), ("w", &[6])], &[scalar("s", 4)]);
    let number = |name, value| Operand::Floats(name, vec![], vec![value]);
    let parameters = [scalar("b", 8), scalar("n", 16), scalar("r", 8192), number("l", 0.0), number("h", 4096.0)];
    case("MelWeightMatrix", &["b", "n", "r", "l", "h"], vec![], &[], &parameters);
}
